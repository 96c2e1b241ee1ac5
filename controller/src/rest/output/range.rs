//! `Range: bytes=…`, one range of it (RFC 9110, 14). Pure.

use http::HeaderValue;

/// What a request selects of so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selected {
    /// Everything: no range, or one that is ignored (another unit, several ranges, not a range).
    All,
    /// Bytes `first..end`.
    Part {
        /// The first.
        first: u64,
        /// The one after the last.
        end: u64,
    },
    /// A range that begins where nothing is.
    Nothing,
}

/// What a `Range` header selects of `size` bytes.
pub(super) fn select(header: Option<&HeaderValue>, size: u64) -> Selected {
    let text = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(range) = text.trim().strip_prefix("bytes=").filter(|range| !range.contains(',')) else {
        return Selected::All;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Selected::All };
    match (first, last) {
        ("", suffix) => match number(suffix) {
            None => Selected::All,
            Some(0) => Selected::Nothing,
            Some(_) if size == 0 => Selected::Nothing,
            Some(bytes) => Selected::Part { first: size.saturating_sub(bytes), end: size },
        },
        (first, last) => match (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first > last => Selected::All,
            (Some(first), Some(_)) if first >= size => Selected::Nothing,
            (Some(first), Some(last)) => Selected::Part { first, end: last.saturating_add(1).min(size) },
            _ => Selected::All,
        },
    }
}

/// Digits only; what does not fit is beyond every size.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str, size: u64) -> Selected {
        select(Some(&HeaderValue::from_str(text).unwrap()), size)
    }

    #[test]
    fn ranges_select_as_rfc_9110_says() {
        let part = |first, end| Selected::Part { first, end };
        assert_eq!(select(None, 10), Selected::All);
        for (text, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-5", part(2, 6)),
            ("bytes=2-", part(2, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-99", part(0, 10)),
            ("bytes=5-99", part(5, 10)),
            ("bytes=9-99999999999999999999999", part(9, 10)),
            ("bytes=10-", Selected::Nothing),
            ("bytes=99999999999999999999999-", Selected::Nothing),
            ("bytes=-0", Selected::Nothing),
            ("bytes=5-2", Selected::All),
            ("bytes=0-1,4-5", Selected::All),
            ("bytes=a-b", Selected::All),
            ("bytes=", Selected::All),
            ("bytes=-", Selected::All),
            ("bytes=+1-2", Selected::All),
            ("lines=1-2", Selected::All),
        ] {
            assert_eq!(of(text, 10), expected, "{text}");
        }
        for text in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
            assert_eq!(of(text, 0), Selected::Nothing, "{text} of nothing");
        }
    }

    proptest! {
        #[test]
        fn hostile_row_12_no_range_leaves_the_output(text in "bytes=[0-9]{0,25}-[0-9]{0,25}", size in any::<u64>()) {
            if let Selected::Part { first, end } = of(&text, size) {
                prop_assert!(first < end && end <= size);
            }
        }
    }
}
