//! A controller that does what a test says.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use cratekube_agent::config::Address;
use cratekube_agent::link::dial::{Dialer, Io, Tcp};
use cratekube_common::domain::id::AttemptId;
use cratekube_common::runtime::clock;
use cratekube_common::runtime::tls::sha256_hex;
use cratekube_proto::v1::agent_link_server::{AgentLink, AgentLinkServer};
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use cratekube_proto::v1::enrollment_server::{Enrollment, EnrollmentServer};
use cratekube_proto::v1::{self};
use rustls::server::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use super::net::Memory;
use super::pki::{Authority, DAY};
use super::soon;

/// What the controller is like.
pub struct Options {
    /// Over sockets of the machine, instead of memory.
    pub sockets: bool,
    /// The name in its certificate.
    pub name: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self { sockets: false, name: "localhost" }
    }
}

/// What the controller has seen, and how it behaves.
pub struct State {
    authority: Arc<Authority>,
    /// Output by attempt.
    pub outputs: Mutex<HashMap<String, Vec<u8>>>,
    /// Attempts of which no output is wanted.
    pub closed: Mutex<HashSet<String>>,
    /// Whether chunks are acknowledged.
    pub acks: watch::Sender<bool>,
    /// Breaks the output stream when so many bytes are stored.
    pub break_at: Mutex<Vec<usize>>,
    /// Messages that no agent may send.
    pub faults: Mutex<Vec<String>>,
    /// Certificates (SHA-256) that are refused.
    pub refused: Mutex<HashSet<String>>,
    /// Refuses every certificate that was not seen yet, when set.
    pub refuse_new: AtomicBool,
    known: Mutex<HashSet<String>>,
    pub renewals: AtomicUsize,
    /// Renewals to fail before one works.
    pub failing_renewals: AtomicUsize,
    pub enrolled: Mutex<Vec<v1::EnrollRequest>>,
    /// Answer to the next enrolment, instead of the right one.
    pub enroll_answer: Mutex<Option<Result<v1::EnrollResponse, Status>>>,
    sessions: mpsc::UnboundedSender<TestSession>,
}

pub struct TestController {
    pub address: Address,
    pub authority: Arc<Authority>,
    pub state: Arc<State>,
    pub memory: Option<Memory>,
    sessions: mpsc::UnboundedReceiver<TestSession>,
}

/// One agent's session, from the controller's side.
pub struct TestSession {
    pub hello: v1::Hello,
    /// SHA-256 of the certificate that it was opened with.
    pub certificate: String,
    up: Streaming<v1::AgentMessage>,
    down: mpsc::Sender<Result<v1::ControllerMessage, Status>>,
}

impl TestController {
    pub async fn start(options: Options) -> Self {
        let authority = Arc::new(Authority::new());
        let tls = authority.server(options.name, vec![authority.certificate()]);
        Self::start_as(authority, tls, options.sockets).await
    }

    /// With any authority and any certificate.
    pub async fn start_as(authority: Arc<Authority>, tls: Arc<ServerConfig>, sockets: bool) -> Self {
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let (address, memory) = if sockets {
            (listen(arrive).await, None)
        } else {
            ("localhost:7443".parse().unwrap(), Some(Memory::new(arrive)))
        };
        let (sessions_in, sessions) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            authority: Arc::clone(&authority),
            outputs: Mutex::default(),
            closed: Mutex::default(),
            acks: watch::channel(true).0,
            break_at: Mutex::default(),
            faults: Mutex::default(),
            refused: Mutex::default(),
            refuse_new: AtomicBool::new(false),
            known: Mutex::default(),
            renewals: AtomicUsize::new(0),
            failing_renewals: AtomicUsize::new(0),
            enrolled: Mutex::default(),
            enroll_answer: Mutex::default(),
            sessions: sessions_in,
        });
        tokio::spawn(serve(arrivals, tls, Arc::clone(&state)));
        Self { address, authority, state, memory, sessions }
    }

    pub fn dialer(&self) -> Arc<dyn Dialer> {
        match &self.memory {
            Some(memory) => Arc::new(memory.clone()),
            None => Arc::new(Tcp),
        }
    }

    pub async fn session(&mut self) -> TestSession {
        soon("a session", self.sessions.recv()).await.unwrap()
    }

    /// A session only if there is one within a time.
    pub async fn session_within(&mut self, time: Duration) -> Option<TestSession> {
        tokio::time::timeout(time, self.sessions.recv()).await.ok().flatten()
    }

    pub fn output(&self, attempt: AttemptId) -> Vec<u8> {
        self.state.outputs.lock().unwrap().get(&attempt.to_string()).cloned().unwrap_or_default()
    }
}

impl TestSession {
    pub async fn send(&self, message: Down) {
        self.down.send(Ok(v1::ControllerMessage { message: Some(message) })).await.unwrap();
    }

    pub async fn fail(&self, status: Status) {
        self.down.send(Err(status)).await.unwrap();
    }

    pub async fn welcome(&self, verdicts: Vec<v1::Verdict>) {
        self.welcome_to(verdicts, Vec::new()).await;
    }

    /// Welcomes, and asks for volumes to be looked through.
    pub async fn welcome_to(&self, verdicts: Vec<v1::Verdict>, look_through: Vec<String>) {
        let now_ms = clock::system().now().as_millis();
        let session = "00000000-0000-0000-0000-000000000001".into();
        self.send(Down::Welcome(v1::Welcome {
            session,
            lease_ttl_ms: 30_000,
            heartbeat_interval_ms: 10_000,
            now_ms,
            verdicts,
            look_through,
        }))
        .await;
    }

    /// The next message; nothing when the agent has left or the session broke.
    pub async fn next(&mut self) -> Option<Up> {
        let message = soon("a message", self.up.message()).await;
        message.ok().flatten().map(|message| message.message.unwrap())
    }

    /// The next message that is not a heartbeat.
    pub async fn heard(&mut self) -> Up {
        loop {
            match self.next().await.expect("the agent left") {
                Up::Heartbeat(_) => {}
                message => return message,
            }
        }
    }

    /// The next message of a kind.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(Up) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await.expect("the agent left")) {
                return found;
            }
        }
    }

    pub async fn ready(&mut self) -> u32 {
        self.until(|m| if let Up::Ready(ready) = m { Some(ready.slots) } else { None }).await
    }

    pub async fn report(&mut self) -> v1::RunReport {
        self.until(|m| if let Up::Report(report) = m { Some(report) } else { None }).await
    }

    pub async fn decline(&mut self) -> v1::Decline {
        self.until(|m| if let Up::Decline(decline) = m { Some(decline) } else { None }).await
    }

    pub async fn heartbeat(&mut self) -> v1::Heartbeat {
        self.until(|m| if let Up::Heartbeat(beat) = m { Some(beat) } else { None }).await
    }
}

async fn listen(arrive: mpsc::UnboundedSender<Box<dyn Io>>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if arrive.send(Box::new(stream)).is_err() {
                return;
            }
        }
    });
    format!("localhost:{port}").parse().unwrap()
}

async fn serve(mut arrivals: mpsc::UnboundedReceiver<Box<dyn Io>>, tls: Arc<ServerConfig>, state: Arc<State>) {
    let (secured_in, secured) = mpsc::unbounded_channel::<io::Result<Secured>>();
    tokio::spawn(async move {
        while let Some(io) = arrivals.recv().await {
            let (acceptor, secured_in) = (TlsAcceptor::from(Arc::clone(&tls)), secured_in.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(io).await {
                    let _server_is_gone = secured_in.send(Ok(Secured(stream)));
                }
            });
        }
    });
    let scripted = Scripted(state);
    tonic::transport::Server::builder()
        .add_service(AgentLinkServer::new(scripted.clone()))
        .add_service(EnrollmentServer::new(scripted))
        .serve_with_incoming(UnboundedReceiverStream::new(secured))
        .await
        .unwrap();
}

struct Secured(TlsStream<Box<dyn Io>>);

#[derive(Clone)]
struct Peer(Option<String>);

impl Connected for Secured {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        let certificates = self.0.get_ref().1.peer_certificates();
        Peer(certificates.and_then(|chain| chain.first()).map(|leaf| sha256_hex(leaf)))
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[derive(Clone)]
struct Scripted(Arc<State>);

impl Scripted {
    fn authenticate<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0.clone());
        let certificate = peer.ok_or_else(|| Status::unauthenticated("no certificate"))?;
        let unknown = self.0.known.lock().unwrap().insert(certificate.clone());
        if self.0.refused.lock().unwrap().contains(&certificate)
            || (unknown && self.0.refuse_new.load(Ordering::SeqCst))
        {
            return Err(Status::unauthenticated("the certificate is revoked"));
        }
        Ok(certificate)
    }

    /// Stores one chunk; what is stored now, or nothing when the stream is to break here.
    fn store(&self, chunk: &v1::OutputChunk) -> Option<v1::OutputStored> {
        let mut outputs = self.0.outputs.lock().unwrap();
        let stored = outputs.entry(chunk.attempt.clone()).or_default();
        if !chunk.data.is_empty() {
            if usize::try_from(chunk.offset).unwrap() != stored.len()
                || chunk.data.len() > cratekube_proto::MAX_CHUNK_BYTES
            {
                let fault = format!("chunk of {} at {} with {} stored", chunk.data.len(), chunk.offset, stored.len());
                self.0.faults.lock().unwrap().push(fault);
            }
            stored.extend_from_slice(&chunk.data);
        }
        let mut break_at = self.0.break_at.lock().unwrap();
        if break_at.first().is_some_and(|at| stored.len() >= *at) {
            break_at.remove(0);
            return None;
        }
        let closed = self.0.closed.lock().unwrap().contains(&chunk.attempt);
        Some(v1::OutputStored { attempt: chunk.attempt.clone(), stored: stored.len() as u64, closed })
    }
}

#[tonic::async_trait]
impl AgentLink for Scripted {
    type SessionStream = ReceiverStream<Result<v1::ControllerMessage, Status>>;
    type OutputStream = ReceiverStream<Result<v1::OutputStored, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certificate = self.authenticate(&request)?;
        let mut up = request.into_inner();
        let (down, down_out) = mpsc::channel(64);
        let sessions = self.0.sessions.clone();
        tokio::spawn(async move {
            if let Ok(Some(v1::AgentMessage { message: Some(Up::Hello(hello)) })) = up.message().await {
                let _test_is_over = sessions.send(TestSession { hello, certificate, up, down });
            }
        });
        Ok(Response::new(ReceiverStream::new(down_out)))
    }

    async fn output(
        &self,
        request: Request<Streaming<v1::OutputChunk>>,
    ) -> Result<Response<Self::OutputStream>, Status> {
        self.authenticate(&request)?;
        let mut chunks = request.into_inner();
        let (answers, answers_out) = mpsc::channel(64);
        let this = self.clone();
        tokio::spawn(async move {
            let mut acks = this.0.acks.subscribe();
            let mut held_back = HashMap::new();
            loop {
                let chunk = tokio::select! {
                    chunk = chunks.message() => match chunk { Ok(Some(chunk)) => chunk, _ => return },
                    Ok(()) = acks.changed() => {
                        for (_, answer) in held_back.drain() {
                            let _agent_left = answers.send(Ok(answer)).await;
                        }
                        continue;
                    }
                };
                let Some(answer) = this.store(&chunk) else {
                    let _agent_left = answers.send(Err(Status::unavailable("broken on purpose"))).await;
                    return;
                };
                if *acks.borrow() || chunk.data.is_empty() {
                    let _agent_left = answers.send(Ok(answer)).await;
                } else {
                    held_back.insert(chunk.attempt, answer);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers_out)))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        self.authenticate(&request)?;
        self.0.renewals.fetch_add(1, Ordering::SeqCst);
        let failing = &self.0.failing_renewals;
        if failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Status::unavailable("not now"));
        }
        let certificate = Some(self.0.authority.grant(&request.into_inner().csr, DAY * 2));
        Ok(Response::new(v1::RenewResponse { certificate }))
    }
}

#[tonic::async_trait]
impl Enrollment for Scripted {
    async fn enroll(&self, request: Request<v1::EnrollRequest>) -> Result<Response<v1::EnrollResponse>, Status> {
        let request = request.into_inner();
        self.0.enrolled.lock().unwrap().push(request.clone());
        if let Some(answer) = self.0.enroll_answer.lock().unwrap().take() {
            return answer.map(Response::new);
        }
        let certificate = Some(self.0.authority.grant(&request.csr, DAY));
        Ok(Response::new(v1::EnrollResponse { agent_id: "00000000-0000-0000-0000-000000000007".into(), certificate }))
    }
}
