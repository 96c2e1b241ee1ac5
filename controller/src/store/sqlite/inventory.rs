//! What a volume knows better than a database that was put back from a backup is taken from it.
//!
//! Runs are gone through in the order of their fences, each as if it had been leased and reported now: its
//! attempt is recorded if it is not, and settled through the functions that settle every run. The last
//! run of a cluster is not settled here but reported again by its agent, with its output. Of what an
//! earlier run printed, the volume has the only copy; the operation says so.
//!
//! A cluster that is not known, or known otherwise, is written down and left alone: nothing on a volume is
//! ever deleted by this. What cannot be reconciled keeps nothing else from it.

use std::collections::BTreeSet;

use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::{self, ClusterEvent, ClusterPhase};
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
use cratekube_common::domain::inventory::{ClusterOnVolume, RunOnVolume, Work};
use cratekube_common::domain::operation::{self, Operation, OperationEvent};
use cratekube_common::domain::task::{self, TaskEvent, TaskKind, TaskState};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::lease::phase_at_start;
use super::rows::{self, int, json, key};
use super::{accept, attempts, audit, ending, operations, page, restored, settle};
use crate::plan::evidence::{is_number, known};
use crate::plan::histories::asked_for;
use crate::store::{InventoryTaken, Orphan, Page, PageRequest, Settled, TakeInventory};

/// Said of attempts that the volume never heard of.
const NEVER_CAME: &str = "the controller was restored from a backup, and the attempt never came to the volume";
/// Said of a run whose end nobody knows.
const OVERTAKEN: &str =
    "the controller was restored from a backup; the volume has a later run, and not how this one ended";
/// Who asked for an operation that only a volume knows of.
const NOT_KNOWN: &str = "not known (before the controller was restored)";

/// Takes what a volume tells.
pub(super) fn take(db: &Connection, request: &TakeInventory) -> Result<InventoryTaken, Fault> {
    let mut taken = InventoryTaken::default();
    db.prepare_cached("DELETE FROM orphans WHERE volume = ?1")?.execute([key(request.volume)])?;
    for found in &request.clusters {
        let mut of_cluster = taken.clone();
        db.execute_batch("SAVEPOINT cluster_on_volume")?;
        match take_cluster(db, request, found, &mut of_cluster) {
            Ok(()) => taken = of_cluster,
            Err(error) => {
                db.execute_batch("ROLLBACK TO cluster_on_volume")?;
                tracing::error!(volume = %request.volume, cluster = %found.cluster, ?error, "a cluster on a volume cannot be reconciled");
                keep_orphan(db, request, found, &format!("it cannot be reconciled with what is on record: {error:?}"))?;
                taken.orphans += 1;
            }
        }
        db.execute_batch("RELEASE cluster_on_volume")?;
    }
    release_what_never_came(db, request, &mut taken)?;
    restored::looked_through(db, request.volume)?;
    let mut entry = request.audit.clone();
    entry.detail = format!(
        "{} clusters; {} runs settled, {} to be reported again, {} attempts queued again, {} generations added, {} clusters not known",
        request.clusters.len(),
        taken.settled,
        taken.report_again.len(),
        taken.released,
        taken.generations,
        taken.orphans
    );
    audit::append(db, &entry, request.now)?;
    Ok(taken)
}

/// Clusters that were found on volumes and are not known.
pub(super) fn orphans(db: &Connection, request: &PageRequest) -> Result<Page<Orphan>, Fault> {
    let (volume, cluster) = request.after.as_deref().and_then(|after| after.split_once('/')).unwrap_or(("", ""));
    let mut select = db.prepare_cached(
        "SELECT volume, cluster_id, environment, name, fence, generation, reason, found_at FROM orphans \
         WHERE (volume, cluster_id) > (?1, ?2) ORDER BY volume, cluster_id LIMIT ?3",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Orphan {
            volume: rows::word(row, 0)?,
            cluster: rows::word(row, 1)?,
            environment: rows::word(row, 2)?,
            name: rows::word(row, 3)?,
            fence: rows::count_or_null(row, 4)?.map(cratekube_common::domain::attempt::Fence),
            generation: rows::count_or_null(row, 5)?,
            reason: row.get(6)?,
            found_at: rows::time(row, 7)?,
        })
    };
    let items =
        select.query_map(params![volume, cluster, page::rows(request.limit)], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(page::cut(items, request.limit, |orphan| format!("{}/{}", orphan.volume, orphan.cluster)))
}

/// What is read of a cluster before it is reconciled.
struct Recorded {
    phase: ClusterPhase,
    volume: Option<String>,
    at_work: Option<OperationId>,
    generation: Option<u64>,
    ca_sha256: Option<String>,
}

fn recorded(db: &Connection, id: ClusterId) -> Result<Option<Recorded>, Fault> {
    let mut select =
        db.prepare_cached("SELECT phase, volume, operation, generation, ca_sha256 FROM clusters WHERE id = ?1")?;
    let read = |row: &Row<'_>| {
        Ok(Recorded {
            phase: rows::word(row, 0)?,
            volume: row.get(1)?,
            at_work: rows::word_or_null(row, 2)?,
            generation: rows::count_or_null(row, 3)?,
            ca_sha256: row.get(4)?,
        })
    };
    Ok(select.query_row([key(id)], read).optional()?)
}

fn take_cluster(
    db: &Connection,
    request: &TakeInventory,
    found: &ClusterOnVolume,
    taken: &mut InventoryTaken,
) -> Result<(), Fault> {
    let why = match recorded(db, found.cluster)? {
        None if found.removed => return Ok(()),
        None => "the controller does not know it: it was made after the backup".to_owned(),
        Some(cluster) if cluster.volume.as_ref().is_some_and(|volume| *volume != key(request.volume)) => {
            format!("on record it belongs to volume {}", cluster.volume.unwrap_or_default())
        }
        Some(_) => return reconcile(db, request, found, taken),
    };
    taken.orphans += 1;
    keep_orphan(db, request, found, &why)
}

fn reconcile(
    db: &Connection,
    request: &TakeInventory,
    found: &ClusterOnVolume,
    taken: &mut InventoryTaken,
) -> Result<(), Fault> {
    let cluster = key(found.cluster);
    if let Some(fence) = found.fence {
        db.prepare_cached("UPDATE clusters SET volume = ?2, fence = max(fence, ?3) WHERE id = ?1")?
            .execute(params![cluster, key(request.volume), int(fence.0)?])?;
        db.prepare_cached("UPDATE tasks SET volume = ?2 WHERE cluster_id = ?1 AND state IN ('queued', 'pending')")?
            .execute(params![cluster, key(request.volume)])?;
    }
    let runs: Vec<_> = found.runs.iter().filter(|run| !run.forgotten).collect();
    let newest = runs.last().map(|run| run.attempt);
    for run in runs {
        take_run(db, request, found, run, newest == Some(run.attempt), taken)?;
    }
    let to_come =
        newest.filter(|attempt| attempts::read(db, *attempt).is_ok_and(|a| a.is_some_and(|a| a.state.locks())));
    take_generations(db, found, to_come, taken)?;
    if found.removed && to_come.is_none() { is_removed(db, request, found.cluster) } else { Ok(()) }
}

fn take_run(
    db: &Connection,
    request: &TakeInventory,
    found: &ClusterOnVolume,
    run: &RunOnVolume,
    is_newest: bool,
    taken: &mut InventoryTaken,
) -> Result<(), Fault> {
    match (attempts::read(db, run.attempt)?, run.work) {
        (Some(held), _) if !held.state.locks() => return Ok(()),
        (Some(held), _) if held.fence != run.fence => return Ok(()),
        (Some(_), _) => {}
        (None, Some(work)) => {
            if !insert(db, request, found, run, work)? {
                return Ok(());
            }
        }
        // It was refused before anything was written down of it: whatever it was to do waits again.
        (None, None) => return Ok(()),
    }
    // From here on the run is this agent's.
    db.prepare_cached("UPDATE attempts SET agent = ?2 WHERE id = ?1")?
        .execute(params![key(run.attempt), key(request.agent)])?;
    match &run.report {
        Some(_) if is_newest && run.recorded => taken.report_again.push(run.attempt),
        // It is at work, or its report is still to come: the agent holds it.
        _ if is_newest => {}
        Some(report) => {
            let settled = settle::by_volume(db, request.agent, report, request.retries, request.now)?;
            if let Settled::Now { operation, retry, .. } = settled {
                taken.operations.push(operation);
                taken.retries.extend(retry);
            }
            taken.settled += 1;
        }
        None => {
            taken.operations.push(settle::give_up(db, run.attempt, OVERTAKEN, request.now)?);
            taken.settled += 1;
        }
    }
    Ok(())
}

/// Records the attempt of a run that only the volume knows of. Answers whether there is something left to do
/// for its operation.
fn insert(
    db: &Connection,
    request: &TakeInventory,
    found: &ClusterOnVolume,
    run: &RunOnVolume,
    work: Work,
) -> Result<bool, Fault> {
    make_room(db, request, found.cluster, work.operation)?;
    let operation = match operations::bare(db, work.operation)? {
        Some(operation) if operation.state.is_terminal() || operation.cluster_id != found.cluster => return Ok(false),
        Some(operation) => operation,
        None => make_operation(db, request, found, work)?,
    };
    let Some(ordinal) = take_task(db, work)? else { return Ok(false) };
    finish_earlier(db, work.operation, ordinal)?;
    let state = operation::transition(operation.state, OperationEvent::Started)?;
    db.prepare_cached(
        "UPDATE operations SET state = ?2, started_at = coalesce(started_at, ?3), progress = NULL WHERE id = ?1",
    )?
    .execute(params![key(operation.id), state.as_str(), work.at.as_millis()])?;
    let phase = recorded(db, found.cluster)?.map_or(ClusterPhase::Pending, |cluster| cluster.phase);
    let phase = phase_at_start(operation.kind, phase)?;
    db.prepare_cached("UPDATE clusters SET phase = ?2, operation = ?3, updated_at = ?4 WHERE id = ?1")?
        .execute(params![key(found.cluster), phase.as_str(), key(operation.id), request.now.as_millis()])?;
    db.prepare_cached(
        "INSERT INTO attempts (id, task, operation, cluster_id, agent, volume, kind, fence, state, leased_at, started_at, \
             output_offset, output_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, 0)",
    )?
    .execute(params![
        key(run.attempt),
        key(work.task),
        key(operation.id),
        key(found.cluster),
        key(request.agent),
        key(request.volume),
        work.kind.as_str(),
        int(run.fence.0)?,
        AttemptState::Unknown.as_str(),
        work.at.as_millis(),
        int(operation.output_bytes)?,
    ])?;
    Ok(true)
}

/// One run and one operation at a time: whatever else was at work on the cluster when the backup was made
/// has ended since.
fn make_room(
    db: &Connection,
    request: &TakeInventory,
    cluster: ClusterId,
    operation: OperationId,
) -> Result<(), Fault> {
    let mut select = db.prepare_cached(
        "SELECT id FROM attempts WHERE cluster_id = ?1 AND state IN ('leased', 'started', 'unknown')",
    )?;
    let locking: Option<AttemptId> = select.query_row([key(cluster)], |row| rows::word(row, 0)).optional()?;
    if let Some(attempt) = locking {
        settle::give_up(db, attempt, OVERTAKEN, request.now)?;
    }
    let at_work = recorded(db, cluster)?.and_then(|cluster| cluster.at_work).filter(|id| *id != operation);
    if let Some(other) = at_work.map(|id| operations::bare(db, id)).transpose()?.flatten()
        && !other.state.is_terminal()
    {
        ending::end_now(db, &other, request.now)?;
    }
    Ok(())
}

/// An operation that was accepted after the backup, made again from what its runs say.
fn make_operation(
    db: &Connection,
    request: &TakeInventory,
    found: &ClusterOnVolume,
    work: Work,
) -> Result<Operation, Fault> {
    let of_it = found.runs.iter().filter_map(|run| run.work).filter(|other| other.operation == work.operation);
    let mut seen = BTreeSet::new();
    let tasks: Vec<Work> = of_it.filter(|work| seen.insert(work.task)).collect();
    let kinds: Vec<TaskKind> = tasks.iter().map(|work| work.kind).collect();
    let place = (&found.environment, &found.name, found.cluster);
    let mut operation = accept::queued(work.operation, asked_for(&kinds), place, NOT_KNOWN, work.at);
    operation.warnings.push(
        "It was accepted after the backup that the controller was restored from; what is known of it comes from the state volume. If it changed the cluster's description, that change is not on record."
            .into(),
    );
    accept::insert_operation(db, &operation)?;
    let mut entry = request.audit.clone();
    entry.object = format!("operation {}", operation.id);
    entry.detail =
        format!("{} of {}/{}, found on volume {}", operation.kind, found.environment, found.name, request.volume);
    audit::append(db, &entry, request.now)?;
    for (ordinal, task) in tasks.iter().enumerate() {
        let state = if ordinal == 0 { TaskState::Queued } else { TaskState::Pending };
        db.prepare_cached(
            "INSERT INTO tasks (id, operation, ordinal, kind, state, cluster_id, environment, volume) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            key(task.task),
            key(operation.id),
            i64::try_from(ordinal).unwrap_or(i64::MAX),
            task.kind.as_str(),
            state.as_str(),
            key(found.cluster),
            found.environment.as_str(),
            key(request.volume),
        ])?;
    }
    if operation.kind == operation::OperationKind::Remove {
        let phase = recorded(db, found.cluster)?.map_or(ClusterPhase::Pending, |cluster| cluster.phase);
        let phase = cluster::transition(phase, ClusterEvent::RemovalAccepted)?;
        let sql = "UPDATE clusters SET phase = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![key(found.cluster), phase.as_str()])?;
    }
    Ok(operation)
}

/// The task of a run begins; nothing when it is over. Answers its place in its operation.
fn take_task(db: &Connection, work: Work) -> Result<Option<i64>, Fault> {
    let mut select = db.prepare_cached("SELECT state, ordinal FROM tasks WHERE id = ?1 AND operation = ?2")?;
    let read = |row: &Row<'_>| Ok((rows::word::<TaskState>(row, 0)?, row.get::<_, i64>(1)?));
    let found = select.query_row(params![key(work.task), key(work.operation)], read).optional()?;
    let Some((mut state, ordinal)) = found else { return Ok(None) };
    if state == TaskState::Pending {
        state = task::transition(state, TaskEvent::Released)?;
    }
    let Ok(state) = task::transition(state, TaskEvent::Leased) else { return Ok(None) };
    let sql = "UPDATE tasks SET state = ?2, delay_ms = 0 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(work.task), state.as_str()])?;
    Ok(Some(ordinal))
}

/// Tasks before one that ran have succeeded, or it would not have run.
fn finish_earlier(db: &Connection, operation: OperationId, ordinal: i64) -> Result<(), Fault> {
    let mut select = db.prepare_cached(
        "SELECT id, state FROM tasks WHERE operation = ?1 AND ordinal < ?2 AND state IN ('pending', 'queued', 'running')",
    )?;
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, rows::word::<TaskState>(row, 1)?));
    for (id, mut state) in select.query_map(params![key(operation), ordinal], read)?.collect::<Result<Vec<_>, _>>()? {
        for event in [TaskEvent::Released, TaskEvent::Leased, TaskEvent::Succeeded] {
            state = task::transition(state, event).unwrap_or(state);
        }
        db.prepare_cached("UPDATE tasks SET state = ?2 WHERE id = ?1")?.execute(params![id, state.as_str()])?;
    }
    Ok(())
}

/// Generations that are not on record; the newest good one is the cluster's state from now on.
fn take_generations(
    db: &Connection,
    found: &ClusterOnVolume,
    to_come: Option<AttemptId>,
    taken: &mut InventoryTaken,
) -> Result<(), Fault> {
    let cluster = key(found.cluster);
    let own = |manifest: &&Manifest| manifest.cluster == found.cluster && is_number(manifest.number);
    for manifest in found.generations.iter().filter(own).filter(|manifest| Some(manifest.attempt) != to_come) {
        let sql = "INSERT INTO generations (cluster_id, number, manifest) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let added = db.prepare_cached(sql)?.execute(params![cluster, int(manifest.number)?, json(manifest)?])?;
        if added == 0 {
            continue;
        }
        taken.generations += 1;
        let Some(record) = recorded(db, found.cluster)? else { continue };
        let same_ca = record.ca_sha256.is_none() || record.ca_sha256 == manifest.ca_sha256;
        if manifest.good && same_ca && record.generation.is_none_or(|newest| newest < manifest.number) {
            let known = known(manifest);
            db.prepare_cached(
                "UPDATE clusters SET generation = ?2, state_sha256 = ?3, ca_sha256 = coalesce(?4, ca_sha256) WHERE id = ?1",
            )?
            .execute(params![cluster, int(known.generation)?, known.state_sha256, known.ca_sha256])?;
        }
    }
    Ok(())
}

/// The volume says that the cluster was removed, and no run is left that would say so.
fn is_removed(db: &Connection, request: &TakeInventory, id: ClusterId) -> Result<(), Fault> {
    let Some(mut cluster) = recorded(db, id)?.filter(|cluster| cluster.phase != ClusterPhase::Removed) else {
        return Ok(());
    };
    if let Some(operation) = cluster.at_work.map(|id| operations::bare(db, id)).transpose()?.flatten()
        && !operation.state.is_terminal()
    {
        ending::end_now(db, &operation, request.now)?;
        cluster = recorded(db, id)?.unwrap_or(cluster);
    }
    let phase = cluster::transition(cluster.phase, ClusterEvent::RemovalAccepted)?;
    let phase = cluster::transition(phase, ClusterEvent::Removed)?;
    db.prepare_cached(
        "UPDATE clusters SET phase = ?2, operation = NULL, failure = NULL, updated_at = ?3 WHERE id = ?1",
    )?
    .execute(params![key(id), phase.as_str(), request.now.as_millis()])?;
    Ok(())
}

/// Attempts on the volume that it never accepted the fence of, and that their agent does not hold, did not
/// and will not run: the volume accepts nothing so old any more.
fn release_what_never_came(db: &Connection, request: &TakeInventory, taken: &mut InventoryTaken) -> Result<(), Fault> {
    let mut select = db.prepare_cached(
        "SELECT id, cluster_id, fence, state FROM attempts WHERE volume = ?1 AND state IN ('leased', 'started', 'unknown')",
    )?;
    let read = |row: &Row<'_>| {
        let ids: (AttemptId, ClusterId) = (rows::word(row, 0)?, rows::word(row, 1)?);
        Ok((ids.0, ids.1, rows::count(row, 2)?, rows::word::<AttemptState>(row, 3)?))
    };
    let locking = select.query_map([key(request.volume)], read)?.collect::<Result<Vec<_>, _>>()?;
    for (attempt, cluster, fence, state) in locking {
        let found = request.clusters.iter().find(|found| found.cluster == cluster);
        let journaled = found.is_some_and(|found| found.runs.iter().any(|run| run.attempt == attempt));
        let accepted = found.and_then(|found| found.fence).is_some_and(|highest| highest.0 >= fence);
        if !journaled && !accepted && !request.held.contains(&attempt) {
            attempts::give_back(db, attempt, state, NEVER_CAME, request.now)?;
            taken.released += 1;
        }
    }
    Ok(())
}

fn keep_orphan(db: &Connection, request: &TakeInventory, found: &ClusterOnVolume, why: &str) -> Result<(), Fault> {
    let good = found.generations.iter().rev().find(|manifest| manifest.good).map(|manifest| manifest.number);
    db.prepare_cached(
        "INSERT INTO orphans (volume, cluster_id, environment, name, fence, generation, reason, found_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        key(request.volume),
        key(found.cluster),
        found.environment.as_str(),
        found.name.as_str(),
        found.fence.map(|fence| int(fence.0)).transpose()?,
        good.map(int).transpose()?,
        why,
        request.now.as_millis(),
    ])?;
    Ok(())
}
