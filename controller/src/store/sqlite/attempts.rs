//! What happens to an attempt between its lease and its report.
//!
//! Every change names agent, attempt and fence; one that does not fit changes nothing.

use cratekube_common::domain::attempt::{self, AttemptEvent, AttemptState, Fence};
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId};
use cratekube_common::domain::operation::{self, OperationEvent, OperationState};
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::RunVerdict;
use cratekube_common::domain::task::{self, TaskEvent, TaskState};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::lease::ended;
use super::rows::{self, json, key};
use super::{ending, operations};
use crate::store::Applied;

/// What every check on an attempt needs.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) state: AttemptState,
    pub(super) agent: AgentId,
    pub(super) fence: Fence,
    pub(super) operation: OperationId,
    pub(super) started: bool,
    pub(super) output_offset: u64,
    pub(super) output_bytes: u64,
}

impl Held {
    /// True when this agent may speak for the attempt under this fence.
    pub(super) fn is_of(&self, agent: AgentId, fence: Fence) -> bool {
        self.agent == agent && self.fence == fence
    }
}

/// Reads an attempt.
pub(super) fn read(db: &Connection, id: AttemptId) -> Result<Option<Held>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT state, agent, fence, operation, started_at IS NOT NULL, output_offset, output_bytes \
         FROM attempts WHERE id = ?1",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Held {
            state: rows::word(row, 0)?,
            agent: rows::word(row, 1)?,
            fence: Fence(rows::count(row, 2)?),
            operation: rows::word(row, 3)?,
            started: row.get(4)?,
            output_offset: rows::count(row, 5)?,
            output_bytes: rows::count(row, 6)?,
        })
    };
    Ok(select.query_row([key(id)], read).optional()?)
}

/// What an agent is answered that may not speak for an attempt: late, or never concerned.
pub(super) fn not_its_own(db: &Connection, agent: AgentId, id: AttemptId) -> Result<Applied, Fault> {
    Ok(if is_foreign(db, agent, id)? { Applied::Foreign } else { Applied::Stale })
}

/// True when there is such an attempt, and it was never this agent's.
pub(super) fn is_foreign(db: &Connection, agent: AgentId, id: AttemptId) -> Result<bool, Fault> {
    let mut select = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM attempts WHERE id = ?1) \
         AND NOT EXISTS (SELECT 1 FROM attempt_holders WHERE attempt = ?1 AND agent = ?2)",
    )?;
    Ok(select.query_row([key(id), key(agent)], |row| row.get(0))?)
}

/// The run of an attempt lies on a volume that is the agent's now: it may speak of it, if only to be told
/// that it is too late.
pub(super) fn found_on_volume(db: &Connection, agent: AgentId, id: AttemptId) -> Result<(), Fault> {
    let sql = "INSERT OR IGNORE INTO attempt_holders (attempt, agent) VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute([key(id), key(agent)])?;
    Ok(())
}

/// The agent has recorded the run.
pub(super) fn start(
    db: &Connection,
    agent: AgentId,
    id: AttemptId,
    fence: Fence,
    now: Timestamp,
) -> Result<Applied, Fault> {
    let held = read(db, id)?.filter(|held| held.is_of(agent, fence));
    let Some(held) = held else { return not_its_own(db, agent, id) };
    let Ok(state) = attempt::transition(held.state, AttemptEvent::Started) else { return Ok(Applied::Stale) };
    db.prepare_cached("UPDATE attempts SET state = ?2, started_at = coalesce(started_at, ?3) WHERE id = ?1")?
        .execute(params![key(id), state.as_str(), now.as_millis()])?;
    Ok(Applied::Done(held.operation))
}

/// The agent never started it.
pub(super) fn release(
    db: &Connection,
    agent: AgentId,
    id: AttemptId,
    fence: Fence,
    reason: &str,
    now: Timestamp,
) -> Result<Applied, Fault> {
    let held = read(db, id)?.filter(|held| held.is_of(agent, fence));
    let Some(held) = held else { return not_its_own(db, agent, id) };
    if held.state == AttemptState::Released {
        return Ok(Applied::Done(held.operation));
    }
    // One that was started once and is unknown now may have run: only its journal can tell.
    if held.started || attempt::transition(held.state, AttemptEvent::Released).is_err() {
        return Ok(Applied::Stale);
    }
    give_back(db, id, held.state, reason, now)?;
    Ok(Applied::Done(held.operation))
}

/// Queues the task of an attempt again that never started.
pub(super) fn give_back(
    db: &Connection,
    id: AttemptId,
    state: AttemptState,
    reason: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    let released = attempt::transition(state, AttemptEvent::Released)?;
    db.prepare_cached("UPDATE attempts SET state = ?2, reason = ?3, ended_at = ?4 WHERE id = ?1")?.execute(params![
        key(id),
        released.as_str(),
        reason,
        ended(released, now)
    ])?;
    let mut select = db.prepare_cached(
        "SELECT t.id, t.state, a.operation, a.cluster_id FROM attempts a JOIN tasks t ON t.id = a.task WHERE a.id = ?1",
    )?;
    type Found = (String, TaskState, OperationId, String);
    let read = |row: &Row<'_>| Ok((row.get(0)?, rows::word(row, 1)?, rows::word(row, 2)?, row.get(3)?));
    let (task, task_state, operation, cluster): Found = select.query_row([key(id)], read)?;
    let missing = || Fault::Damaged(format!("operation {operation} is not there"));
    let operation = operations::bare(db, operation)?.ok_or_else(missing)?;
    if operation.state == OperationState::Cancelling {
        ending::end_now(db, &operation, now)?;
        return unbind(db, &cluster);
    }
    let task_state = task::transition(task_state, TaskEvent::Requeued)?;
    db.prepare_cached("UPDATE tasks SET state = ?2 WHERE id = ?1")?.execute(params![task, task_state.as_str()])?;
    let state = operation::transition(operation.state, OperationEvent::Requeued)?;
    let sql = "UPDATE operations SET state = ?2, progress = NULL WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(operation.id), state.as_str()])?;
    unbind(db, &cluster)
}

/// A cluster for which nothing ever started belongs to no volume: any agent may still take it.
fn unbind(db: &Connection, cluster: &str) -> Result<(), Fault> {
    let untouched = "NOT EXISTS (SELECT 1 FROM attempts WHERE cluster_id = ?1 AND state <> 'released')";
    db.prepare_cached(&format!("UPDATE clusters SET volume = NULL WHERE id = ?1 AND {untouched}"))?
        .execute([cluster])?;
    db.prepare_cached(&format!(
        "UPDATE tasks SET volume = NULL WHERE state IN ('queued', 'pending') AND operation IN \
             (SELECT id FROM operations WHERE cluster_id = ?1) AND {untouched}"
    ))?
    .execute([cluster])?;
    Ok(())
}

/// Leases ran out, or nobody holds the run: the end is not known, the cluster stays locked.
/// Answers those for which that is new.
pub(super) fn lose(db: &Connection, ids: &[AttemptId]) -> Result<Vec<AttemptId>, Fault> {
    let mut lost = Vec::new();
    for id in ids {
        let held = read(db, *id)?.filter(|held| held.state.locks() && held.state != AttemptState::Unknown);
        let Some(held) = held else { continue };
        let state = attempt::transition(held.state, AttemptEvent::LeaseExpired)?;
        let sql = "UPDATE attempts SET state = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![key(id), state.as_str()])?;
        lost.push(*id);
    }
    Ok(lost)
}

/// The word on attempts whose leases are to be renewed.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// For each attempt.
    pub(super) verdicts: Vec<(AttemptId, RunVerdict)>,
    /// Those that are found again by this: lost once, started before, and still with their agent.
    pub(super) found_again: Vec<AttemptId>,
}

/// Says which attempts are still the agent's to work on.
pub(super) fn verdicts(db: &Connection, agent: AgentId, ids: &[AttemptId]) -> Result<Verdicts, Fault> {
    let mut select = db.prepare_cached("SELECT state FROM operations WHERE id = ?1")?;
    let mut answer = Verdicts::default();
    for id in ids {
        let held = read(db, *id)?.filter(|held| held.agent == agent && held.state.locks());
        let verdict = match &held {
            None => RunVerdict::Forget,
            Some(held) => match select.query_row([key(held.operation)], |row| rows::word(row, 0))? {
                OperationState::Cancelling => RunVerdict::Cancel,
                _ => RunVerdict::Continue,
            },
        };
        if held.is_some_and(|held| held.state == AttemptState::Unknown && held.started) {
            answer.found_again.push(*id);
        }
        answer.verdicts.push((*id, verdict));
    }
    Ok(answer)
}

/// Attempts that were lost go on.
pub(super) fn find_again(db: &Connection, agent: AgentId, ids: &[AttemptId]) -> Result<(), Fault> {
    for id in ids {
        let held = read(db, *id)?.filter(|held| held.agent == agent && held.started);
        let Some(held) = held.filter(|held| held.state == AttemptState::Unknown) else { continue };
        let state = attempt::transition(held.state, AttemptEvent::Started)?;
        let sql = "UPDATE attempts SET state = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![key(id), state.as_str()])?;
    }
    Ok(())
}

/// How far a run is.
pub(super) fn progress(
    db: &Connection,
    agent: AgentId,
    id: AttemptId,
    fence: Fence,
    progress: &Progress,
) -> Result<Applied, Fault> {
    let held = read(db, id)?.filter(|held| held.is_of(agent, fence) && held.state.locks());
    let Some(held) = held else { return not_its_own(db, agent, id) };
    let sql = "UPDATE operations SET progress = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(held.operation), json(progress)?])?;
    Ok(Applied::Done(held.operation))
}
