//! The anchor of the audit log: its newest number and hash, sealed, in a file beside the database.
//!
//! The chain within the log shows that an entry was changed or taken out, but a log whose end was cut
//! off is whole again. The anchor shows that: the log must reach it and agree with it. It is written a
//! few seconds after the entries it stands for, so what is cut off within these seconds is not seen;
//! and it is sealed under the master key, so whoever changes only the files cannot make another one.
//!
//! What it is not worth: who has the master key can make one, and who puts back an older database
//! together with the anchor of that time is believed. Against both only a copy elsewhere helps
//! (`GET /v1/admin/audit` with its hashes).
//!
//! Invariant: an anchor that the log does not agree with is never replaced by the controller, or the
//! evidence would be gone. An operator does that by a command, with a reason, which is an entry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::files;
use serde::{Deserialize, Serialize};

use crate::keys::{Envelope, EnvelopeError};
use crate::store::{AuditLink, Store, StoreError};

/// Name of the file within the data directory.
pub const FILE: &str = "audit.anchor.sealed";
/// What it is sealed for.
pub const CONTEXT: &[u8] = b"audit/anchor";

/// Why an anchor cannot be read or set.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// From the filesystem.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It does not open, or is not one.
    #[error("cannot use {path}: {fault}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        fault: String,
    },
    /// It was there a moment ago.
    #[error("{0} is gone; put it back, or set a new one with `cratekube-controller audit anchor`")]
    Gone(String),
    /// The log does not reach it, or says something else there.
    #[error(
        "the audit log does not agree with its anchor at entry {0}: it was cut off or rewritten; see `cratekube-controller audit verify`"
    )]
    Disagrees(u64),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
struct Document {
    number: u64,
    hash: String,
    at: Timestamp,
}

/// The anchor of one data directory.
#[derive(Debug)]
pub struct Anchor {
    at: PathBuf,
    envelope: Arc<Envelope>,
    was_there: AtomicBool,
}

impl Anchor {
    /// The anchor of a data directory.
    #[must_use]
    pub fn new(data: &Path, envelope: Arc<Envelope>) -> Self {
        Self { at: data.join(FILE), envelope, was_there: AtomicBool::new(false) }
    }

    /// Reads it; none when it was never set.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what this wrote.
    pub fn read(&self) -> Result<Option<AuditLink>, AnchorError> {
        let Some(sealed) = files::read_optional(&self.at).map_err(|e| self.file(e))? else { return Ok(None) };
        let plain = self.envelope.open(CONTEXT, &sealed).map_err(|e: EnvelopeError| self.unreadable(e.to_string()))?;
        let document: Document = serde_json::from_slice(&plain).map_err(|e| self.unreadable(e.to_string()))?;
        let hash = data_encoding::HEXLOWER.decode(document.hash.as_bytes());
        let hash = hash.map_err(|e| self.unreadable(e.to_string()))?;
        Ok(Some(AuditLink { number: document.number, hash }))
    }

    /// Sets it, whatever it was.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, link: &AuditLink, now: Timestamp) -> Result<(), AnchorError> {
        let hash = data_encoding::HEXLOWER.encode(&link.hash);
        let document = Document { number: link.number, hash, at: now };
        let plain = serde_json::to_vec(&document).map_err(|e| self.unreadable(e.to_string()))?;
        files::write_atomic(&self.at, &self.envelope.seal(CONTEXT, &plain)).map_err(|e| self.file(e))?;
        self.was_there.store(true, Ordering::Release);
        Ok(())
    }

    /// Moves it to the newest entry. Answers whether it moved.
    ///
    /// # Errors
    /// When the log does not agree with where it is; it stays there then.
    pub async fn advance(&self, store: &dyn Store, now: Timestamp) -> Result<bool, AnchorError> {
        let known = self.read()?;
        let Some(newest) = store.audit_link(None).await? else {
            return known.map_or(Ok(false), |known| Err(AnchorError::Disagrees(known.number)));
        };
        if known.as_ref() == Some(&newest) {
            self.was_there.store(true, Ordering::Release);
            return Ok(false);
        }
        match known {
            Some(known) => check(store, &known).await?,
            None if self.was_there.load(Ordering::Acquire) => return Err(AnchorError::Gone(self.shown())),
            None if newest.number > 1 => {
                tracing::warn!(entry = newest.number, "the audit log had no anchor; it is anchored from here on");
            }
            None => {}
        }
        self.set(&newest, now)?;
        Ok(true)
    }

    fn shown(&self) -> String {
        self.at.display().to_string()
    }

    fn file(&self, source: std::io::Error) -> AnchorError {
        AnchorError::File { path: self.shown(), source }
    }

    fn unreadable(&self, fault: String) -> AnchorError {
        AnchorError::Unreadable { path: self.shown(), fault }
    }
}

async fn check(store: &dyn Store, known: &AuditLink) -> Result<(), AnchorError> {
    let there = store.audit_link(Some(known.number)).await?;
    if there.as_ref() == Some(known) { Ok(()) } else { Err(AnchorError::Disagrees(known.number)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::house::entry;
    use crate::store::sqlite::{DATABASE_FILE, SqliteOptions, SqliteStore};
    use cratekube_common::runtime::{clock, mint::Mint};
    use zeroize::Zeroizing;

    struct Kept {
        dir: tempfile::TempDir,
        store: SqliteStore,
        anchor: Anchor,
    }

    fn envelope(byte: u8) -> Arc<Envelope> {
        Arc::new(Envelope::new(&Zeroizing::new(vec![byte; 32]), Mint::system(clock::system())).unwrap())
    }

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    async fn with_entries(count: usize) -> Kept {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
        let anchor = Anchor::new(dir.path(), envelope(7));
        let kept = Kept { dir, store, anchor };
        kept.add(count).await;
        kept
    }

    impl Kept {
        async fn add(&self, count: usize) {
            for n in 0..count {
                self.store.audit(entry("test", &n.to_string()), NOW).await.unwrap();
            }
        }

        async fn advance(&self) -> Result<bool, String> {
            self.anchor.advance(&self.store, NOW).await.map_err(|e| e.to_string())
        }

        async fn verify(&self) -> Result<u64, String> {
            let anchor = self.anchor.read().map_err(|e| e.to_string())?;
            let end = self.store.follow_audit(anchor).await.map_err(|e| e.to_string())?;
            Ok(end.map_or(0, |link| link.number))
        }

        fn sql(&self, sql: &str) {
            let db = rusqlite::Connection::open(self.dir.path().join(DATABASE_FILE)).unwrap();
            let off = "DROP TRIGGER IF EXISTS audit_is_not_changed; DROP TRIGGER IF EXISTS audit_is_not_deleted;";
            db.execute_batch(&format!("{off} {sql}")).unwrap();
        }
    }

    #[tokio::test]
    async fn hostile_row_78_a_log_that_was_cut_off_shows_and_the_evidence_stays() {
        let kept = with_entries(5).await;
        assert_eq!(kept.advance().await, Ok(true));
        assert_eq!(kept.advance().await, Ok(false), "nothing is new");
        kept.add(2).await;
        assert_eq!(kept.verify().await, Ok(7), "entries after the anchor are as good");
        kept.sql("DELETE FROM audit WHERE number > 3");
        assert!(kept.verify().await.unwrap_err().contains("entry 4 is missing"));
        kept.add(9).await;
        assert!(kept.verify().await.unwrap_err().contains("entry 5 is not the one that was anchored"));
        assert!(kept.advance().await.unwrap_err().contains("does not agree with its anchor at entry 5"));
        assert!(kept.verify().await.is_err(), "the anchor was not moved");
        kept.sql("DELETE FROM audit");
        assert!(kept.advance().await.unwrap_err().contains("entry 5"));
    }

    #[tokio::test]
    async fn hostile_row_78_an_anchor_is_not_made_by_who_has_no_key_and_not_made_anew_when_it_is_gone() {
        let kept = with_entries(5).await;
        kept.advance().await.unwrap();
        let file = kept.dir.path().join(FILE);
        let whole = std::fs::read(&file).unwrap();
        let newest = kept.store.audit_link(Some(3)).await.unwrap().unwrap();
        Anchor::new(kept.dir.path(), envelope(8)).set(&newest, NOW).unwrap();
        assert!(kept.verify().await.unwrap_err().contains("another master key"));
        assert!(kept.advance().await.is_err());
        std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert!(kept.verify().await.is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(kept.advance().await.unwrap_err().contains("is gone"));
        assert!(!file.exists());
        std::fs::write(&file, &whole).unwrap();
        kept.add(1).await;
        assert_eq!((kept.advance().await, kept.verify().await), (Ok(true), Ok(6)));
    }
}
