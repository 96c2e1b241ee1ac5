//! The work of agents: tasks that are leased, and what is reported of them.

use std::time::Duration;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId, TaskId, VolumeId};
use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::run::Assignment;
use cratekube_common::domain::time::Timestamp;

use super::SealedResource;

/// A wish for work.
#[derive(Debug, Clone)]
pub struct LeaseTasks {
    /// The agent.
    pub agent: AgentId,
    /// Ids for the attempts; as many tasks are leased at most.
    pub attempts: Vec<AttemptId>,
    /// Volumes it serves without a fault, in its order.
    pub volumes: Vec<VolumeId>,
    /// Environments whose new clusters it may be given.
    pub environments: EnvironmentPattern,
    /// When.
    pub now: Timestamp,
}

/// A task that was leased.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedTask {
    /// What the agent is to do; secrets of the spec masked.
    pub assignment: Assignment,
    /// The secrets of the spec, as the caller of `accept_provision` encrypted them.
    pub sealed_secrets: Option<Vec<u8>>,
    /// What was asked for.
    pub asked: OperationKind,
    /// The managed resources of the cluster, those that are to go last; only for a configuration.
    pub resources: Vec<SealedResource>,
}

/// What became of a conditional change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Done, or done before. The operation it belongs to, for those who watch it.
    Done(OperationId),
    /// The attempt is settled, superseded, under another fence, or not this agent's any more.
    Stale,
    /// The attempt is another agent's and was never this one's.
    Foreign,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Recorded.
    Now {
        /// The operation, for those who watch it.
        operation: OperationId,
        /// True when a task may be leased now that could not before.
        more_work: bool,
        /// The task that is to be tried again, and how long it waits for that.
        retry: Option<(TaskId, Duration)>,
    },
    /// This very report was recorded before.
    Already(OperationId),
    /// So many bytes of its output are stored, fewer than the report names: send them first.
    OutputMissing {
        /// Bytes stored.
        stored: u64,
    },
    /// The attempt is superseded, or not this agent's any more. The report is kept as evidence, not applied.
    Stale,
    /// The attempt is another agent's and was never this one's. Nothing is kept.
    Foreign,
}

/// Something that was refused and is kept as evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Its number; newer ones are higher.
    pub number: u64,
    /// `report` or `output`.
    pub kind: String,
    /// The attempt it named.
    pub attempt: String,
    /// The agent it came from.
    pub agent: AgentId,
    /// The fence it carried.
    pub fence: Fence,
    /// The report, or place, size and checksum of the output, as JSON.
    pub document: serde_json::Value,
    /// When it came.
    pub at: Timestamp,
}
