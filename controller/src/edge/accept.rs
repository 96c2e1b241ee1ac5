//! The accept loop: one connection, one task; TLS, then HTTP with every knob set.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::runtime::lifecycle::Shutdown;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Peer;
use super::limits::{Count, Limits, Place};

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
        stream.set_nodelay(true)?;
        Ok((stream, address))
    }
}

/// One listener with what it serves.
#[derive(Debug)]
pub struct Edge {
    /// For logs: `rest` or `agents`.
    pub name: &'static str,
    /// TLS.
    pub tls: Arc<ServerConfig>,
    /// What is served.
    pub router: axum::Router,
    /// Limits.
    pub limits: Limits,
}

/// After the system refused a connection for want of resources, this long is waited.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(100);

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
                    None => tracing::warn!(listener = edge.name, %address, "connection refused: too many"),
                },
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

    async fn connection<I>(self: Arc<Self>, io: I, address: SocketAddr, _place: Place, shutdown: Shutdown)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = TlsAcceptor::from(Arc::clone(&self.tls)).accept(io);
        let stream = tokio::select! {
            biased;
            done = tokio::time::timeout(self.limits.handshake, handshake) => match done {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(listener = self.name, %address, %error, "handshake failed"),
                Err(_) => return tracing::debug!(listener = self.name, %address, "handshake took too long"),
            },
            () = shutdown.soft.cancelled() => return,
        };
        let certificates: Vec<_> = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let peer = Peer { address, certificates: certificates.into() };
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer.clone());
            router.clone().oneshot(request)
        });
        let builder = self.builder();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
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
        };
        if let Err(error) = ended {
            tracing::debug!(listener = self.name, %address, %error, "connection ended with a fault");
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.headers)
            .max_headers(64)
            .max_buf_size(64 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            // The cap that answers rapid reset (RUSTSEC-2024-0003); tonic's default switches it off.
            .max_local_error_reset_streams(1_024)
            .max_pending_accept_reset_streams(20)
            .max_header_list_size(16 * 1024)
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(4 * 1024 * 1024)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        builder
    }
}
