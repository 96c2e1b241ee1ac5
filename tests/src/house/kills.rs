//! Kills at random: one of the four processes of a run, at a line of `rke`'s output or just after it. What
//! is random comes from a seed, so that a story can be told again.

use anyhow::{Context as _, ensure};
use cratekube_agent::run::journal::{Journal, SupervisorRecord};
use cratekube_agent::run::process;
use rustix::process::Signal;

use super::aftermath::{CLUSTERS, End};
use super::{World, specs};

/// A run prints more lines than this.
const LINES: u64 = 60;

/// Chance with a seed.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same chances.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The agent.
    Agent,
    /// The supervisor of the run.
    Supervisor,
    /// `rke`.
    Rke,
    /// The controller.
    Controller,
}

/// One kill.
#[derive(Debug, Clone, Copy)]
pub struct Kill {
    /// Who.
    pub victim: Victim,
    /// After which line of `rke`.
    pub line: u64,
    /// Whether `rke` is held there, or goes on meanwhile.
    pub held: bool,
}

impl Kill {
    /// A kill by chance.
    pub fn by(chance: &mut Chance) -> Self {
        let victims = [Victim::Agent, Victim::Supervisor, Victim::Rke, Victim::Controller];
        let victim = victims[usize::try_from(chance.below(4)).unwrap_or_default()];
        Self { victim, line: 1 + chance.below(LINES), held: chance.below(2) == 0 }
    }
}

impl World {
    /// Provisions the n-th cluster, kills, starts the killed again, and checks what must be true then.
    ///
    /// # Errors
    /// When something is not as it must be.
    pub async fn survives(&mut self, n: usize, kill: Kill) -> anyhow::Result<End> {
        let name = format!("c{n}");
        self.rke.no_faults()?;
        let gate = self.gate(kill.line)?;
        let accepted = self.client.post(CLUSTERS, &specs::nth(&name, n)).await?.expect(202)?;
        let passage = gate.reached().await?;
        let passage = kill.held.then_some(passage);
        self.strike(&name, kill.victim).await?;
        drop(passage);
        match kill.victim {
            Victim::Agent => self.agent.restart()?,
            Victim::Controller => self.controller.restart().await?,
            Victim::Supervisor | Victim::Rke => {}
        }
        let operation = self.client.ended(accepted.header("location")).await?;
        let end = self.aftermath(&name, &operation).await?;
        let outlives = matches!(kill.victim, Victim::Agent | Victim::Controller);
        ensure!(end == End::Succeeded || !outlives, "the run does not depend on it: {operation:#}");
        if kill.victim == Victim::Controller {
            // Its delays before it connects again grow with each controller that went away.
            self.agent.process.kill().await?;
            self.agent.restart()?;
            // Who ends the story asks it to stop: not before it can hear that.
            self.agent.process.line("in session with the controller").await?;
        }
        Ok(end)
    }

    async fn strike(&mut self, cluster: &str, victim: Victim) -> anyhow::Result<()> {
        match victim {
            Victim::Agent => self.agent.process.kill().await,
            Victim::Controller => self.controller.process.kill().await,
            Victim::Supervisor => Ok(process::signal_group(self.supervised(cluster)?.supervisor, Signal::KILL)?),
            Victim::Rke => {
                let rke = self.supervised(cluster)?.rke;
                Ok(rke.map_or(Ok(()), |rke| process::signal_group(rke, Signal::KILL))?)
            }
        }
    }

    /// What the supervisor of a cluster's newest run says of itself.
    ///
    /// # Errors
    /// When there is no run, or no supervisor has said anything.
    pub fn supervised(&self, cluster: &str) -> anyhow::Result<SupervisorRecord> {
        self.journal(cluster)?.supervisor()?.context("no supervisor has said anything")
    }

    /// The journal of a cluster's newest run.
    ///
    /// # Errors
    /// When there is none.
    pub fn journal(&self, cluster: &str) -> anyhow::Result<Journal> {
        let newest = self.agent.runs("prod", cluster)?.pop().context("no run")?;
        Ok(Journal::at(newest))
    }

    /// Everything of a cluster's run is killed at once: the host is gone.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn host_lost(&mut self, cluster: &str) -> anyhow::Result<()> {
        self.agent.process.kill().await?;
        let said = self.supervised(cluster)?;
        for process in [Some(said.supervisor), said.rke].into_iter().flatten() {
            process::signal_group(process, Signal::KILL)?;
            self.gone(process).await?;
        }
        Ok(())
    }

    /// Waits until a process is gone.
    ///
    /// # Errors
    /// From the kernel.
    pub async fn gone(&self, process: cratekube_agent::run::journal::ProcessId) -> anyhow::Result<()> {
        if let Some(awaited) = process::Awaited::of(process)? {
            awaited.ended().await?;
        }
        Ok(())
    }
}
