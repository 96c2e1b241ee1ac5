//! Attempts, leases and fences.
//!
//! Lease expiry is *not* failure: an attempt whose lease ran out is `unknown`, and its cluster stays
//! locked until its end is known.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{IllegalTransition, spelled};

/// A number that only grows, per cluster. Anything that carries an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl Fence {
    /// The next higher fence.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

spelled! {
    /// Where an attempt is.
    pub enum AttemptState {
        /// Granted to an agent; `rke` has not started as far as we know.
        Leased = "leased",
        /// The agent has recorded the run.
        Started = "started",
        /// The lease ran out; what became of the run is not known. The cluster stays locked.
        Unknown = "unknown",
        /// The run ended and its report was accepted.
        Exited = "exited",
        /// The run was ended on request.
        Cancelled = "cancelled",
        /// Never started; the lease was given back.
        Released = "released",
        /// Superseded: another agent serves the volume with a higher fence, or an admin forced it.
        Fenced = "fenced",
    }
}

/// States in which an attempt locks its cluster. The store's partial unique index names the same.
pub const LOCKING: &[AttemptState] = &[AttemptState::Leased, AttemptState::Started, AttemptState::Unknown];

impl AttemptState {
    /// True when no other attempt may run on the cluster.
    #[must_use]
    pub fn locks(self) -> bool {
        LOCKING.contains(&self)
    }
}

/// What can happen to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEvent {
    /// The agent says the run is recorded and started (or goes on, after a break).
    Started,
    /// The lease ran out.
    LeaseExpired,
    /// The report was accepted.
    Exited,
    /// The report says it was ended on request.
    Cancelled,
    /// The agent says it never started.
    Released,
    /// Proof that the run cannot act any more, or an admin's word.
    Fenced,
}

/// The one transition function of attempts.
///
/// # Errors
/// [`IllegalTransition`] for every other step.
pub fn transition(state: AttemptState, event: AttemptEvent) -> Result<AttemptState, IllegalTransition> {
    use AttemptEvent as E;
    use AttemptState as S;
    match (state, event) {
        (S::Leased | S::Started | S::Unknown, E::Started) => Ok(S::Started),
        (S::Leased | S::Started | S::Unknown, E::LeaseExpired) => Ok(S::Unknown),
        (S::Leased | S::Started | S::Unknown, E::Exited) => Ok(S::Exited),
        (S::Leased | S::Started | S::Unknown, E::Cancelled) => Ok(S::Cancelled),
        (S::Leased | S::Unknown, E::Released) => Ok(S::Released),
        (S::Leased | S::Started | S::Unknown, E::Fenced) => Ok(S::Fenced),
        _ => Err(IllegalTransition::new("attempt", state, event)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_lease_keeps_the_cluster_locked_until_the_end_is_known() {
        let unknown = transition(AttemptState::Started, AttemptEvent::LeaseExpired).unwrap();
        assert!(unknown.locks());
        for end in [AttemptEvent::Exited, AttemptEvent::Cancelled, AttemptEvent::Fenced] {
            let ended = transition(unknown, end).unwrap();
            assert!(!ended.locks());
            assert!(transition(ended, AttemptEvent::Exited).is_err(), "an end is final");
        }
    }

    #[test]
    fn a_started_attempt_is_never_released() {
        assert!(transition(AttemptState::Started, AttemptEvent::Released).is_err());
    }
}
