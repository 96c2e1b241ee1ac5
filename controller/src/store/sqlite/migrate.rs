//! Making and opening the database file.
//!
//! Invariants: a file that is not whole, not ours or from a newer release is refused with a sentence,
//! never repaired and never replaced; a new database appears under its name only when it is
//! complete, so an empty file there is damage and not a fresh start.
//!
//! Not here: who may use the data directory. The application locks it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use cratekube_common::runtime::files;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::store::StoreError;

/// Marks our databases in SQLite's header: "CKCM".
const APPLICATION_ID: i32 = 0x434b_434d;
/// The steps, oldest first; `user_version` counts those that were applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../../migrations/sqlite/0002_runs.sql"),
    include_str!("../../../migrations/sqlite/0003_users.sql"),
    include_str!("../../../migrations/sqlite/0004_agent_identity.sql"),
    include_str!("../../../migrations/sqlite/0005_recovery.sql"),
    include_str!("../../../migrations/sqlite/0006_revisions.sql"),
    include_str!("../../../migrations/sqlite/0007_events.sql"),
    include_str!("../../../migrations/sqlite/0008_steps.sql"),
    include_str!("../../../migrations/sqlite/0009_alarms.sql"),
    include_str!("../../../migrations/sqlite/0010_figures.sql"),
    include_str!("../../../migrations/sqlite/0011_resources.sql"),
    include_str!("../../../migrations/sqlite/0012_health.sql"),
    include_str!("../../../migrations/sqlite/0013_restores.sql"),
    include_str!("../../../migrations/sqlite/0014_options.sql"),
    include_str!("../../../migrations/sqlite/0015_attention.sql"),
    include_str!("../../../migrations/sqlite/0016_removals.sql"),
    include_str!("../../../migrations/sqlite/0017_orphan_scans.sql"),
    include_str!("../../../migrations/sqlite/0018_issuers.sql"),
];
/// How long a lock of another process (the command line beside the server) is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept prepared per connection: more than all verbs together use.
const STATEMENT_CACHE: usize = 160;

/// Opens the database for writing, making it when there is none, and brings it to this release.
pub(super) fn open_writer(file: &Path, cache_kib: u32) -> Result<Connection, StoreError> {
    if file.try_exists().map_err(|e| refused(file, &e))? {
        check_header(file)?;
    } else {
        create(file)?;
    }
    let mut db = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE, cache_kib)?;
    configure_writer(&db).map_err(|e| refused(file, &e))?;
    migrate(&mut db, file)?;
    Ok(db)
}

/// Opens the database for reading only.
pub(super) fn open_reader(file: &Path, cache_kib: u32) -> Result<Connection, StoreError> {
    connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY, cache_kib)
}

fn connect(file: &Path, access: OpenFlags, cache_kib: u32) -> Result<Connection, StoreError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let db = Connection::open_with_flags(file, flags)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        db.pragma_update(None, "trusted_schema", false)?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "mmap_size", 0)?;
        // Negative: KiB instead of pages.
        db.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
        Ok(db)
    };
    open().map_err(|e: rusqlite::Error| refused(file, &e))
}

fn configure_writer(db: &Connection) -> Result<(), rusqlite::Error> {
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    // 8 MiB between checkpoints: fewer double writes than the default, and a restart reads little.
    db.pragma_update(None, "wal_autocheckpoint", 2_000)?;
    db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)
}

/// Makes a complete database aside and links it to its name; whoever comes second finds it there.
fn create(file: &Path) -> Result<(), StoreError> {
    let aside = file.with_extension(format!("{}.new", std::process::id()));
    let make = || {
        drop(files::create_private(&aside).map_err(|e| refused(&aside, &e))?);
        let mut db = connect(&aside, OpenFlags::SQLITE_OPEN_READ_WRITE, 512)?;
        db.pragma_update(None, "application_id", APPLICATION_ID).map_err(|e| refused(&aside, &e))?;
        migrate(&mut db, &aside)?;
        db.close().map_err(|(_, e)| refused(&aside, &e))?;
        File::open(&aside).and_then(|f| files::sync(&f, &aside)).map_err(|e| refused(&aside, &e))?;
        match files::link(&aside, file) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(refused(file, &error)),
            _ => Ok(()),
        }
    };
    let made = make();
    let _best_effort = files::remove(&aside);
    made?;
    file.parent().map_or(Ok(()), files::sync_dir).map_err(|e| refused(file, &e))
}

/// Applies what this release has and the database has not.
fn migrate(db: &mut Connection, file: &Path) -> Result<(), StoreError> {
    let sql = |e: rusqlite::Error| refused(file, &e);
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sql)?;
    if application != APPLICATION_ID {
        return Err(refused(file, &"it is not a database of CrateKube's controller"));
    }
    let applied = applied(db).map_err(sql)?;
    if applied > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        let fault = format!(
            "it was written by a newer release (schema {applied}; this release knows {known}): start that release, or restore a backup from before it"
        );
        return Err(refused(file, &fault));
    }
    for (index, step) in MIGRATIONS.iter().enumerate().skip(applied) {
        apply(db, index, step).map_err(sql)?;
    }
    Ok(())
}

fn applied(db: &Connection) -> Result<usize, rusqlite::Error> {
    let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn apply(db: &mut Connection, index: usize, step: &str) -> Result<(), rusqlite::Error> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have applied it while we waited for the lock.
    if applied(&transaction)? > index {
        return Ok(());
    }
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX))?;
    transaction.commit()
}

/// Refuses a file that SQLite would take for a new database, or that was cut off.
fn check_header(file: &Path) -> Result<(), StoreError> {
    const HEADER: usize = 100;
    let mut header = [0u8; HEADER];
    let length = File::open(file).and_then(|mut opened| {
        opened.read_exact(&mut header)?;
        opened.metadata()
    });
    let length = length.map_err(|e| refused(file, &format!("it is empty or cannot be read ({e})")))?.len();
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(refused(file, &"it is not an SQLite database; it was left as it is"));
    }
    let number = |at: usize| header[at..at + 4].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    // While a log is waiting to be copied in, the file may still be shorter than it says.
    let log = file.with_extension("db-wal");
    let logged = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    let page = match u64::from(header[16]) << 8 | u64::from(header[17]) {
        1 => 65_536,
        size => size,
    };
    if !logged && length < number(28) * page {
        return Err(refused(file, &"it was cut off: restore a backup; it was left as it is"));
    }
    Ok(())
}

fn refused(file: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Open(format!("{}: {why}", file.display()))
}
