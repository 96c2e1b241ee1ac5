//! Tokens that were verified a moment ago: a signature costs some 70 µs to check, a look here one.
//!
//! Keyed by the SHA-256 of the token, so that the cache holds no credential. Only what verified is
//! kept; times are checked again by whoever takes a value out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::jwt::Claims;

/// Most tokens kept. An entry is some 300 bytes, so this is 3 MB at the worst.
const CAPACITY: usize = 10_000;

type Digest = [u8; 32];

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Verified {
    entries: Mutex<HashMap<Digest, Arc<Claims>>>,
}

impl Verified {
    pub(super) fn digest(token: &str) -> Digest {
        let mut digest = [0; 32];
        let made = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        digest.copy_from_slice(made.as_ref());
        digest
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Claims>> {
        self.lock().get(digest).cloned()
    }

    /// Keeps a value. A full cache first forgets what ended, then everything: simple, and bounded.
    pub(super) fn keep(&self, digest: Digest, claims: Arc<Claims>, now_s: u64) {
        let mut entries = self.lock();
        if entries.len() >= CAPACITY {
            entries.retain(|_, claims| claims.expires_at_s > now_s);
        }
        if entries.len() >= CAPACITY {
            entries.clear();
        }
        entries.insert(digest, claims);
    }

    pub(super) fn forget(&self, digest: &Digest) {
        self.lock().remove(digest);
    }

    /// Forgets everything: other keys count now.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Claims>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(expires_at_s: u64) -> Arc<Claims> {
        let (subject, token_id) = ("s".to_owned(), "t".to_owned());
        let (api_key, kid) = (None, "kid".to_owned());
        Arc::new(Claims {
            subject,
            token_id,
            api_key,
            kid,
            issued_at_s: 0,
            not_before_s: 0,
            expires_at_s,
            grants: Vec::new(),
        })
    }

    #[test]
    fn it_never_grows_beyond_its_capacity_and_forgets_what_ended_first() {
        let cache = Verified::default();
        for n in 0..CAPACITY {
            cache.keep(Verified::digest(&n.to_string()), claims(if n < 10 { 100 } else { 5 }), 0);
        }
        assert_eq!(cache.len(), CAPACITY);
        cache.keep(Verified::digest("one more"), claims(100), 6);
        assert_eq!(cache.len(), 11);
        for n in 0..2 * CAPACITY {
            cache.keep(Verified::digest(&format!("live {n}")), claims(100), 6);
        }
        assert!(cache.len() <= CAPACITY);
    }
}
