//! Lines to connected agents: what each can take, and how it is told something.
//!
//! Invariants: an agent has one line, its newest session's; an agent that does not read what it is told
//! is cut off, and is told when it connects again; an answer counts only on the session that the question
//! was asked on, once. Shared by the conversation with agents
//! ([`super::dispatch`]) and by the verbs that people use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::{AgentId, AttemptId, QueryId, SessionId, VolumeId};
use cratekube_common::domain::query::{Answer, Query, QueryKind};
use cratekube_common::domain::run::{RkeBinary, RunVerdict};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::conversation::Order;
use super::credit::Credit;

/// Questions on their way to one agent at most: what it works on at once.
const QUESTIONS: usize = 16;

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The agent is not connected, or does not serve the volume now.
    Away,
    /// Its release does not answer such questions.
    TooOld,
    /// It has enough questions to answer.
    Busy,
    /// It did not answer in time, or its session ended.
    Silent,
}

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
    /// Kinds of questions that it answers.
    pub(super) answers: Vec<QueryKind>,
    /// The `rke` that it runs.
    pub(super) rke: Option<RkeBinary>,
    /// Who waits for which answer; none does when the line is gone.
    pub(super) asked: BTreeMap<QueryId, oneshot::Sender<Answer>>,
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

    /// Agents that are connected and answer questions of a kind.
    #[must_use]
    pub fn answering(&self, kind: QueryKind) -> Vec<AgentId> {
        let lines = self.lock();
        lines.iter().filter(|(_, line)| line.answers.contains(&kind)).map(|(agent, _)| *agent).collect()
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

    /// Asks an agent something and waits for the answer, no longer than the question's patience.
    pub(super) async fn ask(&self, agent: AgentId, query: Query) -> Result<Answer, Unanswered> {
        let (id, patience) = (query.id, query.patience);
        let answer = self.put(agent, query)?;
        let answered = tokio::time::timeout(patience, answer).await;
        if answered.is_err() {
            // Nobody waits any more: an answer that comes now is of no use.
            self.with_current(agent, |line| line.asked.remove(&id));
        }
        answered.ok().and_then(Result::ok).ok_or(Unanswered::Silent)
    }

    fn put(&self, agent: AgentId, query: Query) -> Result<oneshot::Receiver<Answer>, Unanswered> {
        let mut lines = self.lock();
        let serves = |line: &&mut Line| query.about.as_ref().is_none_or(|about| line.volumes.contains(&about.volume));
        let line = lines.get_mut(&agent).filter(serves).ok_or(Unanswered::Away)?;
        if !line.answers.contains(&query.kind) {
            return Err(Unanswered::TooOld);
        }
        // Those who asked and went away make room.
        line.asked.retain(|_, waiting| !waiting.is_closed());
        if line.asked.len() >= QUESTIONS {
            return Err(Unanswered::Busy);
        }
        let (answer, answered) = oneshot::channel();
        line.asked.insert(query.id, answer);
        if line.orders.try_send(Order::Ask(Box::new(query))).is_err() {
            line.end.cancel();
            return Err(Unanswered::Silent);
        }
        Ok(answered)
    }

    /// An answer came on a session. Says whether it was asked for there, and is waited for.
    pub(super) fn answered(&self, agent: AgentId, session: SessionId, id: QueryId, answer: Answer) -> bool {
        let waiting = self.with(agent, session, |line| line.asked.remove(&id)).flatten();
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// Ends an agent's session; it connects again if it may.
    pub fn end(&self, agent: AgentId) {
        self.with_current(agent, |line| line.end.cancel());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
