//! Operations with their attempts: shown, called off, given up.

use cratekube_common::domain::attempt::{AttemptState, Fence};
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId, TaskId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::{Operation, OperationState};
use cratekube_common::domain::run::RkeBinary;
use cratekube_common::domain::task::{TaskKind, TaskState};
use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

/// Which operations.
#[derive(Debug, Clone, Default)]
pub struct OperationFilter {
    /// In environments that one of these patterns names.
    pub environments: Vec<EnvironmentPattern>,
    /// Of this environment only.
    pub environment: Option<EnvironmentName>,
    /// Of the cluster of this name only.
    pub cluster: Option<ClusterName>,
    /// In this state only.
    pub state: Option<OperationState>,
}

/// One task of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// Where it is.
    pub state: TaskState,
    /// What a step found or did, by its kind; none before its end, and for `rke`.
    pub findings: Option<Value>,
}

/// One attempt as watchers of its operation see it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// Its id.
    pub id: AttemptId,
    /// The task.
    pub task: TaskId,
    /// What was done.
    pub kind: TaskKind,
    /// Where it is.
    pub state: AttemptState,
    /// The agent that has it.
    pub agent: AgentId,
    /// Its fence.
    pub fence: Fence,
    /// When it was leased.
    pub leased_at: Timestamp,
    /// When the run was recorded by the agent.
    pub started_at: Option<Timestamp>,
    /// When its end was recorded.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Which `rke` ran.
    pub rke: Option<RkeBinary>,
    /// Where its output begins within the operation's output.
    pub output_offset: u64,
    /// Bytes of its output.
    pub output_bytes: u64,
    /// True when another agent went on with the run than the one that began it.
    pub taken_over: bool,
}

/// A wish to end an operation.
#[derive(Debug, Clone)]
pub struct CancelOperation {
    /// Which.
    pub operation: OperationId,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of a wish to end an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancellation {
    /// Nothing of it runs, and nothing will.
    Cancelled(Box<Operation>),
    /// A run of it is to be ended; its agent is to be told.
    Ending {
        /// The operation as it is now.
        operation: Box<Operation>,
        /// The agent that has the run.
        agent: AgentId,
        /// The run.
        attempt: AttemptId,
    },
    /// It ended before, otherwise.
    Over(OperationState),
    /// There is no such operation.
    NotFound,
}

/// An admin's word that a run whose end is not known cannot act any more.
#[derive(Debug, Clone)]
pub struct ForceUnlock {
    /// Where.
    pub environment: EnvironmentName,
    /// Which cluster.
    pub name: ClusterName,
    /// Why; told in the failure of the operation.
    pub reason: String,
    /// Agents that are connected now: what they hold is not forced.
    pub connected: Vec<AgentId>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of an admin's word.
#[derive(Debug, Clone, PartialEq)]
pub enum Forced {
    /// The attempt is fenced, its operation failed, the cluster free.
    Done(Box<Operation>),
    /// The agent that has the run is connected: nothing is unknown.
    Alive(AgentId),
    /// No run holds the cluster.
    NotLocked,
    /// There is no such cluster.
    NotFound,
}
