//! The secrets of a spec on their way to rest and back: JSON, encrypted by a [`SpecVault`].
//!
//! The cluster's id is the context of the encryption, so that a sealed value cannot be moved to
//! another cluster. Not here: the cipher and its key.

use std::fmt::Debug;

use cratekube_common::domain::cluster::spec::SpecSecrets;
use cratekube_common::domain::id::ClusterId;
use cratekube_common::domain::secret::Secret;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Encrypts and decrypts under the controller's master key.
pub trait SpecVault: Send + Sync + Debug {
    /// Encrypts; what comes out opens under the same context only.
    fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8>;

    /// Decrypts.
    ///
    /// # Errors
    /// When the value was not sealed by this vault under this context.
    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError>;
}

/// Why a sealed value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Another key, another context, or damaged.
    #[error("the sealed value does not open: wrong key, wrong place, or damaged")]
    Refused,
    /// It opens, but is not what we write.
    #[error("the sealed value opens but is not a spec's secrets")]
    Malformed,
}

/// Encrypts the secrets of a cluster's spec; none when it has none.
#[must_use]
pub fn seal_secrets(vault: &dyn SpecVault, cluster: ClusterId, secrets: &SpecSecrets) -> Option<Vec<u8>> {
    if secrets.is_empty() {
        return None;
    }
    let passwords: Vec<_> = secrets.registry_passwords.iter().map(|p| p.as_ref().map(Secret::expose)).collect();
    let plain = Zeroizing::new(json!({"registry_passwords": passwords}).to_string());
    Some(vault.seal(&context(cluster), plain.as_bytes()))
}

/// Decrypts the secrets of a cluster's spec.
///
/// # Errors
/// When the value does not open, or is not what [`seal_secrets`] writes.
pub fn open_secrets(vault: &dyn SpecVault, cluster: ClusterId, sealed: &[u8]) -> Result<SpecSecrets, VaultError> {
    let plain = Zeroizing::new(vault.open(&context(cluster), sealed)?);
    let document: Value = serde_json::from_slice(&plain).map_err(|_| VaultError::Malformed)?;
    let passwords = document["registry_passwords"].as_array().ok_or(VaultError::Malformed)?;
    let read = |password: &Value| match password {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Secret::new(text))),
        _ => Err(VaultError::Malformed),
    };
    Ok(SpecSecrets { registry_passwords: passwords.iter().map(read).collect::<Result<_, _>>()? })
}

/// What the secrets of a cluster are sealed for.
pub(crate) fn context(cluster: ClusterId) -> Vec<u8> {
    [b"cratekube/spec-secrets/v1/".as_slice(), cluster.0.as_bytes()].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use uuid::Uuid;

    /// Not a cipher: shows where the context goes, and that nothing is stored as it came.
    #[derive(Debug)]
    pub(crate) struct Backwards;

    impl SpecVault for Backwards {
        fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
            plain.iter().rev().chain(context).copied().collect()
        }

        fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
            let body = sealed.strip_suffix(context).ok_or(VaultError::Refused)?;
            Ok(body.iter().rev().copied().collect())
        }
    }

    #[test]
    fn secrets_come_back_in_their_places_and_only_for_their_cluster() {
        let secrets = SpecSecrets { registry_passwords: vec![None, Some(Secret::new("hunter2")), None] };
        let (one, other) = (ClusterId(Uuid::from_u128(1)), ClusterId(Uuid::from_u128(2)));
        let sealed = seal_secrets(&Backwards, one, &secrets).unwrap();
        assert_eq!(open_secrets(&Backwards, one, &sealed), Ok(secrets));
        assert_eq!(open_secrets(&Backwards, other, &sealed), Err(VaultError::Refused));
        let odd = Backwards.seal(&context(one), b"[]");
        assert_eq!(open_secrets(&Backwards, one, &odd), Err(VaultError::Malformed));
        assert_eq!(seal_secrets(&Backwards, one, &SpecSecrets { registry_passwords: vec![None] }), None);
    }
}
