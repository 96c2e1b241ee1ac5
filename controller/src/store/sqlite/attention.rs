//! What may need somebody, and the volumes: read from indexes of what lives.

use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::id::{AgentId, OperationId, VolumeId};
use cratekube_common::domain::operation::Operation;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, CLUSTER, key};
use super::{agents, alarms, events, operations, page};
use crate::store::{Attention, ClusterCertificates, Event, LostRun, Page, PageRequest, VolumeRecord};

const VOLUME: &str = "SELECT v.id, v.agent, v.taken_at, (SELECT count(*) FROM clusters c INDEXED BY clusters_of_volume \
     WHERE c.volume = v.id AND c.phase <> 'removed' AND c.volume IS NOT NULL) FROM volumes v";

/// All of it, in one snapshot.
pub(super) fn read(db: &Connection, limit: usize) -> Result<Attention, Fault> {
    Ok(Attention {
        operations: live(db, limit)?,
        clusters: unwell(db, limit)?,
        lost: lost(db, limit)?,
        agents: agents::living(db, limit)?,
        volumes: volumes(db, &PageRequest { after: None, limit })?.items,
        alarms: alarms::list(db, Some(true), &PageRequest { after: None, limit })?.items,
        certificates: certificates(db, limit)?,
    })
}

fn certificates(db: &Connection, limit: usize) -> Result<Vec<ClusterCertificates>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT environment, name, certificates_expire_at FROM clusters INDEXED BY clusters_expiring \
         WHERE certificates_expire_at IS NOT NULL AND phase <> 'removed' ORDER BY certificates_expire_at LIMIT ?1",
    )?;
    let read = |row: &Row<'_>| {
        Ok(ClusterCertificates {
            environment: rows::word(row, 0)?,
            cluster: rows::word(row, 1)?,
            end_at: rows::time(row, 2)?,
        })
    };
    Ok(select.query_map([page::rows(limit) - 1], read)?.collect::<Result<_, _>>()?)
}

fn live(db: &Connection, limit: usize) -> Result<Vec<Operation>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT id FROM operations INDEXED BY operations_live WHERE state IN ('queued', 'running', 'cancelling') \
         ORDER BY created_at, seq LIMIT ?1",
    )?;
    let ids = select.query_map([page::rows(limit) - 1], |row| rows::word::<OperationId>(row, 0))?;
    let ids: Vec<OperationId> = ids.collect::<Result<_, _>>()?;
    let found = ids.into_iter().map(|id| operations::by_id(db, id)).collect::<Result<Vec<_>, _>>()?;
    Ok(found.into_iter().flatten().collect())
}

fn unwell(db: &Connection, limit: usize) -> Result<Vec<Cluster>, Fault> {
    let sql = format!(
        "SELECT {CLUSTER} FROM clusters INDEXED BY clusters_by_phase \
         WHERE phase IN ('degraded', 'failed') AND phase <> 'removed' ORDER BY updated_at, seq LIMIT ?1"
    );
    let mut select = db.prepare_cached(&sql)?;
    Ok(select.query_map([page::rows(limit) - 1], rows::cluster)?.collect::<Result<_, _>>()?)
}

fn lost(db: &Connection, limit: usize) -> Result<Vec<LostRun>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT a.id, a.operation, a.agent, c.environment, c.name, a.leased_at \
         FROM attempts a INDEXED BY attempts_holding JOIN clusters c ON c.id = a.cluster_id \
         WHERE a.state = 'unknown' AND a.state IN ('leased', 'started', 'unknown') ORDER BY a.leased_at LIMIT ?1",
    )?;
    let read = |row: &Row<'_>| {
        Ok(LostRun {
            attempt: rows::word(row, 0)?,
            operation: rows::word(row, 1)?,
            agent: rows::word(row, 2)?,
            environment: rows::word(row, 3)?,
            cluster: rows::word(row, 4)?,
            leased_at: rows::time(row, 5)?,
        })
    };
    Ok(select.query_map([page::rows(limit) - 1], read)?.collect::<Result<_, _>>()?)
}

/// Volumes, by id.
pub(super) fn volumes(db: &Connection, request: &PageRequest) -> Result<Page<VolumeRecord>, Fault> {
    let after = request.after.as_deref().unwrap_or("");
    let sql = format!("{VOLUME} WHERE v.id > ?1 ORDER BY v.id LIMIT ?2");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![after, page::rows(request.limit)], volume_row)?;
    Ok(page::cut(found.collect::<Result<Vec<_>, _>>()?, request.limit, |volume| volume.id.to_string()))
}

/// A volume.
pub(super) fn volume(db: &Connection, id: VolumeId) -> Result<Option<VolumeRecord>, Fault> {
    let sql = format!("{VOLUME} WHERE v.id = ?1");
    Ok(db.prepare_cached(&sql)?.query_row([key(id)], volume_row).optional()?)
}

fn volume_row(row: &Row<'_>) -> Result<VolumeRecord, rusqlite::Error> {
    Ok(VolumeRecord {
        id: rows::word(row, 0)?,
        agent: rows::word(row, 1)?,
        taken_at: rows::time(row, 2)?,
        clusters: rows::count(row, 3)?,
    })
}

/// Clusters on a volume that are not removed.
pub(super) fn clusters_on(db: &Connection, volume: VolumeId, request: &PageRequest) -> Result<Page<Cluster>, Fault> {
    let after: i64 = request.after.as_deref().map_or(Some(0), |text| text.parse().ok()).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {CLUSTER}, seq FROM clusters INDEXED BY clusters_of_volume \
         WHERE volume = ?1 AND volume IS NOT NULL AND phase <> 'removed' AND seq > ?2 ORDER BY seq LIMIT ?3"
    );
    let read = |row: &Row<'_>| Ok((rows::cluster(row)?, row.get::<_, i64>("seq")?));
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![key(volume), after, page::rows(request.limit)], read)?;
    let page = page::cut(found.collect::<Result<Vec<_>, _>>()?, request.limit, |(_, seq)| seq.to_string());
    Ok(Page { items: page.items.into_iter().map(|(cluster, _)| cluster).collect(), next: page.next })
}

/// What happened to an agent and what it ran, newest first, as far back as events are kept.
pub(super) fn agent_events(db: &Connection, agent: AgentId, request: &PageRequest) -> Result<Page<Event>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let mut select = db.prepare_cached(
        "SELECT seq, at, kind, environment, cluster, operation, agent, detail FROM events INDEXED BY events_of_agent \
         WHERE agent = ?1 AND seq < ?2 AND at IS NOT NULL ORDER BY seq DESC LIMIT ?3",
    )?;
    let found = select.query_map(params![key(agent), before, limit], events::event)?;
    Ok(page::cut(found.collect::<Result<Vec<_>, _>>()?, request.limit, |event| event.number.to_string()))
}
