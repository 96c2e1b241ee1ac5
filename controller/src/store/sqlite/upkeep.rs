//! Recording what is done with a cluster that is there, and that leaves its spec what it is: configuring it,
//! checking it, renewing its certificates.

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::task::TaskState;
use rusqlite::{Connection, params};

use super::accept::{self, Live, Work};
use super::fault::Fault;
use super::rows::key;
use crate::store::{AcceptOperation, Acceptance};

/// Records such an operation. The cluster keeps its phase and what is known to be wrong with it.
pub(super) fn accept(db: &Connection, request: &AcceptOperation, cluster: &Live) -> Result<Acceptance, Fault> {
    if let Some(refusal) = refusal(request, cluster) {
        return Ok(refusal);
    }
    let operation = accept::asked(request, cluster);
    let work = Work { tasks: &request.tasks, state: TaskState::Queued, volume: cluster.volume.as_deref() };
    accept::record(db, &operation, &work, request.idempotency.as_ref(), &request.audit)?;
    // One that repeats another one does what that one was to do.
    let sql = "UPDATE operations SET options = (SELECT options FROM operations WHERE id = ?2) WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(operation.id), operation.retry_of.map(key)])?;
    db.prepare_cached("UPDATE clusters SET operation = ?2, phase_before = ?3, updated_at = ?4 WHERE id = ?1")?
        .execute(params![key(cluster.id), key(operation.id), cluster.phase.as_str(), request.now.as_millis()])?;
    Ok(Acceptance::Accepted(Box::new(operation)))
}

/// Why it cannot be done now.
fn refusal(request: &AcceptOperation, cluster: &Live) -> Option<Acceptance> {
    if let Some(at_work) = cluster.operation {
        return Some(Acceptance::Busy(at_work));
    }
    let there = matches!(cluster.phase, ClusterPhase::Ready | ClusterPhase::Degraded);
    let why = || format!("The cluster is {}; {} needs one that is ready or degraded.", cluster.phase, request.kind);
    (!there).then(|| Acceptance::NotAllowed(why()))
}
