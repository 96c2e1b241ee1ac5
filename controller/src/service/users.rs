//! API keys, and the tokens that are made from them.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use cratekube_common::domain::api_key::{ApiKey, ApiKeyText, MOST_GRANTS};
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::environment::Grant;
use cratekube_common::domain::id::{ApiKeyId, TokenId};
use cratekube_common::domain::revocation::RevocationKind;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::mint::Mint;

use super::revocations::Wanted;
use super::{Actor, Service, ServiceError};
use crate::auth::{Claims, Holder, IssueFault, TokenFault, Tokens};
use crate::store::{ApiKeyRefusal, ApiKeyUsed, NewApiKey, Page, PageRequest, StoreError, UseApiKey};

/// An API key that is wanted.
#[derive(Debug, Clone)]
pub struct WantedKey {
    /// What its owner calls it.
    pub name: String,
    /// Whom its tokens stand for.
    pub subject: String,
    /// What they may do, and where.
    pub grants: Vec<Grant>,
    /// How long it lives.
    pub lifetime: Duration,
}

/// Longest name of a key.
pub const MAX_NAME: usize = 100;
/// Longest subject: what a token may carry.
pub const MAX_SUBJECT: usize = 255;
/// Who acts without a token; a user of that name could not be told from them in the audit log.
pub const RESERVED: &[&str] = &["anonymous", "local", "controller"];

/// Checks a name or subject.
///
/// # Errors
/// The rule that it breaks.
pub fn check_words(text: &str, most: usize) -> Result<(), String> {
    if text.trim().is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(format!("must have 1 to {most} bytes and no control characters"));
    }
    if RESERVED.contains(&text) { Err(format!("{text:?} is reserved; choose another one")) } else { Ok(()) }
}

impl WantedKey {
    /// Checks what a person wrote.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), String> {
        check_words(&self.name, MAX_NAME).map_err(|fault| format!("the name {fault}"))?;
        check_words(&self.subject, MAX_SUBJECT).map_err(|fault| format!("the subject {fault}"))?;
        let grants = self.grants.len();
        if grants == 0 || grants > MOST_GRANTS { Err(format!("a key has 1 to {MOST_GRANTS} grants")) } else { Ok(()) }
    }

    /// Makes the key. The text is for its holder, once; the rest is kept.
    #[must_use]
    pub fn make(self, mint: &Mint, now: Timestamp, created_by: &str) -> (ApiKeyText, NewApiKey) {
        let text = mint.api_key();
        let key = ApiKey {
            id: mint.id(),
            handle: text.handle().to_owned(),
            name: self.name,
            subject: self.subject,
            grants: self.grants,
            created_at: now,
            created_by: created_by.to_owned(),
            expires_at: now.after(self.lifetime),
            last_used_at: None,
            revoked_at: None,
        };
        let sha256 = sha256(&text);
        (text, NewApiKey { key, sha256 })
    }

    /// What the audit is to know of it.
    #[must_use]
    pub fn described(&self) -> String {
        let grants: Vec<_> = self.grants.iter().map(|g| format!("{}:{}", g.role, g.environments)).collect();
        format!("{:?} for {} with {}", self.name, self.subject, grants.join(" "))
    }
}

/// A token with what it says.
#[derive(Debug)]
pub struct Exchanged {
    /// The token.
    pub token: String,
    /// What it says.
    pub claims: Arc<Claims>,
}

/// Why an API key was not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It does not count; the reason is for the audit, never for the other side.
    #[error("{0}")]
    Refused(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token could not be made.
    #[error(transparent)]
    Issue(#[from] IssueFault),
    /// The token was made and does not count: it was revoked in that moment.
    #[error(transparent)]
    Token(#[from] TokenFault),
}

impl Service {
    /// Notes that another key signs tokens from now on.
    ///
    /// # Errors
    /// When the store fails; the key signs all the same, and the log says so.
    pub async fn note_signing_key(
        &self,
        actor: &Actor,
        kid: String,
        at_once: bool,
        reason: &str,
    ) -> Result<(), ServiceError> {
        let how = if at_once { "every token that was made before has ended" } else { "the key before it verifies on" };
        tracing::warn!(kid, at_once, by = actor.subject, "another key signs tokens");
        let audit = actor.audit("signing-key.rotate", kid, format!("{reason} ({how})"));
        Ok(self.store.audit(audit, self.clock.now()).await?)
    }

    /// Makes an API key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create_api_key(&self, actor: &Actor, wanted: WantedKey) -> Result<(ApiKeyText, ApiKey), ServiceError> {
        let detail = wanted.described();
        let (text, new) = wanted.make(&self.mint, self.clock.now(), &actor.subject);
        let key = new.key.clone();
        let audit = actor.audit("api-key.create", key.id.to_string(), format!("{detail}, until {}", key.expires_at));
        self.store.keep_api_key(new, audit).await?;
        Ok((text, key))
    }

    /// API keys, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn api_keys(&self, page: PageRequest) -> Result<Page<ApiKey>, ServiceError> {
        Ok(self.store.api_keys(page).await?)
    }

    /// Ends an API key and the tokens that were made from it.
    ///
    /// # Errors
    /// When there is no such key, or it was ended before.
    pub async fn revoke_api_key(&self, actor: &Actor, tokens: &Tokens, id: ApiKeyId) -> Result<(), ServiceError> {
        let wanted = Wanted { kind: RevocationKind::ApiKey, value: id.to_string(), made_until: None, until: None };
        self.revoke(actor, tokens, wanted, "api-key.revoke", "the API key was deleted").await.map(|_| ())
    }

    /// Makes a token from an API key.
    ///
    /// # Errors
    /// When the key does not count, or the store fails.
    pub async fn exchange(
        &self,
        tokens: &Tokens,
        shown: &ApiKeyText,
        lifetime: Duration,
        (origin, request_id): (String, String),
    ) -> Result<Exchanged, ExchangeError> {
        let now = self.clock.now();
        let id: TokenId = self.mint.id();
        let audit = AuditEntry {
            actor: String::new(),
            origin,
            action: "token.exchange".to_owned(),
            object: String::new(),
            outcome: AuditOutcome::Allowed,
            detail: format!("token {id}"),
            request_id,
        };
        let request = UseApiKey { handle: shown.handle().to_owned(), sha256: sha256(shown), audit, now };
        let key = match self.store.use_api_key(request).await? {
            ApiKeyUsed::Accepted(key) => key,
            ApiKeyUsed::Refused(why) => return Err(ExchangeError::Refused(reason(why))),
        };
        let holder = Holder { subject: &key.subject, grants: &key.grants, api_key: Some(&key) };
        let token = tokens.issue_to(holder, now, lifetime, &id.to_string())?;
        let claims = tokens.verify(&token)?;
        Ok(Exchanged { token, claims })
    }
}

fn reason(why: ApiKeyRefusal) -> &'static str {
    match why {
        ApiKeyRefusal::Unknown => "the API key is not known",
        ApiKeyRefusal::Wrong => "the API key's secret is wrong",
        ApiKeyRefusal::Expired => "the API key has expired",
        ApiKeyRefusal::Revoked => "the API key was revoked",
    }
}

fn sha256(key: &ApiKeyText) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, key.expose().as_bytes()).as_ref());
    hash
}
