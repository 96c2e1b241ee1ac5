//! Tasks: the pieces of an operation's work, each done by one agent.

use super::{IllegalTransition, spelled};

spelled! {
    /// What an agent is asked to do.
    pub enum TaskKind {
        /// `rke up` for a new or half-built cluster.
        Provision = "provision",
        /// `rke up` for a cluster whose description changed.
        Reconfigure = "reconfigure",
        /// `rke remove` on a copy of the working directory.
        Remove = "remove",
        /// Bring lost or damaged state back: from a generation, or from the cluster itself.
        RecoverState = "recover-state",
    }
}

impl TaskKind {
    /// True when the task brings a cluster to its spec with `rke up`.
    #[must_use]
    pub fn builds(self) -> bool {
        matches!(self, Self::Provision | Self::Reconfigure)
    }
}

spelled! {
    /// Where a task is.
    pub enum TaskState {
        /// Waits for the task before it.
        Pending = "pending",
        /// May be leased.
        Queued = "queued",
        /// An attempt holds it.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Given up.
        Failed = "failed",
        /// Stopped on request.
        Cancelled = "cancelled",
    }
}

/// What can happen to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEvent {
    /// The task before it is done.
    Released,
    /// An attempt was leased.
    Leased,
    /// The attempt ended without settling the task; another may try.
    Requeued,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
    /// Stopped on request, or dropped because the operation ended.
    Cancelled,
}

/// The one transition function of tasks.
///
/// # Errors
/// [`IllegalTransition`] for every other step.
pub fn transition(state: TaskState, event: TaskEvent) -> Result<TaskState, IllegalTransition> {
    use TaskEvent as E;
    use TaskState as S;
    match (state, event) {
        (S::Pending, E::Released) | (S::Running, E::Requeued) => Ok(S::Queued),
        (S::Queued, E::Leased) => Ok(S::Running),
        (S::Running, E::Succeeded) => Ok(S::Succeeded),
        (S::Queued | S::Running, E::Failed) => Ok(S::Failed),
        (S::Pending | S::Queued | S::Running, E::Cancelled) => Ok(S::Cancelled),
        _ => Err(IllegalTransition::new("task", state, event)),
    }
}
