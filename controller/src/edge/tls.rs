//! TLS of the listeners: TLS 1.2 and up, one provider, one clock; certificate and trusted authorities
//! can be exchanged while connections live.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cratekube_common::domain::agent::RENEW_GRACE;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::tls;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

/// A fault in TLS material.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct TlsError(String);

/// A certificate that can be exchanged while it is in use.
#[derive(Debug)]
pub struct Certificate(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    /// A certificate with its key.
    ///
    /// # Errors
    /// When they do not belong together or are of a kind that is not supported.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(Arc::new(certified(chain, key)?)))))
    }

    /// Uses another certificate from the next handshake on.
    ///
    /// # Errors
    /// As for [`Self::new`]; the old one stays in use then.
    pub fn exchange(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), TlsError> {
        let certified = Arc::new(certified(chain, key)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }

    /// When the one in use ends.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        tls::not_after(self.0.read().unwrap_or_else(PoisonError::into_inner).cert.first()?)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(chain, key, &tls::provider()).map_err(|e| TlsError(e.to_string()))
}

/// Authorities whose clients are let in; a list that can be exchanged while connections live.
///
/// A certificate that ended is let through the handshake for as long as it may be renewed; every call
/// but its renewal is refused (`grpc::peer`).
#[derive(Debug)]
pub struct Trust {
    verifier: RwLock<Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// Trusts these authorities.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn new(trusted: Vec<CertificateDer<'static>>) -> Result<Arc<Self>, TlsError> {
        let provider = tls::provider();
        let verifier = RwLock::new(verifier(trusted, &provider)?);
        Ok(Arc::new(Self { verifier, provider }))
    }

    /// Trusts other authorities from the next handshake on.
    ///
    /// # Errors
    /// As for [`Self::new`]; the old ones stay in use then.
    pub fn exchange(&self, trusted: Vec<CertificateDer<'static>>) -> Result<(), TlsError> {
        let verifier = verifier(trusted, &self.provider)?;
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
        Ok(())
    }

    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn verifier(
    trusted: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in trusted {
        roots.add(root).map_err(|e| TlsError(e.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|e| TlsError(e.to_string()))
}

/// The moment to verify a certificate at: now, or its last second while it may still be renewed.
fn moment(leaf: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(leaf) else { return now };
    let ended = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let may_renew = ended..=ended.saturating_add(RENEW_GRACE.as_secs());
    if may_renew.contains(&now.as_secs()) { UnixTime::since_unix_epoch(Duration::from_secs(ended)) } else { now }
}

impl ClientCertVerifier for Trust {
    fn offer_client_auth(&self) -> bool {
        true
    }

    // Enrolment has none to show.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    // No hints: there may be many, and agents know which certificate they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current().verify_client_cert(end_entity, intermediates, moment(end_entity, now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS for users: HTTP/2 or HTTP/1.1, no client certificate.
///
/// # Errors
/// [`TlsError`].
pub fn for_users(certificate: Arc<Certificate>, clock: &Clock) -> Result<ServerConfig, TlsError> {
    let mut config = builder(clock)?.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// TLS for agents: HTTP/2 only. A client certificate, when shown, must come from an authority in
/// `trust`; calls that need one refuse a connection without (enrolment does not).
///
/// # Errors
/// [`TlsError`].
pub fn for_agents(certificate: Arc<Certificate>, trust: Arc<Trust>, clock: &Clock) -> Result<ServerConfig, TlsError> {
    let mut config = builder(clock)?.with_client_cert_verifier(trust).with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Every connection shows its certificate afresh: an authority that is trusted no more must not live
    // on in a session that is resumed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn builder(clock: &Clock) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, TlsError> {
    ServerConfig::builder_with_details(tls::provider(), tls::time(clock))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| TlsError(e.to_string()))
}
