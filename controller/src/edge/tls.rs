//! TLS of the listeners: TLS 1.2 and up, one provider, a certificate that can be exchanged while
//! connections live.

use std::sync::{Arc, PoisonError, RwLock};

use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::tls;
use rustls::RootCertStore;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

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
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(chain, key, &tls::provider()).map_err(|e| TlsError(e.to_string()))
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

/// TLS for agents: HTTP/2 only. A client certificate, when shown, must come from `trusted`; calls
/// that need one refuse a connection without (enrolment does not).
///
/// # Errors
/// [`TlsError`].
pub fn for_agents(
    certificate: Arc<Certificate>,
    trusted: Vec<CertificateDer<'static>>,
    clock: &Clock,
) -> Result<ServerConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in trusted {
        roots.add(root).map_err(|e| TlsError(e.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| TlsError(e.to_string()))?;
    let mut config = builder(clock)?.with_client_cert_verifier(verifier).with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn builder(clock: &Clock) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, TlsError> {
    ServerConfig::builder_with_details(tls::provider(), tls::time(clock))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| TlsError(e.to_string()))
}
