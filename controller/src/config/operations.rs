//! `[operations]`: what goes along with `rke`, and how often what failed in passing is tried again.

use std::time::Duration;

use cratekube_common::intake::Field;

use crate::plan::chain::{Chain, OPTIONAL};
use crate::plan::retry::RetryPolicy;

/// Two more attempts: what passes by itself passes within them, what does not should be seen soon.
const DEFAULT_ATTEMPTS: u64 = 3;
const MAX_ATTEMPTS: u64 = 20;
/// Time for a host to boot or a network to come back.
const DEFAULT_DELAY: Duration = Duration::from_secs(30);
const DEFAULT_DELAY_MAX: Duration = Duration::from_secs(600);

/// The `[operations]` section.
#[derive(Debug, Clone)]
pub struct Operations {
    /// `attempts`, `retry_delay` and `retry_delay_max`.
    pub retry_policy: RetryPolicy,
    /// `steps`: all of them, unless some are left out.
    pub chain: Chain,
}

impl Operations {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let attempts = u32::try_from(DEFAULT_ATTEMPTS).unwrap_or(1);
        let default = RetryPolicy { attempts, delay: DEFAULT_DELAY, delay_max: DEFAULT_DELAY_MAX };
        let Some(mut o) = at.object() else { return Self { retry_policy: default, chain: Chain::default() } };
        let attempts = o.field("attempts").integer(1..=MAX_ATTEMPTS).and_then(|n| u32::try_from(n).ok());
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(24 * 3600));
        let delay = super::duration(&o.field("retry_delay"), DEFAULT_DELAY, least, most);
        let longest = o.field("retry_delay_max");
        let delay_max = super::duration(&longest, DEFAULT_DELAY_MAX.max(delay), least, most);
        if delay_max < delay {
            longest.error("must not be shorter than retry_delay");
        }
        let steps = o.field("steps");
        let chain = if steps.is_present() { chain(&steps) } else { Chain::default() };
        o.finish();
        let retry_policy = RetryPolicy { attempts: attempts.unwrap_or(default.attempts), delay, delay_max };
        Self { retry_policy, chain }
    }
}

/// The steps that are listed.
fn chain(steps: &Field<'_>) -> Chain {
    let read = |item: &Field<'_>| {
        let kind = item.parse()?;
        if !OPTIONAL.contains(&kind) {
            item.error("is no step that can be left out; these are preflight, configure and verify");
        }
        Some(kind)
    };
    Chain::with(steps.items().unwrap_or_default().iter().filter_map(read).collect())
}
