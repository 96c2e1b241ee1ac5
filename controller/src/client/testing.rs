//! What tests of the client share: outputs that are kept, and a controller that answers by a script.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::{self, ManualClock};
use cratekube_common::runtime::mint::Mint;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::api::{Api, Parts};
use super::args::Format;
use super::console::Console;
use super::credential::Credential;
use super::http::dial::{Dial, DialFault, Wire};
use super::run::Session;
use super::show::Printer;

/// What was written to a console.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    out: Sink,
    err: Sink,
}

#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    pub(super) fn out(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// Standard output, byte for byte.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.out.0.lock().unwrap().clone()
    }

    pub(super) fn err(&self) -> String {
        String::from_utf8(self.err.0.lock().unwrap().clone()).unwrap()
    }
}

/// A console that is no terminal and keeps what is written to it.
pub(super) fn console() -> (Console, Written) {
    console_at(false)
}

/// A console whose results people see on a terminal, or not.
pub(super) fn console_at(terminal: bool) -> (Console, Written) {
    let written = Written::default();
    let console = Console::new(Box::new(written.out.clone()), Box::new(written.err.clone()), terminal, false, false);
    (console, written)
}

/// What happens on one connection.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// There is no connection.
    Down,
    /// The request is read and the connection ends.
    Lost,
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
}

impl Reply {
    /// An answer with a JSON document.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::with(status, "application/json", &[], body.to_string().as_bytes())
    }

    /// An answer with headers.
    pub(super) fn with(status: u16, kind: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        Self::cut(status, kind, headers, body, body.len())
    }

    /// An answer that promises its whole body and ends after so many bytes of it.
    pub(super) fn cut(status: u16, kind: &str, headers: &[(&str, &str)], body: &[u8], after: usize) -> Self {
        let mut head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        Self::Raw([head.as_bytes(), b"\r\n", &body[..after]].concat())
    }

    /// Events; the stream then breaks.
    pub(super) fn events(text: &str) -> Self {
        Self::cut(200, "text/event-stream", &[], format!("{text}more").as_bytes(), text.len())
    }
}

/// A controller that answers one connection after the other, and keeps what it was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub(super) fn of(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self { replies: Arc::new(Mutex::new(replies.into_iter().collect())), asked: Arc::default() }
    }

    /// Requests so far, each with its head and body.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// First lines of the requests so far.
    pub(super) fn lines(&self) -> Vec<String> {
        let first = |request: &String| request.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        self.asked().iter().map(first).collect()
    }

    async fn serve(self, mut stream: DuplexStream, reply: Reply) {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !is_whole(&request) {
            match stream.read(&mut buffer).await {
                Ok(length) if length > 0 => request.extend_from_slice(&buffer[..length]),
                _ => return,
            }
        }
        self.asked.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
        if let Reply::Raw(bytes) = reply {
            let _gone = stream.write_all(&bytes).await;
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    body.len() >= length
}

#[async_trait]
impl Dial for Script {
    async fn open(&self) -> Result<Box<dyn Wire>, DialFault> {
        let reply = self.replies.lock().unwrap().pop_front().expect("the script has no more replies");
        if matches!(reply, Reply::Down) {
            return Err(DialFault::Unreachable("connection refused".into()));
        }
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(self.clone().serve(far, reply));
        Ok(Box::new(near))
    }
}

/// A session with a scripted controller.
pub(super) fn session(script: &Script, format: Format, credential: Credential) -> (Session, Written) {
    let (console, written) = console();
    let clock = ManualClock::at(Timestamp::from_millis(1_000_000));
    let api = Api::new(Parts {
        dial: Box::new(script.clone()),
        address: "https://ck.internal:8443".parse().unwrap(),
        credential,
        keep: None,
        patience: Duration::from_secs(60),
        clock: clock.clone(),
        mint: Mint::system(clock::system()),
        console: console.clone(),
    });
    let printer = Printer { console: console.clone(), format, now: Timestamp::from_millis(1_000_000) };
    (Session { api, printer, console, environment: Some("prod".parse().unwrap()) }, written)
}

/// A token that is good.
pub(super) fn token() -> Credential {
    Credential { api_key: None, token: Some(Secret::new("tok.en.1")), expires_at: None }
}
