//! TLS as the agent speaks it: version 1.3, its own trust, its own clock.
//!
//! The system's authorities are never trusted. Sessions are not resumed, so that every connection
//! shows its certificate afresh and a revoked one does not live on in a ticket.

use std::sync::Arc;

use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::pinned::PinnedAuthority;
use cratekube_common::runtime::tls;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::identity::{Identity, UnusableIdentity};

/// The only protocol spoken inside TLS.
const ALPN: &[u8] = b"h2";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] UnusableIdentity),
    /// An authority in the trust bundle cannot be read, or the library refuses.
    #[error("cannot set up TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// As an enrolled agent: shows the certificate, trusts the bundle that came with it.
///
/// # Errors
/// When key, certificate or bundle cannot be used.
pub fn enrolled(identity: &Identity, clock: &Clock) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    for authority in &identity.trust {
        roots.add(authority.clone())?;
    }
    let key = SingleCertAndKey::from(identity.certified_key()?);
    let config = builder(clock)?.with_root_certificates(roots).with_client_cert_resolver(Arc::new(key));
    Ok(finished(config))
}

/// As a stranger with a join token: shows nothing, trusts one authority by its fingerprint.
///
/// # Errors
/// When the library refuses.
pub fn pinned(ca_sha256: &str, clock: &Clock) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(PinnedAuthority::new(ca_sha256));
    let config = builder(clock)?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(finished(config))
}

fn builder(clock: &Clock) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsSetupError> {
    let versions = &[&rustls::version::TLS13];
    Ok(ClientConfig::builder_with_details(tls::provider(), tls::time(clock)).with_protocol_versions(versions)?)
}

fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}
