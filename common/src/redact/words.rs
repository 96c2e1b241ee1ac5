//! The words that announce a secret, or are its beginning.
//!
//! [`WORDS`] are found whatever their case, [`MARKS`] only as they are. A name is also found at the end of
//! a longer one (`AWS_SECRET_ACCESS_KEY`, `registry-password`), and counts only when a separator follows:
//! `password_file: /x` and `the password is wrong` announce nothing.

use std::sync::LazyLock;

use super::automaton::Automaton;
use super::run::Rule;

/// What a word announces.
#[derive(Debug, Clone, Copy)]
pub(super) enum Word {
    /// Its value follows a separator.
    Name,
    /// Its value follows a separator and goes on over blanks.
    Header,
    /// Its value follows, also after a blank.
    Flag,
    /// The label of a PEM block.
    Begin,
    /// The end of a PEM block.
    End,
    /// Letters of a certain sort, if there are enough of them.
    Run(&'static Rule),
    /// The same, where no longer text of such letters is under way.
    Apart(&'static Rule),
    /// The rest of a private key in base64.
    Encoded,
    /// Host, port, and perhaps user and password.
    Authority,
}

/// Words in any case.
const WORDS: &[(&str, Word)] = &[
    ("password", Word::Name),
    ("passwd", Word::Name),
    ("passphrase", Word::Name),
    ("secret", Word::Name),
    ("secretkey", Word::Name),
    ("secret_key", Word::Name),
    ("secret-key", Word::Name),
    ("secretaccesskey", Word::Name),
    ("secret_access_key", Word::Name),
    ("secret-access-key", Word::Name),
    ("token", Word::Name),
    ("keydata", Word::Name),
    ("key_data", Word::Name),
    ("key-data", Word::Name),
    ("privatekey", Word::Name),
    ("private_key", Word::Name),
    ("private-key", Word::Name),
    ("sshkey", Word::Name),
    ("ssh_key", Word::Name),
    ("ssh-key", Word::Name),
    ("apikey", Word::Name),
    ("api_key", Word::Name),
    ("api-key", Word::Name),
    ("encryption_key", Word::Name),
    ("encryption-key", Word::Name),
    ("master_key", Word::Name),
    ("master-key", Word::Name),
    ("credential", Word::Name),
    ("credentials", Word::Name),
    ("amz-signature", Word::Name),
    ("registry-auth", Word::Name),
    ("\"auth", Word::Name),
    ("dockerconfigjson", Word::Name),
    ("authorization", Word::Header),
    ("cookie", Word::Header),
    ("--password", Word::Flag),
    ("--passphrase", Word::Flag),
    ("--token", Word::Flag),
    ("--secret-key", Word::Flag),
    ("--api-key", Word::Flag),
    ("bearer ", Word::Run(&BEARER)),
    ("basic ", Word::Run(&BEARER)),
    ("-----begin ", Word::Begin),
    ("-----end ", Word::End),
];

/// Words as they are.
const MARKS: &[(&str, Word)] = &[
    ("://", Word::Authority),
    // The beginning of a JSON object in base64: a JWT, or another document with a name in front.
    ("eyJ", Word::Apart(&JSON)),
    ("eyJhbGciOi", Word::Run(&JOSE)),
    ("eyJ0eXAiOi", Word::Run(&JOSE)),
    ("eyJraWQiOi", Word::Run(&JOSE)),
    ("eyJlbmMiOi", Word::Run(&JOSE)),
    ("AKIA", Word::Apart(&AWS)),
    ("ASIA", Word::Apart(&AWS)),
    ("ckj1.", Word::Apart(&OURS)),
    ("ckk1_", Word::Apart(&OURS)),
    ("ghp_", Word::Apart(&TOKEN)),
    ("gho_", Word::Apart(&TOKEN)),
    ("ghs_", Word::Apart(&TOKEN)),
    ("github_pat_", Word::Apart(&TOKEN)),
    ("glpat-", Word::Apart(&TOKEN)),
    // `-----BEGIN ` in base64, and the labels of private keys.
    ("LS0tLS1CRUdJTiBSU0Eg", Word::Encoded),
    ("LS0tLS1CRUdJTiBFQyBQ", Word::Encoded),
    ("LS0tLS1CRUdJTiBEU0Eg", Word::Encoded),
    ("LS0tLS1CRUdJTiBQUklW", Word::Encoded),
    ("LS0tLS1CRUdJTiBPUEVO", Word::Encoded),
    ("LS0tLS1CRUdJTiBFTkNS", Word::Encoded),
];

/// The shortest that is taken for a token of a header: longer than the words that follow in prose.
const BEARER: Rule = Rule { letter: is_token, least: 16, most: u32::MAX };
const JSON: Rule = Rule { letter: is_token, least: 13, most: u32::MAX };
const JOSE: Rule = Rule { letter: is_token, least: 6, most: u32::MAX };
/// The id of an AWS key, which has as many letters.
const AWS: Rule = Rule { letter: is_capital, least: 16, most: 16 };
const OURS: Rule = Rule { letter: is_token, least: 8, most: u32::MAX };
const TOKEN: Rule = Rule { letter: is_token, least: 16, most: u32::MAX };

/// What a masked byte becomes. It is a letter of every secret, so that what is masked once is taken for the
/// same when it is looked at again.
pub(super) const MASK: u8 = b'*';

/// What tokens are made of (RFC 7235), and base64 in both alphabets.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | MASK)
}

/// What a line of PEM is made of.
pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | MASK)
}

fn is_capital(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == MASK
}

/// Finds [`WORDS`].
pub(super) static IN_ANY_CASE: LazyLock<Automaton> = LazyLock::new(|| automaton(WORDS, true));
/// Finds [`MARKS`].
pub(super) static AS_THEY_ARE: LazyLock<Automaton> = LazyLock::new(|| automaton(MARKS, false));

fn automaton(words: &'static [(&'static str, Word)], ignore_case: bool) -> Automaton {
    Automaton::new(words.iter().zip(0..).map(|((word, _), n)| (word.as_bytes(), n)), ignore_case)
}

/// A word in any case that was found.
pub(super) fn word(found: u16) -> Option<(&'static str, Word)> {
    WORDS.get(usize::from(found)).copied()
}

/// A word as it is that was found.
pub(super) fn mark(found: u16) -> Option<(&'static str, Word)> {
    MARKS.get(usize::from(found)).copied()
}

/// All words.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    WORDS.iter().chain(MARKS).map(|(word, _)| *word)
}
