//! A copy of the database as it is at one moment, made beside whoever writes to it; and whether a database
//! is whole.

use std::path::Path;

use cratekube_common::domain::id::OperationId;
use cratekube_common::runtime::files;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, Row};

use super::fault::Fault;
use super::rows;

/// What a copy knows of files that do not lie in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Operations with output, and how many bytes of it are durable.
    pub outputs: Vec<(OperationId, u64)>,
    /// Entries of the audit log.
    pub audit_entries: u64,
}

/// Copies the database in one step, which is one read transaction: nobody is kept from writing.
pub(super) fn copy(db: &Connection, target: &Path) -> Result<Copied, Fault> {
    drop(files::create_private(target).map_err(Fault::Output)?);
    let mut copy = Connection::open(target)?;
    if Backup::new(db, &mut copy)?.step(-1)? != StepResult::Done {
        return Err(Fault::Damaged("the database could not be copied in one step".into()));
    }
    let copied = known(&copy)?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(copied)
}

fn known(db: &Connection) -> Result<Copied, Fault> {
    let mut outputs = db.prepare("SELECT id, output_bytes FROM operations WHERE output_bytes > 0 ORDER BY seq")?;
    let outputs = outputs.query_map([], |row: &Row<'_>| Ok((rows::word(row, 0)?, rows::count(row, 1)?)))?;
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let audit_entries = db.query_row("SELECT count(*) FROM audit", [], |row| rows::count(row, 0))?;
    Ok(Copied { outputs, audit_entries })
}

/// Reads everything and checks it.
pub(super) fn check(db: &Connection) -> Result<(), Fault> {
    let said: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        return Err(Fault::Damaged(format!("the database is not whole: {said}")));
    }
    let mut broken = db.prepare("PRAGMA foreign_key_check")?;
    match broken.query([])?.next()? {
        None => Ok(()),
        Some(row) => {
            Err(Fault::Damaged(format!("the database is not whole: a row of {} is missing", row.get::<_, String>(2)?)))
        }
    }
}
