//! Refusals in the audit log, at a rate that a flood of them cannot raise.
//!
//! Every refusal is counted; so many a second are recorded, and the next that is recorded says how
//! many were not. Those without a valid token have a budget of their own, so that a stranger's noise
//! does not hide what a known subject tried.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cratekube_common::runtime::clock::Clock;

/// Refusals of strangers recorded in a second.
const ANONYMOUS_PER_SECOND: u32 = 3;
/// Refusals of known subjects recorded in a second.
const KNOWN_PER_SECOND: u32 = 20;

/// Who was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Someone without a valid token.
    Anonymous,
    /// A subject.
    Known,
}

#[derive(Debug, Default)]
struct Window {
    began: Duration,
    recorded: u32,
    suppressed: u64,
}

/// Decides which refusals are recorded.
#[derive(Debug)]
pub(super) struct RefusalLog {
    clock: Clock,
    windows: Mutex<[Window; 2]>,
}

impl RefusalLog {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, windows: Mutex::default() }
    }

    /// Whether this one is recorded, and how many before it were not.
    pub(super) fn admit(&self, who: Refused) -> Option<u64> {
        let now = self.clock.monotonic();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let (window, allowed) = match who {
            Refused::Anonymous => (&mut windows[0], ANONYMOUS_PER_SECOND),
            Refused::Known => (&mut windows[1], KNOWN_PER_SECOND),
        };
        if now.saturating_sub(window.began) >= Duration::from_secs(1) {
            (window.began, window.recorded) = (now, 0);
        }
        if window.recorded >= allowed {
            window.suppressed += 1;
            return None;
        }
        window.recorded += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::time::Timestamp;
    use cratekube_common::runtime::clock::ManualClock;

    #[test]
    fn a_flood_is_counted_and_does_not_hide_what_a_known_subject_tried() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let log = RefusalLog::new(clock.clone());
        let recorded = (0..1000).filter(|_| log.admit(Refused::Anonymous).is_some()).count();
        assert_eq!(recorded, 3);
        assert_eq!(log.admit(Refused::Known), Some(0));
        clock.advance(Duration::from_secs(1));
        assert_eq!(log.admit(Refused::Anonymous), Some(997));
        assert_eq!(log.admit(Refused::Anonymous), Some(0));
    }
}
