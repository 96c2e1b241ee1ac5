//! Certificates of agents: one in use, perhaps a newer one that was not shown yet, and those that were
//! replaced, remembered for as long as someone could still show them.

use std::time::Duration;

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, key};
use crate::store::{CertificateFacts, CertificateRecord, RenewAgent, Renewed, UseCertificate};

/// How long a certificate is remembered after its end: longer than it can be renewed.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long a cut is remembered: every controller has read it long before.
const CUTS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Records a certificate.
pub(super) fn keep(
    db: &Connection,
    agent: AgentId,
    certificate: &CertificateFacts,
    now: Timestamp,
) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO certificates (agent, serial, generation, key_sha256, issued_at, not_after, issuer, trust) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (agent, serial) DO NOTHING",
    )?
    .execute(params![
        key(agent),
        certificate.serial,
        rows::int(certificate.generation)?,
        certificate.key_sha256,
        now.as_millis(),
        certificate.not_after.as_millis(),
        certificate.issuer,
        certificate.trust,
    ])?;
    Ok(())
}

/// A certificate.
pub(super) fn find(db: &Connection, agent: AgentId, serial: &str) -> Result<Option<CertificateRecord>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT generation, used_at, replaced_at, trust FROM certificates WHERE agent = ?1 AND serial = ?2",
    )?;
    let read = |row: &Row<'_>| {
        Ok(CertificateRecord {
            generation: rows::count(row, 0)?,
            used_at: rows::time_or_null(row, 1)?,
            replaced_at: rows::time_or_null(row, 2)?,
            trust: row.get(3)?,
        })
    };
    Ok(select.query_row(params![key(agent), serial], read).optional()?)
}

/// Completes certificates that are on record from a release that did not keep who made them.
pub(super) fn adopt(db: &Connection, issuer: &str) -> Result<u64, Fault> {
    let sql = "UPDATE certificates SET issuer = ?1, trust = ?1 WHERE issuer = ''";
    Ok(u64::try_from(db.prepare_cached(sql)?.execute([issuer])?).unwrap_or(u64::MAX))
}

/// A certificate is shown for the first time: those before it are replaced.
pub(super) fn begin(db: &Connection, request: &UseCertificate) -> Result<bool, Fault> {
    let UseCertificate { agent, certificate, now } = request;
    keep(db, *agent, certificate, *now)?;
    let begun = db
        .prepare_cached(
            "UPDATE certificates SET used_at = ?3 \
             WHERE agent = ?1 AND serial = ?2 AND used_at IS NULL AND replaced_at IS NULL",
        )?
        .execute(params![key(agent), certificate.serial, now.as_millis()])?;
    if begun == 0 {
        // Shown at the same time on another connection, unless it was replaced meanwhile.
        return Ok(find(db, *agent, &certificate.serial)?.is_some_and(|record| record.replaced_at.is_none()));
    }
    db.prepare_cached(
        "UPDATE certificates SET replaced_at = ?3 WHERE agent = ?1 AND serial <> ?2 AND replaced_at IS NULL",
    )?
    .execute(params![key(agent), certificate.serial, now.as_millis()])?;
    db.prepare_cached(
        "UPDATE agents SET generation = ?2, certificate_serial = ?3, certificate_not_after = ?4 WHERE id = ?1",
    )?
    .execute(params![
        key(agent),
        rows::int(certificate.generation)?,
        certificate.serial,
        certificate.not_after.as_millis(),
    ])?;
    Ok(true)
}

/// Records a new certificate beside the one in use.
pub(super) fn renew(db: &Connection, request: &RenewAgent) -> Result<Renewed, Fault> {
    let mut select = db.prepare_cached("SELECT state, certificate_serial, generation FROM agents WHERE id = ?1")?;
    let read = |row: &Row<'_>| Ok((rows::word::<AgentState>(row, 0)?, row.get::<_, String>(1)?, rows::count(row, 2)?));
    let (serial, generation) = match select.query_row([key(request.agent)], read).optional()? {
        Some((state, serial, generation)) if state.may_connect() => (serial, generation),
        _ => return Ok(Renewed::NotAllowed),
    };
    if serial != request.shown || request.certificate.generation != generation + 1 {
        return Ok(Renewed::Superseded);
    }
    replace_unused(db, request.agent, &request.certificate, &serial, request.now)?;
    Ok(Renewed::Now)
}

/// Records a certificate in the place of those that were never shown, but for one.
pub(super) fn replace_unused(
    db: &Connection,
    agent: AgentId,
    certificate: &CertificateFacts,
    stays: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    db.prepare_cached(
        "UPDATE certificates SET replaced_at = ?2 \
         WHERE agent = ?1 AND used_at IS NULL AND replaced_at IS NULL AND serial <> ?3",
    )?
    .execute(params![key(agent), now.as_millis(), stays])?;
    keep(db, agent, certificate, now)
}

/// Forgets certificates that nobody can use any more, but not those of banned agents, and old cuts.
pub(super) fn purge(db: &Connection, now: Timestamp) -> Result<usize, Fault> {
    let before = |kept: Duration| now.as_millis().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
    let gone = db
        .prepare_cached(
            "DELETE FROM certificates WHERE not_after < ?1 AND agent NOT IN (SELECT agent FROM bans) \
             AND NOT EXISTS (SELECT 1 FROM agents a WHERE a.id = agent AND a.certificate_serial = serial)",
        )?
        .execute([before(KEPT)])?;
    db.prepare_cached("DELETE FROM cuts WHERE at < ?1")?.execute([before(CUTS_KEPT)])?;
    Ok(gone)
}
