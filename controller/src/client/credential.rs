//! What requests are authorized with: a token, and perhaps an API key that makes new ones.
//!
//! A credential comes from a file, standard input or the environment, never from the command line,
//! where every user of the host can see it.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use data_encoding::BASE64URL_NOPAD;
use rustix::termios::{self, LocalModes, OptionalActions};
use serde_json::Value;

use super::fault::Fault;

/// What API keys begin with.
const API_KEY_PREFIX: &str = "ckk1_";
/// Longest text that is read in search of a credential.
const MOST_BYTES: u64 = 16 * 1024;
/// A token is renewed so long before its end: a request takes time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(20);

/// A credential.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Credential {
    /// Makes tokens.
    pub(super) api_key: Option<Secret>,
    /// What requests carry.
    pub(super) token: Option<Secret>,
    /// When the token ends, where that is known.
    pub(super) expires_at: Option<Timestamp>,
}

impl Credential {
    /// Takes a text for what it is: an API key, or a token.
    pub(super) fn of(text: Secret) -> Self {
        if text.expose().starts_with(API_KEY_PREFIX) {
            return Self { api_key: Some(text), ..Self::default() };
        }
        let expires_at = end_of(text.expose());
        Self { api_key: None, token: Some(text), expires_at }
    }

    /// The token to send at this time; none when a new one has to be made first.
    pub(super) fn token_at(&self, now: Timestamp) -> Option<&Secret> {
        let renewable = self.api_key.is_some();
        let ended = self.expires_at.is_some_and(|end| end <= now.after(MARGIN));
        // Without an API key the controller is to say that it has ended: its clock counts.
        self.token.as_ref().filter(|_| !(renewable && ended))
    }
}

/// What a token says of its own end. It is only looked at, not believed: the controller checks it.
fn end_of(token: &str) -> Option<Timestamp> {
    let payload = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    Some(Timestamp::from_millis(claims["exp"].as_i64()?.checked_mul(1000)?))
}

/// Reads a credential from a file, or from standard input for `-`.
///
/// # Errors
/// When it cannot be read or is empty.
pub(super) fn read(from: &Path) -> Result<Secret, Fault> {
    if from == Path::new("-") {
        let stdin = io::stdin();
        return if stdin.is_terminal() { ask(&stdin) } else { text_of(stdin, "standard input") };
    }
    let shown = from.display().to_string();
    let file = File::open(from).map_err(|error| Fault::local(format!("read {shown}"), error))?;
    text_of(file, &shown)
}

/// Asks a person, who does not see what they type.
fn ask(stdin: &io::Stdin) -> Result<Secret, Fault> {
    let failed = |error: rustix::io::Errno| Fault::local("read from the terminal", error.into());
    let before = termios::tcgetattr(stdin).map_err(failed)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(stdin, OptionalActions::Now, &silent).map_err(failed)?;
    // Asked only now: whoever sees the question may type at once.
    let _nobody_reads = write!(io::stderr(), "API key or token (not shown): ").and_then(|()| io::stderr().flush());
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    let _best_effort = termios::tcsetattr(stdin, OptionalActions::Now, &before);
    let _nobody_reads = writeln!(io::stderr());
    read.map_err(|error| Fault::local("read from the terminal", error))?;
    checked(line, "the terminal")
}

fn text_of(source: impl Read, from: &str) -> Result<Secret, Fault> {
    let mut text = String::new();
    source
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| Fault::local(format!("read the credential from {from}"), error))?;
    checked(text, from)
}

fn checked(text: String, from: &str) -> Result<Secret, Fault> {
    let text = Secret::new(text);
    let trimmed = text.expose().trim();
    if trimmed.is_empty() || !trimmed.bytes().all(|b| b.is_ascii_graphic()) {
        let message = format!("what {from} holds is neither an API key nor a token");
        return Err(Fault::usage(
            message,
            "An administrator makes API keys; `cratekube-controller token issue` prints a token.",
        ));
    }
    Ok(Secret::new(trimmed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(exp: i64) -> Secret {
        let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        Secret::new(format!("{}.{}.c2ln", part(serde_json::json!({})), part(serde_json::json!({"exp": exp}))))
    }

    #[test]
    fn a_token_is_sent_until_shortly_before_its_end_if_another_can_be_made() {
        let now = Timestamp::from_millis(1_000_000);
        let with_key = |exp| Credential { api_key: Some(Secret::new("ckk1_x")), ..Credential::of(jwt(exp)) };
        assert!(with_key(1_021).token_at(now).is_some());
        assert!(with_key(1_020).token_at(now).is_none());
        assert!(Credential::of(jwt(1)).token_at(now).is_some(), "the controller says that it has ended");
        let key = Credential::of(Secret::new("ckk1_abc"));
        assert!(key.token_at(now).is_none() && key.api_key.is_some());
        assert_eq!(Credential::of(Secret::new("no.jwt")).expires_at, None);
    }

    #[test]
    fn hostile_row_31_a_credential_is_read_from_a_file_and_nothing_of_a_bad_one_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "  ckk1_hunter2\n").unwrap();
        assert_eq!(read(&file).unwrap().expose(), "ckk1_hunter2");
        for bad in ["", " \n", "two words", "a\u{1b}b", "é"] {
            std::fs::write(&file, bad).unwrap();
            let shown = read(&file).unwrap_err().lines().join("\n");
            assert!(!shown.contains("two words") && shown.contains("what to do"), "{shown}");
        }
        assert!(read(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
