//! What goes wrong in a world, and when: decided by the seed before anything happens.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::chance::Chance;

/// The controller's place among the hosts.
pub const CONTROLLER: &str = "controller";
/// Nothing goes wrong before everybody is there.
pub const CALM: Duration = Duration::from_secs(10);
/// Longest and shortest time in which things go wrong.
const CHAOS: (Duration, Duration) = (Duration::from_secs(45), Duration::from_secs(150));
/// How long something is down, cut off or held.
const SPELL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(45));
/// The furthest that a wall clock jumps, in seconds.
const FURTHEST_JUMP_S: usize = 3_600;

/// Something that happens to the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A host's software is killed.
    Crash(String),
    /// It is asked to stop, and started again when it has.
    Upgrade(String),
    /// A host that is down comes back.
    Bounce(String),
    /// A bastion loses power: agent and all processes are gone, and come back as another boot.
    PowerLoss(usize),
    /// Every `rke` of a bastion is killed.
    KillRke(usize),
    /// Every supervisor of a bastion is killed.
    KillSupervisors(usize),
    /// Nothing goes between two hosts.
    Partition(String, String),
    /// Nothing goes from the first host to the second.
    PartitionOneWay(String, String),
    /// What is between two hosts stays there.
    Hold(String, String),
    /// The network between two hosts is well again.
    Repair(String, String),
    /// Messages get lost: so many in 100,000.
    Loss(u32),
    /// A host's wall clock is wrong by so many milliseconds from here on.
    Skew(String, i64),
    /// The volumes of the first bastion are attached to the second.
    MoveVolumes(usize, usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The name of a bastion on the network.
#[must_use]
pub fn bastion(n: usize) -> String {
    format!("bastion-{n}")
}

/// Everything that goes wrong, by the time at which it does, and when that is over.
#[must_use]
pub fn plan(seed: u64, bastions: usize, users: usize) -> (BTreeMap<Duration, Vec<Fault>>, Duration) {
    let mut planner = Planner { chance: Chance::of(seed, "faults"), bastions, users, plan: BTreeMap::new() };
    let over = CALM + planner.chance.between(CHAOS.0, CHAOS.1);
    let rough = planner.chance.one_in(4);
    let (least, most) = if rough { (2, 6) } else { (5, 40) };
    let spacing = planner.chance.between(Duration::from_secs(least), Duration::from_secs(most));
    let mut now = CALM;
    if planner.chance.one_in(3) {
        let loss = u32::try_from(1 + planner.chance.below(60)).unwrap_or(1);
        planner.at(now, Fault::Loss(loss));
    }
    loop {
        now += planner.chance.between(Duration::from_millis(200), spacing * 2);
        if now >= over {
            return (planner.plan, over);
        }
        planner.next(now);
    }
}

struct Planner {
    chance: Chance,
    bastions: usize,
    users: usize,
    plan: BTreeMap<Duration, Vec<Fault>>,
}

impl Planner {
    fn at(&mut self, when: Duration, fault: Fault) {
        self.plan.entry(when).or_default().push(fault);
    }

    fn next(&mut self, now: Duration) {
        let n = self.chance.below(self.bastions);
        let (agent, controller) = (bastion(n), CONTROLLER.to_owned());
        let later = now + self.chance.between(SPELL.0, SPELL.1);
        match self.chance.below(16) {
            0 | 1 => {
                self.at(now, Fault::Crash(controller.clone()));
                self.at(later, Fault::Bounce(controller));
            }
            2 | 3 => {
                self.at(now, Fault::Crash(agent.clone()));
                self.at(later, Fault::Bounce(agent));
            }
            4 => self.at(now, Fault::Upgrade(controller)),
            5 => self.at(now, Fault::Upgrade(agent)),
            6 => {
                self.at(now, Fault::PowerLoss(n));
                self.at(later, Fault::Bounce(agent));
            }
            7 => self.at(now, Fault::KillRke(n)),
            8 => self.at(now, Fault::KillSupervisors(n)),
            9 | 10 => self.network(now, later, agent),
            11 => {
                let user = self.chance.below(self.users);
                self.network(now, later, format!("user-{user}"));
            }
            12 | 13 => {
                let name = if self.chance.one_in(2) { controller } else { agent };
                let off = i64::try_from(self.chance.below(2 * FURTHEST_JUMP_S)).unwrap_or(0);
                let furthest = i64::try_from(FURTHEST_JUMP_S).unwrap_or(0);
                self.at(now, Fault::Skew(name, (off - furthest) * 1_000));
            }
            14 if self.bastions > 1 => {
                let to = (n + 1 + self.chance.below(self.bastions - 1)) % self.bastions;
                self.at(now, Fault::MoveVolumes(n, to));
            }
            _ => {
                // The worst of it: an agent that dies while its controller is gone.
                self.at(now, Fault::Crash(controller.clone()));
                let then = now + self.chance.between(Duration::ZERO, SPELL.0 * 3);
                self.at(then, Fault::Crash(agent.clone()));
                let (first, second) = (self.chance.between(SPELL.0, SPELL.1), self.chance.between(SPELL.0, SPELL.1));
                self.at(then + first, Fault::Bounce(agent));
                self.at(then + second, Fault::Bounce(controller));
            }
        }
    }

    fn network(&mut self, now: Duration, later: Duration, with: String) {
        let controller = CONTROLLER.to_owned();
        let fault = match self.chance.below(4) {
            0 => Fault::Partition(with.clone(), controller.clone()),
            1 => Fault::PartitionOneWay(with.clone(), controller.clone()),
            2 => Fault::PartitionOneWay(controller.clone(), with.clone()),
            _ => Fault::Hold(with.clone(), controller.clone()),
        };
        self.at(now, fault);
        self.at(later, Fault::Repair(with, controller));
    }
}
