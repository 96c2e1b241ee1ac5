//! What the agent shows of itself to Prometheus, on a listener of its own.
//!
//! [`Metrics`] is counted where things happen; [`serve`] answers, and asks the engine for what stands now.
//! Labels come from closed sets, and volumes by their ids: as many as are configured.

pub mod serve;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::metrics::{Counter, Family, Gauge, Histogram, LONG, Labels, Registry, labels, seconds};

/// Every name begins with it.
pub const PREFIX: &str = "cratekube_agent";

/// What is counted where it happens. All clones are one.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    runs: Family<Labels, Counter>,
    run_seconds: Histogram,
    connected: Gauge,
    sessions: Counter,
    connections_failed: Family<Labels, Counter>,
    output_sent: Counter,
    renewals: Counter,
    certificate_ends: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        // There from the start: an alert on growth does not see the step from nothing to one.
        let from_zero = |label: &'static str, words: &[&str]| {
            let family = Family::<Labels, Counter>::default();
            words.iter().for_each(|word| drop(family.get_or_create(&labels([(label, word)]))));
            family
        };
        Self(Arc::new(Counted {
            runs: Family::default(),
            run_seconds: Histogram::new(LONG),
            connected: Gauge::default(),
            sessions: Counter::default(),
            connections_failed: from_zero("reason", &["refused", "unreachable"]),
            output_sent: Counter::default(),
            renewals: Counter::default(),
            certificate_ends: Gauge::default(),
        }))
    }
}

/// Is in session for as long as it lives.
#[derive(Debug)]
pub(crate) struct InSession(Metrics);

impl Drop for InSession {
    fn drop(&mut self) {
        self.0.0.connected.set(0);
    }
}

impl Metrics {
    /// A run is over, or was refused.
    pub(crate) fn run_ended(&self, report: &RunReport) {
        let (outcome, class) = match &report.outcome {
            RunOutcome::Succeeded => ("succeeded", "none"),
            RunOutcome::Failed(failure) => ("failed", failure.class.as_str()),
            RunOutcome::Refused(failure) => ("refused", failure.class.as_str()),
        };
        self.0.runs.get_or_create(&labels([("outcome", outcome), ("class", class)])).inc();
        if let Some(started) = report.started_at {
            self.0.run_seconds.observe(report.ended_at.since(started).as_secs_f64());
        }
    }

    /// A session began.
    pub(crate) fn in_session(&self) -> InSession {
        self.0.sessions.inc();
        self.0.connected.set(1);
        InSession(self.clone())
    }

    /// There is no session, or it broke; `refused` when the controller does not accept who we are.
    pub(crate) fn not_connected(&self, refused: bool) {
        let reason = if refused { "refused" } else { "unreachable" };
        self.0.connections_failed.get_or_create(&labels([("reason", reason)])).inc();
    }

    /// Bytes of output went to the controller.
    pub(crate) fn output_sent(&self, bytes: usize) {
        self.0.output_sent.inc_by(bytes as u64);
    }

    /// The certificate in use ends then.
    pub(crate) fn certificate(&self, ends: Timestamp) {
        self.0.certificate_ends.set(seconds(ends.as_millis()));
    }

    /// A new certificate is in use.
    pub(crate) fn renewed(&self, ends: Option<Timestamp>) {
        self.0.renewals.inc();
        if let Some(ends) = ends {
            self.certificate(ends);
        }
    }

    /// All of them under their names.
    #[must_use]
    pub fn registry(&self) -> Registry {
        let mut all = Registry::with_prefix(PREFIX);
        let counted = &self.0;
        all.register("runs_ended", "Runs that ended, or were refused", counted.runs.clone());
        all.register("run_duration_seconds", "Time that a run took", counted.run_seconds.clone());
        all.register("connected", "Whether there is a session with the controller", counted.connected.clone());
        all.register("sessions", "Sessions that began", counted.sessions.clone());
        let help = "Tries to connect that failed, and sessions that broke";
        all.register("connections_failed", help, counted.connections_failed.clone());
        let help = "Output that went to the controller, with what went again";
        all.register("output_sent_bytes", help, counted.output_sent.clone());
        all.register("certificate_renewals", "Renewals of the certificate", counted.renewals.clone());
        let help = "When the certificate in use ends";
        all.register("certificate_expiry_timestamp_seconds", help, counted.certificate_ends.clone());
        all
    }
}
