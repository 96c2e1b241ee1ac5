//! Finds quickly where there is nothing to look at: several bytes at a time are compared with a piece of each
//! word, by the processor's vector instructions. Where it has none, every byte is looked at.
//!
//! What is skipped makes no difference: it has no word in it, nor the beginning of one at its end. What a run
//! knows to be secret is searched by its first bytes.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::packed::{Config, MatchKind, Searcher};

/// Most bytes at a time; they are copied in lower case.
pub(super) const MOST: usize = 16 * 1024;
/// No word is longer, nor is the piece of a known secret by which it is searched.
const LONGEST: usize = 24;

/// Each word has one of these in it, in lower case.
const PIECES: [&str; 36] = [
    "pass", "secr", "token", "keyd", "key_d", "key-d", "vatek", "vate_k", "vate-k", "sshk", "ssh_k", "ssh-k", "apik",
    "api_k", "api-k", "ption_k", "ption-k", "ster_k", "ster-k", "reden", "amz-s", "y-auth", "\"auth", "ckerc", "horiz",
    "cooki", "eare", "basic", "-----", "://", "eyj", "akia", "asia", "ls0tls1c", "glpat", "github_p",
];
const MORE: [&str; 5] = ["ckj1", "ckk1", "ghp_", "gho_", "ghs_"];

static WORDS: LazyLock<Option<Searcher>> =
    LazyLock::new(|| searcher(PIECES.iter().chain(&MORE).map(|piece| piece.as_bytes())));

/// A searcher for words; none where the processor cannot, or there are too many.
pub(super) fn searcher<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<Searcher> {
    let mut builder = Config::new().match_kind(MatchKind::LeftmostFirst).builder();
    builder.extend(words).build()
}

/// Skims a piece of output.
pub(super) struct Skim<'a> {
    words: Ahead<'a>,
    known: Option<Ahead<'a>>,
    lowered: Vec<u8>,
}

/// The next place where one searcher finds something.
struct Ahead<'a> {
    searcher: &'a Searcher,
    found: Range<usize>,
}

impl<'a> Skim<'a> {
    /// Over these bytes, with a buffer that is used again, and another searcher for the bytes as they are.
    pub(super) fn over(piece: &[u8], buffer: &mut Vec<u8>, known: Option<&'a Searcher>) -> Option<Self> {
        let words = Ahead { searcher: WORDS.as_ref()?, found: 0..0 };
        let mut lowered = std::mem::take(buffer);
        lowered.clear();
        lowered.extend_from_slice(piece);
        lowered.make_ascii_lowercase();
        Some(Self { words, known: known.map(|searcher| Ahead { searcher, found: 0..0 }), lowered })
    }

    /// What must be looked at next, from a place where no word is under way.
    pub(super) fn next(&mut self, piece: &[u8], from: usize) -> Range<usize> {
        let word = self.words.next(&self.lowered, from);
        let known = self.known.as_mut().map_or(usize::MAX..usize::MAX, |known| known.next(piece, from));
        let found = if known.start < word.start { known } else { word };
        // At the end a word may have begun.
        let (start, end) = (found.start.min(piece.len()), found.end.min(piece.len()));
        from.max(start.saturating_sub(LONGEST))..end
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.lowered
    }
}

impl Ahead<'_> {
    fn next(&mut self, text: &[u8], from: usize) -> Range<usize> {
        if self.found.start < from || self.found.is_empty() {
            let found = self.searcher.find(text.get(from..).unwrap_or_default());
            self.found = found.map_or(usize::MAX - 1..usize::MAX, |found| from + found.start()..from + found.end());
        }
        self.found.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::words;

    #[test]
    fn every_word_has_a_piece_and_none_is_longer_than_the_longest() {
        for word in words::all() {
            let lowered = word.to_ascii_lowercase();
            assert!(PIECES.iter().chain(&MORE).any(|piece| lowered.contains(piece)), "{word}");
            assert!(word.len() <= LONGEST, "{word}");
        }
    }
}
