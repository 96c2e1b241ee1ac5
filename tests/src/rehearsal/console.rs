//! What the rehearsal says, in the bytes rke would use.
//!
//! One logrus line per event on standard output, quoted like Go's `%q`; coloured on a terminal;
//! nothing at all with `--quiet`, not even the fatal line. Prompts end without a newline. Timing
//! and faults are not here: see `stage`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use super::clock;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Shown with `--debug` and `--trace` only.
    Debug,
    /// Progress.
    Info,
    /// Something went wrong and rke goes on.
    Warning,
    /// Something went wrong.
    Error,
    /// The last line before exit code 1.
    Fatal,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Fatal => "fatal",
        }
    }

    fn colour(self) -> (u8, &'static str) {
        match self {
            Level::Debug => (37, "DEBU"),
            Level::Info => (36, "INFO"),
            Level::Warning => (33, "WARN"),
            Level::Error => (31, "ERRO"),
            Level::Fatal => (31, "FATA"),
        }
    }

    /// The level that a recorded line carries.
    #[must_use]
    pub fn parse(word: &str) -> Option<Level> {
        [Level::Debug, Level::Info, Level::Warning, Level::Error, Level::Fatal]
            .into_iter()
            .find(|level| level.word() == word)
    }
}

/// Standard output with rke's manners.
pub(crate) struct Console {
    out: Box<dyn Write>,
    coloured: bool,
    quiet: bool,
    threshold: Level,
    opened_ns: u128,
}

impl Console {
    pub(crate) fn stdout(quiet: bool, debug: bool) -> Console {
        Console {
            coloured: io::stdout().is_terminal(),
            out: Box::new(io::stdout()),
            quiet,
            threshold: if debug { Level::Debug } else { Level::Info },
            opened_ns: clock::now_ns(),
        }
    }

    /// One event. Each line reaches the kernel at once, as rke's do.
    pub(crate) fn line(&mut self, level: Level, message: &str) -> io::Result<()> {
        if self.quiet || level < self.threshold {
            return Ok(());
        }
        let now = clock::now_ns();
        let line = if self.coloured {
            let (colour, word) = level.colour();
            let seconds = now.saturating_sub(self.opened_ns) / 1_000_000_000;
            format!("\x1b[{colour}m{word}\x1b[0m[{seconds:04}] {message:<44} \n")
        } else {
            plain(&clock::rfc3339(now), level, message)
        };
        self.raw(line.as_bytes())
    }

    /// Bytes as they are: prompts, help, floods.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }
}

fn plain(time: &str, level: Level, message: &str) -> String {
    let message = if needs_quotes(message) { quote(message) } else { message.to_owned() };
    format!("time=\"{time}\" level={} msg={message}\n", level.word())
}

/// logrus leaves plain words bare: `msg=EOF`.
fn needs_quotes(message: &str) -> bool {
    !message.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b))
}

/// Go's `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 8);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_ascii() && c.is_control() => escape(&mut quoted, 'x', 2, c),
            c if unprintable(c) && u32::from(c) <= 0xffff => escape(&mut quoted, 'u', 4, c),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn escape(into: &mut String, kind: char, width: usize, c: char) {
    let _ = write!(into, "\\{kind}{:0width$x}", u32::from(c));
}

fn unprintable(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The inverse of [`quote`], for reading recorded lines; a bare word stays what it is.
#[must_use]
pub fn unquote(quoted: &str) -> String {
    let Some(inner) = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return quoted.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some(other) => text.push(other),
            None => {}
        }
    }
    text
}

/// Splits a recorded line into level and message; `None` for prompts and other raw text.
#[must_use]
pub fn parse_line(line: &str) -> Option<(Level, String)> {
    let rest = line.strip_prefix("time=\"")?;
    let (_, rest) = rest.split_once("\" level=")?;
    let (level, message) = rest.split_once(" msg=")?;
    Some((Level::parse(level)?, unquote(message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_quoted_as_go_quotes() {
        assert_eq!(quote("a \"b\"\n\t\\"), r#""a \"b\"\n\t\\""#);
        assert_eq!(quote("\u{1b}[31m\u{202e}ü"), r#""\x1b[31m\u202eü""#);
        assert_eq!(plain("T", Level::Fatal, "EOF"), "time=\"T\" level=fatal msg=EOF\n");
    }

    #[test]
    fn a_recorded_line_is_read_back() {
        let line = "time=\"2026-11-23T18:00:57Z\" level=warning msg=\"Get \\\"x\\\": no\"";
        assert_eq!(parse_line(line), Some((Level::Warning, "Get \"x\": no".to_owned())));
        assert_eq!(parse_line("Are you sure"), None);
    }
}
