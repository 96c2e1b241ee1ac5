//! What happened, in order: written by the database's own triggers, read here.
//!
//! The writer stamps what a transaction added right before it commits ([`stamp`]), so that all of it has
//! one time, of the controller's clock.

use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::ClusterId;
use cratekube_common::domain::name::EnvironmentName;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::fault::Fault;
use super::rows::{self, int, key};
use crate::store::{EVENT_TTL, Event, EventFilter, Events};

/// Rows looked at for one answer: a reader that may see little still gets on.
const LOOKED_AT: usize = 2_000;

/// Sets the time of what was added since the last call; says whether anything was.
pub(super) fn stamp(db: &Connection, now: Timestamp) -> Result<bool, rusqlite::Error> {
    let stamped = db.prepare_cached("UPDATE events SET at = ?1 WHERE at IS NULL")?.execute([now.as_millis()])?;
    Ok(stamped > 0)
}

/// An agent connected, or its session ended.
pub(super) fn agent(db: &Connection, kind: &str, agent: &str) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO events (kind, agent, detail) \
         SELECT ?1, id, json_object('name', name) FROM agents WHERE id = ?2",
    )?
    .execute(params![kind, agent])?;
    Ok(())
}

/// Something happened to a cluster that no column of it tells.
pub(super) fn cluster(db: &Connection, kind: &str, cluster: ClusterId, detail: &Value) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO events (kind, environment, cluster, detail) \
         SELECT ?1, environment, name, ?3 FROM clusters WHERE id = ?2",
    )?
    .execute(params![kind, key(cluster), detail.to_string()])?;
    Ok(())
}

/// What happened after an event, oldest first.
pub(super) fn after(db: &Connection, number: u64, filter: &EventFilter, limit: usize) -> Result<Events, Fault> {
    let oldest: Option<i64> = db.prepare_cached("SELECT min(seq) FROM events")?.query_row([], |row| row.get(0))?;
    let newest: i64 = db
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")
        .and_then(|mut select| select.query_row([], |row| row.get::<_, Option<i64>>(0)))?
        .unwrap_or(0);
    let mut select = db.prepare_cached(
        "SELECT seq, at, kind, environment, cluster, operation, agent, detail FROM events \
         WHERE seq > ?1 AND at IS NOT NULL ORDER BY seq LIMIT ?2",
    )?;
    let looked_at = i64::try_from(LOOKED_AT).unwrap_or(i64::MAX);
    let (mut items, mut upto) = (Vec::new(), number);
    for found in select.query_map(params![int(number)?, looked_at], event)? {
        let found = found?;
        if items.len() == limit {
            break;
        }
        upto = found.number;
        if matches(filter, &found) {
            items.push(found);
        }
    }
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    // The oldest that is kept; when nothing is, the next one that will be.
    let oldest = count(oldest.unwrap_or(newest + 1));
    Ok(Events { items, upto, oldest, newest: count(newest) })
}

/// An event from its columns.
pub(super) fn event(row: &Row<'_>) -> Result<Event, rusqlite::Error> {
    Ok(Event {
        number: rows::count(row, 0)?,
        at: rows::time(row, 1)?,
        kind: row.get(2)?,
        environment: rows::word_or_null(row, 3)?,
        cluster: rows::word_or_null(row, 4)?,
        operation: rows::word_or_null(row, 5)?,
        agent: rows::word_or_null(row, 6)?,
        detail: rows::document(row, 7)?,
    })
}

fn matches(filter: &EventFilter, event: &Event) -> bool {
    let seen = |environment: &EnvironmentName| {
        filter.environments.iter().any(|pattern: &EnvironmentPattern| pattern.matches(environment))
    };
    let visible = event.environment.as_ref().map_or(filter.administrative, seen);
    let kind =
        |wanted: &str| event.kind == wanted || event.kind.strip_prefix(wanted).is_some_and(|r| r.starts_with('.'));
    visible
        && filter.environment.as_ref().is_none_or(|wanted| event.environment.as_ref() == Some(wanted))
        && filter.cluster.as_ref().is_none_or(|wanted| event.cluster.as_ref() == Some(wanted))
        && (filter.kinds.is_empty() || filter.kinds.iter().any(|wanted| kind(wanted)))
}

/// Throws away what is older than anyone resumes from.
pub(super) fn purge(db: &Connection, now: Timestamp) -> Result<usize, Fault> {
    let before = now.as_millis().saturating_sub(i64::try_from(EVENT_TTL.as_millis()).unwrap_or(i64::MAX));
    Ok(db.prepare_cached("DELETE FROM events WHERE at < ?1")?.execute([before])?)
}
