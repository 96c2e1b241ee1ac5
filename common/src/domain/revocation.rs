//! Revocations: tokens that count no more although they have not ended.

use super::id::RevocationId;
use super::spelled;
use super::time::Timestamp;

spelled! {
    /// What a revocation names.
    pub enum RevocationKind {
        /// One token, by its id (`jti`).
        Token = "token",
        /// A subject: its tokens made until then, and its API keys.
        Subject = "subject",
        /// An API key: the tokens made from it, and the key.
        ApiKey = "api-key",
        /// Every token made before a time, whoever has it.
        Before = "before",
    }
}

/// Tokens that count no more. It is never taken back; it is forgotten when no such token can live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its id.
    pub id: RevocationId,
    /// What it names.
    pub kind: RevocationKind,
    /// The name: a token's id, a subject, a key's id; for [`RevocationKind::Before`] the time, as text.
    pub value: String,
    /// For a subject and for `before`: tokens made until then are concerned.
    pub made_until: Timestamp,
    /// Why.
    pub reason: String,
    /// Who revoked.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// From when on no token that it concerns can live.
    pub until: Timestamp,
}
