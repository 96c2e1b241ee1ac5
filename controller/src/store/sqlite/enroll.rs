//! Join tokens, enrolment and certificates: of many that race with one token, one wins.

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, key};
use super::{audit, events};
use crate::store::{CertificateFacts, EnrollAgent, EnrollRefusal, Enrolled, NewJoinToken};

/// Keeps a join token.
pub(super) fn keep_token(db: &Connection, token: &NewJoinToken, entry: &AuditEntry) -> Result<(), Fault> {
    let kept = db
        .prepare_cached(
            "INSERT INTO join_tokens (id, secret_sha256, agent, environments, created_at, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            key(token.id),
            token.secret_sha256,
            token.agent.as_ref().map(AgentName::as_str),
            token.environments.as_str(),
            token.created_at.as_millis(),
            token.expires_at.as_millis(),
        ])?;
    if kept == 1 { audit::append(db, entry, token.created_at) } else { Ok(()) }
}

/// Consumes a join token and records the agent.
pub(super) fn enroll(db: &Connection, request: &EnrollAgent) -> Result<Enrolled, Fault> {
    let environments = match admit(db, request)? {
        Admission::Before => return Ok(Enrolled::New),
        Admission::Refused(why) => return refuse(db, request, why),
        Admission::Granted { environments } => environments,
    };
    let consumed = db
        .prepare_cached(
            "UPDATE join_tokens SET used_at = ?2, used_by = ?3 WHERE secret_sha256 = ?1 AND used_at IS NULL",
        )?
        .execute(params![request.secret_sha256, request.now.as_millis(), key(request.agent)])?;
    if consumed != 1 {
        return refuse(db, request, EnrollRefusal::Used);
    }
    db.prepare_cached(
        "INSERT INTO agents (id, name, state, environments, enrolled_at, certificate_serial, certificate_not_after) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        key(request.agent),
        request.name.as_str(),
        AgentState::Active.as_str(),
        environments,
        request.now.as_millis(),
        request.certificate.serial,
        request.certificate.not_after.as_millis(),
    ])?;
    audit::append(db, &AuditEntry { outcome: AuditOutcome::Allowed, ..request.audit.clone() }, request.now)?;
    Ok(Enrolled::New)
}

enum Admission {
    Granted {
        environments: String,
    },
    /// By this very request, whose answer was lost.
    Before,
    Refused(EnrollRefusal),
}

fn admit(db: &Connection, request: &EnrollAgent) -> Result<Admission, Fault> {
    let mut select = db.prepare_cached(
        "SELECT used_by, used_at IS NOT NULL, expires_at, agent, environments FROM join_tokens WHERE secret_sha256 = ?1",
    )?;
    type Token = (Option<AgentId>, bool, Timestamp, Option<AgentName>, String);
    let read = |row: &Row<'_>| {
        let used_by = rows::word_or_null(row, 0)?;
        Ok((used_by, row.get(1)?, rows::time(row, 2)?, rows::word_or_null(row, 3)?, row.get(4)?))
    };
    let token: Option<Token> = select.query_row([&request.secret_sha256], read).optional()?;
    let Some((used_by, used, expires_at, name, environments)) = token else {
        return Ok(Admission::Refused(EnrollRefusal::Unknown));
    };
    if used_by == Some(request.agent) {
        return Ok(Admission::Before);
    }
    let refused = if used {
        Some(EnrollRefusal::Used)
    } else if expires_at <= request.now {
        Some(EnrollRefusal::Expired)
    } else if name.is_some_and(|name| name != request.name) {
        Some(EnrollRefusal::OtherName)
    } else if name_taken(db, &request.name)? {
        Some(EnrollRefusal::NameTaken)
    } else {
        None
    };
    Ok(refused.map_or(Admission::Granted { environments }, Admission::Refused))
}

fn name_taken(db: &Connection, name: &AgentName) -> Result<bool, Fault> {
    let mut select =
        db.prepare_cached("SELECT EXISTS (SELECT 1 FROM agents WHERE name = ?1 AND state <> 'revoked')")?;
    Ok(select.query_row([name.as_str()], |row| row.get(0))?)
}

fn refuse(db: &Connection, request: &EnrollAgent, why: EnrollRefusal) -> Result<Enrolled, Fault> {
    let reason = match why {
        EnrollRefusal::Unknown => "the join token is not known",
        EnrollRefusal::Used => "the join token was used before",
        EnrollRefusal::Expired => "the join token has ended",
        EnrollRefusal::OtherName => "the join token is for another agent",
        EnrollRefusal::NameTaken => "an agent of this name is enrolled",
    };
    let entry = AuditEntry { outcome: AuditOutcome::Refused, detail: reason.into(), ..request.audit.clone() };
    audit::append(db, &entry, request.now)?;
    Ok(Enrolled::Refused(why))
}

/// Records a renewed certificate; false when there is no such agent that may connect.
pub(super) fn renew(db: &Connection, agent: AgentId, certificate: &CertificateFacts) -> Result<bool, Fault> {
    let renewed = db
        .prepare_cached(
            "UPDATE agents SET certificate_serial = ?2, certificate_not_after = ?3 WHERE id = ?1 AND state <> 'revoked'",
        )?
        .execute(params![key(agent), certificate.serial, certificate.not_after.as_millis()])?;
    Ok(renewed == 1)
}

/// Forgets what ended before `now`: idempotency keys, join tokens, what users had, and events that
/// nobody resumes from.
pub(super) fn purge(db: &Connection, now: Timestamp) -> Result<u64, Fault> {
    let keys = db.prepare_cached("DELETE FROM idempotency WHERE expires_at < ?1")?.execute([now.as_millis()])?;
    let tokens = db.prepare_cached("DELETE FROM join_tokens WHERE expires_at < ?1")?.execute([now.as_millis()])?;
    let of_users = super::users::purge(db, now)?;
    let events = events::purge(db, now)?;
    Ok(u64::try_from(keys + tokens + of_users + events).unwrap_or(u64::MAX))
}
