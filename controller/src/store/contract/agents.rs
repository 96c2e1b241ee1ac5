//! Agents that are there, and what administrators do with them.

use cratekube_common::domain::agent::{Agent, AgentEvent, AgentFacts, AgentState, VolumeStatus};
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId, VolumeId};
use cratekube_common::domain::run::HeldRun;
use cratekube_common::domain::time::Timestamp;

/// Facts an agent connects with.
#[derive(Debug, Clone)]
pub struct ConnectAgent {
    /// The agent, by its certificate.
    pub agent: AgentId,
    /// What it says of itself.
    pub facts: AgentFacts,
    /// Runs it holds.
    pub runs: Vec<HeldRun>,
    /// Volumes that a live session of another agent serves right now: not taken over.
    pub contested: Vec<VolumeId>,
    /// When.
    pub now: Timestamp,
}

/// What a heartbeat says.
#[derive(Debug, Clone)]
pub struct HeartbeatFacts {
    /// When it came.
    pub seen_at: Timestamp,
    /// The agent's clock minus ours, in milliseconds.
    pub clock_skew_ms: i64,
    /// Its volumes.
    pub volumes: Vec<VolumeStatus>,
}

/// An admin's step of an agent's life.
#[derive(Debug, Clone)]
pub struct ChangeAgent {
    /// Which.
    pub agent: AgentId,
    /// What is done to it.
    pub event: AgentEvent,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of an admin's step.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentChanged {
    /// Done, or so before.
    Done(Box<Agent>),
    /// Its state does not allow it.
    NotAllowed(AgentState),
    /// There is no such agent.
    NotFound,
}

/// An agent that will not return.
#[derive(Debug, Clone)]
pub struct ForgetAgent {
    /// Which.
    pub agent: AgentId,
    /// Why; told in the failures of the operations that are given up.
    pub reason: String,
    /// Whether runs whose end is not known are given up too.
    pub force: bool,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of forgetting an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Forgotten {
    /// It may connect no more and serves no volume; these operations were given up.
    Done(Vec<OperationId>),
    /// It holds these attempts.
    Holds(Vec<AttemptId>),
    /// There is no such agent.
    NotFound,
}
