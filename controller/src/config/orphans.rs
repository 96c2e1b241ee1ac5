//! `[orphans]`: how often agents look for objects in the cloud whose clusters are gone.

use std::time::Duration;

use cratekube_common::intake::Field;

/// A day: what is forgotten costs by the month.
const DEFAULT_SCAN_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The `[orphans]` section.
#[derive(Debug, Clone, Copy)]
pub struct Orphans {
    /// `scan_interval`: from one scan to the next; none when it is `0s`, then nobody looks without being asked.
    pub scan_interval: Option<Duration>,
}

impl Orphans {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let Some(mut o) = at.object() else { return Self { scan_interval: Some(DEFAULT_SCAN_INTERVAL) } };
        let field = o.field("scan_interval");
        let most = Duration::from_secs(366 * 24 * 3600);
        let interval = super::duration(&field, DEFAULT_SCAN_INTERVAL, Duration::ZERO, most);
        o.finish();
        Self { scan_interval: Some(interval).filter(|interval| !interval.is_zero()) }
    }
}
