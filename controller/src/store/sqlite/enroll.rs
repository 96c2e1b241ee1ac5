//! Join tokens and enrolment: of many that race with one token, one wins.

use std::time::Duration;

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::alarm::{AlarmKind, NewAlarm};
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::{AgentId, JoinTokenId, VolumeId};
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, json, key};
use super::{alarms, audit, certificates, events, health, page};
use crate::store::{EnrollAgent, EnrollRefusal, Enrolled, JoinTokenRecord, NewJoinToken, Page, PageRequest, Withdrawn};

/// How long a used token is remembered after its end, so that its reuse rings the alarm.
const USED_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Everything that must hold, and the change, in one statement.
const CONSUME: &str = "UPDATE join_tokens SET used_at = ?2, used_by = ?3 \
     WHERE secret_sha256 = ?1 AND used_at IS NULL AND expires_at > ?2 AND (agent IS NULL OR agent = ?4) \
     AND (volume IS NULL OR volume IN (SELECT value FROM json_each(?5))) \
     AND NOT EXISTS (SELECT 1 FROM agents WHERE name = ?4 AND state <> 'revoked') \
     AND NOT EXISTS (SELECT 1 FROM bans WHERE name = ?4) \
     AND NOT EXISTS (SELECT 1 FROM certificates c JOIN bans b ON b.agent = c.agent WHERE c.key_sha256 = ?6) \
     RETURNING environments";

/// Keeps a join token.
pub(super) fn keep_token(db: &Connection, token: &NewJoinToken, entry: &AuditEntry) -> Result<(), Fault> {
    let kept = db
        .prepare_cached(
            "INSERT INTO join_tokens (id, secret_sha256, agent, volume, environments, created_by, created_at, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            key(token.id),
            token.secret_sha256,
            token.agent.as_ref().map(AgentName::as_str),
            token.volume.map(key),
            token.environments.as_str(),
            token.created_by,
            token.created_at.as_millis(),
            token.expires_at.as_millis(),
        ])?;
    if kept == 1 { audit::append(db, entry, token.created_at) } else { Ok(()) }
}

/// Join tokens, newest first.
pub(super) fn tokens(db: &Connection, request: &PageRequest) -> Result<Page<JoinTokenRecord>, Fault> {
    let after = request.after.as_deref().unwrap_or("9999999999999/");
    let Some((at, id)) = after.split_once('/').and_then(|(at, id)| Some((at.parse::<i64>().ok()?, id))) else {
        return Ok(page::empty());
    };
    let mut select = db.prepare_cached(
        "SELECT id, agent, volume, environments, created_by, created_at, expires_at, used_at, used_by FROM join_tokens \
         WHERE (created_at, id) < (?1, ?2) ORDER BY created_at DESC, id DESC LIMIT ?3",
    )?;
    let found = select.query_map(params![at, id, page::rows(request.limit)], token)?.collect::<Result<Vec<_>, _>>()?;
    Ok(page::cut(found, request.limit, |token| format!("{}/{}", token.created_at.as_millis(), token.id)))
}

fn token(row: &Row<'_>) -> Result<JoinTokenRecord, rusqlite::Error> {
    Ok(JoinTokenRecord {
        id: rows::word(row, 0)?,
        agent: rows::word_or_null(row, 1)?,
        volume: rows::word_or_null(row, 2)?,
        environments: rows::word(row, 3)?,
        created_by: row.get(4)?,
        created_at: rows::time(row, 5)?,
        expires_at: rows::time(row, 6)?,
        used: rows::time_or_null(row, 7)?.zip(rows::word_or_null(row, 8)?),
    })
}

/// Takes a join token back.
pub(super) fn withdraw(
    db: &Connection,
    token: JoinTokenId,
    entry: &AuditEntry,
    now: Timestamp,
) -> Result<Withdrawn, Fault> {
    let gone = db
        .prepare_cached("DELETE FROM join_tokens WHERE id = ?1 AND used_at IS NULL AND expires_at > ?2")?
        .execute(params![key(token), now.as_millis()])?;
    if gone == 1 {
        audit::append(db, entry, now)?;
        return Ok(Withdrawn::Done);
    }
    let used = "SELECT EXISTS (SELECT 1 FROM join_tokens WHERE id = ?1 AND used_at IS NOT NULL)";
    let used: bool = db.prepare_cached(used)?.query_row([key(token)], |row| row.get(0))?;
    Ok(if used { Withdrawn::Used } else { Withdrawn::NotFound })
}

/// Consumes a join token and records the agent.
pub(super) fn enroll(db: &Connection, request: &EnrollAgent) -> Result<Enrolled, Fault> {
    let volumes = json(&request.volumes.iter().map(key).collect::<Vec<_>>())?;
    let environments: Option<String> = db
        .prepare_cached(CONSUME)?
        .query_row(
            params![
                request.secret_sha256,
                request.now.as_millis(),
                key(request.agent),
                request.name.as_str(),
                volumes,
                request.certificate.key_sha256,
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(environments) = environments else { return not_consumed(db, request) };
    let certificate = &request.certificate;
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
        certificate.serial,
        certificate.not_after.as_millis(),
    ])?;
    certificates::keep(db, request.agent, certificate, request.now)?;
    audit::append(db, &AuditEntry { outcome: AuditOutcome::Allowed, ..request.audit.clone() }, request.now)?;
    Ok(Enrolled::New)
}

/// Finds out why, for the audit: the agent is told nothing.
fn not_consumed(db: &Connection, request: &EnrollAgent) -> Result<Enrolled, Fault> {
    let mut select = db.prepare_cached(
        "SELECT used_by, used_at IS NOT NULL, expires_at, agent, volume FROM join_tokens WHERE secret_sha256 = ?1",
    )?;
    type Token = (Option<AgentId>, bool, Timestamp, Option<AgentName>, Option<VolumeId>);
    let read = |row: &Row<'_>| {
        let (name, volume) = (rows::word_or_null(row, 3)?, rows::word_or_null(row, 4)?);
        Ok((rows::word_or_null(row, 0)?, row.get(1)?, rows::time(row, 2)?, name, volume))
    };
    let token: Option<Token> = select.query_row([&request.secret_sha256], read).optional()?;
    let why = match token {
        Some((Some(used_by), ..)) if waits_for_answer(db, used_by, request)? => return again(db, used_by, request),
        None => EnrollRefusal::Unknown,
        Some((_, true, ..)) => EnrollRefusal::Used,
        Some((_, _, expires_at, ..)) if expires_at <= request.now => EnrollRefusal::Expired,
        Some((.., Some(name), _)) if name != request.name => EnrollRefusal::OtherName,
        Some((.., Some(volume))) if !request.volumes.contains(&volume) => EnrollRefusal::OtherVolume,
        Some(_) if name_taken(db, &request.name)? => EnrollRefusal::NameTaken,
        Some(_) => EnrollRefusal::Banned,
    };
    refuse(db, request, why)
}

/// True when this agent came of the token, was never seen, and the request has its key: the answer to it was
/// lost. Nobody else can do anything with a certificate for that key.
fn waits_for_answer(db: &Connection, agent: AgentId, request: &EnrollAgent) -> Result<bool, Fault> {
    let mut select = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM agents WHERE id = ?1 AND name = ?2 AND state = ?4) \
         AND EXISTS (SELECT 1 FROM certificates WHERE agent = ?1 AND key_sha256 = ?3) \
         AND NOT EXISTS (SELECT 1 FROM certificates WHERE agent = ?1 AND used_at IS NOT NULL)",
    )?;
    let (name, active) = (request.name.as_str(), AgentState::Active.as_str());
    Ok(select.query_row(params![key(agent), name, request.certificate.key_sha256, active], |row| row.get(0))?)
}

/// Answers again: a certificate under the id that is on record takes the place of the one that was lost.
fn again(db: &Connection, agent: AgentId, request: &EnrollAgent) -> Result<Enrolled, Fault> {
    if agent != request.agent {
        return Ok(Enrolled::Before(agent));
    }
    let certificate = &request.certificate;
    certificates::replace_unused(db, agent, certificate, &certificate.serial, request.now)?;
    let sql = "UPDATE agents SET certificate_serial = ?2, certificate_not_after = ?3 WHERE id = ?1";
    let new = params![key(agent), certificate.serial, certificate.not_after.as_millis()];
    db.prepare_cached(sql)?.execute(new)?;
    let detail = "the answer before did not arrive".to_owned();
    audit::append(db, &AuditEntry { outcome: AuditOutcome::Allowed, detail, ..request.audit.clone() }, request.now)?;
    Ok(Enrolled::New)
}

fn name_taken(db: &Connection, name: &AgentName) -> Result<bool, Fault> {
    let mut select =
        db.prepare_cached("SELECT EXISTS (SELECT 1 FROM agents WHERE name = ?1 AND state <> 'revoked')")?;
    Ok(select.query_row([name.as_str()], |row| row.get(0))?)
}

fn refuse(db: &Connection, request: &EnrollAgent, why: EnrollRefusal) -> Result<Enrolled, Fault> {
    let reason = match why {
        EnrollRefusal::Unknown => "the join token is not known",
        EnrollRefusal::Used => "the join token was used before: two hosts have it, or someone else does",
        EnrollRefusal::Expired => "the join token has ended",
        EnrollRefusal::OtherName => "the join token is for another agent",
        EnrollRefusal::OtherVolume => "the join token is for an agent that serves another volume",
        EnrollRefusal::NameTaken => "an agent of this name is enrolled",
        EnrollRefusal::Banned => "the agent's name or key is banned",
    };
    let mut entry = AuditEntry { outcome: AuditOutcome::Refused, detail: reason.into(), ..request.audit.clone() };
    if why == EnrollRefusal::Used {
        entry.action = "agent.join-token-reused".into();
        alarms::ring(db, &reused(db, request)?, request.now)?;
    }
    audit::append(db, &entry, request.now)?;
    Ok(Enrolled::Refused(why))
}

/// The alarm of a token that was used before. It is about the token: what the stranger calls itself is
/// its own choice.
fn reused(db: &Connection, request: &EnrollAgent) -> Result<NewAlarm, Fault> {
    let sql = "SELECT id, used_by FROM join_tokens WHERE secret_sha256 = ?1";
    let read = |row: &Row<'_>| Ok((rows::word::<JoinTokenId>(row, 0)?, rows::word_or_null::<AgentId>(row, 1)?));
    let (token, agent) = db.prepare_cached(sql)?.query_row([&request.secret_sha256], read)?;
    let (name, origin) = (&request.name, &request.audit.origin);
    let detail = format!("a join token that was used came again from {origin}, for an agent named {name}");
    Ok(NewAlarm { kind: AlarmKind::JoinTokenReused, object: token.to_string(), cluster: None, agent, detail })
}

/// Forgets what is of no more use at `now`: idempotency keys, join tokens, certificates and cuts, what
/// users had, events that nobody resumes from, and alarms that were seen to long ago.
pub(super) fn purge(db: &Connection, now: Timestamp) -> Result<u64, Fault> {
    let keys = db.prepare_cached("DELETE FROM idempotency WHERE expires_at < ?1")?.execute([now.as_millis()])?;
    let used = now.as_millis().saturating_sub(i64::try_from(USED_KEPT.as_millis()).unwrap_or(i64::MAX));
    let tokens = db
        .prepare_cached("DELETE FROM join_tokens WHERE expires_at < ?1 AND (used_at IS NULL OR expires_at < ?2)")?
        .execute([now.as_millis(), used])?;
    let identities = certificates::purge(db, now)?;
    let of_users = super::users::purge(db, now)?;
    // Beside what is thrown away: what the time alone brings about.
    health::tell(db, now)?;
    let (events, alarms) = (events::purge(db, now)?, alarms::purge(db, now)?);
    Ok(u64::try_from(keys + tokens + identities + of_users + events + alarms).unwrap_or(u64::MAX))
}
