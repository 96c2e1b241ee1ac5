//! The audit log: appended to, never changed, each entry chained to the one before it.
//!
//! hash = SHA-256(previous hash ‖ number ‖ time ‖ entry as JSON, in the order of its fields). Someone
//! who edits the file must rewrite everything after it; the newest hash, noted elsewhere (`anchor`),
//! shows it, and shows what was cut off at the end.

use aws_lc_rs::digest::{Context, SHA256};
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::fault::Fault;
use super::rows;
use crate::store::{AuditFilter, AuditLink, AuditRecord, Page, PageRequest};

/// Stands before the first entry.
const GENESIS: [u8; 32] = [0; 32];

/// Appends an entry, within the transaction of the change it belongs to.
pub(super) fn append(db: &Connection, entry: &AuditEntry, now: Timestamp) -> Result<(), Fault> {
    let mut newest = db.prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?;
    let newest = newest.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
    let (number, previous) = newest.map_or((1, GENESIS.to_vec()), |(number, hash)| (number + 1, hash));
    let entry = rows::json(entry)?;
    let hash = chained(&previous, number, now.as_millis(), &entry);
    db.prepare_cached("INSERT INTO audit (number, at, entry, previous_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![number, now.as_millis(), entry, previous, hash])?;
    Ok(())
}

/// Entries that match, newest first.
pub(super) fn entries(db: &Connection, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditRecord>, Fault> {
    let Some((before, limit)) = super::page::descending(page) else { return Ok(super::page::empty()) };
    let (conditions, mut values) = matching(filter);
    let sql =
        format!("SELECT number, at, entry, hash FROM audit WHERE number < ?{conditions} ORDER BY number DESC LIMIT ?");
    values.insert(0, Value::Integer(before));
    values.push(Value::Integer(limit));
    let mut select = db.prepare_cached(&sql)?;
    let items = select.query_map(params_from_iter(values), record)?.collect::<Result<Vec<_>, _>>()?;
    Ok(super::page::cut(items, page.limit, |record| record.number.to_string()))
}

/// What a filter asks for, as conditions with their values.
fn matching(filter: &AuditFilter) -> (String, Vec<Value>) {
    let text = |value: &Option<String>| value.clone().map(Value::Text);
    let time = |at: Option<Timestamp>| at.map(|at| Value::Integer(at.as_millis()));
    let outcome = filter.outcome.map(|outcome| Value::Text(outcome.as_str().to_owned()));
    let wanted = [
        (" AND actor = ?", text(&filter.actor)),
        (" AND object = ?", text(&filter.object)),
        (" AND json_extract(entry, '$.action') = ?", text(&filter.action)),
        (" AND json_extract(entry, '$.outcome') = ?", outcome),
        (" AND at >= ?", time(filter.since)),
        (" AND at < ?", time(filter.until)),
    ];
    let given = wanted.into_iter().filter_map(|(condition, value)| Some((condition, value?)));
    let (conditions, values): (Vec<_>, Vec<_>) = given.unzip();
    (conditions.concat(), values)
}

fn record(row: &Row<'_>) -> Result<AuditRecord, rusqlite::Error> {
    Ok(AuditRecord {
        number: rows::count(row, 0)?,
        at: rows::time(row, 1)?,
        entry: rows::document(row, 2)?,
        hash: row.get(3)?,
    })
}

/// A link of the chain by its number; the newest without one.
pub(super) fn link(db: &Connection, number: Option<u64>) -> Result<Option<AuditLink>, Fault> {
    let read = |row: &Row<'_>| Ok(AuditLink { number: rows::count(row, 0)?, hash: row.get(1)? });
    let mut newest =
        db.prepare_cached("SELECT number, hash FROM audit WHERE number <= ?1 ORDER BY number DESC LIMIT 1")?;
    let found = newest.query_row([number.map_or(Ok(i64::MAX), rows::int)?], read).optional()?;
    Ok(found.filter(|link| number.is_none_or(|number| link.number == number)))
}

/// Follows the chain from the first entry to the last, which must reach the anchor and agree with it.
/// Answers the last link, or says which entry is the first that is wrong.
pub(super) fn verify(db: &Connection, anchor: Option<&AuditLink>) -> Result<Option<AuditLink>, Fault> {
    let mut select = db.prepare("SELECT number, at, entry, previous_hash, hash FROM audit ORDER BY number")?;
    let mut entries = select.query([])?;
    let (mut count, mut previous) = (0i64, GENESIS.to_vec());
    while let Some(row) = entries.next()? {
        let number: i64 = row.get(0)?;
        let (at, entry): (i64, String) = (row.get(1)?, row.get(2)?);
        let (before, hash): (Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(4)?);
        count += 1;
        if number != count {
            return Err(Fault::Damaged(format!("audit: entry {count} is missing")));
        }
        if before != previous || hash != chained(&previous, number, at, &entry) {
            return Err(Fault::Damaged(format!("audit: entry {number} was changed, or one before it")));
        }
        if anchor.is_some_and(|anchor| i64::try_from(anchor.number) == Ok(number) && anchor.hash != hash) {
            let fault =
                format!("audit: entry {number} is not the one that was anchored: it or one before it was rewritten");
            return Err(Fault::Damaged(fault));
        }
        previous = hash;
    }
    let count = u64::try_from(count).unwrap_or_default();
    match anchor {
        Some(anchor) if anchor.number > count => {
            let fault =
                format!("audit: entry {} is missing: the log was cut off ({} were anchored)", count + 1, anchor.number);
            Err(Fault::Damaged(fault))
        }
        _ => Ok((count > 0).then_some(AuditLink { number: count, hash: previous })),
    }
}

fn chained(previous: &[u8], number: i64, at_ms: i64, entry: &str) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(previous);
    context.update(&number.to_be_bytes());
    context.update(&at_ms.to_be_bytes());
    context.update(entry.as_bytes());
    context.finish().as_ref().to_vec()
}
