//! Secrets in output are masked: private keys, tokens, passwords, keys of AWS, and whatever a run knows.
//!
//! - [`scan`]: looks at output as it streams and says what is to be masked.
//! - [`words`]: what announces a secret; found by [`automaton`], and before that by [`skim`].
//! - [`value`], [`run`], [`block`]: what is masked after a name, a mark, the label of a private key.
//! - [`known`]: the secrets of a run, in the forms in which they may be printed.
//! - [`mod@report`]: what is said about a run, masked by the same rules.
//!
//! Invariants:
//! - what comes out is as long as what came in: each masked byte is an asterisk, newlines stay, so that
//!   offsets mean the same on the agent, on the way and on the controller;
//! - how the output was cut into chunks makes no difference;
//! - a secret that was masked is taken for the same when it is looked at again, so that a second pass changes
//!   nothing; where one secret hid the end of another, it may hide more, never less;
//! - memory is bounded, and a few hundred bytes at most are held back: only a tail that may be the beginning
//!   of a secret. It waits for what follows or for the end of the output, not for a clock, so that it does
//!   not matter when a byte came. A line that ends is not held, nor is a prompt.
//!
//! When in doubt, it is masked. Left alone is what may be known: certificates and public keys, digests,
//! identifiers, names of images.

mod automaton;
mod block;
mod known;
mod marks;
mod report;
mod run;
mod scan;
mod skim;
mod value;
mod words;

#[cfg(test)]
mod tests_captures;
#[cfg(test)]
mod tests_classes;
#[cfg(test)]
mod tests_fuzz;

use std::ops::Range;

pub use known::{KnownSecrets, Login};
pub use report::{document, report};
pub use scan::Scanner;

/// A scanner of output from an offset on, by the form of secrets alone.
#[must_use]
pub fn scanner(at: u64) -> Scanner {
    Scanner::new(at, None)
}

/// Masks a range of offsets in bytes that begin at an offset. What is outside of them is not masked here.
pub fn mask(bytes: &mut [u8], begin: u64, range: &Range<u64>) {
    let place = |offset: u64| usize::try_from(offset.saturating_sub(begin)).unwrap_or(usize::MAX).min(bytes.len());
    let (start, end) = (place(range.start), place(range.end));
    for byte in bytes[start..end].iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        *byte = words::MASK;
    }
}

/// So many masked bytes, for a range that has no newline.
#[must_use]
pub fn masked(length: usize) -> Vec<u8> {
    vec![words::MASK; length]
}

/// Masks output while it streams.
#[derive(Debug)]
pub struct Redactor {
    scanner: Scanner,
    buffer: Vec<u8>,
    passed: usize,
}

impl Redactor {
    /// At the beginning of an output. Knows the form of secrets, and these.
    #[must_use]
    pub fn new(known: Option<&KnownSecrets>) -> Self {
        Self { scanner: Scanner::new(0, known.cloned()), buffer: Vec::new(), passed: 0 }
    }

    /// Takes the next bytes and gives back what is decided of them and of the ones before.
    pub fn pass(&mut self, input: &[u8]) -> &[u8] {
        self.buffer.drain(..std::mem::take(&mut self.passed));
        let begin = self.scanner.at() - self.buffer.len() as u64;
        self.buffer.extend_from_slice(input);
        let buffer = &mut self.buffer;
        self.scanner.scan(input, &mut |range| mask(buffer, begin, &range));
        self.passed = self.buffer.len().saturating_sub(self.scanner.held());
        &self.buffer[..self.passed]
    }

    /// Gives back the rest: the output ends here.
    pub fn finish(&mut self) -> &[u8] {
        self.buffer.drain(..std::mem::take(&mut self.passed));
        let begin = self.scanner.at() - self.buffer.len() as u64;
        let buffer = &mut self.buffer;
        self.scanner.finish(&mut |range| mask(buffer, begin, &range));
        self.passed = self.buffer.len();
        &self.buffer
    }
}

/// A text with its secrets masked, by their form.
#[must_use]
pub fn text(text: &str) -> String {
    let mut redactor = Redactor::new(None);
    let mut masked = redactor.pass(text.as_bytes()).to_vec();
    masked.extend_from_slice(redactor.finish());
    String::from_utf8(masked).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
