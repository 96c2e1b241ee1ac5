//! Requests to change what a cluster is to be, and the specs that it had.

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::run::RunOutcome;
use cratekube_common::domain::task::TaskKind;

use super::family;
use super::house::{Bastion, House, accepted, failure, larger_spec, spec};
use crate::store::{Acceptance, Cancellation, PageRequest};

family![
    a_changed_spec_is_recorded_run_and_reached,
    a_change_names_the_cluster_and_the_revision_that_were_seen,
    hostile_row_50_a_cluster_that_is_worked_on_is_not_changed,
    hostile_row_26_a_repeated_change_is_found_by_its_key_although_the_revision_moved_on,
    a_change_that_failed_degrades_the_cluster_keeps_what_was_asked_and_is_tried_again,
    a_change_that_was_called_off_before_it_ran_is_taken_back,
    a_change_that_was_given_back_unstarted_can_be_called_off_too,
    a_repetition_that_is_called_off_takes_nothing_back,
    a_cluster_that_was_never_built_is_built_from_its_new_spec,
    what_a_change_is_weighed_against_is_read_at_once,
    revisions_come_in_pages_newest_first,
];

async fn change(house: &House) -> cratekube_common::domain::operation::Operation {
    let request = house.change_of("prod", "web", Some(larger_spec())).await;
    accepted(house.store.accept_reconfigure(request).await.unwrap())
}

async fn built(house: &House) -> Bastion {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    bastion
}

async fn a_changed_spec_is_recorded_run_and_reached(house: &mut House) {
    let bastion = built(house).await;
    assert_eq!(house.revisions("prod", "web").await, [(1, true)]);
    let operation = change(house).await;
    assert_eq!((operation.kind, operation.state), (OperationKind::Reconfigure, OperationState::Queued));
    assert_eq!((operation.requested_by.as_str(), operation.warnings.len()), ("bob", 1));
    let waiting = house.cluster("prod", "web").await;
    assert_eq!((waiting.phase, waiting.revision), (ClusterPhase::Ready, 2), "nothing was touched yet");
    assert_eq!((waiting.spec.clone(), waiting.operation), (larger_spec(), Some(operation.id)));
    house.reopen().await;
    let task = house.lease(bastion, 4).await.remove(0);
    let work = task.assignment;
    assert_eq!((work.kind, work.operation), (TaskKind::Reconfigure, operation.id));
    assert_eq!((work.spec.clone(), task.sealed_secrets), (larger_spec(), Some(vec![1, 0, 1])));
    assert_eq!(work.known.as_ref().map(|known| known.generation), Some(1));
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Updating);
    assert_eq!(house.revisions("prod", "web").await, [(2, false), (1, true)]);
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation, cluster.generation), (ClusterPhase::Ready, None, Some(2)));
    assert_eq!(house.revisions("prod", "web").await, [(2, true), (1, true)]);
}

async fn a_change_names_the_cluster_and_the_revision_that_were_seen(house: &mut House) {
    built(house).await;
    let request = house.change_of("prod", "web", Some(larger_spec())).await;
    let mut stale = request.clone();
    stale.revision = 7;
    assert_eq!(house.store.accept_reconfigure(stale).await.unwrap(), Acceptance::Changed(1));
    let mut another = request.clone();
    another.cluster = house.id();
    assert_eq!(
        house.store.accept_reconfigure(another).await.unwrap(),
        Acceptance::Changed(1),
        "its name is used again"
    );
    let mut missing = request.clone();
    missing.name = "none".parse().unwrap();
    assert_eq!(house.store.accept_reconfigure(missing).await.unwrap(), Acceptance::NotFound);
    assert_eq!(house.revisions("prod", "web").await, [(1, true)], "a refusal changes nothing");
    accepted(house.store.accept_reconfigure(request.clone()).await.unwrap());
    let again = house.store.accept_reconfigure(request).await.unwrap();
    assert!(matches!(again, Acceptance::Replayed(_)), "{again:?}");
}

async fn hostile_row_50_a_cluster_that_is_worked_on_is_not_changed(house: &mut House) {
    let provision = house.provisioned("prod", "web").await;
    let request = house.change_of("prod", "web", Some(larger_spec())).await;
    assert_eq!(house.store.accept_reconfigure(request).await.unwrap(), Acceptance::Busy(provision.id));
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    let operation = change(house).await;
    let second = house.change_of("prod", "web", Some(spec())).await;
    assert_eq!(house.store.accept_reconfigure(second).await.unwrap(), Acceptance::Busy(operation.id));
    assert_eq!(house.remove("prod", "web").await, Acceptance::Busy(operation.id));
}

async fn hostile_row_26_a_repeated_change_is_found_by_its_key_although_the_revision_moved_on(house: &mut House) {
    built(house).await;
    let mut request = house.change_of("prod", "web", Some(larger_spec())).await;
    request.idempotency = house.key("bob", "k1", "d1");
    let key = request.idempotency.clone().unwrap();
    assert_eq!(house.store.repeated(key.clone(), house.now()).await.unwrap(), None);
    let first = accepted(house.store.accept_reconfigure(request.clone()).await.unwrap());
    match house.store.repeated(key.clone(), house.now()).await.unwrap() {
        Some(Acceptance::Replayed(operation)) => assert_eq!(operation.id, first.id),
        other => panic!("{other:?}"),
    }
    let other = crate::store::Idempotency { digest: "d2".into(), ..key };
    assert_eq!(house.store.repeated(other, house.now()).await.unwrap(), Some(Acceptance::KeyReused));
    request.operation = house.id();
    let again = house.store.accept_reconfigure(request).await.unwrap();
    assert!(matches!(again, Acceptance::Replayed(_)), "{again:?}");
    assert_eq!(house.cluster("prod", "web").await.revision, 2);
}

async fn a_change_that_failed_degrades_the_cluster_keeps_what_was_asked_and_is_tried_again(house: &mut House) {
    let bastion = built(house).await;
    let operation = change(house).await;
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    let outcome = RunOutcome::Failed(failure(FailureClass::Worker));
    house.settle(bastion, house.report(&work, outcome)).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.revision, cluster.spec), (ClusterPhase::Degraded, 2, larger_spec()));
    assert_eq!(cluster.failure.unwrap().class, FailureClass::Worker);
    assert_eq!(house.revisions("prod", "web").await, [(2, false), (1, true)]);
    let mut again = house.operation(OperationKind::Reconfigure, "prod", "web");
    again.retry_of = Some((operation.id, cluster.id));
    let again = accepted(house.store.accept_operation(again).await.unwrap());
    assert_eq!(again.kind, OperationKind::Reconfigure);
    let work = house.lease_one(bastion).await;
    assert_eq!((work.operation, work.spec.clone()), (again.id, larger_spec()));
    assert_eq!(house.cluster("prod", "web").await.failure, None, "another run, another end");
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    assert_eq!(house.revisions("prod", "web").await, [(2, true), (1, true)]);
    let needless = house.operation(OperationKind::Reconfigure, "prod", "web");
    let answer = house.store.accept_operation(needless).await.unwrap();
    assert!(matches!(answer, Acceptance::NotAllowed(_)), "{answer:?}");
}

async fn a_change_that_was_called_off_before_it_ran_is_taken_back(house: &mut House) {
    let bastion = built(house).await;
    let operation = change(house).await;
    assert!(matches!(house.cancel(operation.id).await, Cancellation::Cancelled(_)));
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation, cluster.failure), (ClusterPhase::Ready, None, None));
    assert_eq!(
        (cluster.spec, cluster.revision),
        (spec(), 3),
        "the spec before it holds again; no number is used twice"
    );
    assert_eq!(house.revisions("prod", "web").await, [(3, true), (2, false), (1, true)]);
    assert!(house.lease(bastion, 4).await.is_empty());
    let present = house.store.present_cluster(&"prod".parse().unwrap(), &"web".parse().unwrap()).await.unwrap();
    assert_eq!(present.unwrap().sealed_secrets, Some(vec![7, 0, 7]), "and its secrets with it");
}

async fn a_change_that_was_given_back_unstarted_can_be_called_off_too(house: &mut House) {
    let bastion = built(house).await;
    let operation = change(house).await;
    let work = house.lease_one(bastion).await;
    let release = house.store.release_attempt(bastion.agent, work.attempt, work.fence, "full".into(), house.now());
    release.await.unwrap();
    house.cancel(operation.id).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.revision, cluster.spec), (ClusterPhase::Ready, 3, spec()));
}

async fn a_repetition_that_is_called_off_takes_nothing_back(house: &mut House) {
    let bastion = built(house).await;
    change(house).await;
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Docker)))).await;
    let again = house.change_of("prod", "web", None).await;
    let again = accepted(house.store.accept_reconfigure(again).await.unwrap());
    assert_eq!(house.cluster("prod", "web").await.revision, 2, "the same spec is no new revision");
    house.cancel(again.id).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.revision, cluster.spec), (ClusterPhase::Degraded, 2, larger_spec()));
    assert_eq!(cluster.failure.unwrap().class, FailureClass::Docker, "it is what it was, and so is the reason");
}

async fn a_cluster_that_was_never_built_is_built_from_its_new_spec(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Auth)))).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Failed);
    change(house).await;
    let work = house.lease_one(bastion).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Provisioning);
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Ready);
    assert_eq!(house.revisions("prod", "web").await, [(2, true), (1, false)]);
}

async fn what_a_change_is_weighed_against_is_read_at_once(house: &mut House) {
    let look = |house: &House| {
        let (store, environment, name) = (house.store.clone(), "prod".parse().unwrap(), "web".parse().unwrap());
        async move { store.present_cluster(&environment, &name).await.unwrap() }
    };
    assert_eq!(look(house).await, None);
    house.provisioned("prod", "web").await;
    let new = look(house).await.unwrap();
    assert_eq!((new.verified, new.agent, new.sealed_secrets), (None, None, Some(vec![7, 0, 7])));
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    change(house).await;
    let present = look(house).await.unwrap();
    assert_eq!((present.cluster.revision, present.sealed_secrets), (2, Some(vec![1, 0, 1])));
    let verified = present.verified.unwrap();
    assert_eq!((verified.number, verified.spec, verified.operation), (1, spec(), work.operation));
    assert_eq!(present.agent.map(|agent| agent.id), Some(bastion.agent));
}

async fn revisions_come_in_pages_newest_first(house: &mut House) {
    let bastion = built(house).await;
    for spec in [larger_spec(), spec(), larger_spec()] {
        let request = house.change_of("prod", "web", Some(spec)).await;
        accepted(house.store.accept_reconfigure(request).await.unwrap());
        let work = house.lease_one(bastion).await;
        house.start(bastion, &work).await;
        house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    }
    let id = house.cluster("prod", "web").await.id;
    let page = |after| house.store.revisions(id, PageRequest { after, limit: 3 });
    let first = page(None).await.unwrap();
    assert_eq!(first.items.iter().map(|revision| revision.number).collect::<Vec<_>>(), [4, 3, 2]);
    assert_eq!((first.items[0].spec.clone(), first.items[1].spec.clone()), (larger_spec(), spec()));
    assert_eq!(first.items[2].requested_by, "bob");
    let second = page(first.next).await.unwrap();
    assert_eq!((second.items.len(), second.items[0].number, second.next), (1, 1, None));
}
