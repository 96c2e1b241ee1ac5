//! Ends that people ask for: cancelling an operation, giving up a run, forgetting an agent.
//!
//! What follows is decided by [`plan::cancel`](crate::plan::cancel) and
//! [`plan::settle`](crate::plan::settle) and applied through the domain's transition functions; the audit
//! entry is part of the change.

use cratekube_common::domain::agent::{self, AgentEvent, AgentState};
use cratekube_common::domain::cluster::{self, ClusterEvent, ClusterPhase};
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId};
use cratekube_common::domain::operation::{self, Operation, OperationEvent, OperationKind, OperationState};
use cratekube_common::domain::task::{self, TaskEvent, TaskState};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, json, json_or_null, key};
use super::{agents, audit, operations, revisions, settle};
use crate::plan::cancel::{self, Idle, cancelled};
use crate::store::{
    AgentChanged, CancelOperation, Cancellation, ChangeAgent, ForceUnlock, Forced, ForgetAgent, Forgotten,
};

/// Attempts that hold their cluster.
const LOCKING: &str = "state IN ('leased', 'started', 'unknown')";

/// Ends an operation, or asks for the end of its run.
pub(super) fn cancel(db: &Connection, request: &CancelOperation) -> Result<Cancellation, Fault> {
    let Some(operation) = operations::bare(db, request.operation)? else { return Ok(Cancellation::NotFound) };
    match operation.state {
        OperationState::Cancelled => return Ok(Cancellation::Cancelled(Box::new(operation))),
        state if state.is_terminal() => return Ok(Cancellation::Over(state)),
        _ => {}
    }
    let running = running(db, request.operation)?;
    // Who repeats the wish is answered the same, and leaves one trace.
    if operation.state != OperationState::Cancelling {
        audit::append(db, &request.audit, request.now)?;
    }
    match running {
        Some((attempt, agent)) => {
            let state = ask(db, &operation)?;
            let operation = Box::new(Operation { state, ..operation });
            Ok(Cancellation::Ending { operation, agent, attempt })
        }
        None => {
            end_now(db, &operation, request.now)?;
            let ended = operations::by_id(db, operation.id)?.unwrap_or(operation);
            Ok(Cancellation::Cancelled(Box::new(ended)))
        }
    }
}

/// The attempt of an operation that holds its cluster, with its agent.
fn running(db: &Connection, operation: OperationId) -> Result<Option<(AttemptId, AgentId)>, Fault> {
    let sql = format!("SELECT id, agent FROM attempts WHERE operation = ?1 AND {LOCKING}");
    let read = |row: &Row<'_>| Ok((rows::word(row, 0)?, rows::word(row, 1)?));
    Ok(db.prepare_cached(&sql)?.query_row([key(operation)], read).optional()?)
}

fn ask(db: &Connection, operation: &Operation) -> Result<OperationState, Fault> {
    if operation.state == OperationState::Cancelling {
        return Ok(operation.state);
    }
    let state = operation::transition(operation.state, OperationEvent::CancelRequested)?;
    let sql = "UPDATE operations SET state = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(operation.id), state.as_str()])?;
    Ok(state)
}

/// Ends an operation that nothing runs for.
pub(super) fn end_now(db: &Connection, operation: &Operation, now: Timestamp) -> Result<(), Fault> {
    let asked = match operation.state {
        OperationState::Cancelling => operation.state,
        state => operation::transition(state, OperationEvent::CancelRequested)?,
    };
    let state = match asked {
        OperationState::Cancelled => asked,
        asked => operation::transition(asked, OperationEvent::Cancelled)?,
    };
    let sql = "UPDATE operations SET state = ?2, ended_at = ?3, failure = ?4 WHERE id = ?1";
    let values = params![key(operation.id), state.as_str(), now.as_millis(), json(&cancelled())?];
    db.prepare_cached(sql)?.execute(values)?;
    drop_tasks(db, operation.id)?;
    release_cluster(db, operation, now)
}

fn drop_tasks(db: &Connection, operation: OperationId) -> Result<(), Fault> {
    let mut tasks = db.prepare_cached(
        "SELECT id, state FROM tasks WHERE operation = ?1 AND state IN ('pending', 'queued', 'running')",
    )?;
    let tasks = tasks.query_map([key(operation)], |row| Ok((row.get::<_, String>(0)?, rows::word(row, 1)?)))?;
    for (id, state) in tasks.collect::<Result<Vec<(String, TaskState)>, _>>()? {
        let cancelled = task::transition(state, TaskEvent::Cancelled)?;
        let sql = "UPDATE tasks SET state = ?2, delay_ms = 0 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![id, cancelled.as_str()])?;
    }
    Ok(())
}

/// The cluster is free, and what it was or failed.
fn release_cluster(db: &Connection, operation: &Operation, now: Timestamp) -> Result<(), Fault> {
    let mut select = db.prepare_cached(
        "SELECT phase, phase_before, (SELECT EXISTS (SELECT 1 FROM attempts WHERE operation = ?2 AND state <> 'released')) \
         FROM clusters WHERE id = ?1 AND operation = ?2",
    )?;
    let read = |row: &Row<'_>| {
        let phase: ClusterPhase = rows::word(row, 0)?;
        Ok(Idle { kind: operation.kind, phase, before: rows::word_or_null(row, 1)?, ran: row.get(2)? })
    };
    let ids = params![key(operation.cluster_id), key(operation.id)];
    let Some(idle) = select.query_row(ids, read).optional()? else { return Ok(()) };
    if operation.kind == OperationKind::Reconfigure && !idle.ran {
        revisions::withdraw(db, operation, now)?;
    }
    let event = cancel::step(idle);
    let phase = event.map_or(Ok(idle.phase), |event| cluster::transition(idle.phase, event))?;
    let failed = event == Some(ClusterEvent::Failed) || phase == ClusterPhase::Failed;
    let failure = failed.then(cancelled);
    db.prepare_cached(
        "UPDATE clusters SET phase = ?2, operation = NULL, phase_before = NULL, updated_at = ?4, \
             failure = CASE WHEN ?2 = 'degraded' THEN coalesce(?3, failure) ELSE ?3 END WHERE id = ?1",
    )?
    .execute(params![
        key(operation.cluster_id),
        phase.as_str(),
        json_or_null(failure.as_ref())?,
        now.as_millis()
    ])?;
    Ok(())
}

/// Gives up the run that holds a cluster.
pub(super) fn force_unlock(db: &Connection, request: &ForceUnlock) -> Result<Forced, Fault> {
    let sql = format!(
        "SELECT c.id, (SELECT id FROM attempts WHERE cluster_id = c.id AND {LOCKING}), \
             (SELECT agent FROM attempts WHERE cluster_id = c.id AND {LOCKING}) \
         FROM clusters c WHERE c.environment = ?1 AND c.name = ?2 AND c.phase <> 'removed'"
    );
    type Found = (String, Option<AttemptId>, Option<AgentId>);
    let read = |row: &Row<'_>| Ok((row.get(0)?, rows::word_or_null(row, 1)?, rows::word_or_null(row, 2)?));
    let names = params![request.environment.as_str(), request.name.as_str()];
    let found: Option<Found> = db.prepare_cached(&sql)?.query_row(names, read).optional()?;
    let Some((_, attempt, agent)) = found else { return Ok(Forced::NotFound) };
    let (Some(attempt), Some(agent)) = (attempt, agent) else { return Ok(Forced::NotLocked) };
    if request.connected.contains(&agent) {
        return Ok(Forced::Alive(agent));
    }
    let operation = settle::give_up(db, attempt, &request.reason, request.now)?;
    audit::append(db, &request.audit, request.now)?;
    let missing = || Fault::Damaged(format!("operation {operation} is not there"));
    Ok(Forced::Done(Box::new(operations::by_id(db, operation)?.ok_or_else(missing)?)))
}

/// Cordons, uncordons, drains or revokes an agent.
pub(super) fn change_agent(db: &Connection, request: &ChangeAgent) -> Result<AgentChanged, Fault> {
    let Some(found) = agents::by_id(db, request.agent)? else { return Ok(AgentChanged::NotFound) };
    let Ok(state) = agent::transition(found.state, request.event) else {
        return Ok(AgentChanged::NotAllowed(found.state));
    };
    if state != found.state {
        set_state(db, request.agent, state)?;
        audit::append(db, &request.audit, request.now)?;
    }
    Ok(AgentChanged::Done(Box::new(agent::Agent { state, ..found })))
}

fn set_state(db: &Connection, agent: AgentId, state: AgentState) -> Result<(), Fault> {
    let sql = "UPDATE agents SET state = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(agent), state.as_str()])?;
    Ok(())
}

/// Forgets an agent that will not return.
pub(super) fn forget_agent(db: &Connection, request: &ForgetAgent) -> Result<Forgotten, Fault> {
    let Some(found) = agents::by_id(db, request.agent)? else { return Ok(Forgotten::NotFound) };
    if !found.running.is_empty() && !request.force {
        return Ok(Forgotten::Holds(found.running));
    }
    let reason = format!("its agent {} was forgotten: {}", found.name, request.reason);
    let given_up = |attempt: &AttemptId| settle::give_up(db, *attempt, &reason, request.now);
    let operations = found.running.iter().map(given_up).collect::<Result<Vec<_>, _>>()?;
    set_state(db, request.agent, agent::transition(found.state, AgentEvent::Revoke)?)?;
    db.prepare_cached("DELETE FROM volumes WHERE agent = ?1")?.execute([key(request.agent)])?;
    audit::append(db, &request.audit, request.now)?;
    Ok(Forgotten::Done(operations))
}
