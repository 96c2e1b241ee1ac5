//! Agents that are locked out, and the order to cut their connections.

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::alarm::{AlarmKind, NewAlarm};
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, key};
use super::{alarms, audit};
use crate::store::{Bar, BarAgent, Barred, Cut};

/// Cuts read at once; the rest comes with the next reading.
const MOST_CUTS: u32 = 1_000;

/// Locks an agent out.
pub(super) fn bar(db: &Connection, request: &BarAgent) -> Result<Barred, Fault> {
    let mut select = db.prepare_cached("SELECT state, name FROM agents WHERE id = ?1")?;
    let read = |row: &Row<'_>| Ok((rows::word::<AgentState>(row, 0)?, row.get::<_, String>(1)?));
    let Some((state, name)) = select.query_row([key(request.agent)], read).optional()? else {
        return Ok(Barred::NotFound);
    };
    let target = match request.bar {
        Bar::Quarantine if !state.may_connect() => state,
        Bar::Quarantine => AgentState::Quarantined,
        Bar::Revoke | Bar::Ban => AgentState::Revoked,
    };
    let banned = request.bar == Bar::Ban && ban(db, request, &name)?;
    if state == target && !banned {
        return Ok(Barred::Already);
    }
    db.prepare_cached("UPDATE agents SET state = ?2 WHERE id = ?1")?
        .execute(params![key(request.agent), target.as_str()])?;
    db.prepare_cached("INSERT INTO cuts (agent, at) VALUES (?1, ?2)")?
        .execute(params![key(request.agent), request.now.as_millis()])?;
    audit::append(db, &request.audit, request.now)?;
    if request.bar == Bar::Quarantine {
        let detail = request.audit.detail.clone();
        let (kind, agent) = (AlarmKind::KeyInTwoPlaces, Some(request.agent));
        alarms::ring(db, &NewAlarm { kind, object: key(request.agent), cluster: None, agent, detail }, request.now)?;
    }
    Ok(Barred::Now)
}

fn ban(db: &Connection, request: &BarAgent, name: &str) -> Result<bool, Fault> {
    let sql = "INSERT INTO bans (name, agent, banned_at) VALUES (?1, ?2, ?3) ON CONFLICT (agent) DO NOTHING";
    let banned = db.prepare_cached(sql)?.execute(params![name, key(request.agent), request.now.as_millis()])?;
    Ok(banned == 1)
}

/// Lets an agent's name and keys enrol again.
pub(super) fn lift(db: &Connection, agent: AgentId, entry: &AuditEntry, now: Timestamp) -> Result<Barred, Fault> {
    let lifted = db.prepare_cached("DELETE FROM bans WHERE agent = ?1")?.execute([key(agent)])?;
    if lifted > 0 {
        audit::append(db, entry, now)?;
        return Ok(Barred::Now);
    }
    let known = "SELECT EXISTS (SELECT 1 FROM agents WHERE id = ?1)";
    let known: bool = db.prepare_cached(known)?.query_row([key(agent)], |row| row.get(0))?;
    Ok(if known { Barred::Already } else { Barred::NotFound })
}

/// Cuts after a number.
pub(super) fn cuts(db: &Connection, after: u64) -> Result<Vec<Cut>, Fault> {
    let mut select = db.prepare_cached("SELECT seq, agent FROM cuts WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let read = |row: &Row<'_>| Ok(Cut { number: rows::count(row, 0)?, agent: rows::word(row, 1)? });
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    Ok(select.query_map(params![after, MOST_CUTS], read)?.collect::<Result<_, _>>()?)
}
