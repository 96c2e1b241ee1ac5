//! Requests to remove clusters, and to try again.

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::run::RunOutcome;
use cratekube_common::domain::task::TaskKind;

use super::family;
use super::house::{House, accepted, failure};
use crate::store::{Acceptance, ClusterFilter, PageRequest};

family![
    a_cluster_that_nobody_began_is_gone_at_once,
    a_cluster_that_was_given_back_unstarted_is_gone_at_once,
    a_cluster_that_was_built_is_removed_by_its_agent,
    a_removal_that_failed_leaves_the_cluster_failed,
    hostile_row_50_a_cluster_that_is_worked_on_is_busy,
    a_request_names_what_it_saw,
    what_does_not_exist_or_is_not_known_is_refused,
    a_failed_cluster_can_be_tried_again,
];

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
