//! Requests to remove clusters, and to try again.

use std::time::Duration;

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::operation::{Operation, OperationKind, OperationState};
use cratekube_common::domain::removal::{DataPolicy, RemovalWish};
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind;
use serde_json::json;

use super::family;
use super::house::{Bastion, House, accepted, entry, failure};
use crate::store::{AbandonRemoval, Abandoned, AcceptOperation, Acceptance, ClusterFilter, PageRequest};

family![
    a_cluster_that_nobody_began_is_gone_at_once,
    a_cluster_that_was_given_back_unstarted_is_gone_at_once,
    a_cluster_that_was_built_is_removed_by_its_agent,
    a_removal_that_failed_leaves_the_cluster_failed,
    hostile_row_50_a_cluster_that_is_worked_on_is_busy,
    a_request_names_what_it_saw,
    what_does_not_exist_or_is_not_known_is_refused,
    a_failed_cluster_can_be_tried_again,
    a_cluster_is_removed_by_the_last_step_and_each_step_is_told_what_it_needs,
    a_removal_that_is_repeated_goes_on_where_it_failed_and_does_what_it_was_to_do,
    a_removal_that_is_repeated_after_something_else_begins_anew,
    what_an_earlier_removal_recorded_is_known_to_the_next_one,
    a_removal_that_cannot_be_finished_is_abandoned_once_and_the_name_is_free,
    a_removal_that_a_run_holds_or_that_is_not_the_last_word_is_not_abandoned,
];

const CHAIN: [TaskKind; 4] = [TaskKind::Record, TaskKind::Remove, TaskKind::Sweep, TaskKind::Tombstone];

fn wish(policy: DataPolicy) -> RemovalWish {
    RemovalWish { policy, hosts_terminated: false, confirm_pause: Duration::from_secs(7), undelete_days: 3 }
}

/// A removal of several steps.
async fn removal(house: &House, policy: DataPolicy) -> Operation {
    let request =
        AcceptOperation { tasks: house.work(&CHAIN), ..house.operation(OperationKind::Remove, "prod", "web") };
    accepted(house.store.accept_removal(request, wish(policy)).await.unwrap())
}

/// The same once more.
async fn again(house: &House, failed: &Operation) -> Operation {
    let retry_of = Some((failed.id, failed.cluster_id));
    let request = house.operation(OperationKind::Remove, "prod", "web");
    let request = AcceptOperation { tasks: house.work(&CHAIN), retry_of, ..request };
    accepted(house.store.accept_operation(request).await.unwrap())
}

/// The next task is done, whatever it is.
async fn next(house: &House, bastion: Bastion, outcome: RunOutcome) -> Assignment {
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    let report = house.report(&work, outcome);
    let object = json!({"kind": "volume", "id": "vol-1", "region": "r"});
    let report = match work.kind {
        TaskKind::Remove => report,
        kind => {
            let cloud = json!({"tag_names": ["web"], "objects": [object]});
            let findings = json!({"found by": kind, "cloud": cloud, "entries": [1]});
            RunReport { generation: None, rke: None, findings: Some(findings), ..report }
        }
    };
    house.settle(bastion, report).await;
    work
}

async fn states(house: &House, operation: &Operation) -> Vec<&'static str> {
    house.store.tasks(operation.id).await.unwrap().iter().map(|task| task.state.as_str()).collect()
}

async fn abandon(house: &House, operation: OperationId) -> Abandoned {
    let request = AbandonRemoval {
        operation,
        reason: "the account is closed".into(),
        by: "eve".into(),
        audit: entry("operation.abandon", "web"),
        now: house.now(),
    };
    house.store.abandon_removal(request).await.unwrap()
}

async fn a_cluster_is_removed_by_the_last_step_and_each_step_is_told_what_it_needs(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    let operation = removal(house, DataPolicy::Snapshot).await;
    let told = next(house, bastion, RunOutcome::Succeeded).await.input.0;
    assert_eq!((&told["policy"], &told["keep_snapshots"]), (&json!("snapshot"), &json!(true)));
    assert_eq!((&told["confirm_pause_s"], &told["undelete_days"]), (&json!(7), &json!(3)));
    assert_eq!((&told["hosts"], &told["ca_sha256"]), (&json!(["10.0.0.1"]), &json!(super::house::hash("ca"))));
    assert!(next(house, bastion, RunOutcome::Succeeded).await.input.0.is_null(), "rke is told its spec, no more");
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Removing, "rke is not all of it");
    next(house, bastion, RunOutcome::Succeeded).await;
    let told = next(house, bastion, RunOutcome::Succeeded).await.input.0;
    assert_eq!(told["earlier"]["record"]["cloud"]["objects"][0]["id"], "vol-1");
    assert!(told["earlier"]["sweep"].get("entries").is_none(), "long lists are left out");
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Removed);
    let record = house.store.removal(operation.id).await.unwrap().unwrap();
    assert_eq!((record.ran, record.options.unwrap().policy), (true, DataPolicy::Snapshot));
    assert_eq!((record.tasks.len(), record.abandoned), (4, None));
}

async fn a_removal_that_is_repeated_goes_on_where_it_failed_and_does_what_it_was_to_do(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    let first = removal(house, DataPolicy::Delete).await;
    next(house, bastion, RunOutcome::Succeeded).await;
    next(house, bastion, RunOutcome::Succeeded).await;
    next(house, bastion, RunOutcome::Failed(failure(FailureClass::Cloud))).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Failed);
    let second = again(house, &first).await;
    assert_eq!(states(house, &second).await, ["succeeded", "succeeded", "queued", "pending"]);
    house.reopen().await;
    let work = next(house, bastion, RunOutcome::Succeeded).await;
    assert_eq!((work.kind, &work.input.0["policy"]), (TaskKind::Sweep, &json!("delete")));
    assert_eq!(work.input.0["earlier"]["record"]["found by"], "record", "what was found is handed over");
    next(house, bastion, RunOutcome::Succeeded).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Removed);
    let record = house.store.removal(second.id).await.unwrap().unwrap();
    assert_eq!((record.tasks.len(), record.before.len()), (4, 4), "what was done before is known too");
}

async fn a_removal_that_is_repeated_after_something_else_begins_anew(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    let first = removal(house, DataPolicy::Delete).await;
    next(house, bastion, RunOutcome::Succeeded).await;
    next(house, bastion, RunOutcome::Failed(failure(FailureClass::Unreachable))).await;
    let provision = house.operation(OperationKind::Provision, "prod", "web");
    accepted(house.store.accept_operation(provision).await.unwrap());
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    let second = again(house, &first).await;
    assert_eq!(states(house, &second).await, ["queued", "pending", "pending", "pending"]);
    assert_eq!(house.lease_one(bastion).await.input.0["policy"], "delete");
}

async fn what_an_earlier_removal_recorded_is_known_to_the_next_one(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    removal(house, DataPolicy::Retain).await;
    next(house, bastion, RunOutcome::Succeeded).await;
    next(house, bastion, RunOutcome::Failed(failure(FailureClass::Unreachable))).await;
    let cluster = house.cluster("prod", "web").await.id;
    let options = house.store.removal_options(cluster, wish(DataPolicy::Delete)).await.unwrap();
    assert_eq!((options.record.objects.len(), options.keep_snapshots), (1, false));
    removal(house, DataPolicy::Delete).await;
    let told = house.lease_one(bastion).await.input.0;
    assert_eq!((&told["policy"], &told["record"]["objects"][0]["id"]), (&json!("delete"), &json!("vol-1")));
}

async fn a_removal_that_cannot_be_finished_is_abandoned_once_and_the_name_is_free(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    let operation = removal(house, DataPolicy::Retain).await;
    next(house, bastion, RunOutcome::Succeeded).await;
    next(house, bastion, RunOutcome::Failed(failure(FailureClass::Unreachable))).await;
    let Abandoned::Done(ended) = abandon(house, operation.id).await else { panic!("refused") };
    assert_eq!((ended.state, ended.failure.unwrap().class), (OperationState::Failed, FailureClass::Unreachable));
    house.reopen().await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation), (ClusterPhase::Removed, None));
    assert_eq!(cluster.conditions.last().unwrap().kind, "residue");
    let abandoned = house.store.removal(operation.id).await.unwrap().unwrap().abandoned.unwrap();
    assert_eq!((abandoned.by.as_str(), abandoned.reason.as_str()), ("eve", "the account is closed"));
    assert_eq!(abandon(house, operation.id).await, Abandoned::Over(OperationState::Failed));
    let other = house.provisioned("prod", "web").await;
    assert_ne!(other.cluster_id, operation.cluster_id);
    let work = house.lease_one(bastion).await;
    assert_eq!(work.input.making_way(), [operation.cluster_id].into(), "the volume may still have it");
    assert_eq!(abandon(house, operation.id).await, Abandoned::Over(OperationState::Failed), "it is not that cluster");
}

async fn a_removal_that_a_run_holds_or_that_is_not_the_last_word_is_not_abandoned(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let provision = house.ready(bastion, "prod", "web").await.operation;
    assert!(matches!(abandon(house, provision).await, Abandoned::NotAllowed(_)));
    assert_eq!(abandon(house, house.id()).await, Abandoned::NotFound);
    let operation = removal(house, DataPolicy::Retain).await;
    let work = house.lease_one(bastion).await;
    assert_eq!(abandon(house, operation.id).await, Abandoned::Locked, "it is about to start");
    house.start(bastion, &work).await;
    assert_eq!(abandon(house, operation.id).await, Abandoned::Locked);
    let lost = house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    assert_eq!((lost.len(), abandon(house, operation.id).await), (1, Abandoned::Locked), "its end is not known");
    house.force("prod", "web", Vec::new()).await;
    let second = again(house, &operation).await;
    assert_eq!(abandon(house, operation.id).await, Abandoned::Busy(second.id));
    house.cancel(second.id).await;
    assert!(matches!(abandon(house, operation.id).await, Abandoned::NotAllowed(_)), "another one was asked for since");
    assert!(matches!(abandon(house, second.id).await, Abandoned::Done(_)));
}

async fn a_cluster_that_nobody_began_is_gone_at_once(house: &mut House) {
    let provision = house.provisioned("prod", "web").await;
    let removal = accepted(house.remove("prod", "web").await);
    assert_eq!(removal.state, OperationState::Succeeded);
    assert_eq!(house.look(removal.id).await, removal);
    assert_eq!(house.look(provision.id).await.state, OperationState::Cancelled);
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation), (ClusterPhase::Removed, None));
    let bastion = house.bastion("bastion-a", "*").await;
    assert!(house.lease(bastion, 4).await.is_empty(), "a cancelled task never starts");
    assert!(house.store.environments().await.unwrap().is_empty());
    assert_eq!(house.remove("prod", "web").await, Acceptance::NotFound);
}

async fn a_cluster_that_was_given_back_unstarted_is_gone_at_once(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    let release = house.store.release_attempt(bastion.agent, work.attempt, work.fence, "full".into(), house.now());
    release.await.unwrap();
    assert_eq!(accepted(house.remove("prod", "web").await).state, OperationState::Succeeded);
    assert!(house.lease(bastion, 4).await.is_empty());
}

async fn a_cluster_that_was_built_is_removed_by_its_agent(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    let removal = accepted(house.remove("prod", "web").await);
    assert_eq!(removal.state, OperationState::Queued);
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Removing);
    let other = house.bastion("bastion-b", "*").await;
    assert!(house.lease(other, 4).await.is_empty(), "its state is elsewhere");
    let work = house.lease_one(bastion).await;
    assert_eq!((work.kind, work.operation), (TaskKind::Remove, removal.id));
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Removed);
    assert_eq!(house.look(removal.id).await.state, OperationState::Succeeded);
    let all = ClusterFilter { environment: "prod".parse().unwrap(), include_removed: true };
    let page = PageRequest { after: None, limit: 10 };
    assert_eq!(house.store.clusters(all.clone(), page.clone()).await.unwrap().items.len(), 1);
    let live = ClusterFilter { include_removed: false, ..all };
    assert!(house.store.clusters(live, page).await.unwrap().items.is_empty());
}

async fn a_removal_that_failed_leaves_the_cluster_failed(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    accepted(house.remove("prod", "web").await);
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    let outcome = RunOutcome::Failed(failure(FailureClass::Unreachable));
    house.settle(bastion, house.report(&work, outcome)).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation), (ClusterPhase::Failed, None));
    assert_eq!(cluster.failure.unwrap().class, FailureClass::Unreachable);
    accepted(house.remove("prod", "web").await);
}

async fn hostile_row_50_a_cluster_that_is_worked_on_is_busy(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    assert_eq!(house.remove("prod", "web").await, Acceptance::Busy(work.operation));
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    let removal = accepted(house.remove("prod", "web").await);
    assert_eq!(house.remove("prod", "web").await, Acceptance::Busy(removal.id));
}

async fn a_request_names_what_it_saw(house: &mut House) {
    house.provisioned("prod", "web").await;
    let mut request = house.operation(OperationKind::Remove, "prod", "web");
    request.if_revision = Some(7);
    assert_eq!(house.store.accept_operation(request.clone()).await.unwrap(), Acceptance::Changed(1));
    request.if_revision = Some(1);
    accepted(house.store.accept_operation(request.clone()).await.unwrap());
    let again = house.store.accept_operation(request).await.unwrap();
    assert!(matches!(again, Acceptance::Replayed(_)), "{again:?}");
}

async fn what_does_not_exist_or_is_not_known_is_refused(house: &mut House) {
    assert_eq!(house.remove("prod", "web").await, Acceptance::NotFound);
    house.provisioned("prod", "web").await;
    let snapshot = house.operation(OperationKind::Snapshot, "prod", "web");
    let answer = house.store.accept_operation(snapshot).await.unwrap();
    assert!(matches!(answer, Acceptance::NotAllowed(_)), "{answer:?}");
}

async fn a_failed_cluster_can_be_tried_again(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let again = house.operation(OperationKind::Provision, "prod", "web");
    assert_eq!(house.store.accept_operation(again.clone()).await.unwrap(), Acceptance::Busy(work.operation));
    let outcome = RunOutcome::Failed(failure(FailureClass::Unreachable));
    house.settle(bastion, house.report(&work, outcome)).await;
    let operation = accepted(house.store.accept_operation(again).await.unwrap());
    let second = house.lease_one(bastion).await;
    assert_eq!(second.operation, operation.id);
    assert!(second.fence > work.fence);
    assert_eq!(second.known.as_ref().map(|known| known.generation), Some(1), "the state of the first run is known");
    house.start(bastion, &second).await;
    house.settle(bastion, house.report(&second, RunOutcome::Succeeded)).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.failure, cluster.generation), (ClusterPhase::Ready, None, Some(2)));
    let ready = house.operation(OperationKind::Provision, "prod", "web");
    let answer = house.store.accept_operation(ready).await.unwrap();
    assert!(matches!(answer, Acceptance::NotAllowed(_)), "{answer:?}");
}
