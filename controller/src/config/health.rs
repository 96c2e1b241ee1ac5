//! `[health]`: how long what a check of a cluster found is gone by.

use std::time::Duration;

use cratekube_common::intake::Field;

/// A day: clusters are checked after every change, and by whoever asks.
const DEFAULT_STALE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The `[health]` section.
#[derive(Debug, Clone)]
pub struct Health {
    /// `stale_after`: what was found longer ago is shown as stale.
    pub stale_after: Duration,
}

impl Health {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let Some(mut o) = at.object() else { return Self { stale_after: DEFAULT_STALE_AFTER } };
        let (least, most) = (Duration::from_secs(60), Duration::from_secs(365 * 24 * 3600));
        let stale_after = super::duration(&o.field("stale_after"), DEFAULT_STALE_AFTER, least, most);
        o.finish();
        Self { stale_after }
    }
}
