//! A client of the REST API as a user would write one: TLS with the controller's CA, a bearer token,
//! JSON. One connection a request, unless a [`Connection`] is kept (benches).

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cratekube_common::runtime::tls;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::process::PATIENCE;

/// A client with a token.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: TlsConnector,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text; empty when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer, if it has this status.
    ///
    /// # Errors
    /// When it has another, with the body.
    pub fn expect(self, status: u16) -> anyhow::Result<Self> {
        if self.status.as_u16() != status {
            bail!("expected {status}, got {}: {}", self.status, self.text());
        }
        Ok(self)
    }
}

impl Client {
    /// A client that trusts the controller's own CA.
    ///
    /// # Errors
    /// When the PEM is none.
    pub fn new(address: SocketAddr, ca_pem: &str, token: Option<String>) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in tls::certificates(ca_pem.as_bytes()).map_err(anyhow::Error::msg)? {
            roots.add(certificate)?;
        }
        let config = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)), token })
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// A connection for many requests.
    ///
    /// # Errors
    /// When the controller cannot be reached.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let tcp = TcpStream::connect(self.address).await.context("cannot reach the controller")?;
        tcp.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, token: self.token.clone() })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn send(&self, request: Ask<'_>) -> anyhow::Result<Answer> {
        let ask = async { self.connect().await?.send(request).await };
        tokio::time::timeout(PATIENCE, ask).await.context("no answer")?
    }

    /// `GET`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Ask::new(Method::GET, path)).await
    }

    /// `POST` with JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(Ask::new(Method::POST, path).json(body)).await
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Ask::new(Method::DELETE, path)).await
    }

    /// Waits until an operation has ended; answers it.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(&self, operation: &str) -> anyhow::Result<Value> {
        for _ in 0..4 {
            let answer = self.get(&format!("{operation}?wait=30s")).await?.expect(200)?.json();
            if !matches!(answer["state"].as_str(), Some("queued" | "running" | "cancelling")) {
                return Ok(answer);
            }
        }
        bail!("the operation does not end: {}", self.get(operation).await?.text())
    }

    /// Follows server-sent events.
    ///
    /// # Errors
    /// When the answer is not an event stream.
    pub async fn events(&self, path: &str, last_event_id: Option<&str>) -> anyhow::Result<Events> {
        let mut ask = Ask::new(Method::GET, path);
        if let Some(id) = last_event_id {
            ask = ask.header("last-event-id", id);
        }
        let mut connection = self.connect().await?;
        let response = connection.start(ask).await?;
        if response.status() != StatusCode::OK {
            bail!("expected events, got {}", response.status());
        }
        Ok(Events { body: response.into_body(), buffer: String::new(), _connection: connection })
    }
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    method: Method,
    path: &'a str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl<'a> Ask<'a> {
    /// A request without a body.
    #[must_use]
    pub fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, headers: Vec::new(), body: Bytes::new() }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    /// With any body.
    #[must_use]
    pub fn raw(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.headers.push(("content-type", content_type.to_owned()));
        self.body = body.into();
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A kept connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    token: Option<String>,
}

impl Connection {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn send(&mut self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let (parts, body) = self.start(ask).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    async fn start(&mut self, ask: Ask<'_>) -> anyhow::Result<http::Response<Incoming>> {
        let mut request = Request::builder().method(ask.method).uri(ask.path).header("host", "localhost");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(Full::new(ask.body))?;
        for (name, value) in ask.headers {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(&value)?);
        }
        Ok(self.sender.send_request(request).await?)
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its kind.
    pub event: String,
    /// Its id.
    pub id: String,
    /// Its data, as JSON text.
    pub data: String,
}

/// A stream of server-sent events.
pub struct Events {
    body: Incoming,
    buffer: String,
    _connection: Connection,
}

impl Events {
    /// The next event; none when the stream ends.
    ///
    /// # Errors
    /// When the stream breaks or stalls.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let event = parse(&block);
                if event != Event::default() {
                    return Ok(Some(event));
                }
                continue;
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.context("the stream stalls")?;
            match frame.transpose()? {
                Some(frame) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.buffer.push_str(std::str::from_utf8(&data).context("an event is not UTF-8")?);
                }
                None => return Ok(None),
            }
        }
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.event = value.to_owned(),
            "id" => event.id = value.to_owned(),
            "data" => event.data.push_str(value),
            _ => {}
        }
    }
    event
}
