//! Looks for orphans in the cloud: one at a time, the newest are kept.

use cratekube_common::domain::id::OrphanScanId;
use cratekube_common::domain::removal::OrphanInput;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, json, key};
use super::{audit, page};
use crate::store::{BeginOrphanScan, OrphanScan, OrphanScanBegun, OrphanScanResult, Page, PageRequest};

const COLUMNS: &str = "seq, id, requested_by, agent, begun_at, ended_at, results";
/// Scans that are kept: a month of daily ones. Each may list a megabyte for every agent.
const KEPT: i64 = 30;

/// Begins a scan, if none is at work.
pub(super) fn begin(db: &Connection, request: &BeginOrphanScan) -> Result<OrphanScanBegun, Fault> {
    if let Some((_, scan)) = one(db, request.id)? {
        return Ok(OrphanScanBegun::Begun(scan));
    }
    let sql = "UPDATE orphan_scans SET ended_at = ?2 WHERE ended_at IS NULL AND begun_at < ?1";
    db.prepare_cached(sql)?.execute(params![request.dead_before.as_millis(), request.now.as_millis()])?;
    let mut select = db.prepare_cached("SELECT id FROM orphan_scans WHERE ended_at IS NULL")?;
    if let Some(other) = select.query_row([], |row| rows::word(row, 0)).optional()? {
        return Ok(OrphanScanBegun::AtWork(other));
    }
    db.prepare_cached(
        "INSERT INTO orphan_scans (id, requested_by, agent, begun_at, results) VALUES (?1, ?2, ?3, ?4, '[]')",
    )?
    .execute(params![key(request.id), request.requested_by, request.agent.map(key), request.now.as_millis()])?;
    if let Some(entry) = &request.audit {
        audit::append(db, entry, request.now)?;
    }
    let missing = || Fault::Damaged(format!("scan {} is not there", request.id));
    Ok(OrphanScanBegun::Begun(one(db, request.id)?.ok_or_else(missing)?.1))
}

/// Ends a scan with what was found; says whether it was at work.
pub(super) fn end(
    db: &Connection,
    id: OrphanScanId,
    results: &[OrphanScanResult],
    now: Timestamp,
) -> Result<bool, Fault> {
    let sql = "UPDATE orphan_scans SET ended_at = ?2, results = ?3 WHERE id = ?1 AND ended_at IS NULL";
    let done = db.prepare_cached(sql)?.execute(params![key(id), now.as_millis(), json(&results)?])?;
    let sql = "DELETE FROM orphan_scans WHERE seq <= (SELECT max(seq) FROM orphan_scans) - ?1";
    db.prepare_cached(sql)?.execute([KEPT])?;
    Ok(done > 0)
}

/// A scan.
pub(super) fn by_id(db: &Connection, id: OrphanScanId) -> Result<Option<OrphanScan>, Fault> {
    Ok(one(db, id)?.map(|(_, scan)| scan))
}

/// Scans, newest first.
pub(super) fn list(db: &Connection, request: &PageRequest) -> Result<Page<OrphanScan>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let sql = format!("SELECT {COLUMNS} FROM orphan_scans WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![before, limit], read)?.collect::<Result<Vec<_>, _>>()?;
    let page = page::cut(found, request.limit, |(seq, _)| seq.to_string());
    Ok(Page { items: page.items.into_iter().map(|(_, scan)| scan).collect(), next: page.next })
}

/// Names by which tags may speak of clusters: ids, names, and what removals recorded.
pub(super) fn input(db: &Connection) -> Result<OrphanInput, Fault> {
    let mut select = db.prepare_cached(
        "SELECT c.phase <> 'removed', c.id, c.name, n.value FROM clusters c \
         LEFT JOIN operations o ON o.environment = c.environment AND o.cluster = c.name AND o.cluster_id = c.id \
             AND o.kind = 'remove' \
         LEFT JOIN tasks t ON t.operation = o.id AND t.kind = 'record' AND t.findings IS NOT NULL \
         LEFT JOIN json_each(t.findings, '$.cloud.tag_names') n",
    )?;
    let mut input = OrphanInput::default();
    let read = |row: &Row<'_>| {
        Ok((
            row.get::<_, bool>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, Option<String>>(3)?,
        ))
    };
    for found in select.query_map([], read)? {
        let (living, id, name, recorded) = found?;
        let names = if living { &mut input.living } else { &mut input.removed };
        names.extend([id, name].into_iter().chain(recorded));
    }
    // A name that is used again is a living cluster's.
    input.removed.retain(|name| !input.living.contains(name));
    Ok(input)
}

fn one(db: &Connection, id: OrphanScanId) -> Result<Option<(i64, OrphanScan)>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM orphan_scans WHERE id = ?1");
    Ok(db.prepare_cached(&sql)?.query_row([key(id)], read).optional()?)
}

fn read(row: &Row<'_>) -> Result<(i64, OrphanScan), rusqlite::Error> {
    let scan = OrphanScan {
        id: rows::word(row, 1)?,
        requested_by: row.get(2)?,
        agent: rows::word_or_null(row, 3)?,
        begun_at: rows::time(row, 4)?,
        ended_at: rows::time_or_null(row, 5)?,
        results: rows::document(row, 6)?,
    };
    Ok((row.get(0)?, scan))
}
