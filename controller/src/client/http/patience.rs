//! Whether to try again, and after which time.

use std::time::Duration;

use cratekube_common::runtime::backoff::Backoff;
use cratekube_common::runtime::mint::Mint;
use http::StatusCode;
use tokio::time::Instant;

use super::dial::DialFault;
use super::exchange::{Miss, Repeat};

/// First delay, on average; what restarts is often back within a second.
const FIRST: Duration = Duration::from_millis(300);
/// Longest delay: somebody waits for it.
const LONGEST: Duration = Duration::from_secs(10);

/// Whether a request that got this may be sent again.
pub(in crate::client) fn may_repeat(repeat: Repeat, miss: &Miss) -> bool {
    match miss {
        Miss::Unsent(DialFault::Unreachable(_)) => true,
        Miss::Unsent(DialFault::Untrusted(_)) => false,
        Miss::Lost(_) => repeat == Repeat::Harmless,
        Miss::Refused { problem, .. } => match problem.status {
            // Refused at the door: nothing was done.
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                repeat == Repeat::Harmless
            }
            _ => false,
        },
    }
}

/// Delays that grow, until a time is over.
#[derive(Debug)]
pub(in crate::client) struct Patience {
    lasts: Duration,
    until: Instant,
    backoff: Backoff,
    mint: Mint,
}

impl Patience {
    /// Patience that lasts so long from now on.
    pub(in crate::client) fn lasting(lasts: Duration, mint: &Mint) -> Self {
        let backoff = Backoff::new(FIRST, LONGEST);
        Self { lasts, until: Instant::now() + lasts, backoff, mint: mint.clone() }
    }

    /// Something went well: it begins anew.
    pub(in crate::client) fn renew(&mut self) {
        self.until = Instant::now() + self.lasts;
        self.backoff.reset();
    }

    /// How long to wait before the next try, at least `after`; none when it would be too late then.
    pub(in crate::client) fn next(&mut self, after: Option<Duration>) -> Option<Duration> {
        let delay = self.backoff.next(self.mint.chance()).max(after.unwrap_or_default());
        (Instant::now() + delay < self.until).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::problem::Problem;
    use cratekube_common::runtime::clock;

    #[test]
    fn what_may_have_been_done_is_repeated_only_where_that_is_harmless() {
        let unsent = Miss::Unsent(DialFault::Unreachable("refused".into()));
        let untrusted = Miss::Unsent(DialFault::Untrusted("other".into()));
        let lost = Miss::Lost("reset".into());
        let refused = |status: u16| Miss::Refused {
            problem: Box::new(Problem::read(StatusCode::from_u16(status).unwrap(), b"")),
            after: None,
        };
        let both = |miss: &Miss| [Repeat::Harmless, Repeat::Undone].map(|repeat| may_repeat(repeat, miss));
        assert_eq!(both(&unsent), [true, true]);
        assert_eq!(both(&untrusted), [false, false]);
        assert_eq!(both(&lost), [true, false]);
        assert_eq!(both(&refused(429)), [true, true]);
        assert_eq!(both(&refused(503)), [true, false]);
        for status in [400, 401, 403, 404, 409, 422, 500] {
            assert_eq!(both(&refused(status)), [false, false], "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_begins_anew() {
        let mut patience = Patience::lasting(Duration::from_secs(5), &Mint::system(clock::system()));
        assert_eq!(patience.next(Some(Duration::from_secs(2))), Some(Duration::from_secs(2)), "the controller knows");
        assert_eq!(patience.next(Some(Duration::from_secs(5))), None);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(patience.next(None), None);
        patience.renew();
        assert!(patience.next(None).is_some());
    }
}
