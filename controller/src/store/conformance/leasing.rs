//! Handing out work: one run per cluster, each under a higher fence.

use std::collections::HashSet;

use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::operation::OperationState;
use cratekube_common::domain::run::RunVerdict;

use super::family;
use super::house::{House, older, spec};
use crate::store::{Applied, LeaseTasks};
use cratekube_common::domain::run::RunOutcome;

family![
    a_task_is_leased_with_all_an_agent_needs,
    hostile_row_50_two_agents_at_once_never_get_the_same_cluster,
    the_oldest_comes_first_and_no_more_than_asked_for,
    a_cluster_is_given_where_it_is_allowed_and_stays_there,
    only_volumes_that_are_the_agents_own_get_work,
    a_lease_whose_answer_was_lost_is_found_by_its_id,
    hostile_row_43_an_older_fence_changes_nothing,
    what_never_started_is_queued_again_with_a_higher_fence,
    what_started_is_not_given_back,
    a_lost_lease_keeps_the_cluster_locked_and_can_be_found_again,
];

async fn a_task_is_leased_with_all_an_agent_needs(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let operation = house.provisioned("prod", "web").await;
    let leased = house.lease(bastion, 4).await.remove(0);
    assert_eq!(leased.sealed_secrets, Some(vec![7, 0, 7]));
    let work = leased.assignment;
    assert_eq!((work.operation, work.volume, work.fence.0), (operation.id, bastion.volume, 1));
    assert_eq!((work.spec.clone(), work.known.clone()), (spec(), None));
    let found = house.look(operation.id).await;
    assert_eq!((found.state, found.started_at, found.waiting_for), (OperationState::Running, Some(house.now()), None));
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.volume), (ClusterPhase::Provisioning, Some(bastion.volume)));
    assert_eq!(house.store.held_attempts().await.unwrap(), [(work.attempt, bastion.agent)]);
    let agent = house.store.agent(bastion.agent).await.unwrap().unwrap();
    assert_eq!(agent.running, [work.attempt]);
    house.start(bastion, &work).await;
    let attempts = house.store.attempts(operation.id).await.unwrap();
    assert_eq!((attempts[0].state, attempts[0].started_at), (AttemptState::Started, Some(house.now())));
}

async fn hostile_row_50_two_agents_at_once_never_get_the_same_cluster(house: &mut House) {
    let (a, b) = (house.bastion("bastion-a", "*").await, house.bastion("bastion-b", "*").await);
    for n in 0..10 {
        house.provisioned("prod", &format!("web-{n}")).await;
    }
    let wishes = (0..8).map(|n| {
        let (store, wish) = (house.store.clone(), house.wish(if n % 2 == 0 { a } else { b }, 3));
        tokio::spawn(async move { store.lease_tasks(wish).await.unwrap() })
    });
    let answers = futures::future::join_all(wishes.collect::<Vec<_>>()).await;
    let leased: Vec<_> = answers.into_iter().flat_map(Result::unwrap).collect();
    let clusters: HashSet<_> = leased.iter().map(|task| task.assignment.cluster).collect();
    assert_eq!((leased.len(), clusters.len()), (10, 10));
    assert_eq!(house.store.held_attempts().await.unwrap().len(), 10);
}

async fn the_oldest_comes_first_and_no_more_than_asked_for(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let (first, second) = (house.provisioned("team-b", "one").await, house.provisioned("team-a", "two").await);
    let third = house.provisioned("team-b", "three").await;
    let order = |leased: Vec<crate::store::LeasedTask>| {
        leased.into_iter().map(|task| task.assignment.operation).collect::<Vec<_>>()
    };
    assert_eq!(order(house.lease(bastion, 2).await), [first.id, second.id]);
    assert_eq!(order(house.lease(bastion, 2).await), [third.id]);
    assert!(house.lease(bastion, 0).await.is_empty());
}

async fn a_cluster_is_given_where_it_is_allowed_and_stays_there(house: &mut House) {
    let (a, b) = (house.bastion("bastion-a", "*").await, house.bastion("bastion-b", "*").await);
    house.provisioned("prod", "web").await;
    let only_teams = LeaseTasks { environments: "team-*".parse().unwrap(), ..house.wish(b, 2) };
    assert!(house.store.lease_tasks(only_teams.clone()).await.unwrap().is_empty());
    let work = house.lease_one(a).await;
    house.store.start_attempt(a.agent, work.attempt, work.fence, house.now()).await.unwrap();
    house.settle(a, house.report(&work, RunOutcome::Succeeded)).await;
    house.remove("prod", "web").await;
    assert!(house.lease(b, 2).await.is_empty(), "it belongs to the first agent's volume now");
    let narrowed = LeaseTasks { environments: "team-*".parse().unwrap(), ..house.wish(a, 2) };
    assert_eq!(house.store.lease_tasks(narrowed).await.unwrap().len(), 1, "where its state is, it may stay");
}

async fn only_volumes_that_are_the_agents_own_get_work(house: &mut House) {
    let (a, b) = (house.bastion("bastion-a", "*").await, house.bastion("bastion-b", "*").await);
    house.provisioned("prod", "web").await;
    let claim = LeaseTasks { volumes: vec![a.volume], ..house.wish(b, 2) };
    assert!(house.store.lease_tasks(claim).await.unwrap().is_empty());
    let nobody = LeaseTasks { agent: house.id(), ..house.wish(a, 2) };
    assert!(house.store.lease_tasks(nobody).await.unwrap().is_empty());
    assert_eq!(house.lease_one(b).await.volume, b.volume);
}

async fn a_lease_whose_answer_was_lost_is_found_by_its_id(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let wish = house.wish(bastion, 2);
    let first = house.store.lease_tasks(wish.clone()).await.unwrap();
    assert_eq!(house.store.lease_tasks(wish).await.unwrap(), first);
    assert_eq!(house.store.held_attempts().await.unwrap().len(), 1);
}

async fn hostile_row_43_an_older_fence_changes_nothing(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let other = house.bastion("bastion-b", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    let start = |agent, fence| house.store.start_attempt(agent, work.attempt, fence, house.now());
    assert_eq!(start(bastion.agent, older(work.fence)).await.unwrap(), Applied::Stale);
    assert_eq!(start(other.agent, work.fence).await.unwrap(), Applied::Foreign);
    assert_eq!(house.store.attempts(work.operation).await.unwrap()[0].state, AttemptState::Leased);
    let progress = cratekube_common::domain::progress::Progress { phase: "etcd".into(), step: 2, steps: 9 };
    let say = |agent, fence| house.store.record_progress(agent, work.attempt, fence, progress.clone());
    assert_eq!(say(other.agent, work.fence).await.unwrap(), Applied::Foreign);
    assert_eq!(house.look(work.operation).await.progress, None);
    assert_eq!(say(bastion.agent, work.fence).await.unwrap(), Applied::Done(work.operation));
    assert_eq!(house.look(work.operation).await.progress, Some(progress.clone()));
    let release = house.store.release_attempt(other.agent, work.attempt, work.fence, String::new(), house.now());
    assert_eq!(release.await.unwrap(), Applied::Foreign);
}

async fn what_never_started_is_queued_again_with_a_higher_fence(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    let release = || house.store.release_attempt(bastion.agent, work.attempt, work.fence, "full".into(), house.now());
    assert_eq!(release().await.unwrap(), Applied::Done(work.operation));
    assert_eq!(release().await.unwrap(), Applied::Done(work.operation), "said twice");
    assert_eq!(house.look(work.operation).await.state, OperationState::Queued);
    let again = house.lease_one(bastion).await;
    assert_eq!((again.task, again.fence), (work.task, work.fence.next()));
    let late = house.store.start_attempt(bastion.agent, work.attempt, work.fence, house.now()).await.unwrap();
    assert_eq!(late, Applied::Stale);
    let states: Vec<_> = house.store.attempts(work.operation).await.unwrap().iter().map(|a| a.state).collect();
    assert_eq!(states, [AttemptState::Released, AttemptState::Leased]);
}

async fn what_started_is_not_given_back(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let release = || house.store.release_attempt(bastion.agent, work.attempt, work.fence, String::new(), house.now());
    assert_eq!(release().await.unwrap(), Applied::Stale);
    house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    assert_eq!(release().await.unwrap(), Applied::Stale, "unknown, but it started once");
    assert!(house.lease(bastion, 2).await.is_empty());
}

async fn a_lost_lease_keeps_the_cluster_locked_and_can_be_found_again(house: &mut House) {
    let (bastion, other) = (house.bastion("bastion-a", "*").await, house.bastion("bastion-b", "*").await);
    let work = house.running(bastion, "prod", "web").await;
    house.store.lose_attempts(vec![work.attempt, house.id()], house.now()).await.unwrap();
    let attempt = house.store.attempts(work.operation).await.unwrap().remove(0);
    assert_eq!((attempt.state, attempt.ended_at), (AttemptState::Unknown, None));
    assert_eq!(house.look(work.operation).await.state, OperationState::Running, "expiry is not failure");
    assert_eq!(house.store.held_attempts().await.unwrap().len(), 1);
    let verdicts = |agent| house.store.lease_verdicts(agent, vec![work.attempt]);
    assert_eq!(verdicts(other.agent).await.unwrap(), [(work.attempt, RunVerdict::Forget)]);
    assert_eq!(verdicts(bastion.agent).await.unwrap(), [(work.attempt, RunVerdict::Continue)]);
    assert_eq!(house.store.attempts(work.operation).await.unwrap()[0].state, AttemptState::Started);
}
