//! The only place of the rehearsal that looks at a clock or waits.
//!
//! The rehearsal stands in for a foreign program: nobody hands it a clock, and the whole point of
//! its waits is that they take real time in a real process. Everything else asks here, so that a
//! scale of nought really means that nothing waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds of `CLOCK_REALTIME` since 1970.
#[allow(clippy::disallowed_methods, reason = "a stand-in for an external program has no one to give it a clock")]
#[must_use]
pub fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// Blocks this process for `how_long` of real time.
#[allow(clippy::disallowed_methods, reason = "the recorded silences of rke are replayed by a process of its own")]
pub(crate) fn pause(how_long: Duration) {
    if !how_long.is_zero() {
        std::thread::sleep(how_long);
    }
}

/// Blocks until somebody kills the process.
pub(crate) fn pause_forever() -> ! {
    loop {
        pause(Duration::from_secs(3600));
    }
}

/// A moment as rke prints it: `2026-11-23T17:17:07Z`.
#[must_use]
pub fn rfc3339(ns: u128) -> String {
    let seconds = u64::try_from(ns / 1_000_000_000).unwrap_or(0);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The calendar day that is `days` after 1970-01-01.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_rke_prints_it() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_454_227_000_000_000), "2026-11-23T17:17:07Z");
        assert_eq!(rfc3339(951_827_696_000_000_000), "2000-02-29T12:34:56Z");
    }
}
