//! The wire: a proxy that answers `CONNECT`, TLS behind it, HTTP within.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::authority::{Silence, Standing};
use super::control::{Seen, Shared};
use super::identity::User;
use super::kinds::Query;
use super::request::Call;
use super::status::{Refused, Reply};

/// Longest request of a client to the proxy.
const MOST_HEAD: usize = 8 * 1024;
/// Largest body, as real ones have it.
const MOST_BODY: usize = 3 * 1024 * 1024;
const PORT: &str = "6443";

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let _gone = connection(stream, shared).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let Some(address) = read_target(&mut stream).await? else {
        return stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n").await;
    };
    let standing = match Standing::at(&shared.fleet, &address) {
        Ok(standing) => standing,
        Err(silence) => {
            let status = if silence == Silence::Refused { "502 Bad Gateway" } else { "504 Gateway Timeout" };
            return stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        }
    };
    let tls = TlsAcceptor::from(standing.tls()?);
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    let stream = tls.accept(stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let user = certificate.and_then(|der| User::of_certificate(der));
    let service = service_fn(|request: http::Request<Incoming>| {
        let (shared, address, user) = (Arc::clone(&shared), address.clone(), user.clone());
        async move { Ok::<_, Infallible>(exchange(&shared, &address, user, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    served.map_err(io::Error::other)
}

/// The host that `CONNECT` names, on the port of API servers.
async fn read_target(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MOST_HEAD {
            return Ok(None);
        }
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let target = (words.next() == Some("CONNECT")).then(|| words.next()).flatten();
    let named = target.and_then(|target| target.rsplit_once(':')).filter(|(_, port)| *port == PORT);
    Ok(named.map(|(host, _)| host.trim_matches(['[', ']']).to_owned()))
}

async fn exchange(
    shared: &Shared,
    address: &str,
    user: Option<User>,
    request: http::Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str().to_owned();
    let whole_path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let text =
        |headers: &HeaderMap, name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let token = text(&parts.headers, header::AUTHORIZATION).strip_prefix("Bearer ").map(ToOwned::to_owned);
    let body = match Limited::new(body, MOST_BODY).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(_) => return respond(&Reply::failure(413, "RequestEntityTooLarge", "limit is 3145728")),
    };
    let call = Call {
        method: method.clone(),
        path: decode(parts.uri.path()),
        query: read_query(parts.uri.query().unwrap_or_default()),
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        user_agent: text(&parts.headers, header::USER_AGENT),
        body,
    };
    let trouble = shared.trouble(&method, &whole_path).await;
    let answered = shared.with(address, |cluster| {
        let user = identify(user, token.map(|token| cluster.user_of_token(&token)));
        let name = user.as_ref().map_or_else(|_| "-".to_owned(), |user| user.name.clone());
        (name, trouble.reply.unwrap_or_else(|| cluster.answer(&call, user)))
    });
    let unavailable = || ("-".to_owned(), Reply::failure(503, "ServiceUnavailable", "the API server is gone"));
    let (user, reply) = answered.unwrap_or_else(unavailable);
    shared.saw(Seen { address: address.to_owned(), user, method, path: whole_path, code: reply.code });
    if let Some(gate) = trouble.answer {
        gate.wait().await;
    }
    respond(&reply)
}

fn identify(certificate: Option<User>, token: Option<Refused<User>>) -> Refused<User> {
    match (certificate, token) {
        (Some(user), _) => Ok(user),
        (None, Some(token)) => token,
        (None, None) => Ok(User::anonymous()),
    }
}

fn respond(reply: &Reply) -> Response<Full<Bytes>> {
    let (kind, body) = match &reply.body {
        Value::String(text) => ("text/plain; charset=utf-8", text.clone()),
        json => ("application/json", json.to_string()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(reply.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// The parameters of a query; one without a value is there, and empty.
pub(crate) fn read_query(query: &str) -> Query {
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (decode(key), decode(value))
    };
    query.split('&').filter(|text| !text.is_empty()).map(pair).collect()
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(&String::from_utf8_lossy(hex), 16).ok());
        bytes.push(match (byte, *first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, other) => other,
        });
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
