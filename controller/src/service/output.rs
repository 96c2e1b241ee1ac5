//! Output of operations: pieces of it, and following it while it grows.
//!
//! A [`Follower`] is pulled: it holds one piece at a time and reads the next when asked, so a reader
//! that is slow costs no memory. It misses nothing, because it reads by offset and is only told to
//! look again.

use std::time::Duration;

use bytes::Bytes;
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::operation::{Operation, OperationState};
use cratekube_common::domain::progress::Progress;
use tokio::sync::watch;

use super::{Service, ServiceError};
use crate::store::OutputPiece;

/// Bytes read at a time: small enough to hold thousands, large enough for 200 MB in seconds.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Longest time between two looks when nothing is announced: another controller may have written.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What a follower sees next.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// More output, from `offset`.
    Output {
        /// Where it begins.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// True when nothing will follow.
        last: bool,
    },
    /// The operation is in another state or further on.
    Progress(Box<Operation>),
    /// Nothing happened for a while.
    Quiet,
    /// The operation is over, and all its output was seen.
    End(Box<Operation>),
}

/// Follows one operation's output.
#[derive(Debug)]
pub struct Follower {
    service: Service,
    operation: OperationId,
    offset: u64,
    changes: Option<watch::Receiver<u64>>,
    shown: Option<(OperationState, Option<Progress>, Option<String>)>,
    drained: bool,
}

impl Service {
    /// A piece of an operation's output.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read_output(&self, operation: OperationId, offset: u64) -> Result<OutputPiece, ServiceError> {
        Ok(self.store.read_output(operation, offset, PIECE_BYTES).await?)
    }

    /// Follows an operation's output from an offset on.
    #[must_use]
    pub fn follow(&self, operation: OperationId, offset: u64) -> Follower {
        Follower { service: self.clone(), operation, offset, changes: None, shown: None, drained: false }
    }
}

impl Follower {
    /// What comes next; waits for it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the store fails; asking again goes on from the same place.
    pub async fn next(&mut self) -> Result<Followed, ServiceError> {
        loop {
            if std::mem::take(&mut self.drained) && !self.changed().await {
                return Ok(Followed::Quiet);
            }
            // The operation first, its output after: when it is over, the output read is all there is.
            let operation = self.service.operation(self.operation).await?;
            let over = operation.state.is_terminal();
            if !over && self.changes.is_none() {
                // Subscribe, then look again: what happens in between is not missed.
                self.changes = Some(self.service.watch.operation(self.operation));
                continue;
            }
            if !over && self.is_news(&operation) {
                return Ok(Followed::Progress(Box::new(operation)));
            }
            let piece = self.service.read_output(self.operation, self.offset).await?;
            if !piece.data.is_empty() {
                let last = over && self.offset + piece.data.len() as u64 >= piece.end;
                return Ok(Followed::Output { offset: self.offset, data: piece.data, last });
            }
            if over {
                return Ok(Followed::End(Box::new(operation)));
            }
            self.drained = true;
        }
    }

    /// So many bytes of the piece were taken; the rest comes again with what follows it.
    pub fn consume(&mut self, bytes: u64) {
        self.offset += bytes;
        // Nothing taken means that the piece ends within a character: wait for more of it.
        self.drained = bytes == 0;
    }

    fn is_news(&mut self, operation: &Operation) -> bool {
        let now = Some((operation.state, operation.progress.clone(), operation.waiting_for.clone()));
        let news = self.shown != now;
        self.shown = now;
        news
    }

    async fn changed(&mut self) -> bool {
        let Some(changes) = self.changes.as_mut() else { return true };
        match tokio::time::timeout(LOOK_AGAIN, changes.changed()).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => {
                self.changes = None;
                true
            }
            Err(_) => false,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.changes = None;
        self.service.watch.release(self.operation);
    }
}
