//! Random histories: people, two bastions and bad luck, and after every step the invariants.
//!
//! The world keeps what is true on the volumes (which runs were journaled); the store only hears what
//! gets through. In the end everything that was accepted must have come to an end.

use std::collections::{HashMap, HashSet};

use cratekube_common::domain::attempt::{AttemptState, Fence};
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
use cratekube_common::domain::operation::{Operation, OperationKind, OperationState};
use cratekube_common::domain::run::{Assignment, RunOutcome};

use super::family;
use super::house::{Bastion, House, failure, held};
use crate::plan::settle::RetryPolicy;
use crate::store::{OperationFilter, PageRequest, Settled};

family![any_history_keeps_the_invariants];

const STEPS: usize = 60;
const SEEDS: [u64; 6] = [1, 7, 42, 1_000, 65_537, 4_242_424];
const NAMES: [&str; 3] = ["a", "b", "c"];

async fn any_history_keeps_the_invariants(house: &mut House) {
    for seed in SEEDS {
        let environment = format!("seed-{seed}");
        let bastions =
            [house.bastion(&format!("one-{seed}"), "*").await, house.bastion(&format!("two-{seed}"), "*").await];
        let mut world = World { seed, environment, bastions, work: Vec::new(), ended: HashMap::new() };
        for step in 0..STEPS {
            world.step(house).await;
            world.check(house, &format!("seed {seed}, step {step}")).await;
        }
        world.finish(house).await;
    }
}

struct World {
    seed: u64,
    environment: String,
    bastions: [Bastion; 2],
    /// Everything that was ever leased, and whether its run was journaled on its volume.
    work: Vec<(Assignment, bool)>,
    /// Operations that were seen to have ended.
    ended: HashMap<OperationId, Operation>,
}

impl World {
    /// A number below `n`, from a small generator that is the same everywhere.
    fn dice(&mut self, n: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.seed >> 33).unwrap() % n
    }

    fn pick(&mut self) -> Option<usize> {
        if self.work.is_empty() { None } else { Some(self.dice(self.work.len())) }
    }

    async fn step(&mut self, house: &mut House) {
        let bastion = self.bastions[self.dice(2)];
        let name = NAMES[self.dice(NAMES.len())];
        match self.dice(14) {
            0 | 1 => drop(house.store.accept_provision(house.provision(&self.environment, name)).await.unwrap()),
            2 => drop(house.remove(&self.environment, name).await),
            3 => {
                let again = house.operation(OperationKind::Provision, &self.environment, name);
                house.store.accept_operation(again).await.unwrap();
            }
            4..=6 => self.lease(house, bastion).await,
            7 | 8 => self.begin(house, bastion).await,
            9 => self.give_back(house, bastion).await,
            10 => {
                let lost = self.pick().map(|n| self.work[n].0.attempt);
                house.store.lose_attempts(lost.into_iter().collect(), house.now()).await.unwrap();
            }
            11 | 12 => self.report(house, bastion).await,
            _ => {
                if self.dice(3) == 0 {
                    let volumes = (self.bastions[0].volume, self.bastions[1].volume);
                    (self.bastions[1].volume, self.bastions[0].volume) = volumes;
                }
                if self.dice(4) == 0 {
                    house.reopen().await;
                }
                for bastion in self.bastions {
                    self.connect(house, bastion).await;
                }
            }
        }
    }

    async fn lease(&mut self, house: &House, bastion: Bastion) {
        let wish = crate::store::LeaseTasks {
            environments: EnvironmentPattern::any(),
            ..house.wish(bastion, 1 + self.seed as usize % 3)
        };
        let leased = house.store.lease_tasks(wish).await.unwrap();
        self.work.extend(leased.into_iter().map(|task| (task.assignment, false)));
    }

    /// A run is journaled if it may be; then its agent says so, or the word is lost.
    async fn begin(&mut self, house: &House, bastion: Bastion) {
        let Some(n) = self.pick() else { return };
        let work = self.work[n].0.clone();
        let newest = self.work.iter().filter(|(w, _)| w.cluster == work.cluster).map(|(w, _)| w.fence).max();
        let may = work.volume == bastion.volume && newest == Some(work.fence) && self.is_live(house, &work).await;
        if may {
            self.work[n].1 = true;
        }
        if may && self.dice(3) > 0 {
            house.store.start_attempt(bastion.agent, work.attempt, work.fence, house.now()).await.unwrap();
        }
    }

    async fn give_back(&mut self, house: &House, bastion: Bastion) {
        let Some(n) = self.pick() else { return };
        let (work, journaled) = self.work[n].clone();
        if !journaled {
            let reason = "no room".to_owned();
            let release = house.store.release_attempt(bastion.agent, work.attempt, work.fence, reason, house.now());
            release.await.unwrap();
        }
    }

    /// Whoever feels like it reports on any run that there ever was.
    async fn report(&mut self, house: &House, bastion: Bastion) {
        let Some(n) = self.pick() else { return };
        let work = self.work[n].0.clone();
        let outcome = match self.dice(5) {
            0 | 1 => RunOutcome::Succeeded,
            2 => RunOutcome::Failed(failure(FailureClass::Cancelled)),
            3 => RunOutcome::Refused(failure(FailureClass::Volume)),
            _ => RunOutcome::Failed(failure(FailureClass::Interrupted)),
        };
        let live = self.is_live(house, &work).await;
        let report = house.report(&work, outcome);
        let settled = house.store.settle_attempt(bastion.agent, report, RetryPolicy::NEVER, house.now()).await.unwrap();
        if !live {
            assert!(!matches!(settled, Settled::Now { .. }), "an end is final");
        }
    }

    async fn is_live(&self, house: &House, work: &Assignment) -> bool {
        house.store.held_attempts().await.unwrap().iter().any(|(attempt, _)| *attempt == work.attempt)
    }

    async fn connect(&self, house: &House, bastion: Bastion) {
        let on_volume = self.work.iter().filter(|(work, journaled)| *journaled && work.volume == bastion.volume);
        house.connect(bastion, on_volume.map(|(work, _)| held(work)).collect()).await;
    }

    async fn operations(&self, house: &House) -> Vec<Operation> {
        let filter =
            OperationFilter { environments: vec![self.environment.parse().unwrap()], ..OperationFilter::default() };
        let page = house.store.operations(filter, PageRequest { after: None, limit: 1_000 }).await.unwrap();
        assert_eq!(page.next, None);
        page.items
    }

    async fn check(&mut self, house: &House, at: &str) {
        let held: HashSet<AttemptId> =
            house.store.held_attempts().await.unwrap().into_iter().map(|(attempt, _)| attempt).collect();
        let mut locks: HashMap<ClusterId, u32> = HashMap::new();
        let mut fences: HashMap<ClusterId, Fence> = HashMap::new();
        let mut at_work: HashMap<ClusterId, OperationId> = HashMap::new();
        // Oldest first.
        for operation in self.operations(house).await.into_iter().rev() {
            let mut live = 0;
            for attempt in house.store.attempts(operation.id).await.unwrap() {
                assert_eq!(attempt.state.locks(), held.contains(&attempt.id), "{at}");
                assert_eq!(attempt.state.locks(), attempt.ended_at.is_none(), "{at}");
                let before = fences.insert(operation.cluster_id, attempt.fence);
                assert!(before < Some(attempt.fence), "{at}: fences grow");
                let journaled = self.work.iter().any(|(work, journaled)| *journaled && work.attempt == attempt.id);
                assert!(!journaled || attempt.state != AttemptState::Released, "{at}: it ran");
                live += u32::from(attempt.state.locks());
            }
            *locks.entry(operation.cluster_id).or_default() += live;
            assert_eq!(live, u32::from(operation.state == OperationState::Running), "{at}: {operation:?}");
            if operation.state.is_terminal() {
                let known = self.ended.entry(operation.id).or_insert_with(|| operation.clone());
                assert_eq!(*known, operation, "{at}: an end is final");
            } else {
                let other = at_work.insert(operation.cluster_id, operation.id);
                assert_eq!(other, None, "{at}: one operation at a time");
            }
        }
        assert!(locks.values().all(|locks| *locks <= 1), "{at}: one run at a time");
        for name in NAMES {
            let found = house.store.cluster(&self.environment.parse().unwrap(), &name.parse().unwrap()).await.unwrap();
            let Some(cluster) = found else { continue };
            assert_eq!(cluster.operation, at_work.get(&cluster.id).copied(), "{at}");
            assert!(cluster.phase != ClusterPhase::Removed || cluster.operation.is_none(), "{at}");
        }
    }

    /// Nothing that was accepted is lost: good agents bring everything to an end.
    async fn finish(&mut self, house: &House) {
        for round in 0..STEPS {
            for bastion in self.bastions {
                self.connect(house, bastion).await;
                self.lease(house, bastion).await;
                for n in 0..self.work.len() {
                    if self.work[n].0.volume == bastion.volume && self.is_live(house, &self.work[n].0).await {
                        self.work[n].1 = true;
                        let work = self.work[n].0.clone();
                        self.connect(house, bastion).await;
                        let outcome = RunOutcome::Failed(failure(FailureClass::Etcd));
                        house.settle(bastion, house.report(&work, outcome)).await;
                    }
                }
            }
            self.check(house, &format!("end of {}, round {round}", self.environment)).await;
            if self.operations(house).await.iter().all(|operation| operation.state.is_terminal()) {
                return;
            }
        }
        panic!("{} never came to an end: {:#?}", self.environment, self.operations(house).await);
    }
}
