//! Who is late: leases by a monotonic clock, in memory.
//!
//! A lease is renewed by the heartbeats of the session that holds it. One that runs out is not a
//! failure: the store is told that the attempt's fate is unknown, and its cluster stays locked.
//! After a start of the controller every attempt on record has a full lease before it: no agent is
//! judged before the controller itself has been up for as long. So it is after the controller stood
//! still (stopped, swapped out, its machine paused): it does not know who was late meanwhile. Wall
//! clocks play no part.

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
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    leases: BTreeMap<AttemptId, Lease>,
    /// When it was last looked who is late.
    looked_at: Option<Duration>,
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

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().leases.len()
    }

    /// Begins or renews a lease.
    pub fn hold(&self, agent: AgentId, attempt: AttemptId) {
        let deadline = self.clock.monotonic() + self.ttl;
        self.lock().leases.insert(attempt, Lease { agent, deadline });
    }

    /// Renews those of an agent's leases that have not run out; names the attempts that have none.
    #[must_use]
    pub fn renew(&self, agent: AgentId, attempts: &[AttemptId]) -> Vec<AttemptId> {
        let deadline = self.clock.monotonic() + self.ttl;
        let mut held = self.lock();
        let without = |attempt: &&AttemptId| match held.leases.get_mut(*attempt).filter(|lease| lease.agent == agent) {
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
        self.lock().leases.remove(&attempt);
    }

    /// Takes out the leases that have run out, with the agents that had them. To be called at least twice
    /// within the length of a lease; when it was not, this controller stood still, and every lease
    /// begins anew.
    #[must_use]
    pub fn take_expired(&self) -> Vec<(AttemptId, AgentId)> {
        let now = self.clock.monotonic();
        let mut held = self.lock();
        let away = held.looked_at.replace(now).map_or(Duration::ZERO, |before| now.saturating_sub(before));
        if away > self.ttl / 2 {
            tracing::warn!(away_ms = away.as_millis(), "this controller stood still; every lease begins anew");
            let deadline = now + self.ttl;
            held.leases.values_mut().for_each(|lease| lease.deadline = deadline);
        }
        let mut expired = Vec::new();
        held.leases.retain(|attempt, lease| {
            let live = lease.deadline > now;
            if !live {
                expired.push((*attempt, lease.agent));
            }
            live
        });
        expired
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::time::Timestamp;
    use cratekube_common::runtime::clock::ManualClock;
    use uuid::Uuid;

    /// Lets seconds pass, and looks each of them who is late.
    fn passes(clock: &ManualClock, leases: &Leases, seconds: u64) -> Vec<(AttemptId, AgentId)> {
        let each = (0..seconds).flat_map(|_| {
            clock.advance(Duration::from_secs(1));
            leases.take_expired()
        });
        each.collect()
    }

    #[test]
    fn hostile_row_47_a_controller_that_stood_still_judges_nobody_before_a_whole_lease_has_passed() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let leases = Leases::new(Duration::from_secs(60), clock.clone());
        let (agent, attempt) = (AgentId(Uuid::from_u128(1)), AttemptId(Uuid::from_u128(2)));
        leases.hold(agent, attempt);
        assert!(passes(&clock, &leases, 10).is_empty());
        clock.advance(Duration::from_secs(600));
        assert!(leases.take_expired().is_empty(), "who stood still is no judge");
        assert!(passes(&clock, &leases, 59).is_empty());
        assert_eq!(passes(&clock, &leases, 1), [(attempt, agent)], "and who does not come then is late");
    }

    #[test]
    fn hostile_row_48_a_lease_ends_by_time_passed_and_not_by_the_wall_clock() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let leases = Leases::new(Duration::from_secs(60), clock.clone());
        let (agent, attempt) = (AgentId(Uuid::from_u128(1)), AttemptId(Uuid::from_u128(2)));
        leases.hold(agent, attempt);
        clock.jump(3_600_000);
        assert!(passes(&clock, &leases, 59).is_empty());
        assert!(leases.renew(agent, &[attempt]).is_empty());
        clock.jump(-7_200_000);
        assert!(passes(&clock, &leases, 59).is_empty(), "renewed");
        assert_eq!(passes(&clock, &leases, 1), [(attempt, agent)]);
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
