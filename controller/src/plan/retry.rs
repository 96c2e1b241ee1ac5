//! When a failed run is tried again without being asked: bounded, later each time, and only where the
//! same run may well succeed.
//!
//! A run that was interrupted is tried again when its own agent goes on with the cluster: the state gate
//! decides there whether its state may be run on. One that another agent took over (its bastion was
//! replaced in the middle) is not: what the first agent's `rke` still does is not known, so a person asks
//! for it.

use std::time::Duration;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::operation::OperationState;

use super::settle::RunView;

/// Classes that pass by themselves: hosts that boot, networks that flap, registries that are busy,
/// add-on jobs that wait for an image.
const TRANSIENT: [FailureClass; 5] = [
    FailureClass::Unreachable,
    FailureClass::Network,
    FailureClass::Image,
    FailureClass::Addon,
    FailureClass::Interrupted,
];
/// Each wait is so many times the one before.
const GROWTH: u32 = 4;

/// When a failed run is tried again without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts of one task, at most; 1 means never again.
    pub attempts: u32,
    /// Wait before the second attempt.
    pub delay: Duration,
    /// Longest wait.
    pub delay_max: Duration,
}

impl RetryPolicy {
    /// Whatever failed stays failed until someone asks again.
    pub const NEVER: Self = Self { attempts: 1, delay: Duration::ZERO, delay_max: Duration::ZERO };

    /// How long to wait before the same is tried again; none when it is not.
    #[must_use]
    pub fn wait(self, view: &RunView, failure: &Failure) -> Option<Duration> {
        let asked_to_stop = view.operation == OperationState::Cancelling;
        let uncertain = failure.class == FailureClass::Interrupted && view.taken_over;
        let passes = failure.retryable && TRANSIENT.contains(&failure.class) && !uncertain;
        (passes && !asked_to_stop && view.attempts < self.attempts).then(|| self.delay_after(view.attempts))
    }

    fn delay_after(self, attempts: u32) -> Duration {
        let factor = GROWTH.saturating_pow(attempts.saturating_sub(1));
        self.delay.saturating_mul(factor).min(self.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let policy = RetryPolicy { attempts: 9, delay: Duration::from_secs(30), delay_max: Duration::from_secs(600) };
        let waits: Vec<u64> = (1..6).map(|n| policy.delay_after(n).as_secs()).collect();
        assert_eq!(waits, [30, 120, 480, 600, 600]);
        assert_eq!(policy.delay_after(u32::MAX).as_secs(), 600);
    }
}
