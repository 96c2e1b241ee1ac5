//! A connection to a controller: TCP, then TLS under the profile's authority and nothing else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cratekube_common::runtime::pinned::PinnedAuthority;
use cratekube_common::runtime::tls;
use data_encoding::BASE64;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::address::Address;

/// Time for TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(10);

/// An open connection.
pub(in crate::client) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Opens connections to one controller.
#[async_trait]
pub(in crate::client) trait Dial: fmt::Debug + Send + Sync {
    /// Opens one.
    async fn open(&self) -> Result<Box<dyn Wire>, DialFault>;
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) enum DialFault {
    /// Nobody answers.
    Unreachable(String),
    /// Whoever answers is not trusted.
    Untrusted(String),
}

/// Dials a controller over TLS.
#[derive(Clone)]
pub(in crate::client) struct Tls {
    address: Address,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

impl Tls {
    /// Trusts what these authorities (PEM) vouch for.
    ///
    /// # Errors
    /// What is wrong with the PEM.
    pub(in crate::client) fn under(address: Address, ca: &str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in tls::certificates(ca.as_bytes())? {
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address, config: Arc::new(config) })
    }

    /// Trusts the authority with this fingerprint, which the controller has to show.
    fn pinned(address: Address, sha256: &str) -> Result<Self, String> {
        let verifier = Arc::new(PinnedAuthority::new(sha256));
        let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok(Self { address, config: Arc::new(config) })
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, DialFault> {
        let unreachable = |reason: String| DialFault::Unreachable(reason);
        let name = ServerName::try_from(self.address.host().to_owned()).map_err(|e| unreachable(e.to_string()))?;
        let connected = tokio::time::timeout(CONNECT, async {
            let tcp = TcpStream::connect((self.address.host(), self.address.port())).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await
        });
        match connected.await {
            Ok(connected) => connected.map_err(|error| judge(&error)),
            Err(_) => Err(unreachable(format!("no connection within {} s", CONNECT.as_secs()))),
        }
    }
}

#[async_trait]
impl Dial for Tls {
    async fn open(&self) -> Result<Box<dyn Wire>, DialFault> {
        Ok(Box::new(self.connect().await?))
    }
}

/// Fetches the authority with this fingerprint from the controller, as PEM.
///
/// # Errors
/// When there is no controller there that has it.
pub(in crate::client) async fn fetch_authority(address: Address, sha256: &str) -> Result<String, DialFault> {
    let dial = Tls::pinned(address, sha256).map_err(DialFault::Unreachable)?;
    let stream = dial.connect().await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let authority = shown.iter().find(|certificate| tls::fingerprint(certificate) == sha256);
    authority.map(to_pem).ok_or_else(|| DialFault::Untrusted("it does not show that authority".into()))
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())
}

/// A certificate that is not good is mistrust; everything else is an absence.
fn judge(error: &std::io::Error) -> DialFault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => DialFault::Untrusted(match why {
            rustls::CertificateError::Other(other) => other.to_string(),
            why => why.to_string(),
        }),
        _ => DialFault::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_written_as_pem_reads_as_the_same_certificate() {
        let der = CertificateDer::from((0..200).collect::<Vec<u8>>());
        assert_eq!(tls::certificates(to_pem(&der).as_bytes()), Ok(vec![der]));
    }
}
