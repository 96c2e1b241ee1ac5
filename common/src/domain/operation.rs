//! Operations: what a user asked for.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::id::{ClusterId, OperationId};
use super::name::{ClusterName, EnvironmentName};
use super::progress::Progress;
use super::task::TaskKind;
use super::time::Timestamp;
use super::{IllegalTransition, spelled};

spelled! {
    /// What is to be done with a cluster. The kinds without tasks yet keep their places.
    pub enum OperationKind {
        /// Build a cluster from its spec.
        Provision = "provision",
        /// Bring a cluster to a changed spec.
        Reconfigure = "reconfigure",
        /// Bring managed resources into a cluster.
        Configure = "configure",
        /// Check what a user of the cluster would check.
        Verify = "verify",
        /// Renew certificates.
        RotateCertificates = "rotate-certificates",
        /// Bring lost state back.
        RecoverState = "recover-state",
        /// Take a snapshot of etcd.
        Snapshot = "snapshot",
        /// Go back to a snapshot of etcd.
        Restore = "restore",
        /// Take a cluster that was built elsewhere under management.
        Import = "import",
        /// Take the cluster down and leave nothing behind.
        Remove = "remove",
    }
}

impl OperationKind {
    /// True when the cluster is only looked at or added to: what it is does not change by it.
    #[must_use]
    pub fn leaves_cluster(self) -> bool {
        matches!(self, Self::Configure | Self::Verify)
    }

    /// The tasks of such an operation, in order; empty when this release cannot do it.
    #[must_use]
    pub fn tasks(self) -> &'static [TaskKind] {
        match self {
            Self::Provision => &[TaskKind::Preflight, TaskKind::Provision, TaskKind::Configure, TaskKind::Verify],
            Self::Reconfigure => &[TaskKind::Preflight, TaskKind::Reconfigure, TaskKind::Configure, TaskKind::Verify],
            Self::Remove => &[
                TaskKind::Freeze,
                TaskKind::Record,
                TaskKind::Release,
                TaskKind::Remove,
                TaskKind::CleanHosts,
                TaskKind::Sweep,
                TaskKind::Confirm,
                TaskKind::Tombstone,
            ],
            Self::RecoverState => &[TaskKind::RecoverState],
            Self::RotateCertificates => &[TaskKind::RotateCertificates, TaskKind::Verify],
            Self::Configure => &[TaskKind::Configure],
            Self::Verify => &[TaskKind::Verify],
            _ => &[],
        }
    }
}

spelled! {
    /// Where an operation is in its life.
    pub enum OperationState {
        /// Accepted; waits for an agent.
        Queued = "queued",
        /// An agent has a task of it.
        Running = "running",
        /// Asked to stop; the run is being ended.
        Cancelling = "cancelling",
        /// Done, and verified to be done.
        Succeeded = "succeeded",
        /// Ended without what was asked for.
        Failed = "failed",
        /// Ended because someone asked for that.
        Cancelled = "cancelled",
    }
}

/// States that are left no more.
pub const TERMINAL: &[OperationState] = &[OperationState::Succeeded, OperationState::Failed, OperationState::Cancelled];

impl OperationState {
    /// True when nothing more will happen.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        TERMINAL.contains(&self)
    }
}

/// What can happen to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationEvent {
    /// A task of it was leased.
    Started,
    /// The attempt never started, was interrupted or failed in passing, and another is allowed.
    Requeued,
    /// The last task succeeded.
    Succeeded,
    /// A task failed for good.
    Failed,
    /// A user asked to stop.
    CancelRequested,
    /// The run was ended on request.
    Cancelled,
}

/// The one transition function of operations.
///
/// # Errors
/// [`IllegalTransition`] for every step that `design.md` does not draw.
pub fn transition(state: OperationState, event: OperationEvent) -> Result<OperationState, IllegalTransition> {
    use OperationEvent as E;
    use OperationState as S;
    match (state, event) {
        (S::Queued | S::Running, E::Started) => Ok(S::Running),
        (S::Running, E::Requeued) => Ok(S::Queued),
        (S::Running, E::CancelRequested) => Ok(S::Cancelling),
        // A cancel that comes too late does not undo what is done: the run's own end counts.
        (S::Running | S::Cancelling, E::Succeeded) => Ok(S::Succeeded),
        (S::Queued | S::Running | S::Cancelling, E::Failed) => Ok(S::Failed),
        (S::Queued, E::CancelRequested) | (S::Running | S::Cancelling, E::Cancelled) => Ok(S::Cancelled),
        _ => Err(IllegalTransition::new("operation", state, event)),
    }
}

/// An operation as its watchers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What was asked for.
    pub kind: OperationKind,
    /// Where it is.
    pub state: OperationState,
    /// The cluster's environment.
    pub environment: EnvironmentName,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The cluster itself.
    pub cluster_id: ClusterId,
    /// Who asked.
    pub requested_by: String,
    /// Why, when a reason was given.
    pub reason: Option<String>,
    /// The operation that this one repeats.
    pub retry_of: Option<OperationId>,
    /// The request that it came from; none for those of earlier releases.
    #[serde(default)]
    pub request_id: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the first attempt was leased.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Why it failed, or why the last attempt did.
    pub failure: Option<Failure>,
    /// Things to know although it went well (a host skipped, an add-on that timed out, a rehearsal).
    pub warnings: Vec<String>,
    /// Why it waits, while it waits.
    pub waiting_for: Option<String>,
    /// Bytes of output stored so far.
    pub output_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [OperationEvent; 6] = [
        OperationEvent::Started,
        OperationEvent::Requeued,
        OperationEvent::Succeeded,
        OperationEvent::Failed,
        OperationEvent::CancelRequested,
        OperationEvent::Cancelled,
    ];

    proptest! {
        #[test]
        fn no_sequence_of_events_leaves_a_terminal_state(steps in prop::collection::vec(0usize..6, 0..40)) {
            let mut state = OperationState::Queued;
            for step in steps {
                let next = transition(state, EVENTS[step]);
                if state.is_terminal() {
                    prop_assert!(next.is_err());
                } else if let Ok(next) = next {
                    state = next;
                }
            }
        }
    }

    #[test]
    fn every_live_state_can_reach_an_end() {
        for state in OperationState::ALL.iter().filter(|s| !s.is_terminal()) {
            assert!(EVENTS.iter().any(|e| transition(*state, *e).is_ok_and(OperationState::is_terminal)), "{state}");
        }
    }
}
