//! API keys and revocations.
//!
//! A key is found by its handle; what it was hashed to is compared in constant time, so that how long
//! a refusal takes says nothing about how much was right.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cratekube_common::domain::api_key::ApiKey;
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::id::ApiKeyId;
use cratekube_common::domain::revocation::{Revocation, RevocationKind};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, json, key};
use super::{audit, page};
use crate::store::{ApiKeyRefusal, ApiKeyUsed, NewApiKey, Page, PageRequest, UseApiKey};

const API_KEY: &str = "id, handle, name, subject, grants, created_at, created_by, expires_at, last_used_at, revoked_at";
const REVOCATION: &str = "id, kind, value, made_until, reason, by, at, until";
/// How long a key that ended is still listed.
const LISTED_AFTER_MS: i64 = 30 * 24 * 3_600_000;

/// Keeps a new key.
pub(super) fn keep_key(db: &Connection, new: &NewApiKey, entry: &AuditEntry) -> Result<(), Fault> {
    let made = &new.key;
    let kept = db
        .prepare_cached(
            "INSERT INTO api_keys (id, handle, key_sha256, name, subject, grants, created_at, created_by, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            key(made.id),
            made.handle,
            new.sha256,
            made.name,
            made.subject,
            json(&made.grants)?,
            made.created_at.as_millis(),
            made.created_by,
            made.expires_at.as_millis(),
        ])?;
    if kept == 1 { audit::append(db, entry, made.created_at) } else { Ok(()) }
}

/// Keys, newest first.
pub(super) fn keys(db: &Connection, request: &PageRequest) -> Result<Page<ApiKey>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let sql = format!("SELECT {API_KEY}, seq FROM api_keys WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![before, limit], |row| Ok((api_key(row)?, row.get::<_, i64>(10)?)))?;
    let page = page::cut(found.collect::<Result<Vec<_>, _>>()?, request.limit, |(_, seq)| seq.to_string());
    Ok(Page { items: page.items.into_iter().map(|(key, _)| key).collect(), next: page.next })
}

/// Whether a key may be exchanged; notes that it was.
pub(super) fn use_key(db: &Connection, request: &UseApiKey) -> Result<ApiKeyUsed, Fault> {
    let sql = format!("SELECT {API_KEY}, key_sha256 FROM api_keys WHERE handle = ?1");
    let read = |row: &Row<'_>| Ok((api_key(row)?, row.get::<_, Vec<u8>>(10)?));
    let known = db.prepare_cached(&sql)?.query_row([&request.handle], read).optional()?;
    let Some((known, sha256)) = known else { return Ok(ApiKeyUsed::Refused(ApiKeyRefusal::Unknown)) };
    if verify_slices_are_equal(&sha256, &request.sha256).is_err() {
        return Ok(ApiKeyUsed::Refused(ApiKeyRefusal::Wrong));
    }
    if known.revoked_at.is_some() {
        return Ok(ApiKeyUsed::Refused(ApiKeyRefusal::Revoked));
    }
    if known.expires_at <= request.now {
        return Ok(ApiKeyUsed::Refused(ApiKeyRefusal::Expired));
    }
    db.prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1")?
        .execute(params![key(known.id), request.now.as_millis()])?;
    let entry = AuditEntry { actor: known.subject.clone(), object: known.id.to_string(), ..request.audit.clone() };
    audit::append(db, &entry, request.now)?;
    Ok(ApiKeyUsed::Accepted(Box::new(ApiKey { last_used_at: Some(request.now), ..known })))
}

/// Revokes tokens, and the keys that the revocation names. False when it names a key that is not there
/// or was revoked before.
pub(super) fn revoke(db: &Connection, revocation: &Revocation, entry: &AuditEntry) -> Result<bool, Fault> {
    let at = revocation.at.as_millis();
    let ended = |column: &str| {
        let sql = format!("UPDATE api_keys SET revoked_at = ?2 WHERE {column} = ?1 AND revoked_at IS NULL");
        db.prepare_cached(&sql)?.execute(params![revocation.value, at])
    };
    match revocation.kind {
        RevocationKind::ApiKey if ended("id")? == 0 => return Ok(false),
        RevocationKind::Subject => _ = ended("subject")?,
        _ => {}
    }
    let kept = db
        .prepare_cached(
            "INSERT INTO revocations (id, kind, value, made_until, reason, by, at, until) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            key(revocation.id),
            revocation.kind.as_str(),
            revocation.value,
            revocation.made_until.as_millis(),
            revocation.reason,
            revocation.by,
            at,
            revocation.until.as_millis(),
        ])?;
    if kept == 1 {
        audit::append(db, entry, revocation.at)?;
    }
    Ok(true)
}

/// Revocations, newest first.
pub(super) fn revocations(db: &Connection, request: &PageRequest) -> Result<Page<Revocation>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let sql = format!("SELECT {REVOCATION}, number FROM revocations WHERE number < ?1 ORDER BY number DESC LIMIT ?2");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![before, limit], |row| Ok((revocation(row)?, row.get::<_, i64>(8)?)))?;
    let page = page::cut(found.collect::<Result<Vec<_>, _>>()?, request.limit, |(_, number)| number.to_string());
    Ok(Page { items: page.items.into_iter().map(|(revocation, _)| revocation).collect(), next: page.next })
}

/// Revocations after a number, oldest first, and the number of the last.
pub(super) fn revocations_after(db: &Connection, number: u64) -> Result<(Vec<Revocation>, u64), Fault> {
    let sql = format!("SELECT {REVOCATION}, number FROM revocations WHERE number > ?1 ORDER BY number");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map([rows::int(number)?], |row| Ok((revocation(row)?, rows::count(row, 8)?)))?;
    let (mut newer, mut last) = (Vec::new(), number);
    for row in found {
        let (revocation, number) = row?;
        newer.push(revocation);
        last = number;
    }
    Ok((newer, last))
}

/// Forgets revocations that concern no living token, and keys that ended long ago.
pub(super) fn purge(db: &Connection, now: Timestamp) -> Result<usize, Fault> {
    let old = now.as_millis().saturating_sub(LISTED_AFTER_MS);
    let revocations = db.prepare_cached("DELETE FROM revocations WHERE until < ?1")?.execute([now.as_millis()])?;
    let sql = "DELETE FROM api_keys WHERE min(expires_at, coalesce(revoked_at, expires_at)) < ?1";
    Ok(revocations + db.prepare_cached(sql)?.execute([old])?)
}

fn api_key(row: &Row<'_>) -> Result<ApiKey, rusqlite::Error> {
    Ok(ApiKey {
        id: rows::word::<ApiKeyId>(row, 0)?,
        handle: row.get(1)?,
        name: row.get(2)?,
        subject: row.get(3)?,
        grants: rows::document(row, 4)?,
        created_at: rows::time(row, 5)?,
        created_by: row.get(6)?,
        expires_at: rows::time(row, 7)?,
        last_used_at: rows::time_or_null(row, 8)?,
        revoked_at: rows::time_or_null(row, 9)?,
    })
}

fn revocation(row: &Row<'_>) -> Result<Revocation, rusqlite::Error> {
    Ok(Revocation {
        id: rows::word(row, 0)?,
        kind: rows::word(row, 1)?,
        value: row.get(2)?,
        made_until: rows::time(row, 3)?,
        reason: row.get(4)?,
        by: row.get(5)?,
        at: rows::time(row, 6)?,
        until: rows::time(row, 7)?,
    })
}
