//! Agents: enrolled once, seen, renewed.

use std::time::Duration;

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::audit::AuditOutcome;

use super::family;
use super::house::{House, entry, volume_status};
use crate::store::{EnrollRefusal, Enrolled, HeartbeatFacts, NewJoinToken, PageRequest};

family![
    an_agent_enrols_with_what_its_token_allows,
    hostile_row_29_of_ten_that_race_with_one_token_one_wins,
    hostile_row_30_every_reason_to_refuse_is_told_apart_and_audited,
    an_enrolment_whose_answer_was_lost_is_found_by_its_id,
    heartbeats_are_seen_and_survive_closing,
    versions_on_offer_are_remembered_in_order,
];

async fn an_agent_enrols_with_what_its_token_allows(house: &mut House) {
    house.token("secret", "team-*").await;
    let request = house.enrolment("secret", "bastion-a");
    assert_eq!(house.store.enroll_agent(request.clone()).await.unwrap(), Enrolled::New);
    let agent = house.store.agent(request.agent).await.unwrap().unwrap();
    assert_eq!((agent.name, agent.state), (request.name, AgentState::Active));
    assert_eq!(agent.environments.as_str(), "team-*");
    assert_eq!((agent.certificate_serial.as_str(), agent.enrolled_at), ("0a", house.now()));
    assert_eq!((agent.facts, agent.last_seen_at), (None, None));
}

async fn hostile_row_29_of_ten_that_race_with_one_token_one_wins(house: &mut House) {
    house.token("secret", "*").await;
    let racers = (0..10).map(|n| {
        let (store, request) = (house.store.clone(), house.enrolment("secret", &format!("bastion-{n}")));
        tokio::spawn(async move { store.enroll_agent(request).await.unwrap() })
    });
    let answers = futures::future::join_all(racers.collect::<Vec<_>>()).await;
    let answers: Vec<Enrolled> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Enrolled::New).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Enrolled::Refused(EnrollRefusal::Used)).count(), 9);
    assert_eq!(house.store.agents(PageRequest { after: None, limit: 20 }).await.unwrap().items.len(), 1);
}

async fn hostile_row_30_every_reason_to_refuse_is_told_apart_and_audited(house: &mut House) {
    let ask = |secret: &str, name: &str| house.store.enroll_agent(house.enrolment(secret, name));
    let refused = |why| Enrolled::Refused(why);
    assert_eq!(ask("none", "a").await.unwrap(), refused(EnrollRefusal::Unknown));
    let bound = house.token("bound", "*").await;
    let bound = NewJoinToken {
        id: house.id(),
        secret_sha256: super::house::hash("b2"),
        agent: Some("b".parse().unwrap()),
        ..bound
    };
    house.store.keep_join_token(bound, entry("join-token.create", "b")).await.unwrap();
    assert_eq!(ask("b2", "a").await.unwrap(), refused(EnrollRefusal::OtherName));
    assert_eq!(ask("b2", "b").await.unwrap(), Enrolled::New);
    assert_eq!(ask("b2", "b").await.unwrap(), refused(EnrollRefusal::Used));
    assert_eq!(ask("bound", "b").await.unwrap(), refused(EnrollRefusal::NameTaken));
    house.clock.advance(Duration::from_secs(3_601));
    assert_eq!(ask("bound", "c").await.unwrap(), refused(EnrollRefusal::Expired));
    let log = house.store.audit_entries(PageRequest { after: None, limit: 50 }).await.unwrap().items;
    let outcomes =
        |outcome| log.iter().filter(|r| r.entry.action == "agent.enroll" && r.entry.outcome == outcome).count();
    assert_eq!((outcomes(AuditOutcome::Refused), outcomes(AuditOutcome::Allowed)), (4, 1));
    let reused = log.iter().filter(|r| r.entry.action == "agent.join-token-reused").count();
    assert_eq!(reused, 1, "an event of its own");
}

async fn an_enrolment_whose_answer_was_lost_is_found_by_its_id(house: &mut House) {
    house.token("secret", "*").await;
    let request = house.enrolment("secret", "bastion-a");
    assert_eq!(house.store.enroll_agent(request.clone()).await.unwrap(), Enrolled::New);
    assert_eq!(house.store.enroll_agent(request).await.unwrap(), Enrolled::New);
    assert_eq!(house.store.agents(PageRequest { after: None, limit: 20 }).await.unwrap().items.len(), 1);
}

async fn heartbeats_are_seen_and_survive_closing(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let mut volume = volume_status(bastion.volume);
    for beat in 1..=10u64 {
        house.clock.advance(Duration::from_secs(10));
        volume.free_bytes = beat;
        let heartbeat = HeartbeatFacts { seen_at: house.now(), clock_skew_ms: -3, volumes: vec![volume.clone()] };
        house.store.note_heartbeat(bastion.agent, heartbeat).await.unwrap();
        let seen = house.store.agent(bastion.agent).await.unwrap().unwrap();
        assert_eq!((seen.last_seen_at, seen.clock_skew_ms), (Some(house.now()), Some(-3)));
        assert_eq!(seen.facts.unwrap().volumes, [volume.clone()]);
    }
    house.reopen().await;
    let seen = house.store.agents(PageRequest { after: None, limit: 1 }).await.unwrap().items.remove(0);
    assert_eq!((seen.last_seen_at, seen.clock_skew_ms), (Some(house.now()), Some(-3)));
    assert_eq!(seen.facts.unwrap().volumes, [volume]);
    let stranger = HeartbeatFacts { seen_at: house.now(), clock_skew_ms: 0, volumes: Vec::new() };
    house.store.note_heartbeat(house.id(), stranger).await.unwrap();
}

async fn versions_on_offer_are_remembered_in_order(house: &mut House) {
    assert!(house.store.kubernetes_versions().await.unwrap().is_empty());
    let bastion = house.bastion("bastion-a", "*").await;
    let mut connection = house.connection(bastion, Vec::new());
    connection.facts.kubernetes_versions = vec!["v1.31.1-rancher1-1".into()];
    house.store.connect_agent(connection).await.unwrap();
    let versions = house.store.kubernetes_versions().await.unwrap();
    assert_eq!(versions, ["v1.9.7-rancher2-2", "v1.30.14-rancher1-1", "v1.31.1-rancher1-1"]);
}
