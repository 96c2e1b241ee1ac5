//! How far two clocks may be apart before somebody is told.

use std::time::Duration;

use cratekube_common::domain::time::Timestamp;

/// Certificates and logs stop making sense around here; leases do not depend on it.
const TOLERATED: Duration = Duration::from_secs(300);

/// Our clock minus theirs in milliseconds, when that is more than is tolerated.
pub(crate) fn worth_a_warning(ours: Timestamp, theirs: Timestamp) -> Option<i64> {
    let apart = ours.since(theirs).max(theirs.since(ours));
    (apart > TOLERATED).then(|| ours.as_millis().saturating_sub(theirs.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_row_37_five_minutes_either_way_are_tolerated() {
        let now = Timestamp::from_millis(1_795_000_000_000);
        let off = |ms: i64| Timestamp::from_millis(now.as_millis() + ms);
        assert_eq!(worth_a_warning(now, off(300_000)), None);
        assert_eq!(worth_a_warning(now, off(-300_000)), None);
        assert_eq!(worth_a_warning(now, off(300_001)), Some(-300_001));
        assert_eq!(worth_a_warning(now, off(-600_000)), Some(600_000));
    }
}
