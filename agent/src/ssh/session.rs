//! A connection to a host: made, used and ended within bounds.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cratekube_common::runtime::clock::Clock;
use cratekube_common::visible::visible;
use russh::client::{AuthResult, Config, Handle, Handler, Msg, connect_stream};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelStream, Disconnect, Preferred};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::Target;
use super::fault::SshFault;
use super::key::{Credentials, KeyFault};
use super::known::{HostRecord, KnownHosts, Verdict, fingerprint};
use super::rsa::Signer;

/// Keys of an SSH agent that are tried: sshd ends a login after six.
const MOST_KEYS: usize = 5;
/// Ending a connection in good manners takes one message.
const GOODBYE: Duration = Duration::from_secs(2);
/// A stderr that is longer has nothing more to say.
const MOST_STDERR: usize = 16 * 1024;
/// What is quoted of a host's words.
const MOST_QUOTED: usize = 300;

/// Bounds of making connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the TCP connection. `rke` waits for 134 s.
    pub connect: Duration,
    /// For everything until it is logged in. Key exchange and login take a second on a slow host.
    pub login: Duration,
    /// For a look at the host: it takes a second, and four more for each 32 ways to other hosts that are
    /// blocked.
    pub look: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), login: Duration::from_secs(20), look: Duration::from_secs(60) }
    }
}

/// Bounds of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Longest time.
    pub time: Duration,
    /// Most bytes of its output; what is more is not read.
    pub output: usize,
}

/// What a command said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; none when it was ended by a signal or its output was too much.
    pub status: Option<u32>,
    /// Its output.
    pub stdout: Vec<u8>,
    /// Its first errors.
    pub stderr: Vec<u8>,
    /// Whether there was more output than is kept.
    pub cut: bool,
}

/// Makes connections to the hosts of one cluster.
#[derive(Debug)]
pub struct Connector {
    credentials: Credentials,
    known: KnownHosts,
    clock: Clock,
}

/// A connection to a host; logged in.
pub struct Session {
    handle: Handle<Guard>,
    /// Set when the host shows another key than before, and nothing was built yet.
    exchanged: Option<HostRecord>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("exchanged", &self.exchanged).finish_non_exhaustive()
    }
}

/// What the host showed while the connection was made.
#[derive(Debug, Default)]
struct Shown {
    key: Option<PublicKey>,
    verdict: Option<Verdict>,
}

/// Judges the host's key.
struct Guard {
    target: Target,
    judge: Arc<Connector>,
    shown: Arc<Mutex<Shown>>,
}

impl Handler for Guard {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        // Certificates are not asked for.
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let verdict = self.judge.known.judge(&self.target, key);
        let accepted = !matches!(verdict, Verdict::Refused(_));
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            Shown { key: Some(key.clone()), verdict: Some(verdict) };
        Ok(accepted)
    }
}

impl Connector {
    /// A connector with what logs in and what is known of the hosts.
    #[must_use]
    pub fn new(credentials: Credentials, known: KnownHosts, clock: Clock) -> Self {
        Self { credentials, known, clock }
    }

    /// What is known of the hosts.
    #[must_use]
    pub fn known(&self) -> &KnownHosts {
        &self.known
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// [`SshFault`], within the bounds of time.
    pub async fn connect(self: &Arc<Self>, target: &Target, patience: Patience) -> Result<Session, SshFault> {
        let socket = dial(target, patience.connect).await?;
        let mute = || SshFault::Mute { port: target.port, seconds: patience.login.as_secs() };
        timeout(patience.login, self.log_in(target, socket)).await.map_err(|_| mute())?
    }

    async fn log_in(self: &Arc<Self>, target: &Target, socket: TcpStream) -> Result<Session, SshFault> {
        let shown = Arc::new(Mutex::new(Shown::default()));
        let guard = Guard { target: target.clone(), judge: Arc::clone(self), shown: Arc::clone(&shown) };
        let config = Arc::new(config(self.known.algorithm(target).as_deref()));
        let connected = connect_stream(config, socket, guard).await;
        let shown = std::mem::take(&mut *shown.lock().unwrap_or_else(PoisonError::into_inner));
        let mut handle = connected.map_err(|error| explain(target.port, &shown, error))?;
        self.authenticate(target, &mut handle).await?;
        let exchanged = match (shown.key, shown.verdict) {
            (Some(key), Some(Verdict::New)) => {
                self.known.record(target, &key, self.clock.now());
                None
            }
            (Some(key), Some(Verdict::Exchanged(before))) => {
                self.known.record(target, &key, self.clock.now());
                Some(before)
            }
            _ => None,
        };
        Ok(Session { handle, exchanged })
    }

    async fn authenticate(&self, target: &Target, handle: &mut Handle<Guard>) -> Result<(), SshFault> {
        let user = target.user.as_str();
        let refused = |with: String| SshFault::NotLetIn { user: user.to_owned(), with };
        let named = |key: &PublicKey| format!("the key {}", fingerprint(key));
        let lost = |error: &dyn std::fmt::Display| SshFault::Lost(quote(&error.to_string()));
        let (answer, with) = match &self.credentials {
            Credentials::Key(key) => {
                let signer = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
                (handle.authenticate_publickey(user, signer).await.map_err(|e| lost(&e))?, named(key.public_key()))
            }
            Credentials::Rsa(key) => {
                let hash = rsa_hash(handle).await.map_err(|e| lost(&e))?;
                let public = key.public_key();
                let answer = handle.authenticate_publickey_with(user, public.clone(), hash, &mut Signer(key)).await;
                (answer.map_err(|e| lost(&e))?, format!("the RSA key {}", fingerprint(public)))
            }
            Credentials::Agent(socket) => {
                let mut agent = open_agent(socket).await?;
                let keys = identities(&mut agent).await?;
                let with = format!("any of the {} keys of the SSH agent", keys.len());
                let mut last = None;
                for key in keys.iter().take(MOST_KEYS) {
                    let hash =
                        if key.algorithm().is_rsa() { rsa_hash(handle).await.map_err(|e| lost(&e))? } else { None };
                    let answer = handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await;
                    let answer = answer.map_err(|e| KeyFault::Agent(format!("does not sign: {e}")))?;
                    let done = answer.success();
                    last = Some(answer);
                    if done {
                        break;
                    }
                }
                (last.ok_or_else(|| KeyFault::Agent("holds no key".into()))?, with)
            }
        };
        match answer {
            AuthResult::Success => Ok(()),
            AuthResult::Failure { .. } => Err(refused(with)),
        }
    }
}

async fn dial(target: &Target, patience: Duration) -> Result<TcpStream, SshFault> {
    let port = target.port;
    let silent = || SshFault::Silent { port, seconds: patience.as_secs() };
    let resolved = timeout(patience, lookup_host((target.address.as_str(), port))).await;
    let addresses: Vec<SocketAddr> = match resolved {
        Err(_) => return Err(SshFault::Unresolved("no answer".into())),
        Ok(Err(error)) => return Err(SshFault::Unresolved(error.to_string())),
        Ok(Ok(found)) => found.collect(),
    };
    let dialled = timeout(patience, TcpStream::connect(addresses.as_slice())).await;
    let socket = dialled.map_err(|_| silent())?.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => SshFault::Refused { port },
        ErrorKind::TimedOut => silent(),
        _ => SshFault::Unreachable { port, why: error.to_string() },
    })?;
    let _faster_answers = socket.set_nodelay(true);
    Ok(socket)
}

/// Which hash RSA signatures are made with; never SHA-1.
async fn rsa_hash(handle: &Handle<Guard>) -> Result<Option<HashAlg>, russh::Error> {
    Ok(Some(handle.best_supported_rsa_hash().await?.flatten().unwrap_or(HashAlg::Sha256)))
}

async fn open_agent(socket: &std::path::Path) -> Result<AgentClient<UnixStream>, KeyFault> {
    let shown = socket.display();
    AgentClient::connect_uds(socket)
        .await
        .map_err(|error| KeyFault::NoAgent(format!("{shown} (SSH_AUTH_SOCK): {error}")))
}

async fn identities(agent: &mut AgentClient<UnixStream>) -> Result<Vec<PublicKey>, KeyFault> {
    let held = agent.request_identities().await.map_err(|e| KeyFault::Agent(format!("does not answer: {e}")))?;
    let plain = |identity: AgentIdentity| match identity {
        AgentIdentity::PublicKey { key, .. } => Some(key),
        AgentIdentity::Certificate { .. } => None,
    };
    Ok(held.into_iter().filter_map(plain).collect())
}

/// The public keys that the SSH agent at a socket holds.
///
/// # Errors
/// [`KeyFault`] when there is no agent, or none that answers within a few seconds.
pub async fn keys_of_agent(socket: &std::path::Path) -> Result<Vec<PublicKey>, KeyFault> {
    let ask = async { identities(&mut open_agent(socket).await?).await };
    let patience = Patience::default().connect;
    timeout(patience, ask).await.unwrap_or_else(|_| Err(KeyFault::Agent("does not answer".into())))
}

/// The settings of a connection. `first` is the host key algorithm that is on record.
fn config(first: Option<&str>) -> Config {
    let mut keys = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    ];
    keys.sort_by_key(|algorithm| first != Some(algorithm.as_str()));
    Config {
        preferred: Preferred { key: Cow::Owned(keys), ..Preferred::DEFAULT },
        // A host that vanishes is noticed within a minute, also between two commands.
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        ..Config::default()
    }
}

fn explain(port: u16, shown: &Shown, error: russh::Error) -> SshFault {
    if let (Some(key), Some(Verdict::Refused(record))) = (&shown.key, &shown.verdict) {
        let (recorded, since) = (record.fingerprint.clone(), record.since.to_string());
        return SshFault::OtherHostKey { shown: fingerprint(key), recorded, since };
    }
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            SshFault::NothingInCommon { kind: format!("{kind:?} algorithm"), theirs: quote(&theirs.join(", ")) }
        }
        russh::Error::IO(error) => SshFault::Lost(quote(&error.to_string())),
        russh::Error::Disconnect | russh::Error::HUP => {
            SshFault::Protocol { port, why: "it closes the connection before the login".into() }
        }
        other => SshFault::Protocol { port, why: quote(&other.to_string()) },
    }
}

/// Words of a host, harmless and short.
pub(crate) fn quote(text: &str) -> String {
    let short: String = text.trim().chars().take(MOST_QUOTED).collect();
    visible(&short).replace(['\n', '\t'], " ")
}

impl Session {
    /// What was on record before, when the host shows another key and nothing was built yet.
    #[must_use]
    pub fn exchanged(&self) -> Option<&HostRecord> {
        self.exchanged.as_ref()
    }

    /// Runs a command and gives it `input` to read.
    ///
    /// # Errors
    /// [`SshFault::TooLong`], and when the connection ends.
    pub async fn exec(&self, command: &str, input: &[u8], bounds: Bounds) -> Result<Output, SshFault> {
        let done = timeout(bounds.time, self.run(command, input, bounds.output)).await;
        done.map_err(|_| SshFault::TooLong(bounds.time.as_secs()))?
            .map_err(|error| SshFault::Lost(quote(&error.to_string())))
    }

    async fn run(&self, command: &str, input: &[u8], most: usize) -> Result<Output, russh::Error> {
        let channel = self.handle.channel_open_session().await?;
        channel.exec(true, command).await?;
        let (mut answers, writer) = channel.split();
        let write = async {
            // A command that does not read its input to the end has its reasons; its answer tells.
            if writer.data(input).await.is_ok() {
                let _ended = writer.eof().await;
            }
            std::future::pending::<()>().await;
        };
        let read = async {
            let mut output = Output::default();
            while let Some(answer) = answers.wait().await {
                match answer {
                    ChannelMsg::Data { data } => keep(&mut output.stdout, &data, most, &mut output.cut),
                    ChannelMsg::ExtendedData { data, .. } => keep(&mut output.stderr, &data, MOST_STDERR, &mut false),
                    ChannelMsg::ExitStatus { exit_status } => output.status = Some(exit_status),
                    ChannelMsg::Failure => return Err(russh::Error::RequestDenied),
                    _ => {}
                }
                if output.cut {
                    output.status = None;
                    break;
                }
            }
            Ok(output)
        };
        tokio::select! {
            output = read => output,
            () = write => Ok(Output::default()),
        }
    }

    /// Opens a socket of the host, as `rke` does for Docker's.
    ///
    /// # Errors
    /// [`SshFault::Forbidden`] when sshd does not forward, [`SshFault::NotOpened`] when the socket does not
    /// open for this user.
    pub async fn open_socket(&self, path: &str, patience: Duration) -> Result<ChannelStream<Msg>, SshFault> {
        let opened = timeout(patience, self.handle.channel_open_direct_streamlocal(path)).await;
        let opened = opened.map_err(|_| SshFault::TooLong(patience.as_secs()))?;
        opened.map(Channel::into_stream).map_err(|error| not_opened(error, "the forwarding of sockets", path))
    }

    /// Whether connections may be forwarded to ports of the host, as `rke` does to see whether what it
    /// started is healthy. Nothing needs to listen there.
    ///
    /// # Errors
    /// [`SshFault::Forbidden`], and when the connection ends.
    pub async fn may_forward(&self, port: u16, patience: Duration) -> Result<(), SshFault> {
        let opening = self.handle.channel_open_direct_tcpip("127.0.0.1", port.into(), "127.0.0.1", 0);
        match timeout(patience, opening).await {
            Err(_) => Err(SshFault::TooLong(patience.as_secs())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => match not_opened(error, "the forwarding of TCP connections", "") {
                SshFault::NotOpened(_) => Ok(()),
                fault => Err(fault),
            },
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        let _in_good_manners = timeout(GOODBYE, goodbye).await;
    }
}

fn not_opened(error: russh::Error, forwarding: &'static str, what: &str) -> SshFault {
    match error {
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
            SshFault::Forbidden(forwarding)
        }
        russh::Error::ChannelOpenFailure(_) => SshFault::NotOpened(what.to_owned()),
        other => SshFault::Lost(quote(&other.to_string())),
    }
}

fn keep(into: &mut Vec<u8>, data: &[u8], most: usize, cut: &mut bool) {
    let room = most.saturating_sub(into.len()).min(data.len());
    into.extend_from_slice(&data[..room]);
    *cut |= room < data.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_key_on_record_is_asked_for_first() {
        let first = |record| config(record).preferred.key[0].as_str().to_owned();
        assert_eq!(first(None), "ssh-ed25519");
        assert_eq!(first(Some("ecdsa-sha2-nistp384")), "ecdsa-sha2-nistp384");
        assert_eq!(first(Some("ssh-rsa")), "ssh-ed25519");
        assert_eq!(config(None).preferred.key.len(), 4);
    }

    #[test]
    fn a_hosts_words_are_quoted_short_and_harmless() {
        assert_eq!(quote(" \u{1b}[31mno\n\u{202e}way\r\n"), "\\u{1b}[31mno \\u{202e}way");
        assert_eq!(quote(&"x".repeat(10_000)).len(), MOST_QUOTED);
    }
}
