//! `/healthz` and `/readyz`: open to all, so they say little, and asking often costs nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cratekube_common::runtime::clock::Clock;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::problem::{Kind, Problem, ProblemDocument};
use super::state::{Check, RestState};
use crate::store::StoreError;

/// How long an answer of the checks is good for.
const FRESH: Duration = Duration::from_secs(1);

/// One named check.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct CheckResult {
    /// What was looked at.
    name: &'static str,
    /// Whether it is well.
    ok: bool,
    /// What is wrong and what to do, as far as everyone may know; the rest is in the controller's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Report {
    /// Whether requests should be sent here.
    ready: bool,
    /// What was looked at.
    checks: Vec<CheckResult>,
}

/// Remembers the last answer of the checks for a moment.
pub(super) struct Readiness {
    checks: Vec<Check>,
    clock: Clock,
    last: Mutex<Option<(Duration, Report)>>,
}

impl Readiness {
    pub(super) fn new(checks: Vec<Check>, clock: Clock) -> Self {
        Self { checks, clock, last: Mutex::default() }
    }

    async fn report(&self, state: &RestState) -> Report {
        let now = self.clock.monotonic();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, report)) = last.filter(|(at, _)| now.saturating_sub(*at) < FRESH) {
            return report;
        }
        let store = state.service.store.ready().await;
        let store = store.map_err(|error| (error.to_string(), of_store(&error)));
        let own = self.checks.iter().map(|(name, check)| (*name, check().map_err(|why| (why, IN_THE_LOG))));
        let checks: Vec<_> =
            [("store", store)].into_iter().chain(own).map(|(name, found)| note(name, &found)).collect();
        let report = Report { ready: checks.iter().all(|check| check.ok), checks };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, report.clone()));
        report
    }
}

/// The reason goes to the log; everyone may read the answer.
fn note(name: &'static str, found: &Result<(), (String, &'static str)>) -> CheckResult {
    if let Err((reason, _)) = found {
        tracing::warn!(check = name, %reason, "not ready");
    }
    CheckResult { name, ok: found.is_ok(), message: found.as_ref().err().map(|(_, message)| *message) }
}

const IN_THE_LOG: &str = "The controller's log says why.";

/// What is wrong with the store, without paths and tables.
fn of_store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => {
            "The store takes no changes: its disk is full, slow or has failed, or another process holds it. Make room \
             or repair the disk, and restart the controller when it failed."
        }
        StoreError::Open(_) => "The store cannot be opened: the controller's log says why.",
        StoreError::Damaged(_) => "The store is damaged: restore a backup; the controller's log says what was found.",
    }
}

/// Alive: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, description = "The process answers", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Ready: requests can be served.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, description = "Ready", body = Report),
    (status = 503, description = "Not ready; the checks say what is not well", body = ProblemDocument, content_type = "application/problem+json"),
))]
pub(super) async fn readyz(State(state): State<RestState>) -> Response {
    let mut report = state.readiness.report(&state).await;
    if state.shutdown.is_cancelled() {
        report.ready = false;
        report.checks.push(CheckResult { name: "running", ok: false, message: Some("The controller is stopping.") });
    }
    if report.ready {
        return Json(report).into_response();
    }
    let problem = Problem::new(Kind::NotReady, "at least one check is not well");
    problem.with_member("ready", json!(false)).with_member("checks", json!(report.checks)).into_response()
}
