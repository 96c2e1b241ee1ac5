//! Managed resources: kept, brought in, judged, withdrawn; and the set of an environment.

use cratekube_common::domain::cluster::resource::{
    ConfigureFindings, ObjectRef, RemovalStatus, ResourceMode, ResourceState, ResourceStatus,
};
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind;

use super::family;
use super::house::{Bastion, House, entry, failure};
use crate::store::{
    Cancellation, ConfigureIds, DeleteResource, Holder, NewResource, PutResource, Resource, ResourceChange, Seen,
};

family![
    a_resource_of_a_ready_cluster_makes_an_operation_and_its_findings_are_kept,
    what_an_agent_was_given_may_be_there_although_it_never_reported,
    a_change_during_a_run_is_not_taken_for_what_the_run_applied,
    a_withdrawn_resource_goes_when_the_cluster_has_nothing_of_it,
    a_new_cluster_gets_the_set_of_its_environment_and_keeps_it,
    a_configuration_that_failed_leaves_the_cluster_and_is_tried_again,
    resources_are_bounded_and_not_of_clusters_that_go,
];

fn object(name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        namespace: Some("workspace".into()),
        name: name.into(),
    }
}

fn holder(cluster: Option<&str>) -> Holder {
    Holder { environment: "prod".parse().unwrap(), cluster: cluster.map(|name| name.parse().unwrap()) }
}

fn ids(house: &House) -> ConfigureIds {
    ConfigureIds { operation: house.id(), tasks: house.work(&[TaskKind::Configure]) }
}

fn wanted(house: &House, cluster: Option<&str>, name: &str, text: &str) -> PutResource {
    PutResource {
        holder: holder(cluster),
        resource: NewResource {
            name: name.parse().unwrap(),
            mode: ResourceMode::Sync,
            digest: text.into(),
            wanted: vec![object(text)],
            sealed: text.bytes().rev().collect(),
        },
        seen: Seen::Untold,
        ids: ids(house),
        requested_by: "ann".into(),
        audit: entry("resource.put", name),
        now: house.now(),
    }
}

async fn put(house: &House, request: PutResource) -> ResourceChange {
    house.store.put_resource(request).await.unwrap()
}

async fn delete(house: &House, name: &str) -> ResourceChange {
    let request = DeleteResource {
        holder: holder(Some("web")),
        name: name.parse().unwrap(),
        seen: Seen::Untold,
        ids: ids(house),
        requested_by: "ann".into(),
        audit: entry("resource.delete", name),
        now: house.now(),
    };
    house.store.delete_resource(request).await.unwrap()
}

async fn all(house: &House) -> Vec<Resource> {
    house.store.resources(house.cluster("prod", "web").await.id).await.unwrap()
}

/// A configuration ends with these states, each under the digest that it was given.
async fn found(house: &House, bastion: Bastion, work: &Assignment, resources: &[(&str, &str, ResourceState)]) {
    let status = |(name, digest, state): &(&str, &str, ResourceState)| ResourceStatus {
        name: name.parse().unwrap(),
        state: *state,
        digest: (*digest).into(),
        objects: vec![object(digest)],
        faults: Vec::new(),
    };
    let findings = ConfigureFindings { resources: resources.iter().map(status).collect(), ..Default::default() };
    told(house, bastion, work, RunOutcome::Succeeded, Some(&findings)).await;
}

async fn told(
    house: &House,
    bastion: Bastion,
    work: &Assignment,
    outcome: RunOutcome,
    findings: Option<&ConfigureFindings>,
) {
    let findings = findings.map(|findings| serde_json::to_value(findings).unwrap());
    let report = RunReport { findings, generation: None, rke: None, ..house.report(work, outcome) };
    house.settle(bastion, report).await;
}

async fn built(house: &House) -> Bastion {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    bastion
}

async fn configuring(house: &House, bastion: Bastion) -> Assignment {
    let work = house.lease_one(bastion).await;
    assert_eq!(work.kind, TaskKind::Configure);
    house.start(bastion, &work).await;
    work
}

async fn a_resource_of_a_ready_cluster_makes_an_operation_and_its_findings_are_kept(house: &mut House) {
    let bastion = built(house).await;
    let request = wanted(house, Some("web"), "page", "one");
    let operation = request.ids.operation;
    match put(house, request).await {
        ResourceChange::Kept { resource, created: true, operation: Some(made) } => {
            assert_eq!((made, resource.revision, resource.status.state), (operation, 1, ResourceState::Pending));
        }
        other => panic!("{other:?}"),
    }
    house.reopen().await;
    let queued = house.look(operation).await;
    assert_eq!((queued.kind, queued.state), (OperationKind::Configure, OperationState::Queued));
    let second = put(house, wanted(house, Some("web"), "other", "two")).await;
    assert!(matches!(second, ResourceChange::Kept { operation: Some(along), .. } if along == operation), "{second:?}");
    let mut leased = house.lease(bastion, 4).await;
    let task = leased.remove(0);
    let names: Vec<_> = task.resources.iter().map(|r| (r.resource.name.as_str(), r.sealed.clone())).collect();
    assert_eq!(names, [("page", b"eno".to_vec()), ("other", b"owt".to_vec())], "in the order of asking");
    assert_eq!((task.asked, leased.len()), (OperationKind::Configure, 0));
    house.start(bastion, &task.assignment).await;
    let states = [("page", "one", ResourceState::Applied), ("other", "two", ResourceState::Failed)];
    found(house, bastion, &task.assignment, &states).await;
    let states: Vec<_> =
        all(house).await.into_iter().map(|r| (r.status.state, r.status.checked_at.is_some())).collect();
    assert_eq!(states, [(ResourceState::Applied, true), (ResourceState::Failed, true)]);
    assert_eq!(house.look(operation).await.state, OperationState::Succeeded);
    assert_eq!(house.cluster("prod", "web").await.operation, None);
}

async fn what_an_agent_was_given_may_be_there_although_it_never_reported(house: &mut House) {
    let bastion = built(house).await;
    put(house, wanted(house, Some("web"), "page", "one")).await;
    let work = configuring(house, bastion).await;
    told(house, bastion, &work, RunOutcome::Failed(failure(FailureClass::Interrupted)), None).await;
    let known = all(house).await.remove(0);
    assert_eq!((known.status.state, known.status.objects), (ResourceState::Pending, vec![object("one")]));
    let gone = delete(house, "page").await;
    assert!(matches!(gone, ResourceChange::Kept { operation: Some(_), .. }), "it must be taken away: {gone:?}");
}

async fn a_change_during_a_run_is_not_taken_for_what_the_run_applied(house: &mut House) {
    let bastion = built(house).await;
    put(house, wanted(house, Some("web"), "page", "one")).await;
    let work = configuring(house, bastion).await;
    let request = PutResource { seen: Seen::Revision(1), ..wanted(house, Some("web"), "page", "two") };
    assert_eq!(put(house, request.clone()).await, ResourceChange::Busy(work.operation));
    // An agent that answers for something else than what is wanted says nothing of it, but what it left is known.
    found(house, bastion, &work, &[("page", "stale", ResourceState::Applied)]).await;
    let page = all(house).await.remove(0);
    assert_eq!((page.status.state, page.status.objects), (ResourceState::Pending, vec![object("stale")]));
    assert!(matches!(put(house, request).await, ResourceChange::Kept { created: false, .. }));
    let blind = put(house, wanted(house, Some("web"), "page", "three")).await;
    assert_eq!(blind, ResourceChange::Unseen(2));
}

async fn a_withdrawn_resource_goes_when_the_cluster_has_nothing_of_it(house: &mut House) {
    let bastion = built(house).await;
    put(house, wanted(house, Some("web"), "page", "one")).await;
    let work = configuring(house, bastion).await;
    found(house, bastion, &work, &[("page", "one", ResourceState::Applied)]).await;
    assert!(matches!(delete(house, "page").await, ResourceChange::Kept { .. }));
    let work = configuring(house, bastion).await;
    let removal = |objects| RemovalStatus { name: "page".parse().unwrap(), objects, faults: Vec::new() };
    let left = ConfigureFindings { removed: vec![removal(vec![object("one")])], ..Default::default() };
    told(house, bastion, &work, RunOutcome::Failed(failure(FailureClass::Timeout)), Some(&left)).await;
    let page = all(house).await.remove(0);
    assert_eq!((page.status.withdrawn, page.status.state), (true, ResourceState::Failed));
    assert!(matches!(delete(house, "page").await, ResourceChange::Kept { .. }), "and is tried again");
    let work = configuring(house, bastion).await;
    let gone = ConfigureFindings { removed: vec![removal(Vec::new())], ..Default::default() };
    told(house, bastion, &work, RunOutcome::Succeeded, Some(&gone)).await;
    assert_eq!(all(house).await, []);
    assert_eq!(delete(house, "page").await, ResourceChange::NotFound);
}

async fn a_new_cluster_gets_the_set_of_its_environment_and_keeps_it(house: &mut House) {
    for (name, text) in [("b", "one"), ("a", "two")] {
        assert!(matches!(
            put(house, wanted(house, None, name, text)).await,
            ResourceChange::Kept { created: true, .. }
        ));
    }
    house.provisioned("prod", "web").await;
    house.provisioned("dev", "web").await;
    let mine = all(house).await;
    let names: Vec<_> = mine.iter().map(|r| (r.name.as_str(), r.status.inherited)).collect();
    assert_eq!(names, [("a", true), ("b", true)]);
    let other = house.store.resources(house.cluster("dev", "web").await.id).await.unwrap();
    assert_eq!(other, [], "another environment has its own");
    let request = DeleteResource {
        holder: holder(None),
        name: "a".parse().unwrap(),
        seen: Seen::Revision(1),
        ids: ids(house),
        requested_by: "ann".into(),
        audit: entry("resource.delete", "a"),
        now: house.now(),
    };
    assert_eq!(house.store.delete_resource(request).await.unwrap(), ResourceChange::Gone);
    assert_eq!(
        (house.store.default_resources(&"prod".parse().unwrap()).await.unwrap().len(), all(house).await.len()),
        (1, 2)
    );
}

async fn a_configuration_that_failed_leaves_the_cluster_and_is_tried_again(house: &mut House) {
    let bastion = built(house).await;
    put(house, wanted(house, Some("web"), "page", "one")).await;
    let work = configuring(house, bastion).await;
    told(house, bastion, &work, RunOutcome::Failed(failure(FailureClass::Unreachable)), None).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase.as_str(), cluster.failure, cluster.operation), ("ready", None, None));
    let mut again = house.operation(OperationKind::Configure, "prod", "web");
    again.retry_of = Some((work.operation, cluster.id));
    let again = super::house::accepted(house.store.accept_operation(again).await.unwrap());
    assert!(matches!(house.cancel(again.id).await, Cancellation::Cancelled(_)));
    assert_eq!(house.cluster("prod", "web").await.phase.as_str(), "ready", "nothing ran");
    let same = put(house, wanted(house, Some("web"), "page", "one")).await;
    assert!(matches!(same, ResourceChange::Kept { operation: Some(_), .. }), "asked for again: {same:?}");
}

async fn resources_are_bounded_and_not_of_clusters_that_go(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Auth)))).await;
    for n in 0..200 {
        let kept = put(house, wanted(house, Some("web"), &format!("r-{n}"), "one")).await;
        assert!(
            matches!(kept, ResourceChange::Kept { operation: None, .. }),
            "it gets them when it is built: {kept:?}"
        );
    }
    assert_eq!(put(house, wanted(house, Some("web"), "more", "one")).await, ResourceChange::TooMany);
    assert_eq!(delete(house, "r-7").await, ResourceChange::Gone);
    house.remove("prod", "web").await;
    let late = put(house, wanted(house, Some("web"), "more", "one")).await;
    assert!(matches!(late, ResourceChange::NotAllowed(_)), "{late:?}");
}
