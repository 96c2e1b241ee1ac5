//! What the store holds, in numbers. Each number is read from an index of what lives.

use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, Row};

use super::fault::Fault;
use super::{alarms, rows};
use crate::store::{Figures, LiveOperations};

const OPERATIONS: &str = "SELECT state, kind, count(*), min(created_at) FROM operations INDEXED BY operations_live \
     WHERE state IN ('queued', 'running', 'cancelling') GROUP BY state, kind";
const CLUSTERS: &str =
    "SELECT phase, count(*) FROM clusters INDEXED BY clusters_by_phase WHERE phase <> 'removed' GROUP BY phase";
const ATTEMPTS: &str = "SELECT state, count(*) FROM attempts INDEXED BY attempts_holding \
     WHERE state IN ('leased', 'started', 'unknown') GROUP BY state";
const AGENTS: &str = "SELECT state, count(*) FROM agents INDEXED BY agents_patterns GROUP BY state";
const DELAYED: &str = "SELECT count(*) FROM tasks WHERE state = 'queued' AND delay_ms > 0";
const VOLUMES: &str = "SELECT count(*) FROM volumes";
const CERTIFICATE: &str = "SELECT min(certificate_not_after) FROM agents INDEXED BY agents_certificates \
     WHERE state NOT IN ('quarantined', 'revoked')";
const CLUSTER_CERTIFICATE: &str = "SELECT min(certificates_expire_at) FROM clusters INDEXED BY clusters_expiring \
     WHERE certificates_expire_at IS NOT NULL AND phase <> 'removed'";
const GENERATION: &str = "SELECT min(sealed_at) FROM clusters INDEXED BY clusters_sealed \
     WHERE phase <> 'removed' AND sealed_at IS NOT NULL";
const EVIDENCE: &str = "SELECT coalesce(max(seq), 0) FROM quarantine";
const AUDIT: &str = "SELECT coalesce(max(number), 0) FROM audit";

/// All of them, for the test that looks at how they are answered.
#[cfg(test)]
pub(super) const QUERIES: &[&str] = &[
    OPERATIONS,
    CLUSTERS,
    ATTEMPTS,
    AGENTS,
    DELAYED,
    VOLUMES,
    CERTIFICATE,
    CLUSTER_CERTIFICATE,
    GENERATION,
    EVIDENCE,
    AUDIT,
];

/// Reads them, in one snapshot.
pub(super) fn read(db: &Connection) -> Result<Figures, Fault> {
    let number =
        |sql: &str| -> Result<u64, Fault> { Ok(db.prepare_cached(sql)?.query_row([], |row| rows::count(row, 0))?) };
    let time = |sql: &str| -> Result<Option<Timestamp>, Fault> {
        Ok(db.prepare_cached(sql)?.query_row([], |row| rows::time_or_null(row, 0))?)
    };
    Ok(Figures {
        operations: list(db, OPERATIONS, |row| {
            Ok(LiveOperations {
                state: rows::word(row, 0)?,
                kind: rows::word(row, 1)?,
                count: rows::count(row, 2)?,
                oldest: rows::time(row, 3)?,
            })
        })?,
        clusters: list(db, CLUSTERS, |row| Ok((rows::word(row, 0)?, rows::count(row, 1)?)))?,
        attempts: list(db, ATTEMPTS, |row| Ok((rows::word(row, 0)?, rows::count(row, 1)?)))?,
        agents: list(db, AGENTS, |row| Ok((rows::word(row, 0)?, rows::count(row, 1)?)))?,
        delayed_tasks: number(DELAYED)?,
        volumes: number(VOLUMES)?,
        first_certificate_ends: time(CERTIFICATE)?,
        first_cluster_certificate_ends: time(CLUSTER_CERTIFICATE)?,
        oldest_generation: time(GENERATION)?,
        evidence: number(EVIDENCE)?,
        alarms: alarms::open(db)?,
        audit_entries: number(AUDIT)?,
    })
}

fn list<T>(
    db: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> Result<T, rusqlite::Error>,
) -> Result<Vec<T>, Fault> {
    Ok(db.prepare_cached(sql)?.query_map([], read)?.collect::<Result<_, _>>()?)
}
