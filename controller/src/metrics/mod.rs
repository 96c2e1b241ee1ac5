//! What the controller shows of itself to Prometheus, on a listener of its own.
//!
//! - [`Metrics`]: what is counted where it happens: requests, refusals, bytes.
//! - `happened`: what the store's own events tell: operations and attempts that ended, agents that came
//!   and went. They are counted from the events, so nothing is kept twice.
//! - `standing`: what is asked for when somebody looks: the store's figures, sessions, certificates.
//! - [`serve`]: the answer, and the router of the listener.
//!
//! Labels come from closed sets: kinds, states, classes, patterns of routes. Names of clusters,
//! environments, agents and users are never labels: there is no bound on them.

mod happened;
pub mod serve;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::alarm::AlarmKind;
use cratekube_common::metrics::{Counter, Family, Histogram, Histograms, Labels, Registry, labels, long, short};
use http::StatusCode;

use crate::store::Meters;

pub use happened::Happened;
pub use serve::Exposition;
pub use standing::{Listeners, Standing};

/// Every name begins with it.
pub const PREFIX: &str = "cratekube_controller";

/// What is counted where it happens. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    requests: Family<Labels, Counter>,
    request_seconds: Histograms,
    problems: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    output_received: Counter,
    output_sent: Counter,
    enrolments_refused: Family<Labels, Counter>,
    operations: Family<Labels, Counter>,
    operation_seconds: Histograms,
    operation_wait_seconds: Histograms,
    attempts: Family<Labels, Counter>,
    attempt_seconds: Histograms,
    agent_events: Family<Labels, Counter>,
    alarms: Family<Labels, Counter>,
}

impl Default for Counted {
    fn default() -> Self {
        let seconds = |make: fn() -> Histogram| Histograms::new_with_constructor(make);
        // What is rare is there from the start: an alert on growth does not see the step from nothing to one.
        let from_zero = |label: &'static str, words: &[&str]| {
            let family = Family::<Labels, Counter>::default();
            words.iter().for_each(|word| drop(family.get_or_create(&labels([(label, word)]))));
            family
        };
        let kinds: Vec<&str> = AlarmKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Self {
            requests: Family::default(),
            request_seconds: seconds(short),
            problems: Family::default(),
            refusals: from_zero("caller", &["anonymous", "known"]),
            output_received: Counter::default(),
            output_sent: Counter::default(),
            enrolments_refused: from_zero("reason", &["rate_limited", "token_reused", "refused"]),
            operations: Family::default(),
            operation_seconds: seconds(long),
            operation_wait_seconds: seconds(long),
            attempts: Family::default(),
            attempt_seconds: seconds(long),
            agent_events: Family::default(),
            alarms: from_zero("kind", &kinds),
        }
    }
}

/// Why someone could not enrol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotEnrolled {
    /// They tried too often.
    TooOften,
    /// The join token was used before.
    Reused,
    /// Anything else.
    Refused,
}

impl Metrics {
    /// A request was answered.
    pub(crate) fn request(&self, method: &str, route: &str, status: StatusCode, took: Duration) {
        let counted = labels([("method", known_method(method)), ("route", route), ("code", status.as_str())]);
        self.0.requests.get_or_create(&counted).inc();
        self.0.request_seconds.get_or_create(&labels([("route", route)])).observe(took.as_secs_f64());
    }

    /// A request was answered with a problem of this type.
    pub(crate) fn problem(&self, slug: &str) {
        self.0.problems.get_or_create(&labels([("type", slug)])).inc();
    }

    /// Somebody was refused, with a valid token or without.
    pub(crate) fn refusal(&self, known: bool) {
        let caller = if known { "known" } else { "anonymous" };
        self.0.refusals.get_or_create(&labels([("caller", caller)])).inc();
    }

    /// Bytes of output came from an agent.
    pub(crate) fn output_received(&self, bytes: usize) {
        self.0.output_received.inc_by(bytes as u64);
    }

    /// Bytes of output were given to a reader.
    pub(crate) fn output_sent(&self, bytes: usize) {
        self.0.output_sent.inc_by(bytes as u64);
    }

    /// Someone could not enrol.
    pub(crate) fn not_enrolled(&self, why: NotEnrolled) {
        let reason = match why {
            NotEnrolled::TooOften => "rate_limited",
            NotEnrolled::Reused => "token_reused",
            NotEnrolled::Refused => "refused",
        };
        self.0.enrolments_refused.get_or_create(&labels([("reason", reason)])).inc();
    }

    /// All of them under their names, with how the store writes.
    pub(crate) fn registry(&self, meters: &Meters) -> Registry {
        let mut all = Registry::with_prefix(PREFIX);
        let counted = &self.0;
        all.register("http_requests", "Requests that were answered", counted.requests.clone());
        let help = "Time until a request was answered, or its stream began";
        all.register("http_request_duration_seconds", help, counted.request_seconds.clone());
        all.register("http_problems", "Answers that were problem documents, by type", counted.problems.clone());
        all.register(
            "auth_refusals",
            "Requests that were refused for want of a token or role",
            counted.refusals.clone(),
        );
        let help = "Enrolments that were refused";
        all.register("enrolments_refused", help, counted.enrolments_refused.clone());
        let help = "Output that came from agents, with what came again";
        all.register("output_received_bytes", help, counted.output_received.clone());
        all.register("output_sent_bytes", "Output that was given to readers", counted.output_sent.clone());
        all.register("operations_ended", "Operations that ended", counted.operations.clone());
        let help = "Time from the acceptance of an operation to its end";
        all.register("operation_duration_seconds", help, counted.operation_seconds.clone());
        let help = "Time from the acceptance of an operation until an agent had it";
        all.register("operation_wait_seconds", help, counted.operation_wait_seconds.clone());
        all.register("attempts_ended", "Attempts that ended, or whose lease ran out", counted.attempts.clone());
        let help = "Time from the lease of an attempt to its end";
        all.register("attempt_duration_seconds", help, counted.attempt_seconds.clone());
        all.register("agent_events", "What happened to agents and volumes", counted.agent_events.clone());
        all.register(
            "alarms",
            "Alarms that were raised; while one is open, those like it are not",
            counted.alarms.clone(),
        );
        let help = "Time of a commit, with the work in it";
        all.register("store_commit_duration_seconds", help, meters.commit_seconds.clone());
        all.register("store_commit_jobs", "Changes that were committed together", meters.commit_jobs.clone());
        all.register("store_commits_failed", "Commits that failed", meters.commits_failed.clone());
        all
    }
}

/// A method is what a client writes: others than these are one.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}
