//! Where work is done that may wait for a disk.

use std::io;

/// Where it is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Blocking {
    /// On threads that may block.
    #[default]
    Threads,
    /// On the task that asks: no thread decides the order of anything, so that a simulation repeats itself.
    Inline,
}

impl Blocking {
    /// Does it.
    ///
    /// # Errors
    /// When it panicked on its thread.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Self::Inline => Ok(work()),
        }
    }
}
