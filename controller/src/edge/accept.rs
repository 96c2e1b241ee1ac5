//! The accept loop: one connection, one task; TLS, then HTTP with every knob set.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::mint::Mint;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Peer;
use super::counters::Counters;
use super::limits::{Count, Limits, Place};
use super::patience::{Opening, Unread};

/// Where connections come from: the network, or a simulated one.
pub trait Listener: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // One that was reset already refuses this; it ends by itself.
        let _gone = stream.set_nodelay(true);
        Ok((stream, address))
    }
}

/// One listener with what it serves.
#[derive(Debug)]
pub struct Edge {
    /// For logs: `rest`, `agents` or `metrics`.
    pub name: &'static str,
    /// TLS, or not.
    pub security: Security,
    /// What is served.
    pub router: axum::Router,
    /// Limits.
    pub limits: Limits,
    /// What happened.
    pub counters: Counters,
    /// Spreads the ends of connections.
    pub mint: Mint,
}

/// Whether connections are secured.
#[derive(Debug, Clone)]
pub enum Security {
    /// By TLS.
    Tls(Arc<ServerConfig>),
    /// Not at all; HTTP/1 only. For what is no secret and reached from this host.
    Plain,
}

/// After the system refused a connection for want of resources, this long is waited.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(100);

fn is_theirs(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

impl Edge {
    /// Accepts connections until asked to stop; then lets them finish for `limits.drain`.
    pub async fn serve(self, mut listener: impl Listener, shutdown: Shutdown) {
        let edge = Arc::new(self);
        let count = Count::default();
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.soft.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((io, address)) => match count.admit(address.ip(), &edge.limits) {
                    Some(place) => {
                        connections.spawn(Arc::clone(&edge).connection(io, address, place, shutdown.clone()));
                    }
                    None => edge.turn_away(address),
                },
                // The connection was given up before we took it: nothing is wrong here.
                Err(error) if is_theirs(&error) => {}
                Err(error) => {
                    tracing::warn!(listener = edge.name, %error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE_AFTER_FAULT).await;
                }
            }
        }
        drop(listener);
        connections.close();
        tokio::select! {
            biased;
            () = connections.wait() => {}
            () = tokio::time::sleep(edge.limits.drain) => shutdown.hard.cancel(),
            () = shutdown.hard.cancelled() => {}
        }
        connections.wait().await;
    }

    fn turn_away(&self, address: SocketAddr) {
        self.counters.turned_away();
        tracing::debug!(listener = self.name, %address, "connection refused: too many");
    }

    async fn connection<I>(self: Arc<Self>, io: I, address: SocketAddr, _place: Place, shutdown: Shutdown)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.counters.accepted();
        let io = Unread::new(io, self.limits.send);
        let Security::Tls(tls) = &self.security else {
            return self.speak(io, address, Vec::new(), false, shutdown).await;
        };
        let stream = tokio::select! {
            biased;
            stream = self.secure(tls, io, address) => match stream {
                Some(stream) => stream,
                None => return,
            },
            () = shutdown.soft.cancelled() => return,
        };
        let tls = stream.get_ref().1;
        let certificates = tls.peer_certificates().unwrap_or_default().to_vec();
        let is_http2 = !self.limits.http1 || tls.alpn_protocol() == Some(b"h2");
        self.speak(stream, address, certificates, is_http2, shutdown).await;
    }

    /// Speaks HTTP until the connection ends.
    async fn speak<S>(
        &self,
        stream: S,
        address: SocketAddr,
        certificates: Vec<CertificateDer<'static>>,
        is_http2: bool,
        shutdown: Shutdown,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let retire = CancellationToken::new();
        let peer = Peer { address, certificates: certificates.into(), retire: retire.clone() };
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer.clone());
            router.clone().oneshot(request)
        });
        let builder = self.builder(is_http2);
        let io = Opening::new(stream, is_http2.then_some(self.limits.headers));
        let connection = builder.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = shutdown.soft.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection => ended,
                    () = shutdown.hard.cancelled() => Ok(()),
                }
            }
            () = self.aged(&retire) => {
                self.counters.retired();
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection => ended,
                    () = tokio::time::sleep(self.limits.age_grace) => Ok(()),
                    () = shutdown.hard.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            self.counters.faults();
            tracing::debug!(listener = self.name, %address, %error, "connection ended with a fault");
        }
    }

    async fn secure<I>(
        &self,
        tls: &Arc<ServerConfig>,
        io: Unread<I>,
        address: SocketAddr,
    ) -> Option<TlsStream<Unread<I>>>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(io);
        match tokio::time::timeout(self.limits.handshake, handshake).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                self.counters.handshakes_failed();
                tracing::debug!(listener = self.name, %address, %error, "handshake failed");
                None
            }
            Err(_) => {
                self.counters.handshakes_late();
                tracing::debug!(listener = self.name, %address, "handshake took too long");
                None
            }
        }
    }

    /// Waits until the connection's life is over, or somebody ends it; tells all who use it.
    async fn aged(&self, retire: &CancellationToken) {
        // Between eight and ten tenths of the longest life.
        let age = self.limits.age.mul_f64(self.mint.chance().mul_add(0.2, 0.8));
        tokio::select! {
            biased;
            () = retire.cancelled() => {}
            () = tokio::time::sleep(age) => retire.cancel(),
        }
    }

    fn builder(&self, is_http2: bool) -> auto::Builder<TokioExecutor> {
        let builder = auto::Builder::new(TokioExecutor::new());
        // The version is known: waiting for bytes that tell it would have no end.
        let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.headers)
            .max_headers(64)
            .max_buf_size(64 * 1024);
        self.limits.http2.apply(&mut builder);
        builder
    }
}
