//! Secrets that show by their beginning: so many letters of a sort behind a mark, and the password in a
//! URL. Until there are enough letters, nothing is decided, and they are held.

use super::marks::Marks;

/// Which letters follow a mark.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) letter: fn(u8) -> bool,
    /// Fewer are no secret.
    pub(super) least: u32,
    /// More do not belong to it.
    pub(super) most: u32,
}

/// Letters behind a mark.
#[derive(Debug, Clone)]
pub(super) struct Run {
    rule: &'static Rule,
    seen: u32,
}

/// A shorter beginning that is cut off by the end of the output is shown.
const WORTH_HIDING: u32 = 4;

impl Run {
    pub(super) fn new(rule: &'static Rule) -> Self {
        Self { rule, seen: 0 }
    }

    pub(super) fn is_of(&self, rule: &'static Rule) -> bool {
        std::ptr::eq(self.rule, rule)
    }

    /// Takes the next byte; false when it does not belong to the run, or is its last.
    pub(super) fn step(&mut self, byte: u8, marks: &mut Marks<'_>) -> bool {
        if !(self.rule.letter)(byte) {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen == self.rule.least {
            marks.last(self.seen);
        } else if self.seen > self.rule.least {
            marks.this();
        }
        self.seen < self.rule.most
    }

    pub(super) fn held(&self) -> u32 {
        if self.seen < self.rule.least { self.seen } else { 0 }
    }

    /// The output ends here.
    pub(super) fn finish(&self, marks: &mut Marks<'_>) {
        if self.held() >= WORTH_HIDING {
            marks.before(self.held());
        }
    }
}

/// What follows `://` up to the path.
#[derive(Debug, Clone, Default)]
pub(super) struct Authority {
    colon: bool,
    /// What follows the colon is no port.
    no_port: bool,
    /// The user and the password have ended.
    at: bool,
    held: u32,
    seen: u32,
}

/// Longest authority that is believed; what follows a colon in a longer one is masked.
const LONGEST: u32 = 256;
/// A port has fewer digits.
const NO_PORT: u32 = 6;

impl Authority {
    /// Takes the next byte; false when it ends the authority.
    pub(super) fn step(&mut self, byte: u8, marks: &mut Marks<'_>) -> bool {
        // A password may have what ends a host; behind digits it is the path, or `@sha256:` of an image.
        let ends_host = matches!(byte, b'/' | b'?' | b'#') && (self.at || !self.no_port);
        let ends = byte <= b' ' || ends_host || matches!(byte, b'\\' | b'"' | b'\'' | b'`' | b'<' | b'>' | b',');
        if ends || matches!(byte, b'[' | b']' | b'(' | b')' | b'{' | b'}' | b'|') {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        match byte {
            b'@' if self.colon => {
                marks.before(std::mem::take(&mut self.held));
                self.at = true;
                return true;
            }
            b':' if !self.colon => {
                self.colon = true;
                return true;
            }
            _ if self.colon => {
                self.held += 1;
                self.no_port |= !byte.is_ascii_digit();
            }
            _ => {}
        }
        if self.seen > LONGEST {
            marks.last(std::mem::take(&mut self.held));
        }
        self.colon || self.seen <= LONGEST
    }

    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// The output ends here.
    pub(super) fn finish(&self, marks: &mut Marks<'_>) {
        if self.held >= NO_PORT {
            marks.before(self.held);
        }
    }
}
