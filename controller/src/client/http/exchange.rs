//! One request over one connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::dial::{Dial, DialFault};
use crate::client::problem::Problem;

/// Time until an answer begins, beyond what the request itself asks the controller to wait.
const ANSWER: Duration = Duration::from_secs(45);
/// Silence after which a body is taken to be lost. The controller shows life every 15 s.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest document that is read.
const MOST_BYTES: usize = 16 * 1024 * 1024;
const AGENT: &str = concat!("cratekube/", env!("CARGO_PKG_VERSION"));

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Repeat {
    /// Twice is as good as once: it only reads, or the API promises so.
    Harmless,
    /// Only while it is certain that nothing of it was done.
    Undone,
}

/// A request.
#[derive(Debug, Clone)]
pub(in crate::client) struct Ask {
    /// Its method.
    pub(in crate::client) method: Method,
    /// Its path with query.
    pub(in crate::client) path: String,
    /// Further headers.
    pub(in crate::client) headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub(in crate::client) body: Option<Value>,
    /// Whether it may be sent again.
    pub(in crate::client) repeat: Repeat,
}

impl Ask {
    /// `GET`.
    pub(in crate::client) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: None, repeat: Repeat::Harmless }
    }

    /// A request that changes something.
    pub(in crate::client) fn change(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body, repeat: Repeat::Undone }
    }

    /// With a header. One that is no header is left out.
    pub(in crate::client) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// The API promises that sending it twice is as good as once.
    pub(in crate::client) fn harmless(self) -> Self {
        Self { repeat: Repeat::Harmless, ..self }
    }

    fn build(&self, host: &str, token: Option<&str>) -> Result<Request<Full<Bytes>>, http::Error> {
        let body = self.body.as_ref().map(Value::to_string);
        let mut request = Request::builder().method(&self.method).uri(&self.path);
        request = request.header(header::HOST, host).header(header::USER_AGENT, AGENT);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::from(body.unwrap_or_default()))
    }
}

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) enum Miss {
    /// Nothing was sent.
    Unsent(DialFault),
    /// It was sent; what came of it is not known.
    Lost(String),
    /// The controller refused.
    Refused {
        /// How.
        problem: Box<Problem>,
        /// When to try again, if it says so.
        after: Option<Duration>,
    },
}

/// A good answer whose body has not been read.
pub(in crate::client) struct Opened {
    /// Its status.
    pub(in crate::client) status: StatusCode,
    /// Its headers.
    pub(in crate::client) headers: HeaderMap,
    body: Incoming,
    // Dropping it would end the connection.
    _sender: SendRequest<Full<Bytes>>,
}

impl Opened {
    /// A header as text; empty when absent.
    pub(in crate::client) fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next piece of the body; none at its end.
    pub(in crate::client) async fn piece(&mut self) -> Result<Option<Bytes>, Miss> {
        loop {
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| Miss::Lost("the connection fell silent".into()))?;
            match frame.transpose().map_err(|error| Miss::Lost(error.to_string()))? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body.
    pub(in crate::client) async fn whole(mut self) -> Result<Bytes, Miss> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > MOST_BYTES {
                return Err(Miss::Lost(format!("the answer has more than {MOST_BYTES} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// Sends a request; a refusal is a [`Miss`].
pub(in crate::client) async fn exchange(
    dial: &dyn Dial,
    host: &str,
    ask: &Ask,
    token: Option<&str>,
) -> Result<Opened, Miss> {
    let request = ask.build(host, token).map_err(|error| Miss::Unsent(DialFault::Unreachable(error.to_string())))?;
    let wire = dial.open().await.map_err(Miss::Unsent)?;
    let lost = |error: hyper::Error| Miss::Lost(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(wire)).await.map_err(lost)?;
    tokio::spawn(connection);
    let answer = tokio::time::timeout(ANSWER, sender.send_request(request)).await;
    let answer = answer.map_err(|_| Miss::Lost(format!("no answer within {} s", ANSWER.as_secs())))?.map_err(lost)?;
    let (parts, body) = Response::into_parts(answer);
    let opened = Opened { status: parts.status, headers: parts.headers, body, _sender: sender };
    if opened.status.is_success() { Ok(opened) } else { Err(refusal(opened).await) }
}

async fn refusal(opened: Opened) -> Miss {
    let seconds = opened.header(&header::RETRY_AFTER).parse().ok().map(Duration::from_secs);
    let status = opened.status;
    // A refusal whose explanation is lost is a refusal.
    let body = opened.whole().await.unwrap_or_default();
    Miss::Refused { problem: Box::new(Problem::read(status, &body)), after: seconds }
}
