//! Revoking tokens: recorded, then honoured by this process at once and by every other one when it
//! looks the next time ([`Refresh`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cratekube_common::domain::revocation::{Revocation, RevocationKind};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::Clock;

use super::{Actor, Service, ServiceError};
use crate::auth::Tokens;
use crate::auth::jwt::LEEWAY_S;
use crate::store::{Page, PageRequest, Store, StoreError};

/// What is to be revoked.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it names.
    pub kind: RevocationKind,
    /// The name.
    pub value: String,
    /// Tokens made until then; until now when not given.
    pub made_until: Option<Timestamp>,
    /// From when on no token that it concerns can live, when that is known.
    pub until: Option<Timestamp>,
}

impl Service {
    /// Revokes tokens; streams that were opened with one of them are cut.
    ///
    /// # Errors
    /// When what it names is not there, or the store fails.
    pub async fn revoke(
        &self,
        actor: &Actor,
        tokens: &Tokens,
        wanted: Wanted,
        action: &str,
        reason: &str,
    ) -> Result<Revocation, ServiceError> {
        let now = self.clock.now();
        let longest = now.after(tokens.max_lifetime() + 2 * Duration::from_secs(LEEWAY_S));
        let revocation = Revocation {
            id: self.mint.id(),
            kind: wanted.kind,
            made_until: wanted.made_until.unwrap_or_else(|| tokens.revocations().reach(now)),
            until: wanted.until.unwrap_or(longest),
            reason: reason.to_owned(),
            by: actor.subject.clone(),
            at: now,
            value: wanted.value,
        };
        let object = format!("{} {}", revocation.kind, revocation.value);
        let audit = actor.audit(action, object, reason.to_owned());
        if !self.store.revoke(revocation.clone(), audit).await? {
            return Err(ServiceError::NotFound);
        }
        tokens.revocations().merge(std::slice::from_ref(&revocation), now);
        Ok(revocation)
    }

    /// Revocations, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revocations(&self, page: PageRequest) -> Result<Page<Revocation>, ServiceError> {
        Ok(self.store.revocations(page).await?)
    }
}

/// Takes over what other processes revoked.
#[derive(Debug)]
pub struct Refresh {
    store: Arc<dyn Store>,
    tokens: Arc<Tokens>,
    clock: Clock,
    seen: AtomicU64,
}

impl Refresh {
    /// Begins with nothing seen.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, tokens: Arc<Tokens>, clock: Clock) -> Self {
        Self { store, tokens, clock, seen: AtomicU64::new(0) }
    }

    /// Looks once; the first time at everything. Answers how many were new.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look(&self) -> Result<u64, StoreError> {
        let (newer, end) = self.store.revocations_after(self.seen.load(Ordering::Acquire)).await?;
        self.tokens.revocations().merge(&newer, self.clock.now());
        self.seen.store(end, Ordering::Release);
        Ok(newer.len() as u64)
    }
}
