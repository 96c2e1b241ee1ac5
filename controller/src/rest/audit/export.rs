//! A copy of the audit log: one entry a line, newest first, read in parts while it is sent.

use std::io;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, future, stream};
use http::{HeaderValue, header};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::LINES;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::{Params, invalid};
use crate::rest::state::RestState;
use crate::rest::views::AuditEntryView;
use crate::store::{AuditFilter, PageRequest};

/// Entries read at a time.
const PART: usize = 500;

pub(super) async fn export(
    state: &RestState,
    caller: &Caller,
    params: &Params,
    filter: AuditFilter,
) -> Result<Response, Problem> {
    if let Some(name) = ["limit", "cursor"].into_iter().find(|name| params.text(name).is_some()) {
        return Err(invalid(name, "is for pages; a copy has everything that matches"));
    }
    let place = state.gate.stream(&caller.actor().subject)?;
    state.service.note_audit_export(caller.actor(), &filter).await?;
    let (sender, receiver) = mpsc::channel(1);
    let (whole, ended) = oneshot::channel();
    let (state, caller) = (state.clone(), caller.clone());
    tokio::spawn(async move {
        let _place = place;
        match copy(&state, &caller, filter, &sender).await {
            Ok(()) => _ = whole.send(()),
            Err(why) => tracing::warn!(why, "a copy of the audit log was broken off"),
        }
    });
    // Without its word that it is whole, the connection is broken off: nobody takes a part for all.
    let end = stream::once(ended).filter_map(|whole| future::ready(whole.err().map(io::Error::other).map(Err)));
    let mut response = Body::from_stream(ReceiverStream::new(receiver).chain(end)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    Ok(response)
}

async fn copy(
    state: &RestState,
    caller: &Caller,
    filter: AuditFilter,
    sender: &mpsc::Sender<Result<Bytes, io::Error>>,
) -> Result<(), String> {
    let mut after = None;
    loop {
        if caller.is_over(state) {
            return Err("its reader's token counts no more".to_owned());
        }
        let part = state.service.audit_entries(filter.clone(), PageRequest { after, limit: PART }).await;
        let part = part.map_err(|error| error.to_string())?;
        let mut lines = Vec::with_capacity(part.items.len() * 256);
        for record in &part.items {
            serde_json::to_writer(&mut lines, &AuditEntryView::from(record)).map_err(|error| error.to_string())?;
            lines.push(b'\n');
        }
        let sent = tokio::time::timeout(state.limits.send_timeout, sender.send(Ok(lines.into()))).await;
        let gone = sent.map(|sent| sent.is_err()).map_err(|_| "its reader took nothing for too long".to_owned())?;
        after = part.next;
        if after.is_none() || gone {
            return Ok(());
        }
    }
}
