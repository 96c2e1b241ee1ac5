//! The end of runs: settled once, final, and only by whoever may.

use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::OperationState;
use cratekube_common::domain::run::{ExitStatus, RunOutcome};

use super::family;
use super::house::{House, failure, hash, older};
use crate::plan::settle::RetryPolicy;
use crate::store::{Applied, PageRequest, Settled};

family![
    a_success_moves_everything_on,
    hostile_row_44_the_same_report_again_changes_nothing,
    hostile_row_43_a_stale_report_changes_nothing,
    a_report_waits_for_its_output,
    a_failure_is_told_on_operation_and_cluster,
    a_run_that_was_refused_is_over_without_having_run,
    an_unknown_run_is_settled_by_its_report,
    hostile_row_60_a_changed_ca_fails_and_the_record_stays,
    hostile_row_59_an_older_generation_is_not_believed,
    success_without_usable_state_is_not_believed,
    a_cancelled_run_leaves_the_cluster_failed,
    warnings_and_rehearsals_are_kept,
    an_absurd_report_is_settled_and_not_stuck,
];

const PAGE: PageRequest = PageRequest { after: None, limit: 10 };

async fn a_success_moves_everything_on(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let mut report = house.report(&work, RunOutcome::Succeeded);
    report.exit = Some(ExitStatus::Code(0));
    let settled =
        house.store.settle_attempt(bastion.agent, report.clone(), RetryPolicy::NEVER, house.now()).await.unwrap();
    assert_eq!(settled, Settled::Now { operation: work.operation, more_work: false, retry: None });
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation, cluster.failure), (ClusterPhase::Ready, None, None));
    assert_eq!((cluster.generation, cluster.ca_sha256), (Some(1), Some(hash("ca"))));
    let operation = house.look(work.operation).await;
    assert_eq!((operation.state, operation.ended_at), (OperationState::Succeeded, Some(house.now())));
    let attempt = house.store.attempts(work.operation).await.unwrap().remove(0);
    assert_eq!((attempt.state, attempt.ended_at), (AttemptState::Exited, Some(house.now())));
    assert_eq!(attempt.rke, report.rke);
    let generations = house.store.generations(work.cluster, PAGE).await.unwrap();
    assert_eq!(generations.items, [report.generation.unwrap()]);
    assert!(house.store.held_attempts().await.unwrap().is_empty());
}

async fn hostile_row_44_the_same_report_again_changes_nothing(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let report = house.report(&work, RunOutcome::Succeeded);
    house.settle(bastion, report.clone()).await;
    let before = house.cluster("prod", "web").await;
    let again =
        house.store.settle_attempt(bastion.agent, report.clone(), RetryPolicy::NEVER, house.now()).await.unwrap();
    assert_eq!(again, Settled::Already(work.operation));
    let mut other = house.report(&work, RunOutcome::Failed(failure(FailureClass::Etcd)));
    other.generation = None;
    let other = house.store.settle_attempt(bastion.agent, other, RetryPolicy::NEVER, house.now()).await.unwrap();
    assert_eq!(other, Settled::Stale, "an end is final");
    assert_eq!(house.cluster("prod", "web").await, before);
    assert_eq!(house.look(work.operation).await.state, OperationState::Succeeded);
    let late = house.store.start_attempt(bastion.agent, work.attempt, work.fence, house.now()).await.unwrap();
    assert_eq!(late, Applied::Stale);
    house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    assert_eq!(house.store.attempts(work.operation).await.unwrap()[0].state, AttemptState::Exited);
    house.reopen().await;
    let reopened = house.store.settle_attempt(bastion.agent, report, RetryPolicy::NEVER, house.now()).await.unwrap();
    assert_eq!(reopened, Settled::Already(work.operation));
}

async fn hostile_row_43_a_stale_report_changes_nothing(house: &mut House) {
    let (bastion, other) = (house.bastion("bastion-a", "*").await, house.bastion("bastion-b", "*").await);
    let work = house.running(bastion, "prod", "web").await;
    let report = house.report(&work, RunOutcome::Succeeded);
    let mut old = report.clone();
    old.fence = older(work.fence);
    let mut unknown = report.clone();
    unknown.attempt = house.id();
    let mut absurd = report.clone();
    absurd.fence = cratekube_common::domain::attempt::Fence(u64::MAX);
    for (agent, report) in [(bastion.agent, old), (bastion.agent, unknown), (bastion.agent, absurd)] {
        assert_eq!(
            house.store.settle_attempt(agent, report, RetryPolicy::NEVER, house.now()).await.unwrap(),
            Settled::Stale
        );
    }
    let evidence = house.store.evidence(PAGE).await.unwrap().items.len();
    for agent in [other.agent, house.id()] {
        let settled = house.store.settle_attempt(agent, report.clone(), RetryPolicy::NEVER, house.now()).await.unwrap();
        assert_eq!(settled, Settled::Foreign);
    }
    assert_eq!(house.store.evidence(PAGE).await.unwrap().items.len(), evidence, "a stranger's word is no evidence");
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Provisioning);
    assert!(house.store.generations(work.cluster, PAGE).await.unwrap().items.is_empty());
    house.settle(bastion, report).await;
}

async fn a_report_waits_for_its_output(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.append(bastion, &work, 0, "half").await;
    let mut report = house.report(&work, RunOutcome::Succeeded);
    report.output_bytes = 8;
    let settled =
        house.store.settle_attempt(bastion.agent, report.clone(), RetryPolicy::NEVER, house.now()).await.unwrap();
    assert_eq!(settled, Settled::OutputMissing { stored: 4 });
    assert_eq!(house.look(work.operation).await.state, OperationState::Running);
    house.append(bastion, &work, 4, "half").await;
    house.settle(bastion, report).await;
}

async fn a_failure_is_told_on_operation_and_cluster(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let failed = failure(FailureClass::Interrupted);
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failed.clone()))).await;
    let operation = house.look(work.operation).await;
    assert_eq!((operation.state, operation.failure), (OperationState::Failed, Some(failed.clone())));
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.failure, cluster.operation), (ClusterPhase::Failed, Some(failed.clone()), None));
    assert_eq!(house.store.attempts(work.operation).await.unwrap()[0].failure, Some(failed));
}

async fn a_run_that_was_refused_is_over_without_having_run(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    let mut report = house.report(&work, RunOutcome::Refused(failure(FailureClass::Volume)));
    (report.generation, report.rke, report.started_at) = (None, None, None);
    house.settle(bastion, report).await;
    let attempt = house.store.attempts(work.operation).await.unwrap().remove(0);
    assert_eq!((attempt.state, attempt.started_at), (AttemptState::Exited, None));
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Failed);
}

async fn an_unknown_run_is_settled_by_its_report(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    assert_eq!(house.append(bastion, &work, 0, "late").await, Some(4));
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Ready);
}

async fn hostile_row_60_a_changed_ca_fails_and_the_record_stays(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Worker)))).await;
    let again = house.operation(cratekube_common::domain::operation::OperationKind::Provision, "prod", "web");
    house.store.accept_operation(again).await.unwrap();
    let second = house.lease_one(bastion).await;
    house.start(bastion, &second).await;
    let mut report = house.report(&second, RunOutcome::Succeeded);
    if let Some(manifest) = &mut report.generation {
        manifest.ca_sha256 = Some(hash("another"));
    }
    house.settle(bastion, report).await;
    let operation = house.look(second.operation).await;
    assert_eq!((operation.state, operation.failure.unwrap().class), (OperationState::Failed, FailureClass::State));
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.ca_sha256, cluster.generation), (Some(hash("ca")), Some(1)));
}

async fn hostile_row_59_an_older_generation_is_not_believed(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let mut report = house.report(&work, RunOutcome::Failed(failure(FailureClass::Worker)));
    report.generation = Some(house.manifest(&work, 5));
    house.settle(bastion, report).await;
    let again = house.operation(cratekube_common::domain::operation::OperationKind::Provision, "prod", "web");
    house.store.accept_operation(again).await.unwrap();
    let second = house.lease_one(bastion).await;
    let mut report = house.report(&second, RunOutcome::Succeeded);
    report.generation = Some(house.manifest(&second, 4));
    house.settle(bastion, report).await;
    let failed = house.look(second.operation).await.failure.unwrap();
    assert_eq!(failed.class, FailureClass::State);
    assert!(failed.message.contains("state_regressed"), "{}", failed.message);
    assert_eq!(house.cluster("prod", "web").await.generation, Some(5));
    assert_eq!(house.store.generations(work.cluster, PAGE).await.unwrap().items.len(), 1);
}

async fn success_without_usable_state_is_not_believed(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let mut report = house.report(&work, RunOutcome::Succeeded);
    if let Some(manifest) = &mut report.generation {
        (manifest.good, manifest.fault) = (false, Some("cut off".into()));
    }
    house.settle(bastion, report).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.generation), (ClusterPhase::Failed, None));
    assert_eq!(cluster.failure.unwrap().class, FailureClass::State);
    assert_eq!(house.store.generations(work.cluster, PAGE).await.unwrap().items.len(), 1, "kept as it is");
}

async fn a_cancelled_run_leaves_the_cluster_failed(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Cancelled)))).await;
    assert_eq!(house.look(work.operation).await.state, OperationState::Cancelled);
    assert_eq!(house.store.attempts(work.operation).await.unwrap()[0].state, AttemptState::Cancelled);
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.failure.unwrap().class), (ClusterPhase::Failed, FailureClass::Cancelled));
}

async fn warnings_and_rehearsals_are_kept(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let mut report = house.report(&work, RunOutcome::Succeeded);
    report.warnings = vec!["host b was skipped".into()];
    if let Some(rke) = &mut report.rke {
        rke.rehearsal = true;
    }
    house.settle(bastion, report).await;
    let warnings = house.look(work.operation).await.warnings;
    assert_eq!(warnings[..2], ["one etcd node", "host b was skipped"]);
    let kinds: Vec<_> = house.cluster("prod", "web").await.conditions.into_iter().map(|c| c.kind).collect();
    assert_eq!(kinds, ["rehearsal", "warning"]);
}

async fn an_absurd_report_is_settled_and_not_stuck(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let mut report = house.report(&work, RunOutcome::Succeeded);
    report.generation = Some(house.manifest(&work, u64::MAX));
    house.settle(bastion, report).await;
    assert_eq!(house.cluster("prod", "web").await.failure.unwrap().class, FailureClass::State);
}
