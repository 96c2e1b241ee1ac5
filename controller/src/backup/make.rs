//! Making a backup beside a controller that runs.
//!
//! The order matters: first the sealed files (the audit log's anchor must not be newer than the log), then
//! the database in one read transaction, then the outputs, which only grow: what the database knows of
//! them is there, and is not changed any more.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{clock::Clock, files};

use super::BackupError;
use super::archive::{Writer, beside};
use crate::datadir::{self, DataDir, DataDirError};
use crate::pki::authority;
use crate::store::Store;
use crate::store::sqlite::{DATABASE_FILE, OUTPUT_DIR, SqliteOptions, SqliteStore, output_file};

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// How long it is.
    pub bytes: u64,
    /// Outputs of operations in it.
    pub outputs: u64,
    /// When the database was as it is in the backup.
    pub made_at: Timestamp,
    /// Entries of the audit log in it.
    pub audit_entries: u64,
}

/// Makes a backup of a data directory.
///
/// # Errors
/// [`BackupError`]; nothing is left under the name then.
pub async fn make(data: DataDir, target: &Path, audit: AuditEntry, clock: &Clock) -> Result<Made, BackupError> {
    let mut writer = Writer::create(target)?;
    let store = Arc::new(SqliteStore::open(&data.path, SqliteOptions::default())?);
    // The log tells of it in the backup, too.
    store.audit(audit, clock.now()).await?;
    let authority: Vec<_> = authority::Files::read(&data.path).map_err(DataDirError::from)?.present().collect();
    for name in datadir::kept_files().filter(|name| !authority::FILES.contains(name)) {
        let at = data.path.join(name);
        if let Some(bytes) = files::read_optional(&at).map_err(BackupError::file(&at))? {
            writer.add(name, bytes.len() as u64, &bytes[..])?;
        }
    }
    for (name, bytes) in authority {
        writer.add(name, bytes.len() as u64, &bytes[..])?;
    }
    let copy = Copy(beside(target, "database"));
    let made_at = clock.now();
    let known = store.copy_to(&copy.0).await?;
    let database = File::open(&copy.0).map_err(BackupError::file(&copy.0))?;
    let bytes = database.metadata().map_err(BackupError::file(&copy.0))?.len();
    writer.add(DATABASE_FILE, bytes, database)?;
    for (operation, bytes) in &known.outputs {
        let name = Path::new(OUTPUT_DIR).join(output_file(*operation));
        let at = data.path.join(&name);
        let output = File::open(&at).map_err(BackupError::file(&at))?;
        writer.add(&name.to_string_lossy(), *bytes, output)?;
    }
    store.close().await;
    let bytes = writer.finish(data.id, made_at, &data.envelope)?;
    Ok(Made { bytes, outputs: known.outputs.len() as u64, made_at, audit_entries: known.audit_entries })
}

/// A copy that is only needed for a while; it and what SQLite may have made beside it go.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        for path in [self.0.clone(), beside_sqlite(&self.0, "-journal"), beside_sqlite(&self.0, "-wal")] {
            let _may_not_be_there = files::remove(&path);
        }
    }
}

fn beside_sqlite(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
