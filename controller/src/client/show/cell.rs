//! What stands in one place of a table: a text, and how it feels.

use std::time::Duration;

use cratekube_common::domain::time::Timestamp;
use cratekube_common::visible::visible;
use serde_json::Value;

/// What stands where there is nothing.
const NOTHING: &str = "-";

/// How a text feels; shown as a colour where colours are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
}

/// A text with its tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Cell {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// A state, with the tone that the word has everywhere.
    pub(super) fn state(text: String) -> Self {
        let tone = match text.as_str() {
            "ready" | "succeeded" | "active" | "allowed" | "good" | "online" | "ok" | "healthy" | "applied" => {
                Tone::Good
            }
            "failed" | "degraded" | "revoked" | "banned" | "refused" | "broken" | "offline" | "critical" | "open"
            | "unhealthy" => Tone::Bad,
            "pending" | "provisioning" | "updating" | "removing" | "queued" | "running" | "cancelling" | "cordoned"
            | "draining" | "warning" | "withdrawn" => Tone::Busy,
            _ => Tone::Plain,
        };
        Self { text, tone }
    }

    /// The text, in the colour of its tone where that is wanted.
    pub(super) fn painted(&self, colour: bool) -> String {
        let code = match self.tone {
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31",
            Tone::Plain => return self.text.clone(),
        };
        if colour { format!("\u{1b}[{code}m{}\u{1b}[0m", self.text) } else { self.text.clone() }
    }
}

/// What is at a JSON pointer, as a text on one line.
pub(super) fn text(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        None | Some(Value::Null) => NOTHING.to_owned(),
        Some(Value::String(text)) if text.is_empty() => NOTHING.to_owned(),
        Some(Value::String(text)) => visible(text).replace('\n', " "),
        Some(Value::Array(items)) if items.is_empty() => NOTHING.to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| text(item, "")).collect::<Vec<_>>().join(", "),
        Some(other) => visible(&other.to_string()).into_owned(),
    }
}

/// What is at a JSON pointer, when there is something.
pub(super) fn some(document: &Value, pointer: &str) -> Option<String> {
    Some(text(document, pointer)).filter(|text| text != NOTHING)
}

/// How long ago the time at a JSON pointer is.
pub(super) fn age(document: &Value, pointer: &str, now: Timestamp) -> String {
    let at = document.pointer(pointer).and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    at.map_or_else(|| NOTHING.to_owned(), |at| span(now.since(at)))
}

/// A duration, roughly.
pub(super) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// Bytes, roughly.
pub(super) fn size(document: &Value, pointer: &str) -> String {
    let Some(bytes) = document.pointer(pointer).and_then(Value::as_u64) else { return NOTHING.to_owned() };
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let unit = units.iter().enumerate().rev().find(|(i, _)| bytes >= 1 << (10 * (i + 1)));
    match unit {
        None => format!("{bytes} B"),
        Some((i, unit)) => {
            let tenths = u128::from(bytes) * 10 / (1u128 << (10 * (i + 1)));
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_and_sizes_are_told_roughly() {
        let spans = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(|s| span(Duration::from_secs(s)));
        assert_eq!(spans, ["0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
        let sizes = [0, 1_023, 1_024, 1_536, 1 << 30, u64::MAX].map(|b| size(&json!({"b": b}), "/b"));
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 GiB", "16777215.9 TiB"]);
        let now = Timestamp::from_millis(60_000);
        assert_eq!(age(&json!({"at": "1970-01-01T00:00:30Z"}), "/at", now), "30s");
        assert_eq!(age(&json!({"at": null}), "/at", now), "-");
    }

    #[test]
    fn hostile_row_13_text_is_one_harmless_line() {
        let document = json!({"a": "x\n\u{1b}[31m", "b": ["y", "z"], "c": {"d": "\u{202e}"}, "e": ""});
        assert_eq!(text(&document, "/a"), "x \\u{1b}[31m");
        assert_eq!(text(&document, "/b"), "y, z");
        assert!(!text(&document, "/c").contains('\u{202e}'));
        assert_eq!((text(&document, "/e"), some(&document, "/none")), ("-".into(), None));
    }
}
