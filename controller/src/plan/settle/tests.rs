//! Every end of a run, and the rule that no report can get stuck.

use cratekube_common::domain::attempt::{self, AttemptState, Fence};
use cratekube_common::domain::cluster::{self, ClusterPhase};
use cratekube_common::domain::generation::{Manifest, SealedFile};
use cratekube_common::domain::id::{AttemptId, OperationId};
use cratekube_common::domain::operation;
use cratekube_common::domain::run::RkeBinary;
use cratekube_common::domain::task::{self, TaskState};
use cratekube_common::domain::time::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));
const ATTEMPT: AttemptId = AttemptId(Uuid::from_u128(2));

fn view(kind: TaskKind) -> RunView {
    let asked = match kind {
        TaskKind::Remove => OperationKind::Remove,
        TaskKind::RecoverState => OperationKind::RecoverState,
        TaskKind::Reconfigure => OperationKind::Reconfigure,
        _ => OperationKind::Provision,
    };
    RunView {
        asked,
        operation: OperationState::Running,
        kind,
        pending: Vec::new(),
        attempts: 1,
        taken_over: false,
        cluster: CLUSTER,
        conditions: Vec::new(),
        record: StateRecord::default(),
    }
}

fn manifest(number: u64, ca: &str) -> Manifest {
    Manifest {
        number,
        cluster: CLUSTER,
        operation: OperationId(Uuid::from_u128(3)),
        attempt: ATTEMPT,
        fence: Fence(1),
        sealed_at: Timestamp::from_millis(1),
        ca_sha256: Some(ca.into()),
        good: true,
        fault: None,
        files: vec![SealedFile { name: "cluster.rkestate".into(), bytes: 3, sha256: "5a".into() }],
    }
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, message: "no".into(), line: None, retryable: true, remedy: "again".into() }
}

fn report(outcome: RunOutcome, generation: Option<Manifest>) -> RunReport {
    RunReport {
        attempt: ATTEMPT,
        fence: Fence(1),
        outcome,
        exit: None,
        started_at: None,
        ended_at: Timestamp::from_millis(2),
        generation,
        rke: Some(RkeBinary { version: "1.8".into(), sha256: "00".into(), rehearsal: false }),
        warnings: Vec::new(),
        output_bytes: 0,
        findings: None,
    }
}

fn decide(view: &RunView, report: &RunReport) -> Settlement {
    settle(view, report, RetryPolicy::NEVER)
}

#[test]
fn a_verified_provision_makes_the_cluster_ready() {
    let s = decide(&view(TaskKind::Provision), &report(RunOutcome::Succeeded, Some(manifest(1, "ca"))));
    assert_eq!((s.operation, s.cluster), (Some(OperationEvent::Succeeded), Some(ClusterEvent::Verified)));
    assert_eq!(s.known.unwrap().generation, 1);
    assert!(s.record_generation && s.failure.is_none());
}

#[test]
fn success_without_usable_state_is_a_failure_of_the_state() {
    let torn = Manifest { good: false, fault: Some("cut off".into()), ..manifest(1, "ca") };
    for generation in [None, Some(torn)] {
        let s = decide(&view(TaskKind::Provision), &report(RunOutcome::Succeeded, generation));
        assert_eq!((s.operation, s.cluster), (Some(OperationEvent::Failed), Some(ClusterEvent::Failed)));
        assert_eq!(s.failure.unwrap().class, FailureClass::State);
    }
}

#[test]
fn hostile_row_60_a_changed_ca_fails_the_operation_and_keeps_the_record() {
    let mut view = view(TaskKind::Provision);
    view.record =
        StateRecord { newest: Some(1), same_number: None, ca_sha256: Some("ca".into()), new_ca_wanted: false };
    let s = decide(&view, &report(RunOutcome::Succeeded, Some(manifest(2, "evil"))));
    assert_eq!(s.failure.as_ref().unwrap().class, FailureClass::State);
    assert!(!s.failure.unwrap().retryable);
    assert!(s.known.is_none() && s.record_generation);
}

#[test]
fn hostile_row_59_an_older_generation_fails_even_a_failed_run_as_state() {
    let mut view = view(TaskKind::Provision);
    view.record =
        StateRecord { newest: Some(7), same_number: None, ca_sha256: Some("ca".into()), new_ca_wanted: false };
    let s = decide(&view, &report(RunOutcome::Failed(failure(FailureClass::Unreachable)), Some(manifest(7, "ca"))));
    let failed = s.failure.unwrap();
    assert_eq!(failed.class, FailureClass::State);
    assert!(failed.message.contains("state_regressed"), "{}", failed.message);
    assert!(!s.record_generation);
}

#[test]
fn a_removal_that_was_verified_removes_and_one_that_failed_does_not() {
    let done = decide(&view(TaskKind::Remove), &report(RunOutcome::Succeeded, None));
    assert_eq!(done.cluster, Some(ClusterEvent::Removed));
    let failed = decide(&view(TaskKind::Remove), &report(RunOutcome::Failed(failure(FailureClass::Unreachable)), None));
    assert_eq!((failed.operation, failed.cluster), (Some(OperationEvent::Failed), Some(ClusterEvent::Failed)));
}

#[test]
fn a_run_that_was_refused_exited_without_having_run() {
    let s = decide(&view(TaskKind::Provision), &report(RunOutcome::Refused(failure(FailureClass::State)), None));
    assert_eq!((s.attempt, s.task), (AttemptEvent::Exited, TaskEvent::Failed));
    assert_eq!(s.operation, Some(OperationEvent::Failed));
}

#[test]
fn a_cancelled_run_cancels_and_a_cancel_that_came_too_late_does_not() {
    let mut view = view(TaskKind::Provision);
    view.operation = OperationState::Cancelling;
    let s = decide(&view, &report(RunOutcome::Failed(failure(FailureClass::Cancelled)), None));
    assert_eq!((s.attempt, s.operation), (AttemptEvent::Cancelled, Some(OperationEvent::Cancelled)));
    assert_eq!(s.cluster, Some(ClusterEvent::Failed));
    let late = decide(&view, &report(RunOutcome::Succeeded, Some(manifest(1, "ca"))));
    assert_eq!(late.operation, Some(OperationEvent::Succeeded));
}

/// Three attempts, a minute between the first two.
const THRICE: RetryPolicy =
    RetryPolicy { attempts: 3, delay: Duration::from_secs(60), delay_max: Duration::from_secs(600) };

#[test]
fn what_fails_in_passing_is_tried_again_later_each_time_and_not_for_ever() {
    for class in FailureClass::ALL {
        let failed = report(RunOutcome::Failed(failure(*class)), None);
        assert_ne!(decide(&view(TaskKind::Provision), &failed).task, TaskEvent::Requeued, "{class}");
        let again = settle(&view(TaskKind::Provision), &failed, THRICE);
        let transient = [
            FailureClass::Unreachable,
            FailureClass::Network,
            FailureClass::Image,
            FailureClass::Addon,
            FailureClass::Interrupted,
        ];
        assert_eq!(again.retry_after.is_some(), transient.contains(class), "{class}");
        if transient.contains(class) {
            assert_eq!((again.task, again.operation), (TaskEvent::Requeued, Some(OperationEvent::Requeued)));
            assert_eq!((again.cluster, again.retry_after), (None, Some(Duration::from_secs(60))));
            assert_eq!(again.failure.unwrap().class, *class, "why it is tried again stays to be seen");
        }
    }
    let unreachable = report(RunOutcome::Failed(failure(FailureClass::Unreachable)), None);
    let after = |attempts| settle(&RunView { attempts, ..view(TaskKind::Provision) }, &unreachable, THRICE);
    assert_eq!(after(2).retry_after, Some(Duration::from_secs(240)));
    assert_eq!((after(3).retry_after, after(3).operation), (None, Some(OperationEvent::Failed)));
}

#[test]
fn what_cannot_help_is_not_tried_again() {
    let hopeless = Failure { retryable: false, ..failure(FailureClass::Unreachable) };
    let s = settle(&view(TaskKind::Provision), &report(RunOutcome::Failed(hopeless), None), THRICE);
    assert_eq!(s.retry_after, None);
    let interrupted = report(RunOutcome::Failed(failure(FailureClass::Interrupted)), None);
    let stopping = RunView { operation: OperationState::Cancelling, ..view(TaskKind::Provision) };
    assert_eq!(settle(&stopping, &interrupted, THRICE).retry_after, None, "nobody wants it any more");
}

#[test]
fn hostile_row_54_a_run_that_another_agent_took_over_is_never_run_again_by_itself() {
    let taken_over = RunView { taken_over: true, ..view(TaskKind::Provision) };
    let interrupted = report(RunOutcome::Failed(failure(FailureClass::Interrupted)), None);
    let s = settle(&taken_over, &interrupted, THRICE);
    assert_eq!((s.retry_after, s.operation), (None, Some(OperationEvent::Failed)));
    assert!(s.failure.unwrap().retryable, "a person may ask for it");
}

#[test]
fn a_run_that_is_given_up_fails_its_operation_and_says_why() {
    let s = give_up(&view(TaskKind::Provision), "the bastion burnt down");
    assert_eq!((s.attempt, s.task), (AttemptEvent::Fenced, TaskEvent::Failed));
    assert_eq!((s.operation, s.cluster), (Some(OperationEvent::Failed), Some(ClusterEvent::Failed)));
    let failed = s.failure.unwrap();
    assert_eq!(failed.class, FailureClass::Interrupted);
    assert!(failed.message.contains("the bastion burnt down"));
    let cancelling = RunView { operation: OperationState::Cancelling, ..view(TaskKind::Remove) };
    assert_eq!(give_up(&cancelling, "x").operation, Some(OperationEvent::Failed));
}

#[test]
fn a_task_that_is_done_releases_the_next_and_one_that_failed_drops_the_rest() {
    let next = [TaskId(Uuid::from_u128(8)), TaskId(Uuid::from_u128(9))];
    let view = RunView { pending: next.to_vec(), ..view(TaskKind::Provision) };
    let done = decide(&view, &report(RunOutcome::Succeeded, Some(manifest(1, "ca"))));
    assert_eq!((done.release, done.operation, done.cluster), (Some(next[0]), None, None));
    assert!(done.drop.is_empty());
    let failed = decide(&view, &report(RunOutcome::Failed(failure(FailureClass::Etcd)), None));
    assert_eq!((failed.release, failed.drop), (None, next.to_vec()));
}

#[test]
fn a_step_needs_no_state_and_keeps_what_rke_said() {
    let said = vec![Condition { kind: "rehearsal".into(), message: REHEARSAL.into() }];
    let done = report(RunOutcome::Succeeded, None);
    let done = RunReport { rke: None, warnings: vec!["slow".into()], ..done };
    let verify = RunView { conditions: said.clone(), ..view(TaskKind::Verify) };
    let s = decide(&verify, &done);
    assert_eq!((s.operation, s.cluster), (Some(OperationEvent::Succeeded), Some(ClusterEvent::Verified)));
    assert_eq!((&s.conditions[..1], s.conditions.len()), (&said[..], 2));
    let again = RunView { conditions: s.conditions.clone(), ..verify };
    assert_eq!(decide(&again, &done).conditions, s.conditions, "what is known is not said twice");
}

#[test]
fn a_check_alone_degrades_a_cluster_that_does_not_pass_and_a_configure_alone_leaves_it() {
    let asked = |asked, kind, outcome| {
        let view = RunView { asked, ..view(kind) };
        let report = RunReport { rke: None, ..report(outcome, None) };
        let s = decide(&view, &report);
        (s.operation.unwrap(), s.cluster)
    };
    let failed = || RunOutcome::Failed(failure(FailureClass::Worker));
    let (done, fails) = (OperationEvent::Succeeded, OperationEvent::Failed);
    assert_eq!(asked(OperationKind::Verify, TaskKind::Verify, RunOutcome::Succeeded), (done, None));
    assert_eq!(asked(OperationKind::Verify, TaskKind::Verify, failed()), (fails, Some(ClusterEvent::Degraded)));
    assert_eq!(asked(OperationKind::Configure, TaskKind::Configure, failed()), (fails, None));
}

#[test]
fn warnings_and_rehearsals_are_said_on_operation_and_cluster() {
    let mut report = report(RunOutcome::Succeeded, Some(manifest(1, "ca")));
    report.warnings = vec!["host b was skipped".into()];
    report.rke.as_mut().unwrap().rehearsal = true;
    let s = decide(&view(TaskKind::Provision), &report);
    let kinds: Vec<&str> = s.conditions.iter().map(|c| c.kind.as_str()).collect();
    assert_eq!(kinds, ["rehearsal", "warning"]);
    assert_eq!(s.warnings.len(), 2);
}

#[test]
fn a_change_that_failed_degrades_the_cluster_and_one_that_succeeded_makes_it_ready() {
    let done = decide(&view(TaskKind::Reconfigure), &report(RunOutcome::Succeeded, Some(manifest(1, "ca"))));
    assert_eq!(done.cluster, Some(ClusterEvent::Verified));
    let failed = decide(&view(TaskKind::Reconfigure), &report(RunOutcome::Failed(failure(FailureClass::Worker)), None));
    let phase = cluster::transition(ClusterPhase::Updating, failed.cluster.unwrap());
    assert_eq!(phase, Ok(ClusterPhase::Degraded));
    let stateless = decide(&view(TaskKind::Reconfigure), &report(RunOutcome::Succeeded, None));
    assert_eq!(stateless.failure.unwrap().class, FailureClass::State, "success without a state is none");
}

#[test]
fn an_rke_that_nobody_mends_is_named_on_every_operation_that_it_ran() {
    let mut report = report(RunOutcome::Succeeded, Some(manifest(1, "ca")));
    report.ended_at = "2026-11-25T12:00:00Z".parse().unwrap();
    report.rke.as_mut().unwrap().version = "v1.4.18".into();
    for kind in TaskKind::ALL.iter().filter(|kind| kind.is_rke()) {
        let warnings = decide(&view(*kind), &report).warnings;
        assert!(warnings.iter().any(|w| w.contains("CVE-2023-32191")), "{kind}: {warnings:?}");
        assert!(warnings.iter().any(|w| w.contains("end of life")), "{kind}: {warnings:?}");
    }
}

#[test]
fn hostile_row_58_state_that_came_back_leaves_the_cluster_degraded_and_known() {
    let back = decide(&view(TaskKind::RecoverState), &report(RunOutcome::Succeeded, Some(manifest(7, "ca"))));
    assert_eq!((back.operation, back.cluster), (Some(OperationEvent::Succeeded), Some(ClusterEvent::Recovered)));
    assert_eq!(back.known.unwrap().generation, 7);
    let unsealed = decide(&view(TaskKind::RecoverState), &report(RunOutcome::Succeeded, None));
    assert_eq!(unsealed.failure.unwrap().class, FailureClass::State, "nothing was sealed: not believed");
    let failed = decide(&view(TaskKind::RecoverState), &report(RunOutcome::Failed(failure(FailureClass::State)), None));
    assert_eq!((failed.cluster, failed.known), (Some(ClusterEvent::Failed), None));
}

/// Phases that a cluster can be in while a task of this kind runs on it.
fn phases(kind: TaskKind) -> &'static [ClusterPhase] {
    match kind {
        TaskKind::Provision => &[ClusterPhase::Provisioning],
        TaskKind::Reconfigure => &[ClusterPhase::Updating],
        TaskKind::Remove => &[ClusterPhase::Removing],
        TaskKind::RecoverState => &[ClusterPhase::Updating, ClusterPhase::Failed],
        _ => &[ClusterPhase::Provisioning],
    }
}

proptest! {
    #[test]
    fn every_settlement_is_a_legal_step_of_every_life_cycle(
        kind in 0usize..TaskKind::ALL.len(),
        operation in 0usize..6,
        state in 0usize..3,
        outcome in 0usize..3,
        class in 0usize..FailureClass::ALL.len(),
        generation in prop::option::of(0u64..5),
        newest in prop::option::of(0u64..5),
        pending in 0u128..3,
        attempts in 1u32..4,
        policy in 1u32..4,
    ) {
        let operation = OperationState::ALL[operation];
        prop_assume!(operation != OperationState::Queued, "an attempt that locks keeps its operation running");
        let kind = TaskKind::ALL[kind];
        let view = RunView {
            operation,
            pending: (0..pending).map(|n| TaskId(Uuid::from_u128(n))).collect(),
            attempts,
            record: StateRecord { newest, same_number: None, ca_sha256: newest.map(|_| "ca".into()), new_ca_wanted: false },
            ..view(kind)
        };
        let failure = failure(FailureClass::ALL[class]);
        let outcome = match outcome {
            0 => RunOutcome::Succeeded,
            1 => RunOutcome::Failed(failure),
            _ => RunOutcome::Refused(failure),
        };
        let report = report(outcome, generation.map(|n| manifest(n, "ca")));
        let policy = RetryPolicy { attempts: policy, ..THRICE };
        let s = settle(&view, &report, policy);
        let attempt = attempt::transition(attempt::LOCKING[state], s.attempt);
        prop_assert!(attempt.as_ref().is_ok_and(|a: &AttemptState| !a.locks()), "{:?}", attempt);
        prop_assert!(task::transition(TaskState::Running, s.task).is_ok());
        if let Some(event) = s.operation {
            prop_assert!(operation::transition(operation, event).is_ok(), "{operation} {event:?}");
        }
        if let Some(event) = s.cluster {
            for phase in phases(kind) {
                prop_assert!(cluster::transition(*phase, event).is_ok(), "{phase} {event:?}");
            }
        }
        for dropped in &s.drop {
            prop_assert!(Some(*dropped) != s.release);
        }
    }
}
