//! One connection to the controller: dial, TLS, HTTP/2.
//!
//! tonic's own channel dials again behind the caller's back; a session here is bound to one connection
//! and ends with it, so [`Channel`] is one HTTP/2 connection and nothing more. Every step has a bound.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cratekube_proto::v1::agent_link_client::AgentLinkClient;
use cratekube_proto::v1::enrollment_client::EnrollmentClient;
use cratekube_proto::{MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{CertificateError, ClientConfig};
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::{Code, Status};

use super::dial::Dialer;
use super::overheard::{Alert, Overheard};
use crate::config::Address;

/// Longest time for the connection of the network to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for TLS and HTTP/2 to greet.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing was heard for this long is asked whether it still is one …
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// … and given up when it does not answer for this long.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a call that answers at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one stream that wait inside HTTP/2 until the other side takes them.
const SEND_BUFFER: usize = 2 * MAX_CHUNK_BYTES;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host cannot be a name in a certificate.
    #[error("cannot connect to {address}: {fault}")]
    Address {
        /// Where to.
        address: Address,
        /// Why.
        fault: String,
    },
    /// The network did not connect us.
    #[error("cannot reach {address}: {source}")]
    Dial {
        /// Where to.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// The other side is not who it should be, or does not want us.
    #[error("no secure connection with {address}: {source}")]
    Tls {
        /// Where to.
        address: Address,
        /// Why.
        source: io::Error,
        /// Whether it was the other side that did not want us.
        refused: bool,
    },
    /// The other side does not speak HTTP/2.
    #[error("{address} does not speak HTTP/2: {source}")]
    Http {
        /// Where to.
        address: Address,
        /// Why.
        source: hyper::Error,
    },
    /// A step took too long.
    #[error("{address} did not answer within {} s ({step})", .after.as_secs())]
    Timeout {
        /// Where to.
        address: Address,
        /// Which step.
        step: &'static str,
        /// How long we waited.
        after: Duration,
    },
}

impl ConnectError {
    /// True when the other side's certificate is not from anybody whom we trust.
    #[must_use]
    pub fn is_distrust(&self) -> bool {
        let Self::Tls { source, .. } = self else { return false };
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        matches!(inner, Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)))
    }

    /// True when the other side does not accept who we are.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Tls { refused: true, .. })
    }
}

/// Opens connections to one controller.
#[derive(Debug, Clone)]
pub struct Connector {
    dialer: Arc<dyn Dialer>,
    address: Address,
}

/// An open connection.
#[derive(Debug, Clone)]
pub struct Connection {
    channel: Channel,
    origin: Uri,
    alert: Alert,
}

impl Connector {
    /// Opens connections to this address in this way.
    #[must_use]
    pub fn new(dialer: Arc<dyn Dialer>, address: Address) -> Self {
        Self { dialer, address }
    }

    /// Where connections go.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Opens one.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, tls: Arc<ClientConfig>) -> Result<Connection, ConnectError> {
        let address = &self.address;
        let fault = |fault: String| ConnectError::Address { address: address.clone(), fault };
        let name = address.server_name().map_err(fault)?;
        let origin: Uri =
            format!("https://{address}").parse().map_err(|e: http::uri::InvalidUri| fault(e.to_string()))?;
        let dialled = self.within("network", CONNECT_TIMEOUT, self.dialer.connect(address.host(), address.port()));
        let io = dialled.await?.map_err(|source| ConnectError::Dial { address: address.clone(), source })?;
        let alert = Alert::default();
        let secured = self.within("TLS", HANDSHAKE_TIMEOUT, TlsConnector::from(tls).connect(name, io)).await?;
        let stream = secured.map_err(|source| {
            alert.note(&source);
            ConnectError::Tls { address: address.clone(), source, refused: alert.is_refusal() }
        })?;
        let requests = self.greet(Overheard::new(stream, alert.clone())).await?;
        Ok(Connection { channel: Channel { requests }, origin, alert })
    }

    async fn greet<T>(&self, io: T) -> Result<http2::SendRequest<Body>, ConnectError>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .max_send_buf_size(SEND_BUFFER);
        let greeted = self.within("HTTP/2", HANDSHAKE_TIMEOUT, builder.handshake(TokioIo::new(io))).await?;
        let (requests, connection) =
            greeted.map_err(|source| ConnectError::Http { address: self.address.clone(), source })?;
        // Ends by itself: when every user of the connection is gone, or when the network is.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the controller ended with an error");
            }
        });
        Ok(requests)
    }

    async fn within<T>(
        &self,
        step: &'static str,
        after: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, ConnectError> {
        let late = |_| ConnectError::Timeout { address: self.address.clone(), step, after };
        tokio::time::timeout(after, work).await.map_err(late)
    }
}

impl Connection {
    /// Calls of an enrolled agent.
    #[must_use]
    pub fn link(&self) -> AgentLinkClient<Channel> {
        AgentLinkClient::with_origin(self.channel.clone(), self.origin.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Calls of a stranger with a join token.
    #[must_use]
    pub fn enrollment(&self) -> EnrollmentClient<Channel> {
        EnrollmentClient::with_origin(self.channel.clone(), self.origin.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Finds out whether the controller accepts who we are, which TLS 1.3 alone does not tell, by
    /// opening an output stream that carries nothing. The controller's `date` where it says one.
    ///
    /// # Errors
    /// The status that the call ended with.
    pub async fn accepted(&self) -> Result<Option<String>, Status> {
        let mut link = self.link();
        let call = link.output(tokio_stream::empty());
        let late = |_| Status::deadline_exceeded("the controller did not answer in time");
        match tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(late).flatten() {
            Ok(answer) => Ok(answer.metadata().get("date").and_then(|d| d.to_str().ok()).map(str::to_owned)),
            // The call itself was not wanted, but who made it was.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// True when a failed call means that the controller does not accept who we are.
    #[must_use]
    pub fn is_refusal(&self, status: &Status) -> bool {
        self.alert.is_refusal() || matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
    }
}

/// One HTTP/2 connection as tonic wants it.
#[derive(Debug, Clone)]
pub struct Channel {
    requests: http2::SendRequest<Body>,
}

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}
