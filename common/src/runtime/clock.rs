//! The one source of time.
//!
//! Points in time are for people and records and may jump; durations are measured with
//! [`TimeSource::monotonic`], which does not. Tests move both.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// Tells the time.
pub trait TimeSource: Send + Sync + fmt::Debug {
    /// The wall clock; may jump.
    fn now(&self) -> Timestamp;
    /// Time since some fixed point; never jumps.
    fn monotonic(&self) -> Duration;
}

/// A shared clock.
pub type Clock = Arc<dyn TimeSource>;

/// The machine's clock.
#[must_use]
pub fn system() -> Clock {
    Arc::new(SystemClock { started: tokio::time::Instant::now() })
}

#[derive(Debug)]
struct SystemClock {
    started: tokio::time::Instant,
}

impl TimeSource for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    // tokio's clock is the machine's monotonic clock, or simulated time where a test paused it.
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that tests set by hand.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { now_ms: AtomicI64::new(now.as_millis()), monotonic_ms: AtomicU64::new(0) })
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
        self.now_ms.fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Makes the wall clock jump while no time passes.
    pub fn jump(&self, by_ms: i64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl TimeSource for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}
