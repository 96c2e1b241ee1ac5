//! Time in a simulated world: one course of it for all, and a wall clock of each host that may be
//! wrong and may jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::{Clock, TimeSource};

/// When every simulated world begins: 2026-11-25T00:00:00Z.
const BEGINNING_MS: i64 = 1_795_564_800_000;

/// The course of time, for those who look at the world from outside.
#[derive(Debug, Clone, Default)]
pub struct Course(Arc<AtomicU64>);

impl Course {
    /// The world has come so far.
    pub fn reached(&self, elapsed: Duration) {
        self.0.store(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// How far the world has come; to the millisecond on a host, to the last step elsewhere.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }

    /// A clock that shows this course, off by what `skew` says.
    #[must_use]
    pub fn clock(&self, skew: &Skew) -> Clock {
        Arc::new(HostClock { course: self.clone(), skew: skew.clone() })
    }
}

/// How wrong a wall clock is, in milliseconds; may be changed at any time.
#[derive(Debug, Clone, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Makes the clock jump to be this wrong.
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct HostClock {
    course: Course,
    skew: Skew,
}

impl TimeSource for HostClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.course.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(BEGINNING_MS + elapsed + self.skew.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.course.elapsed()
    }
}
