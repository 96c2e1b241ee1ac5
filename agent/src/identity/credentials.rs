//! A new key, the request for its certificate, and the check of what comes back.
//!
//! Nothing that a controller sends is stored before it was found to belong to our key and to verify
//! under an authority that we trust.

use std::sync::Arc;

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::tls;
use cratekube_proto::v1;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;

use super::keys;

/// Certificates in a chain or bundle; more is a mistake or an attack.
const MOST_CERTIFICATES: usize = 16;

/// A new private key and the request for its certificate.
#[derive(Debug)]
pub struct NewKey {
    /// PKCS#8 PEM.
    pub key: Secret,
    /// PKCS#10, DER. Asks for nothing: the controller takes only the public key from it.
    pub csr: Vec<u8>,
}

/// A certificate that was checked against our key and our trust.
#[derive(Debug)]
pub struct Granted {
    /// The agent's certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The authorities to trust from now on.
    pub trust: Vec<CertificateDer<'static>>,
}

/// Why a certificate that came back is not used.
#[derive(Debug, thiserror::Error)]
pub enum RefusedCertificate {
    /// It is not there, or not whole.
    #[error("the controller's answer has no usable {0}")]
    Missing(&'static str),
    /// The authority that the join token names is not among those that it tells us to trust.
    #[error("the controller's answer does not name the authority that the join token pins")]
    Unpinned,
    /// It is somebody else's.
    #[error("the controller's certificate for this agent cannot be used: {0}")]
    NotOurs(#[from] super::UnusableIdentity),
    /// This host's clock and the certificate do not agree.
    #[error(
        "the certificate is valid from {} to {}, but this host's clock says {now}: check the clocks of both hosts",
        .validity.not_before, .validity.not_after
    )]
    Clock {
        /// When it may be used.
        validity: super::Validity,
        /// Our time.
        now: Timestamp,
    },
    /// It does not verify.
    #[error("the controller's certificate for this agent does not verify under its authority: {0}")]
    Unverified(rustls::Error),
}

/// Makes a key of the default kind and the request for its certificate.
///
/// # Errors
/// When the crypto library cannot.
pub fn new_key(name: &str) -> Result<NewKey, rcgen::Error> {
    new_key_of(keys::DEFAULT, name)
}

/// Makes a key of a kind and the request for its certificate; one that takes long is made aside, so
/// that heartbeats go on meanwhile.
///
/// # Errors
/// When the crypto library cannot.
pub async fn new_key_aside(algorithm: KeyAlgorithm, name: &AgentName) -> Result<NewKey, rcgen::Error> {
    if algorithm != KeyAlgorithm::Rsa4096 {
        return new_key_of(algorithm, name.as_str());
    }
    let name = name.to_string();
    let made = tokio::task::spawn_blocking(move || new_key_of(algorithm, &name)).await;
    made.unwrap_or(Err(rcgen::Error::RemoteKeyError))
}

/// The request for a certificate of a key that there is already, as PKCS#8 PEM.
///
/// # Errors
/// When it is not a key.
pub(super) fn with_key(key: &Secret, name: &AgentName) -> Result<NewKey, rcgen::Error> {
    request(&KeyPair::from_pem(key.expose())?, name.as_str())
}

fn new_key_of(algorithm: KeyAlgorithm, name: &str) -> Result<NewKey, rcgen::Error> {
    request(&keys::make(algorithm)?, name)
}

fn request(pair: &KeyPair, name: &str) -> Result<NewKey, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let csr = params.serialize_request(pair)?.der().to_vec();
    Ok(NewKey { key: Secret::new(pair.serialize_pem()), csr })
}

/// Checks a certificate that came back. With a pin, only the authority with that SHA-256 counts.
///
/// # Errors
/// [`RefusedCertificate`].
pub fn check(
    key: &Secret,
    answer: Option<v1::Certificate>,
    pin: Option<&str>,
    clock: &Clock,
) -> Result<Granted, RefusedCertificate> {
    let answer = answer.ok_or(RefusedCertificate::Missing("certificate"))?;
    let chain = certificates("certificate", answer.chain)?;
    let trust = certificates("trust bundle", answer.trust_bundle)?;
    let anchors: Vec<_> = trust.iter().filter(|ca| pin.is_none_or(|pin| tls::fingerprint(ca) == pin)).collect();
    if anchors.is_empty() {
        return Err(RefusedCertificate::Unpinned);
    }
    super::certified_key(key, &chain)?;
    verify(&chain, &anchors, clock)?;
    Ok(Granted { chain, trust })
}

fn certificates(what: &'static str, der: Vec<Vec<u8>>) -> Result<Vec<CertificateDer<'static>>, RefusedCertificate> {
    if der.is_empty() || der.len() > MOST_CERTIFICATES {
        return Err(RefusedCertificate::Missing(what));
    }
    Ok(der.into_iter().map(CertificateDer::from).collect())
}

fn verify(
    chain: &[CertificateDer<'static>],
    anchors: &[&CertificateDer<'static>],
    clock: &Clock,
) -> Result<(), RefusedCertificate> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add((*anchor).clone()).map_err(RefusedCertificate::Unverified)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .map_err(|e| RefusedCertificate::Unverified(rustls::Error::General(e.to_string())))?;
    let (leaf, rest) = chain.split_first().ok_or(RefusedCertificate::Missing("certificate"))?;
    verifier.verify_client_cert(leaf, rest, tls::unix_time(clock)).map(|_| ()).map_err(|error| {
        match (super::validity(leaf), clock.now()) {
            (Some(validity), now) if now < validity.not_before || validity.is_over(now) => {
                RefusedCertificate::Clock { validity, now }
            }
            _ => RefusedCertificate::Unverified(error),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer, X509CertificationRequest};

    #[test]
    fn hostile_row_32_the_request_proves_its_key_and_asks_for_nothing() {
        let made = new_key("bastion-1").unwrap();
        let (rest, csr) = X509CertificationRequest::from_der(&made.csr).unwrap();
        assert!(rest.is_empty());
        let info = &csr.certification_request_info;
        assert_eq!(info.subject.to_string(), "CN=bastion-1");
        assert_eq!(info.subject_pki.algorithm.algorithm.to_id_string(), "1.2.840.10045.2.1", "an EC key");
        assert!(csr.requested_extensions().is_none_or(|mut e| e.next().is_none()), "no extension is asked for");
        let parsed = rcgen::CertificateSigningRequestParams::from_der(&made.csr.clone().into()).unwrap();
        assert_eq!(parsed.public_key.algorithm(), &rcgen::PKCS_ECDSA_P256_SHA256);
        assert!(made.key.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_ne!(new_key("bastion-1").unwrap().key, made.key);
    }
}
