//! Private keys in PEM: what stands between `-----BEGIN … PRIVATE KEY-----` and `-----END`.
//!
//! Lines are told by their shape, so that the lines of others that come in between stay readable, and an
//! end that never comes costs nothing: a word at the beginning of a line, of letters of base64 only, is
//! of the key. A line may end with a newline, with an escaped one, or, where a key was folded into one
//! line, with a blank. The first letters of a word are held until that is decided. Certificates and public
//! keys have labels of their own and are left alone.

use super::marks::Marks;
use super::words::is_base64;

/// Longest label that is believed.
const LABEL: usize = 48;
/// Dashes behind a label.
const DASHES: u32 = 5;
/// So many letters of base64 at the beginning of a line are of a key, whatever follows.
const ENOUGH: u32 = 16;
/// So much other text after the last line of a key, and no more of it is awaited.
const PATIENCE: u32 = 16 * 1024;

/// A label that is being read.
#[derive(Debug, Clone, Default)]
pub(super) struct Label {
    text: Vec<u8>,
    dashes: u32,
}

/// What a byte of a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Labelled {
    /// It goes on.
    Wait,
    /// It is of something that may be seen, or no label.
    Public,
    /// It is of a private key, which follows.
    Private,
}

impl Label {
    pub(super) fn step(&mut self, byte: u8) -> Labelled {
        let is_private = || self.text.windows(11).any(|words| words.eq_ignore_ascii_case(b"PRIVATE KEY"));
        match byte {
            b'-' if self.dashes == 0 && !is_private() => Labelled::Public,
            b'-' if self.dashes + 1 == DASHES => Labelled::Private,
            b'-' => {
                self.dashes += 1;
                Labelled::Wait
            }
            b' ' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' if self.dashes == 0 && self.text.len() < LABEL => {
                self.text.push(byte);
                Labelled::Wait
            }
            _ => Labelled::Public,
        }
    }
}

/// A key that is not known to have ended.
#[derive(Debug, Clone)]
pub(super) struct Block {
    place: Place,
    patience: u32,
    /// Bytes since the last one of the key.
    other: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where a line of the key may begin.
    Begin(After),
    /// Within a word that began there: how many letters, and the last one.
    Word(After, u32, u8),
    /// Behind a backslash.
    Escape,
    /// In the rest of somebody else's line.
    Elsewhere,
}

/// What stands before a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Newline,
    Escape,
    Blank,
}

impl Block {
    /// Behind the label.
    pub(super) fn new() -> Self {
        Self { place: Place::Begin(After::Blank), patience: PATIENCE, other: 0 }
    }

    /// Within the first line, of a PEM that is in base64 itself: other text ends it.
    pub(super) fn encoded() -> Self {
        Self { place: Place::Word(After::Blank, ENOUGH, 0), patience: 0, other: 0 }
    }

    /// Takes the next byte; false when no more of the key is awaited.
    pub(super) fn step(&mut self, byte: u8, marks: &mut Marks<'_>) -> bool {
        self.place = match (self.place, byte) {
            (Place::Escape, b'n' | b'r' | b't') => Place::Begin(After::Escape),
            (Place::Escape, b'\\') => Place::Escape,
            (place, b'\n' | b'\r') => {
                self.end_word(place, true, marks);
                Place::Begin(After::Newline)
            }
            (place, b'\\') => {
                self.end_word(place, true, marks);
                Place::Escape
            }
            (place, b' ' | b'\t') => self.blank(place, marks),
            (Place::Begin(after), byte) if is_base64(byte) => Place::Word(after, 1, byte),
            (Place::Word(after, letters, _), byte) if is_base64(byte) => self.letter(after, letters, byte, marks),
            (place, byte) => {
                self.end_word(place, is_of_key(place, byte), marks);
                Place::Elsewhere
            }
        };
        self.other = if self.place == Place::Elsewhere { self.other.saturating_add(1) } else { self.other };
        self.other <= self.patience
    }

    fn letter(&mut self, after: After, letters: u32, byte: u8, marks: &mut Marks<'_>) -> Place {
        let letters = letters.saturating_add(1);
        if letters == ENOUGH {
            marks.last(ENOUGH);
            self.other = 0;
        } else if letters > ENOUGH {
            marks.this();
        }
        Place::Word(after, letters, byte)
    }

    fn blank(&mut self, place: Place, marks: &mut Marks<'_>) -> Place {
        match place {
            Place::Begin(after) => Place::Begin(after),
            // Base64 is folded with newlines.
            Place::Word(after, letters, _) if self.patience > 0 && (after == After::Blank || letters >= ENOUGH) => {
                self.end_word(place, true, marks);
                Place::Begin(After::Blank)
            }
            _ => Place::Elsewhere,
        }
    }

    fn end_word(&mut self, place: Place, of_key: bool, marks: &mut Marks<'_>) {
        match place {
            Place::Word(_, letters, _) if letters < ENOUGH && of_key => marks.before(letters),
            _ => {}
        }
    }

    pub(super) fn held(&self) -> u32 {
        match self.place {
            Place::Word(_, letters, _) if letters < ENOUGH => letters,
            _ => 0,
        }
    }

    /// The output ends here.
    pub(super) fn finish(&mut self, marks: &mut Marks<'_>) {
        self.end_word(self.place, true, marks);
    }
}

/// Whether a short word is of the key that ends with this byte: before a quote it is, but for the `time=`
/// of an event; before the dashes of the end, where it ends like base64.
fn is_of_key(place: Place, end: u8) -> bool {
    match (place, end) {
        (Place::Word(_, _, last), b'-') => last == b'=',
        (Place::Word(After::Newline, _, last), b'"' | b'\'') => last != b'=',
        (_, b'"' | b'\'') => true,
        _ => false,
    }
}
