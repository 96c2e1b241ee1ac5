//! Which tasks an operation is made of.

use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::task::TaskKind;

/// Steps that go along with what `rke` does and that an operator may leave out, where a bastion cannot
/// reach what they look at.
pub const OPTIONAL: [TaskKind; 10] = [
    TaskKind::Preflight,
    TaskKind::Configure,
    TaskKind::Verify,
    TaskKind::Freeze,
    TaskKind::Record,
    TaskKind::Release,
    TaskKind::CleanHosts,
    TaskKind::Sweep,
    TaskKind::Confirm,
    TaskKind::Tombstone,
];

/// Makes the tasks of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    steps: Vec<TaskKind>,
}

impl Default for Chain {
    /// With every step.
    fn default() -> Self {
        Self::with(OPTIONAL.to_vec())
    }
}

impl Chain {
    /// With these of the optional steps.
    #[must_use]
    pub fn with(steps: Vec<TaskKind>) -> Self {
        Self { steps }
    }

    /// The tasks of an operation, in order. What was asked for itself is never left out.
    #[must_use]
    pub fn tasks(&self, kind: OperationKind) -> Vec<TaskKind> {
        let wanted = |task: &TaskKind| kind.leaves_cluster() || !OPTIONAL.contains(task) || self.steps.contains(task);
        kind.tasks().iter().copied().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_can_be_left_out_but_what_was_asked_for_cannot() {
        use TaskKind::{Configure, Preflight, Provision, Verify};
        assert_eq!(Chain::default().tasks(OperationKind::Provision), [Preflight, Provision, Configure, Verify]);
        let bare = Chain::with(Vec::new());
        assert_eq!(bare.tasks(OperationKind::Provision), [Provision]);
        assert_eq!(bare.tasks(OperationKind::Verify), [Verify]);
        assert_eq!(Chain::with(vec![Verify]).tasks(OperationKind::Provision), [Provision, Verify]);
    }

    #[test]
    fn a_removal_has_all_its_steps_in_order_and_without_them_it_is_rkes_own() {
        use TaskKind::{CleanHosts, Confirm, Freeze, Record, Release, Remove, Sweep, Tombstone};
        let whole = [Freeze, Record, Release, Remove, CleanHosts, Sweep, Confirm, Tombstone];
        assert_eq!(Chain::default().tasks(OperationKind::Remove), whole);
        assert_eq!(Chain::with(Vec::new()).tasks(OperationKind::Remove), [Remove]);
        assert_eq!(Chain::with(vec![Sweep, Record]).tasks(OperationKind::Remove), [Record, Remove, Sweep]);
    }
}
