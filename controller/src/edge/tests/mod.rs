//! The listener against hostile clients: bytes and frames by hand, over real TLS, with time that the
//! test lets pass.

mod floods;
mod knobs;
mod patience;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::{clock, mint::Mint, tls};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::accept::{Edge, Listener, Security};
use super::counters::{Counters, Counts};
use super::limits::Limits;
use super::renewal::{Renewal, Source};
use super::tls::for_users;
use crate::keys::Envelope;
use crate::pki::authority::Authority;

/// Bytes that the network between client and listener holds.
const PIPE: usize = 64 * 1024;
/// Pieces of the endless answer.
const PIECE: usize = 16 * 1024;

/// Connections through memory.
struct Pipes(mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>);

impl Listener for Pipes {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(pipe) => Ok(pipe),
            None => std::future::pending().await,
        }
    }
}

/// A listener with a small service behind it.
struct Bench {
    pipes: mpsc::UnboundedSender<(DuplexStream, SocketAddr)>,
    counters: Counters,
    renewal: Arc<Renewal>,
    roots: RootCertStore,
    shutdown: Shutdown,
    /// Pieces of endless answers that were taken from the service.
    taken: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.insist();
    }
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self::with(limits, Source::Own(vec!["localhost".to_owned()]))
    }

    fn with(limits: Limits, source: Source) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock::system();
        let mint = Mint::system(clock.clone());
        let envelope = Envelope::new(&Zeroizing::new(vec![1; 32]), mint.clone()).unwrap();
        let algorithm = KeyAlgorithm::EcdsaP256;
        let authority =
            Authority::load(dir.path(), true, algorithm, &Arc::new(envelope), clock.clone(), mint.clone()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.now().stays.certificate).unwrap();
        let renewal = Arc::new(Renewal::new("bench", source, Arc::new(authority), clock.clone()).unwrap());
        let config = for_users(renewal.certificate(), &clock).unwrap();
        let (counters, shutdown, taken) = (Counters::default(), Shutdown::new(), Arc::new(AtomicUsize::new(0)));
        let (pipes, arrivals) = mpsc::unbounded_channel();
        let router = router(Arc::clone(&taken));
        let security = Security::Tls(Arc::new(config));
        let edge = Edge { name: "bench", security, router, limits, counters: counters.clone(), mint };
        tokio::spawn(edge.serve(Pipes(arrivals), shutdown.clone()));
        Self { pipes, counters, renewal, roots, shutdown, taken, _dir: dir }
    }

    /// A bare connection from an address.
    fn dial_from(&self, address: &str) -> DuplexStream {
        let (near, far) = tokio::io::duplex(PIPE);
        self.pipes.send((far, address.parse().unwrap())).unwrap();
        near
    }

    fn dial(&self) -> DuplexStream {
        self.dial_from("192.0.2.1:4711")
    }

    /// A connection with TLS, for a protocol.
    async fn secure(&self, io: DuplexStream, protocol: &[u8]) -> io::Result<TlsStream<DuplexStream>> {
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), io).await
    }

    async fn http1(&self) -> TlsStream<DuplexStream> {
        self.secure(self.dial(), b"http/1.1").await.unwrap()
    }

    async fn http2(&self) -> wire::Wire {
        self.http2_with(&[]).await
    }

    async fn http2_with(&self, settings: &[(u16, u32)]) -> wire::Wire {
        wire::Wire::begin(self.secure(self.dial(), b"h2").await.unwrap(), settings).await
    }

    fn counts(&self) -> Counts {
        self.counters.read()
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

fn router(taken: Arc<AtomicUsize>) -> Router {
    let endless = move || {
        let taken = Arc::clone(&taken);
        async move {
            let pieces = futures::stream::repeat_with(move || {
                taken.fetch_add(1, Ordering::Relaxed);
                Ok::<_, io::Error>(Bytes::from_static(&[b'x'; PIECE]))
            });
            Body::from_stream(pieces)
        }
    };
    Router::new()
        .route("/ok", get(|| async { "ok" }))
        .route("/endless", get(endless))
        .route("/never", get(|| async { std::future::pending::<&'static str>().await }))
        .route("/unread", post(unread))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
}

/// Keeps a request and never looks into it.
async fn unread(request: axum::extract::Request) -> &'static str {
    let _kept = request;
    std::future::pending().await
}
