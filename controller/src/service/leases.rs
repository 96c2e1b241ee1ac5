//! Who is late: leases by a monotonic clock, in memory.
//!
//! A lease is renewed by the heartbeats of the session that holds it. One that runs out is not a
//! failure: the store is told that the attempt's fate is unknown, and its cluster stays locked.
//! After a start of the controller every attempt on record has a full lease before it: no agent is
//! judged before the controller itself has been up for as long. Wall clocks play no part.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cratekube_common::domain::id::{AgentId, AttemptId};
use cratekube_common::runtime::clock::Clock;

/// The leases of this controller.
#[derive(Debug)]
pub struct Leases {
    ttl: Duration,
    clock: Clock,
    held: Mutex<BTreeMap<AttemptId, Lease>>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    agent: AgentId,
    deadline: Duration,
}

impl Leases {
    /// No leases yet.
    #[must_use]
    pub fn new(ttl: Duration, clock: Clock) -> Self {
        Self { ttl, clock, held: Mutex::default() }
    }

    /// How long a lease lasts without renewal.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Begins or renews a lease.
    pub fn hold(&self, agent: AgentId, attempt: AttemptId) {
        let deadline = self.clock.monotonic() + self.ttl;
        self.lock().insert(attempt, Lease { agent, deadline });
    }

    /// Renews those of an agent's leases that have not run out; names the attempts that have none.
    #[must_use]
    pub fn renew(&self, agent: AgentId, attempts: &[AttemptId]) -> Vec<AttemptId> {
        let deadline = self.clock.monotonic() + self.ttl;
        let mut held = self.lock();
        let without = |attempt: &&AttemptId| match held.get_mut(*attempt).filter(|lease| lease.agent == agent) {
            Some(lease) => {
                lease.deadline = deadline;
                false
            }
            None => true,
        };
        attempts.iter().filter(without).copied().collect()
    }

    /// Ends a lease because its attempt ended.
    pub fn release(&self, attempt: AttemptId) {
        self.lock().remove(&attempt);
    }

    /// Takes out the leases that have run out, with the agents that had them.
    #[must_use]
    pub fn take_expired(&self) -> Vec<(AttemptId, AgentId)> {
        let now = self.clock.monotonic();
        let mut expired = Vec::new();
        self.lock().retain(|attempt, lease| {
            let live = lease.deadline > now;
            if !live {
                expired.push((*attempt, lease.agent));
            }
            live
        });
        expired
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AttemptId, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::time::Timestamp;
    use cratekube_common::runtime::clock::ManualClock;
    use uuid::Uuid;

    #[test]
    fn hostile_row_48_a_lease_ends_by_time_passed_and_not_by_the_wall_clock() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let leases = Leases::new(Duration::from_secs(60), clock.clone());
        let (agent, attempt) = (AgentId(Uuid::from_u128(1)), AttemptId(Uuid::from_u128(2)));
        leases.hold(agent, attempt);
        clock.jump(3_600_000);
        clock.advance(Duration::from_secs(59));
        assert!(leases.take_expired().is_empty());
        assert!(leases.renew(agent, &[attempt]).is_empty());
        clock.jump(-7_200_000);
        clock.advance(Duration::from_secs(59));
        assert!(leases.take_expired().is_empty(), "renewed");
        clock.advance(Duration::from_secs(1));
        assert_eq!(leases.take_expired(), [(attempt, agent)]);
        assert_eq!(leases.renew(agent, &[attempt]), [attempt], "a lease that ran out is not renewed");
    }

    #[test]
    fn only_the_holder_renews() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let leases = Leases::new(Duration::from_secs(60), clock);
        let attempt = AttemptId(Uuid::from_u128(2));
        leases.hold(AgentId(Uuid::from_u128(1)), attempt);
        assert_eq!(leases.renew(AgentId(Uuid::from_u128(9)), &[attempt]), [attempt]);
    }
}
