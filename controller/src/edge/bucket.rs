//! Token buckets against guessing: so many attempts a second from one address, and so many from all.
//!
//! A bucket is one number, the time at which it is full again, so an address costs a few bytes and
//! one whose bucket is full costs nothing. An attempt that is refused takes nothing from anyone: who
//! floods from one address does not use up what all share. Time comes in; nothing here waits.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cratekube_common::runtime::clock::Clock;

/// Addresses remembered before those with full buckets are forgotten.
const SWEEP_AT: usize = 1_024;

/// How fast something may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// One attempt comes back after this time.
    pub every: Duration,
    /// So many may come at once.
    pub burst: u32,
}

impl Rate {
    /// The time at which a bucket is full again after one more attempt, or how long to wait for it.
    pub(crate) fn take(self, full_at: Duration, now: Duration) -> Result<Duration, Duration> {
        let full_at = full_at.max(now);
        let room = self.every.saturating_mul(self.burst.saturating_sub(1));
        match (full_at - now).checked_sub(room) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(full_at.saturating_add(self.every)),
        }
    }
}

/// The buckets of one door.
#[derive(Debug)]
pub struct Buckets {
    clock: Clock,
    each: Rate,
    all: Rate,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: Duration,
    by_address: HashMap<IpAddr, Duration>,
    sweep_at: usize,
}

impl Buckets {
    /// Full buckets: `each` for every address, `all` for all of them together.
    #[must_use]
    pub fn new(each: Rate, all: Rate, clock: Clock) -> Self {
        Self { clock, each, all, state: Mutex::new(State { sweep_at: SWEEP_AT, ..State::default() }) }
    }

    /// Takes one attempt.
    ///
    /// # Errors
    /// How long to wait when there is none left.
    pub fn take(&self, address: IpAddr) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let address = network(address);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.each.take(state.by_address.get(&address).copied().unwrap_or_default(), now)?;
        state.all = self.all.take(state.all, now)?;
        if state.by_address.len() >= state.sweep_at {
            state.by_address.retain(|_, full_at| *full_at > now);
            state.sweep_at = SWEEP_AT.max(2 * state.by_address.len());
        }
        state.by_address.insert(address, own);
        Ok(())
    }
}

/// Whoever has one address of an IPv6 network has all of its /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::time::Timestamp;
    use cratekube_common::runtime::clock::ManualClock;
    use std::sync::Arc;

    const SECOND: Duration = Duration::from_secs(1);

    fn buckets(burst: u32, all: u32) -> (Buckets, Arc<ManualClock>) {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let (each, all) = (Rate { every: SECOND, burst }, Rate { every: SECOND / 10, burst: all });
        (Buckets::new(each, all, clock.clone()), clock)
    }

    fn host(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn hostile_row_25_a_burst_passes_then_one_a_second_and_the_wait_is_told() {
        let (buckets, clock) = buckets(3, 1_000);
        assert_eq!([(); 4].map(|()| buckets.take(host(1))), [Ok(()), Ok(()), Ok(()), Err(SECOND)]);
        assert!(buckets.take(host(2)).is_ok(), "others are not touched");
        clock.advance(SECOND / 4);
        assert_eq!(buckets.take(host(1)), Err(SECOND * 3 / 4));
        clock.advance(SECOND * 3 / 4);
        assert_eq!([(); 2].map(|()| buckets.take(host(1))), [Ok(()), Err(SECOND)]);
        clock.advance(60 * SECOND);
        assert_eq!(
            (0..9).filter(|_| buckets.take(host(1)).is_ok()).count(),
            3,
            "rest is not saved up beyond the burst"
        );
    }

    #[test]
    fn hostile_row_25_many_addresses_meet_the_cap_of_all_and_a_refusal_costs_nobody_anything() {
        let (buckets, clock) = buckets(1, 5);
        assert_eq!((0..200).filter(|n| buckets.take(host(*n)).is_ok()).count(), 5);
        clock.advance(SECOND / 10);
        assert_eq!(buckets.take(host(0)), Err(SECOND * 9 / 10), "its own bucket is empty");
        assert!(buckets.take(host(250)).is_ok(), "and what all share was not used up by that");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_address_is_the_one_it_maps() {
        let (buckets, _clock) = buckets(1, 1_000);
        let take = |text: &str| buckets.take(text.parse().unwrap()).is_ok();
        assert!(take("2001:db8::1") && !take("2001:db8::ffff:2") && take("2001:db8:0:1::1"));
        assert!(take("192.0.2.1") && !take("::ffff:192.0.2.1"));
    }

    #[test]
    fn addresses_whose_bucket_is_full_are_forgotten() {
        let (buckets, clock) = buckets(1, u32::MAX);
        for n in 0..10_000u32 {
            buckets.take(IpAddr::from(n.to_be_bytes())).unwrap();
            clock.advance(SECOND / 100);
        }
        let kept = buckets.state.lock().unwrap().by_address.len();
        assert!(kept <= SWEEP_AT, "{kept}");
    }
}
