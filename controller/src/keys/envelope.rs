//! Sealing values under the master key.
//!
//! Layout: `CK1` | key id (8 bytes) | nonce (12) | ciphertext and tag. The context (what the value is
//! and whose) is authenticated, so that a sealed value cannot be moved to another place.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use cratekube_common::runtime::mint::Mint;
use zeroize::Zeroizing;

const MAGIC: &[u8; 3] = b"CK1";
const KEY_ID: usize = 8;
/// Length of the master key in bytes.
pub const KEY_LEN: usize = 32;

/// Why a sealed value could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It was sealed under another master key.
    #[error("it was sealed under another master key; start with the key that was used before")]
    OtherKey,
    /// It is not a sealed value, was cut or changed, or belongs elsewhere.
    #[error("it is damaged or does not belong here")]
    Damaged,
}

/// Seals values under one master key; opens those, and during a rotation those under the one before.
pub struct Envelope {
    key: Keyed,
    older: Option<Keyed>,
    mint: Mint,
}

struct Keyed {
    key: LessSafeKey,
    id: [u8; KEY_ID],
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envelope(•••)")
    }
}

impl Envelope {
    /// An envelope under a master key of 32 bytes.
    ///
    /// # Errors
    /// When the key has another length.
    pub fn new(master: &Zeroizing<Vec<u8>>, mint: Mint) -> Result<Self, String> {
        Ok(Self { key: keyed(master)?, older: None, mint })
    }

    /// An envelope that seals under a new master key and still opens what an older one sealed.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn between(old: &Zeroizing<Vec<u8>>, new: &Zeroizing<Vec<u8>>, mint: Mint) -> Result<Self, String> {
        Ok(Self { key: keyed(new)?, older: Some(keyed(old)?), mint })
    }

    /// Whether a value was sealed under the master key that this one seals under.
    #[must_use]
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.strip_prefix(MAGIC).is_some_and(|rest| rest.starts_with(&self.key.id))
    }

    /// Seals a value anew, unless it is sealed under the right key already.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reseal(&self, context: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, EnvelopeError> {
        let plain = self.open(context, sealed)?;
        Ok((!self.is_current(sealed)).then(|| self.seal(context, &plain)))
    }

    /// Whether bytes begin as a sealed value does, under whatever key.
    #[must_use]
    pub fn is_sealed(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Seals a value for a context.
    #[must_use]
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.mint.fill(&mut nonce);
        let mut body = plain.to_vec();
        let nonce_value = Nonce::assume_unique_for_key(nonce);
        // The only possible fault is a value of more than 64 GiB.
        if self.key.key.seal_in_place_append_tag(nonce_value, Aad::from(context), &mut body).is_err() {
            return Vec::new();
        }
        [&MAGIC[..], &self.key.id, &nonce, &body].concat()
    }

    /// Opens a value that was sealed for the same context.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(EnvelopeError::Damaged)?;
        let (id, rest) = rest.split_at_checked(KEY_ID).ok_or(EnvelopeError::Damaged)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(EnvelopeError::Damaged)?;
        let keys = std::iter::once(&self.key).chain(&self.older);
        let keyed = keys.into_iter().find(|keyed| keyed.id == id).ok_or(EnvelopeError::OtherKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| EnvelopeError::Damaged)?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain =
            keyed.key.open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| EnvelopeError::Damaged)?;
        let length = plain.len();
        body.truncate(length);
        Ok(body)
    }
}

fn keyed(master: &Zeroizing<Vec<u8>>) -> Result<Keyed, String> {
    let wrong = || format!("the master key must have {KEY_LEN} bytes, found {}", master.len());
    let unbound = UnboundKey::new(&AES_256_GCM, master).map_err(|_| wrong())?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, master);
    let mut id = [0; KEY_ID];
    id.copy_from_slice(&digest.as_ref()[..KEY_ID]);
    Ok(Keyed { key: LessSafeKey::new(unbound), id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::runtime::clock;

    fn envelope(byte: u8) -> Envelope {
        Envelope::new(&Zeroizing::new(vec![byte; KEY_LEN]), Mint::system(clock::system())).unwrap()
    }

    #[test]
    fn between_two_keys_both_open_and_the_new_one_seals() {
        let key = |byte| Zeroizing::new(vec![byte; KEY_LEN]);
        let between = Envelope::between(&key(1), &key(2), Mint::system(clock::system())).unwrap();
        let old = envelope(1).seal(b"ca", b"the key");
        assert!(!between.is_current(&old));
        let new = between.reseal(b"ca", &old).unwrap().unwrap();
        assert_eq!(envelope(2).open(b"ca", &new).unwrap().as_slice(), b"the key");
        assert_eq!(between.reseal(b"ca", &new), Ok(None), "once is enough");
        assert_eq!(between.reseal(b"other", &old), Err(EnvelopeError::Damaged));
        assert_eq!(between.reseal(b"ca", &envelope(3).seal(b"ca", b"x")), Err(EnvelopeError::OtherKey));
    }

    #[test]
    fn hostile_row_40_a_value_opens_only_under_its_key_and_in_its_place() {
        let sealed = envelope(1).seal(b"ca", b"the key");
        assert_eq!(envelope(1).open(b"ca", &sealed).unwrap().as_slice(), b"the key");
        assert_eq!(envelope(2).open(b"ca", &sealed), Err(EnvelopeError::OtherKey));
        assert_eq!(envelope(1).open(b"other", &sealed), Err(EnvelopeError::Damaged));
        assert!(!sealed.windows(7).any(|w| w == b"the key"));
        for cut in 0..sealed.len() {
            assert!(envelope(1).open(b"ca", &sealed[..cut]).is_err(), "cut at {cut}");
        }
        for i in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[i] ^= 1;
            assert!(envelope(1).open(b"ca", &flipped).is_err(), "flipped at {i}");
        }
    }
}
