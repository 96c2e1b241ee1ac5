//! Clusters: desired state ([`spec`]), how it is read and checked ([`intake`], [`check`]), what their
//! users want kept in them ([`resource`], [`manifest`]), how they get in ([`access`], [`kubeconfig`]), what a
//! check of one finds ([`health`]), what the hosts of a plan are like ([`preflight`]), and the life-cycle of what was built from it.

pub mod access;
pub mod check;
pub mod health;
pub mod intake;
pub mod kubeconfig;
pub mod manifest;
pub mod masking;
pub mod preflight;
pub mod resource;
pub mod spec;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::id::{ClusterId, OperationId, VolumeId};
use super::name::{ClusterName, EnvironmentName};
use super::time::Timestamp;
use super::{IllegalTransition, spelled};

spelled! {
    /// Where a cluster is in its life.
    pub enum ClusterPhase {
        /// Accepted; nothing was done yet.
        Pending = "pending",
        /// Being built.
        Provisioning = "provisioning",
        /// Built and verified.
        Ready = "ready",
        /// Being changed.
        Updating = "updating",
        /// Was ready; something is wrong with it now.
        Degraded = "degraded",
        /// Could not be built or removed; `failure` says why and what can be done.
        Failed = "failed",
        /// Being removed.
        Removing = "removing",
        /// Gone.
        Removed = "removed",
    }
}

/// What can happen to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A provision was leased.
    ProvisionStarted,
    /// A change was leased.
    UpdateStarted,
    /// The recovery of its state was leased.
    RecoveryStarted,
    /// Its state is back; what it describes was not looked at.
    Recovered,
    /// What was asked for is there, verified.
    Verified,
    /// Something is wrong with a cluster that works, or worked.
    Degraded,
    /// A removal was accepted.
    RemovalAccepted,
    /// Everything is gone.
    Removed,
    /// The operation ended without what was asked for.
    Failed,
    /// A removal or a change was called off before anything of it ran: the cluster is what it was before.
    Withdrawn(ClusterPhase),
}

/// The one transition function of clusters.
///
/// # Errors
/// [`IllegalTransition`] for every step that `design.md` does not draw.
pub fn transition(phase: ClusterPhase, event: ClusterEvent) -> Result<ClusterPhase, IllegalTransition> {
    use ClusterEvent as E;
    use ClusterPhase as P;
    match (phase, event) {
        (P::Pending | P::Provisioning | P::Failed, E::ProvisionStarted) => Ok(P::Provisioning),
        // A cluster that was there is changed by it, not built: what fails leaves it degraded.
        (P::Degraded | P::Updating, E::ProvisionStarted) => Ok(P::Updating),
        (P::Ready | P::Degraded | P::Updating, E::UpdateStarted) => Ok(P::Updating),
        (P::Ready | P::Degraded | P::Updating, E::RecoveryStarted) => Ok(P::Updating),
        // One that failed stays so until its state is back: a recovery that fails made nothing better.
        (P::Failed, E::RecoveryStarted) => Ok(P::Failed),
        (P::Updating | P::Failed, E::Recovered) => Ok(P::Degraded),
        (P::Provisioning | P::Updating | P::Degraded | P::Ready, E::Verified) => Ok(P::Ready),
        (P::Ready | P::Updating | P::Degraded, E::Degraded) => Ok(P::Degraded),
        (P::Removed, _) => Err(IllegalTransition::new("cluster", phase, event)),
        (_, E::RemovalAccepted) => Ok(P::Removing),
        (P::Removing, E::Removed) => Ok(P::Removed),
        (P::Pending | P::Provisioning | P::Removing | P::Failed, E::Failed) => Ok(P::Failed),
        (P::Updating, E::Failed) => Ok(P::Degraded),
        (P::Removing, E::Withdrawn(before @ (P::Pending | P::Ready | P::Degraded | P::Failed)))
        | (P::Updating, E::Withdrawn(before @ (P::Ready | P::Degraded))) => Ok(before),
        _ => Err(IllegalTransition::new("cluster", phase, event)),
    }
}

/// A cluster with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// Where it is in its life.
    pub phase: ClusterPhase,
    /// Desired state; secrets are masked unless the reader asked for them.
    pub spec: spec::ClusterSpec,
    /// Counts changes of the spec, from 1; the ETag.
    pub revision: u64,
    /// Volume that holds its state; none until an agent took it.
    pub volume: Option<VolumeId>,
    /// Operation that is at work on it now.
    pub operation: Option<OperationId>,
    /// Newest generation.
    pub generation: Option<u64>,
    /// Fingerprint of its CA.
    pub ca_sha256: Option<String>,
    /// When the first of its certificates runs out, as its last check found.
    pub certificates_expire_at: Option<Timestamp>,
    /// Whether a removal is refused until this is taken away.
    pub deletion_protection: bool,
    /// Why it failed, when it did.
    pub failure: Option<Failure>,
    /// Things to know about it: a rehearsal, a host that was skipped.
    pub conditions: Vec<Condition>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When anything here last changed.
    pub updated_at: Timestamp,
}

/// Kind of the condition of a cluster whose administrators' credentials were given out: whoever has them
/// may keep access, until the CA is rotated.
pub const ADMIN_KUBECONFIG: &str = "admin-kubeconfig-issued";

/// Something to know about a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// A stable word for programs: `rehearsal`, `warning`, [`ADMIN_KUBECONFIG`].
    pub kind: String,
    /// A sentence for people.
    pub message: String,
}

#[cfg(test)]
mod tests_intake;
#[cfg(test)]
mod tests_manifest;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [ClusterEvent; 10] = [
        ClusterEvent::ProvisionStarted,
        ClusterEvent::UpdateStarted,
        ClusterEvent::RecoveryStarted,
        ClusterEvent::Recovered,
        ClusterEvent::Verified,
        ClusterEvent::Degraded,
        ClusterEvent::RemovalAccepted,
        ClusterEvent::Removed,
        ClusterEvent::Failed,
        ClusterEvent::Withdrawn(ClusterPhase::Ready),
    ];

    proptest! {
        #[test]
        fn removed_only_comes_from_removing_and_is_final(steps in prop::collection::vec(0usize..EVENTS.len(), 0..60)) {
            let mut phase = ClusterPhase::Pending;
            for step in steps {
                let Ok(next) = transition(phase, EVENTS[step]) else { continue };
                prop_assert_ne!(phase, ClusterPhase::Removed);
                if next == ClusterPhase::Removed {
                    prop_assert_eq!(phase, ClusterPhase::Removing);
                }
                phase = next;
            }
        }
    }

    #[test]
    fn a_removal_that_was_called_off_gives_back_only_a_phase_that_it_can_have_begun_in() {
        let withdrawn = |before| transition(ClusterPhase::Removing, ClusterEvent::Withdrawn(before));
        assert_eq!(withdrawn(ClusterPhase::Degraded), Ok(ClusterPhase::Degraded));
        for never in [ClusterPhase::Removed, ClusterPhase::Removing, ClusterPhase::Provisioning] {
            assert!(withdrawn(never).is_err(), "{never}");
        }
        assert!(transition(ClusterPhase::Failed, ClusterEvent::Withdrawn(ClusterPhase::Ready)).is_err());
        let unchanged = |before| transition(ClusterPhase::Updating, ClusterEvent::Withdrawn(before));
        assert_eq!(unchanged(ClusterPhase::Ready), Ok(ClusterPhase::Ready));
        assert!(unchanged(ClusterPhase::Pending).is_err());
    }

    #[test]
    fn a_cluster_whose_state_came_back_is_degraded_until_it_is_provisioned_again() {
        for phase in [ClusterPhase::Ready, ClusterPhase::Degraded, ClusterPhase::Failed] {
            let recovering = transition(phase, ClusterEvent::RecoveryStarted).unwrap();
            assert_eq!(transition(recovering, ClusterEvent::RecoveryStarted).unwrap(), recovering, "tried again");
            let back = transition(recovering, ClusterEvent::Recovered).unwrap();
            assert_eq!(back, ClusterPhase::Degraded);
            let building = transition(back, ClusterEvent::ProvisionStarted).unwrap();
            assert_eq!(transition(building, ClusterEvent::Verified).unwrap(), ClusterPhase::Ready);
            assert_eq!(transition(building, ClusterEvent::Failed).unwrap(), ClusterPhase::Degraded);
        }
        for phase in [ClusterPhase::Pending, ClusterPhase::Removing, ClusterPhase::Removed] {
            assert!(transition(phase, ClusterEvent::RecoveryStarted).is_err(), "{phase}");
        }
    }

    #[test]
    fn a_recovery_that_fails_makes_nothing_better_and_nothing_worse_than_degraded() {
        let phases = [ClusterPhase::Ready, ClusterPhase::Degraded, ClusterPhase::Failed];
        let left = phases.map(|phase| {
            let recovering = transition(phase, ClusterEvent::RecoveryStarted).unwrap();
            transition(recovering, ClusterEvent::Failed).unwrap()
        });
        assert_eq!(left, [ClusterPhase::Degraded, ClusterPhase::Degraded, ClusterPhase::Failed]);
    }

    #[test]
    fn any_phase_but_removed_can_be_removed() {
        for phase in ClusterPhase::ALL {
            let next = transition(*phase, ClusterEvent::RemovalAccepted);
            assert_eq!(next.is_ok(), *phase != ClusterPhase::Removed, "{phase}");
        }
    }
}
