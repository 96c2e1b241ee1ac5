//! Join tokens: what a new agent is given so that it and the controller can trust each other.
//!
//! `ckj1.<secret>.<fingerprint>`: the secret proves the agent to the controller; the SHA-256 of the
//! authority's certificate proves the controller to the agent, so there is no trust on first use.
//! Errors never repeat the token: half of it is a secret.

use std::fmt;
use std::str::FromStr;

use super::secret::Secret;

/// What every join token begins with; names the form's version.
pub const PREFIX: &str = "ckj1";
/// Characters of the secret that a controller mints: 43 of base 62 carry 256 bits.
pub const SECRET_CHARACTERS: usize = 43;
/// Fewest characters of a secret that is accepted, as CrateKube's standard for tokens asks.
pub const FEWEST_SECRET_CHARACTERS: usize = 20;
/// More than any secret has; bounds what is read from a stranger.
pub const MOST_SECRET_CHARACTERS: usize = 256;
/// Characters of a SHA-256 in hex.
const FINGERPRINT_CHARACTERS: usize = 64;

/// A join token, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Proves the agent to the controller; stored hashed there.
    pub secret: Secret,
    /// SHA-256 of the authority's certificate (DER), lower-case hex: proves the controller to the agent.
    pub ca_sha256: String,
}

/// Why a text is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// Nothing was given.
    #[error("the join token is empty: paste what `cratekube-controller agent join-token` printed")]
    Empty,
    /// It does not begin as join tokens do.
    #[error("this is not a join token: a join token begins with `{PREFIX}.`")]
    Prefix,
    /// It has too few or too many parts.
    #[error("the join token has {0} parts instead of 3 (`{PREFIX}.<secret>.<fingerprint>`): was it cut off?")]
    Parts(usize),
    /// The secret is too short or too long.
    #[error(
        "the secret in the join token has {0} characters instead of {FEWEST_SECRET_CHARACTERS} to {MOST_SECRET_CHARACTERS}: was it cut off?"
    )]
    SecretLength(usize),
    /// The secret has a character that no secret has.
    #[error("the secret in the join token has a character other than 0-9, a-z and A-Z")]
    SecretCharacter,
    /// The fingerprint is not a SHA-256.
    #[error(
        "the join token does not end with a fingerprint of {FINGERPRINT_CHARACTERS} lower-case hex digits: was it cut off?"
    )]
    Fingerprint,
}

impl JoinToken {
    /// Puts a token together.
    ///
    /// # Errors
    /// When a part breaks the rules that [`FromStr`] checks.
    pub fn new(secret: &str, ca_sha256: &str) -> Result<Self, JoinTokenError> {
        check_secret(secret)?;
        check_fingerprint(ca_sha256)?;
        Ok(Self { secret: Secret::new(secret), ca_sha256: ca_sha256.to_owned() })
    }

    /// The whole text, for the one person who carries it to the agent.
    #[must_use]
    pub fn expose(&self) -> Secret {
        Secret::new(format!("{PREFIX}.{}.{}", self.secret.expose(), self.ca_sha256))
    }
}

fn check_secret(secret: &str) -> Result<(), JoinTokenError> {
    let length = secret.chars().count();
    if !(FEWEST_SECRET_CHARACTERS..=MOST_SECRET_CHARACTERS).contains(&length) {
        return Err(JoinTokenError::SecretLength(length));
    }
    let base62 = secret.bytes().all(|b| b.is_ascii_alphanumeric());
    if base62 { Ok(()) } else { Err(JoinTokenError::SecretCharacter) }
}

fn check_fingerprint(text: &str) -> Result<(), JoinTokenError> {
    let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex && text.len() == FINGERPRINT_CHARACTERS { Ok(()) } else { Err(JoinTokenError::Fingerprint) }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("secret", &self.secret).field("ca_sha256", &self.ca_sha256).finish()
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(JoinTokenError::Empty);
        }
        let parts: Vec<&str> = text.split('.').collect();
        match parts.as_slice() {
            [PREFIX, secret, fingerprint] => Self::new(secret, fingerprint),
            [PREFIX, ..] => Err(JoinTokenError::Parts(parts.len())),
            _ => Err(JoinTokenError::Prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "0123456789abcdefghijABCDEFGHIJklmnopqrstuvw";

    #[test]
    fn each_way_to_damage_a_token_has_its_own_sentence() {
        let fingerprint = "ab".repeat(32);
        let long = "x".repeat(257);
        let cases: &[(&str, JoinTokenError)] = &[
            (" \n", JoinTokenError::Empty),
            ("hello", JoinTokenError::Prefix),
            (&format!("ckj2.{SECRET}.{fingerprint}"), JoinTokenError::Prefix),
            (&format!("ckj1.{SECRET}"), JoinTokenError::Parts(2)),
            (&format!("ckj1.{SECRET}.{fingerprint}.x"), JoinTokenError::Parts(4)),
            (&format!("ckj1.{}.{fingerprint}", &SECRET[..19]), JoinTokenError::SecretLength(19)),
            (&format!("ckj1..{fingerprint}"), JoinTokenError::SecretLength(0)),
            (&format!("ckj1.{long}.{fingerprint}"), JoinTokenError::SecretLength(257)),
            (&format!("ckj1.{}_.{fingerprint}", &SECRET[..30]), JoinTokenError::SecretCharacter),
            (&format!("ckj1.{}é.{fingerprint}", &SECRET[..30]), JoinTokenError::SecretCharacter),
            (&format!("ckj1.{SECRET}.{}", &fingerprint[1..]), JoinTokenError::Fingerprint),
            (&format!("ckj1.{SECRET}.{}", fingerprint.to_uppercase()), JoinTokenError::Fingerprint),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<JoinToken>().as_ref(), Err(expected), "{text:?}");
            assert!(!expected.to_string().contains(&SECRET[..10]), "an error repeats the secret");
        }
        let shortest = format!("ckj1.{}.{fingerprint}", &SECRET[..20]);
        assert!(shortest.parse::<JoinToken>().is_ok());
    }

    #[test]
    fn a_token_reads_back_and_never_shows_its_secret() {
        let token = JoinToken::new(SECRET, &"0f".repeat(32)).unwrap();
        let text = token.expose();
        assert_eq!(format!("  {}\n", text.expose()).parse::<JoinToken>().as_ref(), Ok(&token));
        assert!(!format!("{token:?} {text:?}").contains(SECRET));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_written_back_the_same(text in "(ckj1)?[.]?[0-9A-Za-z]{0,60}[.]?[0-9a-f]{0,66}") {
            if let Ok(token) = text.parse::<JoinToken>() {
                let written = token.expose();
                prop_assert_eq!(written.expose(), text);
                prop_assert!(token.secret.expose().len() >= FEWEST_SECRET_CHARACTERS);
            }
        }

        #[test]
        fn no_text_at_all_makes_it_panic(text in "\\PC{0,200}") {
            let _either = text.parse::<JoinToken>();
        }

        #[test]
        fn every_minted_token_is_accepted(secret in "[0-9A-Za-z]{43}", ca in "[0-9a-f]{64}") {
            let token = JoinToken::new(&secret, &ca).unwrap();
            prop_assert_eq!(token.expose().expose().parse::<JoinToken>(), Ok(token));
        }
    }
}
