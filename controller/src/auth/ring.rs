//! The keys that sign tokens: one that signs, and the one before it for as long as its tokens live.
//!
//! Pure: what a ring becomes by rotation and by time. Where it is kept is `keys::signing`. The key of
//! cursors and idempotency digests stands beside them and stays the same, or every rotation would make
//! the pages and retries of that moment invalid.

use std::fmt;
use std::time::Duration;

use cratekube_common::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::jwt::LEEWAY_S;
use super::key::{KeyFault, SigningKey};

const CURSOR_CONTEXT: &[u8] = b"rest/cursor-key";
/// Keys that may verify at a time.
const LIVE: usize = 2;

/// A key with its end.
#[derive(Debug, Clone)]
pub struct RingKey {
    /// The key.
    pub key: SigningKey,
    /// From when on no token of it can live; none while it signs.
    pub ends_at: Option<Timestamp>,
}

/// The keys, the one that signs first.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<RingKey>,
    cursor_key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Why a ring is not rotated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotateFault {
    /// There are two.
    #[error(
        "two keys are live until {0}, when the last token of the older one has ended; wait for that, or rotate at once and end its tokens"
    )]
    TwoLive(Timestamp),
    /// A key could not be made.
    #[error("cannot make a signing key")]
    Generate,
}

/// A ring at rest, before it is sealed.
#[derive(Serialize, Deserialize)]
struct Document {
    cursor_key: String,
    keys: Vec<KeyDocument>,
}

#[derive(Serialize, Deserialize)]
struct KeyDocument {
    pkcs8: String,
    ends_at: Option<Timestamp>,
}

impl KeyRing {
    /// A ring of one key.
    #[must_use]
    pub fn of(first: SigningKey) -> Self {
        let mut input = CURSOR_CONTEXT.to_vec();
        input.extend_from_slice(&first.pkcs8);
        let input = Zeroizing::new(input);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &input);
        let mut cursor_key = Zeroizing::new([0; 32]);
        cursor_key.copy_from_slice(digest.as_ref());
        Self { keys: vec![RingKey { key: first, ends_at: None }], cursor_key }
    }

    /// Reads a ring; a lone key, as the first release wrote it, is a ring of one.
    ///
    /// # Errors
    /// When it is neither.
    pub fn read(plain: &[u8]) -> Result<Self, KeyFault> {
        if !plain.starts_with(b"{") {
            return Ok(Self::of(SigningKey::from_pkcs8(plain)?));
        }
        let document: Document = serde_json::from_slice(plain).map_err(|_| KeyFault::Malformed)?;
        let bytes = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).map(Zeroizing::new);
        let mut cursor_key = Zeroizing::new([0; 32]);
        let read = bytes(&document.cursor_key).ok().filter(|read| read.len() == cursor_key.len());
        cursor_key.copy_from_slice(&read.ok_or(KeyFault::Malformed)?);
        let key = |kept: &KeyDocument| {
            let pkcs8 = bytes(&kept.pkcs8).map_err(|_| KeyFault::Malformed)?;
            Ok(RingKey { key: SigningKey::from_pkcs8(&pkcs8)?, ends_at: kept.ends_at })
        };
        let keys = document.keys.iter().map(key).collect::<Result<Vec<_>, KeyFault>>()?;
        if keys.is_empty() { Err(KeyFault::Malformed) } else { Ok(Self { keys, cursor_key }) }
    }

    /// The ring as it is sealed.
    #[must_use]
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let key = |kept: &RingKey| KeyDocument { pkcs8: hex(&kept.key.pkcs8), ends_at: kept.ends_at };
        let keys = self.keys.iter().map(key).collect();
        let document = Document { cursor_key: hex(self.cursor_key.as_slice()), keys };
        Zeroizing::new(serde_json::to_vec(&document).unwrap_or_default())
    }

    /// A ring in which a new key signs. The one that signed verifies for `longest`, the longest that a
    /// token lives; or not at all when it is to end at once.
    ///
    /// # Errors
    /// While two are live, unless at once.
    pub fn rotated(&self, now: Timestamp, longest: Duration, at_once: bool) -> Result<Self, RotateFault> {
        let new = RingKey { key: SigningKey::generate().map_err(|_| RotateFault::Generate)?, ends_at: None };
        let mut keys = vec![new];
        if !at_once {
            let living = self.living(now);
            if living.keys.len() >= LIVE {
                return Err(RotateFault::TwoLive(living.keys.iter().filter_map(|k| k.ends_at).max().unwrap_or(now)));
            }
            let ends_at = now.after(longest + Duration::from_secs(LEEWAY_S));
            keys.extend(living.keys.into_iter().map(|kept| RingKey { ends_at: Some(ends_at), ..kept }));
        }
        Ok(Self { keys, cursor_key: self.cursor_key.clone() })
    }

    /// The ring without keys that have ended.
    #[must_use]
    pub fn living(&self, now: Timestamp) -> Self {
        let mut ring = self.clone();
        ring.keys.retain(|kept| kept.ends_at.is_none_or(|ends_at| ends_at > now));
        ring
    }

    /// The keys, the one that signs first.
    #[must_use]
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// The keys as [`super::Tokens`] takes them.
    #[must_use]
    pub fn signing_keys(&self) -> Vec<SigningKey> {
        self.keys.iter().map(|kept| kept.key.clone()).collect()
    }

    /// The key of cursors and idempotency digests.
    #[must_use]
    pub fn cursor_key(&self) -> [u8; 32] {
        *self.cursor_key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn kids(ring: &KeyRing) -> Vec<&str> {
        ring.keys.iter().map(|kept| kept.key.kid.as_str()).collect()
    }

    #[test]
    fn two_keys_are_live_until_the_last_token_of_the_older_one_has_ended() {
        let now = Timestamp::from_millis(1_000_000);
        let first = KeyRing::of(SigningKey::generate().unwrap());
        let second = first.rotated(now, HOUR, false).unwrap();
        assert_eq!(kids(&second)[1], kids(&first)[0]);
        assert!(matches!(second.rotated(now, HOUR, false), Err(RotateFault::TwoLive(_))));
        assert_eq!(kids(&second.living(now.after(HOUR))).len(), 2, "its clock may be behind");
        let later = now.after(HOUR + Duration::from_secs(LEEWAY_S));
        assert_eq!(kids(&second.living(later)), kids(&second)[..1]);
        assert_eq!(kids(&second.rotated(later, HOUR, false).unwrap())[1], kids(&second)[0]);
        let at_once = second.rotated(now, HOUR, true).unwrap();
        assert_eq!(kids(&at_once).len(), 1);
        assert!(!kids(&second).contains(&kids(&at_once)[0]));
        assert_eq!(at_once.cursor_key(), first.cursor_key(), "pages and retries go on");
    }

    #[test]
    fn a_ring_is_read_as_it_was_written_and_a_lone_key_is_a_ring() {
        let key = SigningKey::generate().unwrap();
        let lone = KeyRing::read(&key.pkcs8).unwrap();
        assert_eq!((kids(&lone), lone.cursor_key()), (vec![key.kid.as_str()], KeyRing::of(key.clone()).cursor_key()));
        let ring = lone.rotated(Timestamp::from_millis(0), HOUR, false).unwrap();
        let again = KeyRing::read(&ring.write()).unwrap();
        assert_eq!((kids(&again), again.cursor_key()), (kids(&ring), ring.cursor_key()));
        assert_eq!(again.keys[1].ends_at, ring.keys[1].ends_at);
        for bad in [&b"{"[..], b"{}", b"", br#"{"cursor_key":"00","keys":[]}"#] {
            assert!(KeyRing::read(bad).is_err());
        }
        let shown = format!("{ring:?}");
        assert!(!shown.contains("pkcs8") && !shown.contains("cursor_key"), "{shown}");
    }
}
