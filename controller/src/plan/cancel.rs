//! What becomes of a cluster when an operation on it is ended by a person, and not by its run.

use cratekube_common::domain::cluster::{self, ClusterEvent, ClusterPhase};
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::operation::OperationKind;

/// What is known of an operation that nothing runs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// What it was to do.
    pub kind: OperationKind,
    /// Where the cluster is.
    pub phase: ClusterPhase,
    /// Where it was before its removal or change was accepted.
    pub before: Option<ClusterPhase>,
    /// Whether an attempt of this operation may have run.
    pub ran: bool,
}

/// The cluster's step when such an operation is cancelled; none when the cluster stays what it is.
#[must_use]
pub fn step(idle: Idle) -> Option<ClusterEvent> {
    let kinds = [OperationKind::Remove, OperationKind::Reconfigure, OperationKind::RotateCertificates];
    let can_be_withdrawn = kinds.contains(&idle.kind) && !idle.ran;
    let withdrawn = idle.before.filter(|_| can_be_withdrawn);
    let event = withdrawn.map_or(ClusterEvent::Failed, ClusterEvent::Withdrawn);
    [event, ClusterEvent::Failed].into_iter().find(|event| cluster::transition(idle.phase, *event).is_ok())
}

/// Why a cluster is not what was asked for.
#[must_use]
pub fn cancelled() -> Failure {
    Failure {
        class: FailureClass::Cancelled,
        message: "It was cancelled on request.".into(),
        line: None,
        retryable: true,
        remedy: "Ask for it again, or remove the cluster.".into(),
    }
}

/// Why an operation failed whose run was given up.
#[must_use]
pub fn given_up(reason: &str) -> Failure {
    Failure {
        class: FailureClass::Interrupted,
        message: format!("The run's end is not known; an administrator gave it up: {reason}"),
        line: None,
        retryable: true,
        remedy: "Make sure that the run's rke is not at work any more, then retry: rke goes on from what is there."
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOVAL: Idle = Idle {
        kind: OperationKind::Remove,
        phase: ClusterPhase::Removing,
        before: Some(ClusterPhase::Ready),
        ran: false,
    };

    #[test]
    fn a_removal_that_never_ran_leaves_the_cluster_as_it_was_and_one_that_ran_does_not() {
        assert_eq!(step(REMOVAL), Some(ClusterEvent::Withdrawn(ClusterPhase::Ready)));
        assert_eq!(step(Idle { ran: true, ..REMOVAL }), Some(ClusterEvent::Failed));
        assert_eq!(step(Idle { before: None, ..REMOVAL }), Some(ClusterEvent::Failed));
    }

    #[test]
    fn a_change_that_never_ran_leaves_the_cluster_as_it_was_and_one_that_ran_degrades_it() {
        let queued = Idle {
            kind: OperationKind::Reconfigure,
            phase: ClusterPhase::Ready,
            before: Some(ClusterPhase::Ready),
            ran: false,
        };
        assert_eq!(step(queued), None, "nothing of it began");
        let given_back = Idle { phase: ClusterPhase::Updating, ..queued };
        assert_eq!(step(given_back), Some(ClusterEvent::Withdrawn(ClusterPhase::Ready)));
        assert_eq!(step(Idle { ran: true, ..given_back }), Some(ClusterEvent::Failed));
    }

    #[test]
    fn a_provision_that_is_cancelled_leaves_the_cluster_failed() {
        for phase in [ClusterPhase::Pending, ClusterPhase::Provisioning, ClusterPhase::Failed] {
            let idle = Idle { kind: OperationKind::Provision, phase, before: None, ran: false };
            assert_eq!(step(idle), Some(ClusterEvent::Failed), "{phase}");
        }
    }

    #[test]
    fn every_step_is_legal() {
        for kind in OperationKind::ALL {
            for phase in ClusterPhase::ALL {
                for before in ClusterPhase::ALL {
                    let idle = Idle { kind: *kind, phase: *phase, before: Some(*before), ran: false };
                    assert!(step(idle).is_none_or(|event| cluster::transition(*phase, event).is_ok()), "{idle:?}");
                }
            }
        }
    }
}
