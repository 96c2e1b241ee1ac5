//! Ed25519 keys that sign tokens.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use cratekube_common::runtime::tls::sha256_hex;
use zeroize::Zeroizing;

/// Characters of a key id: enough that two keys of one controller never share one.
const KID_CHARACTERS: usize = 16;

/// Why a key cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The system's randomness failed.
    #[error("cannot make a signing key")]
    Generate,
    /// The bytes are not an Ed25519 key.
    #[error("not an Ed25519 private key in PKCS#8 form")]
    Malformed,
}

/// A private key that signs tokens, with the id that tokens name it by.
#[derive(Clone)]
pub struct SigningKey {
    /// Its id: derived from the public key, so that one key has one id wherever it is loaded.
    pub kid: String,
    /// The private key, PKCS#8 DER.
    pub pkcs8: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, KeyFault> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyFault::Generate)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Takes a key that was made before.
    ///
    /// # Errors
    /// When the bytes are not an Ed25519 key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyFault> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyFault::Malformed)?;
        let public = pair.public_key().as_ref().to_vec();
        let mut kid = sha256_hex(&public);
        kid.truncate(KID_CHARACTERS);
        Ok(Self { kid, pkcs8: Zeroizing::new(pkcs8.to_vec()), public })
    }

    /// The public key: 32 bytes.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_id_when_it_is_loaded_again_and_never_shows_itself() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pkcs8(&key.pkcs8).unwrap();
        assert_eq!((key.kid.as_str(), key.public()), (again.kid.as_str(), again.public()));
        assert_ne!(key.kid, SigningKey::generate().unwrap().kid);
        assert!(!format!("{key:?}").contains("pkcs8"), "{key:?}");
        assert!(SigningKey::from_pkcs8(b"not a key").is_err());
    }
}
