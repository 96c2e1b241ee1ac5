//! The certificate that an API server really shows: a handshake of our own, with the cluster's CA alone
//! trusted, directly or through the proxy.

use std::sync::Arc;

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{clock, tls};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::KubernetesSection;

/// Where API servers listen.
pub(super) const PORT: u16 = 6443;
/// Longest answer of a proxy to `CONNECT`.
const MAX_ANSWER: usize = 8 * 1024;

/// When the certificate that a control plane host shows runs out.
///
/// # Errors
/// Why there is none that the cluster's CA vouches for.
pub(super) async fn not_after(authority: &[u8], host: &str, settings: &KubernetesSection) -> Result<Timestamp, String> {
    let handshake = async {
        let stream = connect(host, settings.proxy.as_deref()).await.map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(config(authority)?);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        shown.as_ref().and_then(tls::not_after).ok_or_else(|| "its certificate cannot be read".to_owned())
    };
    let late = || format!("no answer within {} s", settings.request_timeout.as_secs());
    tokio::time::timeout(settings.request_timeout, handshake).await.map_err(|_| late())?
}

fn config(authority: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority).map_err(|_| "the CA's certificate is no PEM")?;
    roots.add(authority).map_err(|error| error.to_string())?;
    let config = ClientConfig::builder_with_details(tls::provider(), tls::time(&clock::system()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

async fn connect(host: &str, proxy: Option<&str>) -> std::io::Result<TcpStream> {
    let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let Some(proxy) = proxy else { return TcpStream::connect((host, PORT)).await };
    let mut stream = TcpStream::connect(proxy.trim_start_matches("http://")).await?;
    let request = format!("CONNECT {shown}:{PORT} HTTP/1.1\r\nhost: {shown}:{PORT}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_ANSWER {
            return Err(std::io::Error::other("the proxy answers with too much"));
        }
        answer.push(stream.read_u8().await?);
    }
    let status = String::from_utf8_lossy(&answer).split_whitespace().nth(1).unwrap_or_default().to_owned();
    if status != "200" {
        return Err(std::io::Error::other(format!(
            "the proxy cannot reach it: {}",
            status.chars().take(8).collect::<String>()
        )));
    }
    Ok(stream)
}
