//! What an operation was, as far as its tasks tell: for operations that only a volume remembers.

use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::task::TaskKind;

/// What was asked for by an operation that had these tasks.
#[must_use]
pub fn asked_for(kinds: &[TaskKind]) -> OperationKind {
    use TaskKind as T;
    let any = |of: &[TaskKind]| kinds.iter().any(|kind| of.contains(kind));
    let removing = [T::Remove, T::Freeze, T::Record, T::Release, T::CleanHosts, T::Sweep, T::Confirm, T::Tombstone];
    match () {
        () if any(&removing) => OperationKind::Remove,
        () if any(&[T::RecoverState]) => OperationKind::RecoverState,
        () if any(&[T::RotateCertificates]) => OperationKind::RotateCertificates,
        () if any(&[T::Reconfigure]) => OperationKind::Reconfigure,
        () if any(&[T::Provision, T::Preflight]) => OperationKind::Provision,
        () if any(&[T::Configure]) => OperationKind::Configure,
        () => OperationKind::Verify,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_of_every_operation_tell_what_it_was() {
        for kind in OperationKind::ALL.iter().filter(|kind| !kind.tasks().is_empty()) {
            assert_eq!(asked_for(kind.tasks()), *kind);
        }
    }
}
