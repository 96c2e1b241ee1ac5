//! The specs that clusters had, and the one that holds with all that a change of it is weighed
//! against.

use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::id::{AgentId, ClusterId, OperationId, VolumeId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::Operation;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, CLUSTER, int, key};
use super::{agents, page};
use crate::store::{Page, PageRequest, PresentCluster, Revision};

/// Columns of [`revision`], in order.
const REVISION: &str = "number, spec, operation, requested_by, created_at, verified_at";

/// A spec to be kept.
pub(super) struct New<'a> {
    pub(super) cluster: ClusterId,
    pub(super) number: u64,
    pub(super) spec: &'a str,
    pub(super) sealed_secrets: Option<&'a [u8]>,
    pub(super) operation: OperationId,
    pub(super) requested_by: &'a str,
    pub(super) now: Timestamp,
}

/// Keeps a spec.
pub(super) fn record(db: &Connection, new: &New<'_>) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO revisions (cluster_id, number, operation, requested_by, created_at, sealed_secrets, spec) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        key(new.cluster),
        int(new.number)?,
        key(new.operation),
        new.requested_by,
        new.now.as_millis(),
        new.sealed_secrets,
        new.spec,
    ])?;
    Ok(())
}

/// The cluster was found to be as its spec says.
pub(super) fn verified(db: &Connection, cluster: ClusterId, now: Timestamp) -> Result<(), Fault> {
    let sql = "UPDATE revisions SET verified_at = ?2 WHERE cluster_id = ?1 \
               AND number = (SELECT revision FROM clusters WHERE id = ?1)";
    db.prepare_cached(sql)?.execute(params![key(cluster), now.as_millis()])?;
    Ok(())
}

/// Takes back what an operation changed that never ran: the spec before it holds again, as a further
/// revision. An operation that changed nothing (a repetition) takes nothing back.
pub(super) fn withdraw(db: &Connection, operation: &Operation, now: Timestamp) -> Result<(), Fault> {
    let cluster = key(operation.cluster_id);
    let sql = "INSERT INTO revisions (cluster_id, number, operation, requested_by, created_at, verified_at, \
                   sealed_secrets, spec) \
               SELECT r.cluster_id, r.number + 2, ?2, ?3, ?4, r.verified_at, r.sealed_secrets, r.spec \
               FROM revisions r JOIN clusters c ON c.id = r.cluster_id AND c.revision = r.number + 1 \
               JOIN revisions made ON made.cluster_id = c.id AND made.number = c.revision AND made.operation = ?2 \
               WHERE r.cluster_id = ?1";
    let values = params![cluster, key(operation.id), operation.requested_by, now.as_millis()];
    if db.prepare_cached(sql)?.execute(values)? == 0 {
        return Ok(());
    }
    let sql = "UPDATE clusters SET revision = revision + 1, (spec, sealed_secrets) = \
                   (SELECT r.spec, r.sealed_secrets FROM revisions r \
                    WHERE r.cluster_id = clusters.id AND r.number = clusters.revision + 1) \
               WHERE id = ?1";
    db.prepare_cached(sql)?.execute([cluster])?;
    Ok(())
}

/// The specs that a cluster had, newest first.
pub(super) fn list(db: &Connection, cluster: ClusterId, request: &PageRequest) -> Result<Page<Revision>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let sql =
        format!("SELECT {REVISION} FROM revisions WHERE cluster_id = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![key(cluster), before, limit], revision)?;
    Ok(page::cut(found.collect::<Result<Vec<_>, _>>()?, request.limit, |revision| revision.number.to_string()))
}

/// A cluster with what a change of it is weighed against.
pub(super) fn present(
    db: &Connection,
    environment: &EnvironmentName,
    name: &ClusterName,
) -> Result<Option<PresentCluster>, Fault> {
    let sql = format!(
        "SELECT {CLUSTER}, sealed_secrets FROM clusters WHERE environment = ?1 AND name = ?2 ORDER BY seq DESC LIMIT 1"
    );
    let read = |row: &Row<'_>| Ok((rows::cluster(row)?, row.get("sealed_secrets")?));
    let names = params![environment.as_str(), name.as_str()];
    let found: Option<(Cluster, Option<Vec<u8>>)> = db.prepare_cached(&sql)?.query_row(names, read).optional()?;
    let Some((cluster, sealed_secrets)) = found else { return Ok(None) };
    let verified = newest_verified(db, cluster.id)?;
    let agent = cluster.volume.map(|volume| serving(db, volume)).transpose()?.flatten();
    let agent = agent.map(|id| agents::by_id(db, id)).transpose()?.flatten();
    Ok(Some(PresentCluster { cluster, sealed_secrets, verified, agent }))
}

fn newest_verified(db: &Connection, cluster: ClusterId) -> Result<Option<Revision>, Fault> {
    let sql = format!(
        "SELECT {REVISION} FROM revisions WHERE cluster_id = ?1 AND verified_at IS NOT NULL \
         ORDER BY number DESC LIMIT 1"
    );
    Ok(db.prepare_cached(&sql)?.query_row([key(cluster)], revision).optional()?)
}

fn serving(db: &Connection, volume: VolumeId) -> Result<Option<AgentId>, Fault> {
    let mut select = db.prepare_cached("SELECT agent FROM volumes WHERE id = ?1")?;
    Ok(select.query_row([key(volume)], |row| rows::word(row, 0)).optional()?)
}

fn revision(row: &Row<'_>) -> Result<Revision, rusqlite::Error> {
    Ok(Revision {
        number: rows::count(row, 0)?,
        spec: rows::spec_column(row, 1)?,
        operation: rows::word(row, 2)?,
        requested_by: row.get(3)?,
        created_at: rows::time(row, 4)?,
        verified_at: rows::time_or_null(row, 5)?,
    })
}
