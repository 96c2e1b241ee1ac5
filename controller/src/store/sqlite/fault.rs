//! Faults inside a verb, and what they are for callers.
//!
//! A verb works with [`Fault`]; only at the edge of this module does it become a [`StoreError`], by
//! SQLite's own result code and never by the text of an error.

use cratekube_common::domain::IllegalTransition;
use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Why a verb could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// From SQLite, or a column that does not hold what it should.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// A life-cycle refuses the step: what is stored contradicts the verb's own checks.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// A value that cannot be written as JSON, or read from it.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A file of output.
    #[error("output file: {0}")]
    Output(#[from] std::io::Error),
    /// What is stored does not hold together.
    #[error("{0}")]
    Damaged(String),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Sql(error) if is_passing(&error) => Self::Unavailable(text),
            Fault::Output(_) => Self::Unavailable(text),
            Fault::Sql(_) | Fault::Illegal(_) | Fault::Json(_) | Fault::Damaged(_) => Self::Damaged(text),
        }
    }
}

/// True for faults of the moment: locked, full, no memory, no disk.
fn is_passing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::OutOfMemory
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OperationInterrupted
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

/// True when the disk itself failed: what was written since the last good commit cannot be trusted.
pub(super) fn is_disk_failure(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}
