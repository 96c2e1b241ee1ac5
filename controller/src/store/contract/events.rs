//! What happened.

use std::time::Duration;

use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::{AgentId, OperationId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::time::Timestamp;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number; later ones are higher, and there may be gaps.
    pub number: u64,
    /// When it was kept.
    pub at: Timestamp,
    /// What: `operation.running`, `cluster.ready`, `attempt.unknown`, `agent.connected`, `volume.served`, …
    pub kind: String,
    /// Where; none for what concerns administrators.
    pub environment: Option<EnvironmentName>,
    /// The cluster's name.
    pub cluster: Option<ClusterName>,
    /// The operation.
    pub operation: Option<OperationId>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// More of it, by kind.
    pub detail: serde_json::Value,
}

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// In environments that one of these patterns names.
    pub environments: Vec<EnvironmentPattern>,
    /// Those that concern administrators, too.
    pub administrative: bool,
    /// Of this environment only.
    pub environment: Option<EnvironmentName>,
    /// Of clusters of this name only.
    pub cluster: Option<ClusterName>,
    /// Of these kinds only: `cluster` stands for all that begin with `cluster.`.
    pub kinds: Vec<String>,
}

/// A part of what happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// The events, oldest first.
    pub items: Vec<Event>,
    /// Up to where was looked: go on after this one.
    pub upto: u64,
    /// The oldest that is kept; what came before is forgotten.
    pub oldest: u64,
    /// The newest.
    pub newest: u64,
}

/// How long events are kept: longer than any watcher is away.
pub const EVENT_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
