//! The data directory: who owns it, whether it was used before, and its keys.
//!
//! `controller.json` is written last on the first start; from then on everything else must be there.
//! A first start that was killed half-way is finished by the next one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::files::{self, OwnLock};
use cratekube_common::runtime::{clock::Clock, mint::Mint};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::anchor;
use crate::auth::KeyRing;
use crate::keys::master::{self, MasterKeyError, MasterKeySource};
use crate::keys::signing::{self, SigningError};
use crate::keys::{Envelope, rotation};
use crate::pki::PkiError;
use crate::pki::authority::{self, Authority};
use crate::store::sqlite::DATABASE_FILE;

/// Written last on a first start, and last by a restore: without it no controller serves.
pub(crate) const MARKER: &str = "controller.json";
/// Name of the file that says where the controller listens.
pub const LISTENING: &str = "listening.json";
pub(crate) const LOCK: &str = "controller.lock";
const FORMAT: u32 = 1;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A file of it cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Another controller uses it.
    #[error("{0} is in use by another controller; stop that one first")]
    InUse(String),
    /// It is not ours, from a newer release, or damaged.
    #[error("cannot use {path}: {fault}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        fault: String,
    },
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The certificate authority.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The keys that sign tokens.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    id: Uuid,
    created_at: Timestamp,
}

/// An opened data directory with its keys.
#[derive(Debug)]
pub struct DataDir {
    /// Where it is.
    pub path: PathBuf,
    /// Identity of this controller; issuer of its tokens.
    pub id: Uuid,
    /// Seals values under the master key.
    pub envelope: Arc<Envelope>,
    /// The certificate authority.
    pub authority: Authority,
    /// The keys that sign tokens.
    pub signing_keys: KeyRing,
    /// Keeps other controllers out for as long as it lives.
    pub lock: Lock,
}

/// The lock on a data directory.
#[derive(Debug)]
pub struct Lock {
    _file: Option<OwnLock>,
}

/// Who opens the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The one controller that serves from it; makes it on the first start.
    Serve,
    /// A command beside it; the directory must have been made.
    Command,
}

impl DataDir {
    /// Opens the directory; makes it and its keys on the first start.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing that exists is ever replaced.
    pub fn open(
        path: &Path,
        master: &MasterKeySource,
        algorithm: KeyAlgorithm,
        opening: Opening,
        clock: &Clock,
        mint: &Mint,
    ) -> Result<Self, DataDirError> {
        if opening == Opening::Serve {
            files::make_dir(path).map_err(|e| file(path, e))?;
        }
        check_private(path)?;
        let lock = Lock { _file: if opening == Opening::Serve { Some(lock(path)?) } else { None } };
        let marker = read_marker(path)?;
        let is_new = marker.is_none();
        if is_new && path.join(DATABASE_FILE).exists() {
            let fault = format!("it is missing although {DATABASE_FILE} is there; put it back");
            return Err(unusable(&path.join(MARKER), fault));
        }
        if is_new && opening == Opening::Command {
            let fault = "no controller was started with it yet; run `cratekube-controller serve` first".to_owned();
            return Err(DataDirError::Unusable { path: path.display().to_string(), fault });
        }
        if rotation::is_under_way(path) {
            let fault = "a rotation of the master key was begun and not finished: run \
                         `cratekube-controller master-key rotate` again, with either key"
                .to_owned();
            return Err(unusable(&path.join(rotation::NOTE), fault));
        }
        let key = master::load(master, path, is_new, mint)?;
        let envelope = Envelope::new(&key, mint.clone()).map_err(|fault| unusable(path, fault))?;
        let envelope = Arc::new(envelope);
        let authority = Authority::load(path, is_new, algorithm, &envelope, clock.clone(), mint.clone())?;
        if opening == Opening::Serve {
            remove_unfinished(path)?;
            authority.settle()?;
        }
        let signing_keys = signing::load(path, is_new, &envelope)?;
        let marker = match marker {
            Some(marker) => marker,
            None => write_marker(path, clock.now(), mint.id())?,
        };
        Ok(Self { path: path.to_owned(), id: marker.id, envelope, authority, signing_keys, lock })
    }

    /// Notes where this controller listens, for commands and operators beside it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_listening(&self, rest: SocketAddr, agents: SocketAddr) -> Result<(), DataDirError> {
        let at = self.path.join(LISTENING);
        let note = serde_json::json!({"rest": rest, "agents": agents, "pid": std::process::id()});
        files::write_atomic(&at, note.to_string().as_bytes()).map_err(|e| file(&at, e))
    }
}

/// Files that are sealed under the master key, with their contexts: what a rotation seals anew. Whoever
/// adds a sealed file adds it here; a rotation refuses to begin when it finds one that is not.
pub(crate) const SEALED: &[(&str, &[u8])] = &[
    (signing::FILE, signing::CONTEXT),
    (authority::KEY, authority::CONTEXT),
    (authority::ROTATION, authority::ROTATION_CONTEXT),
    (anchor::FILE, anchor::CONTEXT),
];

/// The files beside the database that a backup has: all that are sealed, and what is not secret. Those of the
/// authority belong together; see [`authority::Files`].
pub(crate) fn kept_files() -> impl Iterator<Item = &'static str> {
    [MARKER, authority::CERTIFICATE].into_iter().chain(SEALED.iter().map(|(name, _)| *name))
}

/// Removes what killed writes left beside the files; for whoever holds the lock.
///
/// # Errors
/// From the filesystem.
pub(crate) fn remove_unfinished(path: &Path) -> Result<(), DataDirError> {
    for at in kept_files().map(|name| path.join(name)) {
        files::remove_unfinished(&at).map_err(|e| file(&at, e))?;
    }
    Ok(())
}

/// Keeps every controller out of a directory that is not in use yet.
///
/// # Errors
/// When it is in use, or is open to others.
pub(crate) fn lock_new(path: &Path) -> Result<Lock, DataDirError> {
    check_private(path)?;
    Ok(Lock { _file: Some(lock(path)?) })
}

/// Keeps every controller and every other rotation out of a directory that was used before.
///
/// # Errors
/// When it was never used, is in use, or is open to others.
pub(crate) fn lock_used(path: &Path) -> Result<Lock, DataDirError> {
    check_private(path)?;
    if read_marker(path)?.is_none() {
        let fault = "no controller was started with it yet".to_owned();
        return Err(DataDirError::Unusable { path: path.display().to_string(), fault });
    }
    Ok(Lock { _file: Some(lock(path)?) })
}

fn lock(path: &Path) -> Result<OwnLock, DataDirError> {
    let at = path.join(LOCK);
    let opened = files::create_private(&at).map_err(|e| file(&at, e))?;
    OwnLock::take(opened).map_err(|_| DataDirError::InUse(path.display().to_string()))
}

fn check_private(path: &Path) -> Result<(), DataDirError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_err(|e| file(path, e))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(unusable(path, format!("others may look into it (mode {mode:o}); run `chmod 700` on it")))
}

fn read_marker(path: &Path) -> Result<Option<Marker>, DataDirError> {
    let at = path.join(MARKER);
    let Some(bytes) = files::read_optional(&at).map_err(|e| file(&at, e))? else { return Ok(None) };
    let marker: Marker = serde_json::from_slice(&bytes).map_err(|e| unusable(&at, e.to_string()))?;
    if marker.format > FORMAT {
        return Err(unusable(&at, format!("it is from a newer release (format {})", marker.format)));
    }
    Ok(Some(marker))
}

fn write_marker(path: &Path, now: Timestamp, id: Uuid) -> Result<Marker, DataDirError> {
    let at = path.join(MARKER);
    let marker = Marker { format: FORMAT, id, created_at: now };
    let bytes = serde_json::to_vec_pretty(&marker).map_err(|e| unusable(&at, e.to_string()))?;
    files::write_atomic(&at, &bytes).map_err(|e| file(&at, e))?;
    Ok(marker)
}

fn file(path: &Path, source: std::io::Error) -> DataDirError {
    DataDirError::File { path: path.display().to_string(), source }
}

fn unusable(path: &Path, fault: String) -> DataDirError {
    DataDirError::Unusable { path: path.display().to_string(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::runtime::clock;

    fn open(path: &Path, opening: Opening) -> Result<DataDir, DataDirError> {
        let clock = clock::system();
        DataDir::open(
            path,
            &MasterKeySource::Local,
            KeyAlgorithm::EcdsaP256,
            opening,
            &clock,
            &Mint::system(clock.clone()),
        )
    }

    #[test]
    fn the_second_start_uses_what_the_first_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        assert!(matches!(open(&path, Opening::Command), Err(DataDirError::File { .. })));
        let first = open(&path, Opening::Serve).unwrap();
        assert!(matches!(open(&path, Opening::Serve), Err(DataDirError::InUse(_))));
        assert!(open(&path, Opening::Command).is_ok(), "a command may look while a controller serves");
        let (id, ca, kid) = (first.id, first.authority.fingerprint(), first.signing_keys.keys()[0].key.kid.clone());
        drop(first);
        let second = open(&path, Opening::Serve).unwrap();
        assert_eq!(
            (second.id, second.authority.fingerprint(), second.signing_keys.keys()[0].key.kid.clone()),
            (id, ca, kid)
        );
    }

    #[test]
    fn what_is_lost_or_unreadable_is_never_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        drop(open(&path, Opening::Serve).unwrap());
        for name in [MARKER, signing::FILE, "ca.pem", "ca.key.sealed", "master.key"] {
            let at = path.join(name);
            let content = std::fs::read(&at).unwrap();
            std::fs::write(&at, b"{").unwrap();
            assert!(open(&path, Opening::Serve).is_err(), "{name} is garbage");
            assert_eq!(std::fs::read(&at).unwrap(), b"{", "{name} is left alone");
            std::fs::write(&at, &content).unwrap();
            if name != MARKER {
                std::fs::remove_file(&at).unwrap();
                assert!(open(&path, Opening::Serve).is_err(), "{name} is gone");
                assert!(!at.exists(), "{name} is not made anew");
                std::fs::write(&at, &content).unwrap();
            }
        }
        assert!(open(&path, Opening::Serve).is_ok());
    }

    #[test]
    fn what_a_killed_write_left_beside_a_file_is_gone_after_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        drop(open(&path, Opening::Serve).unwrap());
        let left = path.join(format!(".{}.new", authority::ROTATION));
        std::fs::write(&left, b"half").unwrap();
        drop(open(&path, Opening::Command).unwrap());
        assert!(left.exists(), "a command leaves alone what a controller may be writing");
        drop(open(&path, Opening::Serve).unwrap());
        assert!(!left.exists());
    }

    #[test]
    fn a_directory_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(open(dir.path(), Opening::Serve).unwrap_err().to_string().contains("chmod 700"));
    }
}
