//! Reading clusters, environments and generations.

use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::ClusterId;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, CLUSTER};
use super::{page, rows::key};
use crate::store::{ClusterFilter, EnvironmentSummary, Page, PageRequest};

/// The newest cluster of a name.
pub(super) fn by_name(
    db: &Connection,
    environment: &EnvironmentName,
    name: &ClusterName,
) -> Result<Option<Cluster>, Fault> {
    let sql = format!("SELECT {CLUSTER} FROM clusters WHERE environment = ?1 AND name = ?2 ORDER BY seq DESC LIMIT 1");
    let mut select = db.prepare_cached(&sql)?;
    Ok(select.query_row(params![environment.as_str(), name.as_str()], rows::cluster).optional()?)
}

/// Clusters of an environment, by name.
pub(super) fn list(db: &Connection, filter: &ClusterFilter, request: &PageRequest) -> Result<Page<Cluster>, Fault> {
    let Some((name, seq, limit)) = page::by_name(request) else { return Ok(page::empty()) };
    // Spelled as the partial index has it, so that removed clusters cost nothing.
    let live = if filter.include_removed { "" } else { "AND phase <> 'removed'" };
    let sql = format!(
        "SELECT {CLUSTER}, seq FROM clusters WHERE environment = ?1 AND (name, seq) > (?2, ?3) {live} \
         ORDER BY name, seq LIMIT ?4"
    );
    let read = |row: &Row<'_>| Ok((rows::cluster(row)?, row.get::<_, i64>("seq")?));
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![filter.environment.as_str(), name, seq, limit], read)?;
    let page = page::cut(found.collect::<Result<Vec<_>, _>>()?, request.limit, |(c, seq)| format!("{}/{seq}", c.name));
    Ok(Page { items: page.items.into_iter().map(|(cluster, _)| cluster).collect(), next: page.next })
}

/// Environments with clusters that are not removed.
pub(super) fn environments(db: &Connection) -> Result<Vec<EnvironmentSummary>, Fault> {
    let mut select = db.prepare_cached("SELECT name, clusters FROM environments WHERE clusters > 0 ORDER BY name")?;
    let read = |row: &Row<'_>| Ok(EnvironmentSummary { name: rows::word(row, 0)?, clusters: rows::count(row, 1)? });
    Ok(select.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// Generations of a cluster, newest first.
pub(super) fn generations(db: &Connection, cluster: ClusterId, request: &PageRequest) -> Result<Page<Manifest>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let mut select = db.prepare_cached(
        "SELECT manifest FROM generations WHERE cluster_id = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
    )?;
    let found = select.query_map(params![key(cluster), before, limit], |row| rows::document::<Manifest>(row, 0))?;
    Ok(page::cut(found.collect::<Result<Vec<_>, _>>()?, request.limit, |manifest| manifest.number.to_string()))
}
