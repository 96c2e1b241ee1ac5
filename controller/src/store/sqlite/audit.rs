//! The audit log: appended to, never changed, each entry chained to the one before it.
//!
//! hash = SHA-256(previous hash ‖ number ‖ time ‖ entry as JSON, in the order of its fields). Someone
//! who edits the file must rewrite everything after it; the newest hash, noted elsewhere, shows it.

use aws_lc_rs::digest::{Context, SHA256};
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::rows;
use crate::store::{AuditRecord, Page, PageRequest};

/// Stands before the first entry.
const GENESIS: [u8; 32] = [0; 32];

/// Appends an entry, within the transaction of the change it belongs to.
pub(super) fn append(db: &Connection, entry: &AuditEntry, now: Timestamp) -> Result<(), Fault> {
    let mut newest = db.prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?;
    let newest = newest.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
    let (number, previous) = newest.map_or((1, GENESIS.to_vec()), |(number, hash)| (number + 1, hash));
    let entry = rows::json(entry)?;
    let hash = link(&previous, number, now.as_millis(), &entry);
    db.prepare_cached("INSERT INTO audit (number, at, entry, previous_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![number, now.as_millis(), entry, previous, hash])?;
    Ok(())
}

/// The log, newest first.
pub(super) fn entries(db: &Connection, page: &PageRequest) -> Result<Page<AuditRecord>, Fault> {
    let mut select =
        db.prepare_cached("SELECT number, at, entry FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(AuditRecord { number: rows::count(row, 0)?, at: rows::time(row, 1)?, entry: rows::document(row, 2)? })
    };
    let Some((before, limit)) = super::page::descending(page) else { return Ok(super::page::empty()) };
    let items = select.query_map(params![before, limit], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(super::page::cut(items, page.limit, |record| record.number.to_string()))
}

/// Follows the chain from the first entry. Answers the number of entries, or says which one is wrong.
pub(super) fn verify(db: &Connection) -> Result<u64, Fault> {
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
        if before != previous || hash != link(&previous, number, at, &entry) {
            return Err(Fault::Damaged(format!("audit: entry {number} was changed, or one before it")));
        }
        previous = hash;
    }
    Ok(u64::try_from(count).unwrap_or_default())
}

fn link(previous: &[u8], number: i64, at_ms: i64, entry: &str) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(previous);
    context.update(&number.to_be_bytes());
    context.update(&at_ms.to_be_bytes());
    context.update(entry.as_bytes());
    context.finish().as_ref().to_vec()
}
