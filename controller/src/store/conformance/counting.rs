//! What the store holds, in numbers: of what lives, not of the past.

use std::time::Duration;

use cratekube_common::domain::agent::{AgentEvent, AgentState};
use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::run::RunOutcome;

use super::family;
use super::house::{House, accepted, entry};
use crate::plan::settle::RetryPolicy;
use crate::store::{Figures, LiveOperations};

family![an_empty_store_holds_nothing, what_lives_is_counted_and_what_is_over_is_not];

async fn an_empty_store_holds_nothing(house: &mut House) {
    assert_eq!(house.store.figures().await.unwrap(), Figures::default());
}

async fn what_lives_is_counted_and_what_is_over_is_not(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let agent = house.store.agent(bastion.agent).await.unwrap().unwrap();
    house.ready(bastion, "prod", "one").await;
    let sealed = house.now();
    house.clock.advance(Duration::from_secs(60));
    let two = house.ready(bastion, "prod", "two").await;
    let third = house.provisioned("prod", "three").await;
    house.clock.advance(Duration::from_secs(5));
    house.provisioned("prod", "four").await;
    house.store.audit(entry("test", "x"), house.now()).await.unwrap();
    let figures = house.store.figures().await.unwrap();
    let queued = LiveOperations {
        state: OperationState::Queued,
        kind: OperationKind::Provision,
        count: 2,
        oldest: third.created_at,
    };
    assert_eq!(figures.operations, [queued]);
    assert_eq!(figures.clusters, [(ClusterPhase::Pending, 2), (ClusterPhase::Ready, 2)]);
    assert_eq!((figures.attempts.len(), figures.delayed_tasks, figures.volumes), (0, 0, 1));
    assert_eq!(figures.agents, [(AgentState::Active, 1)]);
    assert_eq!(figures.first_certificate_ends, Some(agent.certificate_not_after));
    assert_eq!(figures.oldest_generation, Some(sealed));
    assert!(figures.audit_entries > 0 && figures.evidence == 0);

    assert_eq!(house.lease(bastion, 1).await.len(), 1);
    let removal = accepted(house.remove("prod", "one").await);
    house.change(bastion.agent, AgentEvent::Cordon).await;
    let stale = house.report(&two, RunOutcome::Succeeded);
    let stale = cratekube_common::domain::run::RunReport { warnings: vec!["another".into()], ..stale };
    house.store.settle_attempt(bastion.agent, stale, RetryPolicy::NEVER, house.now()).await.unwrap();
    house.reopen().await;
    let figures = house.store.figures().await.unwrap();
    assert_eq!(figures.attempts, [(AttemptState::Leased, 1)]);
    assert_eq!(figures.agents, [(AgentState::Cordoned, 1)]);
    let of = |state, kind| figures.operations.iter().find(|o| o.state == state && o.kind == kind).map(|o| o.count);
    assert_eq!(of(OperationState::Running, OperationKind::Provision), Some(1));
    assert_eq!(of(OperationState::Queued, OperationKind::Remove), Some(1), "{removal:?}");
    assert_eq!(figures.evidence, 1);
}
