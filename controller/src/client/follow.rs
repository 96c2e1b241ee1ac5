//! Following an operation as events, across broken connections, without a gap and without a piece
//! twice: the id of an event is the offset after it, and the next connection begins there.

use std::collections::VecDeque;
use std::time::Duration;

use cratekube_common::domain::id::OperationId;
use http::HeaderName;
use serde_json::Value;

use super::api::Api;
use super::fault::Fault;
use super::http::events::{Decoder, Event};
use super::http::exchange::{Ask, Miss, Opened};
use super::http::patience::Patience;

/// However soon streams end, at most two connections a second.
const PAUSE: Duration = Duration::from_millis(500);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What is heard of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum News {
    /// A piece of output.
    Output(String),
    /// It is in another state or further on.
    Progress(Value),
    /// It is over; the operation.
    End(Value),
}

/// An operation that is followed.
pub(super) struct Following<'a> {
    api: &'a Api,
    path: String,
    offset: u64,
    stream: Option<(Opened, Decoder)>,
    events: VecDeque<Event>,
    patience: Patience,
}

impl<'a> Following<'a> {
    /// Follows an operation from an offset of its output on.
    pub(super) fn from(api: &'a Api, operation: OperationId, offset: u64) -> Self {
        let path = format!("/v1/operations/{operation}/output?follow=true");
        Self { api, path, offset, stream: None, events: VecDeque::new(), patience: api.patience() }
    }

    /// What comes next. After [`News::End`] nothing does.
    ///
    /// # Errors
    /// When the controller refuses, or stays away for longer than the patience that was given.
    pub(super) async fn next(&mut self) -> Result<News, Fault> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(news) = self.understand(&event)? {
                    return Ok(news);
                }
            }
            if let Err(miss) = self.more().await? {
                self.stream = None;
                let Some(delay) = self.patience.next(Some(PAUSE)) else { return Err(self.api.fault(miss)) };
                tokio::time::sleep(delay).await;
            }
        }
    }

    /// Reads on, connecting first where there is no stream.
    async fn more(&mut self) -> Result<Result<(), Miss>, Fault> {
        let (opened, decoder) = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let ask = Ask::get(&self.path).header(LAST_EVENT_ID, &self.offset.to_string());
                self.stream.insert((self.api.open(&ask).await?, Decoder::default()))
            }
        };
        let piece = match opened.piece().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(Err(Miss::Lost("the events ended before the operation did".into()))),
            Err(miss) => return Ok(Err(miss)),
        };
        let events = decoder.push(&piece).map_err(|fault| Fault::Odd(fault.to_owned()))?;
        if !events.is_empty() {
            self.patience.renew();
        }
        self.events.extend(events);
        Ok(Ok(()))
    }

    fn understand(&mut self, event: &Event) -> Result<Option<News>, Fault> {
        let odd = |what: &str| Fault::Odd(format!("an event {what}"));
        let data = || serde_json::from_str::<Value>(&event.data).map_err(|_| odd("is not JSON"));
        match event.name.as_str() {
            "output" => {
                let data = data()?;
                let after = event.id.as_deref().and_then(|id| id.parse().ok()).ok_or_else(|| odd("has no place"))?;
                if data["offset"].as_u64() != Some(self.offset) {
                    return Err(odd("does not follow the one before it"));
                }
                self.offset = after;
                Ok(Some(News::Output(data["text"].as_str().unwrap_or_default().to_owned())))
            }
            "progress" => Ok(Some(News::Progress(data()?))),
            "end" => Ok(Some(News::End(data()?))),
            // `closing` says why the stream ends, and what is not known yet says nothing to us.
            _ => Ok(None),
        }
    }
}
