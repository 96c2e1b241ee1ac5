//! Handing out tasks: one attempt, one fence, one lock per cluster, in one transaction.

use std::collections::BTreeSet;

use cratekube_common::domain::IllegalTransition;
use cratekube_common::domain::attempt::{AttemptState, Fence};
use cratekube_common::domain::cluster::{self, ClusterEvent, ClusterPhase};
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::generation::KnownState;
use cratekube_common::domain::id::{AgentId, AttemptId, ClusterId, VolumeId};
use cratekube_common::domain::name::EnvironmentName;
use cratekube_common::domain::operation::{self, OperationEvent, OperationKind};
use cratekube_common::domain::run::{Assignment, Recovery, TaskInput};
use cratekube_common::domain::task::{self, TaskEvent, TaskKind};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::resources;
use super::restored;
use super::rows::{self, int, key};
use crate::plan::assignment::{self, Candidate};
use crate::store::{LeaseTasks, LeasedTask, SealedResource};

/// A lease as the transaction leaves it; the spec is read outside, where it keeps nobody waiting.
#[derive(Debug)]
pub(super) struct RawLease {
    attempt: AttemptId,
    fence: Fence,
    task: String,
    kind: TaskKind,
    operation: String,
    request_id: String,
    cluster: String,
    environment: EnvironmentName,
    name: String,
    volume: VolumeId,
    known: Option<KnownState>,
    recovery: Recovery,
    spec: String,
    sealed_secrets: Option<Vec<u8>>,
    /// What the steps before it found, by their kinds.
    earlier: Map<String, Value>,
    asked: OperationKind,
    options: Option<Value>,
    /// Clusters of its name whose removal was abandoned.
    abandoned: BTreeSet<ClusterId>,
    /// The managed resources of the cluster, for a configuration.
    resources: Vec<SealedResource>,
}

impl RawLease {
    /// Makes it what an agent is told.
    pub(super) fn into_task(self) -> Result<LeasedTask, Fault> {
        let mut input = input(self.kind, self.asked, self.options, self.earlier);
        input.make_way(&self.abandoned);
        let assignment = Assignment {
            attempt: self.attempt,
            fence: self.fence,
            task: self.task.parse().map_err(Fault::Damaged)?,
            kind: self.kind,
            operation: self.operation.parse().map_err(Fault::Damaged)?,
            request_id: self.request_id,
            cluster: self.cluster.parse().map_err(Fault::Damaged)?,
            environment: self.environment,
            name: self.name.parse().map_err(Fault::Damaged)?,
            volume: self.volume,
            spec: rows::spec(&self.spec).map_err(Fault::Damaged)?,
            known: self.known,
            recovery: (self.kind == TaskKind::RecoverState).then_some(self.recovery),
            input,
        };
        Ok(LeasedTask { assignment, sealed_secrets: self.sealed_secrets, asked: self.asked, resources: self.resources })
    }
}

/// What a task is told beside its cluster's spec.
fn input(kind: TaskKind, asked: OperationKind, options: Option<Value>, mut earlier: Map<String, Value>) -> TaskInput {
    if kind == TaskKind::RotateCertificates {
        return TaskInput(options.unwrap_or_default());
    }
    if kind.is_rke() {
        return TaskInput(Value::Null);
    }
    let mut input = TaskInput(Value::Null);
    if asked == OperationKind::Remove {
        input.merge(&options);
        // Long lists of what is gone, which no later step goes by: an assignment has a bound.
        for swept in [TaskKind::Sweep, TaskKind::Confirm] {
            let findings = earlier.get_mut(swept.as_str()).and_then(Value::as_object_mut);
            findings.map(|findings| findings.remove("entries"));
        }
    }
    input.merge(&json!({ "earlier": earlier }));
    input
}

/// Leases queued tasks to an agent.
pub(super) fn lease(db: &Connection, request: &LeaseTasks) -> Result<Vec<RawLease>, Fault> {
    if !agent_takes_work(db, request.agent)? {
        return Ok(Vec::new());
    }
    let (mut leases, fresh) = leased_before(db, request)?;
    let served = served(db, request)?;
    if fresh.is_empty() || served.is_empty() {
        return Ok(leases);
    }
    let chosen = assignment::choose(candidates(db, request, &served, fresh.len())?, fresh.len());
    for (candidate, attempt) in chosen.into_iter().zip(fresh) {
        leases.extend(grant(db, request, &served, candidate, attempt)?);
    }
    Ok(leases)
}

fn agent_takes_work(db: &Connection, agent: AgentId) -> Result<bool, Fault> {
    let mut select = db.prepare_cached("SELECT state FROM agents WHERE id = ?1")?;
    let state = select.query_row([key(agent)], |row| rows::word(row, 0)).optional()?;
    Ok(state.is_some_and(assignment::takes_work))
}

/// Attempts of the request that were leased already (the answer was lost), and the ids that are new.
fn leased_before(db: &Connection, request: &LeaseTasks) -> Result<(Vec<RawLease>, Vec<AttemptId>), Fault> {
    let mut select = db.prepare_cached("SELECT agent, state, seq FROM attempts WHERE id = ?1")?;
    let (mut leases, mut fresh) = (Vec::new(), Vec::new());
    for id in &request.attempts {
        let read =
            |row: &Row<'_>| Ok((rows::word::<AgentId>(row, 0)?, rows::word::<AttemptState>(row, 1)?, row.get(2)?));
        match select.query_row([key(id)], read).optional()? {
            None => fresh.push(*id),
            Some((agent, AttemptState::Leased, seq)) if agent == request.agent => leases.push(read_lease(db, seq)?),
            Some(_) => {}
        }
    }
    Ok((leases, fresh))
}

/// The volumes of the request that are recorded as this agent's, and may be worked on.
fn served(db: &Connection, request: &LeaseTasks) -> Result<Vec<VolumeId>, Fault> {
    let mut select = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM volumes WHERE id = ?1 AND agent = ?2)")?;
    let mut served = Vec::new();
    for volume in &request.volumes {
        let is_its_own = select.query_row(params![key(volume), key(request.agent)], |row| row.get(0))?;
        if is_its_own && restored::is_looked_through(db, *volume)? {
            served.push(*volume);
        }
    }
    Ok(served)
}

fn candidates(
    db: &Connection,
    request: &LeaseTasks,
    served: &[VolumeId],
    wanted: usize,
) -> Result<Vec<Candidate>, Fault> {
    const FREE: &str = "NOT EXISTS (SELECT 1 FROM attempts WHERE cluster_id = tasks.cluster_id \
         AND state IN ('leased', 'started', 'unknown')) AND delay_ms = 0 ORDER BY seq LIMIT ?2";
    let limit = i64::try_from(wanted).unwrap_or(i64::MAX);
    let read = |row: &Row<'_>| Ok(Candidate { seq: row.get(0)?, cluster: rows::word(row, 1)? });
    let mut found = Vec::new();
    let sql = format!("SELECT seq, cluster_id FROM tasks WHERE state = 'queued' AND volume = ?1 AND {FREE}");
    let mut of_volume = db.prepare_cached(&sql)?;
    for volume in served.iter().collect::<BTreeSet<_>>() {
        let tasks = of_volume.query_map(params![key(volume), limit], read)?;
        found.extend(tasks.collect::<Result<Vec<_>, _>>()?);
    }
    let sql = format!(
        "SELECT seq, cluster_id FROM tasks WHERE state = 'queued' AND volume IS NULL AND environment = ?1 AND {FREE}"
    );
    let mut of_nobody = db.prepare_cached(&sql)?;
    if !restored::all_looked_through(db)? {
        return Ok(found);
    }
    for environment in waiting_environments(db, &request.environments)? {
        let tasks = of_nobody.query_map(params![environment.as_str(), limit], read)?;
        found.extend(tasks.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

/// Environments in which new clusters wait; one index probe for each, however many wait there.
fn waiting_environments(db: &Connection, allowed: &EnvironmentPattern) -> Result<Vec<EnvironmentName>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT min(environment) FROM tasks WHERE state = 'queued' AND volume IS NULL AND environment > ?1",
    )?;
    let mut found: Vec<EnvironmentName> = Vec::new();
    let mut last = String::new();
    while let Some(name) = select.query_row([&last], |row| rows::word_or_null::<EnvironmentName>(row, 0))? {
        name.as_str().clone_into(&mut last);
        if allowed.matches(&name) {
            found.push(name);
        }
    }
    Ok(found)
}

/// What is read of a task before it is granted.
struct Grantable {
    task: String,
    task_state: task::TaskState,
    kind: TaskKind,
    operation: String,
    asked: OperationKind,
    operation_state: operation::OperationState,
    output_bytes: u64,
    environment: EnvironmentName,
    phase: ClusterPhase,
    fence: Fence,
    volume: Option<VolumeId>,
}

fn grantable(db: &Connection, seq: i64) -> Result<Grantable, Fault> {
    let mut select = db.prepare_cached(
        "SELECT t.id, t.state, t.kind, o.id, o.state, o.output_bytes, c.environment, c.phase, c.fence, c.volume, \
             o.kind \
         FROM tasks t JOIN operations o ON o.id = t.operation JOIN clusters c ON c.id = t.cluster_id WHERE t.seq = ?1",
    )?;
    Ok(select.query_row([seq], |row| {
        Ok(Grantable {
            task: row.get(0)?,
            task_state: rows::word(row, 1)?,
            kind: rows::word(row, 2)?,
            operation: row.get(3)?,
            operation_state: rows::word(row, 4)?,
            output_bytes: rows::count(row, 5)?,
            environment: rows::word(row, 6)?,
            phase: rows::word(row, 7)?,
            fence: Fence(rows::count(row, 8)?),
            volume: rows::word_or_null(row, 9)?,
            asked: rows::word(row, 10)?,
        })
    })?)
}

fn grant(
    db: &Connection,
    request: &LeaseTasks,
    served: &[VolumeId],
    candidate: Candidate,
    attempt: AttemptId,
) -> Result<Option<RawLease>, Fault> {
    let found = grantable(db, candidate.seq)?;
    let volume = assignment::volume_for(found.volume, &found.environment, &request.environments, served);
    let Some(volume) = volume else { return Ok(None) };
    let task = task::transition(found.task_state, TaskEvent::Leased)?;
    let operation = operation::transition(found.operation_state, OperationEvent::Started)?;
    let phase = phase_at_start(found.asked, found.phase)?;
    let fence = found.fence.next();
    let now = request.now.as_millis();
    db.prepare_cached("UPDATE tasks SET state = ?2, volume = ?3 WHERE seq = ?1")?.execute(params![
        candidate.seq,
        task.as_str(),
        key(volume)
    ])?;
    if found.volume.is_none() {
        move_tasks(db, candidate.cluster, volume)?;
    }
    db.prepare_cached(
        "UPDATE operations SET state = ?2, started_at = coalesce(started_at, ?3), progress = NULL WHERE id = ?1",
    )?
    .execute(params![found.operation, operation.as_str(), now])?;
    db.prepare_cached("UPDATE clusters SET phase = ?2, fence = ?3, volume = ?4, updated_at = ?5 WHERE id = ?1")?
        .execute(params![key(candidate.cluster), phase.as_str(), int(fence.0)?, key(volume), now])?;
    if found.asked == OperationKind::Reconfigure {
        // Why an earlier change failed says nothing of this one.
        db.prepare_cached("UPDATE clusters SET failure = NULL WHERE id = ?1")?.execute([key(candidate.cluster)])?;
    }
    insert_attempt(db, request, &found, candidate.cluster, (attempt, fence, volume))?;
    read_lease(db, db.last_insert_rowid()).map(Some)
}

/// Where a cluster is while what was asked for is at work on it.
pub(super) fn phase_at_start(asked: OperationKind, phase: ClusterPhase) -> Result<ClusterPhase, IllegalTransition> {
    match asked {
        OperationKind::Provision => cluster::transition(phase, ClusterEvent::ProvisionStarted),
        OperationKind::Reconfigure => begin_change(phase),
        OperationKind::RecoverState => cluster::transition(phase, ClusterEvent::RecoveryStarted),
        OperationKind::RotateCertificates => cluster::transition(phase, ClusterEvent::UpdateStarted),
        _ => Ok(phase),
    }
}

/// A cluster that works is changed; one that never was built is built from its new description.
fn begin_change(phase: ClusterPhase) -> Result<ClusterPhase, IllegalTransition> {
    cluster::transition(phase, ClusterEvent::UpdateStarted)
        .or_else(|_| cluster::transition(phase, ClusterEvent::ProvisionStarted))
}

/// The other tasks of a cluster go where its state goes.
fn move_tasks(db: &Connection, cluster: ClusterId, volume: VolumeId) -> Result<(), Fault> {
    let sql = "UPDATE tasks SET volume = ?2 WHERE volume IS NULL AND operation = \
               (SELECT operation FROM clusters WHERE id = ?1)";
    db.prepare_cached(sql)?.execute(params![key(cluster), key(volume)])?;
    Ok(())
}

fn insert_attempt(
    db: &Connection,
    request: &LeaseTasks,
    found: &Grantable,
    cluster: ClusterId,
    (attempt, fence, volume): (AttemptId, Fence, VolumeId),
) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO attempts (id, task, operation, cluster_id, agent, volume, kind, fence, state, leased_at, \
             output_offset, output_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0)",
    )?
    .execute(params![
        key(attempt),
        found.task,
        found.operation,
        key(cluster),
        key(request.agent),
        key(volume),
        found.kind.as_str(),
        int(fence.0)?,
        AttemptState::Leased.as_str(),
        request.now.as_millis(),
        int(found.output_bytes)?,
    ])?;
    Ok(())
}

fn read_lease(db: &Connection, seq: i64) -> Result<RawLease, Fault> {
    let mut select = db.prepare_cached(
        "SELECT a.id, a.fence, a.task, a.kind, a.operation, c.id, c.environment, c.name, a.volume, c.generation, \
             c.state_sha256, c.ca_sha256, c.spec, c.sealed_secrets, o.recover_generation, \
             coalesce((SELECT max(number) FROM generations WHERE cluster_id = c.id), 0), o.kind, o.options, \
             coalesce(o.request_id, '') \
         FROM attempts a JOIN clusters c ON c.id = a.cluster_id JOIN operations o ON o.id = a.operation \
         WHERE a.seq = ?1",
    )?;
    let mut lease = select.query_row([seq], |row| {
        let (state_sha256, ca_sha256) = (row.get(10)?, row.get(11)?);
        let generation = rows::count_or_null(row, 9)?;
        Ok(RawLease {
            attempt: rows::word(row, 0)?,
            fence: Fence(rows::count(row, 1)?),
            task: row.get(2)?,
            kind: rows::word(row, 3)?,
            operation: row.get(4)?,
            cluster: row.get(5)?,
            environment: rows::word(row, 6)?,
            name: row.get(7)?,
            volume: rows::word(row, 8)?,
            known: generation.map(|generation| KnownState { generation, state_sha256, ca_sha256 }),
            spec: row.get(12)?,
            sealed_secrets: row.get(13)?,
            recovery: Recovery { generation: rows::count_or_null(row, 14)?, newest_recorded: rows::count(row, 15)? },
            request_id: row.get(18)?,
            earlier: Map::new(),
            asked: rows::word(row, 16)?,
            options: rows::document_or_null(row, 17)?,
            abandoned: BTreeSet::new(),
            resources: Vec::new(),
        })
    })?;
    if !lease.kind.is_rke() {
        lease.earlier = earlier(db, &lease.operation)?;
    }
    if matches!(lease.kind, TaskKind::Preflight | TaskKind::Provision) {
        lease.abandoned = abandoned(db, &lease)?;
    }
    if lease.kind == TaskKind::Configure {
        lease.resources = resources::hand_over(db, lease.cluster.parse().map_err(Fault::Damaged)?)?;
    }
    Ok(lease)
}

/// Clusters that had the name of a lease's and whose removal was abandoned: the volume may still have them.
fn abandoned(db: &Connection, lease: &RawLease) -> Result<BTreeSet<ClusterId>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT DISTINCT cluster_id FROM operations \
         WHERE environment = ?1 AND cluster = ?2 AND abandoned IS NOT NULL AND cluster_id <> ?3",
    )?;
    let place = params![lease.environment.as_str(), lease.name, lease.cluster];
    let found = select.query_map(place, |row| rows::word(row, 0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// What the steps of an operation found so far.
fn earlier(db: &Connection, operation: &str) -> Result<Map<String, Value>, Fault> {
    let mut select =
        db.prepare_cached("SELECT kind, findings FROM tasks WHERE operation = ?1 AND findings IS NOT NULL")?;
    let found = select.query_map([operation], |row| Ok((row.get(0)?, rows::document(row, 1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Attempts in a locking state, with their agents.
pub(super) fn held(db: &Connection) -> Result<Vec<(AttemptId, AgentId)>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT id, agent FROM attempts WHERE state IN ('leased', 'started', 'unknown') ORDER BY seq",
    )?;
    let found = select.query_map([], |row| Ok((rows::word(row, 0)?, rows::word(row, 1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// When an attempt ends or is lost, as SQLite takes it.
pub(super) fn ended(state: AttemptState, now: Timestamp) -> Option<i64> {
    (!state.locks()).then(|| now.as_millis())
}
