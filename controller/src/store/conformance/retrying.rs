//! Attempts after the first: on their own when that may help, and when someone asks.

use std::time::Duration;

use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::run::{Recovery, RunOutcome};
use cratekube_common::domain::task::TaskKind;

use super::family;
use super::house::{Bastion, House, accepted, failure, held};
use crate::plan::settle::RetryPolicy;
use crate::store::{AcceptOperation, Acceptance, Cancellation, Settled};

family![
    what_failed_in_passing_waits_and_is_tried_again,
    attempts_are_bounded_and_those_that_never_started_do_not_count,
    what_waits_to_be_tried_again_can_be_cancelled,
    hostile_row_54_a_run_that_another_agent_took_over_is_not_run_again_by_itself,
    an_operation_is_repeated_by_name,
    hostile_row_58_state_comes_back_and_the_cluster_is_provisioned_again,
];

const THRICE: RetryPolicy =
    RetryPolicy { attempts: 3, delay: Duration::from_secs(30), delay_max: Duration::from_secs(600) };

async fn fail(house: &House, bastion: Bastion, work: &cratekube_common::domain::run::Assignment) -> Settled {
    let mut report = house.report(work, RunOutcome::Failed(failure(FailureClass::Unreachable)));
    report.generation = None;
    house.store.settle_attempt(bastion.agent, report, THRICE, house.now()).await.unwrap()
}

async fn what_failed_in_passing_waits_and_is_tried_again(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.append(bastion, &work, 0, "first\n").await;
    let Settled::Now { retry: Some((task, wait)), more_work, .. } = fail(house, bastion, &work).await else {
        panic!("it is not tried again");
    };
    assert_eq!((task, wait, more_work), (work.task, Duration::from_secs(30), false));
    let waiting = house.look(work.operation).await;
    assert_eq!(waiting.state, OperationState::Queued);
    assert_eq!(waiting.waiting_for.as_deref(), Some("Attempt 2 begins 30 s after the last one ended."));
    assert_eq!(waiting.failure.unwrap().class, FailureClass::Unreachable, "why the last attempt failed");
    assert!(house.lease(bastion, 4).await.is_empty(), "not before its time");
    house.reopen().await;
    assert_eq!(house.store.delayed_tasks().await.unwrap(), [(task, wait)], "a restart forgets nothing");
    assert_eq!(house.store.release_task(task).await.unwrap(), Some(work.operation));
    assert_eq!(house.store.release_task(task).await.unwrap(), None, "once");
    let second = house.lease_one(bastion).await;
    assert!(second.operation == work.operation && second.fence > work.fence);
    house.start(bastion, &second).await;
    house.append(bastion, &second, 0, "second\n").await;
    house.settle(bastion, house.report(&second, RunOutcome::Succeeded)).await;
    let done = house.look(work.operation).await;
    assert_eq!((done.state, done.failure), (OperationState::Succeeded, None));
    let attempts = house.store.attempts(work.operation).await.unwrap();
    let states: Vec<_> = attempts.iter().map(|a| (a.state, a.failure.is_some(), a.output_offset)).collect();
    assert_eq!(states, [(AttemptState::Exited, true, 0), (AttemptState::Exited, false, 6)]);
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Ready);
}

async fn attempts_are_bounded_and_those_that_never_started_do_not_count(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let first = house.running(bastion, "prod", "web").await;
    fail(house, bastion, &first).await;
    house.store.release_task(first.task).await.unwrap();
    let declined = house.lease_one(bastion).await;
    let release = house.store.release_attempt(bastion.agent, declined.attempt, declined.fence, "x".into(), house.now());
    release.await.unwrap();
    let second = house.lease_one(bastion).await;
    let Settled::Now { retry: Some((_, wait)), .. } = fail(house, bastion, &second).await else { panic!("given up") };
    assert_eq!(wait, Duration::from_secs(120), "later each time");
    house.store.release_task(first.task).await.unwrap();
    let third = house.lease_one(bastion).await;
    assert!(matches!(fail(house, bastion, &third).await, Settled::Now { retry: None, .. }));
    assert_eq!(house.look(first.operation).await.state, OperationState::Failed);
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Failed);
    assert_eq!(house.store.attempts(first.operation).await.unwrap().len(), 4);
}

async fn what_waits_to_be_tried_again_can_be_cancelled(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    fail(house, bastion, &work).await;
    assert!(matches!(house.cancel(work.operation).await, Cancellation::Cancelled(_)));
    assert_eq!(house.store.release_task(work.task).await.unwrap(), None);
    assert!(house.store.delayed_tasks().await.unwrap().is_empty());
    assert!(house.lease(bastion, 4).await.is_empty());
    assert_eq!(house.cluster("prod", "web").await.failure.unwrap().class, FailureClass::Cancelled);
}

async fn hostile_row_54_a_run_that_another_agent_took_over_is_not_run_again_by_itself(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let heir = Bastion { agent: house.enrolled("bastion-b", "*").await, ..bastion };
    house.connect(heir, vec![held(&work)]).await;
    let attempt = house.store.attempts(work.operation).await.unwrap().remove(0);
    assert!(attempt.taken_over && attempt.agent == heir.agent);
    let mut report = house.report(&work, RunOutcome::Failed(failure(FailureClass::Interrupted)));
    report.fence = attempt.fence;
    let settled = house.store.settle_attempt(heir.agent, report, THRICE, house.now()).await.unwrap();
    assert!(matches!(settled, Settled::Now { retry: None, .. }), "{settled:?}");
    assert_eq!(house.look(work.operation).await.state, OperationState::Failed);
}

async fn an_operation_is_repeated_by_name(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Docker)))).await;
    let mut again = house.operation(OperationKind::Provision, "prod", "web");
    again.retry_of = Some((work.operation, house.id()));
    assert_eq!(house.store.accept_operation(again.clone()).await.unwrap(), Acceptance::NotFound, "of another cluster");
    again.retry_of = Some((work.operation, work.cluster));
    let repeated = accepted(house.store.accept_operation(again).await.unwrap());
    assert_eq!(house.look(repeated.id).await.retry_of, Some(work.operation));
}

async fn hostile_row_58_state_comes_back_and_the_cluster_is_provisioned_again(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    let request =
        AcceptOperation { generation: Some(1), ..house.operation(OperationKind::RecoverState, "prod", "web") };
    let first = accepted(house.store.accept_operation(request).await.unwrap());
    let work = house.lease_one(bastion).await;
    assert_eq!(work.recovery, Some(Recovery { generation: Some(1), newest_recorded: 1 }));
    house.start(bastion, &work).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Updating);
    let mut lost = house.report(&work, RunOutcome::Failed(failure(FailureClass::State)));
    lost.generation = None;
    house.settle(bastion, lost).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Degraded);
    let again = AcceptOperation {
        retry_of: Some((first.id, first.cluster_id)),
        ..house.operation(OperationKind::RecoverState, "prod", "web")
    };
    accepted(house.store.accept_operation(again).await.unwrap());
    let work = house.lease_one(bastion).await;
    assert_eq!(work.recovery.unwrap().generation, Some(1), "a repeated recovery takes the same generation");
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    let back = house.cluster("prod", "web").await;
    assert_eq!((back.phase, back.generation), (ClusterPhase::Degraded, Some(2)), "back, and not yet verified");
    let provision = house.operation(OperationKind::Provision, "prod", "web");
    accepted(house.store.accept_operation(provision).await.unwrap());
    let work = house.lease_one(bastion).await;
    assert_eq!((work.kind, work.recovery, work.known.as_ref().unwrap().generation), (TaskKind::Provision, None, 2));
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Ready);
    house.provisioned("prod", "new").await;
    let never = house.operation(OperationKind::RecoverState, "prod", "new");
    assert!(!matches!(house.store.accept_operation(never).await.unwrap(), Acceptance::Accepted(_)));
}
