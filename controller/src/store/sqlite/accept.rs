//! Recording what users ask for. Once the answer left, it is never lost.
//!
//! Order of the checks: the idempotency key, the operation's own id (a caller that did not hear the
//! answer), then the cluster. A refusal changes nothing.

use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::cluster::{self, ClusterEvent, ClusterPhase};
use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::{Operation, OperationKind, OperationState};
use cratekube_common::domain::run::Rotation;
use cratekube_common::domain::task::TaskState;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Map;

use super::fault::Fault;
use super::rows::{self, int, json, key};
use super::{audit, clusters, operations, reconfigure, removal, resources, revisions, upkeep};
use crate::store::{AcceptOperation, AcceptProvision, Acceptance, Idempotency, PlannedTask, ProtectCluster, Protected};

/// Records a new cluster with its provision. `spec` is the request's, as JSON with secrets masked.
pub(super) fn provision(db: &Connection, request: &AcceptProvision, spec: &str) -> Result<Acceptance, Fault> {
    if let Some(answer) = repeated(db, request.idempotency.as_ref(), request.operation, request.now)? {
        return Ok(answer);
    }
    if live_cluster(db, &request.environment, &request.name)?.is_some() {
        return Ok(Acceptance::Exists);
    }
    let now = request.now.as_millis();
    db.prepare_cached(
        "INSERT INTO clusters (id, environment, name, phase, revision, fence, operation, conditions, created_at, \
             updated_at, sealed_secrets, spec, deletion_protection) \
         VALUES (?1, ?2, ?3, ?4, 1, 0, ?5, '[]', ?6, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        key(request.cluster),
        request.environment.as_str(),
        request.name.as_str(),
        ClusterPhase::Pending.as_str(),
        key(request.operation),
        now,
        request.sealed_secrets,
        spec,
        request.deletion_protection,
    ])?;
    revisions::record(
        db,
        &revisions::New {
            cluster: request.cluster,
            number: 1,
            spec,
            sealed_secrets: request.sealed_secrets.as_deref(),
            operation: request.operation,
            requested_by: &request.requested_by,
            now: request.now,
        },
    )?;
    let operation = Operation {
        warnings: request.warnings.clone(),
        request_id: request_of(&request.audit),
        ..queued(
            request.operation,
            OperationKind::Provision,
            (&request.environment, &request.name, request.cluster),
            &request.requested_by,
            request.now,
        )
    };
    let work = Work { tasks: &request.tasks, state: TaskState::Queued, volume: None };
    record(db, &operation, &work, request.idempotency.as_ref(), &request.audit)?;
    resources::inherit(db, request.cluster, &request.environment, request.now)?;
    Ok(Acceptance::Accepted(Box::new(operation)))
}

/// Records an operation on a cluster that exists.
pub(super) fn operation(db: &Connection, request: &AcceptOperation) -> Result<Acceptance, Fault> {
    if let Some(answer) = repeated(db, request.idempotency.as_ref(), request.operation, request.now)? {
        return Ok(answer);
    }
    let Some(cluster) = live_cluster(db, &request.environment, &request.name)? else {
        return Ok(Acceptance::NotFound);
    };
    if request.retry_of.is_some_and(|(_, id)| id != cluster.id) {
        return Ok(Acceptance::NotFound);
    }
    if request.if_revision.is_some_and(|revision| revision != cluster.revision) {
        return Ok(Acceptance::Changed(cluster.revision));
    }
    match request.kind {
        OperationKind::Remove if cluster.protected => Ok(Acceptance::Protected),
        OperationKind::Remove => removal::accept(db, request, &cluster),
        OperationKind::Provision => provision_again(db, request, &cluster),
        OperationKind::Reconfigure => reconfigure::again(db, request, &cluster),
        OperationKind::RecoverState => recover_state(db, request, &cluster),
        OperationKind::Configure | OperationKind::Verify | OperationKind::RotateCertificates => {
            upkeep::accept(db, request, &cluster)
        }
        kind => Ok(Acceptance::NotAllowed(format!("This release cannot do {kind}."))),
    }
}

/// Records a rotation of certificates, and which.
pub(super) fn rotation(db: &Connection, request: &AcceptOperation, rotation: &Rotation) -> Result<Acceptance, Fault> {
    let accepted = operation(db, request)?;
    if let Acceptance::Accepted(operation) = &accepted {
        let options = json(&Map::from_iter([(Rotation::INPUT.to_owned(), serde_json::to_value(rotation)?)]))?;
        let sql = "UPDATE operations SET options = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![key(operation.id), options])?;
    }
    Ok(accepted)
}

/// Protects a cluster against removal, or ends that.
pub(super) fn protect(db: &Connection, request: &ProtectCluster) -> Result<Protected, Fault> {
    let Some(cluster) = live_cluster(db, &request.environment, &request.name)? else {
        return Ok(Protected::NotFound);
    };
    if request.if_revision.is_some_and(|revision| revision != cluster.revision) {
        return Ok(Protected::Changed(cluster.revision));
    }
    if cluster.protected != request.protection {
        db.prepare_cached("UPDATE clusters SET deletion_protection = ?2, updated_at = ?3 WHERE id = ?1")?
            .execute(params![key(cluster.id), request.protection, request.now.as_millis()])?;
        audit::append(db, &request.audit, request.now)?;
    }
    let now = clusters::by_name(db, &request.environment, &request.name)?;
    Ok(now.map_or(Protected::NotFound, |cluster| Protected::Done(Box::new(cluster))))
}

/// State is brought back for a cluster that had some.
fn recover_state(db: &Connection, request: &AcceptOperation, cluster: &Live) -> Result<Acceptance, Fault> {
    if let Some(at_work) = cluster.operation {
        return Ok(Acceptance::Busy(at_work));
    }
    if cluster.generation.is_none() {
        let why =
            "The cluster never had a good state; there is nothing to bring back. Provision it again, or remove it.";
        return Ok(Acceptance::NotAllowed(why.into()));
    }
    if cluster::transition(cluster.phase, ClusterEvent::RecoveryStarted).is_err() {
        let why = format!("The cluster is {}; its state cannot be brought back now.", cluster.phase);
        return Ok(Acceptance::NotAllowed(why));
    }
    let operation = asked(request, cluster);
    let work = Work { tasks: &request.tasks, state: TaskState::Queued, volume: cluster.volume.as_deref() };
    record(db, &operation, &work, request.idempotency.as_ref(), &request.audit)?;
    db.prepare_cached(
        "UPDATE operations SET recover_generation = \
             coalesce(?2, (SELECT recover_generation FROM operations WHERE id = ?3)) WHERE id = ?1",
    )?
    .execute(params![key(operation.id), request.generation.map(int).transpose()?, operation.retry_of.map(key)])?;
    put_to_work(db, cluster, cluster.phase, Some(operation.id), request.now)?;
    Ok(Acceptance::Accepted(Box::new(operation)))
}

/// A cluster that failed or is degraded may be provisioned again: `rke up` goes on from where it is.
fn provision_again(db: &Connection, request: &AcceptOperation, cluster: &Live) -> Result<Acceptance, Fault> {
    if let Some(at_work) = cluster.operation {
        return Ok(Acceptance::Busy(at_work));
    }
    if !matches!(cluster.phase, ClusterPhase::Failed | ClusterPhase::Degraded) {
        let why =
            format!("The cluster is {}; only one that failed or is degraded can be provisioned again.", cluster.phase);
        return Ok(Acceptance::NotAllowed(why));
    }
    let operation = asked(request, cluster);
    let work = Work { tasks: &request.tasks, state: TaskState::Queued, volume: cluster.volume.as_deref() };
    record(db, &operation, &work, request.idempotency.as_ref(), &request.audit)?;
    put_to_work(db, cluster, cluster.phase, Some(operation.id), request.now)?;
    Ok(Acceptance::Accepted(Box::new(operation)))
}

/// The answer when this request was recorded before.
pub(super) fn repeated(
    db: &Connection,
    idempotency: Option<&Idempotency>,
    operation: OperationId,
    now: Timestamp,
) -> Result<Option<Acceptance>, Fault> {
    match idempotency.map(|wanted| repeated_key(db, wanted, now)).transpose()?.flatten() {
        None => replay(db, operation),
        answer => Ok(answer),
    }
}

/// The answer when a request was recorded under this key.
pub(super) fn repeated_key(db: &Connection, wanted: &Idempotency, now: Timestamp) -> Result<Option<Acceptance>, Fault> {
    let mut select =
        db.prepare_cached("SELECT digest, operation, expires_at FROM idempotency WHERE subject = ?1 AND key = ?2")?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, rows::word(row, 1)?, rows::time(row, 2)?));
    match select.query_row(params![wanted.subject, wanted.key], read).optional()? {
        Some((_, _, expires_at)) if expires_at <= now => {
            let sql = "DELETE FROM idempotency WHERE subject = ?1 AND key = ?2";
            db.prepare_cached(sql)?.execute(params![wanted.subject, wanted.key])?;
            Ok(None)
        }
        Some((digest, _, _)) if digest != wanted.digest => Ok(Some(Acceptance::KeyReused)),
        Some((_, first, _)) => replay(db, first),
        None => Ok(None),
    }
}

fn replay(db: &Connection, id: OperationId) -> Result<Option<Acceptance>, Fault> {
    Ok(operations::by_id(db, id)?.map(|operation| Acceptance::Replayed(Box::new(operation))))
}

/// What is needed of a cluster that is not removed.
pub(super) struct Live {
    pub(super) id: ClusterId,
    pub(super) phase: ClusterPhase,
    pub(super) revision: u64,
    pub(super) volume: Option<String>,
    pub(super) operation: Option<OperationId>,
    pub(super) generation: Option<u64>,
    protected: bool,
}

pub(super) fn live_cluster(
    db: &Connection,
    environment: &EnvironmentName,
    name: &ClusterName,
) -> Result<Option<Live>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT id, phase, revision, volume, operation, generation, deletion_protection FROM clusters \
         WHERE environment = ?1 AND name = ?2 AND phase <> 'removed'",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Live {
            id: rows::word(row, 0)?,
            phase: rows::word(row, 1)?,
            revision: rows::count(row, 2)?,
            volume: row.get(3)?,
            operation: rows::word_or_null(row, 4)?,
            generation: rows::count_or_null(row, 5)?,
            protected: row.get(6)?,
        })
    };
    Ok(select.query_row(params![environment.as_str(), name.as_str()], read).optional()?)
}

/// Whether any attempt on the cluster may have run: all but those that were given back.
pub(super) fn ever_ran(
    db: &Connection,
    (environment, name): (&EnvironmentName, &ClusterName),
    cluster: ClusterId,
) -> Result<bool, Fault> {
    let mut select = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM operations o JOIN attempts a ON a.operation = o.id \
         WHERE o.environment = ?1 AND o.cluster = ?2 AND o.cluster_id = ?3 AND a.state <> 'released')",
    )?;
    let found = params![environment.as_str(), name.as_str(), key(cluster)];
    Ok(select.query_row(found, |row| row.get(0))?)
}

pub(super) fn put_to_work(
    db: &Connection,
    cluster: &Live,
    phase: ClusterPhase,
    operation: Option<OperationId>,
    now: Timestamp,
) -> Result<(), Fault> {
    let sql = "UPDATE clusters SET phase = ?2, operation = ?3, failure = NULL, updated_at = ?4 WHERE id = ?1";
    let values = params![key(cluster.id), phase.as_str(), operation.map(key), now.as_millis()];
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

pub(super) fn asked(request: &AcceptOperation, cluster: &Live) -> Operation {
    let place = (&request.environment, &request.name, cluster.id);
    Operation {
        reason: request.reason.clone(),
        retry_of: request.retry_of.map(|(operation, _)| operation),
        request_id: request_of(&request.audit),
        ..queued(request.operation, request.kind, place, &request.requested_by, request.now)
    }
}

/// The request that an entry of the audit log tells of.
pub(super) fn request_of(entry: &AuditEntry) -> Option<String> {
    Some(entry.request_id.clone()).filter(|id| !id.is_empty())
}

pub(super) fn queued(
    id: OperationId,
    kind: OperationKind,
    (environment, cluster, cluster_id): (&EnvironmentName, &ClusterName, ClusterId),
    requested_by: &str,
    now: Timestamp,
) -> Operation {
    Operation {
        id,
        kind,
        state: OperationState::Queued,
        environment: environment.clone(),
        cluster: cluster.clone(),
        cluster_id,
        requested_by: requested_by.to_owned(),
        reason: None,
        retry_of: None,
        request_id: None,
        created_at: now,
        started_at: None,
        ended_at: None,
        progress: None,
        failure: None,
        warnings: Vec::new(),
        waiting_for: None,
        output_bytes: 0,
    }
}

/// The tasks of a new operation.
pub(super) struct Work<'a> {
    /// In order.
    pub(super) tasks: &'a [PlannedTask],
    /// State of the first; the others wait for it.
    pub(super) state: TaskState,
    /// The cluster's volume.
    pub(super) volume: Option<&'a str>,
}

/// Writes an operation with its tasks, its key and its audit entry.
pub(super) fn record(
    db: &Connection,
    operation: &Operation,
    work: &Work<'_>,
    idempotency: Option<&Idempotency>,
    entry: &AuditEntry,
) -> Result<(), Fault> {
    let request_id = operation.request_id.clone().or_else(|| request_of(entry));
    insert_operation(db, &Operation { request_id, ..operation.clone() })?;
    if work.tasks.is_empty() {
        return Err(Fault::Damaged(format!("{} has no task", operation.kind)));
    }
    for (ordinal, PlannedTask { id, kind }) in work.tasks.iter().enumerate() {
        let later = if work.state == TaskState::Queued { TaskState::Pending } else { work.state };
        let state = if ordinal == 0 { work.state } else { later };
        db.prepare_cached(
            "INSERT INTO tasks (id, operation, ordinal, kind, state, cluster_id, environment, volume) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            key(id),
            key(operation.id),
            i64::try_from(ordinal).unwrap_or(i64::MAX),
            kind.as_str(),
            state.as_str(),
            key(operation.cluster_id),
            operation.environment.as_str(),
            work.volume,
        ])?;
    }
    if let Some(idempotency) = idempotency {
        db.prepare_cached(
            "INSERT INTO idempotency (subject, key, digest, operation, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            idempotency.subject,
            idempotency.key,
            idempotency.digest,
            key(operation.id),
            idempotency.expires_at.as_millis(),
        ])?;
    }
    audit::append(db, entry, operation.created_at)
}

/// Records a bare operation.
pub(super) fn insert_operation(db: &Connection, operation: &Operation) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO operations (id, kind, state, environment, cluster, cluster_id, requested_by, reason, created_at, \
             started_at, ended_at, warnings, output_bytes, retry_of, request_id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        key(operation.id),
        operation.kind.as_str(),
        operation.state.as_str(),
        operation.environment.as_str(),
        operation.cluster.as_str(),
        key(operation.cluster_id),
        operation.requested_by,
        operation.reason,
        operation.created_at.as_millis(),
        operation.started_at.map(Timestamp::as_millis),
        operation.ended_at.map(Timestamp::as_millis),
        json(&operation.warnings)?,
        int(operation.output_bytes)?,
        operation.retry_of.map(key),
        operation.request_id,
    ])?;
    Ok(())
}
