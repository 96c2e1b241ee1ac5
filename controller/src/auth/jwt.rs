//! Bearer tokens: EdDSA, short-lived, strict, revocable.
//!
//! A token that is not exactly what [`Tokens::issue`] writes is refused: another algorithm, a missing
//! claim, a number written as text, a lifetime beyond the limit. The reason is a [`TokenFault`] for
//! the audit; a client is told the same thing for all of them. Time is the [`Clock`]'s, so
//! jsonwebtoken's own checks of time are off. Headers that name keys (`jku`, `x5u`, `jwk`) are never
//! followed: a key is one of those given, by its `kid`, or there is none.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cratekube_common::domain::api_key::{self, ApiKey};
use cratekube_common::domain::environment::Grant;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::intake::parse_json;
use cratekube_common::runtime::clock::Clock;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use super::cache::Verified;
use super::key::SigningKey;
use super::revocations::Revocations;

/// How far clocks may be apart.
pub const LEEWAY_S: u64 = 5;

/// Longest token that is looked at: a few dozen grants take 4 KiB.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Most grants in one token: they are gone through on every request.
const MAX_GRANTS: usize = 64;

/// Longest subject or token id.
const MAX_NAME_BYTES: usize = 255;

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Whose it is.
    pub subject: String,
    /// Its own id (`jti`).
    pub token_id: String,
    /// The id of the API key that it was made from.
    pub api_key: Option<String>,
    /// The key that signed it.
    pub kid: String,
    /// When it was made, in seconds since the epoch.
    pub issued_at_s: u64,
    /// From when it counts.
    pub not_before_s: u64,
    /// Until when it counts.
    pub expires_at_s: u64,
    /// What its subject may do, and where.
    pub grants: Vec<Grant>,
}

impl Claims {
    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.expires_at_s).unwrap_or(i64::MAX).saturating_mul(1000))
    }
}

/// Whom a token is made for.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// Whose it will be.
    pub subject: &'a str,
    /// What it may do, and where.
    pub grants: &'a [Grant],
    /// The API key that it is made from.
    pub api_key: Option<&'a ApiKey>,
}

/// Why a token was refused: for the audit, never for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// An API key where a token belongs.
    #[error("an API key was sent as a token; it must be exchanged for one")]
    ApiKey,
    /// Not three parts of base64url JSON, or too long.
    #[error("the token is malformed")]
    Malformed,
    /// Any `alg` but EdDSA, or none.
    #[error("the token's algorithm is not EdDSA")]
    Algorithm,
    /// The header asks for something we do not do (`crit`).
    #[error("the token's header has critical extensions")]
    Critical,
    /// No `kid`.
    #[error("the token names no key")]
    KeyMissing,
    /// A `kid` that is not ours.
    #[error("the token names an unknown key")]
    KeyUnknown,
    /// The signature is not of that key.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is not there.
    #[error("the token lacks the claim {0}")]
    Missing(&'static str),
    /// A claim is of the wrong type or out of its bounds.
    #[error("the token's claim {0} is malformed")]
    Claim(&'static str),
    /// Of another issuer.
    #[error("the token has another issuer")]
    Issuer,
    /// For another audience.
    #[error("the token has another audience")]
    Audience,
    /// Ended.
    #[error("the token has expired")]
    Expired,
    /// Not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Made in the future.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// `exp` − `iat` beyond the limit.
    #[error("the token's lifetime is too long")]
    LifetimeTooLong,
    /// Revoked, by itself, with its subject, with its API key or with everything before a time.
    #[error("the token was revoked")]
    Revoked,
}

/// Why a token cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueFault {
    /// Longer than this controller would accept.
    #[error("a token lives {limit_s} s at most")]
    LifetimeTooLong {
        /// The limit.
        limit_s: u64,
    },
    /// Subject or id empty or too long, or too many grants.
    #[error("a token needs a subject and an id of 1 to {MAX_NAME_BYTES} bytes, and at most {MAX_GRANTS} grants")]
    OutOfBounds,
    /// There is no key.
    #[error("there is no signing key")]
    NoKey,
    /// The key does not sign.
    #[error("the signing key cannot be used")]
    Signing,
    /// What was signed does not verify: the self-test.
    #[error("a token that was just made does not verify: {0}")]
    SelfTest(TokenFault),
}

pub(super) struct Keys {
    pub(super) signing: Option<(String, EncodingKey)>,
    verifying: HashMap<String, DecodingKey>,
}

impl Keys {
    fn of(keys: &[SigningKey]) -> Self {
        Self {
            signing: keys.first().map(|key| (key.kid.clone(), EncodingKey::from_ed_der(&key.pkcs8))),
            verifying: keys.iter().map(|key| (key.kid.clone(), DecodingKey::from_ed_der(key.public()))).collect(),
        }
    }
}

/// Makes and checks tokens.
pub struct Tokens {
    pub(super) keys: RwLock<Keys>,
    revoked: Revocations,
    validation: Validation,
    issuer: String,
    audience: String,
    max_lifetime: Duration,
    clock: Clock,
    verified: Verified,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let kids: Vec<_> = keys.verifying.keys().collect();
        f.debug_struct("Tokens").field("issuer", &self.issuer).field("kids", &kids).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens of one issuer for one audience. The first key signs, all verify.
    #[must_use]
    pub fn new(keys: &[SigningKey], issuer: &str, audience: &str, max_lifetime: Duration, clock: Clock) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        Self {
            keys: RwLock::new(Keys::of(keys)),
            revoked: Revocations::default(),
            validation,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            max_lifetime,
            clock,
            verified: Verified::default(),
        }
    }

    /// Uses other keys from now on: the first signs, all verify.
    pub fn use_keys(&self, keys: &[SigningKey]) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Keys::of(keys);
        self.verified.clear();
        self.revoked.announce();
    }

    /// Whether a token that verified counts no more: it was revoked, or its key was.
    #[must_use]
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        !keys.verifying.contains_key(&claims.kid) || self.revoked.cover(claims)
    }

    /// What was revoked.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revoked
    }

    /// Waits until a token is revoked.
    pub async fn revoked(&self, claims: &Claims) {
        let mut changes = self.revoked.changes();
        loop {
            changes.borrow_and_update();
            if self.is_revoked(claims) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The longest that a token may live.
    #[must_use]
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime
    }

    /// Makes a token that is made from no API key.
    ///
    /// # Errors
    /// When it would not be accepted, or cannot be signed.
    pub fn issue(
        &self,
        subject: &str,
        grants: &[Grant],
        lifetime: Duration,
        token_id: &str,
    ) -> Result<String, IssueFault> {
        self.issue_to(Holder { subject, grants, api_key: None }, self.clock.now(), lifetime, token_id)
    }

    /// Makes a token. `asked_at` is when its holder was looked at: what was revoked after that must
    /// cover the token.
    ///
    /// # Errors
    /// When it would not be accepted, or cannot be signed.
    pub fn issue_to(
        &self,
        holder: Holder<'_>,
        asked_at: Timestamp,
        lifetime: Duration,
        token_id: &str,
    ) -> Result<String, IssueFault> {
        if lifetime > self.max_lifetime {
            return Err(IssueFault::LifetimeTooLong { limit_s: self.max_lifetime.as_secs() });
        }
        let Holder { subject, grants, api_key } = holder;
        if !is_name(subject) || !is_name(token_id) || grants.len() > MAX_GRANTS {
            return Err(IssueFault::OutOfBounds);
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let (kid, key) = keys.signing.as_ref().ok_or(IssueFault::NoKey)?;
        let header = Header { kid: Some(kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let asked = seconds(asked_at);
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "jti": token_id,
            "iat": asked.max(self.revoked.earliest(subject, api_key.map(|key| key.created_at))),
            "nbf": asked,
            "exp": asked + lifetime.as_secs(),
            "grants": grants,
        });
        if let Some(api_key) = api_key {
            claims["api_key"] = json!(api_key.id);
        }
        jsonwebtoken::encode(&header, &claims, key).map_err(|_| IssueFault::Signing)
    }

    /// Checks a token.
    ///
    /// # Errors
    /// Why it is refused; the client must not be told.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenFault> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenFault::Malformed);
        }
        if token.starts_with(api_key::PREFIX) {
            return Err(TokenFault::ApiKey);
        }
        let digest = Verified::digest(token);
        let now = self.now_s();
        if let Some(claims) = self.verified.get(&digest) {
            return match self.check_living(&claims, now) {
                Ok(()) => Ok(claims),
                Err(fault) => {
                    self.verified.forget(&digest);
                    Err(fault)
                }
            };
        }
        let claims = Arc::new(self.verify_signed(token)?);
        self.check_living(&claims, now)?;
        self.verified.keep(digest, Arc::clone(&claims), now);
        Ok(claims)
    }

    /// Signs and verifies once: a controller that cannot do this must not start.
    ///
    /// # Errors
    /// What does not work.
    pub fn self_test(&self) -> Result<(), IssueFault> {
        let lifetime = self.max_lifetime.min(Duration::from_secs(1));
        let token = self.issue("self-test", &[], lifetime, "self-test")?;
        self.verify(&token).map(|_| ()).map_err(IssueFault::SelfTest)
    }

    fn verify_signed(&self, token: &str) -> Result<Claims, TokenFault> {
        let kid = key_named_by(token)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.verifying.get(&kid).ok_or(TokenFault::KeyUnknown)?;
        let data = jsonwebtoken::decode::<Value>(token, key, &self.validation).map_err(|e| finer(&e, token))?;
        let claims = Claims { kid, ..read_claims(&data.claims)? };
        // jsonwebtoken lets `iss` be a list that contains ours; we write one issuer and want one.
        if data.claims["iss"] != self.issuer.as_str() {
            return Err(TokenFault::Issuer);
        }
        Ok(claims)
    }

    fn check_living(&self, claims: &Claims, now: u64) -> Result<(), TokenFault> {
        self.check_times(claims, now)?;
        if self.is_revoked(claims) { Err(TokenFault::Revoked) } else { Ok(()) }
    }

    fn check_times(&self, claims: &Claims, now: u64) -> Result<(), TokenFault> {
        if now >= claims.expires_at_s.saturating_add(LEEWAY_S) {
            return Err(TokenFault::Expired);
        }
        if claims.not_before_s > now.saturating_add(LEEWAY_S) {
            return Err(TokenFault::NotYetValid);
        }
        if claims.issued_at_s > now.saturating_add(LEEWAY_S) {
            return Err(TokenFault::IssuedInFuture);
        }
        if claims.expires_at_s.saturating_sub(claims.issued_at_s) > self.max_lifetime.as_secs() {
            return Err(TokenFault::LifetimeTooLong);
        }
        Ok(())
    }

    fn now_s(&self) -> u64 {
        seconds(self.clock.now())
    }
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0) / 1000
}

/// Reads the header by hand: the reasons for the audit are finer than the library's errors.
fn key_named_by(token: &str) -> Result<String, TokenFault> {
    let (header, rest) = token.split_once('.').ok_or(TokenFault::Malformed)?;
    if rest.split('.').count() != 2 {
        return Err(TokenFault::Malformed);
    }
    let bytes = data_encoding::BASE64URL_NOPAD.decode(header.as_bytes()).map_err(|_| TokenFault::Malformed)?;
    let header = parse_json(&bytes).map_err(|_| TokenFault::Malformed)?;
    let header = header.as_object().ok_or(TokenFault::Malformed)?;
    if header.get("alg").and_then(Value::as_str) != Some("EdDSA") {
        return Err(TokenFault::Algorithm);
    }
    if header.contains_key("crit") {
        return Err(TokenFault::Critical);
    }
    header.get("kid").and_then(Value::as_str).map(ToOwned::to_owned).ok_or(TokenFault::KeyMissing)
}

/// The library does not tell an absent claim from a mistyped one: for the audit we look ourselves.
/// Whatever comes of it, the token is refused.
fn finer(error: &jsonwebtoken::errors::Error, token: &str) -> TokenFault {
    let fault = fault_of(error);
    if !matches!(fault, TokenFault::Missing(_) | TokenFault::Malformed) {
        return fault;
    }
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(token);
    claims.ok().and_then(|claims| read_claims(&claims).err()).unwrap_or(fault)
}

fn fault_of(error: &jsonwebtoken::errors::Error) -> TokenFault {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => TokenFault::Algorithm,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::MissingRequiredClaim(claim) => {
            let known = ["exp", "nbf", "iss", "aud", "sub"];
            TokenFault::Missing(known.into_iter().find(|name| name == claim).unwrap_or("?"))
        }
        _ => TokenFault::Malformed,
    }
}

fn read_claims(claims: &Value) -> Result<Claims, TokenFault> {
    let grants = claims.get("grants").ok_or(TokenFault::Missing("grants"))?;
    let grants: Vec<Grant> = serde_json::from_value(grants.clone()).map_err(|_| TokenFault::Claim("grants"))?;
    if grants.len() > MAX_GRANTS {
        return Err(TokenFault::Claim("grants"));
    }
    Ok(Claims {
        subject: name(claims, "sub")?,
        token_id: name(claims, "jti")?,
        api_key: claims.get("api_key").map(|_| name(claims, "api_key")).transpose()?,
        kid: String::new(),
        issued_at_s: number(claims, "iat")?,
        not_before_s: number(claims, "nbf")?,
        expires_at_s: number(claims, "exp")?,
        grants,
    })
}

fn name(claims: &Value, claim: &'static str) -> Result<String, TokenFault> {
    let text = claims.get(claim).ok_or(TokenFault::Missing(claim))?.as_str();
    text.filter(|text| is_name(text)).map(ToOwned::to_owned).ok_or(TokenFault::Claim(claim))
}

fn number(claims: &Value, claim: &'static str) -> Result<u64, TokenFault> {
    // Whole numbers only: `as_u64` refuses 1.5, 1.0, "1" and -1 alike.
    claims.get(claim).ok_or(TokenFault::Missing(claim))?.as_u64().ok_or(TokenFault::Claim(claim))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
