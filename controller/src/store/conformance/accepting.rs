//! Requests for clusters: recorded once, whoever asks how often.

use std::time::Duration;

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::operation::OperationState;

use super::family;
use super::house::{House, accepted, spec};
use crate::store::{Acceptance, PageRequest};

family![
    a_request_is_recorded_whole,
    a_name_is_used_by_one_cluster_at_a_time,
    hostile_row_26_twenty_equal_requests_at_once_make_one_cluster,
    hostile_row_26_a_key_means_one_request_of_one_subject,
    a_key_is_free_again_when_it_has_ended,
    hostile_row_45_a_request_whose_answer_was_lost_is_found_by_its_id,
    hostile_row_45_what_was_answered_is_there_after_reopening,
];

async fn a_request_is_recorded_whole(house: &mut House) {
    let request = house.provision("prod", "web");
    let operation = accepted(house.store.accept_provision(request.clone()).await.unwrap());
    assert_eq!((operation.id, operation.state), (request.operation, OperationState::Queued));
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.id, cluster.phase, cluster.revision), (request.cluster, ClusterPhase::Pending, 1));
    assert_eq!((cluster.operation, cluster.volume), (Some(operation.id), None));
    assert_eq!(cluster.spec, spec());
    let found = house.look(operation.id).await;
    assert!(found.waiting_for.as_ref().is_some_and(|why| why.contains("prod")), "{:?}", found.waiting_for);
    assert_eq!(cratekube_common::domain::operation::Operation { waiting_for: None, ..found }, operation);
    let log = house.store.audit_entries(PageRequest { after: None, limit: 10 }).await.unwrap();
    assert_eq!(log.items.len(), 1, "one change, one entry");
    assert_eq!((log.items[0].number, &log.items[0].entry), (1, &request.audit));
    assert_eq!(house.store.operation(house.id()).await.unwrap(), None);
}

async fn a_name_is_used_by_one_cluster_at_a_time(house: &mut House) {
    house.provisioned("prod", "web").await;
    assert_eq!(house.store.accept_provision(house.provision("prod", "web")).await.unwrap(), Acceptance::Exists);
    house.provisioned("team-a", "web").await;
    house.remove("prod", "web").await;
    house.provisioned("prod", "web").await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Pending, "the newest of that name");
}

async fn hostile_row_26_twenty_equal_requests_at_once_make_one_cluster(house: &mut House) {
    let requests = (0..20).map(|_| {
        let mut request = house.provision("prod", "web");
        request.idempotency = house.key("ann", "k1", "d1");
        let store = house.store.clone();
        tokio::spawn(async move { store.accept_provision(request).await.unwrap() })
    });
    let (mut first, mut operations) = (0, Vec::new());
    for answer in futures::future::join_all(requests.collect::<Vec<_>>()).await {
        match answer.unwrap() {
            Acceptance::Accepted(operation) => {
                first += 1;
                operations.push(operation.id);
            }
            Acceptance::Replayed(operation) => operations.push(operation.id),
            other => panic!("{other:?}"),
        }
    }
    operations.dedup();
    assert_eq!((first, operations.len()), (1, 1));
    let environments = house.store.environments().await.unwrap();
    assert_eq!(environments[0].clusters, 1);
}

async fn hostile_row_26_a_key_means_one_request_of_one_subject(house: &mut House) {
    let ask = |subject: &str, key: &str, digest: &str, name: &str| {
        let mut request = house.provision("prod", name);
        request.idempotency = house.key(subject, key, digest);
        house.store.accept_provision(request)
    };
    let first = accepted(ask("ann", "k1", "d1", "web").await.unwrap());
    assert_eq!(ask("ann", "k1", "d2", "other").await.unwrap(), Acceptance::KeyReused);
    accepted(ask("bob", "k1", "d9", "bobs").await.unwrap());
    match ask("ann", "k1", "d1", "web").await.unwrap() {
        Acceptance::Replayed(operation) => assert_eq!(operation.id, first.id),
        other => panic!("{other:?}"),
    }
}

async fn a_key_is_free_again_when_it_has_ended(house: &mut House) {
    let mut request = house.provision("prod", "web");
    request.idempotency = house.key("ann", "k1", "d1");
    accepted(house.store.accept_provision(request).await.unwrap());
    house.clock.advance(Duration::from_secs(61));
    let mut request = house.provision("prod", "web");
    request.idempotency = house.key("ann", "k1", "d2");
    assert_eq!(house.store.accept_provision(request).await.unwrap(), Acceptance::Exists);
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 0, "it made room for itself");
}

async fn hostile_row_45_a_request_whose_answer_was_lost_is_found_by_its_id(house: &mut House) {
    let request = house.provision("prod", "web");
    accepted(house.store.accept_provision(request.clone()).await.unwrap());
    match house.store.accept_provision(request.clone()).await.unwrap() {
        Acceptance::Replayed(operation) => assert_eq!(operation.id, request.operation),
        other => panic!("{other:?}"),
    }
}

async fn hostile_row_45_what_was_answered_is_there_after_reopening(house: &mut House) {
    let mut request = house.provision("prod", "web");
    request.idempotency = house.key("ann", "k1", "d1");
    let operation = accepted(house.store.accept_provision(request.clone()).await.unwrap());
    house.reopen().await;
    assert_eq!(house.look(operation.id).await.id, operation.id);
    let replayed = house.store.accept_provision(request).await.unwrap();
    assert!(matches!(replayed, Acceptance::Replayed(_)), "{replayed:?}");
    let bastion = house.bastion("bastion-a", "*").await;
    assert_eq!(house.lease_one(bastion).await.operation, operation.id, "the task was not lost");
}
