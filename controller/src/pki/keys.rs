//! Keys of certificates: what is made, and what is good enough to be certified.
//!
//! `pki.key_algorithm` is both: the kind that is made here, and the least that an agent may bring. An
//! agent that brings less is told what would do, and makes that.

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::PkiError;

const SHA256_WITH_ECDSA: &str = "1.2.840.10045.4.3.2";
const SHA384_WITH_ECDSA: &str = "1.2.840.10045.4.3.3";
const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";
const ED25519: &str = "1.3.101.112";

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

/// The kind of key that a certificate of ours was made for.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<KeyAlgorithm> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    match certificate.public_key().parsed().ok()? {
        PublicKey::EC(point) if point.key_size() == 256 => Some(KeyAlgorithm::EcdsaP256),
        PublicKey::EC(point) if point.key_size() == 384 => Some(KeyAlgorithm::EcdsaP384),
        PublicKey::RSA(rsa) if rsa.key_size() == 4096 => Some(KeyAlgorithm::Rsa4096),
        _ => None,
    }
}

/// Kinds of keys that requests come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa(usize),
}

impl Kind {
    fn is_enough(self, least: KeyAlgorithm) -> bool {
        match least {
            KeyAlgorithm::EcdsaP256 => !matches!(self, Self::Rsa(bits) if bits < 3072),
            KeyAlgorithm::EcdsaP384 => self == Self::P384,
            KeyAlgorithm::Rsa4096 => matches!(self, Self::Rsa(bits) if bits >= 4096),
        }
    }

    fn verifier(self) -> &'static dyn aws_lc_rs::signature::VerificationAlgorithm {
        match self {
            Self::P256 => &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
            Self::P384 => &aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1,
            Self::Ed25519 => &aws_lc_rs::signature::ED25519,
            Self::Rsa(_) => &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

/// Whether a certificate's key is good enough.
pub(crate) fn is_enough(certificate: &X509Certificate<'_>, least: KeyAlgorithm) -> bool {
    let pki = certificate.public_key();
    let kind = match pki.parsed() {
        Ok(PublicKey::EC(point)) if point.key_size() == 256 => Kind::P256,
        Ok(PublicKey::EC(point)) if point.key_size() == 384 => Kind::P384,
        Ok(PublicKey::RSA(rsa)) => Kind::Rsa(rsa.key_size()),
        _ if pki.algorithm.algorithm.to_id_string() == ED25519 => Kind::Ed25519,
        _ => return false,
    };
    kind.is_enough(least)
}

/// A request must be signed by its own key, and the key must be good enough.
///
/// # Errors
/// [`PkiError::Request`]; for a key that is not good enough, [`PkiError::Key`].
pub(super) fn check_request(csr: &[u8], least: KeyAlgorithm) -> Result<(), PkiError> {
    let refuse = |why: &str| PkiError::Request(why.to_owned());
    let (rest, request) = X509CertificationRequest::from_der(csr).map_err(|e| PkiError::Request(e.to_string()))?;
    if !rest.is_empty() {
        return Err(refuse("it has trailing bytes"));
    }
    let pki = &request.certification_request_info.subject_pki;
    let kind =
        kind(&request.signature_algorithm, pki).filter(|kind| kind.is_enough(least)).ok_or(PkiError::Key(least))?;
    let info = &request.certification_request_info;
    aws_lc_rs::signature::UnparsedPublicKey::new(kind.verifier(), &info.subject_pki.subject_public_key.data)
        .verify(info.raw, &request.signature_value.data)
        .map_err(|_| refuse("it is not signed by its own key"))
}

/// Whether a certificate is signed by another one's key.
pub(super) fn signed(certificate: &X509Certificate<'_>, by: &X509Certificate<'_>) -> bool {
    let Some(kind) = kind(&certificate.signature_algorithm, by.public_key()) else { return false };
    aws_lc_rs::signature::UnparsedPublicKey::new(kind.verifier(), &by.public_key().subject_public_key.data)
        .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .is_ok()
}

fn kind(signed_with: &AlgorithmIdentifier<'_>, pki: &SubjectPublicKeyInfo<'_>) -> Option<Kind> {
    let signed_with = signed_with.algorithm.to_id_string();
    match (pki.parsed().ok()?, signed_with.as_str()) {
        (PublicKey::EC(point), SHA256_WITH_ECDSA) if point.key_size() == 256 => Some(Kind::P256),
        (PublicKey::EC(point), SHA384_WITH_ECDSA) if point.key_size() == 384 => Some(Kind::P384),
        (PublicKey::RSA(rsa), SHA256_WITH_RSA) => Some(Kind::Rsa(rsa.key_size())),
        (_, ED25519) if pki.algorithm.algorithm.to_id_string() == ED25519 => Some(Kind::Ed25519),
        _ => None,
    }
}
