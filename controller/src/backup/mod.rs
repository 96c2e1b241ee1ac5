//! Backups of a controller that runs, and restores of them into an empty data directory.
//!
//! A backup is one file (a tar): the database as it was at one moment, the output of operations up to what
//! the database knows of it, and the sealed files. It has no master key: who has the file alone can
//! read no secret. Its list of contents is sealed under the master key, so that a backup that was
//! changed is refused.
//!
//! A restore honours nothing of before (see the store's `restored`), and the volumes are looked through for
//! what they know better.

mod archive;
mod make;
mod restore;

pub use make::{Made, make};
pub use restore::{Restored, restore};

use crate::anchor::AnchorError;
use crate::datadir::DataDirError;
use crate::store::StoreError;

/// Why there is no backup, or why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The place where it is to go is taken.
    #[error("{0} is there already; name a file that is not")]
    Taken(String),
    /// The data directory is in use.
    #[error("{path} is not empty ({found} is in it): restore into an empty directory, and move what is there away")]
    NotEmpty {
        /// The directory.
        path: String,
        /// Something that is in it.
        found: String,
    },
    /// The backup is not whole, was changed, or is not one.
    #[error("cannot use the backup {path}: {fault}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        fault: String,
    },
    /// It was sealed under another master key.
    #[error("the backup was made under another master key: give the one that was in use then")]
    OtherKey,
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit log's anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
}

impl BackupError {
    fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |source| Self::File { path, source }
    }

    fn unusable(path: &std::path::Path, fault: impl Into<String>) -> Self {
        Self::Unusable { path: path.display().to_string(), fault: fault.into() }
    }
}

#[cfg(test)]
mod tests;
