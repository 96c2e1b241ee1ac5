//! Numbers: of what the store holds, and of how it writes.

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::alarm::AlarmKind;
use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::metrics::{self, Counter, Histogram};

/// What the store holds at one moment, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Operations that are not over, by state and kind.
    pub operations: Vec<LiveOperations>,
    /// Clusters that are not removed, by phase.
    pub clusters: Vec<(ClusterPhase, u64)>,
    /// Attempts that lock their cluster, by state.
    pub attempts: Vec<(AttemptState, u64)>,
    /// Agents, by what they may do.
    pub agents: Vec<(AgentState, u64)>,
    /// Tasks that wait to be tried again.
    pub delayed_tasks: u64,
    /// Volumes that were ever served.
    pub volumes: u64,
    /// When the first certificate ends of all agents that may connect.
    pub first_certificate_ends: Option<Timestamp>,
    /// When the first certificate ends of all clusters that were checked.
    pub first_cluster_certificate_ends: Option<Timestamp>,
    /// When the newest generation was sealed of the cluster where that is longest ago.
    pub oldest_generation: Option<Timestamp>,
    /// Pieces of evidence that were ever kept.
    pub evidence: u64,
    /// Alarms that nobody acknowledged yet, by kind.
    pub alarms: Vec<(AlarmKind, u64)>,
    /// Entries of the audit log.
    pub audit_entries: u64,
}

/// Operations of one kind in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveOperations {
    /// The state.
    pub state: OperationState,
    /// The kind.
    pub kind: OperationKind,
    /// How many.
    pub count: u64,
    /// When the oldest of them was accepted.
    pub oldest: Timestamp,
}

/// How the store writes; all clones are one.
#[derive(Debug, Clone)]
pub struct Meters {
    /// Seconds that a commit took, with the work in it.
    pub commit_seconds: Histogram,
    /// Jobs in one commit.
    pub commit_jobs: Histogram,
    /// Commits that failed.
    pub commits_failed: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        let jobs = Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0]);
        Self { commit_seconds: metrics::short(), commit_jobs: jobs, commits_failed: Counter::default() }
    }
}
