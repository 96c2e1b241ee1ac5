//! Recording removals, with what each is to do, and ends that an administrator puts to them.
//!
//! A removal that repeats one that failed goes on at the step that failed: what was done before counts,
//! as long as nothing else was done with the cluster since.

use std::collections::BTreeSet;

use cratekube_common::domain::cluster::{self, ClusterEvent, ClusterPhase, Condition};
use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::operation::{self, Operation, OperationEvent, OperationKind, OperationState};
use cratekube_common::domain::removal::{CloudRecord, RemovalOptions, RemovalWish};
use cratekube_common::domain::task::{self, TaskEvent, TaskKind, TaskState};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::accept::{self, Live, Work, asked, ever_ran, live_cluster, put_to_work, record};
use super::fault::Fault;
use super::rows::{self, json, json_or_null, key};
use super::{audit, ending, operations};
use crate::store::{AbandonRemoval, Abandoned, Abandonment, AcceptOperation, Acceptance, RemovalRecord, TaskRecord};

/// Records a removal, and what it is to do.
pub(super) fn removal(db: &Connection, request: &AcceptOperation, wish: &RemovalWish) -> Result<Acceptance, Fault> {
    let accepted = accept::operation(db, request)?;
    if let Acceptance::Accepted(operation) = &accepted {
        let options = options(db, operation.cluster_id, wish)?;
        let sql = "UPDATE operations SET options = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![key(operation.id), json(&options)?])?;
    }
    Ok(accepted)
}

/// What a removal of this cluster is to do, and what is known for it.
pub(super) fn options(db: &Connection, cluster: ClusterId, wish: &RemovalWish) -> Result<RemovalOptions, Fault> {
    let mut select = db.prepare_cached("SELECT ca_sha256 FROM clusters WHERE id = ?1")?;
    let ca_sha256 = select.query_row([key(cluster)], |row| row.get(0)).optional()?.flatten();
    Ok(RemovalOptions::new(wish, hosts(db, cluster)?, ca_sha256, recorded(db, cluster)?))
}

/// Hosts of all specs that the cluster had.
fn hosts(db: &Connection, cluster: ClusterId) -> Result<BTreeSet<String>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT DISTINCT n.value ->> '$.address' FROM revisions r, json_each(r.spec, '$.nodes') n \
         WHERE r.cluster_id = ?1 AND n.value ->> '$.address' IS NOT NULL",
    )?;
    let found = select.query_map([key(cluster)], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// What removals of the cluster recorded of its objects in the cloud, newer ones laid over older ones.
fn recorded(db: &Connection, cluster: ClusterId) -> Result<CloudRecord, Fault> {
    let mut select = db.prepare_cached(
        "SELECT t.findings -> '$.cloud' FROM clusters c \
         JOIN operations o ON o.environment = c.environment AND o.cluster = c.name AND o.cluster_id = c.id \
         JOIN tasks t ON t.operation = o.id \
         WHERE c.id = ?1 AND t.kind = ?2 AND t.findings IS NOT NULL ORDER BY t.seq",
    )?;
    let found = select
        .query_map(params![key(cluster), TaskKind::Record.as_str()], |row| rows::document_or_null::<Value>(row, 0))?;
    let mut record = CloudRecord::default();
    for cloud in found {
        // What cannot be read was written by another release: the tags say the same.
        let newer = cloud?.and_then(|cloud| serde_json::from_value::<CloudRecord>(cloud).ok());
        record = newer.into_iter().fold(record, CloudRecord::with);
    }
    Ok(record)
}

/// Records that a cluster is to go.
pub(super) fn accept(db: &Connection, request: &AcceptOperation, cluster: &Live) -> Result<Acceptance, Fault> {
    let at_work = cluster.operation.map(|id| operations::bare(db, id)).transpose()?.flatten();
    let nothing_ran = !ever_ran(db, (&request.environment, &request.name), cluster.id)?;
    match at_work {
        Some(waiting)
            if nothing_ran && waiting.kind == OperationKind::Provision && waiting.state == OperationState::Queued =>
        {
            ending::end_now(db, &waiting, request.now)?;
            // The cluster failed by that; it is to be removed all the same.
            let cluster = live_cluster(db, &request.environment, &request.name)?;
            cluster.map_or(Ok(Acceptance::NotFound), |cluster| remove_at_once(db, request, &cluster))
        }
        Some(busy) => Ok(Acceptance::Busy(busy.id)),
        None if nothing_ran => remove_at_once(db, request, cluster),
        None => {
            let operation = asked(request, cluster);
            let work = Work { tasks: &request.tasks, state: TaskState::Queued, volume: cluster.volume.as_deref() };
            record(db, &operation, &work, request.idempotency.as_ref(), &request.audit)?;
            go_on(db, request, cluster)?;
            let phase = cluster::transition(cluster.phase, ClusterEvent::RemovalAccepted)?;
            put_to_work(db, cluster, phase, Some(operation.id), request.now)?;
            let sql = "UPDATE clusters SET phase_before = ?2 WHERE id = ?1";
            db.prepare_cached(sql)?.execute(params![key(cluster.id), cluster.phase.as_str()])?;
            Ok(Acceptance::Accepted(Box::new(operation)))
        }
    }
}

/// Nothing was ever run for the cluster, so there is nothing to take down.
fn remove_at_once(db: &Connection, request: &AcceptOperation, cluster: &Live) -> Result<Acceptance, Fault> {
    let started = operation::transition(OperationState::Queued, OperationEvent::Started)?;
    let operation = Operation {
        state: operation::transition(started, OperationEvent::Succeeded)?,
        started_at: Some(request.now),
        ended_at: Some(request.now),
        ..asked(request, cluster)
    };
    let dropped = task::transition(TaskState::Queued, TaskEvent::Cancelled)?;
    let work = Work { tasks: &request.tasks, state: dropped, volume: None };
    record(db, &operation, &work, request.idempotency.as_ref(), &request.audit)?;
    let removing = cluster::transition(cluster.phase, ClusterEvent::RemovalAccepted)?;
    let removed = cluster::transition(removing, ClusterEvent::Removed)?;
    put_to_work(db, cluster, removed, None, request.now)?;
    Ok(Acceptance::Accepted(Box::new(operation)))
}

/// A removal that repeats another one does what that one was to do, and what that one did counts.
fn go_on(db: &Connection, request: &AcceptOperation, cluster: &Live) -> Result<(), Fault> {
    let Some((before, _)) = request.retry_of else { return Ok(()) };
    let sql = "UPDATE operations SET options = (SELECT options FROM operations WHERE id = ?2) WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(request.operation), key(before)])?;
    if newest_before(db, cluster.id, request.operation)? != Some(before) {
        return Ok(());
    }
    let done = done_of(db, before)?;
    // The last task is never left out: an operation ends by the end of a task.
    let last = request.tasks.len().saturating_sub(1);
    let mut counts = 0;
    for planned in request.tasks.iter().take(last) {
        let Some((_, findings)) = done.iter().find(|(kind, _)| *kind == planned.kind) else { break };
        db.prepare_cached("UPDATE tasks SET state = ?2, findings = ?3 WHERE id = ?1")?.execute(params![
            key(planned.id),
            TaskState::Succeeded.as_str(),
            json_or_null(findings.as_ref())?
        ])?;
        counts += 1;
    }
    if let Some(next) = request.tasks.get(counts).filter(|_| counts > 0) {
        let queued = task::transition(TaskState::Pending, TaskEvent::Released)?;
        let sql = "UPDATE tasks SET state = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![key(next.id), queued.as_str()])?;
    }
    Ok(())
}

/// The newest operation on a cluster before this one.
fn newest_before(db: &Connection, cluster: ClusterId, operation: OperationId) -> Result<Option<OperationId>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT o.id FROM operations o JOIN clusters c ON o.environment = c.environment AND o.cluster = c.name \
         WHERE c.id = ?1 AND o.cluster_id = ?1 AND o.id <> ?2 ORDER BY o.seq DESC LIMIT 1",
    )?;
    let ids = params![key(cluster), key(operation)];
    Ok(select.query_row(ids, |row| rows::word(row, 0)).optional()?)
}

/// The tasks that an operation did, with what they found.
fn done_of(db: &Connection, operation: OperationId) -> Result<Vec<(TaskKind, Option<Value>)>, Fault> {
    let sql = "SELECT kind, findings FROM tasks WHERE operation = ?1 AND state = 'succeeded' ORDER BY ordinal";
    let mut select = db.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok((rows::word(row, 0)?, rows::document_or_null(row, 1)?));
    Ok(select.query_map([key(operation)], read)?.collect::<Result<_, _>>()?)
}

/// Most removals that one repeats: more than anybody has patience for.
const MOST_REPEATED: usize = 100;
/// Condition of a cluster that counts as removed although something of it may be left.
const RESIDUE: &str = "residue";

/// What is known of a removal.
pub(super) fn by_operation(db: &Connection, id: OperationId) -> Result<Option<RemovalRecord>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT options, abandoned, retry_of, environment, cluster, cluster_id FROM operations \
         WHERE id = ?1 AND kind = 'remove'",
    )?;
    let found = select.query_row([key(id)], |row| {
        let options = rows::document_or_null::<Value>(row, 0)?;
        let abandoned = rows::document_or_null::<Abandonment>(row, 1)?;
        let place = (rows::word(row, 3)?, rows::word(row, 4)?, rows::word(row, 5)?);
        Ok((options, abandoned, rows::word_or_null::<OperationId>(row, 2)?, place))
    });
    let Some((options, abandoned, repeats, (environment, cluster, cluster_id))) = found.optional()? else {
        return Ok(None);
    };
    let mut before: Vec<Vec<TaskRecord>> = Vec::new();
    let mut next = repeats;
    while let Some(older) = next.filter(|_| before.len() < MOST_REPEATED) {
        before.push(operations::tasks(db, older)?);
        let mut select = db.prepare_cached("SELECT retry_of FROM operations WHERE id = ?1 AND kind = 'remove'")?;
        next = select.query_row([key(older)], |row| rows::word_or_null(row, 0)).optional()?.flatten();
    }
    Ok(Some(RemovalRecord {
        // What another release wrote says nothing here.
        options: options.and_then(|options| serde_json::from_value(options).ok()),
        abandoned,
        ran: ever_ran(db, (&environment, &cluster), cluster_id)?,
        tasks: operations::tasks(db, id)?,
        before: before.into_iter().rev().flatten().collect(),
    }))
}

/// Ends a removal that cannot be finished.
pub(super) fn abandon(db: &Connection, request: &AbandonRemoval) -> Result<Abandoned, Fault> {
    let Some(operation) = operations::bare(db, request.operation)? else { return Ok(Abandoned::NotFound) };
    if operation.kind != OperationKind::Remove {
        return Ok(Abandoned::NotAllowed(format!("It is a {}; only a removal can be abandoned.", operation.kind)));
    }
    if operation.state == OperationState::Succeeded {
        return Ok(Abandoned::Over(operation.state));
    }
    let cluster = live_cluster(db, &operation.environment, &operation.cluster)?;
    let Some(cluster) = cluster.filter(|cluster| cluster.id == operation.cluster_id) else {
        return Ok(Abandoned::Over(operation.state));
    };
    if let Some(refusal) = no_last_word(db, &operation, &cluster)? {
        return Ok(refusal);
    }
    let abandonment = Abandonment { by: request.by.clone(), at: request.now, reason: request.reason.clone() };
    if !operation.state.is_terminal() {
        ending::end_now(db, &operation, request.now)?;
    }
    let said = format!("The removal was abandoned by {}: {}", request.by, request.reason);
    let warnings: Vec<&String> = operation.warnings.iter().chain([&said]).collect();
    db.prepare_cached("UPDATE operations SET abandoned = ?2, warnings = ?3 WHERE id = ?1")?.execute(params![
        key(operation.id),
        json(&abandonment)?,
        json(&warnings)?
    ])?;
    let phase = cluster_phase(db, cluster.id)?;
    let removing = cluster::transition(phase, ClusterEvent::RemovalAccepted)?;
    let removed = cluster::transition(removing, ClusterEvent::Removed)?;
    put_to_work(db, &cluster, removed, None, request.now)?;
    note_residue(db, &operation, &said)?;
    audit::append(db, &request.audit, request.now)?;
    let missing = || Fault::Damaged(format!("operation {} is not there", operation.id));
    Ok(Abandoned::Done(Box::new(operations::by_id(db, operation.id)?.ok_or_else(missing)?)))
}

/// Why a removal cannot be abandoned: it is at work, or something else is said of its cluster.
fn no_last_word(db: &Connection, operation: &Operation, cluster: &Live) -> Result<Option<Abandoned>, Fault> {
    let mut locked = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM attempts WHERE cluster_id = ?1 AND state IN ('leased', 'started', 'unknown'))",
    )?;
    if let Some(other) = cluster.operation.filter(|at_work| *at_work != operation.id) {
        return Ok(Some(Abandoned::Busy(other)));
    }
    if locked.query_row([key(cluster.id)], |row| row.get(0))? {
        return Ok(Some(Abandoned::Locked));
    }
    let newest = newest_before(db, cluster.id, OperationId(uuid::Uuid::nil()))?;
    let why = "Something else was done with the cluster since; ask for its removal again, and abandon that.";
    Ok((newest != Some(operation.id)).then(|| Abandoned::NotAllowed(why.into())))
}

fn cluster_phase(db: &Connection, cluster: ClusterId) -> Result<ClusterPhase, Fault> {
    let mut select = db.prepare_cached("SELECT phase FROM clusters WHERE id = ?1")?;
    Ok(select.query_row([key(cluster)], |row| rows::word(row, 0))?)
}

/// Says on the cluster that something of it may be left.
fn note_residue(db: &Connection, operation: &Operation, said: &str) -> Result<(), Fault> {
    let cluster = key(operation.cluster_id);
    let mut select = db.prepare_cached("SELECT conditions FROM clusters WHERE id = ?1")?;
    let mut conditions: Vec<Condition> = select.query_row([&cluster], |row| rows::document(row, 0))?;
    let message = format!("{said} What is left is told by the residue report of operation {}.", operation.id);
    conditions.push(Condition { kind: RESIDUE.into(), message });
    let sql = "UPDATE clusters SET conditions = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![cluster, json(&conditions)?])?;
    Ok(())
}
