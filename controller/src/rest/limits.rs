//! Bounds of the REST API, each with its reason.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Kind, Problem};

/// What is allowed at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests at work at once. Each costs little; the store's queue is what must not grow.
    pub concurrent_requests: usize,
    /// Streams and waits at once: they last long, so they must not use up the requests.
    pub streams: usize,
    /// Streams and waits of one subject, so that one cannot shut out the others.
    pub streams_per_subject: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of a cluster description: a thousand nodes with labels fit.
    pub cluster_body_bytes: usize,
    /// Time until an answer begins.
    pub request_timeout: Duration,
    /// Time until a reader of a stream must have taken a piece.
    pub send_timeout: Duration,
    /// Silence on a stream after which a comment keeps it alive.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_requests: 1_024,
            streams: 512,
            streams_per_subject: 64,
            body_bytes: 1024 * 1024,
            cluster_body_bytes: 256 * 1024,
            request_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// Longest `?wait=`.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Counts what is at work.
#[derive(Debug)]
pub(super) struct Gate {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    all_streams: usize,
    per_subject: Arc<Mutex<HashMap<String, usize>>>,
    streams_per_subject: usize,
}

/// A stream's or wait's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct StreamPlace {
    _permit: OwnedSemaphorePermit,
    subject: String,
    per_subject: Arc<Mutex<HashMap<String, usize>>>,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.concurrent_requests)),
            streams: Arc::new(Semaphore::new(limits.streams)),
            all_streams: limits.streams,
            per_subject: Arc::default(),
            streams_per_subject: limits.streams_per_subject,
        }
    }

    /// A place for a request, or none at once: a queue would only add to the trouble.
    pub(super) fn request(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let full = |_| Problem::new(Kind::Overloaded, "too many requests are at work");
        Arc::clone(&self.requests).try_acquire_owned().map_err(full)
    }

    /// Streams and waits that are open.
    pub(super) fn open_streams(&self) -> usize {
        self.all_streams.saturating_sub(self.streams.available_permits())
    }

    /// A place for a stream or wait of a subject.
    pub(super) fn stream(&self, subject: &str) -> Result<StreamPlace, Problem> {
        let full = |_| Problem::new(Kind::Overloaded, "too many streams are open");
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(full)?;
        let mut open = self.per_subject.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = open.entry(subject.to_owned()).or_default();
        if *mine >= self.streams_per_subject {
            let detail = format!("a subject may have {} streams and waits at once", self.streams_per_subject);
            return Err(Problem::new(Kind::TooManyStreams, detail));
        }
        *mine += 1;
        let per_subject = Arc::clone(&self.per_subject);
        Ok(StreamPlace { _permit: permit, subject: subject.to_owned(), per_subject })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.per_subject.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = open.get_mut(&self.subject) {
            *mine -= 1;
            if *mine == 0 {
                open.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_row_75_streams_are_bounded_for_all_and_for_each_and_places_come_back() {
        let gate = Gate::new(&Limits { streams: 3, streams_per_subject: 2, ..Limits::default() });
        let (a, b) = (gate.stream("ann").unwrap(), gate.stream("ann").unwrap());
        assert_eq!(gate.stream("ann").unwrap_err().kind(), Kind::TooManyStreams);
        let c = gate.stream("bob").unwrap();
        assert_eq!(gate.stream("eve").unwrap_err().kind(), Kind::Overloaded);
        drop((a, b, c));
        assert!(gate.per_subject.lock().unwrap().is_empty());
        assert!(gate.stream("eve").is_ok());
    }
}
