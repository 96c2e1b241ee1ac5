//! Operations of several tasks: one after the other, each with a fence of its own.

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::OperationState;
use cratekube_common::domain::run::RunOutcome;
use cratekube_common::domain::task::{TaskKind, TaskState};
use serde_json::json;

use super::family;
use super::house::{Bastion, House, failure};
use crate::store::{AcceptProvision, Acceptance, CancelOperation, Cancellation};

family![
    each_task_waits_for_the_one_before_it_and_reads_what_it_found,
    a_task_that_fails_ends_the_operation_and_the_rest_is_never_leased,
    a_cancel_between_two_tasks_ends_the_operation_at_once,
    an_operation_between_two_tasks_says_what_it_waits_for,
];

const CHAIN: [TaskKind; 3] = [TaskKind::Preflight, TaskKind::Provision, TaskKind::Verify];

async fn chained(house: &House) -> Bastion {
    let bastion = house.bastion("bastion-a", "*").await;
    let request = AcceptProvision { tasks: house.work(&CHAIN), ..house.provision("prod", "web") };
    let accepted = house.store.accept_provision(request).await.unwrap();
    assert!(matches!(accepted, Acceptance::Accepted(_)), "{accepted:?}");
    bastion
}

async fn each_task_waits_for_the_one_before_it_and_reads_what_it_found(house: &mut House) {
    let bastion = chained(house).await;
    let first = house.lease_one(bastion).await;
    assert_eq!((first.kind, first.input.0.clone()), (TaskKind::Preflight, json!({"earlier": {}})));
    assert!(house.lease(bastion, 4).await.is_empty(), "one after the other");
    house.step(bastion, &first, RunOutcome::Succeeded).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Provisioning);
    let second = house.lease_one(bastion).await;
    assert_eq!((second.kind, second.input.0.is_null()), (TaskKind::Provision, true), "rke is told its spec, no more");
    assert!(second.fence > first.fence && second.operation == first.operation);
    house.start(bastion, &second).await;
    house.settle(bastion, house.report(&second, RunOutcome::Succeeded)).await;
    assert_eq!(house.look(first.operation).await.state, OperationState::Running);
    let third = house.lease_one(bastion).await;
    assert_eq!(third.input.0, json!({"earlier": {"preflight": {"found by": "preflight"}}}));
    assert_eq!(third.known.as_ref().unwrap().generation, 1, "what rke left is known to the check");
    house.step(bastion, &third, RunOutcome::Succeeded).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation), (ClusterPhase::Ready, None));
    assert_eq!(house.look(first.operation).await.state, OperationState::Succeeded);
    let tasks = house.store.tasks(first.operation).await.unwrap();
    let told: Vec<_> = tasks.iter().map(|task| (task.kind, task.state, task.findings.is_some())).collect();
    let done = TaskState::Succeeded;
    assert_eq!(told, [(CHAIN[0], done, true), (CHAIN[1], done, false), (CHAIN[2], done, true)]);
}

async fn a_task_that_fails_ends_the_operation_and_the_rest_is_never_leased(house: &mut House) {
    let bastion = chained(house).await;
    let first = house.lease_one(bastion).await;
    house.step(bastion, &first, RunOutcome::Failed(failure(FailureClass::Docker))).await;
    let operation = house.look(first.operation).await;
    assert_eq!((operation.state, operation.failure.unwrap().class), (OperationState::Failed, FailureClass::Docker));
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation), (ClusterPhase::Failed, None));
    assert!(house.lease(bastion, 4).await.is_empty());
    let tasks = house.store.tasks(first.operation).await.unwrap();
    let states: Vec<_> = tasks.iter().map(|task| task.state).collect();
    assert_eq!(states, [TaskState::Failed, TaskState::Cancelled, TaskState::Cancelled]);
    assert!(tasks[0].findings.is_some(), "what a failed step found is kept");
}

async fn a_cancel_between_two_tasks_ends_the_operation_at_once(house: &mut House) {
    let bastion = chained(house).await;
    let first = house.lease_one(bastion).await;
    house.step(bastion, &first, RunOutcome::Succeeded).await;
    let cancel = CancelOperation {
        operation: first.operation,
        audit: super::house::entry("operation.cancel", "web"),
        now: house.now(),
    };
    let cancelled = house.store.cancel_operation(cancel).await.unwrap();
    assert!(matches!(cancelled, Cancellation::Cancelled(_)), "{cancelled:?}");
    assert!(house.lease(bastion, 4).await.is_empty(), "what was not begun is never begun");
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Failed);
}

async fn an_operation_between_two_tasks_says_what_it_waits_for(house: &mut House) {
    let bastion = chained(house).await;
    let first = house.lease_one(bastion).await;
    assert_eq!(house.look(first.operation).await.waiting_for, None);
    house.step(bastion, &first, RunOutcome::Succeeded).await;
    let waits = house.look(first.operation).await.waiting_for.unwrap();
    assert!(waits.contains("bastion-a"), "{waits}");
}
