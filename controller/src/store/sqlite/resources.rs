//! Managed resources of clusters: kept before they are brought in, judged by what the cluster said.
//!
//! A change of a cluster that works makes an operation that brings it in; one of a cluster that is
//! being built goes along with what is under way, if that has yet to configure it. A resource that was
//! never brought in is deleted at once; any other is withdrawn, and its row goes when the cluster has
//! nothing of it.

use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::cluster::manifest::{KindScope, kind_scope};
use cratekube_common::domain::cluster::resource::{
    ConfigureFindings, MAX_RESOURCES, ObjectRef, RemovalStatus, ResourceState, ResourceStatus,
};
use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::{Operation, OperationKind};
use cratekube_common::domain::task::TaskState;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::accept::{self, Live, Work};
use super::audit;
use super::fault::Fault;
use super::rows::{self, int, json, key};
use crate::store::{
    ConfigureIds, DeleteResource, NewResource, PutResource, Resource, ResourceChange, ResourceStanding, SealedResource,
    Seen,
};

/// Columns of [`read`], in order.
const RESOURCE: &str = "name, revision, mode, digest, wanted, state, objects, faults, inherited, withdrawn, \
     requested_by, created_at, updated_at, checked_at";

/// Keeps a resource of a cluster.
pub(super) fn put(db: &Connection, request: &PutResource) -> Result<ResourceChange, Fault> {
    let Some(name) = &request.holder.cluster else { return Ok(ResourceChange::NotFound) };
    let place = (&request.holder.environment, name);
    let Some(cluster) = accept::live_cluster(db, place.0, place.1)? else { return Ok(ResourceChange::NotFound) };
    let present = by_name(db, cluster.id, request.resource.name.as_str())?;
    let living = present.as_ref().filter(|there| !there.status.withdrawn);
    if let Some(answer) = judge(living, &request.resource, request.seen, cluster.operation.is_some()) {
        return Ok(answer);
    }
    if present.is_none() && count(db, cluster.id)? >= MAX_RESOURCES {
        return Ok(ResourceChange::TooMany);
    }
    let way = match way_in(db, &cluster)? {
        Ok(way) => way,
        Err(refusal) => return Ok(refusal),
    };
    write(db, &cluster, request, present.as_ref())?;
    let operation = bring_in(db, &cluster, way, place, request, request.now)?;
    let resource = by_name(db, cluster.id, request.resource.name.as_str())?;
    let missing = || Fault::Damaged("a resource that was kept is not there".into());
    let resource = Box::new(resource.ok_or_else(missing)?);
    Ok(ResourceChange::Kept { resource, created: present.is_none(), operation })
}

/// What follows from what is there and what the sender has seen, before anything else is looked at.
pub(super) fn judge(
    present: Option<&Resource>,
    wanted: &NewResource,
    seen: Seen,
    at_work: bool,
) -> Option<ResourceChange> {
    match (present, seen) {
        (None, Seen::Revision(_)) => Some(ResourceChange::Changed(0)),
        (None, _) => None,
        (Some(there), Seen::Nothing) => Some(ResourceChange::Changed(there.revision)),
        (Some(there), Seen::Revision(revision)) if there.revision != revision => {
            Some(ResourceChange::Changed(there.revision))
        }
        (Some(there), _) if is_same(there, wanted) && is_under_way(there, at_work) => {
            Some(ResourceChange::Same(Box::new(there.clone())))
        }
        (Some(there), Seen::Untold) if !is_same(there, wanted) => Some(ResourceChange::Unseen(there.revision)),
        (Some(_), _) => None,
    }
}

fn is_same(resource: &Resource, wanted: &NewResource) -> bool {
    resource.digest == wanted.digest && resource.mode == wanted.mode
}

/// Whether asking for the same again would do nothing: it is there, or being brought in.
fn is_under_way(resource: &Resource, at_work: bool) -> bool {
    match resource.status.state {
        ResourceState::Applied => true,
        ResourceState::Pending => at_work,
        ResourceState::Failed => false,
    }
}

/// How a change gets into a cluster.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By what is under way, or by what will build the cluster.
    Along(Option<OperationId>),
    /// By an operation of its own.
    Own,
}

fn way_in(db: &Connection, cluster: &Live) -> Result<Result<Way, ResourceChange>, Fault> {
    if matches!(cluster.phase, ClusterPhase::Removing | ClusterPhase::Removed) {
        let why = format!("The cluster is {}.", cluster.phase);
        return Ok(Err(ResourceChange::NotAllowed(why)));
    }
    Ok(match cluster.operation {
        Some(at_work) if will_configure(db, at_work)? => Ok(Way::Along(Some(at_work))),
        Some(at_work) => Err(ResourceChange::Busy(at_work)),
        None if matches!(cluster.phase, ClusterPhase::Ready | ClusterPhase::Degraded) => Ok(Way::Own),
        None => Ok(Way::Along(None)),
    })
}

/// Whether an operation has yet to configure its cluster.
fn will_configure(db: &Connection, operation: OperationId) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM tasks WHERE operation = ?1 AND kind = 'configure' \
               AND state IN ('pending', 'queued'))";
    Ok(db.prepare_cached(sql)?.query_row([key(operation)], |row| row.get(0))?)
}

/// What is needed of a request to make an operation of it.
pub(super) trait Asked {
    fn ids(&self) -> &ConfigureIds;
    fn requested_by(&self) -> &str;
    fn audit(&self) -> &AuditEntry;
}

impl Asked for PutResource {
    fn ids(&self) -> &ConfigureIds {
        &self.ids
    }
    fn requested_by(&self) -> &str {
        &self.requested_by
    }
    fn audit(&self) -> &AuditEntry {
        &self.audit
    }
}

impl Asked for DeleteResource {
    fn ids(&self) -> &ConfigureIds {
        &self.ids
    }
    fn requested_by(&self) -> &str {
        &self.requested_by
    }
    fn audit(&self) -> &AuditEntry {
        &self.audit
    }
}

/// Records the change, with an operation of its own where it needs one.
fn bring_in(
    db: &Connection,
    cluster: &Live,
    way: Way,
    (environment, name): (&EnvironmentName, &ClusterName),
    request: &dyn Asked,
    now: Timestamp,
) -> Result<Option<OperationId>, Fault> {
    match way {
        Way::Along(operation) => {
            audit::append(db, request.audit(), now)?;
            Ok(operation)
        }
        Way::Own => {
            let place = (environment, name, cluster.id);
            let ids = request.ids();
            let operation: Operation =
                accept::queued(ids.operation, OperationKind::Configure, place, request.requested_by(), now);
            let work = Work { tasks: &ids.tasks, state: TaskState::Queued, volume: cluster.volume.as_deref() };
            accept::record(db, &operation, &work, None, request.audit())?;
            let sql = "UPDATE clusters SET operation = ?2, updated_at = ?3 WHERE id = ?1";
            db.prepare_cached(sql)?.execute(params![key(cluster.id), key(operation.id), now.as_millis()])?;
            Ok(Some(operation.id))
        }
    }
}

fn write(db: &Connection, cluster: &Live, request: &PutResource, present: Option<&Resource>) -> Result<(), Fault> {
    let (wanted, now) = (&request.resource, request.now.as_millis());
    let revision = present.map_or(1, |there| there.revision.saturating_add(1));
    // Objects that the cluster has of it stay known: they are what `sync` goes by.
    db.prepare_cached(
        "INSERT INTO resources (cluster_id, environment, name, revision, mode, digest, wanted, objects, state, faults, \
             inherited, withdrawn, requested_by, created_at, updated_at, sealed) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '[]', ?8, '[]', 0, 0, ?9, ?10, ?10, ?11) \
         ON CONFLICT (cluster_id, name) DO UPDATE SET revision = excluded.revision, mode = excluded.mode, \
             digest = excluded.digest, wanted = excluded.wanted, state = excluded.state, faults = '[]', inherited = 0, \
             withdrawn = 0, requested_by = excluded.requested_by, updated_at = excluded.updated_at, \
             sealed = excluded.sealed",
    )?
    .execute(params![
        key(cluster.id),
        request.holder.environment.as_str(),
        wanted.name.as_str(),
        int(revision)?,
        wanted.mode.as_str(),
        wanted.digest,
        json(&wanted.wanted)?,
        ResourceState::Pending.as_str(),
        request.requested_by,
        now,
        wanted.sealed,
    ])?;
    Ok(())
}

/// Deletes a resource of a cluster, at once or by withdrawing it.
pub(super) fn delete(db: &Connection, request: &DeleteResource) -> Result<ResourceChange, Fault> {
    let Some(name) = &request.holder.cluster else { return Ok(ResourceChange::NotFound) };
    let Some(cluster) = accept::live_cluster(db, &request.holder.environment, name)? else {
        return Ok(ResourceChange::NotFound);
    };
    let Some(present) = by_name(db, cluster.id, request.name.as_str())? else { return Ok(ResourceChange::NotFound) };
    if matches!(request.seen, Seen::Revision(revision) if revision != present.revision) {
        return Ok(ResourceChange::Changed(present.revision));
    }
    if present.status.withdrawn && cluster.operation.is_some() {
        return Ok(ResourceChange::Same(Box::new(present)));
    }
    let way = match way_in(db, &cluster)? {
        Ok(way) => way,
        Err(refusal) => return Ok(refusal),
    };
    let sql = "DELETE FROM resources WHERE cluster_id = ?1 AND name = ?2 AND handed = 0";
    if db.prepare_cached(sql)?.execute(params![key(cluster.id), present.name.as_str()])? > 0 {
        audit::append(db, &request.audit, request.now)?;
        return Ok(ResourceChange::Gone);
    }
    db.prepare_cached(
        "UPDATE resources SET withdrawn = 1, revision = revision + 1, state = ?3, faults = '[]', requested_by = ?4, \
             updated_at = ?5 WHERE cluster_id = ?1 AND name = ?2",
    )?
    .execute(params![
        key(cluster.id),
        present.name.as_str(),
        ResourceState::Pending.as_str(),
        request.requested_by,
        request.now.as_millis(),
    ])?;
    let operation = bring_in(db, &cluster, way, (&request.holder.environment, name), request, request.now)?;
    let now = by_name(db, cluster.id, request.name.as_str())?.unwrap_or(present);
    Ok(ResourceChange::Kept { resource: Box::new(now), created: false, operation })
}

/// An agent is given the resources of a cluster. From here on the cluster may have what their manifests name,
/// also when nothing is reported; so that a later run takes it away where that is asked for.
pub(super) fn hand_over(db: &Connection, cluster: ClusterId) -> Result<Vec<SealedResource>, Fault> {
    let mut resources = sealed(db, cluster)?;
    for SealedResource { resource, .. } in resources.iter().filter(|sealed| !sealed.resource.status.withdrawn) {
        let mut objects = resource.status.objects.clone();
        objects.extend(resource.wanted.iter().filter(|wanted| is_placed(wanted)).cloned());
        objects.sort();
        objects.dedup();
        let sql = "UPDATE resources SET handed = 1, objects = ?3 WHERE cluster_id = ?1 AND name = ?2";
        db.prepare_cached(sql)?.execute(params![key(cluster), resource.name.as_str(), json(&objects)?])?;
    }
    // What the agent goes by is what was found, not what may be.
    resources.sort_by_key(|sealed| sealed.resource.status.withdrawn);
    Ok(resources)
}

/// Whether it is known where an object goes: of a kind that is not Kubernetes' own, only the cluster knows
/// whether it has a namespace.
fn is_placed(object: &ObjectRef) -> bool {
    object.namespace.is_some() || kind_scope(object.group(), &object.kind) != KindScope::Unknown
}

/// Gives a new cluster the set of its environment.
pub(super) fn inherit(
    db: &Connection,
    cluster: ClusterId,
    environment: &EnvironmentName,
    now: Timestamp,
) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO resources (cluster_id, environment, name, revision, mode, digest, wanted, objects, state, faults, \
             inherited, withdrawn, requested_by, created_at, updated_at, sealed) \
         SELECT ?1, environment, name, 1, mode, digest, wanted, '[]', 'pending', '[]', 1, 0, requested_by, ?3, ?3, sealed \
         FROM environment_resources WHERE environment = ?2 ORDER BY name",
    )?
    .execute(params![key(cluster), environment.as_str(), now.as_millis()])?;
    Ok(())
}

/// Takes note of what a configuration found.
pub(super) fn learn(
    db: &Connection,
    cluster: ClusterId,
    findings: &ConfigureFindings,
    now: Timestamp,
) -> Result<(), Fault> {
    findings.resources.iter().try_for_each(|status| learn_status(db, cluster, status, now))?;
    findings.removed.iter().try_for_each(|removal| learn_removal(db, cluster, removal, now))
}

fn learn_status(db: &Connection, cluster: ClusterId, status: &ResourceStatus, now: Timestamp) -> Result<(), Fault> {
    // What was changed meanwhile waits on; but what the cluster has of it is known now.
    db.prepare_cached(
        "UPDATE resources SET objects = ?3, checked_at = ?4, updated_at = ?4, \
             state = CASE WHEN digest = ?5 AND withdrawn = 0 THEN ?6 ELSE state END, \
             faults = CASE WHEN digest = ?5 AND withdrawn = 0 THEN ?7 ELSE faults END \
         WHERE cluster_id = ?1 AND name = ?2",
    )?
    .execute(params![
        key(cluster),
        status.name.as_str(),
        json(&status.objects)?,
        now.as_millis(),
        status.digest,
        status.state.as_str(),
        json(&status.faults)?,
    ])?;
    Ok(())
}

fn learn_removal(db: &Connection, cluster: ClusterId, removal: &RemovalStatus, now: Timestamp) -> Result<(), Fault> {
    if removal.objects.is_empty() && removal.faults.is_empty() {
        let sql = "DELETE FROM resources WHERE cluster_id = ?1 AND name = ?2 AND withdrawn = 1";
        db.prepare_cached(sql)?.execute(params![key(cluster), removal.name.as_str()])?;
    }
    db.prepare_cached(
        "UPDATE resources SET objects = ?3, checked_at = ?4, updated_at = ?4, \
             state = CASE WHEN withdrawn = 1 THEN ?5 ELSE state END, \
             faults = CASE WHEN withdrawn = 1 THEN ?6 ELSE faults END \
         WHERE cluster_id = ?1 AND name = ?2",
    )?
    .execute(params![
        key(cluster),
        removal.name.as_str(),
        json(&removal.objects)?,
        now.as_millis(),
        ResourceState::Failed.as_str(),
        json(&removal.faults)?,
    ])?;
    Ok(())
}

/// The resources of a cluster, in the order in which they were first asked for.
pub(super) fn list(db: &Connection, cluster: ClusterId) -> Result<Vec<Resource>, Fault> {
    let sql = format!("SELECT {RESOURCE} FROM resources WHERE cluster_id = ?1 ORDER BY seq");
    Ok(db.prepare_cached(&sql)?.query_map([key(cluster)], read)?.collect::<Result<_, _>>()?)
}

/// The same with their manifests: what a configuration is given.
pub(super) fn sealed(db: &Connection, cluster: ClusterId) -> Result<Vec<SealedResource>, Fault> {
    let sql = format!("SELECT {RESOURCE}, environment, sealed FROM resources WHERE cluster_id = ?1 ORDER BY seq");
    Ok(db.prepare_cached(&sql)?.query_map([key(cluster)], read_sealed)?.collect::<Result<_, _>>()?)
}

/// One resource of a cluster, with its manifest.
pub(super) fn one(db: &Connection, cluster: ClusterId, name: &str) -> Result<Option<SealedResource>, Fault> {
    let sql = format!("SELECT {RESOURCE}, environment, sealed FROM resources WHERE cluster_id = ?1 AND name = ?2");
    Ok(db.prepare_cached(&sql)?.query_row(params![key(cluster), name], read_sealed).optional()?)
}

fn by_name(db: &Connection, cluster: ClusterId, name: &str) -> Result<Option<Resource>, Fault> {
    let sql = format!("SELECT {RESOURCE} FROM resources WHERE cluster_id = ?1 AND name = ?2");
    Ok(db.prepare_cached(&sql)?.query_row(params![key(cluster), name], read).optional()?)
}

fn count(db: &Connection, cluster: ClusterId) -> Result<usize, Fault> {
    let sql = "SELECT count(*) FROM resources WHERE cluster_id = ?1";
    let count: i64 = db.prepare_cached(sql)?.query_row([key(cluster)], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn read(row: &Row<'_>) -> Result<Resource, rusqlite::Error> {
    Ok(Resource {
        name: rows::word(row, 0)?,
        revision: rows::count(row, 1)?,
        mode: rows::word(row, 2)?,
        digest: row.get(3)?,
        wanted: rows::document::<Vec<ObjectRef>>(row, 4)?,
        status: ResourceStanding {
            state: rows::word(row, 5)?,
            objects: rows::document(row, 6)?,
            faults: rows::document(row, 7)?,
            inherited: row.get(8)?,
            withdrawn: row.get(9)?,
            checked_at: rows::time_or_null(row, 13)?,
        },
        requested_by: row.get(10)?,
        created_at: rows::time(row, 11)?,
        updated_at: rows::time(row, 12)?,
    })
}

fn read_sealed(row: &Row<'_>) -> Result<SealedResource, rusqlite::Error> {
    Ok(SealedResource { resource: read(row)?, environment: rows::word(row, 14)?, sealed: row.get(15)? })
}
