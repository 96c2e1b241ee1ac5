//! Following output as events, until the operation, the token or the controller ends.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::id::OperationId;
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Sender, events, send};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::invalid;
use crate::rest::state::RestState;
use crate::rest::visible::whole_characters;
use crate::service::ServiceError;
use crate::service::output::{Followed, Follower};

/// Header that says where a broken stream goes on.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn follow(
    state: &RestState,
    caller: &Caller,
    operation: OperationId,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let place = state.gate.stream(&caller.actor().subject)?;
    let offset = resume_at(headers)?;
    let now = state.service.store.read_output(operation, 0, 0).await?;
    if offset > now.end {
        return Err(invalid("Last-Event-ID", format!("lies beyond the output, which has {} bytes now", now.end)));
    }
    let (sender, receiver) = mpsc::channel(1);
    let follower = state.service.follow(operation, offset);
    let (state, caller) = (state.clone(), caller.clone());
    tokio::spawn(async move {
        let _place = place;
        run(&state, follower, &sender, &caller).await;
    });
    let mut response = Body::from_stream(ReceiverStream::new(receiver)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that collect answers would hold back what is to be seen at once.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn resume_at(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(0) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| invalid("Last-Event-ID", "must be the id of an event"))
}

/// Sends events until something ends. A reader that goes away or takes nothing ends it too.
async fn run(state: &RestState, mut follower: Follower, sender: &Sender, caller: &Caller) {
    let patience = state.limits.send_timeout;
    let over = caller.over(state);
    tokio::pin!(over);
    if !send(sender, events::opening(), patience).await {
        return;
    }
    loop {
        let next = tokio::select! {
            biased;
            () = sender.closed() => return,
            why = &mut over => return closing(sender, why, patience).await,
            () = state.shutdown.cancelled() => return closing(sender, "the controller is stopping", patience).await,
            quiet = tokio::time::timeout(state.limits.keep_alive, follower.next()) => quiet.unwrap_or(Ok(Followed::Quiet)),
        };
        if !deliver(&mut follower, next, sender, patience).await {
            return;
        }
    }
}

/// Sends what came; false when the stream is over.
async fn deliver(
    follower: &mut Follower,
    next: Result<Followed, ServiceError>,
    sender: &Sender,
    patience: Duration,
) -> bool {
    match next {
        Ok(Followed::Output { offset, data, last }) => {
            let whole = if last { data.len() } else { whole_characters(&data) };
            follower.consume(whole as u64);
            whole == 0 || send(sender, events::output(offset, &data[..whole]), patience).await
        }
        Ok(Followed::Progress(operation)) => send(sender, events::progress(&operation), patience).await,
        Ok(Followed::Quiet) => send(sender, events::keep_alive(), patience).await,
        Ok(Followed::End(operation)) => {
            send(sender, events::end(&operation), patience).await;
            false
        }
        Err(error) => {
            tracing::warn!(%error, "output could not be followed any further");
            closing(sender, "the output cannot be read now", patience).await;
            false
        }
    }
}

async fn closing(sender: &Sender, reason: &str, patience: Duration) {
    send(sender, events::closing(reason), patience).await;
}
