//! `[operations]`: what goes along with `rke`, and how often what failed in passing is tried again.

use std::time::Duration;

use cratekube_common::domain::task::TaskKind;
use cratekube_common::intake::Field;

use crate::plan::chain::{Chain, OPTIONAL};
use crate::plan::retry::RetryPolicy;

/// Two more attempts: what passes by itself passes within them, what does not should be seen soon.
const DEFAULT_ATTEMPTS: u64 = 3;
const MAX_ATTEMPTS: u64 = 20;
/// Time for a host to boot or a network to come back.
const DEFAULT_DELAY: Duration = Duration::from_secs(30);
const DEFAULT_DELAY_MAX: Duration = Duration::from_secs(600);

/// What shows up late in the cloud does so within minutes.
const DEFAULT_CONFIRM_PAUSE: Duration = Duration::from_secs(5 * 60);
/// A step that says nothing for much longer counts as hanging.
const MOST_CONFIRM_PAUSE: Duration = Duration::from_secs(12 * 60);
/// A month: long enough for somebody to miss a cluster.
const DEFAULT_UNDELETE_WINDOW: Duration = Duration::from_secs(30 * DAY);
const DAY: u64 = 24 * 3600;

/// What holds for every removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removals {
    /// Pause before the cloud is looked at again.
    pub confirm_pause: Duration,
    /// Days for which the last state of a removed cluster is kept.
    pub undelete_days: u32,
}

impl Default for Removals {
    fn default() -> Self {
        Self { confirm_pause: DEFAULT_CONFIRM_PAUSE, undelete_days: days(DEFAULT_UNDELETE_WINDOW) }
    }
}

/// Whole days, rounded up: nothing is thrown away early.
fn days(window: Duration) -> u32 {
    u32::try_from(window.as_secs().div_ceil(DAY)).unwrap_or(u32::MAX)
}

/// The `[operations]` section.
#[derive(Debug, Clone)]
pub struct Operations {
    /// `attempts`, `retry_delay` and `retry_delay_max`.
    pub retry_policy: RetryPolicy,
    /// `steps`: all of them, unless some are left out.
    pub chain: Chain,
    /// `confirm_pause` and `undelete_window`.
    pub removals: Removals,
}

impl Operations {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let attempts = u32::try_from(DEFAULT_ATTEMPTS).unwrap_or(1);
        let default = RetryPolicy { attempts, delay: DEFAULT_DELAY, delay_max: DEFAULT_DELAY_MAX };
        let Some(mut o) = at.object() else {
            return Self { retry_policy: default, chain: Chain::default(), removals: Removals::default() };
        };
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
        let pause = o.field("confirm_pause");
        let confirm_pause = super::duration(&pause, DEFAULT_CONFIRM_PAUSE, Duration::ZERO, MOST_CONFIRM_PAUSE);
        let window = o.field("undelete_window");
        let (none, year) = (Duration::ZERO, Duration::from_secs(366 * DAY));
        let undelete_days = days(super::duration(&window, DEFAULT_UNDELETE_WINDOW, none, year));
        o.finish();
        let removals = Removals { confirm_pause, undelete_days };
        let retry_policy = RetryPolicy { attempts: attempts.unwrap_or(default.attempts), delay, delay_max };
        Self { retry_policy, chain, removals }
    }
}

/// The steps that are listed.
fn chain(steps: &Field<'_>) -> Chain {
    let read = |item: &Field<'_>| {
        let kind = item.parse()?;
        if !OPTIONAL.contains(&kind) {
            let known = OPTIONAL.map(TaskKind::as_str).join(", ");
            item.error(format!("is no step that can be left out; these are {known}"));
        }
        Some(kind)
    };
    Chain::with(steps.items().unwrap_or_default().iter().filter_map(read).collect())
}
