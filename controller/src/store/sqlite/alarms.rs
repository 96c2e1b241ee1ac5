//! Alarms. One rings within the transaction that shows it; while it is open, the next of its kind about the
//! same object only counts.

use std::time::Duration;

use cratekube_common::domain::alarm::{Acknowledgement, Alarm, AlarmKind, NewAlarm};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, int, key};
use super::{audit, page};
use crate::store::{Acknowledge, Acknowledged, Page, PageRequest, RingAlarm};

/// How long an alarm is listed after it was acknowledged; the audit log keeps it.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
const COLUMNS: &str = "number, kind, object, environment, cluster, agent, detail, first_at, last_at, count, \
     acknowledged_at, acknowledged_by, reason";

/// Rings; says whether it is new.
pub(super) fn ring(db: &Connection, alarm: &NewAlarm, now: Timestamp) -> Result<bool, Fault> {
    let again = "UPDATE alarms SET count = count + 1, last_at = ?3 \
                 WHERE kind = ?1 AND object = ?2 AND acknowledged_at IS NULL";
    let rang = db.prepare_cached(again)?.execute(params![alarm.kind.as_str(), alarm.object, now.as_millis()])?;
    if rang > 0 {
        return Ok(false);
    }
    let (environment, cluster) = alarm.cluster.as_ref().map(|(e, c)| (e.as_str(), c.as_str())).unzip();
    db.prepare_cached(
        "INSERT INTO alarms (kind, object, environment, cluster, agent, detail, first_at, last_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )?
    .execute(params![
        alarm.kind.as_str(),
        alarm.object,
        environment,
        cluster,
        alarm.agent.map(key),
        alarm.detail,
        now.as_millis(),
    ])?;
    Ok(true)
}

/// Rings for something that changed nothing; a new one is put on record.
pub(super) fn ring_alone(db: &Connection, request: &RingAlarm) -> Result<bool, Fault> {
    let new = ring(db, &request.alarm, request.now)?;
    if new {
        audit::append(db, &request.audit, request.now)?;
    }
    Ok(new)
}

/// Somebody has seen to it.
pub(super) fn acknowledge(db: &Connection, request: &Acknowledge) -> Result<Acknowledged, Fault> {
    let sql = "UPDATE alarms SET acknowledged_at = ?2, acknowledged_by = ?3, reason = ?4 \
               WHERE number = ?1 AND acknowledged_at IS NULL";
    let number = int(request.number)?;
    let (at, reason) = (request.now.as_millis(), &request.reason);
    let done = db.prepare_cached(sql)?.execute(params![number, at, request.audit.actor, reason])?;
    if done == 1 {
        audit::append(db, &request.audit, request.now)?;
    }
    let sql = format!("SELECT {COLUMNS} FROM alarms WHERE number = ?1");
    let found = db.prepare_cached(&sql)?.query_row([number], alarm).optional()?;
    Ok(match found {
        None => Acknowledged::NotFound,
        Some(_) if done == 0 => Acknowledged::Already,
        Some(found) => Acknowledged::Now(Box::new(found)),
    })
}

/// Alarms, newest first: all of them, the open ones, or the others.
pub(super) fn list(db: &Connection, open: Option<bool>, request: &PageRequest) -> Result<Page<Alarm>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let sql = format!(
        "SELECT {COLUMNS} FROM alarms WHERE number < ?1 AND (?3 IS NULL OR (acknowledged_at IS NULL) = ?3) \
         ORDER BY number DESC LIMIT ?2"
    );
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![before, limit, open], alarm)?.collect::<Result<Vec<_>, _>>()?;
    Ok(page::cut(found, request.limit, |alarm| alarm.number.to_string()))
}

/// How many are open, by kind.
pub(super) fn open(db: &Connection) -> Result<Vec<(AlarmKind, u64)>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT kind, count(*) FROM alarms WHERE acknowledged_at IS NULL GROUP BY kind ORDER BY kind",
    )?;
    let read = |row: &Row<'_>| Ok((rows::word(row, 0)?, rows::count(row, 1)?));
    Ok(select.query_map([], read)?.collect::<Result<_, _>>()?)
}

fn alarm(row: &Row<'_>) -> Result<Alarm, rusqlite::Error> {
    let at = rows::time_or_null(row, 10)?;
    let acknowledged = match at {
        Some(at) => Some(Acknowledgement { at, by: row.get(11)?, reason: row.get(12)? }),
        None => None,
    };
    Ok(Alarm {
        number: rows::count(row, 0)?,
        what: NewAlarm {
            kind: rows::word(row, 1)?,
            object: row.get(2)?,
            cluster: rows::word_or_null(row, 3)?.zip(rows::word_or_null(row, 4)?),
            agent: rows::word_or_null(row, 5)?,
            detail: row.get(6)?,
        },
        first_at: rows::time(row, 7)?,
        last_at: rows::time(row, 8)?,
        count: rows::count(row, 9)?,
        acknowledged,
    })
}

/// Forgets what was seen to long ago.
pub(super) fn purge(db: &Connection, now: Timestamp) -> Result<usize, Fault> {
    let before = now.as_millis().saturating_sub(i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX));
    Ok(db.prepare_cached("DELETE FROM alarms WHERE acknowledged_at < ?1")?.execute([before])?)
}
