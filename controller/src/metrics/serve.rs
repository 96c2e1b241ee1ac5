//! The listener's one route.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cratekube_common::metrics::{self, Registry, process};
use http::{StatusCode, header};
use tokio::sync::Mutex;

use super::{Happened, Standing};

/// Longest time that an answer may take: a scrape that waits longer has given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that is shown.
#[derive(Debug)]
pub struct Exposition {
    /// What is counted where it happens.
    pub counted: Registry,
    /// What the events tell.
    pub happened: Arc<Happened>,
    /// What is asked for.
    pub standing: Standing,
    /// One answer at a time: more would only cost more.
    pub turn: Mutex<()>,
}

impl Exposition {
    /// The text.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub async fn text(&self) -> Result<String, fmt::Error> {
        let _turn = self.turn.lock().await;
        if let Err(error) = self.happened.count().await {
            tracing::warn!(%error, "what happened cannot be counted now; it is later");
        }
        let standing = self.standing.page().await;
        metrics::text(&self.counted, &[standing, process::page(&process::usage())])
    }
}

/// What the listener serves: `/metrics`, and nothing else.
pub fn router(exposition: Arc<Exposition>) -> Router {
    Router::new().route("/metrics", get(show)).with_state(exposition)
}

async fn show(State(exposition): State<Arc<Exposition>>) -> Response {
    match tokio::time::timeout(PATIENCE, exposition.text()).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
