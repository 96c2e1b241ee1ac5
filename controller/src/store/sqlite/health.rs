//! What checks of clusters found: the last one of each, and when its certificates run out.

use cratekube_common::domain::cluster::health::VerifyFindings;
use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::events;
use super::fault::Fault;
use super::rows::{self, json as written, key};
use crate::store::{EXPIRY_NOTICE, HealthRecord};

/// Keeps what a check found.
pub(super) fn learn(
    db: &Connection,
    (cluster, operation): (ClusterId, OperationId),
    findings: &VerifyFindings,
    now: Timestamp,
) -> Result<(), Fault> {
    let expires_at = findings.first_expiry().map(|first| first.not_after.as_millis());
    // What was told of these certificates need not be told again; of others it must.
    db.prepare_cached(
        "INSERT INTO health (cluster_id, operation, recorded_at, findings, told) VALUES (?1, ?2, ?3, ?4, 0) \
         ON CONFLICT (cluster_id) DO UPDATE SET operation = excluded.operation, recorded_at = excluded.recorded_at, \
             findings = excluded.findings, told = CASE WHEN \
             (SELECT certificates_expire_at FROM clusters WHERE id = ?1) IS ?5 THEN told ELSE 0 END",
    )?
    .execute(params![key(cluster), key(operation), now.as_millis(), written(findings)?, expires_at])?;
    if expires_at.is_some() {
        let sql = "UPDATE clusters SET certificates_expire_at = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![key(cluster), expires_at])?;
    }
    tell(db, now)
}

/// Tells of certificates that run out soon, once of each.
pub(super) fn tell(db: &Connection, now: Timestamp) -> Result<(), Fault> {
    let soon = now.after(EXPIRY_NOTICE).as_millis();
    let mut select = db.prepare_cached(
        "SELECT c.id, c.certificates_expire_at FROM clusters c JOIN health h ON h.cluster_id = c.id \
         WHERE c.certificates_expire_at < ?1 AND c.phase <> 'removed' AND h.told = 0",
    )?;
    let read = |row: &Row<'_>| Ok((rows::word(row, 0)?, rows::time(row, 1)?));
    let expiring = select.query_map([soon], read)?.collect::<Result<Vec<(ClusterId, Timestamp)>, _>>()?;
    for (cluster, expires_at) in expiring {
        let detail = json!({"expires_at": expires_at.to_string()});
        events::cluster(db, "cluster.certificates-expiring", cluster, &detail)?;
        db.prepare_cached("UPDATE health SET told = 1 WHERE cluster_id = ?1")?.execute([key(cluster)])?;
    }
    Ok(())
}

/// What the last check of a cluster found.
pub(super) fn last(db: &Connection, cluster: ClusterId) -> Result<Option<HealthRecord>, Fault> {
    let mut select = db.prepare_cached("SELECT operation, recorded_at, findings FROM health WHERE cluster_id = ?1")?;
    let read = |row: &Row<'_>| {
        Ok(HealthRecord {
            operation: rows::word(row, 0)?,
            recorded_at: rows::time(row, 1)?,
            findings: rows::document(row, 2)?,
        })
    };
    Ok(select.query_row([key(cluster)], read).optional()?)
}
