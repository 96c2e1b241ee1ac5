//! Agents that connect: what they hold goes on, what they never began is handed out again.

use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::operation::OperationState;
use cratekube_common::domain::run::{HeldRun, RunOutcome, RunVerdict};

use super::family;
use super::house::{Bastion, House, facts, held, older, volume_status};
use crate::store::{Applied, ConnectAgent, HeartbeatFacts};

family![
    a_held_run_goes_on,
    what_was_leased_and_is_not_held_is_queued_again,
    what_was_held_in_memory_only_is_queued_again_when_it_is_gone,
    what_started_and_is_not_held_stays_locked,
    hostile_row_54_a_new_agent_with_the_old_volume_goes_on,
    hostile_row_55_a_contested_volume_is_not_taken_over,
    what_is_over_or_under_an_old_fence_is_forgotten,
    a_volume_that_cannot_be_read_proves_nothing,
    an_agent_that_is_not_known_is_told_to_forget,
    connecting_twice_is_connecting_once,
    a_volume_mounted_later_is_taken_by_a_heartbeat,
];

async fn state(house: &House, work: &cratekube_common::domain::run::Assignment) -> AttemptState {
    let attempts = house.store.attempts(work.operation).await.unwrap();
    attempts.iter().find(|attempt| attempt.id == work.attempt).unwrap().state
}

async fn a_held_run_goes_on(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    let verdicts = house.connect(bastion, vec![held(&work)]).await;
    assert_eq!(verdicts, [(work.attempt, RunVerdict::Continue)]);
    assert_eq!(state(house, &work).await, AttemptState::Unknown, "that it started is for the agent to say");
    let started = house.store.start_attempt(bastion.agent, work.attempt, work.fence, house.now()).await.unwrap();
    assert_eq!(started, Applied::Done(work.operation));
    assert_eq!(state(house, &work).await, AttemptState::Started);
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
}

async fn what_was_leased_and_is_not_held_is_queued_again(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let first = house.provisioned("prod", "one").await;
    let work = house.lease_one(bastion).await;
    house.provisioned("prod", "two").await;
    let lost = house.lease_one(bastion).await;
    house.store.lose_attempts(vec![lost.attempt], house.now()).await.unwrap();
    house.connect(bastion, Vec::new()).await;
    assert_eq!(state(house, &work).await, AttemptState::Released);
    assert_eq!(state(house, &lost).await, AttemptState::Released, "it was never said to have started");
    assert_eq!(house.look(first.id).await.state, OperationState::Queued);
    assert_eq!(house.lease(bastion, 4).await.len(), 2);
}

async fn what_was_held_in_memory_only_is_queued_again_when_it_is_gone(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    assert_eq!(house.connect(bastion, vec![held(&work)]).await, [(work.attempt, RunVerdict::Continue)]);
    assert_eq!(state(house, &work).await, AttemptState::Leased, "no journal has it yet");
    house.connect(bastion, Vec::new()).await;
    assert_eq!(state(house, &work).await, AttemptState::Released);
    // Nothing ever ran for it: another agent may have it.
    let other = house.bastion("bastion-b", "*").await;
    assert_eq!(house.lease(other, 4).await.len(), 1);
}

async fn what_started_and_is_not_held_stays_locked(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.connect(bastion, Vec::new()).await;
    assert_eq!(state(house, &work).await, AttemptState::Unknown);
    assert!(house.lease(bastion, 4).await.is_empty());
}

async fn hostile_row_54_a_new_agent_with_the_old_volume_goes_on(house: &mut House) {
    let old = house.bastion("bastion-a", "*").await;
    let work = house.running(old, "prod", "web").await;
    house.append(old, &work, 0, "begun ").await;
    house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    let new = Bastion { agent: house.enrolled("bastion-b", "*").await, volume: old.volume };
    assert_eq!(house.connect(new, vec![held(&work)]).await, [(work.attempt, RunVerdict::Continue)]);
    let late = house.store.start_attempt(old.agent, work.attempt, work.fence, house.now()).await.unwrap();
    assert_eq!(late, Applied::Stale, "the old agent is fenced off");
    assert_eq!(house.append(old, &work, 6, "twice").await, None);
    assert_eq!(house.append(new, &work, 6, "ended").await, Some(11));
    house.settle(new, house.report(&work, RunOutcome::Succeeded)).await;
    house.remove("prod", "web").await;
    assert!(house.lease(old, 4).await.is_empty(), "the volume is the new agent's");
    assert_eq!(house.lease(new, 4).await.len(), 1);
}

async fn hostile_row_55_a_contested_volume_is_not_taken_over(house: &mut House) {
    let old = house.bastion("bastion-a", "*").await;
    let work = house.running(old, "prod", "web").await;
    let clone = Bastion { agent: house.enrolled("bastion-b", "*").await, volume: old.volume };
    let connection = ConnectAgent { contested: vec![old.volume], ..house.connection(clone, vec![held(&work)]) };
    let verdicts = house.store.connect_agent(connection).await.unwrap();
    assert_eq!(verdicts, [(work.attempt, RunVerdict::Forget)]);
    assert_eq!(state(house, &work).await, AttemptState::Started);
    assert_eq!(house.append(old, &work, 0, "still mine").await, Some(10));
    house.provisioned("prod", "other").await;
    assert!(house.lease(clone, 4).await.is_empty());
}

async fn what_is_over_or_under_an_old_fence_is_forgotten(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let done = house.ready(bastion, "prod", "done").await;
    let live = house.running(bastion, "prod", "live").await;
    let old = HeldRun { fence: older(live.fence), ..held(&live) };
    let never = HeldRun { attempt: house.id(), ..held(&live) };
    let verdicts = house.connect(bastion, vec![held(&done), old, never, held(&live)]).await;
    let words: Vec<_> = verdicts.iter().map(|(_, verdict)| *verdict).collect();
    assert_eq!(words, [RunVerdict::Forget, RunVerdict::Forget, RunVerdict::Forget, RunVerdict::Continue]);
    assert_eq!(verdicts[3].0, live.attempt);
}

async fn a_volume_that_cannot_be_read_proves_nothing(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    let mut connection = house.connection(bastion, Vec::new());
    connection.facts.volumes[0].fault = Some("read-only".into());
    house.store.connect_agent(connection).await.unwrap();
    assert_eq!(state(house, &work).await, AttemptState::Leased);
}

async fn an_agent_that_is_not_known_is_told_to_forget(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let stranger = Bastion { agent: house.id(), volume: bastion.volume };
    assert_eq!(house.connect(stranger, vec![held(&work)]).await, [(work.attempt, RunVerdict::Forget)]);
    assert_eq!(house.store.agent(stranger.agent).await.unwrap(), None);
    assert_eq!(house.append(bastion, &work, 0, "x").await, Some(1));
}

async fn connecting_twice_is_connecting_once(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let first = house.connect(bastion, vec![held(&work)]).await;
    let before = house.store.attempts(work.operation).await.unwrap();
    assert_eq!(house.connect(bastion, vec![held(&work)]).await, first);
    assert_eq!(house.store.attempts(work.operation).await.unwrap(), before);
    let agent = house.store.agent(bastion.agent).await.unwrap().unwrap();
    assert_eq!(agent.facts, Some(facts(bastion.volume)));
    assert_eq!(agent.last_seen_at, Some(house.now()));
}

async fn a_volume_mounted_later_is_taken_by_a_heartbeat(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let later = Bastion { volume: house.id(), ..bastion };
    house.provisioned("prod", "web").await;
    assert!(house.lease(later, 1).await.is_empty());
    let volumes = vec![volume_status(bastion.volume), volume_status(later.volume)];
    let heartbeat = HeartbeatFacts { seen_at: house.now(), clock_skew_ms: 4, volumes };
    house.store.note_heartbeat(bastion.agent, heartbeat).await.unwrap();
    assert_eq!(house.lease_one(later).await.volume, later.volume);
}
