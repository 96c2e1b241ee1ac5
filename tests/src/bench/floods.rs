//! What floods cost: how the controller's memory grows under each, and how long an agent that does nothing
//! wrong waits for the answer to a word meanwhile. Flooders come from another address than the agent, and from
//! a thread of their own, so that what is measured is the controller; it shares the machine with them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cratekube_common::runtime::tls;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::wire::{DATA, PING, PREFACE, SETTINGS, frame, more_headers, post, reset};
use super::{Samples, memory};
use crate::house::puppet::{Hello, Puppet, PuppetSession};
use crate::house::{Programs, World};

/// How long each flood goes on.
const LENGTH: Duration = Duration::from_secs(5);
/// Connections that flood at once.
const FLOODERS: usize = 32;
/// Connections that begin no handshake.
const SILENT: usize = 10_000;

/// A flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    Nothing,
    RapidReset,
    Continuation,
    EmptyData,
    Pings,
    Settings,
    SlowHeader,
    SlowBody,
    HugeBody,
    Unfinished,
}

const ALL: [(Flood, &str); 10] = [
    (Flood::Nothing, "nothing, for comparison"),
    (Flood::RapidReset, "rapid reset"),
    (Flood::Continuation, "headers without end"),
    (Flood::EmptyData, "empty DATA"),
    (Flood::Pings, "PING, answers not read"),
    (Flood::Settings, "SETTINGS, answers not read"),
    (Flood::SlowHeader, "headers byte by byte"),
    (Flood::SlowBody, "bodies byte by byte"),
    (Flood::HugeBody, "bodies without end"),
    (Flood::Unfinished, "10,000 silent connections"),
];

/// Where and how flooders connect.
#[derive(Clone)]
struct Target {
    rest: SocketAddr,
    agents: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

pub(super) async fn run(programs: &Programs, out: &mut impl Write) -> anyhow::Result<()> {
    let world = World::quiet(programs.clone()).await?;
    let ca = std::fs::read(world.controller.data().join("ca.pem"))?;
    let target = Target { rest: world.controller.rest, agents: world.controller.agents, tls: client(&ca)? };
    let puppet = Puppet::enrolled(&world.controller, world.path(), "victim").await?;
    let mut session = puppet.session(Hello::default()).await?;
    writeln!(out, "floods of {} s: memory of the controller, and an agent's word with its answer", LENGTH.as_secs())?;
    for (flood, name) in ALL {
        let before = memory(world.controller.process.pid())?.0;
        let stop = CancellationToken::new();
        let flooders = begin(flood, &target, &stop)?;
        let (samples, peak) = victim(&mut session, world.controller.process.pid()).await?;
        stop.cancel();
        let sent = flooders.map_or(Ok(0), JoinHandle::join).unwrap_or(0);
        writeln!(out, "  {name:<36} +{:.1} MB   {samples}   {sent} sent", (peak - before).max(0.0))?;
        // What is held for flooders ends with their connections.
        sleep(Duration::from_secs(2)).await;
    }
    drop(session);
    world.finish().await
}

fn client(ca: &[u8]) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in tls::certificates(ca).map_err(anyhow::Error::msg)? {
        roots.add(certificate)?;
    }
    let builder = rustls::ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Says something and waits for the answer, again and again; the times, and the most memory meanwhile.
async fn victim(session: &mut PuppetSession, controller: Option<u32>) -> anyhow::Result<(Samples, f64)> {
    let (begun, mut samples, mut peak) = (Instant::now(), Samples::default(), 0f64);
    while begun.elapsed() < LENGTH {
        // About a run that is not known: the answer is to forget it.
        let attempt = "00000000-0000-0000-0000-00000000000a".to_owned();
        let word = v1::RunProgress { attempt, fence: 1, phase: "x".into(), step: 1, steps: 2 };
        let said = Instant::now();
        session.say(Some(Up::Progress(word))).await?;
        session.next().await?;
        samples.add(said.elapsed());
        peak = peak.max(memory(controller)?.0);
        sleep(Duration::from_millis(10)).await;
    }
    Ok((samples, peak))
}

/// Begins a flood on a thread of its own, which answers how much it sent.
fn begin(flood: Flood, target: &Target, stop: &CancellationToken) -> anyhow::Result<Option<JoinHandle<u64>>> {
    if flood == Flood::Nothing {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (target, stop) = (target.clone(), stop.clone());
    let all = async move {
        let flooders = (0..FLOODERS).map(|n| flooder(flood, &target, n, &stop));
        futures::future::join_all(flooders).await.into_iter().sum()
    };
    Ok(Some(std::thread::spawn(move || runtime.block_on(all))))
}

/// Floods on one connection after the other.
async fn flooder(flood: Flood, target: &Target, n: usize, stop: &CancellationToken) -> u64 {
    let mut sent = 0;
    while stop.run_until_cancelled(one(flood, target, n, &mut sent)).await.is_some() && !stop.is_cancelled() {
        tokio::task::yield_now().await;
    }
    sent
}

/// Floods on one connection until it is closed.
async fn one(flood: Flood, target: &Target, n: usize, sent: &mut u64) -> anyhow::Result<()> {
    match flood {
        Flood::Unfinished => {
            let address = u8::try_from(2 + n % 200).unwrap_or(2);
            let mut held = Vec::new();
            for _ in 0..SILENT / FLOODERS {
                held.push(dial(target.agents, address).await?);
                *sent += 1;
            }
            // Until the other side has had enough.
            let mut byte = [0];
            for tcp in &mut held {
                let _over = tcp.read(&mut byte).await;
            }
            Ok(())
        }
        Flood::SlowHeader | Flood::SlowBody | Flood::HugeBody => http1(flood, target, sent).await,
        _ => http2(flood, target, sent).await,
    }
}

async fn http1(flood: Flood, target: &Target, sent: &mut u64) -> anyhow::Result<()> {
    let mut io = secured(target, target.rest, b"http/1.1").await?;
    let head = "POST /v1/auth/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    io.write_all(head.as_bytes()).await?;
    if flood != Flood::SlowHeader {
        io.write_all(b"transfer-encoding: chunked\r\n\r\n").await?;
    }
    let big = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
    let (one, pause): (&[u8], _) = match flood {
        Flood::SlowHeader => (b"x", Duration::from_millis(100)),
        Flood::SlowBody => (b"1\r\n \r\n", Duration::from_millis(100)),
        _ => (&big, Duration::ZERO),
    };
    loop {
        io.write_all(one).await?;
        io.flush().await?;
        *sent += 1;
        let mut answer = [0; 512];
        if timeout(pause, io.read(&mut answer)).await.is_ok() {
            return Ok(());
        }
    }
}

async fn http2(flood: Flood, target: &Target, sent: &mut u64) -> anyhow::Result<()> {
    let io = secured(target, target.agents, b"h2").await?;
    let (mut reader, mut writer) = tokio::io::split(io);
    writer.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await?;
    let drain = async {
        if matches!(flood, Flood::Pings | Flood::Settings) {
            return std::future::pending::<()>().await;
        }
        let mut buffer = vec![0; 16 * 1024];
        while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    let send = async {
        let mut stream = 1;
        match flood {
            Flood::EmptyData => writer.write_all(&post(stream, true)).await?,
            Flood::Continuation => writer.write_all(&post(stream, false)).await?,
            _ => {}
        }
        loop {
            let burst: Vec<u8> = match flood {
                Flood::RapidReset => (0..32).flat_map(|n| reset(stream + 2 * n)).collect(),
                Flood::Continuation => more_headers(stream),
                Flood::EmptyData => frame(DATA, 0, stream, &[]).repeat(32),
                Flood::Pings => frame(PING, 0, 0, &[7; 8]).repeat(32),
                _ => frame(SETTINGS, 0, 0, &[]).repeat(32),
            };
            stream += if flood == Flood::RapidReset { 64 } else { 0 };
            writer.write_all(&burst).await?;
            writer.flush().await?;
            *sent += if flood == Flood::Continuation { 1 } else { 32 };
        }
    };
    tokio::select! {
        () = drain => Ok(()),
        failed = send => { let failed: std::io::Result<()> = failed; Ok(failed?) }
    }
}

async fn dial(to: SocketAddr, from: u8) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, from], 0)))?;
    Ok(socket.connect(to).await?)
}

async fn secured(target: &Target, to: SocketAddr, protocol: &[u8]) -> anyhow::Result<TlsStream<TcpStream>> {
    let tcp = dial(to, 2).await?;
    tcp.set_nodelay(true)?;
    let mut config = (*target.tls).clone();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, tcp).await?)
}
