//! The end of a run, in one transaction: what [`plan::settle`](crate::plan::settle) decides is applied
//! through the transition functions of the domain.

use aws_lc_rs::digest::{SHA256, digest};
use cratekube_common::domain::alarm::{AlarmKind, NewAlarm};
use cratekube_common::domain::attempt;
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::cluster::health::VerifyFindings;
use cratekube_common::domain::cluster::resource::ConfigureFindings;
use cratekube_common::domain::cluster::{self, ClusterEvent, ClusterPhase, Condition};
use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::{AgentId, AttemptId, ClusterId, OperationId, TaskId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::{self, OperationState};
use cratekube_common::domain::run::{Rotation, RunReport};
use cratekube_common::domain::task::{self, TaskEvent, TaskKind, TaskState};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::attempts::{self, Held};
use super::fault::Fault;
use super::lease::ended;
use super::rows::{self, int, json, json_or_null, key};
use super::{alarms, evidence, health, resources, revisions};
use crate::plan::evidence::{StateRecord, is_number};
use crate::plan::settle::{self as plan, RetryPolicy, RunView, Settlement};
use crate::store::{RingAlarm, Settled};

/// Settles an attempt by a report.
pub(super) fn settle(
    db: &Connection,
    agent: AgentId,
    report: &RunReport,
    retries: RetryPolicy,
    now: Timestamp,
) -> Result<Settled, Fault> {
    let document = json(report)?;
    let sum = digest(&SHA256, document.as_bytes());
    let held = attempts::read(db, report.attempt)?.filter(|held| held.is_of(agent, report.fence));
    let Some(held) = held else {
        if attempts::is_foreign(db, agent, report.attempt)? {
            return Ok(Settled::Foreign);
        }
        evidence::keep_report(db, agent, report, &document, now)?;
        return Ok(Settled::Stale);
    };
    if !held.state.locks() {
        if settled_by(db, report, sum.as_ref())? {
            return Ok(Settled::Already(held.operation));
        }
        evidence::keep_report(db, agent, report, &document, now)?;
        return Ok(Settled::Stale);
    }
    if held.output_bytes < report.output_bytes {
        return Ok(Settled::OutputMissing { stored: held.output_bytes });
    }
    decide(db, &held, report, sum.as_ref(), retries, now)
}

/// Settles an attempt that is under way by a report that the volume kept. What of its output is not stored is
/// not waited for, but said.
pub(super) fn by_volume(
    db: &Connection,
    agent: AgentId,
    report: &RunReport,
    retries: RetryPolicy,
    now: Timestamp,
) -> Result<Settled, Fault> {
    let sum = digest(&SHA256, json(report)?.as_bytes());
    let held = attempts::read(db, report.attempt)?.filter(|held| held.is_of(agent, report.fence) && held.state.locks());
    let Some(held) = held else { return Ok(Settled::Stale) };
    let mut report = report.clone();
    let missing = report.output_bytes.saturating_sub(held.output_bytes);
    if missing > 0 {
        report.warnings.push(format!(
            "The controller was restored from a backup: the last {missing} bytes that attempt {} printed are on the state volume only, in its run's output.log.",
            report.attempt
        ));
    }
    decide(db, &held, &report, sum.as_ref(), retries, now)
}

fn decide(
    db: &Connection,
    held: &Held,
    report: &RunReport,
    sum: &[u8],
    retries: RetryPolicy,
    now: Timestamp,
) -> Result<Settled, Fault> {
    let run = read_run(db, report.attempt, report.generation.as_ref())?;
    let settlement = plan::settle(&run.view, report, retries);
    apply_attempt(db, held, report, &settlement, sum, now)?;
    apply(db, &run, held.operation, &settlement, report.generation.as_ref(), now)?;
    let sql = "UPDATE tasks SET findings = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(run.task), json_or_null(report.findings.as_ref())?])?;
    if let Some((kind, words)) = &settlement.alarm {
        ring(db, *kind, words, (held.agent, report.attempt), now)?;
    }
    learn(db, &run, held.operation, report, now)?;
    let retry = settlement.retry_after.map(|wait| (run.task, wait));
    Ok(Settled::Now { operation: held.operation, more_work: settlement.release.is_some(), retry })
}

/// Rings for what a run did to its cluster's state.
fn ring(
    db: &Connection,
    kind: AlarmKind,
    words: &str,
    (agent, attempt): (AgentId, AttemptId),
    now: Timestamp,
) -> Result<(), Fault> {
    let mut select = db.prepare_cached(
        "SELECT c.environment, c.name FROM attempts a JOIN clusters c ON c.id = a.cluster_id WHERE a.id = ?1",
    )?;
    let read = |row: &Row<'_>| Ok((rows::word::<EnvironmentName>(row, 0)?, rows::word::<ClusterName>(row, 1)?));
    let (environment, cluster) = select.query_row([key(attempt)], read)?;
    let object = format!("{environment}/{cluster}");
    let detail = format!("{words} (attempt {attempt})");
    tracing::error!(alarm = kind.as_str(), object, %agent, %attempt, words, "a cluster's state is not what it was");
    let audit = AuditEntry {
        actor: agent.to_string(),
        origin: "controller".into(),
        action: format!("alarm.{kind}"),
        object: object.clone(),
        outcome: AuditOutcome::Refused,
        detail: detail.clone(),
        request_id: attempt.to_string(),
    };
    let alarm = NewAlarm { kind, object, cluster: Some((environment, cluster)), agent: Some(agent), detail };
    alarms::ring_alone(db, &RingAlarm { alarm, audit, now })?;
    Ok(())
}

/// Takes note of what a step found, where it says something of the cluster.
fn learn(db: &Connection, run: &Run, operation: OperationId, report: &RunReport, now: Timestamp) -> Result<(), Fault> {
    let Some(findings) = &report.findings else { return Ok(()) };
    if run.view.kind == TaskKind::Configure {
        // What cannot be read is with the task; nothing is known by it.
        let Ok(findings) = serde_json::from_value::<ConfigureFindings>(findings.clone()) else { return Ok(()) };
        resources::learn(db, run.view.cluster, &findings, now)?;
    }
    if run.view.kind == TaskKind::Verify {
        let Ok(findings) = serde_json::from_value::<VerifyFindings>(findings.clone()) else { return Ok(()) };
        health::learn(db, (run.view.cluster, operation), &findings, now)?;
    }
    Ok(())
}

/// Gives up a run whose end is not known: the attempt is fenced, and so is whatever carries its fence.
pub(super) fn give_up(db: &Connection, id: AttemptId, reason: &str, now: Timestamp) -> Result<OperationId, Fault> {
    let missing = || Fault::Damaged(format!("attempt {id} is not there"));
    let held = attempts::read(db, id)?.ok_or_else(missing)?;
    let run = read_run(db, id, None)?;
    let settlement = plan::give_up(&run.view, reason);
    let state = attempt::transition(held.state, settlement.attempt)?;
    db.prepare_cached("UPDATE attempts SET state = ?2, ended_at = ?3, failure = ?4 WHERE id = ?1")?
        .execute(params![key(id), state.as_str(), ended(state, now), json_or_null(settlement.failure.as_ref())?,])?;
    apply(db, &run, held.operation, &settlement, None, now)?;
    let sql = "UPDATE clusters SET fence = fence + 1 WHERE id = ?1";
    db.prepare_cached(sql)?.execute([key(run.view.cluster)])?;
    Ok(held.operation)
}

fn apply(
    db: &Connection,
    run: &Run,
    operation: OperationId,
    settlement: &Settlement,
    manifest: Option<&Manifest>,
    now: Timestamp,
) -> Result<(), Fault> {
    apply_tasks(db, run, settlement)?;
    apply_operation(db, run, operation, settlement, now)?;
    apply_cluster(db, run, settlement, manifest, now)
}

fn settled_by(db: &Connection, report: &RunReport, sum: &[u8]) -> Result<bool, Fault> {
    let mut select = db.prepare_cached("SELECT report_sha256 FROM attempts WHERE id = ?1")?;
    let recorded: Option<Vec<u8>> = select.query_row([key(report.attempt)], |row| row.get(0))?;
    Ok(recorded.is_some_and(|recorded| recorded == sum))
}

/// The rows that a settlement moves on.
struct Run {
    view: RunView,
    task: TaskId,
    task_state: TaskState,
    phase: ClusterPhase,
    at_work: Option<OperationId>,
    warnings: Vec<String>,
}

fn read_run(db: &Connection, id: AttemptId, reported: Option<&Manifest>) -> Result<Run, Fault> {
    let mut select = db.prepare_cached(
        "SELECT t.id, t.kind, t.state, o.state, o.warnings, c.id, c.phase, c.conditions, c.ca_sha256, c.operation, \
             (SELECT count(*) FROM attempts s WHERE s.operation = a.operation AND s.task = a.task \
                  AND s.state <> 'released'), \
             (SELECT max(number) FROM generations WHERE cluster_id = c.id), a.taken_over, o.kind, o.options \
         FROM attempts a JOIN tasks t ON t.id = a.task JOIN operations o ON o.id = a.operation \
         JOIN clusters c ON c.id = a.cluster_id WHERE a.id = ?1",
    )?;
    let mut run = select.query_row([key(id)], |row| {
        let kind: TaskKind = rows::word(row, 1)?;
        let record = StateRecord {
            newest: rows::count_or_null(row, 11)?,
            same_number: None,
            ca_sha256: row.get(8)?,
            new_ca_wanted: kind == TaskKind::RotateCertificates && renews_ca(rows::document_or_null(row, 14)?),
        };
        let view = RunView {
            operation: rows::word(row, 3)?,
            asked: rows::word(row, 13)?,
            kind,
            pending: Vec::new(),
            attempts: row.get(10)?,
            taken_over: row.get(12)?,
            cluster: rows::word(row, 5)?,
            conditions: rows::document::<Vec<Condition>>(row, 7)?,
            record,
        };
        Ok(Run {
            view,
            task: rows::word(row, 0)?,
            task_state: rows::word(row, 2)?,
            phase: rows::word(row, 6)?,
            at_work: rows::word_or_null(row, 9)?,
            warnings: rows::document(row, 4)?,
        })
    })?;
    run.view.pending = pending(db, id)?;
    run.view.record.same_number = recorded(db, run.view.cluster, reported)?;
    Ok(run)
}

/// Whether an operation's options ask for a new CA.
fn renews_ca(options: Option<Value>) -> bool {
    options.is_some_and(|options| options[Rotation::INPUT]["ca"] == true)
}

fn pending(db: &Connection, id: AttemptId) -> Result<Vec<TaskId>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT id FROM tasks WHERE operation = (SELECT operation FROM attempts WHERE id = ?1) AND state = 'pending' \
         ORDER BY ordinal",
    )?;
    let found = select.query_map([key(id)], |row| rows::word(row, 0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn recorded(db: &Connection, cluster: ClusterId, reported: Option<&Manifest>) -> Result<Option<Manifest>, Fault> {
    let Some(manifest) = reported.filter(|manifest| is_number(manifest.number)) else { return Ok(None) };
    let mut select = db.prepare_cached("SELECT manifest FROM generations WHERE cluster_id = ?1 AND number = ?2")?;
    let read = |row: &Row<'_>| rows::document(row, 0);
    Ok(select.query_row(params![key(cluster), int(manifest.number)?], read).optional()?)
}

fn apply_attempt(
    db: &Connection,
    held: &Held,
    report: &RunReport,
    settlement: &Settlement,
    sum: &[u8],
    now: Timestamp,
) -> Result<(), Fault> {
    let state = attempt::transition(held.state, settlement.attempt)?;
    db.prepare_cached(
        "UPDATE attempts SET state = ?2, ended_at = ?3, failure = ?4, rke = ?5, exit = ?6, report_sha256 = ?7 \
         WHERE id = ?1",
    )?
    .execute(params![
        key(report.attempt),
        state.as_str(),
        ended(state, now),
        json_or_null(settlement.failure.as_ref())?,
        json_or_null(report.rke.as_ref())?,
        json_or_null(report.exit.as_ref())?,
        sum,
    ])?;
    Ok(())
}

fn apply_tasks(db: &Connection, run: &Run, settlement: &Settlement) -> Result<(), Fault> {
    let mut update = db.prepare_cached("UPDATE tasks SET state = ?2 WHERE id = ?1")?;
    let mut step = |id: TaskId, from: TaskState, event: TaskEvent| -> Result<(), Fault> {
        update.execute(params![key(id), task::transition(from, event)?.as_str()])?;
        Ok(())
    };
    step(run.task, run.task_state, settlement.task)?;
    if let Some(wait) = settlement.retry_after {
        // Not zero, which says that nothing is waited for.
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        db.prepare_cached("UPDATE tasks SET delay_ms = ?2 WHERE id = ?1")?.execute(params![key(run.task), int(ms)?])?;
    }
    if let Some(next) = settlement.release {
        step(next, TaskState::Pending, TaskEvent::Released)?;
    }
    settlement.drop.iter().try_for_each(|id| step(*id, TaskState::Pending, TaskEvent::Cancelled))
}

fn apply_operation(
    db: &Connection,
    run: &Run,
    id: OperationId,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<(), Fault> {
    let from = run.view.operation;
    let state = settlement.operation.map_or(Ok(from), |event| operation::transition(from, event))?;
    let mut warnings = run.warnings.clone();
    for warning in &settlement.warnings {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    // A success clears what an earlier attempt failed with.
    let failure: Option<&Failure> = settlement.failure.as_ref();
    db.prepare_cached(
        "UPDATE operations SET state = ?2, failure = ?3, warnings = ?4, ended_at = coalesce(ended_at, ?5), \
             progress = CASE WHEN ?2 = 'queued' THEN NULL ELSE progress END WHERE id = ?1",
    )?
    .execute(params![
        key(id),
        state.as_str(),
        json_or_null(failure)?,
        json(&warnings)?,
        state.is_terminal().then(|| now.as_millis()),
    ])?;
    Ok(())
}

fn apply_cluster(
    db: &Connection,
    run: &Run,
    settlement: &Settlement,
    manifest: Option<&Manifest>,
    now: Timestamp,
) -> Result<(), Fault> {
    let cluster = key(run.view.cluster);
    if let Some(manifest) = manifest.filter(|_| settlement.record_generation) {
        db.prepare_cached("INSERT INTO generations (cluster_id, number, manifest) VALUES (?1, ?2, ?3)")?
            .execute(params![cluster, int(manifest.number)?, json(manifest)?])?;
    }
    let phase = settlement.cluster.map_or(Ok(run.phase), |event| cluster::transition(run.phase, event))?;
    let over = settlement
        .operation
        .is_some_and(|event| operation::transition(run.view.operation, event).is_ok_and(OperationState::is_terminal));
    let at_work = run.at_work.filter(|_| !over);
    if settlement.cluster == Some(ClusterEvent::Verified) {
        revisions::verified(db, run.view.cluster, now)?;
    }
    let (known, failure) = (settlement.known.as_ref(), settlement.failure.as_ref());
    // What only looked at the cluster, or added to it, does not say what is wrong with it.
    let leaves = run.view.asked.leaves_cluster() && settlement.cluster.is_none();
    // What is not learnt now stays as it is.
    db.prepare_cached(
        "UPDATE clusters SET phase = ?2, operation = ?3, failure = CASE WHEN ?10 THEN failure ELSE ?4 END, conditions = ?5, \
             updated_at = ?6, generation = coalesce(?7, generation), \
             state_sha256 = CASE WHEN ?7 IS NULL THEN state_sha256 ELSE ?8 END, \
             ca_sha256 = coalesce(?9, ca_sha256) WHERE id = ?1",
    )?
    .execute(params![
        cluster,
        phase.as_str(),
        at_work.map(key),
        json_or_null(failure)?,
        json(&settlement.conditions)?,
        now.as_millis(),
        known.map(|known| int(known.generation)).transpose()?,
        known.and_then(|known| known.state_sha256.as_deref()),
        known.and_then(|known| known.ca_sha256.as_deref()),
        leaves,
    ])?;
    Ok(())
}
