//! Who the agent is: its key, its certificate, and whom it trusts.
//!
//! - [`enroll`]: a join token becomes an identity.
//! - [`files`]: an identity is kept in one file, so that key and certificate are never torn apart.
//! - [`renew`]: a new identity is proved on a connection of its own before the old one is dropped.
//!
//! Identity comes from the certificate alone; the agent never says in a message who it is.

pub mod credentials;
pub mod enroll;
pub mod files;
pub mod keys;
pub mod renew;
pub mod token_source;

use std::sync::Arc;

use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::tls;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Address;

/// An enrolled agent's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The agent.
    pub agent: AgentId,
    /// The name it enrolled under.
    pub name: AgentName,
    /// The controller it enrolled with.
    pub controller: Address,
    /// Its private key, PKCS#8 PEM.
    pub key: Secret,
    /// Its certificate, then those up to the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The authorities that it trusts; no others, not even the system's.
    pub trust: Vec<CertificateDer<'static>>,
}

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableIdentity {
    /// There is no certificate, or it is not one.
    #[error("the agent's certificate cannot be read")]
    Certificate,
    /// The key cannot be read.
    #[error("the agent's key cannot be read: {0}")]
    Key(String),
    /// The key is not the certificate's.
    #[error("the agent's key does not belong to its certificate: {0}")]
    Mismatch(rustls::Error),
}

/// When a certificate may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub not_before: Timestamp,
    /// Until.
    pub not_after: Timestamp,
}

/// Part of a certificate's life after which it is renewed, in percent: early enough that a controller
/// may be down for hours, late enough that half the certificates in use are not superseded.
const RENEW_AT_PERCENT: i64 = 70;

impl Validity {
    /// When the certificate is to be renewed.
    #[must_use]
    pub fn renew_at(self) -> Timestamp {
        let life = self.not_after.as_millis().saturating_sub(self.not_before.as_millis());
        let used = life / 100 * RENEW_AT_PERCENT;
        Timestamp::from_millis(self.not_before.as_millis().saturating_add(used))
    }

    /// True when the certificate's life is over.
    #[must_use]
    pub fn is_over(self, now: Timestamp) -> bool {
        now >= self.not_after
    }
}

impl Identity {
    /// When its certificate may be used.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn validity(&self) -> Result<Validity, UnusableIdentity> {
        let leaf = self.chain.first().ok_or(UnusableIdentity::Certificate)?;
        validity(leaf).ok_or(UnusableIdentity::Certificate)
    }

    /// Key and certificate in the form that TLS wants.
    ///
    /// # Errors
    /// When they cannot be read or do not belong together.
    pub fn certified_key(&self) -> Result<Arc<CertifiedKey>, UnusableIdentity> {
        certified_key(&self.key, &self.chain)
    }
}

/// Brings a key and its certificate together.
pub(crate) fn certified_key(
    key: &Secret,
    chain: &[CertificateDer<'static>],
) -> Result<Arc<CertifiedKey>, UnusableIdentity> {
    if chain.is_empty() {
        return Err(UnusableIdentity::Certificate);
    }
    let key = tls::private_key(key.expose().as_bytes()).map_err(UnusableIdentity::Key)?;
    let made = CertifiedKey::from_der(chain.to_vec(), key, &tls::provider()).map_err(UnusableIdentity::Mismatch)?;
    Ok(Arc::new(made))
}

/// When a certificate may be used; nothing when it cannot be read.
#[must_use]
pub fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let ms = |time: x509_parser::time::ASN1Time| Timestamp::from_millis(time.timestamp().saturating_mul(1_000));
    Some(Validity { not_before: ms(parsed.validity().not_before), not_after: ms(parsed.validity().not_after) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_long_certificate_is_renewed_after_seven_tenths_of_it() {
        const DAY_MS: i64 = 86_400_000;
        let validity = Validity { not_before: Timestamp::from_millis(0), not_after: Timestamp::from_millis(DAY_MS) };
        assert_eq!(validity.renew_at().as_millis(), DAY_MS / 10 * 7);
        assert!(!validity.is_over(Timestamp::from_millis(DAY_MS - 1)) && validity.is_over(validity.not_after));
    }
}
