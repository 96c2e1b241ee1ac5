//! Trust at first contact: only the authority whose fingerprint was told (to an agent by its join
//! token, to a user by an operator).
//!
//! The server has to send its authority's certificate along. The one with the pinned SHA-256 becomes
//! the only trust anchor, and the rest is ordinary verification: chain, name, time. A rogue server may
//! send the right authority's certificate too, but cannot have a certificate from it.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::tls;

/// Accepts a server that has a certificate from one particular authority.
#[derive(Debug)]
pub struct PinnedAuthority {
    sha256: String,
    provider: Arc<CryptoProvider>,
}

/// The server did not show the authority that was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it does not show the authority whose fingerprint was given; either somebody is in between, or the fingerprint \
     is another controller's, or from before its CA was rotated: then ask for a new one"
)]
pub struct NotTheAuthority;

impl PinnedAuthority {
    /// Pins the authority with this fingerprint (SHA-256 of its certificate, lower-case hex).
    #[must_use]
    pub fn new(sha256: &str) -> Self {
        Self { sha256: sha256.to_owned(), provider: tls::provider() }
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.iter().find(|certificate| tls::fingerprint(certificate) == self.sha256);
        let authority = authority
            .ok_or_else(|| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(NotTheAuthority)))))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let ordinary = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|e| Error::General(e.to_string()))?;
        ordinary.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
