//! Mutations of texts with secrets: whatever comes, the redactor keeps its promises about form.
//!
//! The same mutations every time, as many as a second allows; it needs no tool of its own.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::tests_classes::{any_class, cut, redact};
use super::{KnownSecrets, Login, Redactor};
use crate::domain::secret::Secret;

const ROUNDS: usize = 10_000;
/// More is never held.
const MOST_HELD: usize = 1024;
const PIECES: [&str; 24] = [
    "password",
    ": ",
    "=",
    "\"",
    "'",
    "\\",
    "\\\"",
    "\\n",
    "\n",
    " ",
    "-----BEGIN PRIVATE KEY-----",
    "-----END ",
    "eyJ",
    "eyJhbGciOi",
    "AKIA",
    "bearer ",
    "://",
    "@",
    ":",
    "LS0tLS1CRUdJTiBQUklW",
    "ckk1_",
    "authorization",
    "hunter2",
    "*",
];

/// Numbers that are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

fn mutate(text: &mut Vec<u8>, numbers: &mut Numbers, corpus: &[Vec<u8>]) {
    let at = numbers.below(text.len() + 1);
    match numbers.below(6) {
        0 if at < text.len() => text[at] = u8::try_from(numbers.below(256)).unwrap(),
        1 => drop(text.drain(at..(at + numbers.below(20)).min(text.len()))),
        2 => text.truncate(at),
        3 => {
            let other = &corpus[numbers.below(corpus.len())];
            text.truncate(at);
            text.extend_from_slice(&other[numbers.below(other.len())..]);
        }
        _ => drop(text.splice(at..at, PIECES[numbers.below(PIECES.len())].bytes())),
    }
    text.truncate(2_000);
}

#[test]
fn hostile_row_72_whatever_comes_length_newlines_and_chunks_make_no_difference() {
    let (mut runner, class) = (TestRunner::deterministic(), any_class());
    let corpus: Vec<Vec<u8>> = (0..200).map(|_| class.new_tree(&mut runner).unwrap().current().text).collect();
    let known = KnownSecrets::of(&[Login { user: Some("u".into()), password: Secret::new("hunter2\"x") }]);
    let mut numbers = Numbers(7);
    let mut text = corpus[0].clone();
    for round in 0..ROUNDS {
        if round % 16 == 0 {
            text.clone_from(&corpus[numbers.below(corpus.len())]);
        }
        mutate(&mut text, &mut numbers, &corpus);
        let known = known.as_ref().filter(|_| round % 2 == 0);
        let whole = redact(&mut Redactor::new(known), [&text[..]]);
        let cuts: Vec<usize> = (0..numbers.below(12)).map(|_| numbers.below(usize::MAX)).collect();
        let mut redactor = Redactor::new(known);
        let mut out = Vec::new();
        for chunk in cut(&text, &cuts) {
            out.extend_from_slice(redactor.pass(chunk));
            assert!(redactor.scanner.held() <= MOST_HELD);
        }
        out.extend_from_slice(redactor.finish());
        assert_eq!(out, whole, "round {round}: {:?}", String::from_utf8_lossy(&text));
        let kept = |(out, was): (&u8, &u8)| out == was || *out == b'*' && *was != b'\n';
        assert!(whole.len() == text.len() && whole.iter().zip(&text).all(kept));
    }
}
