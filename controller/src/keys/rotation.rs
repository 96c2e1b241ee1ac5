//! A rotation of the master key that is under way: both keys, each sealed under the other.
//!
//! The note is written before the first value is sealed anew and removed after the last. While it is
//! there nothing serves from the data directory, and whoever has either key can finish: values are
//! recognised by the id of the key that they carry.

use std::path::{Path, PathBuf};

use cratekube_common::runtime::{files, mint::Mint};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Envelope, EnvelopeError};

/// Name of the note in the data directory.
pub const NOTE: &str = "master-key-rotation.json";
const CONTEXT: &[u8] = b"keys/rotation";

/// A master key.
pub type Key = Zeroizing<Vec<u8>>;

/// Why a rotation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The note cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The note.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a note.
    #[error("{path} is damaged: {fault}; restore it, or the backup from before the rotation")]
    Damaged {
        /// The note.
        path: String,
        /// Why.
        fault: String,
    },
    /// Neither of its keys is at hand.
    #[error("the rotation in {0} is between two other master keys; give one of those")]
    OtherKeys(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    new_under_old: String,
    old_under_new: String,
}

/// Two keys, from one to the other.
pub struct Pair {
    /// What values were sealed under.
    pub old: Key,
    /// What they will be sealed under.
    pub new: Key,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(•••)")
    }
}

/// Whether a rotation is under way.
#[must_use]
pub fn is_under_way(data: &Path) -> bool {
    path(data).exists()
}

/// Notes that a rotation begins.
///
/// # Errors
/// When the note cannot be written.
pub fn begin(data: &Path, pair: &Pair, mint: &Mint) -> Result<(), RotationError> {
    let seal = |under: &Key, key: &Key| {
        let envelope = Envelope::new(under, mint.clone()).map_err(|fault| damaged(data, fault))?;
        Ok::<_, RotationError>(BASE64.encode(&envelope.seal(CONTEXT, key)))
    };
    let note = Note { new_under_old: seal(&pair.old, &pair.new)?, old_under_new: seal(&pair.new, &pair.old)? };
    let text = serde_json::to_vec_pretty(&note).map_err(|e| damaged(data, e.to_string()))?;
    files::write_atomic(&path(data), &text).map_err(|e| file(data, e))
}

/// Both keys of the rotation that is under way, from either; none when there is no rotation.
///
/// # Errors
/// When the note is damaged, or the key is neither of the two.
pub fn resume(data: &Path, at_hand: &Key, mint: &Mint) -> Result<Option<Pair>, RotationError> {
    let Some(text) = files::read_optional(&path(data)).map_err(|e| file(data, e))? else { return Ok(None) };
    let note: Note = serde_json::from_slice(&text).map_err(|e| damaged(data, e.to_string()))?;
    let envelope = Envelope::new(at_hand, mint.clone()).map_err(|fault| damaged(data, fault))?;
    let open = |sealed: &str| {
        let sealed = BASE64.decode(sealed.as_bytes()).map_err(|e| damaged(data, e.to_string()))?;
        match envelope.open(CONTEXT, &sealed) {
            Ok(key) => Ok(Some(key)),
            Err(EnvelopeError::OtherKey) => Ok(None),
            Err(error @ EnvelopeError::Damaged) => Err(damaged(data, error.to_string())),
        }
    };
    if let Some(new) = open(&note.new_under_old)? {
        return Ok(Some(Pair { old: at_hand.clone(), new }));
    }
    match open(&note.old_under_new)? {
        Some(old) => Ok(Some(Pair { old, new: at_hand.clone() })),
        None => Err(RotationError::OtherKeys(path(data).display().to_string())),
    }
}

/// Notes that a rotation is over.
///
/// # Errors
/// When the note cannot be removed; the rotation can be finished again then.
pub fn end(data: &Path) -> Result<(), RotationError> {
    std::fs::remove_file(path(data)).and_then(|()| files::sync_dir(data)).map_err(|e| file(data, e))
}

fn path(data: &Path) -> PathBuf {
    data.join(NOTE)
}

fn file(data: &Path, source: std::io::Error) -> RotationError {
    RotationError::File { path: path(data).display().to_string(), source }
}

fn damaged(data: &Path, fault: String) -> RotationError {
    RotationError::Damaged { path: path(data).display().to_string(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::runtime::clock;

    fn key(byte: u8) -> Key {
        Zeroizing::new(vec![byte; 32])
    }

    #[test]
    fn either_key_finds_the_other_and_a_third_finds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mint = Mint::system(clock::system());
        assert!(resume(dir.path(), &key(1), &mint).unwrap().is_none() && !is_under_way(dir.path()));
        begin(dir.path(), &Pair { old: key(1), new: key(2) }, &mint).unwrap();
        for at_hand in [1, 2] {
            let pair = resume(dir.path(), &key(at_hand), &mint).unwrap().unwrap();
            assert_eq!((pair.old, pair.new), (key(1), key(2)));
        }
        assert!(matches!(resume(dir.path(), &key(3), &mint), Err(RotationError::OtherKeys(_))));
        let text = std::fs::read_to_string(path(dir.path())).unwrap();
        assert!(!text.contains(&BASE64.encode(&key(2))), "neither lies open");
        std::fs::write(path(dir.path()), &text[..text.len() / 2]).unwrap();
        assert!(matches!(resume(dir.path(), &key(1), &mint), Err(RotationError::Damaged { .. })));
        end(dir.path()).unwrap();
        assert!(!is_under_way(dir.path()));
    }
}
