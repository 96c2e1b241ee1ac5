//! `GET /v1/operations/{id}/output`: plain text, all or a range of it; or followed as events.
//!
//! Whatever the size, one piece is in memory at a time: a task reads a piece, hands it over, and
//! reads the next when it was taken. A reader that takes nothing for too long loses its stream.

mod events;
mod follow;
mod range;
#[cfg(test)]
mod tests;

use std::io;

use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::id::OperationId;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::caller::Caller;
use super::operations::visible_operation;
use super::problem::{Kind, Problem};
use super::query::{Params, invalid};
use super::sse::{Sender, send};
use super::state::RestState;
use range::Selected;

/// Output of an operation.
#[utoipa::path(get, path = "/v1/operations/{id}/output", tag = "operations",
    params(("id" = String, Path, description = "Operation"),
        ("follow" = Option<bool>, Query, description = "Server-sent events while it grows: `output` (`data` is `{offset,text}`, `id` the offset after it), `progress`, and `end` with the outcome; `closing` when the stream ends before"),
        ("Range" = Option<String>, Header, description = "`bytes=…`, one range"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Follow from this offset")),
    responses(
        (status = 200, description = "All that there is now; or events", content((String = "text/plain"), (String = "text/event-stream"))),
        (status = 206, description = "The range", body = String, content_type = "text/plain")))]
pub(super) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let follow = Params::read(&uri, &["follow"])?.flag("follow")?;
    let operation = visible_operation(&state, &caller, &id).await?.id;
    if !follow {
        return whole(&state, &caller, operation, &headers).await;
    }
    if headers.contains_key(header::RANGE) {
        return Err(invalid("Range", "cannot be followed; use Last-Event-ID to begin at an offset"));
    }
    follow::follow(&state, &caller, operation, &headers).await
}

/// What is there now, or a range of it.
async fn whole(
    state: &RestState,
    caller: &Caller,
    operation: OperationId,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let place = state.gate.stream(&caller.actor().subject)?;
    let now = state.service.store.read_output(operation, 0, 0).await?;
    let total = if now.complete { now.end.to_string() } else { "*".to_owned() };
    let (status, first, end) = match range::select(headers.get(header::RANGE), now.end) {
        Selected::All => (StatusCode::OK, 0, now.end),
        Selected::Part { first, end } => (StatusCode::PARTIAL_CONTENT, first, end),
        Selected::Nothing => {
            let problem = Problem::new(Kind::Range, format!("the output has {} bytes now", now.end));
            return Err(problem.with_header(header::CONTENT_RANGE, value(&format!("bytes */{}", now.end))));
        }
    };
    let (sender, receiver) = mpsc::channel(1);
    let (state, caller) = (state.clone(), caller.clone());
    tokio::spawn(async move {
        let _place = place;
        copy(&state, &caller, operation, (first, end), &sender).await;
    });
    let mut response = (status, Body::from_stream(ReceiverStream::new(receiver))).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(end - first));
    if status == StatusCode::PARTIAL_CONTENT {
        out.insert(header::CONTENT_RANGE, value(&format!("bytes {first}-{}/{total}", end - 1)));
    }
    Ok(response)
}

async fn copy(state: &RestState, caller: &Caller, operation: OperationId, (first, end): (u64, u64), sender: &Sender) {
    let mut offset = first;
    while offset < end {
        if caller.is_over(state) {
            return cut(sender, "the token counts no more").await;
        }
        let piece = match state.service.read_output(operation, offset).await {
            Ok(piece) if !piece.data.is_empty() => piece.data,
            Ok(_) => return cut(sender, "output ended before its length").await,
            Err(error) => {
                tracing::warn!(%operation, %error, "output could not be read to its end");
                return cut(sender, "output could not be read").await;
            }
        };
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let piece = piece.slice(..piece.len().min(left));
        offset += piece.len() as u64;
        state.metrics.output_sent(piece.len());
        if !send(sender, piece, state.limits.send_timeout).await {
            return;
        }
    }
}

/// Breaks the connection off: the length was promised, so this is how a client can tell.
async fn cut(sender: &Sender, why: &'static str) {
    let _ = sender.send(Err(io::Error::other(why))).await;
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
