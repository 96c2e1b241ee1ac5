//! Server-sent events, written by hand: a name, an optional id, and one line of JSON.
//!
//! JSON escapes every line break in its strings, so nothing in the data can begin an event of its own.
//! Pieces are handed over one at a time; a reader that takes nothing for too long loses its stream.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::problem::Problem;
use super::query::invalid;

/// Milliseconds that a client should wait before it connects again.
const RETRY_MS: u32 = 2_000;
/// Header that says where a broken stream goes on.
const LAST_EVENT_ID: &str = "last-event-id";

/// Where the pieces of an answer are put.
pub(super) type Sender = mpsc::Sender<Result<Bytes, io::Error>>;

/// Hands a piece over; false when nobody takes it.
pub(super) async fn send(sender: &Sender, piece: Bytes, patience: Duration) -> bool {
    matches!(tokio::time::timeout(patience, sender.send(Ok(piece))).await, Ok(Ok(())))
}

/// The first line of every stream.
pub(super) fn opening() -> Bytes {
    Bytes::from(format!("retry: {RETRY_MS}\n\n"))
}

/// Keeps the connection alive.
pub(super) fn keep_alive() -> Bytes {
    Bytes::from_static(b": still here\n\n")
}

/// An event.
pub(super) fn event(name: &str, id: Option<u64>, data: &Value) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Bytes::from(format!("event: {name}\n{id}data: {data}\n\n"))
}

/// Says that the stream ends although what it tells of does not; connecting again goes on.
pub(super) async fn close(sender: &Sender, reason: &str, patience: Duration) {
    send(sender, event("closing", None, &json!({"reason": reason})), patience).await;
}

/// Where a broken stream goes on; none when nothing is said of that.
///
/// # Errors
/// 400 when it is no id.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let id = digits.and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| invalid("Last-Event-ID", "must be the id of an event"))
}

/// The answer that a stream is.
pub(super) fn response(receiver: mpsc::Receiver<Result<Bytes, io::Error>>) -> Response {
    let mut response = Body::from_stream(ReceiverStream::new(receiver)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that collect answers would hold back what is to be seen at once.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
