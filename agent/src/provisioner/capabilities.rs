//! What a driver can do. What it cannot is not there to be called: it is refused by its name.

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::task::TaskKind;

/// What a driver may be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Bring a cluster to its spec, new or not.
    Apply,
    /// Renew certificates.
    Rotate,
    /// Take a cluster off its hosts.
    Remove,
    /// Get the state back from the cluster itself.
    ExportState,
    /// Save etcd.
    Snapshot,
    /// Bring a saved etcd back.
    Restore,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 6] =
        [Self::Apply, Self::Rotate, Self::Remove, Self::ExportState, Self::Snapshot, Self::Restore];

    /// The verb of a task; none for those that steps of our own do.
    #[must_use]
    pub fn of(kind: TaskKind) -> Option<Self> {
        match kind {
            TaskKind::Provision | TaskKind::Reconfigure => Some(Self::Apply),
            TaskKind::Remove => Some(Self::Remove),
            TaskKind::RecoverState => Some(Self::ExportState),
            TaskKind::RotateCertificates => Some(Self::Rotate),
            _ => None,
        }
    }

    /// In words: "it cannot …".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Apply => "build or change clusters",
            Self::Rotate => "renew certificates",
            Self::Remove => "remove clusters",
            Self::ExportState => "get the state back from a cluster",
            Self::Snapshot => "save etcd",
            Self::Restore => "restore etcd",
        }
    }
}

/// A verb, and the phases in which a run of it works on what keeps a cluster alive: ended there, the cluster
/// may not work until the same is done again. Everywhere else it may be ended without harm.
pub type Offer = (Verb, &'static [&'static str]);

/// What a driver is, and what it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Its name: stable, and kept in the journals of its runs.
    pub name: &'static str,
    /// What it offers.
    pub offers: &'static [Offer],
}

/// A verb that a driver does not offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it cannot {}", .0.words())]
pub struct NotOffered(pub Verb);

impl NotOffered {
    /// The same as the failure of a task.
    #[must_use]
    pub fn to_failure(self, driver: &str) -> Failure {
        Failure {
            class: FailureClass::Config,
            message: format!("{driver} cannot {} in this release", self.0.words()),
            line: None,
            retryable: false,
            remedy: "Nothing was changed. Upgrade the agent to a release that can.".into(),
        }
    }
}

impl Capabilities {
    /// Whether a verb is offered.
    ///
    /// # Errors
    /// When it is not.
    pub fn require(&self, verb: Verb) -> Result<(), NotOffered> {
        self.offer(verb).map(|_| ()).ok_or(NotOffered(verb))
    }

    /// Whether a run of a verb may be ended in this phase, and the cluster works as before; also before its
    /// first phase.
    #[must_use]
    pub fn may_end(&self, verb: Verb, phase: &str) -> bool {
        self.offer(verb).is_none_or(|delicate| !delicate.contains(&phase))
    }

    fn offer(&self, verb: Verb) -> Option<&'static [&'static str]> {
        self.offers.iter().find(|(offered, _)| *offered == verb).map(|(_, delicate)| *delicate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Capabilities = Capabilities { name: "some", offers: &[(Verb::Apply, &["etcd"]), (Verb::Remove, &[])] };

    #[test]
    fn what_is_not_offered_is_refused_by_its_name() {
        assert_eq!(SOME.require(Verb::Apply), Ok(()));
        let refused = SOME.require(Verb::Restore).unwrap_err().to_failure(SOME.name);
        assert_eq!((refused.class, refused.retryable), (FailureClass::Config, false));
        assert_eq!(refused.message, "some cannot restore etcd in this release");
    }

    #[test]
    fn a_run_may_be_ended_anywhere_but_where_it_is_said_to_be_delicate() {
        assert!(SOME.may_end(Verb::Apply, "images") && SOME.may_end(Verb::Remove, "etcd"));
        assert!(!SOME.may_end(Verb::Apply, "etcd"));
    }

    #[test]
    fn every_task_of_the_engine_that_a_driver_does_has_its_verb() {
        for kind in TaskKind::ALL {
            assert_eq!(Verb::of(*kind).is_some(), kind.is_rke(), "{kind}");
        }
    }
}
