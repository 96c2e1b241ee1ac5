//! `GET /v1/events`: what happened, in order; a page of it, or followed as it happens.
//!
//! Events are read from the store by number, and a follower is only told to look again: one that is slow
//! or comes back with `Last-Event-ID` misses nothing that is still kept.

use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::caller::Caller;
use super::problem::Problem;
use super::query::{Params, invalid};
use super::sse::{self, Sender};
use super::state::RestState;
use super::visible::visible;
use crate::store::{Event, EventFilter, Events};

/// Events of one answer, and of one look of a follower.
const PART: usize = 200;
/// Longest time between two looks when nothing is announced: another process may have written.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(super) struct EventView {
    /// Its number; later ones are higher. Send the last one as `Last-Event-ID` or `after` to go on.
    number: u64,
    at: String,
    /// `operation.running`, `cluster.ready`, `attempt.unknown`, `agent.connected`, `volume.served`,
    /// `alarm.raised`, …
    kind: String,
    /// Absent for what concerns administrators.
    environment: Option<String>,
    cluster: Option<String>,
    operation: Option<String>,
    agent: Option<String>,
    /// More of it, by kind.
    #[schema(value_type = Object)]
    detail: Value,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        Self {
            number: event.number,
            at: event.at.to_string(),
            kind: event.kind.clone(),
            environment: event.environment.as_ref().map(ToString::to_string),
            cluster: event.cluster.as_ref().map(ToString::to_string),
            operation: event.operation.map(|id| id.to_string()),
            agent: event.agent.map(|id| id.to_string()),
            detail: shown(&event.detail),
        }
    }
}

/// Names in a detail come from outside.
fn shown(detail: &Value) -> Value {
    match detail {
        Value::String(text) => visible(text).into_owned().into(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), shown(value))).collect(),
        other => other.clone(),
    }
}

/// A part of what happened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventList {
    /// Oldest first.
    items: Vec<EventView>,
    /// Send as `after` for what follows.
    next: u64,
    /// The oldest event that is kept: what came before it is forgotten.
    oldest: u64,
}

/// What happened in the environments that you may see; agents and volumes for administrators.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(("follow" = Option<bool>, Query, description = "Server-sent events as they happen: `event` (`id` is its number), `forgotten` when what you ask for is not kept any more, `closing` when the stream ends"),
        ("after" = Option<u64>, Query, description = "After the event of this number; from the oldest when absent, from now on when followed"),
        ("environment" = Option<String>, Query, description = "Of this environment only"),
        ("cluster" = Option<String>, Query, description = "Of clusters of this name only"),
        ("kind" = Option<String>, Query, description = "Of these kinds only, separated by commas: `cluster` stands for all that begin with `cluster.`"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same as `after`")),
    responses((status = 200, description = "A page; or events", content((EventList = "application/json"), (String = "text/event-stream")))))]
pub(super) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["follow", "after", "environment", "cluster", "kind"])?;
    let filter = filter(&caller, &params)?;
    let after = match sse::last_event_id(&headers)? {
        Some(number) => Some(number),
        None => params.parse("after")?,
    };
    if !params.flag("follow")? {
        let found = state.service.store.events(after.unwrap_or(0), filter, PART).await?;
        let items = found.items.iter().map(EventView::from).collect();
        return Ok(Json(EventList { items, next: found.upto, oldest: found.oldest }).into_response());
    }
    let place = state.gate.stream(&caller.actor().subject)?;
    let now = state.service.store.events(u64::MAX >> 1, EventFilter::default(), 1).await?;
    let from = after.unwrap_or(now.newest);
    if from > now.newest {
        return Err(invalid("Last-Event-ID", format!("lies beyond the newest event, which is {}", now.newest)));
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        follow(&state, &caller, filter, (from, now.oldest), &sender).await;
    });
    Ok(sse::response(receiver))
}

fn filter(caller: &Caller, params: &Params) -> Result<EventFilter, Problem> {
    let kinds = params.text("kind").map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default();
    Ok(EventFilter {
        environments: caller.actor().visible(),
        administrative: caller.administers(),
        environment: params.parse("environment")?,
        cluster: params.parse("cluster")?,
        kinds,
    })
}

/// Sends what happens until the reader, the token or the controller ends.
async fn follow(state: &RestState, caller: &Caller, filter: EventFilter, (from, oldest): (u64, u64), sender: &Sender) {
    let patience = state.limits.send_timeout;
    let mut happens = state.service.store.events_happen();
    let over = caller.over(state);
    tokio::pin!(over);
    if !sse::send(sender, sse::opening(), patience).await {
        return;
    }
    if from + 1 < oldest {
        let gap = sse::event("forgotten", None, &json!({"oldest": oldest}));
        if !sse::send(sender, gap, patience).await {
            return;
        }
    }
    let mut after = from;
    loop {
        happens.borrow_and_update();
        let read = state.service.store.events(after, filter.clone(), PART);
        let found = match read.await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "events could not be followed any further");
                return sse::close(sender, "the events cannot be read now", patience).await;
            }
        };
        if !pass_on(sender, &found, patience).await {
            return;
        }
        let more = found.upto > after && found.upto < found.newest;
        after = found.upto.max(after);
        if more {
            continue;
        }
        let wait = state.limits.keep_alive.min(LOOK_AGAIN);
        tokio::select! {
            biased;
            () = sender.closed() => return,
            why = &mut over => return sse::close(sender, why, patience).await,
            () = state.shutdown.cancelled() => return sse::close(sender, "the controller is stopping", patience).await,
            changed = tokio::time::timeout(wait, happens.changed()) => {
                if changed.is_err() && !sse::send(sender, sse::keep_alive(), patience).await {
                    return;
                }
            }
        }
    }
}

/// Sends a part; false when nobody takes it.
async fn pass_on(sender: &Sender, found: &Events, patience: Duration) -> bool {
    for event in &found.items {
        let data = json!(EventView::from(event));
        if !sse::send(sender, sse::event("event", Some(event.number), &data), patience).await {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::run::RunOutcome;
    use http::Method;
    use http_body_util::BodyExt;
    use serde_json::Value;

    use crate::rest::testing::{World, wanted};
    use crate::store::EVENT_TTL;

    /// The next part of a stream that is no sign of life.
    async fn next(body: &mut axum::body::Body) -> String {
        loop {
            let frame = body.frame().await.unwrap().unwrap();
            let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
            if text.starts_with("event: ") {
                return text;
            }
        }
    }

    fn data(event: &str) -> Value {
        serde_json::from_str(event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_happened_is_listed_in_parts_for_those_who_may_see_it() {
        let world = World::new().await;
        world.ready("web").await;
        let dev = world.token(Role::Operator, "dev");
        world.ask_as(&dev, Method::POST, "/v1/environments/dev/clusters").json(&wanted("db")).send().await;
        let mine = world.get("/v1/events").await.json();
        let kinds: Vec<&str> = mine["items"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds[..2], ["cluster.pending", "operation.accepted"]);
        assert_eq!(kinds.last(), Some(&"cluster.ready"), "{mine:#}");
        assert!(!mine.to_string().contains("\"dev\"") && !mine.to_string().contains("agent.enrolled"));
        let rest = world.get(&format!("/v1/events?after={}", mine["next"])).await.json();
        assert_eq!(rest["items"], serde_json::json!([]));
        let ready = world.get("/v1/events?kind=cluster.ready,attempt&cluster=web&environment=prod").await.json();
        assert_eq!(
            ready["items"].as_array().unwrap().len(),
            13,
            "leased, started, exited of four tasks, ready: {ready:#}"
        );
        let admin = world.token(Role::Admin, "*");
        let all = world.ask_as(&admin, Method::GET, "/v1/events?kind=agent,volume").send().await.json();
        assert!(all["items"].as_array().unwrap().len() >= 3, "{all:#}");
        for odd in ["?after=x", "?kind=cluster&kind=agent", "?environment=../x", "?since=1"] {
            assert_eq!(world.get(&format!("/v1/events{odd}")).await.problem(), "invalid-parameter", "{odd}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_is_told_at_once_and_goes_on_where_it_was() {
        let world = World::new().await;
        world.create("one").await;
        let mut body = world.ask(Method::GET, "/v1/events?follow=true").open().await.into_body();
        let opening = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(opening.starts_with(b"retry: "));
        world.create("two").await;
        let first = next(&mut body).await;
        assert_eq!((&data(&first)["kind"], &data(&first)["cluster"]), (&"cluster.pending".into(), &"two".into()));
        let id = data(&first)["number"].to_string();
        assert!(first.contains(&format!("\nid: {id}\n")));
        drop(body);
        world.create("three").await;
        let again = world.ask(Method::GET, "/v1/events?follow=true").header("last-event-id", &id).open().await;
        let mut body = again.into_body();
        assert_eq!(data(&next(&mut body).await)["kind"], "operation.accepted", "the rest of two");
        assert_eq!(data(&next(&mut body).await)["cluster"], "three", "and what came while nobody listened");
        world.shutdown.cancel();
        let mut last = next(&mut body).await;
        while !last.starts_with("event: closing") {
            last = next(&mut body).await;
        }
        assert!(last.contains("stopping"));
        let beyond = world.ask(Method::GET, "/v1/events?follow=true&after=999999").send().await;
        assert_eq!(beyond.problem(), "invalid-parameter");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_what_is_forgotten_is_told_so() {
        let world = World::new().await;
        let work = {
            world.create("web").await;
            world.work().await
        };
        // Events carry the time of the store's own clock.
        let later = cratekube_common::runtime::clock::system().now().after(EVENT_TTL + Duration::from_secs(60));
        world.house.store.purge_expired(later).await.unwrap();
        world.settle(&work, RunOutcome::Succeeded).await;
        let mut body = world.ask(Method::GET, "/v1/events?follow=true&after=1").open().await.into_body();
        let told = next(&mut body).await;
        assert!(told.starts_with("event: forgotten") && data(&told)["oldest"].as_u64().unwrap() > 2, "{told}");
        assert_eq!(data(&next(&mut body).await)["kind"], "attempt.exited");
    }
}
