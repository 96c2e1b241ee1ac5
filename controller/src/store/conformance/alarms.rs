//! Alarms: they ring with what shows them, once while they are open, and are seen to once.

use std::time::Duration;

use cratekube_common::domain::alarm::{Alarm, AlarmKind, NewAlarm};
use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::RunOutcome;

use super::family;
use super::house::{Bastion, House, entry, failure, hash, held};
use crate::plan::settle::RetryPolicy;
use crate::store::{
    Acknowledge, Acknowledged, Applied, Bar, BarAgent, EventFilter, OutputAppended, PageRequest, RingAlarm, Settled,
};

family![
    an_alarm_rings_once_and_counts_while_nobody_has_seen_to_it,
    alarms_are_listed_open_or_not_and_counted_by_kind,
    hostile_row_29_a_token_that_comes_again_rings,
    hostile_row_34_nothing_of_a_run_moves_by_the_word_of_a_stranger,
    hostile_row_34_who_had_the_run_once_is_late_and_no_stranger,
    hostile_row_35_a_key_in_two_places_rings,
    hostile_row_60_a_changed_ca_rings_and_an_older_state_too,
];

const PAGE: PageRequest = PageRequest { after: None, limit: 10 };

async fn all(house: &House) -> Vec<Alarm> {
    house.store.alarms(None, PAGE).await.unwrap().items
}

async fn kinds(house: &House) -> Vec<(AlarmKind, u64)> {
    house.store.open_alarms().await.unwrap()
}

async fn told(house: &House) -> Vec<String> {
    let filter = EventFilter { administrative: true, kinds: vec!["alarm".into()], ..EventFilter::default() };
    let filter = EventFilter { environments: vec!["*".parse().unwrap()], ..filter };
    let events = house.store.events(0, filter, 100).await.unwrap().items;
    events.into_iter().map(|event| event.kind).collect()
}

async fn ring(house: &House, object: &str) -> bool {
    let kind = AlarmKind::ForeignRun;
    let alarm = NewAlarm { kind, object: object.into(), cluster: None, agent: None, detail: "first words".into() };
    let request = RingAlarm { alarm, audit: entry("agent.foreign-run", object), now: house.now() };
    house.store.ring_alarm(request).await.unwrap()
}

async fn acknowledge(house: &House, number: u64) -> Acknowledged {
    let audit = entry("alarm.acknowledge", &number.to_string());
    let request = Acknowledge { number, reason: "a mistake of ours".into(), audit, now: house.now() };
    house.store.acknowledge_alarm(request).await.unwrap()
}

async fn an_alarm_rings_once_and_counts_while_nobody_has_seen_to_it(house: &mut House) {
    assert!(ring(house, "a").await);
    house.clock.advance(Duration::from_secs(60));
    assert!(!ring(house, "a").await, "it rings already");
    let [alarm] = all(house).await.try_into().unwrap();
    assert_eq!((alarm.count, alarm.what.detail.as_str(), &alarm.acknowledged), (2, "first words", &None));
    assert_eq!(alarm.last_at.since(alarm.first_at), Duration::from_secs(60));
    assert_eq!(house.store.audit_entries(PAGE).await.unwrap().items.len(), 1, "whoever rings fills no log");
    let Acknowledged::Now(seen_to) = acknowledge(house, alarm.number).await else { panic!("not acknowledged") };
    let word = seen_to.acknowledged.unwrap();
    assert_eq!((word.by.as_str(), word.reason.as_str(), word.at), ("ann", "a mistake of ours", house.now()));
    assert_eq!(acknowledge(house, alarm.number).await, Acknowledged::Already);
    assert_eq!(acknowledge(house, 999).await, Acknowledged::NotFound);
    assert_eq!(house.store.audit_entries(PAGE).await.unwrap().items.len(), 2, "seen to once");
    assert!(ring(house, "a").await, "after that it is news again");
    assert_eq!(told(house).await, ["alarm.raised", "alarm.acknowledged", "alarm.raised"]);
    house.reopen().await;
    assert_eq!(all(house).await.len(), 2);
    house.clock.advance(Duration::from_secs(91 * 24 * 3_600));
    house.store.purge_expired(house.now()).await.unwrap();
    assert_eq!(all(house).await.len(), 1, "one that nobody has seen to is never forgotten");
}

async fn alarms_are_listed_open_or_not_and_counted_by_kind(house: &mut House) {
    for object in ["a", "b", "c"] {
        ring(house, object).await;
    }
    let first = house.store.alarms(None, PageRequest { after: None, limit: 2 }).await.unwrap();
    let rest = house.store.alarms(None, PageRequest { after: first.next, limit: 2 }).await.unwrap();
    let listed = first.items.iter().chain(&rest.items).map(|alarm| alarm.what.object.as_str());
    assert_eq!(listed.collect::<Vec<_>>(), ["c", "b", "a"]);
    acknowledge(house, first.items[1].number).await;
    let which = async |open| house.store.alarms(Some(open), PAGE).await.unwrap().items.len();
    assert_eq!((which(true).await, which(false).await), (2, 1));
    assert_eq!(kinds(house).await, [(AlarmKind::ForeignRun, 2)]);
}

async fn hostile_row_29_a_token_that_comes_again_rings(house: &mut House) {
    let token = house.token("secret", "*").await;
    let winner = house.enrolment("secret", "bastion-a");
    house.store.enroll_agent(winner.clone()).await.unwrap();
    assert!(all(house).await.is_empty());
    for name in ["thief", "thief-2"] {
        house.store.enroll_agent(house.enrolment("secret", name)).await.unwrap();
    }
    let [alarm] = all(house).await.try_into().unwrap();
    assert_eq!((alarm.what.kind, alarm.count), (AlarmKind::JoinTokenReused, 2));
    assert_eq!((alarm.what.object, alarm.what.agent), (token.id.to_string(), Some(winner.agent)));
    assert!(alarm.what.detail.contains("thief") && !alarm.what.detail.contains("secret"), "{}", alarm.what.detail);
}

async fn hostile_row_34_nothing_of_a_run_moves_by_the_word_of_a_stranger(house: &mut House) {
    let (owner, stranger) = (house.bastion("bastion-a", "*").await, house.bastion("bastion-b", "*").await);
    let work = house.running(owner, "prod", "web").await;
    house.append(owner, &work, 0, "mine").await;
    let before = (house.look(work.operation).await, house.cluster("prod", "web").await);
    let (agent, now, store) = (stranger.agent, house.now(), &house.store);
    let (attempt, fence) = (work.attempt, work.fence);
    let progress = Progress { phase: "etcd".into(), step: 1, steps: 2 };
    assert_eq!(store.start_attempt(agent, attempt, fence, now).await.unwrap(), Applied::Foreign);
    assert_eq!(store.record_progress(agent, attempt, fence, progress).await.unwrap(), Applied::Foreign);
    let release = store.release_attempt(agent, attempt, fence, "x".into(), now).await.unwrap();
    assert_eq!(release, Applied::Foreign);
    let data = bytes::Bytes::from_static(b" forged");
    let appended = store.append_output(agent, attempt, fence, 4, data, now).await.unwrap();
    assert_eq!(appended, OutputAppended::Foreign);
    let report = house.report(&work, RunOutcome::Succeeded);
    assert_eq!(store.settle_attempt(agent, report, RetryPolicy::NEVER, now).await.unwrap(), Settled::Foreign);
    assert_eq!((house.look(work.operation).await, house.cluster("prod", "web").await), before);
    assert!(store.evidence(PAGE).await.unwrap().items.is_empty());
    assert_eq!(store.attempts(work.operation).await.unwrap()[0].state, AttemptState::Started);
    house.settle(owner, house.report(&work, RunOutcome::Succeeded)).await;
}

async fn hostile_row_34_who_had_the_run_once_is_late_and_no_stranger(house: &mut House) {
    let old = house.bastion("bastion-a", "*").await;
    let work = house.running(old, "prod", "web").await;
    let new = Bastion { agent: house.enrolled("bastion-b", "*").await, volume: old.volume };
    house.connect(new, vec![held(&work)]).await;
    let report = house.report(&work, RunOutcome::Succeeded);
    let settle = |agent| house.store.settle_attempt(agent, report.clone(), RetryPolicy::NEVER, house.now());
    assert_eq!(settle(old.agent).await.unwrap(), Settled::Stale);
    house.settle(new, report.clone()).await;
    // A third host mounts the volume and finds the run's journal, when all is over.
    let third = Bastion { agent: house.enrolled("bastion-c", "*").await, volume: old.volume };
    house.connect(third, vec![held(&work)]).await;
    assert_eq!(settle(third.agent).await.unwrap(), Settled::Stale);
    assert_eq!(settle(house.id::<AgentId>()).await.unwrap(), Settled::Foreign);
}

async fn hostile_row_35_a_key_in_two_places_rings(house: &mut House) {
    let agent = house.enrolled("bastion-a", "*").await;
    let bar = async |bar| {
        let audit = entry("agent.quarantine", "bastion-a");
        house.store.bar_agent(BarAgent { agent, bar, audit, now: house.now() }).await.unwrap();
    };
    bar(Bar::Quarantine).await;
    bar(Bar::Quarantine).await;
    bar(Bar::Revoke).await;
    let [alarm] = all(house).await.try_into().unwrap();
    assert_eq!((alarm.what.kind, alarm.count, alarm.what.agent), (AlarmKind::KeyInTwoPlaces, 1, Some(agent)));
}

async fn hostile_row_60_a_changed_ca_rings_and_an_older_state_too(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Worker)))).await;
    assert!(all(house).await.is_empty());
    for (number, ca) in [(2, "another"), (1, "ca")] {
        let again = house.operation(OperationKind::Provision, "prod", "web");
        house.store.accept_operation(again).await.unwrap();
        let work = house.lease_one(bastion).await;
        house.start(bastion, &work).await;
        let mut report = house.report(&work, RunOutcome::Succeeded);
        let mut manifest = house.manifest(&work, number);
        manifest.ca_sha256 = Some(hash(ca));
        report.generation = Some(manifest);
        house.settle(bastion, report).await;
    }
    assert_eq!(kinds(house).await, [(AlarmKind::ClusterCaChanged, 1), (AlarmKind::StateContradicted, 1)]);
    let alarm = all(house).await.pop().unwrap();
    assert_eq!((alarm.what.object.as_str(), alarm.what.agent), ("prod/web", Some(bastion.agent)));
    assert!(alarm.what.cluster.is_some());
    let last = house.store.audit_entries(PAGE).await.unwrap().items.remove(0).entry;
    assert_eq!((last.action.as_str(), last.object.as_str()), ("alarm.state-contradicted", "prod/web"));
}
