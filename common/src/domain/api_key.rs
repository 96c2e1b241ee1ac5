//! API keys: what a program or a person exchanges for short tokens.
//!
//! `ckk1_<handle><secret>`: the prefix lets scanners find a key that was left somewhere; the handle, 8
//! characters, names the key in lists and finds it in the store; the secret has 43 more. What is kept
//! is a hash of the whole. Errors never repeat the key.

use std::fmt;
use std::str::FromStr;

use super::environment::Grant;
use super::id::ApiKeyId;
use super::secret::Secret;
use super::time::Timestamp;

/// What every API key begins with; names the form's version.
pub const PREFIX: &str = "ckk1_";
/// Characters that name the key.
pub const HANDLE_CHARACTERS: usize = 8;
/// Characters of the secret: 43 of base 62 carry 256 bits.
pub const SECRET_CHARACTERS: usize = 43;
/// Most grants of one key: the tokens made from it must fit into a header.
pub const MOST_GRANTS: usize = 32;

/// An API key, as its holder has it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyText(Secret);

/// Why a text is not an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key: one is `{PREFIX}` and {} letters and digits", HANDLE_CHARACTERS + SECRET_CHARACTERS)]
pub struct NoApiKey;

impl ApiKeyText {
    /// Puts a key together from random letters and digits, as many as one has.
    pub(crate) fn of_random(text: &str) -> Self {
        Self(Secret::new(format!("{PREFIX}{text}")))
    }

    /// The part that names the key and is no secret.
    #[must_use]
    pub fn handle(&self) -> &str {
        &self.0.expose()[PREFIX.len()..PREFIX.len() + HANDLE_CHARACTERS]
    }

    /// The whole key, for its holder, once.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl FromStr for ApiKeyText {
    type Err = NoApiKey;
    fn from_str(text: &str) -> Result<Self, NoApiKey> {
        let rest = text.strip_prefix(PREFIX).ok_or(NoApiKey)?;
        let whole = rest.len() == HANDLE_CHARACTERS + SECRET_CHARACTERS;
        if whole && rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(Secret::new(text)))
        } else {
            Err(NoApiKey)
        }
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}•••", self.handle())
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The characters after the prefix that name it.
    pub handle: String,
    /// What its owner calls it.
    pub name: String,
    /// Whom its tokens stand for.
    pub subject: String,
    /// What its tokens may do, and where.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When a token was made from it last.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "ckk1_AbCdEfGh0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

    #[test]
    fn a_key_is_read_whole_or_not_at_all_and_is_never_shown() {
        let key: ApiKeyText = GOOD.parse().unwrap();
        assert_eq!((key.handle(), key.expose()), ("AbCdEfGh", GOOD));
        assert_eq!(format!("{key:?}"), "ckk1_AbCdEfGh•••");
        let cut = &GOOD[..GOOD.len() - 1];
        for bad in ["", "ckk1_", cut, &format!("{GOOD}0"), &GOOD.replace("ckk1", "ckj1"), &GOOD.replace('0', "-")] {
            let fault = bad.parse::<ApiKeyText>().unwrap_err().to_string();
            assert!(!fault.contains("AbCd"), "{fault}");
        }
        assert!("ckk1_AbCdEfGhé123456789abcdefghijklmnopqrstuvwxyzABCDEFG".parse::<ApiKeyText>().is_err());
    }
}
