//! What needs somebody, most urgent first: decided from values, without store, clock or network.
//!
//! Each finding says since when, about what, in a sentence what is wrong, and what to do. What a
//! controller that was just started cannot know yet is said so, and is not taken for a fault.

use std::collections::BTreeSet;
use std::time::Duration;

use cratekube_common::domain::agent::{Agent, AgentState, VolumeStatus};
use cratekube_common::domain::alarm::Alarm;
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::id::{AgentId, VolumeId};
use cratekube_common::domain::operation::{Operation, OperationState};
use cratekube_common::domain::time::Timestamp;

use super::ca_rotation::Progress;
use crate::store::{Attention, ClusterCertificates, EXPIRY_NOTICE, LostRun, VolumeRecord};

/// How long an operation may wait before somebody is told: agents come back from a restart in less.
const PATIENT_WAIT: Duration = Duration::from_secs(300);
/// Longer than one run may take with its default limits.
const LONG_RUN: Duration = Duration::from_secs(3 * 3600);
/// A certificate that was not renewed by now is not renewed by itself: agents do at 70 % of 24 hours.
const CERTIFICATE_LEFT: Duration = Duration::from_secs(4 * 3600);
/// The certificate of a listener is renewed with a third of 90 days left.
const OWN_CERTIFICATE_LEFT: Duration = Duration::from_secs(7 * 86_400);
/// The CA is rotated by hand, and every agent and user has to take it over.
const CA_LEFT: Duration = Duration::from_secs(180 * 86_400);
/// How long a rotation of the CA may rest before somebody is reminded: agents renew every day.
const CA_ROTATION_REST: Duration = Duration::from_secs(3 * 86_400);
/// Name of the CA's certificate among the controller's own.
pub const CA: &str = "ca";
/// A cluster whose certificates end stops working: from here on it is urgent.
const CLUSTER_CERTIFICATE_LEFT: Duration = Duration::from_secs(7 * 86_400);
/// How far an agent's clock may be off.
const SKEW_MS: u64 = 60_000;

/// How urgent something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is locked, lost or may be lost.
    Critical,
    /// Somebody should look today.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An agent.
    Agent(AgentId, String),
    /// A volume.
    Volume(VolumeId),
    /// A cluster, by environment and name.
    Cluster(String, String),
    /// An operation: its id, environment and cluster.
    Operation(String, String, String),
    /// An alarm, by its number.
    Alarm(u64),
    /// The controller itself.
    Controller(String),
}

/// The controller's own certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// When they end, by name.
    pub ends: Vec<(&'static str, Timestamp)>,
    /// How far the rotation of the CA is.
    pub rotation: Option<Progress>,
}

/// Something that needs somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable word for programs.
    pub kind: &'static str,
    /// How urgent.
    pub severity: Severity,
    /// Since when, as far as is known.
    pub since: Option<Timestamp>,
    /// About what.
    pub subject: Subject,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// What is true of a connected agent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// Its clock minus ours, in milliseconds.
    pub clock_skew_ms: i64,
    /// Its volumes.
    pub volumes: Vec<VolumeStatus>,
}

/// What is looked at.
pub struct Scene<'a> {
    /// What the store says.
    pub kept: &'a Attention,
    /// What is true of an agent now; nothing while it has no session.
    pub seen: &'a dyn Fn(AgentId) -> Option<Here>,
    /// The controller's own certificates.
    pub own: &'a Own,
    /// The time.
    pub now: Timestamp,
    /// Whether all agents were looked at; otherwise one that is missing may be beyond the last.
    pub all_agents: bool,
    /// True while agents that were connected with the controller before it was started may not be back yet.
    pub gathering: bool,
}

/// Everything that needs somebody, most urgent first, then what needs them longest.
#[must_use]
pub fn findings(scene: &Scene<'_>) -> Vec<Finding> {
    let kept = scene.kept;
    let mut all: Vec<Finding> = kept.alarms.iter().map(alarm).collect();
    all.extend(kept.lost.iter().map(lost));
    for agent in &kept.agents {
        all.extend(of_agent(scene, agent));
    }
    all.extend(orphans(scene));
    all.extend(kept.operations.iter().filter_map(|operation| slow(scene.now, operation)));
    all.extend(kept.clusters.iter().map(unwell));
    all.extend(kept.certificates.iter().filter_map(|of| cluster_certificate(scene.now, of)));
    all.extend(scene.own.ends.iter().filter_map(|(name, ends)| own_certificate(scene.now, name, *ends)));
    all.extend(scene.own.rotation.map(|progress| ca_rotation(scene.now, progress)));
    let latest = Timestamp::from_millis(i64::MAX);
    all.sort_by_key(|finding| (finding.severity, finding.since.unwrap_or(latest)));
    all
}

fn alarm(alarm: &Alarm) -> Finding {
    let again = if alarm.count > 1 { format!(" ({} times)", alarm.count) } else { String::new() };
    Finding {
        kind: "alarm",
        severity: Severity::Critical,
        since: Some(alarm.first_at),
        subject: Subject::Alarm(alarm.number),
        message: format!("{}{again}", alarm.what.detail),
        remedy: alarm.what.kind.remedy().to_owned(),
    }
}

fn lost(run: &LostRun) -> Finding {
    Finding {
        kind: "run-out-of-touch",
        severity: Severity::Critical,
        since: Some(run.leased_at),
        subject: Subject::Operation(run.operation.to_string(), run.environment.to_string(), run.cluster.to_string()),
        message: format!("Nobody knows what became of a run of agent {}; cluster {} stays locked.", run.agent, run.cluster),
        remedy: "Bring the agent back, or mount its volume on another bastion. Force the lock only when its rke is certainly not at work.".into(),
    }
}

fn of_agent(scene: &Scene<'_>, agent: &Agent) -> Vec<Finding> {
    let subject = || Subject::Agent(agent.id, agent.name.to_string());
    let finding = |kind, severity, since, message: String, remedy: &str| Finding {
        kind,
        severity,
        since,
        subject: subject(),
        message,
        remedy: remedy.to_owned(),
    };
    let mut found = Vec::new();
    let seen = (scene.seen)(agent.id);
    let clusters: u64 = scene.kept.volumes.iter().filter(|v| v.agent == agent.id).map(|v| v.clusters).sum();
    match agent.state {
        AgentState::Quarantined => found.push(finding(
            "agent-quarantined",
            Severity::Critical,
            agent.last_seen_at,
            format!("Two hosts used the identity of agent {}; neither may connect.", agent.name),
            "Find out whose key was copied, revoke the agent, and enrol its host again.",
        )),
        AgentState::Cordoned | AgentState::Draining => {
            let done = agent.state == AgentState::Draining && agent.running.is_empty();
            let more = if done { " and holds no run any more" } else { "" };
            let message = format!("Agent {} is {}{more}: it is given nothing new.", agent.name, agent.state);
            found.push(finding(
                "agent-takes-nothing",
                Severity::Info,
                None,
                message,
                "Uncordon it when it is to work again.",
            ));
        }
        AgentState::Active | AgentState::Revoked => {}
    }
    if let Some(seen) = &seen {
        if seen.clock_skew_ms.unsigned_abs() > SKEW_MS {
            let message = format!("The clock of agent {} is off by {} s.", agent.name, seen.clock_skew_ms / 1_000);
            let remedy = "Synchronise the clocks of its bastion and of the controller.";
            found.push(finding("agent-clock", Severity::Warning, None, message, remedy));
        }
    } else if agent.state.may_connect() {
        found.push(away(scene, agent, clusters, subject()));
    }
    let left = agent.certificate_not_after.since(scene.now);
    if agent.state.may_connect() && left < CERTIFICATE_LEFT {
        let over = agent.certificate_not_after <= scene.now;
        let ends = if over { "has ended" } else { "ends within hours and was not renewed" };
        let message = format!("The certificate of agent {} {ends}.", agent.name);
        let remedy = "Bring it back: its log says why it does not renew. After too long it has to be enrolled again.";
        found.push(finding("agent-certificate", Severity::Warning, Some(agent.certificate_not_after), message, remedy));
    }
    let facts = agent.facts.as_ref().map(|facts| &facts.volumes);
    let volumes = seen.as_ref().map(|seen| &seen.volumes).or(facts);
    found.extend(volumes.into_iter().flatten().flat_map(|volume| of_volume(agent, volume)));
    found
}

fn away(scene: &Scene<'_>, agent: &Agent, clusters: u64, subject: Subject) -> Finding {
    if scene.gathering {
        return Finding {
            kind: "agent-not-back-yet",
            severity: Severity::Info,
            since: agent.last_seen_at,
            subject,
            message: format!(
                "Agent {} is not connected; the controller was started just now, and it may be on its way back.",
                agent.name
            ),
            remedy: "Wait a minute, and look again.".into(),
        };
    }
    let of = if clusters == 1 { "1 cluster is".to_owned() } else { format!("{clusters} clusters are") };
    let never = agent.facts.is_none();
    let message = match (never, clusters) {
        (true, _) => format!("Agent {} was enrolled and has never connected.", agent.name),
        (false, 0) => format!("Agent {} is not connected; no cluster is on its volumes.", agent.name),
        (false, _) => format!("Agent {} is not connected; {of} on its volumes and cannot be changed.", agent.name),
    };
    Finding {
        kind: "agent-offline",
        severity: if clusters > 0 { Severity::Critical } else { Severity::Warning },
        since: agent.last_seen_at.or(Some(agent.enrolled_at)),
        subject,
        message,
        remedy: "Look at its bastion (`cratekube-agent doctor`); forget it if it will not return.".into(),
    }
}

fn of_volume(agent: &Agent, volume: &VolumeStatus) -> Vec<Finding> {
    let finding = |kind, severity, since, message: String, remedy: &str| Finding {
        kind,
        severity,
        since,
        subject: Subject::Volume(volume.id),
        message,
        remedy: remedy.to_owned(),
    };
    let (mut found, place) = (Vec::new(), format!("{} on agent {}", volume.path, agent.name));
    if let Some(fault) = &volume.fault {
        let remedy = "`cratekube-agent doctor` on its bastion says how to mend it.";
        found.push(finding(
            "volume-not-served",
            Severity::Critical,
            None,
            format!("Volume {place} is not served: {fault}."),
            remedy,
        ));
    }
    if volume.below_reserve() {
        let reserve = volume.reserve_bytes.unwrap_or(0);
        let message = format!(
            "Volume {place} has {} bytes free, less than its reserve of {reserve}: no run begins.",
            volume.free_bytes
        );
        found.push(finding(
            "volume-below-reserve",
            Severity::Critical,
            None,
            message,
            "Grow the volume and its filesystem.",
        ));
    } else if volume.fault.is_none() && volume.free_bytes < volume.total_bytes / 10 {
        let message = format!("Volume {place} has less than a tenth of its space left.");
        found.push(finding(
            "volume-fills-up",
            Severity::Warning,
            None,
            message,
            "Grow the volume and its filesystem while there is time.",
        ));
    }
    if let Some(scrub) = volume.scrub.as_ref().filter(|scrub| !scrub.faults.is_empty()) {
        let first = scrub.faults.first().map_or("", String::as_str);
        let message = format!(
            "Volume {place} holds {} sealed files that are not as they were sealed: {first}.",
            scrub.faults.len()
        );
        let remedy = "Make a snapshot of the volume and replace it; recover the state of clusters whose newest generation is hit.";
        found.push(finding("volume-rot", Severity::Critical, Some(scrub.ended_at), message, remedy));
    }
    found
}

/// Volumes with clusters that no agent serves any more.
fn orphans(scene: &Scene<'_>) -> Vec<Finding> {
    let living: BTreeSet<AgentId> = scene.kept.agents.iter().map(|agent| agent.id).collect();
    let orphan = |volume: &&VolumeRecord| volume.clusters > 0 && !living.contains(&volume.agent);
    let of = |volume: &VolumeRecord| Finding {
        kind: "volume-without-agent",
        severity: Severity::Critical,
        since: Some(volume.taken_at),
        subject: Subject::Volume(volume.id),
        message: format!(
            "No agent serves volume {}; {} cluster(s) are on it and cannot be changed.",
            volume.id, volume.clusters
        ),
        remedy: "Attach it to a bastion, and start an agent there that is enrolled.".into(),
    };
    scene.kept.volumes.iter().filter(|_| scene.all_agents).filter(orphan).map(of).collect()
}

fn slow(now: Timestamp, operation: &Operation) -> Option<Finding> {
    let age = now.since(operation.created_at);
    let subject = || {
        Subject::Operation(operation.id.to_string(), operation.environment.to_string(), operation.cluster.to_string())
    };
    let what = format!("{} of {}", operation.kind, operation.cluster);
    let (kind, severity, message, remedy) = match operation.state {
        OperationState::Queued => {
            let why = operation.waiting_for.clone().unwrap_or_else(|| "An agent is to take it.".into());
            let severity = if age >= PATIENT_WAIT { Severity::Warning } else { Severity::Info };
            ("operation-waits", severity, format!("The {what} waits. {why}"), "Do what it waits for, or cancel it.")
        }
        _ if operation.waiting_for.is_some() => {
            let why = operation.waiting_for.clone().unwrap_or_default();
            ("operation-waits", Severity::Warning, format!("The {what} does not go on. {why}"), "Do what it waits for.")
        }
        _ if age >= LONG_RUN => {
            let message = format!("The {what} has run for more than three hours.");
            ("operation-runs-long", Severity::Warning, message, "Look at its output; cancel it when it does not go on.")
        }
        _ => return None,
    };
    let since = Some(operation.created_at);
    Some(Finding { kind, severity, since, subject: subject(), message, remedy: remedy.to_owned() })
}

fn unwell(cluster: &Cluster) -> Finding {
    let failure = cluster.failure.as_ref();
    let why = failure.map_or_else(String::new, |failure| format!(": {}", failure.message));
    Finding {
        kind: "cluster-not-well",
        severity: Severity::Warning,
        since: Some(cluster.updated_at),
        subject: Subject::Cluster(cluster.environment.to_string(), cluster.name.to_string()),
        message: format!("Cluster {} is {}{why}", cluster.name, cluster.phase),
        remedy: failure.map_or_else(
            || "Provision it again, which brings it to its description, or remove it.".into(),
            |failure| failure.remedy.clone(),
        ),
    }
}

fn cluster_certificate(now: Timestamp, of: &ClusterCertificates) -> Option<Finding> {
    let left = of.end_at.since(now);
    let over = of.end_at <= now;
    (left < EXPIRY_NOTICE).then(|| Finding {
        kind: "cluster-certificates",
        severity: if left < CLUSTER_CERTIFICATE_LEFT { Severity::Critical } else { Severity::Warning },
        since: None,
        subject: Subject::Cluster(of.environment.to_string(), of.cluster.to_string()),
        message: format!(
            "The first certificate of cluster {} {} at {}, as the last check found.",
            of.cluster,
            if over { "has ended" } else { "ends" },
            of.end_at
        ),
        remedy: "Renew them (`rotate-certificates`), and check the cluster again (`verify`).".into(),
    })
}

fn own_certificate(now: Timestamp, name: &str, ends: Timestamp) -> Option<Finding> {
    let (notice, remedy) = match name {
        CA => (CA_LEFT, "Rotate the CA (`cratekube ca rotate`): nobody gets in when it has ended."),
        _ => (OWN_CERTIFICATE_LEFT, "Put a new pair in place of the files, or see in the log why it is not renewed."),
    };
    (ends.since(now) < notice).then(|| Finding {
        kind: "controller-certificate",
        severity: Severity::Warning,
        since: None,
        subject: Subject::Controller(name.to_owned()),
        message: format!("The certificate `{name}` of the controller ends at {ends}."),
        remedy: remedy.into(),
    })
}

fn ca_rotation(now: Timestamp, progress: Progress) -> Finding {
    let is_old = now.since(progress.changed_at) > CA_ROTATION_REST;
    let (began, how) = (progress.begun_at, if progress.rolled_back { ", and was rolled back" } else { "" });
    Finding {
        kind: "ca-rotation",
        severity: if is_old { Severity::Warning } else { Severity::Info },
        since: Some(progress.changed_at),
        subject: Subject::Controller(CA.into()),
        message: format!("A rotation of the CA began at {began}{how}; it is `{}`.", progress.phase.as_str()),
        remedy: "See who has not taken it over (`cratekube ca show`), and go on with it or roll it back.".into(),
    }
}

#[cfg(test)]
mod tests;
