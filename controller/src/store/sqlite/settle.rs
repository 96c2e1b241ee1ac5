//! The end of a run, in one transaction: what [`plan::settle`](crate::plan::settle) decides is applied
//! through the transition functions of the domain.

use aws_lc_rs::digest::{SHA256, digest};
use cratekube_common::domain::attempt;
use cratekube_common::domain::cluster::{self, ClusterPhase, Condition};
use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::{AgentId, ClusterId, OperationId, TaskId};
use cratekube_common::domain::operation::{self, OperationState};
use cratekube_common::domain::run::RunReport;
use cratekube_common::domain::task::{self, TaskEvent, TaskState};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::attempts::{self, Held};
use super::fault::Fault;
use super::lease::ended;
use super::rows::{self, int, json, json_or_null, key};
use crate::plan::evidence::{self, StateRecord};
use crate::plan::settle::{self as plan, RetryPolicy, RunView, Settlement};
use crate::store::Settled;

/// Bounded automatic retries come with a later release.
const RETRIES: RetryPolicy = RetryPolicy::NEVER;
/// Reports of one agent kept as evidence of one attempt.
const EVIDENCE_PER_ATTEMPT: usize = 8;
/// Reports kept as evidence of one agent: it may name attempts that never were.
const EVIDENCE_PER_AGENT: i64 = 256;

/// Settles an attempt by a report.
pub(super) fn settle(db: &Connection, agent: AgentId, report: &RunReport, now: Timestamp) -> Result<Settled, Fault> {
    let document = json(report)?;
    let sum = digest(&SHA256, document.as_bytes());
    let held = attempts::read(db, report.attempt)?.filter(|held| held.is_of(agent, report.fence));
    let Some(held) = held else {
        quarantine(db, agent, report, &document, now)?;
        return Ok(Settled::Stale);
    };
    if !held.state.locks() {
        if settled_by(db, report, sum.as_ref())? {
            return Ok(Settled::Already(held.operation));
        }
        quarantine(db, agent, report, &document, now)?;
        return Ok(Settled::Stale);
    }
    if held.output_bytes < report.output_bytes {
        return Ok(Settled::OutputMissing { stored: held.output_bytes });
    }
    let run = read_run(db, report)?;
    let settlement = plan::settle(&run.view, report, RETRIES);
    apply_attempt(db, &held, report, &settlement, sum.as_ref(), now)?;
    apply_tasks(db, &run, &settlement)?;
    apply_operation(db, &run, held.operation, &settlement, now)?;
    apply_cluster(db, &run, &settlement, report.generation.as_ref(), now)?;
    let more_work = settlement.release.is_some() || settlement.task == TaskEvent::Requeued;
    Ok(Settled::Now { operation: held.operation, more_work })
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

fn read_run(db: &Connection, report: &RunReport) -> Result<Run, Fault> {
    let mut select = db.prepare_cached(
        "SELECT t.id, t.kind, t.state, o.state, o.warnings, c.id, c.phase, c.conditions, c.ca_sha256, c.operation, \
             (SELECT count(*) FROM attempts s WHERE s.operation = a.operation AND s.task = a.task), \
             (SELECT max(number) FROM generations WHERE cluster_id = c.id) \
         FROM attempts a JOIN tasks t ON t.id = a.task JOIN operations o ON o.id = a.operation \
         JOIN clusters c ON c.id = a.cluster_id WHERE a.id = ?1",
    )?;
    let mut run = select.query_row([key(report.attempt)], |row| {
        let record = StateRecord { newest: rows::count_or_null(row, 11)?, same_number: None, ca_sha256: row.get(8)? };
        let view = RunView {
            operation: rows::word(row, 3)?,
            kind: rows::word(row, 1)?,
            pending: Vec::new(),
            attempts: row.get(10)?,
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
    run.view.pending = pending(db, report)?;
    run.view.record.same_number = recorded(db, run.view.cluster, report.generation.as_ref())?;
    Ok(run)
}

fn pending(db: &Connection, report: &RunReport) -> Result<Vec<TaskId>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT id FROM tasks WHERE operation = (SELECT operation FROM attempts WHERE id = ?1) AND state = 'pending' \
         ORDER BY ordinal",
    )?;
    let found = select.query_map([key(report.attempt)], |row| rows::word(row, 0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn recorded(db: &Connection, cluster: ClusterId, reported: Option<&Manifest>) -> Result<Option<Manifest>, Fault> {
    let Some(manifest) = reported.filter(|manifest| evidence::is_number(manifest.number)) else { return Ok(None) };
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
    let (known, failure) = (settlement.known.as_ref(), settlement.failure.as_ref());
    // What is not learnt now stays as it is.
    db.prepare_cached(
        "UPDATE clusters SET phase = ?2, operation = ?3, failure = ?4, conditions = ?5, updated_at = ?6, \
             generation = coalesce(?7, generation), \
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
    ])?;
    Ok(())
}

/// Keeps a report that is not applied, within bounds: the first ones of an attempt, so that whoever
/// floods cannot wash them out, and the newest ones of an agent.
fn quarantine(
    db: &Connection,
    agent: AgentId,
    report: &RunReport,
    document: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    let (attempt, agent) = (key(report.attempt), key(agent));
    let mut kept = db.prepare_cached("SELECT report FROM quarantine WHERE attempt = ?1 AND agent = ?2")?;
    let kept = kept.query_map(params![attempt, agent], |row| row.get::<_, String>(0))?;
    let kept = kept.collect::<Result<Vec<_>, _>>()?;
    if kept.len() >= EVIDENCE_PER_ATTEMPT || kept.iter().any(|report| report == document) {
        return Ok(());
    }
    let fence = i64::try_from(report.fence.0).unwrap_or(i64::MAX);
    db.prepare_cached("INSERT INTO quarantine (attempt, agent, fence, report, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![attempt, agent, fence, document, now.as_millis()])?;
    let trim = "DELETE FROM quarantine WHERE seq IN \
                (SELECT seq FROM quarantine WHERE agent = ?1 ORDER BY seq DESC LIMIT -1 OFFSET ?2)";
    db.prepare_cached(trim)?.execute(params![agent, EVIDENCE_PER_AGENT])?;
    Ok(())
}
