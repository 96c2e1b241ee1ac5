//! What the store's events tell, counted: operations and attempts that ended, agents that came and went.
//!
//! Events are kept by the transaction of the change itself, so each is counted once, whoever made the
//! change; what happened before this process began is not counted, as with every counter.

use std::sync::Arc;

use cratekube_common::domain::alarm::AlarmKind;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::metrics::labels;
use tokio::sync::Mutex;

use super::Metrics;
use crate::store::{Event, EventFilter, Store, StoreError};

/// Events of one look.
const PART: usize = 500;
/// Looks of one pass: what is left is counted by the next.
const PARTS: usize = 20;

/// Counts what happened since it was last asked.
#[derive(Debug)]
pub struct Happened {
    metrics: Metrics,
    store: Arc<dyn Store>,
    /// Up to where it was counted; none before the first look.
    after: Mutex<Option<u64>>,
}

impl Happened {
    /// Counts nothing yet.
    #[must_use]
    pub fn new(metrics: Metrics, store: Arc<dyn Store>) -> Self {
        Self { metrics, store, after: Mutex::new(None) }
    }

    /// Begins at what happens from now on; without it the first [`Self::count`] does.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin(&self) -> Result<(), StoreError> {
        let newest = self.store.events(u64::MAX >> 1, EventFilter::default(), 1).await?.newest;
        self.after.lock().await.get_or_insert(newest);
        Ok(())
    }

    /// Counts what happened since the last time. Answers how many events that were.
    ///
    /// # Errors
    /// When the store fails; the next call goes on from there.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let mut after = self.after.lock().await;
        let mut counted = 0;
        let Some(mut number) = *after else {
            *after = Some(self.store.events(u64::MAX >> 1, EventFilter::default(), 1).await?.newest);
            return Ok(0);
        };
        for _ in 0..PARTS {
            let found = self.store.events(number, everything(), PART).await?;
            for event in &found.items {
                self.event(event).await?;
                counted += 1;
                (number, *after) = (event.number, Some(event.number));
            }
            if found.upto <= number && found.items.is_empty() {
                break;
            }
            (number, *after) = (found.upto.max(number), Some(found.upto.max(number)));
        }
        Ok(counted)
    }

    async fn event(&self, event: &Event) -> Result<(), StoreError> {
        match event.kind.split_once('.') {
            Some(("operation", "succeeded" | "failed" | "cancelled")) => self.operation(event).await,
            Some(("attempt", end @ ("exited" | "cancelled" | "released" | "fenced" | "unknown"))) => {
                self.attempt(event, end).await
            }
            Some(("agent" | "volume", _)) => {
                self.metrics.0.agent_events.get_or_create(&labels([("event", &event.kind)])).inc();
                Ok(())
            }
            Some(("alarm", "raised")) => {
                let kind = event.detail["kind"].as_str().and_then(|text| text.parse::<AlarmKind>().ok());
                let kind = kind.map_or("other", AlarmKind::as_str);
                self.metrics.0.alarms.get_or_create(&labels([("kind", kind)])).inc();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn operation(&self, event: &Event) -> Result<(), StoreError> {
        let counted = &self.metrics.0;
        let Some(id) = event.operation else { return Ok(()) };
        let Some(operation) = self.store.operation(id).await? else { return Ok(()) };
        let (kind, outcome) = (operation.kind.as_str(), operation.state.as_str());
        let class = operation.failure.as_ref().filter(|_| outcome == "failed").map_or("none", |f| f.class.as_str());
        counted.operations.get_or_create(&labels([("kind", kind), ("outcome", outcome), ("class", class)])).inc();
        if let Some(ended) = operation.ended_at {
            let took = ended.since(operation.created_at).as_secs_f64();
            counted.operation_seconds.get_or_create(&labels([("kind", kind), ("outcome", outcome)])).observe(took);
        }
        if let Some(started) = operation.started_at {
            let waited = started.since(operation.created_at).as_secs_f64();
            counted.operation_wait_seconds.get_or_create(&labels([("kind", kind)])).observe(waited);
        }
        Ok(())
    }

    async fn attempt(&self, event: &Event, end: &str) -> Result<(), StoreError> {
        let counted = &self.metrics.0;
        // A class is a word of the domain, also where an older or a newer release wrote it.
        let class = event.detail["class"].as_str().and_then(|text| text.parse::<FailureClass>().ok());
        let (Some(operation), Some(id)) = (event.operation, event.detail["id"].as_str()) else { return Ok(()) };
        let attempts = self.store.attempts(operation).await?;
        let Some(attempt) = attempts.iter().find(|attempt| attempt.id.to_string() == id) else { return Ok(()) };
        let task = attempt.kind.as_str();
        let class = class.map_or("none", FailureClass::as_str);
        counted.attempts.get_or_create(&labels([("task", task), ("end", end), ("class", class)])).inc();
        if end == "exited"
            && let Some(ended) = attempt.ended_at
        {
            let took = ended.since(attempt.leased_at).as_secs_f64();
            counted.attempt_seconds.get_or_create(&labels([("task", task)])).observe(took);
        }
        Ok(())
    }
}

fn everything() -> EventFilter {
    EventFilter { environments: vec![EnvironmentPattern::any()], administrative: true, ..EventFilter::default() }
}
