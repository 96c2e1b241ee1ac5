//! What is said between the service and a connected agent, as values: no wire, no store.

use cratekube_common::domain::agent::{AgentFacts, VolumeStatus};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::{AttemptId, SessionId};
use cratekube_common::domain::query::{Query, QueryKind};
use cratekube_common::domain::run::{Assignment, HeldRun, RunVerdict};
use cratekube_common::domain::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::store::StoreError;

/// Something an agent is told.
#[derive(Debug, Clone)]
pub enum Order {
    /// Execute this.
    Assign(Box<Assignment>),
    /// Your report is durably recorded.
    Recorded(AttemptId),
    /// What becomes of runs you hold.
    Verdicts(Vec<(AttemptId, RunVerdict)>),
    /// Answer this.
    Ask(Box<Query>),
}

/// Why something that an agent said was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unheard {
    /// The store failed; it may be said again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is about a run that was never the agent's.
    #[error("attempt {0} was never this agent's")]
    Foreign(AttemptId),
}

/// A session that was opened.
#[derive(Debug)]
pub struct Connected {
    /// Its id.
    pub session: SessionId,
    /// What becomes of each run the agent holds.
    pub verdicts: Vec<(AttemptId, RunVerdict)>,
    /// What the agent is to be told.
    pub orders: mpsc::Receiver<Order>,
    /// Cancelled when the session must end: superseded, late, or not allowed any more.
    pub end: CancellationToken,
}

/// What an agent says when it connects.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// Facts.
    pub facts: AgentFacts,
    /// Runs it holds.
    pub runs: Vec<HeldRun>,
    /// Its clock.
    pub agent_now: Timestamp,
    /// Where it connects from.
    pub address: String,
    /// Kinds of questions that it answers.
    pub answers: Vec<QueryKind>,
}

/// An assignment that was not taken, and never started.
#[derive(Debug, Clone)]
pub struct Declined {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// Why, in a sentence.
    pub reason: String,
    /// Whether it is of a kind that the agent does not know, and will not before it is upgraded.
    pub unsupported: bool,
}

/// What a heartbeat says.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// The agent's clock.
    pub agent_now: Timestamp,
    /// Its volumes.
    pub volumes: Vec<VolumeStatus>,
    /// Attempts whose leases are to be renewed.
    pub attempts: Vec<AttemptId>,
    /// One-minute load average.
    pub load: f64,
}
