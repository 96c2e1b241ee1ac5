//! What stands behind a name: `password: x`, `"password":"x"`, `password=x`, `--token x`, and each of
//! them within a string that was escaped, once or several times.
//!
//! A quoted value ends with the quote that belongs to the one it began with, which the backslashes before
//! it tell; one without quotes ends with a blank or an escaped line end. Where the name is a key of YAML (it
//! begins its line, and a colon and a blank follow), the value is the rest of the line and, unless it was
//! closed, the lines after it that are indented more ([`Lines`]). No other value goes on over the end of its
//! line: a private key that does is found by its own marks.
//!
//! Not known: a value without quotes and with blanks behind `=`, or in the middle of a line.

use super::marks::Marks;

/// Most blanks between a name and its separator, or a separator and its value.
const MOST_BLANKS: u8 = 64;
/// Backslashes that are held: as many as stand before a quote that was escaped three times.
const MOST_SLASHES: u32 = 7;

/// What is awaited after a name.
#[derive(Debug, Clone)]
pub(super) struct Name {
    stage: Stage,
    /// A blank is separator enough.
    blank_separates: bool,
    /// The value goes on over blanks.
    over_blanks: bool,
    blanks: u8,
    slashes: u32,
    /// A bracket was opened.
    opened: bool,
    /// How the line begins.
    line: Line,
    /// A colon separates.
    colon: bool,
    /// A blank follows the separator.
    spaced: bool,
    /// YAML's sign for text on the lines that follow was seen.
    folded: bool,
}

/// What stands before a name on its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Other text.
    Other,
    /// Nothing but so many blanks and dashes: it may be a key of YAML.
    Key(u32),
    /// The same, behind an escaped line end.
    Escaped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The name has just ended; a quote may close it.
    Named,
    /// It is closed.
    Closed,
    /// The separator was seen.
    Separated,
}

/// What a byte after a name says.
#[derive(Debug)]
pub(super) enum Next {
    /// The value is still to come.
    Wait,
    /// There is none.
    Nothing,
    /// It begins behind this byte.
    Behind(Value),
    /// It begins with this byte.
    Here(Value),
    /// It is on the lines that follow.
    Below(Lines),
}

impl Name {
    pub(super) fn new(blank_separates: bool, over_blanks: bool, line: Line) -> Self {
        let (blanks, slashes, opened) = (0, 0, false);
        let (colon, spaced, folded) = (false, false, false);
        Self { stage: Stage::Named, blank_separates, over_blanks, blanks, slashes, opened, line, colon, spaced, folded }
    }

    /// How the line begins, if the name is a key of YAML.
    fn yaml(&self) -> Line {
        if self.colon && self.spaced { self.line } else { Line::Other }
    }

    pub(super) fn step(&mut self, byte: u8) -> Next {
        match (self.stage, byte) {
            (_, b'\\') if self.stage != Stage::Closed && self.slashes < MOST_SLASHES => {
                self.slashes += 1;
                Next::Wait
            }
            (Stage::Separated, _) => self.value(byte),
            (Stage::Named, b'"' | b'\'' | b'`') => self.go(Stage::Closed),
            _ if self.slashes > 0 => Next::Nothing,
            (_, b':' | b'=') => {
                self.colon = byte == b':';
                self.go(Stage::Separated)
            }
            (_, b' ' | b'\t') if self.blank_separates => self.go(Stage::Separated),
            (_, b' ' | b'\t') => self.blank(),
            _ => Next::Nothing,
        }
    }

    fn go(&mut self, stage: Stage) -> Next {
        (self.stage, self.slashes) = (stage, 0);
        Next::Wait
    }

    fn blank(&mut self) -> Next {
        self.blanks += 1;
        if self.stage == Stage::Named {
            self.stage = Stage::Closed;
        }
        if self.blanks < MOST_BLANKS { Next::Wait } else { Next::Nothing }
    }

    fn value(&mut self, byte: u8) -> Next {
        let slashes = self.slashes;
        match byte {
            b'"' | b'\'' | b'`' => Next::Behind(Value::quoted(byte, slashes, self.yaml())),
            b'n' | b'r' | b't' if slashes > 0 => Next::Nothing,
            _ if slashes > 0 => Next::Here(Value::bare(self.over_blanks, slashes, self.yaml())),
            b'\n' | b'\r' => match self.yaml() {
                Line::Key(indent) if self.folded => Next::Below(Lines::new(indent)),
                _ => Next::Nothing,
            },
            b' ' | b'\t' => {
                self.spaced = true;
                self.blank()
            }
            // `:=`, `=>`, lists, maps, and YAML's sign for text on the lines that follow.
            b'>' | b'|' => {
                self.folded = true;
                self.blank()
            }
            b':' | b'=' => self.blank(),
            b'[' | b'{' | b'(' => {
                self.opened = true;
                self.blank()
            }
            b']' | b'}' | b')' if self.opened => Next::Nothing,
            _ => Next::Here(Value::bare(self.over_blanks, 0, self.yaml())),
        }
    }

    /// Backslashes before a value, of which it is not yet known whether they belong to it.
    pub(super) fn held(&self) -> u32 {
        if self.stage == Stage::Separated { self.slashes } else { 0 }
    }
}

/// A value that is being masked.
#[derive(Debug, Clone)]
pub(super) struct Value {
    end: End,
    /// The backslashes just before this byte; of the last few it is not known whether they belong to the value.
    slashes: u32,
    /// Where its lines go on when it is not closed on its own.
    line: Line,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// With the same quote, behind so many backslashes less one, modulo this power of two.
    Quote { quote: u8, modulus: u32 },
    /// The quote was seen; two of them are one in the value.
    Doubled { quote: u8 },
    /// With the end of the word, or of the line.
    Word { over_blanks: bool },
    /// With the end of the line, whatever is on it.
    Line,
}

impl Value {
    fn quoted(quote: u8, slashes: u32, line: Line) -> Self {
        // A string that was escaped n times has its quotes behind 2ⁿ - 1 backslashes, and a quote of its
        // own text behind 2ⁿ⁺¹ - 1.
        Self { end: End::Quote { quote, modulus: (slashes + 1).next_power_of_two() * 2 }, slashes: 0, line }
    }

    fn bare(over_blanks: bool, slashes: u32, line: Line) -> Self {
        let end = match line {
            Line::Key(_) => End::Line,
            Line::Escaped => End::Word { over_blanks: true },
            Line::Other => End::Word { over_blanks },
        };
        Self { end, slashes, line }
    }

    /// What follows it when it ended with this byte.
    pub(super) fn below(&self, byte: u8) -> Option<Lines> {
        match self.line {
            Line::Key(indent) if matches!(byte, b'\n' | b'\r') => Some(Lines::new(indent)),
            _ => None,
        }
    }

    /// Whether the value is in quotes: then nothing within it begins another.
    pub(super) fn is_quoted(&self) -> bool {
        matches!(self.end, End::Quote { .. } | End::Doubled { .. })
    }

    /// Takes the next byte; false when it does not belong to the value.
    pub(super) fn step(&mut self, byte: u8, marks: &mut Marks<'_>) -> bool {
        if matches!(byte, b'\n' | b'\r') {
            return self.leave(0, marks);
        }
        if byte == b'\\' && !matches!(self.end, End::Doubled { .. }) {
            if self.slashes >= MOST_SLASHES {
                marks.between(MOST_SLASHES, MOST_SLASHES - 1);
            }
            self.slashes = self.slashes.saturating_add(1);
            return true;
        }
        match self.end {
            End::Quote { quote, modulus } if byte == quote => self.quote(quote, modulus, marks),
            End::Doubled { quote } if byte == quote => {
                self.end = End::Quote { quote, modulus: 2 };
                marks.last(2);
                true
            }
            End::Doubled { .. } => false,
            End::Word { over_blanks } if self.ends_word(byte, over_blanks) => self.leave(self.slashes, marks),
            _ => {
                self.leave(0, marks);
                marks.this();
                true
            }
        }
    }

    fn quote(&mut self, quote: u8, modulus: u32, marks: &mut Marks<'_>) -> bool {
        if quote == b'\'' && modulus == 2 && self.slashes == 0 {
            self.end = End::Doubled { quote };
            return true;
        }
        let of_text = self.slashes % modulus == modulus - 1;
        if of_text {
            self.leave(0, marks);
            marks.this();
            return true;
        }
        // What stands before the quote belongs to it.
        self.leave((modulus / 2 - 1).min(self.slashes), marks)
    }

    fn ends_word(&self, byte: u8, over_blanks: bool) -> bool {
        match byte {
            b'"' => true,
            b' ' | b'\t' => !over_blanks,
            b'n' | b'r' | b't' | b'\'' => self.slashes > 0,
            _ => byte < b' ',
        }
    }

    /// Masks the backslashes before this byte, but for the last ones. False, for whoever ends with it.
    fn leave(&mut self, but: u32, marks: &mut Marks<'_>) -> bool {
        let held = self.slashes.min(MOST_SLASHES);
        marks.between(held, but.min(held));
        self.slashes = 0;
        false
    }

    pub(super) fn held(&self) -> u32 {
        if matches!(self.end, End::Doubled { .. }) { 1 } else { self.slashes.min(MOST_SLASHES) }
    }

    /// The output ends here.
    pub(super) fn finish(&mut self, marks: &mut Marks<'_>) {
        if !matches!(self.end, End::Doubled { .. }) {
            self.leave(0, marks);
        }
    }
}

/// Lines that are indented more than a key of YAML: the rest of its value.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    indent: u32,
    column: u32,
    begun: bool,
}

impl Lines {
    fn new(indent: u32) -> Self {
        Self { indent, column: 0, begun: false }
    }

    /// Takes the next byte; false when it does not belong to the value.
    pub(super) fn step(&mut self, byte: u8, marks: &mut Marks<'_>) -> bool {
        match byte {
            b'\n' | b'\r' => (self.column, self.begun) = (0, false),
            b' ' if !self.begun => self.column = self.column.saturating_add(1),
            _ if self.begun || self.column > self.indent => {
                self.begun = true;
                marks.this();
            }
            _ => return false,
        }
        true
    }
}
