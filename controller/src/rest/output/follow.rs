//! Following output as events, until the operation, the token or the controller ends.

use axum::response::Response;
use cratekube_common::domain::id::OperationId;
use http::HeaderMap;
use tokio::sync::mpsc;

use super::events;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::invalid;
use crate::rest::sse::{self, Sender, send};
use crate::rest::state::RestState;
use crate::rest::visible::whole_characters;
use crate::service::ServiceError;
use crate::service::output::{Followed, Follower};

pub(super) async fn follow(
    state: &RestState,
    caller: &Caller,
    operation: OperationId,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let place = state.gate.stream(&caller.actor().subject)?;
    let offset = sse::last_event_id(headers)?.unwrap_or(0);
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
    Ok(sse::response(receiver))
}

/// Sends events until something ends. A reader that goes away or takes nothing ends it too.
async fn run(state: &RestState, mut follower: Follower, sender: &Sender, caller: &Caller) {
    let patience = state.limits.send_timeout;
    let over = caller.over(state);
    tokio::pin!(over);
    if !send(sender, sse::opening(), patience).await {
        return;
    }
    loop {
        let next = tokio::select! {
            biased;
            () = sender.closed() => return,
            why = &mut over => return sse::close(sender, why, patience).await,
            () = state.shutdown.cancelled() => return sse::close(sender, "the controller is stopping", patience).await,
            quiet = tokio::time::timeout(state.limits.keep_alive, follower.next()) => quiet.unwrap_or(Ok(Followed::Quiet)),
        };
        if !deliver(state, &mut follower, next, sender).await {
            return;
        }
    }
}

/// Sends what came; false when the stream is over.
async fn deliver(
    state: &RestState,
    follower: &mut Follower,
    next: Result<Followed, ServiceError>,
    sender: &Sender,
) -> bool {
    let patience = state.limits.send_timeout;
    match next {
        Ok(Followed::Output { offset, data, last }) => {
            let whole = if last { data.len() } else { whole_characters(&data) };
            follower.consume(whole as u64);
            state.metrics.output_sent(whole);
            whole == 0 || send(sender, events::output(offset, &data[..whole]), patience).await
        }
        Ok(Followed::Progress(operation)) => send(sender, events::progress(&operation), patience).await,
        Ok(Followed::Quiet) => send(sender, sse::keep_alive(), patience).await,
        Ok(Followed::End(operation)) => {
            send(sender, events::end(&operation), patience).await;
            false
        }
        Err(error) => {
            tracing::warn!(%error, "output could not be followed any further");
            sse::close(sender, "the output cannot be read now", patience).await;
            false
        }
    }
}
