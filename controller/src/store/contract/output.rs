//! The output of operations.

use bytes::Bytes;
use cratekube_common::domain::id::OperationId;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPiece {
    /// The bytes, from the offset asked for.
    pub data: Bytes,
    /// Where the output ends for now.
    pub end: u64,
    /// True when nothing will be added: the operation is over.
    pub complete: bool,
}

/// What became of a piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputAppended {
    /// So many bytes of this run are stored now, durably.
    Stored {
        /// Bytes from the beginning of the run.
        stored: u64,
        /// The operation they belong to, for those who watch it.
        operation: OperationId,
    },
    /// The attempt is settled or superseded: nothing was stored.
    Closed,
    /// The attempt was never this agent's: nothing was stored, nor kept.
    Foreign,
}
