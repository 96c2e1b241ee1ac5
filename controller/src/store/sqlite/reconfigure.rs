//! Recording that a cluster is to become what a changed spec says, or to become again what it should
//! be already.
//!
//! The phase stays until the run is leased: a change that waits has not touched anything.

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::operation::{Operation, OperationKind};
use cratekube_common::domain::task::TaskState;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::accept::{self, Live, Work};
use super::fault::Fault;
use super::revisions;
use super::rows::{int, key};
use crate::store::{AcceptOperation, AcceptReconfigure, Acceptance};

/// Records a change. `spec` is the request's, as JSON with secrets masked.
pub(super) fn accept(db: &Connection, request: &AcceptReconfigure, spec: Option<&str>) -> Result<Acceptance, Fault> {
    if let Some(answer) = accept::repeated(db, request.idempotency.as_ref(), request.operation, request.now)? {
        return Ok(answer);
    }
    let Some(cluster) = accept::live_cluster(db, &request.environment, &request.name)? else {
        return Ok(Acceptance::NotFound);
    };
    if cluster.id != request.cluster || cluster.revision != request.revision {
        return Ok(Acceptance::Changed(cluster.revision));
    }
    if let Some(refusal) = refusal(&cluster) {
        return Ok(refusal);
    }
    let place = (&request.environment, &request.name, cluster.id);
    let queued =
        accept::queued(request.operation, OperationKind::Reconfigure, place, &request.requested_by, request.now);
    let operation =
        Operation { warnings: request.warnings.clone(), request_id: accept::request_of(&request.audit), ..queued };
    let work = Work { tasks: &request.tasks, state: TaskState::Queued, volume: cluster.volume.as_deref() };
    accept::record(db, &operation, &work, request.idempotency.as_ref(), &request.audit)?;
    if let (Some(change), Some(spec)) = (&request.change, spec) {
        let new = revisions::New {
            cluster: cluster.id,
            number: cluster.revision.saturating_add(1),
            spec,
            sealed_secrets: change.sealed_secrets.as_deref(),
            operation: request.operation,
            requested_by: &request.requested_by,
            now: request.now,
        };
        revisions::record(db, &new)?;
        db.prepare_cached("UPDATE clusters SET revision = ?2, spec = ?3, sealed_secrets = ?4 WHERE id = ?1")?
            .execute(params![key(cluster.id), int(new.number)?, spec, new.sealed_secrets])?;
    }
    put_to_work(db, &cluster, operation.id, request.now)?;
    Ok(Acceptance::Accepted(Box::new(operation)))
}

/// A change that did not come to its end may be tried again: `rke up` goes on from where it is.
pub(super) fn again(db: &Connection, request: &AcceptOperation, cluster: &Live) -> Result<Acceptance, Fault> {
    if let Some(refusal) = refusal(cluster) {
        return Ok(refusal);
    }
    if cluster.phase == ClusterPhase::Ready {
        let why = "The cluster is ready, as its spec says; send a changed spec to change it.";
        return Ok(Acceptance::NotAllowed(why.into()));
    }
    let operation = accept::asked(request, cluster);
    let work = Work { tasks: &request.tasks, state: TaskState::Queued, volume: cluster.volume.as_deref() };
    accept::record(db, &operation, &work, request.idempotency.as_ref(), &request.audit)?;
    put_to_work(db, cluster, operation.id, request.now)?;
    Ok(Acceptance::Accepted(Box::new(operation)))
}

fn refusal(cluster: &Live) -> Option<Acceptance> {
    if let Some(at_work) = cluster.operation {
        return Some(Acceptance::Busy(at_work));
    }
    let at_rest = matches!(cluster.phase, ClusterPhase::Ready | ClusterPhase::Degraded | ClusterPhase::Failed);
    let why =
        || format!("The cluster is {}; only one that is ready, degraded or failed can be changed.", cluster.phase);
    (!at_rest).then(|| Acceptance::NotAllowed(why()))
}

fn put_to_work(db: &Connection, cluster: &Live, operation: OperationId, now: Timestamp) -> Result<(), Fault> {
    db.prepare_cached("UPDATE clusters SET operation = ?2, phase_before = ?3, updated_at = ?4 WHERE id = ?1")?
        .execute(params![key(cluster.id), key(operation), cluster.phase.as_str(), now.as_millis()])?;
    Ok(())
}
