//! Secrets that a run knows: the passwords of its registries, in every form in which they may be printed.
//!
//! A form that is long is taken in pieces, each of which is masked, so that the table stays small and
//! little is held. Bounded: a description that is nothing but passwords has its rarer forms left out. Of
//! less than four letters nothing is masked: it would shred the output and hide nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use aho_corasick::packed::Searcher;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};

use super::automaton::Automaton;
use super::skim;
use crate::domain::secret::Secret;
use crate::rke::yaml;

/// The shortest text that is masked.
const SHORTEST: usize = 4;
/// The shortest that is masked within base64, where few letters say little.
const SHORTEST_ENCODED: usize = 8;
/// The longest piece of a long text, but for a rest.
const PIECE: usize = 64;
/// Most letters of all forms: some 16 MB of table.
const MOST: usize = 40 * 1024;

/// A login to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user; not secret.
    pub user: Option<String>,
    /// The password.
    pub password: Secret,
}

/// The secrets that a run knows.
#[derive(Clone)]
pub struct KnownSecrets(Arc<Known>);

struct Known {
    automaton: Automaton,
    by_prefix: Option<Searcher>,
}

impl std::fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KnownSecrets(•••)")
    }
}

impl KnownSecrets {
    /// Those of logins; none where there is nothing to mask.
    #[must_use]
    pub fn of(logins: &[Login]) -> Option<Self> {
        let forms: Vec<Vec<Vec<u8>>> = logins.iter().map(forms).collect();
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        let mut words = BTreeSet::new();
        let mut left = MOST;
        // The likely forms of all come before the rare ones of any.
        for form in (0..longest).flat_map(|n| forms.iter().filter_map(move |forms| forms.get(n))) {
            for piece in pieces(form) {
                if piece.len() <= left && words.insert(piece.to_vec()) {
                    left -= piece.len();
                }
            }
        }
        if words.is_empty() {
            return None;
        }
        let by_length = words.iter().map(|word| (&word[..], u16::try_from(word.len()).unwrap_or(u16::MAX)));
        let automaton = Automaton::new(by_length, false);
        let prefixes: BTreeSet<&[u8]> = words.iter().map(|word| &word[..SHORTEST]).collect();
        Some(Self(Arc::new(Known { automaton, by_prefix: skim::searcher(prefixes.into_iter()) })))
    }

    pub(super) fn automaton(&self) -> &Automaton {
        &self.0.automaton
    }

    /// Finds where one of them may begin; none where there are too many.
    pub(super) fn by_prefix(&self) -> Option<&Searcher> {
        self.0.by_prefix.as_ref()
    }
}

/// How a password may be printed, the likely ways first.
fn forms(login: &Login) -> Vec<Vec<u8>> {
    let text = login.password.expose();
    if text.len() < SHORTEST {
        return Vec::new();
    }
    let described = unquoted(&yaml::emit(&text.into()));
    let once = [text.to_owned(), escaped(text), described, html(&escaped(text))];
    let twice: Vec<String> = once[1..].iter().map(|form| escaped(form)).collect();
    let thrice: Vec<String> = twice.iter().map(|form| escaped(form)).collect();
    let others = [text.replace('\'', "''"), percent(text)];
    let mut forms: Vec<Vec<u8>> =
        once.into_iter().chain(twice).chain(others).chain(thrice).map(String::into_bytes).collect();
    if let Some(user) = &login.user {
        forms.push(BASE64_NOPAD.encode(format!("{user}:{text}").as_bytes()).into_bytes());
    }
    forms.extend((0..3).flat_map(|offset| encoded(text.as_bytes(), offset)));
    forms
}

fn unquoted(yaml: &str) -> String {
    yaml.trim_end_matches('\n').trim_matches('"').to_owned()
}

/// As Go and JSON escape within quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out
}

/// As Go's JSON escapes what browsers take for markup.
fn html(escaped: &str) -> String {
    escaped.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// What of a text is sure to stand in base64 of something that has it at an offset, modulo three.
fn encoded(text: &[u8], offset: usize) -> Vec<Vec<u8>> {
    let padded = [&vec![0; offset][..], text].concat();
    let sure = (offset * 8).div_ceil(6)..padded.len() * 8 / 6;
    let both = [BASE64_NOPAD.encode(&padded), BASE64URL_NOPAD.encode(&padded)];
    let cut = both.map(|text| text.as_bytes().get(sure.clone()).unwrap_or_default().to_vec());
    cut.into_iter().filter(|form| form.len() >= SHORTEST_ENCODED).collect()
}

/// Pieces of about the same length, none of them short.
fn pieces(form: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = form.len().div_ceil(2 * PIECE).max(1);
    form.chunks(form.len().div_ceil(count).max(1)).filter(|piece| piece.len() >= SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(password: &str) -> Login {
        Login { user: Some("robot".into()), password: Secret::new(password) }
    }

    fn has(password: &str, form: &str) -> bool {
        forms(&login(password)).iter().any(|known| known == form.as_bytes())
    }

    #[test]
    fn a_password_is_known_as_it_is_escaped_quoted_in_urls_and_in_base64() {
        assert!(has("pa\"ss", "pa\"ss") && has("pa\"ss", "pa\\\"ss") && has("pa\"ss", "pa\\\\\\\"ss"));
        assert!(has("pä<ss", "p\\u00e4<ss") && has("pä<ss", "p\\\\u00e4<ss") && has("pä<ss", "pä\\u003css"));
        assert!(has("it's", "it''s") && has("p@ss w", "p%40ss%20w"));
        assert!(has("hunter2!", &BASE64_NOPAD.encode(b"robot:hunter2!")));
        let within = |prefix: &str| BASE64_NOPAD.encode(format!("{prefix}hunter2!suffix").as_bytes());
        for prefix in ["", "a", "ab", "abc"] {
            let within = within(prefix);
            let found = forms(&login("hunter2!")).iter().any(|f| within.as_bytes().windows(f.len()).any(|w| w == f));
            assert!(found, "{within}");
        }
    }

    #[test]
    fn too_short_and_too_much_is_bounded() {
        assert!(KnownSecrets::of(&[login("abc")]).is_none() && KnownSecrets::of(&[]).is_none());
        let long = "0123456789abcdef".repeat(20);
        assert!(pieces(long.as_bytes()).all(|piece| (PIECE..=2 * PIECE).contains(&piece.len())));
        assert_eq!(pieces(long.as_bytes()).map(<[u8]>::len).sum::<usize>(), long.len());
        let many: Vec<Login> = (0..64).map(|n| login(&format!("{n:04}").repeat(250))).collect();
        assert!(KnownSecrets::of(&many).is_some());
        assert!(!format!("{:?}", KnownSecrets::of(&many)).contains("0001"));
    }
}
