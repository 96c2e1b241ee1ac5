//! Putting a backup into an empty data directory.
//!
//! Everything is unpacked, checked and brought forward in a directory of its own within the data
//! directory; only then it takes its place there, the marker last, without which no controller
//! serves. What an interrupted restore leaves is in the way of the next one only if it had begun to
//! take its place; then the directory is to be emptied.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::{OperationId, SessionId};
use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::revocation::{Revocation, RevocationKind};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{clock::Clock, files, mint::Mint};

use super::BackupError;
use super::archive::{self, Contents};
use crate::anchor::Anchor;
use crate::auth::jwt::LEEWAY_S;
use crate::config::data::Data;
use crate::datadir::{self, DataDirError, MARKER, SEALED};
use crate::keys::Envelope;
use crate::keys::master::{self, LOCAL_FILE};
use crate::pki::authority::Authority;
use crate::rekey;
use crate::store::sqlite::{DATABASE_FILE, OUTPUT_DIR, SealedFor, SqliteOptions, SqliteStore, output_file};
use crate::store::{BeginRestored, RestoredStore, Store};

/// Where a backup is unpacked within the data directory.
const ASIDE: &str = "restoring";

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// When the backup was made.
    pub made_at: Timestamp,
    /// What is in the store.
    pub store: RestoredStore,
}

/// Restores a backup. `longest_token` is how long a token of a user can live.
///
/// # Errors
/// [`BackupError`]; no controller serves from the directory then.
pub async fn restore(
    data: &Data,
    archive: &Path,
    longest_token: Duration,
    clock: &Clock,
    mint: &Mint,
) -> Result<Restored, BackupError> {
    let directory = &data.directory;
    files::make_dir(directory).map_err(BackupError::file(directory))?;
    check_empty(directory)?;
    let _lock = datadir::lock_new(directory)?;
    let key = master::load(&data.master_key, directory, false, mint).map_err(DataDirError::from)?;
    let envelope = Envelope::new(&key, mint.clone()).map_err(|fault| BackupError::unusable(archive, fault))?;
    let aside = directory.join(ASIDE);
    clear(&aside)?;
    files::make_dir(&aside).map_err(BackupError::file(&aside))?;
    let contents = archive::unpack(archive, &aside, is_known, &envelope)?;
    check_sealed(&aside, &contents, &envelope)?;
    let envelope = Arc::new(envelope);
    check_authority(&aside, &envelope, clock, mint)?;
    let store = bring_forward(&aside, (archive, &contents), &envelope, longest_token, clock, mint).await?;
    take_place(&aside, directory).map_err(BackupError::file(directory))?;
    Ok(Restored { made_at: contents.made_at, store })
}

/// Nothing may be there but the master key, and what an interrupted restore unpacked.
fn check_empty(directory: &Path) -> Result<(), BackupError> {
    let entries = std::fs::read_dir(directory).map_err(BackupError::file(directory))?;
    for entry in entries {
        let name = entry.map_err(BackupError::file(directory))?.file_name().to_string_lossy().into_owned();
        if ![LOCAL_FILE, ASIDE, datadir::LOCK, "lost+found"].contains(&name.as_str()) {
            return Err(BackupError::NotEmpty { path: directory.display().to_string(), found: name });
        }
    }
    Ok(())
}

/// Whether a file of this name can be in a backup.
fn is_known(name: &str) -> bool {
    let of_output = |name: &str| {
        let id = name.rsplit('/').next()?.strip_suffix(".log")?.parse::<OperationId>().ok()?;
        (Path::new(OUTPUT_DIR).join(output_file(id)) == Path::new(name)).then_some(())
    };
    name == DATABASE_FILE || datadir::kept_files().any(|kept| kept == name) || of_output(name).is_some()
}

/// Everything that must be there is, and opens with the master key.
fn check_sealed(aside: &Path, contents: &Contents, envelope: &Envelope) -> Result<(), BackupError> {
    for needed in [MARKER, DATABASE_FILE] {
        if !contents.files.iter().any(|file| file.name == needed) {
            return Err(BackupError::unusable(aside, format!("{needed} is not in it")));
        }
    }
    for (name, context) in SEALED {
        let at = aside.join(name);
        if let Some(sealed) = files::read_optional(&at).map_err(BackupError::file(&at))? {
            envelope.open(context, &sealed).map_err(|_| BackupError::OtherKey)?;
        }
    }
    Ok(())
}

/// The files of the certificate authority belong together. A backup that has none of them is from before its first
/// start was over.
fn check_authority(aside: &Path, envelope: &Arc<Envelope>, clock: &Clock, mint: &Mint) -> Result<(), BackupError> {
    let algorithm = KeyAlgorithm::EcdsaP256;
    Authority::load(aside, false, algorithm, envelope, clock.clone(), mint.clone()).map_err(DataDirError::from)?;
    Ok(())
}

/// Checks the database and makes it one in which nothing of before is honoured.
async fn bring_forward(
    aside: &Path,
    (archive, contents): (&Path, &Contents),
    envelope: &Arc<Envelope>,
    longest_token: Duration,
    clock: &Clock,
    mint: &Mint,
) -> Result<RestoredStore, BackupError> {
    let store = SqliteStore::open(aside, SqliteOptions::default())?;
    let done = async {
        store.check_whole().await?;
        let anchor = Anchor::new(aside, Arc::clone(envelope));
        store.follow_audit(anchor.read()?).await?;
        let opens = Arc::clone(envelope);
        let check = move |whose: &SealedFor, sealed: &[u8]| {
            opens.open(&rekey::context(whose), sealed).map(|_| None).map_err(|e| e.to_string())
        };
        store.reseal_secrets(check).await?;
        let now = clock.now();
        let restored = store.begin_restored(begin(archive, contents, longest_token, now, mint)).await?;
        if let Some(newest) = store.audit_link(None).await? {
            anchor.set(&newest, now)?;
        }
        Ok::<_, BackupError>(restored)
    };
    let done = done.await;
    store.close().await;
    done
}

fn begin(archive: &Path, contents: &Contents, longest_token: Duration, now: Timestamp, mint: &Mint) -> BeginRestored {
    let reason = format!("restored from a backup of {}", contents.made_at);
    let revocation = Revocation {
        id: mint.id(),
        kind: RevocationKind::Before,
        value: now.to_string(),
        // A token may be dated to the next second, by a controller that is not known of here.
        made_until: now.after(Duration::from_secs(1)),
        reason: reason.clone(),
        by: "local".into(),
        at: now,
        until: now.after(longest_token + 2 * Duration::from_secs(LEEWAY_S)),
    };
    let audit = AuditEntry {
        actor: "local".into(),
        origin: "local".into(),
        action: "controller.restore".into(),
        object: archive.display().to_string(),
        outcome: AuditOutcome::Allowed,
        detail: format!("{reason}; what happened since is not in this log"),
        request_id: mint.id::<SessionId>().to_string(),
    };
    BeginRestored { made_at: contents.made_at, revocation, audit, now }
}

/// What was unpacked takes its place, the marker last.
fn take_place(aside: &Path, directory: &Path) -> io::Result<()> {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(aside)?.map(|entry| Ok(entry?.file_name().into())).collect::<io::Result<_>>()?;
    names.sort_by_key(|name| name.as_os_str() == MARKER);
    for name in names {
        if name.as_os_str() == MARKER {
            files::sync_dir(directory)?;
        }
        files::rename(&aside.join(&name), &directory.join(&name))?;
    }
    files::remove_tree(aside)?;
    files::sync_dir(directory)
}

fn clear(aside: &Path) -> Result<(), BackupError> {
    match files::remove_tree(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::file(aside)(error)),
        _ => Ok(()),
    }
}
