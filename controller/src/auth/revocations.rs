//! Which tokens were revoked, in memory: every request looks here.
//!
//! The store keeps them; what is read there, or was just recorded by this process, is merged in. A
//! revocation is never taken back, so merging an older answer later does no harm. It is forgotten
//! when no token that it concerns can live. Whoever holds a stream open waits for [`changes`].
//!
//! Tokens carry whole seconds. One that is made within the second of a revocation of its subject is
//! dated to the next second ([`earliest`]), so that it is not taken for an older one.
//!
//! [`changes`]: Revocations::changes
//! [`earliest`]: Revocations::earliest

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use cratekube_common::domain::revocation::{Revocation, RevocationKind};
use cratekube_common::domain::time::Timestamp;
use tokio::sync::watch;

use super::jwt::Claims;

/// The revocations that may concern a living token.
#[derive(Debug)]
pub struct Revocations {
    known: RwLock<Known>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    /// Until when each must be remembered.
    tokens: HashMap<String, Timestamp>,
    api_keys: HashMap<String, Timestamp>,
    subjects: HashMap<String, Cut>,
    everything: Option<Cut>,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    made_until: Timestamp,
    until: Timestamp,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { known: RwLock::default(), changes: watch::channel(0).0 }
    }
}

impl Revocations {
    /// Adds what was read or recorded, and forgets what concerns no living token any more.
    pub fn merge(&self, more: &[Revocation], now: Timestamp) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        more.iter().for_each(|revocation| known.add(revocation));
        known.forget(now);
        drop(known);
        if !more.is_empty() {
            self.announce();
        }
    }

    /// Makes whoever waits look again.
    pub(super) fn announce(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// Whether a token counts no more.
    #[must_use]
    pub fn cover(&self, claims: &Claims) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let made_by = |cut: &Cut| claims.issued_at_s <= seconds(cut.made_until);
        known.tokens.contains_key(&claims.token_id)
            || claims.api_key.as_ref().is_some_and(|key| known.api_keys.contains_key(key))
            || known.subjects.get(&claims.subject).is_some_and(made_by)
            || known.everything.as_ref().is_some_and(made_by)
    }

    /// The first second that a new token of a subject may carry. One that is made from an API key of
    /// before the revocation of its subject gets no help: that key is revoked too.
    #[must_use]
    pub fn earliest(&self, subject: &str, key_made_at: Option<Timestamp>) -> u64 {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let newer = |cut: &&Cut| key_made_at.is_none_or(|made_at| made_at > cut.made_until);
        let own = known.subjects.get(subject).filter(newer);
        own.into_iter().chain(&known.everything).map(|cut| seconds(cut.made_until) + 1).max().unwrap_or(0)
    }

    /// Until when a revocation that is asked for now reaches: tokens that were dated to the next second, because
    /// of another revocation within this one, are of before it, too.
    #[must_use]
    pub fn reach(&self, now: Timestamp) -> Timestamp {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let cuts = known.subjects.values().chain(&known.everything);
        let ahead = cuts.map(|cut| seconds(cut.made_until)).filter(|cut| *cut >= seconds(now)).max();
        ahead.map_or(now, |cut| now.max(from_seconds(cut + 1)))
    }

    /// `changed()` resolves after something was revoked.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Known {
    fn add(&mut self, revocation: &Revocation) {
        let Revocation { value, until, made_until, .. } = revocation.clone();
        let cut = Cut { made_until, until };
        match revocation.kind {
            RevocationKind::Token => _ = self.tokens.insert(value, until),
            RevocationKind::ApiKey => _ = self.api_keys.insert(value, until),
            RevocationKind::Subject => {
                let older = self.subjects.get(&value).copied();
                self.subjects.insert(value, cut.and(older));
            }
            RevocationKind::Before => self.everything = Some(cut.and(self.everything)),
        }
    }

    fn forget(&mut self, now: Timestamp) {
        self.tokens.retain(|_, until| *until >= now);
        self.api_keys.retain(|_, until| *until >= now);
        self.subjects.retain(|_, cut| cut.until >= now);
        self.everything = self.everything.filter(|cut| cut.until >= now);
    }
}

impl Cut {
    fn and(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            made_until: self.made_until.max(other.made_until),
            until: self.until.max(other.until),
        })
    }
}

fn from_seconds(s: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(s.saturating_mul(1000)).unwrap_or(i64::MAX))
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::id::RevocationId;

    fn at(s: u64) -> Timestamp {
        Timestamp::from_millis(i64::try_from(s * 1000 + 500).unwrap())
    }

    fn revocation(kind: RevocationKind, value: &str, made_until: u64) -> Revocation {
        Revocation {
            id: RevocationId(uuid::Uuid::from_u128(1)),
            kind,
            value: value.into(),
            made_until: at(made_until),
            reason: String::new(),
            by: String::new(),
            at: at(made_until),
            until: at(made_until + 60),
        }
    }

    fn claims(subject: &str, token_id: &str, issued_at_s: u64) -> Claims {
        let (subject, token_id, api_key) = (subject.to_owned(), token_id.to_owned(), Some("key-1".to_owned()));
        let (not_before_s, expires_at_s, kid) = (issued_at_s, issued_at_s + 60, "kid".to_owned());
        Claims { subject, token_id, api_key, kid, issued_at_s, not_before_s, expires_at_s, grants: Vec::new() }
    }

    #[test]
    fn hostile_row_24_a_second_revocation_within_a_second_reaches_what_was_made_after_the_first() {
        let revocations = Revocations::default();
        assert_eq!(revocations.reach(at(100)), at(100));
        for _ in 0..3 {
            let reach = revocations.reach(at(100));
            revocations
                .merge(&[Revocation { made_until: reach, ..revocation(RevocationKind::Before, "now", 100) }], at(100));
            let made_since = claims("ann", "t-1", revocations.earliest("ann", None));
            assert!(!revocations.cover(&made_since), "it was made after that");
            let reach = revocations.reach(at(100));
            let next = Revocation { made_until: reach, ..revocation(RevocationKind::Subject, "ann", 100) };
            revocations.merge(&[next], at(100));
            assert!(revocations.cover(&made_since), "and before this one");
        }
        assert_eq!(revocations.reach(at(200)), at(200));
    }

    #[test]
    fn hostile_row_24_a_revocation_concerns_what_it_names_and_what_was_made_before_it() {
        let covered = |kind, value| {
            let revocations = Revocations::default();
            revocations.merge(&[revocation(kind, value, 100)], at(100));
            [claims("ann", "t-1", 90), claims("ann", "t-2", 101), claims("bob", "t-3", 100)]
                .map(|c| revocations.cover(&c))
        };
        assert_eq!(covered(RevocationKind::Token, "t-2"), [false, true, false]);
        assert_eq!(covered(RevocationKind::Subject, "ann"), [true, false, false]);
        assert_eq!(covered(RevocationKind::ApiKey, "key-1"), [true, true, true]);
        assert_eq!(covered(RevocationKind::ApiKey, "key-2"), [false, false, false]);
        assert_eq!(covered(RevocationKind::Before, "now"), [true, false, true]);
    }

    #[test]
    fn hostile_row_24_an_older_answer_that_comes_later_takes_nothing_back_and_what_ended_is_forgotten() {
        let revocations = Revocations::default();
        let mut changes = revocations.changes();
        revocations.merge(&[revocation(RevocationKind::Subject, "ann", 100)], at(100));
        assert!(changes.has_changed().unwrap());
        changes.borrow_and_update();
        revocations.merge(&[revocation(RevocationKind::Subject, "ann", 50)], at(100));
        revocations.merge(&[], at(101));
        assert!(revocations.cover(&claims("ann", "t-1", 99)));
        revocations.merge(&[], at(161));
        assert!(!revocations.cover(&claims("ann", "t-1", 99)), "no token of that time lives");
    }

    #[test]
    fn a_token_made_in_the_second_of_a_revocation_is_dated_after_it_but_not_one_from_an_older_key() {
        let revocations = Revocations::default();
        assert_eq!(revocations.earliest("ann", None), 0);
        revocations.merge(&[revocation(RevocationKind::Subject, "ann", 100)], at(100));
        assert_eq!(revocations.earliest("ann", None), 101);
        assert_eq!(revocations.earliest("ann", Some(at(101))), 101);
        assert_eq!(revocations.earliest("ann", Some(at(99))), 0);
        assert_eq!(revocations.earliest("bob", None), 0);
        revocations.merge(&[revocation(RevocationKind::Before, "now", 103)], at(103));
        assert_eq!(revocations.earliest("ann", Some(at(99))), 104);
    }
}
