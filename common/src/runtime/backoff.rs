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
}
