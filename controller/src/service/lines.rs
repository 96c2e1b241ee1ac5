//! Lines to connected agents: what each can take, and how it is told something.
//!
//! Invariants: an agent has one line, its newest session's; an agent that does not read what it is told
//! is cut off, and is told when it connects again. Shared by the conversation with agents
//! ([`super::dispatch`]) and by the verbs that people use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::{AgentId, AttemptId, SessionId, VolumeId};
use cratekube_common::domain::run::RunVerdict;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::conversation::Order;
use super::credit::Credit;

/// A line to a connected agent.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) session: SessionId,
    pub(super) credit: Credit,
    pub(super) volumes: Vec<VolumeId>,
    pub(super) environments: EnvironmentPattern,
    /// Nothing is offered before this point of the monotonic clock.
    pub(super) not_before: Duration,
    /// How many assignments in a row it declined because it does not know their kind.
    pub(super) unsupported: u32,
    /// Volumes that another agent's session served when this one connected.
    pub(super) contested: Vec<VolumeId>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) end: CancellationToken,
}

/// The lines of this controller. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<BTreeMap<AgentId, Line>>>);

impl Lines {
    /// Opens an agent's line, ending an older one.
    pub(super) fn open(&self, agent: AgentId, line: Line) {
        if let Some(older) = self.lock().insert(agent, line) {
            older.end.cancel();
        }
    }

    /// Closes a session's line, if it is the agent's still. Who wanted one of its volumes connects again
    /// and gets it.
    pub(super) fn close(&self, agent: AgentId, session: SessionId) {
        let mut lines = self.lock();
        if lines.get(&agent).is_some_and(|line| line.session == session) {
            let freed = lines.remove(&agent).map(|line| line.volumes).unwrap_or_default();
            let wants = |line: &&Line| line.contested.iter().any(|volume| freed.contains(volume));
            lines.values().filter(wants).for_each(|line| line.end.cancel());
        }
    }

    /// Does something with a session's line, if it is the agent's still.
    pub(super) fn with<T>(&self, agent: AgentId, session: SessionId, work: impl FnOnce(&mut Line) -> T) -> Option<T> {
        self.lock().get_mut(&agent).filter(|line| line.session == session).map(work)
    }

    /// Does something with an agent's line, whichever session it is.
    pub(super) fn with_current<T>(&self, agent: AgentId, work: impl FnOnce(&mut Line) -> T) -> Option<T> {
        self.lock().get_mut(&agent).map(work)
    }

    /// Agents that can be offered work that was announced.
    pub(super) fn with_room(&self) -> Vec<AgentId> {
        let mut lines = self.lock();
        lines.iter_mut().filter_map(|(agent, line)| line.credit.announced().then_some(*agent)).collect()
    }

    /// Agents that are connected.
    #[must_use]
    pub fn connected(&self) -> Vec<AgentId> {
        self.lock().keys().copied().collect()
    }

    /// Tells an agent something; one that does not read is cut off. Says whether it was told.
    pub(super) fn order(&self, agent: AgentId, order: Order) -> bool {
        let lines = self.lock();
        let Some(line) = lines.get(&agent) else { return false };
        let told = line.orders.try_send(order).is_ok();
        if !told {
            line.end.cancel();
        }
        told
    }

    /// Tells an agent to end a run, if it is connected; otherwise it is told when it connects.
    pub fn cancel_run(&self, agent: AgentId, attempt: AttemptId) {
        self.order(agent, Order::Verdicts(vec![(attempt, RunVerdict::Cancel)]));
    }

    /// Ends an agent's session; it connects again if it may.
    pub fn end(&self, agent: AgentId) {
        self.with_current(agent, |line| line.end.cancel());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
