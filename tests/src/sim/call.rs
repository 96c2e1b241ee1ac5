//! Calls of the REST API through the simulated network: TLS, HTTP/1.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::tls;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio_rustls::TlsConnector;
use turmoil::net::TcpStream;

/// The controller's name on the simulated network.
pub const CONTROLLER: &str = "controller";
/// Its port for users.
pub const REST_PORT: u16 = 8443;
/// How long a user waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Something to be sent.
#[derive(Debug)]
pub struct Call {
    request: http::request::Builder,
    body: Bytes,
}

/// What comes back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its `Location`; empty when it has none.
    pub location: String,
    body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How the controller is known to users: by the `ca.pem` that is there when they connect.
#[derive(Clone)]
pub struct Trust {
    ca_pem: PathBuf,
    clock: Clock,
}

impl Trust {
    /// Trusts the authorities in this file.
    #[must_use]
    pub fn of(ca_pem: PathBuf, clock: Clock) -> Self {
        Self { ca_pem, clock }
    }

    fn connector(&self) -> anyhow::Result<TlsConnector> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in tls::certificates(&std::fs::read(&self.ca_pem)?).map_err(anyhow::Error::msg)? {
            roots.add(certificate)?;
        }
        let config = rustls::ClientConfig::builder_with_details(tls::provider(), tls::time(&self.clock))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

impl Call {
    /// A call without a body.
    #[must_use]
    pub fn new(method: Method, path: &str) -> Self {
        let request = Request::builder().method(method).uri(path).header(header::HOST, CONTROLLER);
        Self { request, body: Bytes::new() }
    }

    /// With a JSON body.
    #[must_use]
    pub fn body(self, json: String) -> Self {
        let request = self.request.header(header::CONTENT_TYPE, "application/json");
        Self { request, body: json.into() }
    }

    /// With a header.
    #[must_use]
    pub fn header(self, name: &'static str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }
}

/// A user's way to the controller: one connection, kept for as long as it answers.
pub struct Caller {
    trust: Trust,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Caller {
    /// Not connected yet.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self { trust, connection: None }
    }

    /// Sends a call and reads the whole answer.
    ///
    /// # Errors
    /// When there is none in time; the next call is sent on another connection then.
    pub async fn send(&mut self, call: Call, token: &str) -> anyhow::Result<Answer> {
        let request = call.request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.body(Full::new(call.body))?;
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        let answer = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let (parts, body) = connection.send_request(request).await?.into_parts();
            let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            let location = location.unwrap_or_default().to_owned();
            let answer = Answer { status: parts.status, location, body: body.collect().await?.to_bytes() };
            Ok::<_, anyhow::Error>((answer, connection))
        };
        let (answer, connection) = tokio::time::timeout(PATIENCE, answer).await.context("no answer")??;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let tcp = TcpStream::connect((CONTROLLER, REST_PORT)).await?;
        let stream = self.trust.connector()?.connect(ServerName::try_from(CONTROLLER)?, tcp).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
