//! Kinds of keys: which one this agent makes next.
//!
//! A new agent makes the default kind; a controller that asks for more says so when it refuses, and
//! the next request brings that. A renewal keeps the kind of the key it replaces, under the same rule.

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};
use rustls_pki_types::CertificateDer;
use tonic::Status;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Small, fast, in every TLS stack, and strong enough unless a controller says otherwise.
pub const DEFAULT: KeyAlgorithm = KeyAlgorithm::EcdsaP256;

/// Where a controller that refuses a key says which kind would do.
const WANTED: &str = "key-algorithm";

/// Makes a key.
///
/// # Errors
/// When the crypto library cannot.
pub(super) fn make(algorithm: KeyAlgorithm) -> Result<KeyPair, rcgen::Error> {
    match algorithm {
        KeyAlgorithm::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyAlgorithm::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
    }
}

/// The kind of key that a certificate was made for.
pub(super) fn of(certificate: &CertificateDer<'_>) -> KeyAlgorithm {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return DEFAULT };
    match parsed.public_key().parsed() {
        Ok(PublicKey::EC(point)) if point.key_size() == 384 => KeyAlgorithm::EcdsaP384,
        Ok(PublicKey::RSA(_)) => KeyAlgorithm::Rsa4096,
        _ => DEFAULT,
    }
}

/// The kind that a refusal asks for, when it is another one than was brought.
pub(super) fn wanted(refusal: &Status, brought: KeyAlgorithm) -> Option<KeyAlgorithm> {
    let wanted = refusal.metadata().get(WANTED)?.to_str().ok()?.parse().ok()?;
    (wanted != brought).then_some(wanted)
}
