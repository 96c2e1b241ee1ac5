//! What happened, told in order: with the change or not at all.

use cratekube_common::domain::agent::AgentEvent;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::run::RunOutcome;

use super::family;
use super::house::{Bastion, House, accepted, failure, held};
use crate::store::{Acceptance, Event, EventFilter, Events};

family![
    every_step_of_a_cluster_is_told_once_and_in_order,
    what_is_refused_is_not_told,
    a_reader_goes_on_where_it_was_also_after_a_restart,
    each_reader_is_told_of_what_it_may_see,
    agents_and_volumes_are_told_to_administrators,
    who_waits_for_events_is_woken_by_them,
];

async fn read(house: &House, after: u64, filter: EventFilter) -> Events {
    house.store.events(after, filter, 1_000).await.unwrap()
}

fn everything() -> EventFilter {
    EventFilter { environments: vec![EnvironmentPattern::any()], administrative: true, ..EventFilter::default() }
}

fn of_clusters() -> EventFilter {
    EventFilter { administrative: false, ..everything() }
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

async fn every_step_of_a_cluster_is_told_once_and_in_order(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Etcd)))).await;
    let removal = accepted(house.remove("prod", "web").await);
    house.cancel(removal.id).await;
    let told = read(house, 0, of_clusters()).await.items;
    let expected = [
        "cluster.pending",
        "operation.accepted",
        "operation.running",
        "cluster.provisioning",
        "attempt.leased",
        "attempt.started",
        "attempt.unknown",
        "attempt.exited",
        "operation.failed",
        "cluster.failed",
        "operation.accepted",
        "cluster.removing",
        "operation.cancelled",
        "cluster.failed",
    ];
    assert_eq!(kinds(&told), expected);
    let failed = &told[8];
    assert_eq!((&failed.detail["kind"], &failed.detail["class"]), (&"provision".into(), &"etcd".into()));
    assert_eq!(
        (failed.operation, failed.cluster.as_ref().map(ToString::to_string)),
        (Some(work.operation), Some("web".into()))
    );
    assert!(told.windows(2).all(|pair| pair[0].number < pair[1].number && pair[0].at <= pair[1].at));
    assert_eq!((told[4].agent, &told[4].detail["fence"]), (Some(bastion.agent), &1.into()));
}

async fn what_is_refused_is_not_told(house: &mut House) {
    house.provisioned("prod", "web").await;
    let before = read(house, 0, everything()).await;
    let again = house.provision("prod", "web");
    assert_eq!(house.store.accept_provision(again).await.unwrap(), Acceptance::Exists);
    let snapshot = house.operation(OperationKind::Snapshot, "prod", "web");
    house.store.accept_operation(snapshot).await.unwrap();
    assert_eq!(read(house, 0, everything()).await, before);
}

async fn a_reader_goes_on_where_it_was_also_after_a_restart(house: &mut House) {
    for name in ["one", "two", "three"] {
        house.provisioned("prod", name).await;
    }
    let all = read(house, 0, everything()).await;
    assert_eq!((all.items.len(), all.oldest, all.newest), (6, 1, all.upto));
    house.reopen().await;
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let part = house.store.events(after, everything(), 1).await.unwrap();
        if part.items.is_empty() {
            break;
        }
        after = part.upto;
        seen.extend(part.items);
    }
    assert_eq!(seen, all.items, "nothing twice, nothing missed");
    house.provisioned("prod", "four").await;
    assert_eq!(kinds(&read(house, after, everything()).await.items), ["cluster.pending", "operation.accepted"]);
}

async fn each_reader_is_told_of_what_it_may_see(house: &mut House) {
    house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    house.provisioned("team-a", "web").await;
    house.provisioned("team-a", "db").await;
    let count = async |filter: EventFilter| read(house, 0, filter).await.items.len();
    let team = EventFilter { environments: vec!["team-*".parse().unwrap()], ..EventFilter::default() };
    assert_eq!(count(team.clone()).await, 4);
    assert_eq!(count(EventFilter { environment: Some("prod".parse().unwrap()), ..team.clone() }).await, 0);
    assert_eq!(count(EventFilter { cluster: Some("db".parse().unwrap()), ..team.clone() }).await, 2);
    assert_eq!(count(EventFilter { kinds: vec!["operation".into()], ..team.clone() }).await, 2);
    assert_eq!(count(EventFilter { kinds: vec!["operation.accepted".into(), "cluster".into()], ..team }).await, 4);
    assert_eq!(count(EventFilter { kinds: vec!["oper".into()], ..everything() }).await, 0, "a whole word");
    assert_eq!(count(EventFilter::default()).await, 0);
    let nobody = read(house, 0, EventFilter::default()).await;
    assert_eq!(nobody.upto, nobody.newest, "a reader that may see nothing gets on all the same");
}

async fn agents_and_volumes_are_told_to_administrators(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.change(bastion.agent, AgentEvent::Drain).await;
    house.change(bastion.agent, AgentEvent::Drain).await;
    house.store.note_disconnect(bastion.agent).await.unwrap();
    let heir = Bastion { agent: house.enrolled("bastion-b", "*").await, ..bastion };
    house.connect(heir, Vec::new()).await;
    let told = read(house, 0, everything()).await.items;
    let expected = [
        "agent.enrolled",
        "agent.connected",
        "volume.served",
        "agent.draining",
        "agent.disconnected",
        "agent.enrolled",
        "agent.connected",
        "volume.served",
    ];
    assert_eq!(kinds(&told), expected);
    assert_eq!(told[7].detail["from"], bastion.agent.to_string());
    assert_eq!(told[3].detail["name"], "bastion-a");
    let work = house.running(heir, "prod", "web").await;
    let third = Bastion { agent: house.enrolled("bastion-c", "*").await, ..bastion };
    house.connect(third, vec![held(&work)]).await;
    let told = read(house, 0, EventFilter { kinds: vec!["attempt.taken-over".into()], ..everything() }).await.items;
    assert_eq!((told.len(), told[0].agent), (1, Some(third.agent)));
}

async fn who_waits_for_events_is_woken_by_them(house: &mut House) {
    let mut happens = house.store.events_happen();
    happens.borrow_and_update();
    house.store.ready().await.unwrap();
    assert!(!happens.has_changed().unwrap(), "nothing happened");
    house.provisioned("prod", "web").await;
    happens.changed().await.unwrap();
}
