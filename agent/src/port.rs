//! The seam between the engine (which executes attempts) and the link (which talks to the
//! controller). Values only; neither side knows the other's insides, so each is tested alone and the
//! simulation can replace either.
//!
//! Invariants of the conversation:
//! - the engine counts a run as held from the moment an assignment is handed over until its report is
//!   recorded or it is told to forget it; [`Engine::held_runs`] is complete at every moment;
//! - events may be told again after a reconnect; the controller takes each once;
//! - a report is sent only after every byte of the run's output is stored ([`OutputSource`]).

use std::path::PathBuf;

use async_trait::async_trait;
use cratekube_common::domain::agent::{AgentFacts, VolumeStatus};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::id::{AttemptId, VolumeId};
use cratekube_common::domain::inventory::ClusterOnVolume;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::query::{Answer, Query, QueryKind};
use cratekube_common::domain::run::{Assignment, HeldRun, RunReport, RunVerdict};
use cratekube_common::domain::time::Timestamp;
use tokio::sync::{mpsc, watch};

/// Something the engine wants the controller to know.
#[derive(Debug, Clone)]
pub enum Event {
    /// The run is recorded on the volume and starts. Comes with the output to stream.
    Started {
        /// The attempt.
        attempt: AttemptId,
        /// Its fence.
        fence: Fence,
        /// When `rke` started, by this host's clock.
        at: Timestamp,
        /// Where its output grows.
        output: OutputSource,
    },
    /// How far a run is.
    Progress {
        /// The attempt.
        attempt: AttemptId,
        /// Its fence.
        fence: Fence,
        /// How far.
        progress: Progress,
    },
    /// The run is over and sealed. Kept by the link until the controller has recorded it.
    Over(Box<RunReport>),
    /// The assignment cannot be executed and was never started.
    Declined {
        /// The attempt.
        attempt: AttemptId,
        /// Its fence.
        fence: Fence,
        /// Why, in a sentence.
        reason: String,
    },
    /// The number of free slots changed.
    Slots,
}

/// The growing output file of one run.
#[derive(Debug, Clone)]
pub struct OutputSource {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// The file on the volume.
    pub path: PathBuf,
    /// How much of it there is, and whether it will grow.
    pub length: watch::Receiver<OutputLength>,
}

/// How much output there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLength {
    /// Bytes written so far.
    pub bytes: u64,
    /// True when nothing will be added.
    pub complete: bool,
}

/// What the link asks of the engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What the agent says of itself when it connects.
    async fn facts(&self) -> AgentFacts;

    /// The volumes as they are now, for heartbeats.
    async fn volumes(&self) -> Vec<VolumeStatus>;

    /// Every run that is held: assigned, running, or over and not yet recorded.
    fn held_runs(&self) -> Vec<HeldRun>;

    /// How many more assignments can be taken now.
    fn free_slots(&self) -> u32;

    /// Takes an assignment. It is held from here on; what becomes of it comes as [`Event`]s.
    fn assign(&self, assignment: Assignment);

    /// The controller's word on a held run: go on, end it, or keep it as evidence only.
    fn verdict(&self, attempt: AttemptId, verdict: RunVerdict);

    /// The controller has recorded the report of this run.
    fn recorded(&self, attempt: AttemptId);

    /// For each held run, the events that a new session must hear again: started runs with their
    /// output, and reports that are not recorded.
    fn replay(&self) -> Vec<Event>;

    /// Everything that a volume tells of its clusters; or why it cannot be told.
    async fn look_through(&self, volume: VolumeId) -> Result<Vec<ClusterOnVolume>, String>;

    /// The controller has lost the reports of these runs: they are held again, and reported again.
    async fn report_again(&self, attempts: Vec<AttemptId>);

    /// Kinds of questions that [`Self::ask`] answers.
    fn answers(&self) -> Vec<QueryKind> {
        Vec::new()
    }

    /// Answers a question. Nothing is changed by it on the cluster's hosts, and nothing of it is kept.
    /// Whoever asks gives up after the question's patience; the future may be dropped then.
    async fn ask(&self, query: Query) -> Answer {
        Err(unanswerable(query.kind))
    }
}

/// The answer to a question that this agent does not know.
#[must_use]
pub fn unanswerable(kind: impl std::fmt::Display) -> Failure {
    let version = env!("CARGO_PKG_VERSION");
    Failure {
        class: FailureClass::Internal,
        message: format!("agent {version} does not answer questions of the kind {kind}"),
        line: None,
        retryable: false,
        remedy: "Upgrade the agent.".into(),
    }
}

/// Where the engine puts its events and the link takes them from.
#[must_use]
pub fn events() -> (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>) {
    mpsc::unbounded_channel()
}
