//! Waiting longer after each failure, with full jitter, so that many agents do not come back at once.
//!
//! The one module that knows the `backoff` crate (unmaintained, named by the design card; see
//! `deny.toml`). `backon` would be exchanged for it here.

use std::time::Duration;

use backoff::backoff::Backoff as _;

/// Longest wait between two tries to connect.
pub const CAP: Duration = Duration::from_secs(30);

/// Delays that grow up to a cap and never give up.
#[derive(Debug)]
pub struct Backoff {
    inner: backoff::ExponentialBackoff,
}

impl Backoff {
    /// Delays from `first` (on average) up to `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        let inner = backoff::ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            // Full jitter is added in `next`: the crate's own factor spreads around the middle only.
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: cap,
            max_elapsed_time: None,
            ..backoff::ExponentialBackoff::default()
        };
        Self { inner }
    }

    /// The next delay: between nothing and the current bound, by `chance` in 0..1.
    pub fn next(&mut self, chance: f64) -> Duration {
        let bound = self.inner.next_backoff().unwrap_or(CAP);
        bound.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(500), CAP);
        let delays: Vec<_> = (0..9).map(|_| backoff.next(1.0)).collect();
        assert_eq!(delays[..3], [500, 1000, 2000].map(Duration::from_millis));
        assert_eq!(delays[8], CAP);
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(250));
        assert_eq!(backoff.next(0.0), Duration::ZERO, "full jitter reaches down to nothing");
    }

    /// A number in 0..1 from a seed: the same each time.
    fn chance(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(*seed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }

    /// When somebody who tries from zero on, with growing delays, tries for the first time after `back`.
    fn returns(seed: u64, back: Duration) -> Duration {
        let (mut backoff, mut seed, mut now) = (Backoff::new(Duration::from_millis(500), CAP), seed, Duration::ZERO);
        while now < back {
            now += backoff.next(chance(&mut seed));
        }
        now - back
    }

    #[test]
    fn hostile_row_49_a_thousand_agents_come_back_spread_however_long_they_waited() {
        const AGENTS: u64 = 1_000;
        // At the cap delays have no memory: after an hour it is as after 48.
        for outage in [Duration::from_secs(60), Duration::from_secs(3600)] {
            let mut in_second = [0_u32; 31];
            for agent in 0..AGENTS {
                let after = returns(agent.wrapping_mul(0x9e37_79b9_7f4a_7c15), outage);
                in_second[usize::try_from(after.as_secs()).unwrap()] += 1;
            }
            // Evenly would be 33 a second; those whose delays are short come first, 67 on average.
            assert!(in_second.iter().all(|arrivals| *arrivals <= 120), "after {outage:?}: {in_second:?}");
        }
    }
}
