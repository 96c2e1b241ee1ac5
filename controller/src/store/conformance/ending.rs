//! Ends that people ask for: cancelling, giving up a run, and what admins do to agents.

use cratekube_common::domain::agent::{AgentEvent, AgentState};
use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::run::{RunOutcome, RunVerdict};

use super::family;
use super::house::{House, accepted, entry, failure, held};
use crate::plan::settle::RetryPolicy;
use crate::store::{AgentChanged, Cancellation, Forced, ForgetAgent, Forgotten, PageRequest, Settled};

family![
    hostile_row_51_what_waits_is_cancelled_at_once_and_never_starts,
    hostile_row_51_a_cancel_and_a_success_have_one_winner,
    a_run_that_was_cancelled_ends_its_operation_as_cancelled,
    a_cancelled_run_that_nobody_holds_is_cancelled_when_its_agent_connects,
    a_removal_that_is_called_off_before_it_ran_leaves_the_cluster_as_it_was,
    hostile_row_43_a_run_that_was_given_up_is_fenced_for_good,
    a_run_is_given_up_only_while_its_agent_is_away,
    a_run_that_never_started_is_given_up_too,
    an_agent_is_cordoned_drained_and_taken_back,
    an_agent_that_will_not_return_is_forgotten,
    an_agent_that_holds_runs_is_forgotten_by_force_only,
];

const PAGE: PageRequest = PageRequest { after: None, limit: 10 };

async fn hostile_row_51_what_waits_is_cancelled_at_once_and_never_starts(house: &mut House) {
    let provision = house.provisioned("prod", "web").await;
    let Cancellation::Cancelled(cancelled) = house.cancel(provision.id).await else { panic!("it ran") };
    assert_eq!((cancelled.state, cancelled.ended_at), (OperationState::Cancelled, Some(house.now())));
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation), (ClusterPhase::Failed, None));
    assert_eq!(cluster.failure.unwrap().class, FailureClass::Cancelled);
    let bastion = house.bastion("bastion-a", "*").await;
    assert!(house.lease(bastion, 4).await.is_empty(), "a cancelled task never starts");
    assert!(matches!(house.cancel(provision.id).await, Cancellation::Cancelled(_)), "asked twice, answered the same");
    assert_eq!(house.cancel(house.id()).await, Cancellation::NotFound);
    accepted(house.remove("prod", "web").await);
}

async fn hostile_row_51_a_cancel_and_a_success_have_one_winner(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let first = house.running(bastion, "prod", "one").await;
    house.settle(bastion, house.report(&first, RunOutcome::Succeeded)).await;
    assert_eq!(house.cancel(first.operation).await, Cancellation::Over(OperationState::Succeeded));
    let second = house.running(bastion, "prod", "two").await;
    let Cancellation::Ending { operation, agent, attempt } = house.cancel(second.operation).await else {
        panic!("it runs");
    };
    assert_eq!((operation.state, agent, attempt), (OperationState::Cancelling, bastion.agent, second.attempt));
    let verdicts = house.store.lease_verdicts(bastion.agent, vec![second.attempt]).await.unwrap();
    assert_eq!(verdicts, [(second.attempt, RunVerdict::Cancel)], "told again by every heartbeat");
    house.settle(bastion, house.report(&second, RunOutcome::Succeeded)).await;
    assert_eq!(house.look(second.operation).await.state, OperationState::Succeeded, "it came too late");
    assert_eq!(house.cluster("prod", "two").await.phase, ClusterPhase::Ready);
}

async fn a_run_that_was_cancelled_ends_its_operation_as_cancelled(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    for _ in 0..2 {
        assert!(matches!(house.cancel(work.operation).await, Cancellation::Ending { .. }));
    }
    let policy = RetryPolicy { attempts: 3, ..RetryPolicy::NEVER };
    let report = house.report(&work, RunOutcome::Failed(failure(FailureClass::Interrupted)));
    let settled = house.store.settle_attempt(bastion.agent, report, policy, house.now()).await.unwrap();
    assert!(matches!(settled, Settled::Now { retry: None, more_work: false, .. }), "{settled:?}");
    assert_eq!(house.look(work.operation).await.state, OperationState::Failed, "how far it came is not known");
    let again = house.operation(OperationKind::Provision, "prod", "web");
    let again = accepted(house.store.accept_operation(again).await.unwrap());
    let second = house.lease_one(bastion).await;
    house.cancel(again.id).await;
    house.settle(bastion, house.report(&second, RunOutcome::Failed(failure(FailureClass::Cancelled)))).await;
    assert_eq!(house.look(again.id).await.state, OperationState::Cancelled);
    let entries = house.store.audit_entries(PageRequest { after: None, limit: 50 }).await.unwrap().items;
    let cancels = entries.iter().filter(|record| record.entry.action == "operation.cancel").count();
    assert_eq!(cancels, 2, "one entry for each change, however often it was asked");
}

async fn a_cancelled_run_that_nobody_holds_is_cancelled_when_its_agent_connects(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    assert!(matches!(house.cancel(work.operation).await, Cancellation::Ending { .. }));
    assert_eq!(house.connect(bastion, vec![held(&work)]).await, [(work.attempt, RunVerdict::Cancel)]);
    house.connect(bastion, Vec::new()).await;
    assert_eq!(house.look(work.operation).await.state, OperationState::Cancelled);
    assert!(house.lease(bastion, 4).await.is_empty());
}

async fn a_removal_that_is_called_off_before_it_ran_leaves_the_cluster_as_it_was(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    let removal = accepted(house.remove("prod", "web").await);
    assert!(matches!(house.cancel(removal.id).await, Cancellation::Cancelled(_)));
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation, cluster.failure), (ClusterPhase::Ready, None, None));
    let removal = accepted(house.remove("prod", "web").await);
    let work = house.lease_one(bastion).await;
    house.cancel(removal.id).await;
    let release = house.store.release_attempt(bastion.agent, work.attempt, work.fence, "busy".into(), house.now());
    release.await.unwrap();
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Ready, "it was given back unstarted");
    let removal = accepted(house.remove("prod", "web").await);
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    house.cancel(removal.id).await;
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Cancelled)))).await;
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Failed, "it is half removed");
}

async fn hostile_row_43_a_run_that_was_given_up_is_fenced_for_good(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.append(bastion, &work, 0, "begun").await;
    house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    let Forced::Done(operation) = house.force("prod", "web", Vec::new()).await else { panic!("not forced") };
    assert_eq!(operation.state, OperationState::Failed);
    assert!(operation.failure.unwrap().message.contains("its host is gone"));
    assert_eq!(house.store.attempts(work.operation).await.unwrap()[0].state, AttemptState::Fenced);
    let report = house.report(&work, RunOutcome::Succeeded);
    let late = house.store.settle_attempt(bastion.agent, report, RetryPolicy::NEVER, house.now()).await.unwrap();
    assert_eq!(late, Settled::Stale);
    assert_eq!(house.append(bastion, &work, 5, "late").await, None);
    let kinds: Vec<_> = house.store.evidence(PAGE).await.unwrap().items.into_iter().map(|e| e.kind).collect();
    assert_eq!(kinds, ["output", "report"], "kept, and not applied");
    assert_eq!(house.connect(bastion, vec![held(&work)]).await, [(work.attempt, RunVerdict::Forget)]);
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Failed);
    assert_eq!(house.force("prod", "web", Vec::new()).await, Forced::NotLocked);
    let again = house.operation(OperationKind::Provision, "prod", "web");
    accepted(house.store.accept_operation(again).await.unwrap());
    let second = house.lease_one(bastion).await;
    assert!(second.fence.0 > work.fence.0 + 1, "the fence moved on when it was given up, and again now");
}

async fn a_run_is_given_up_only_while_its_agent_is_away(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    assert_eq!(house.force("prod", "web", Vec::new()).await, Forced::NotFound);
    let work = house.running(bastion, "prod", "web").await;
    assert_eq!(house.force("prod", "web", vec![bastion.agent]).await, Forced::Alive(bastion.agent));
    assert_eq!(house.look(work.operation).await.state, OperationState::Running);
}

async fn a_run_that_never_started_is_given_up_too(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    house.cancel(work.operation).await;
    assert!(matches!(house.force("prod", "web", Vec::new()).await, Forced::Done(_)));
    assert!(house.store.held_attempts().await.unwrap().is_empty());
    assert_eq!(house.cluster("prod", "web").await.operation, None);
}

async fn an_agent_is_cordoned_drained_and_taken_back(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    for event in [AgentEvent::Cordon, AgentEvent::Cordon, AgentEvent::Drain] {
        assert!(matches!(house.change(bastion.agent, event).await, AgentChanged::Done(_)));
        assert!(house.lease(bastion, 4).await.is_empty());
    }
    assert_eq!(house.change(bastion.agent, AgentEvent::Cordon).await, AgentChanged::NotAllowed(AgentState::Draining));
    house.reopen().await;
    let AgentChanged::Done(agent) = house.change(bastion.agent, AgentEvent::Uncordon).await else { panic!("refused") };
    assert_eq!(agent.state, AgentState::Active);
    assert_eq!(house.lease(bastion, 4).await.len(), 1);
    assert_eq!(house.change(house.id(), AgentEvent::Cordon).await, AgentChanged::NotFound);
}

async fn forget(house: &House, agent: cratekube_common::domain::id::AgentId, force: bool) -> Forgotten {
    let audit = entry("agent.forget", &agent.to_string());
    let request = ForgetAgent { agent, reason: "terminated".into(), force, audit, now: house.now() };
    house.store.forget_agent(request).await.unwrap()
}

async fn an_agent_that_will_not_return_is_forgotten(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "web").await;
    let removal = accepted(house.remove("prod", "web").await);
    assert_eq!(forget(house, bastion.agent, false).await, Forgotten::Done(Vec::new()));
    assert!(house.look(removal.id).await.waiting_for.unwrap().contains("No agent serves state volume"));
    assert!(house.lease(bastion, 4).await.is_empty());
    let heir = super::house::Bastion { agent: house.enrolled("bastion-a", "*").await, ..bastion };
    house.connect(heir, Vec::new()).await;
    assert_eq!(house.lease_one(heir).await.operation, removal.id, "who mounts the volume goes on");
    assert_eq!(forget(house, house.id(), false).await, Forgotten::NotFound);
}

async fn an_agent_that_holds_runs_is_forgotten_by_force_only(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    assert_eq!(forget(house, bastion.agent, false).await, Forgotten::Holds(vec![work.attempt]));
    assert_eq!(house.look(work.operation).await.state, OperationState::Running);
    assert_eq!(forget(house, bastion.agent, true).await, Forgotten::Done(vec![work.operation]));
    let failed = house.look(work.operation).await;
    assert_eq!(failed.state, OperationState::Failed);
    assert!(failed.failure.unwrap().message.contains("agent bastion-a was forgotten: terminated"));
}
