//! Plays a seed: begins a world, lets things go wrong, puts everything right again, waits until every
//! operation has ended, and compares what is left with what happened.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use turmoil::{Builder, Sim};

use super::chance::Chance;
use super::faults::{self, CONTROLLER, Fault, bastion};
use super::house::House;
use super::machine::What;
use super::{Sabotage, users, verify};

/// How much time passes in one step, in milliseconds: small steps tell more moments apart, large ones
/// let more happen at the same one.
const TICKS_MS: [u64; 4] = [25, 50, 100, 200];
/// After everything was put right, every operation ends within this time.
const HEALED_WITHIN: Duration = Duration::from_secs(900);
/// Events shown of a world that broke.
const LAST_EVENTS: usize = 60;
/// KILL.
const KILL: i32 = 9;

/// A world that was played to its end, and in which nothing broke.
#[derive(Debug)]
pub struct Played {
    /// Everything that happened.
    pub events: Vec<String>,
    /// Operations that were accepted.
    pub operations: usize,
    /// `rke`s that were started.
    pub runs: usize,
    /// Faults that happened.
    pub faults: usize,
}

/// A world in which something broke.
#[derive(Debug)]
pub struct Broken {
    /// Its seed.
    pub seed: u64,
    /// What broke.
    pub what: Vec<String>,
    /// Everything that happened.
    pub events: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} broke:", self.seed)?;
        self.what.iter().try_for_each(|what| writeln!(f, "  {what}"))?;
        writeln!(f, "the last events:")?;
        let skipped = self.events.len().saturating_sub(LAST_EVENTS);
        self.events.iter().skip(skipped).try_for_each(|event| writeln!(f, "  {event}"))?;
        write!(
            f,
            "replay it with: CRATEKUBE_SIM_SEED={} cargo test -p cratekube-tests --test simulation -- replay --nocapture",
            self.seed
        )
    }
}

/// Plays a seed.
///
/// # Errors
/// What broke.
pub fn play(seed: u64, sabotage: Option<Sabotage>) -> Result<Played, Box<Broken>> {
    watch_panics();
    let mut chance = Chance::of(seed, "world");
    let (bastions, users) = (1 + chance.below(3), 1 + chance.below(2));
    let of_user = |user: usize, clusters| (0..clusters).map(move |n| (user, format!("u{user}-c{n}")));
    let clusters: Vec<_> = (0..users).flat_map(|user| of_user(user, 1 + chance.below(3))).collect();
    let names = clusters.iter().map(|(_, name)| name.clone()).collect();
    let house = House::build(seed, bastions, names, sabotage)
        .map_err(|e| Box::new(Broken { seed, what: vec![format!("no house: {e:#}")], events: Vec::new() }))?;
    let faults = World::begin(&house, &mut chance, bastions, &clusters).play();
    verify::verify(&house);
    if PANICS.with(|panics| panics.replace(0)) > 0 {
        house.model.broken("something panicked".into());
    }
    let mut facts = house.model.facts();
    let events = std::mem::take(&mut facts.events);
    if !facts.broken.is_empty() {
        return Err(Box::new(Broken { seed, what: facts.broken.clone(), events }));
    }
    let runs = facts.runs.values().filter(|run| run.starts > 0).count();
    Ok(Played { events, operations: facts.told.len(), runs, faults })
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// A task that panics dies alone; here it must not go unseen.
fn watch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            before(info);
        }));
    });
    PANICS.with(|panics| panics.set(0));
}

struct World<'a> {
    house: Rc<House>,
    sim: Sim<'a>,
    plan: BTreeMap<Duration, Vec<Fault>>,
    /// When everything is put right.
    over: Duration,
    bastions: usize,
    users: usize,
    faults: usize,
    /// A copy of the controller's database, for sabotage.
    older: Option<Vec<u8>>,
}

impl World<'_> {
    fn begin(house: &Rc<House>, chance: &mut Chance, bastions: usize, clusters: &[(usize, String)]) -> Self {
        let users = clusters.iter().map(|(user, _)| user + 1).max().unwrap_or(0);
        let mut sim = Builder::new()
            .rng_seed(house.seed)
            .tick_duration(Duration::from_millis(*chance.pick(&TICKS_MS)))
            .simulation_duration(Duration::from_secs(24 * 3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(chance.between(Duration::from_millis(2), Duration::from_millis(400)))
            .tcp_capacity(4_096)
            .build();
        let this = Rc::clone(house);
        sim.host("machines", move || Rc::clone(&this).machine_room());
        let this = Rc::clone(house);
        sim.host(CONTROLLER, move || Rc::clone(&this).controller());
        for n in 0..bastions {
            let this = Rc::clone(house);
            sim.host(bastion(n), move || Rc::clone(&this).agent(n));
        }
        for n in 0..users {
            let clusters = clusters.iter().filter(|(user, _)| *user == n).map(|(_, name)| name.clone()).collect();
            let name = format!("user-{n}");
            sim.client(name.clone(), users::user(Rc::clone(house), name, clusters));
        }
        sim.client("admin", users::admin(Rc::clone(house)));
        let (plan, over) = faults::plan(house.seed, bastions, users);
        Self { house: Rc::clone(house), sim, plan, over, bastions, users, faults: 0, older: None }
    }

    /// Plays the world to its end; answers how much went wrong.
    fn play(mut self) -> usize {
        loop {
            match self.sim.step() {
                Ok(true) if self.house.is_ending() && self.house.is_quiet() => break,
                Ok(_) => {}
                Err(error) => {
                    self.house.model.broken(format!("a host failed: {error}"));
                    break;
                }
            }
            let now = self.sim.elapsed();
            self.house.course.reached(now);
            self.let_go_wrong(now);
            if now > self.over + HEALED_WITHIN {
                self.house.model.broken("operations did not end although everything was put right".into());
            }
            if !self.house.model.facts().broken.is_empty() {
                break;
            }
        }
        self.faults
    }

    fn let_go_wrong(&mut self, now: Duration) {
        while let Some(due) = self.plan.first_entry().filter(|entry| *entry.key() <= now && now < self.over) {
            for fault in due.remove() {
                self.house.model.note(fault.to_string());
                self.faults += 1;
                self.apply(fault);
            }
        }
        if now >= self.over && !self.house.is_ending() {
            self.put_right();
        }
    }

    fn apply(&mut self, fault: Fault) {
        let house = Rc::clone(&self.house);
        match fault {
            Fault::Crash(host) => self.crash(&host),
            Fault::Upgrade(host) => house.ask_to_stop(&host),
            Fault::Bounce(host) => self.bounce(&host),
            Fault::PowerLoss(n) => {
                self.crash(&bastion(n));
                house.machines[n].reboot();
            }
            Fault::KillRke(n) => house.machines[n].signal_all(Some(What::Rke), KILL),
            Fault::KillSupervisors(n) => house.machines[n].signal_all(Some(What::Supervisor), KILL),
            Fault::Partition(a, b) => self.sim.partition(a, b),
            Fault::PartitionOneWay(a, b) => self.sim.partition_oneway(a, b),
            Fault::Hold(a, b) => self.sim.hold(a, b),
            Fault::Repair(a, b) => self.sim.release(a, b),
            Fault::Loss(rate) => self.sim.set_fail_rate(f64::from(rate) / 100_000.0),
            Fault::Skew(host, ms) => house.skew(&host, ms),
            Fault::MoveVolumes(from, to) => {
                self.crash(&bastion(from));
                house.machines[from].reboot();
                if house.move_volumes(from, to) {
                    house.ask_to_stop(&bastion(to));
                }
                self.bounce(&bastion(from));
            }
        }
    }

    fn crash(&mut self, host: &str) {
        if !self.sim.is_host_running(host) {
            return;
        }
        self.sim.crash(host);
        if host == CONTROLLER && self.house.sabotage == Some(Sabotage::ForgetsAccepted) {
            self.older = self.house.exchange_database(self.older.take());
        }
    }

    fn bounce(&mut self, host: &str) {
        if !self.sim.is_host_running(host) {
            self.sim.bounce(host);
        }
    }

    fn put_right(&mut self) {
        self.house.model.note("everything is put right");
        self.house.end();
        self.house.put_clocks_right();
        self.sim.set_fail_rate(0.0);
        let ends = (0..self.bastions).map(bastion).chain((0..self.users).map(|n| format!("user-{n}")));
        for host in ends {
            self.sim.release(host, CONTROLLER);
        }
        for host in (0..self.bastions).map(bastion).chain([CONTROLLER.to_owned()]) {
            self.bounce(&host);
        }
    }
}
