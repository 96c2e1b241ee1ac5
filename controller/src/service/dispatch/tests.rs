//! The conversation with agents that come, go, and come back after a long time.

use std::collections::BTreeSet;

use cratekube_common::domain::agent::AgentEvent;
use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::id::ClusterId;
use cratekube_common::domain::operation::OperationState;
use cratekube_common::domain::run::{Assignment, HeldRun, RunOutcome};

use super::*;
use crate::service::spec_secrets::VaultError;
use crate::store::Settled;
use crate::store::conformance::house::{Bastion, House, facts, failure, held};
use crate::store::conformance::{Opened, Place};
use crate::store::sqlite::{Execution, SqliteOptions, SqliteStore};

/// How long a lease lasts here.
const TTL: Duration = Duration::from_secs(60);
/// Three tries in all, a minute apart at first.
const THRICE: RetryPolicy =
    RetryPolicy { attempts: 3, delay: Duration::from_secs(60), delay_max: Duration::from_secs(600) };

#[test]
fn hostile_row_52_what_an_agent_does_not_know_is_offered_to_it_ever_more_rarely() {
    let pauses: Vec<u64> = (0..10).map(|n| pause_after_decline(n).as_secs()).collect();
    assert_eq!(pauses, [5, 5, 10, 20, 40, 80, 160, 320, 600, 600]);
}

struct Folder(tempfile::TempDir);

impl Place for Folder {
    fn open(&self) -> Opened<'_> {
        let options = SqliteOptions { execution: Execution::Inline };
        Box::pin(async move { Arc::new(SqliteStore::open(self.0.path(), options).unwrap()) as Arc<dyn Store> })
    }
}

/// Opens what the stories of the store sealed.
#[derive(Debug)]
struct Open;

impl SpecVault for Open {
    fn seal(&self, _context: &[u8], plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }

    fn open(&self, _context: &[u8], _sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(br#"{"registry_passwords":[]}"#.to_vec())
    }
}

async fn house() -> House {
    House::open(Box::new(Folder(tempfile::tempdir().unwrap()))).await
}

/// What a controller that was just started has.
async fn started(house: &House) -> Dispatch {
    let clock: Clock = house.clock.clone();
    let dispatch = Dispatch::new(DispatchParts {
        store: Arc::clone(&house.store),
        watch: Watch::default(),
        presence: Presence::default(),
        lines: Lines::default(),
        leases: Leases::new(TTL, clock.clone()),
        retry_policy: THRICE,
        scopes: Arc::default(),
        policy: Arc::default(),
        vault: Arc::new(Open),
        mint: Mint::system(clock.clone()),
        clock,
    });
    dispatch.start().await.unwrap();
    dispatch
}

fn greeting(house: &House, bastion: Bastion, runs: Vec<HeldRun>) -> Greeting {
    Greeting {
        facts: facts(bastion.volume),
        runs,
        agent_now: house.now(),
        address: "192.0.2.1:1".into(),
        answers: Vec::new(),
    }
}

async fn record(house: &House, agent: AgentId) -> Agent {
    house.store.agent(agent).await.unwrap().unwrap()
}

/// What an agent is told to execute, as far as it was told.
fn assigned(connected: &mut Connected) -> Vec<Assignment> {
    let orders = std::iter::from_fn(|| connected.orders.try_recv().ok());
    orders.filter_map(|order| if let Order::Assign(work) = order { Some(*work) } else { None }).collect()
}

#[tokio::test]
async fn an_agent_that_is_uncordoned_while_it_connects_is_given_work() {
    let house = house().await;
    let bastion = house.bastion("bastion-a", "*").await;
    house.change(bastion.agent, AgentEvent::Cordon).await;
    house.provisioned("prod", "web").await;
    let dispatch = started(&house).await;
    // Its record is read when it authenticates; before its session is open, an administrator acts.
    let as_it_was = record(&house, bastion.agent).await;
    house.change(bastion.agent, AgentEvent::Uncordon).await;
    let mut connected = dispatch.connect(&as_it_was, greeting(&house, bastion, Vec::new())).await.unwrap();
    dispatch.ready(bastion.agent, connected.session, 1).await;
    assert_eq!(assigned(&mut connected).len(), 1);
}

#[tokio::test]
async fn an_agent_that_is_cordoned_while_it_connects_is_given_nothing() {
    let house = house().await;
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let dispatch = started(&house).await;
    let as_it_was = record(&house, bastion.agent).await;
    house.change(bastion.agent, AgentEvent::Cordon).await;
    let mut connected = dispatch.connect(&as_it_was, greeting(&house, bastion, Vec::new())).await.unwrap();
    dispatch.ready(bastion.agent, connected.session, 1).await;
    assert!(assigned(&mut connected).is_empty());
    house.change(bastion.agent, AgentEvent::Uncordon).await;
    dispatch.ready(bastion.agent, connected.session, 1).await;
    assert_eq!(assigned(&mut connected).len(), 1, "what is there is asked again with every wish");
}

/// Bastions, each with a run; and what waits behind them.
const BASTIONS: usize = 20;
const SLOTS: u32 = 3;
const WAITING: usize = 100;
/// Tasks that failed in passing before the controller went away.
const DELAYED: usize = 5;

/// A house in which everybody is at work and much waits.
async fn busy_house() -> (House, Vec<(Bastion, Assignment)>) {
    let house = house().await;
    let mut at_work = Vec::new();
    for n in 0..BASTIONS {
        let bastion = house.bastion(&format!("bastion-{n}"), "*").await;
        at_work.push((bastion, house.running(bastion, "prod", &format!("running-{n}")).await));
    }
    let failing = house.bastion("bastion-failing", "*").await;
    for n in 0..DELAYED {
        let work = house.running(failing, "prod", &format!("delayed-{n}")).await;
        let report = house.report(&work, RunOutcome::Failed(failure(FailureClass::Network)));
        let settled = house.store.settle_attempt(failing.agent, report, THRICE, house.now()).await.unwrap();
        assert!(matches!(settled, Settled::Now { retry: Some(_), .. }), "{settled:?}");
    }
    for n in 0..WAITING {
        house.provisioned("prod", &format!("waiting-{n}")).await;
    }
    (house, at_work)
}

#[tokio::test(start_paused = true)]
async fn hostile_row_49_after_48_hours_without_a_controller_nobody_is_judged_and_nobody_gets_more_than_its_slots() {
    let (mut house, at_work) = busy_house().await;
    house.clock.advance(Duration::from_secs(48 * 3600));
    house.reopen().await;
    let dispatch = started(&house).await;
    dispatch.lose_late().await.unwrap();
    let still_held = house.store.held_attempts().await.unwrap();
    assert_eq!(still_held.len(), BASTIONS, "nobody is late while the controller itself was not there");

    let (mut sessions, mut given) = (Vec::new(), BTreeSet::<ClusterId>::new());
    for (bastion, work) in &at_work {
        let agent = record(&house, bastion.agent).await;
        let mut connected = dispatch.connect(&agent, greeting(&house, *bastion, vec![held(work)])).await.unwrap();
        assert_eq!(connected.verdicts, [(work.attempt, RunVerdict::Continue)]);
        dispatch.ready(bastion.agent, connected.session, SLOTS).await;
        let new = assigned(&mut connected);
        assert_eq!(new.len(), SLOTS as usize, "what it asked for and no more");
        for work in new {
            assert!(given.insert(work.cluster), "two runs for {}", work.name);
            assert!(work.name.as_str().starts_with("waiting-"), "{} waits still", work.name);
        }
        sessions.push(connected);
    }
    // Whatever is announced now, nobody has room.
    dispatch.lose_late().await.unwrap();
    for (bastion, _) in &at_work {
        dispatch.offer(bastion.agent).await;
    }
    assert!(sessions.iter_mut().all(|connected| assigned(connected).is_empty()));
    for (_, work) in &at_work {
        let attempts = house.store.attempts(work.operation).await.unwrap();
        assert_eq!((attempts.len(), attempts[0].state), (1, AttemptState::Started), "the outage is no attempt");
    }
    for n in 0..DELAYED {
        let operation = house.cluster("prod", &format!("delayed-{n}")).await.operation.unwrap();
        assert_eq!(house.look(operation).await.state, OperationState::Queued);
        assert_eq!(house.store.attempts(operation).await.unwrap().len(), 1, "its wait begins anew");
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_row_49_what_waited_to_be_tried_again_waits_its_whole_wait_after_an_outage() {
    let (mut house, _) = busy_house().await;
    house.clock.advance(Duration::from_secs(48 * 3600));
    house.reopen().await;
    let dispatch = Arc::new(started(&house).await);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (dispatch, stop) = (Arc::clone(&dispatch), stop.clone());
        async move { dispatch.run(stop).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.store.delayed_tasks().await.unwrap().len(), DELAYED);
    tokio::time::sleep(THRICE.delay_max).await;
    assert!(house.store.delayed_tasks().await.unwrap().is_empty(), "then it may be leased");
    stop.cancel();
    running.await.unwrap();
}
