//! Making text from outside harmless: what could move a cursor, hide text or forge lines is shown.
//!
//! Output of `rke` and what is quoted from it ends in terminals and dashboards. Control characters
//! other than newline and tab (so every ANSI and OSC sequence), characters that change the direction
//! of text, and Unicode's own line breaks are written as `\u{1b}`.

use std::borrow::Cow;

/// The text with everything hostile written out.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hostile(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// How many bytes at the beginning are whole characters or can never become one. What remains, three
/// bytes at most, may be the beginning of a character that goes on in the next piece.
#[must_use]
pub fn whole_characters(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (i, byte) in tail.iter().enumerate().rev() {
        let wanted = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return bytes.len(),
        };
        let begun = &tail[i..];
        let incomplete = begun.len() < wanted && std::str::from_utf8(begun).is_err_and(|e| e.error_len().is_none());
        return if incomplete { bytes.len() - begun.len() } else { bytes.len() };
    }
    bytes.len()
}

fn is_hostile(c: char) -> bool {
    let control = c.is_control() && c != '\n' && c != '\t';
    let direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    control || direction || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_row_13_escapes_bidi_and_line_forgery_become_visible() {
        assert_eq!(visible("plain ünï\tcode\n"), "plain ünï\tcode\n");
        assert_eq!(visible("\x1b[31mred\r\n\r\ndata: x"), "\\u{1b}[31mred\\u{d}\n\\u{d}\ndata: x");
        assert_eq!(visible("\x1b]8;;http://evil\x07link"), "\\u{1b}]8;;http://evil\\u{7}link");
        assert_eq!(visible("a\u{202e}b\u{2066}c\u{9b}d\u{2028}"), "a\\u{202e}b\\u{2066}c\\u{9b}d\\u{2028}");
    }

    proptest! {
        #[test]
        fn cutting_at_whole_characters_never_breaks_one(text in "\\PC{0,40}", cut in 0usize..160) {
            let bytes = text.as_bytes();
            let piece = &bytes[..cut.min(bytes.len())];
            let whole = whole_characters(piece);
            prop_assert!(piece.len() - whole <= 3);
            prop_assert!(std::str::from_utf8(&piece[..whole]).is_ok());
        }

        #[test]
        fn cut_or_not_the_text_reads_the_same(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0usize..64) {
            let first = &bytes[..cut.min(bytes.len())];
            let whole = whole_characters(first);
            prop_assert!(first.len() - whole <= 3);
            let joined = format!("{}{}", String::from_utf8_lossy(&bytes[..whole]), String::from_utf8_lossy(&bytes[whole..]));
            prop_assert_eq!(joined, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
