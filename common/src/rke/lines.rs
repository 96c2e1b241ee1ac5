//! The output of `rke`, cut into lines and levels while it streams.
//!
//! Memory is bounded whatever comes: a line longer than [`MAX_LINE`] is handed on in pieces, and only
//! its first piece can be an event. Nothing is allocated for a line that nobody asks the message of;
//! [`Line::starts_with`] looks at the bytes as they are.
//!
//! RKE logs by logrus: `time="…" level=info msg="…"` into a file, `INFO[0000] …` with colours on a
//! terminal. A prompt has no newline, so the next event stands on its line. Whatever has neither form
//! is a raw line without a level.

use std::borrow::Cow;

/// Longest line that is handed on in one piece.
pub const MAX_LINE: usize = 64 * 1024;

/// Where a prompt may stand before an event: prompts are short.
const PROMPT_WITHIN: usize = 256;

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Never asked for: it prints keys.
    Trace,
    /// Details.
    Debug,
    /// What is done.
    Info,
    /// What went wrong without ending the run.
    Warning,
    /// What went wrong.
    Error,
    /// What ended the run.
    Fatal,
}

/// One line.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its level; none when it is not an event.
    pub level: Option<Level>,
    /// The bytes of the line, without its end.
    pub raw: &'a [u8],
    text: &'a [u8],
    escaped: bool,
}

impl<'a> Line<'a> {
    /// Reads a whole line.
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Self {
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        if raw.starts_with(b"time=\"") {
            return event(raw, raw).unwrap_or_else(|| Self::plain(raw));
        }
        if raw.starts_with(b"\x1b[") {
            return coloured(raw).unwrap_or_else(|| Self::plain(raw));
        }
        after_prompt(raw).unwrap_or_else(|| Self::plain(raw))
    }

    fn plain(raw: &'a [u8]) -> Self {
        Self { level: None, raw, text: raw, escaped: false }
    }

    /// Whether the message begins with these words, which must have nothing that Go escapes.
    #[must_use]
    pub fn starts_with(&self, words: &str) -> bool {
        self.text.starts_with(words.as_bytes())
    }

    /// The message, as `rke` meant it. Allocates when something was escaped or is not UTF-8.
    #[must_use]
    pub fn message(&self) -> Cow<'a, str> {
        if self.escaped && self.text.iter().any(|b| matches!(b, b'\\' | b'"')) {
            return Cow::Owned(unescape(self.text));
        }
        String::from_utf8_lossy(self.text)
    }
}

fn level(word: &[u8]) -> Option<Level> {
    Some(match word {
        b"info" | b"INFO" => Level::Info,
        b"warning" | b"WARN" => Level::Warning,
        b"error" | b"ERRO" => Level::Error,
        b"fatal" | b"FATA" | b"panic" | b"PANI" => Level::Fatal,
        b"debug" | b"DEBU" => Level::Debug,
        b"trace" | b"TRAC" => Level::Trace,
        _ => return None,
    })
}

/// `time="…" level=… msg=…`, the message quoted or a bare word.
fn event<'a>(raw: &'a [u8], event: &'a [u8]) -> Option<Line<'a>> {
    let rest = event.strip_prefix(b"time=\"")?;
    let end = rest.iter().take(64).position(|b| *b == b'"')?;
    let rest = rest[end..].strip_prefix(b"\" level=")?;
    let end = rest.iter().take(16).position(|b| *b == b' ')?;
    let level = level(&rest[..end])?;
    let text = rest[end..].strip_prefix(b" msg=")?;
    let Some(quoted) = text.strip_prefix(b"\"") else {
        return Some(Line { level: Some(level), raw, text, escaped: false });
    };
    // The closing quote is missing where a line was cut.
    let text = quoted.strip_suffix(b"\"").unwrap_or(quoted);
    Some(Line { level: Some(level), raw, text, escaped: true })
}

/// `ESC[31mFATAESC[0m[0010] message`, filled up with blanks.
fn coloured(raw: &[u8]) -> Option<Line<'_>> {
    let start = raw.iter().take(8).position(|b| *b == b'm')? + 1;
    let level = level(raw.get(start..start + 4)?)?;
    let rest = raw[start + 4..].strip_prefix(b"\x1b[0m[")?;
    let end = rest.iter().take(16).position(|b| *b == b']')?;
    let text = rest[end + 1..].strip_prefix(b" ").unwrap_or_default().trim_ascii_end();
    Some(Line { level: Some(level), raw, text, escaped: false })
}

fn after_prompt(raw: &[u8]) -> Option<Line<'_>> {
    const MARK: &[u8] = b": time=\"";
    let head = &raw[..raw.len().min(PROMPT_WITHIN)];
    let at = head.windows(MARK.len()).position(|w| w == MARK)?;
    event(raw, &raw[at + 2..])
}

/// Undoes Go's `strconv.Quote`, up to the first quote that closes it.
pub(super) fn unescape(text: &[u8]) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'"' => break,
            b'\\' => rest = escape(tail, &mut out),
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads what follows a backslash; gives back what is left.
fn escape<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((&kind, rest)) = text.split_first() else { return text };
    let plain = match kind {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'v' => 11,
        b'x' => return numbered(rest, 2, |n| out.push(n.to_le_bytes()[0])),
        b'u' | b'U' => {
            let mut push = |n| {
                let c = char::from_u32(n).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            };
            return numbered(rest, if kind == b'u' { 4 } else { 8 }, &mut push);
        }
        other => other,
    };
    out.push(plain);
    rest
}

fn numbered(text: &[u8], digits: usize, mut push: impl FnMut(u32)) -> &[u8] {
    let number = text.get(..digits).and_then(|d| std::str::from_utf8(d).ok());
    let Some(number) = number.and_then(|d| u32::from_str_radix(d, 16).ok()) else { return text };
    push(number);
    &text[digits..]
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub struct LineReader {
    carry: Vec<u8>,
    within: bool,
}

impl LineReader {
    /// A reader at the beginning of the output.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and hands on every line that they complete.
    pub fn feed(&mut self, chunk: &[u8], mut on_line: impl FnMut(&Line<'_>)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let room = MAX_LINE - self.carry.len();
            let window = &rest[..rest.len().min(room)];
            let end = window.iter().position(|b| *b == b'\n');
            if end.is_none() && window.len() < room {
                self.carry.extend_from_slice(window);
                return;
            }
            self.hand_on(&window[..end.unwrap_or(window.len())], &mut on_line);
            self.within = end.is_none();
            rest = &rest[end.map_or(window.len(), |end| end + 1)..];
        }
    }

    /// Hands on what stands after the last newline; call it once, at the end of the output.
    pub fn finish(&mut self, mut on_line: impl FnMut(&Line<'_>)) {
        if !self.carry.is_empty() {
            self.hand_on(&[], &mut on_line);
        }
        self.within = false;
    }

    /// Hands on the line that is carried and ends with `tail`.
    fn hand_on(&mut self, tail: &[u8], on_line: &mut impl FnMut(&Line<'_>)) {
        let raw = if self.carry.is_empty() {
            tail
        } else {
            self.carry.extend_from_slice(tail);
            &self.carry
        };
        if !self.within {
            on_line(&Line::parse(raw));
        } else if !raw.is_empty() {
            on_line(&Line::plain(raw));
        }
        self.carry.clear();
    }
}
