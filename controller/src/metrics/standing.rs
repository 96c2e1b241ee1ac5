//! What is asked for when somebody looks: the store's figures, who is here, certificates, listeners.

use std::sync::Arc;

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::alarm::AlarmKind;
use cratekube_common::domain::attempt::{AttemptState, LOCKING};
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::operation::{OperationState, TERMINAL};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::metrics::{Labels, Page, labels, seconds};
use cratekube_common::runtime::clock::Clock;

use super::PREFIX;
use crate::edge::counters::{Counters, Counts};
use crate::edge::renewal::Renewal;
use crate::pki::authority::Authority;
use crate::rest::RestState;
use crate::service::dispatch::Dispatch;
use crate::service::presence::Presence;
use crate::store::{Figures, Store};

/// Counters of the listeners, by name.
pub type Listeners = Vec<(&'static str, Counters)>;

/// Where the values are.
#[derive(Debug)]
pub struct Standing {
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// Who is here.
    pub presence: Presence,
    /// Leases.
    pub dispatch: Arc<Dispatch>,
    /// Streams of users.
    pub rest: RestState,
    /// What happened at the listeners.
    pub listeners: Listeners,
    /// The authority.
    pub authority: Arc<Authority>,
    /// Certificates of the listeners.
    pub renewals: Arc<Vec<Renewal>>,
    /// The time.
    pub clock: Clock,
    /// When this process began.
    pub started: Timestamp,
}

impl Standing {
    /// All of it. A store that fails is told; the rest is shown.
    pub async fn page(&self) -> Page {
        let mut page = Page::new(PREFIX);
        page.info("build", "What runs", labels([("version", env!("CARGO_PKG_VERSION"))]));
        page.gauge("start_time_seconds", "When this process began", seconds(self.started.as_millis()));
        let figures = self.store.figures().await.inspect_err(|error| tracing::warn!(%error, "no figures of the store"));
        page.gauge("store_up", "Whether the store answers", f64::from(u8::from(figures.is_ok())));
        if let Ok(figures) = figures {
            kept(&mut page, &figures, self.clock.now());
        }
        self.here(&mut page);
        self.certificates(&mut page);
        listeners(&mut page, &self.listeners);
        page
    }

    fn here(&self, page: &mut Page) {
        page.gauge("agents_online", "Agents with a session", float(self.presence.count() as u64));
        page.gauge("leases", "Leases that are held", float(self.dispatch.leases() as u64));
        page.gauge(
            "agent_slots_free",
            "Attempts that connected agents could take now",
            float(self.presence.free_slots()),
        );
        let skew = self.presence.largest_skew_ms();
        let help = "Largest distance of a connected agent's clock from ours";
        page.gauge("agent_clock_skew_max_seconds", help, seconds(i64::try_from(skew).unwrap_or(i64::MAX)));
        page.gauge("streams", "Streams and waits of users that are open", float(self.rest.streams_open() as u64));
        page.gauge("operations_watched", "Operations that somebody watches", float(self.rest.watched() as u64));
    }

    fn certificates(&self, page: &mut Page) {
        let ca = self.authority.not_after().map(|end| (labels([("certificate", "ca")]), seconds(end.as_millis())));
        let own = self.renewals.iter().filter_map(|renewal| {
            Some((labels([("certificate", renewal.name())]), seconds(renewal.not_after()?.as_millis())))
        });
        let help = "When a certificate of the controller ends";
        page.gauges("certificate_expiry_timestamp_seconds", help, ca.into_iter().chain(own));
    }
}

/// What the store holds. Every state is shown, also when there is nothing in it: an alert on a value that
/// is not there does not ring.
fn kept(page: &mut Page, figures: &Figures, now: Timestamp) {
    let live = OperationState::ALL.iter().filter(|state| !TERMINAL.contains(state));
    let empty = live.map(|state| (labels([("state", state.as_str()), ("kind", "provision")]), 0.0));
    let operations = figures
        .operations
        .iter()
        .map(|of| (labels([("state", of.state.as_str()), ("kind", of.kind.as_str())]), float(of.count)));
    page.gauges("operations", "Operations that are not over", empty.chain(operations));
    let oldest = |wanted: OperationState| {
        let of = figures.operations.iter().filter(move |of| of.state == wanted);
        of.map(|of| now.since(of.oldest).as_secs_f64()).fold(0.0, f64::max)
    };
    page.gauge("queue_oldest_seconds", "Age of the oldest operation that waits", oldest(OperationState::Queued));
    page.gauge("running_oldest_seconds", "Age of the oldest operation that runs", oldest(OperationState::Running));
    page.gauge("tasks_delayed", "Tasks that wait to be tried again", float(figures.delayed_tasks));
    let phases = ClusterPhase::ALL.iter().filter(|phase| **phase != ClusterPhase::Removed);
    page.gauges(
        "clusters",
        "Clusters, by phase",
        all("phase", phases.map(|p| p.as_str()), &spelled(&figures.clusters, ClusterPhase::as_str)),
    );
    let attempts = spelled(&figures.attempts, AttemptState::as_str);
    page.gauges(
        "attempts",
        "Attempts that hold their cluster",
        all("state", LOCKING.iter().map(|s| s.as_str()), &attempts),
    );
    let agents = spelled(&figures.agents, AgentState::as_str);
    page.gauges(
        "agents",
        "Agents, by what they may do",
        all("state", AgentState::ALL.iter().map(|s| s.as_str()), &agents),
    );
    page.gauge("volumes", "Volumes that were ever served", float(figures.volumes));
    let help = "When the first certificate ends of all agents that may connect";
    let ends = figures.first_certificate_ends.map(|end| seconds(end.as_millis()));
    page.gauge_if("agent_certificate_first_expiry_timestamp_seconds", help, ends);
    let help = "When the first certificate ends of all clusters, as they were checked";
    let ends = figures.first_cluster_certificate_ends.map(|end| seconds(end.as_millis()));
    page.gauge_if("cluster_certificate_first_expiry_timestamp_seconds", help, ends);
    let help = "When the newest generation was sealed of the cluster where that is longest ago";
    let sealed = figures.oldest_generation.map(|at| seconds(at.as_millis()));
    page.gauge_if("generation_oldest_timestamp_seconds", help, sealed);
    page.counter("evidence", "Reports and output that were refused and kept", figures.evidence);
    let alarms = spelled(&figures.alarms, AlarmKind::as_str);
    let kinds = AlarmKind::ALL.iter().map(|kind| kind.as_str());
    page.gauges("alarms_open", "Alarms that nobody acknowledged yet", all("kind", kinds, &alarms));
    page.counter("audit_entries", "Entries of the audit log", figures.audit_entries);
}

fn spelled<T: Copy>(found: &[(T, u64)], word: impl Fn(T) -> &'static str) -> Vec<(&'static str, u64)> {
    found.iter().map(|(state, count)| (word(*state), *count)).collect()
}

fn all(
    label: &'static str,
    words: impl Iterator<Item = &'static str>,
    found: &[(&'static str, u64)],
) -> Vec<(Labels, f64)> {
    let count = |word: &str| found.iter().find(|(known, _)| *known == word).map_or(0, |(_, count)| *count);
    words.map(|word| (labels([(label, word)]), float(count(word)))).collect()
}

fn listeners(page: &mut Page, listeners: &[(&'static str, Counters)]) {
    type Of = fn(&Counts) -> u64;
    let counts: Vec<(&str, Counts)> = listeners.iter().map(|(name, counters)| (*name, counters.read())).collect();
    let shown: [(&str, &str, Of); 6] = [
        ("connections_accepted", "Connections that were let in", |c| c.accepted),
        ("connections_turned_away", "Connections that were turned away: too many", |c| c.turned_away),
        ("handshakes_failed", "TLS handshakes that failed", |c| c.handshakes_failed),
        ("handshakes_late", "TLS handshakes that took too long", |c| c.handshakes_late),
        ("connection_faults", "Connections that ended with a fault", |c| c.faults),
        ("connections_retired", "Connections that ended because of their age or of a lockout", |c| c.retired),
    ];
    for (name, help, read) in shown {
        page.counters(name, help, counts.iter().map(|(listener, c)| (labels([("listener", listener)]), read(c))));
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of our size fit")]
fn float(count: u64) -> f64 {
    count as f64
}
