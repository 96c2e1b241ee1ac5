//! What must be true of a simulated world, checked while it happens.
//!
//! Users, machines and simulated `rke`s tell the model what they did; it knows nothing of how the
//! product works. What does not fit the three invariants is noted as broken, with everything that
//! happened before it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
use cratekube_common::domain::run::ExitStatus;
use cratekube_common::domain::task::TaskKind;

use super::state::{self, Content, Found};
use super::time::Course;
use super::users::Ask;

/// What happened so far, and what of it may not be.
#[derive(Debug)]
pub struct Model {
    course: Course,
    facts: Mutex<Facts>,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Facts {
    /// What happened, in order.
    pub events: Vec<String>,
    /// What may not be.
    pub broken: Vec<String>,
    /// Clusters by id.
    pub clusters: BTreeMap<ClusterId, Cluster>,
    /// Runs by attempt.
    pub runs: BTreeMap<AttemptId, Run>,
    /// What users asked for, by idempotency key.
    pub asked: BTreeMap<String, Asked>,
    /// Operations that were cancelled.
    pub cancelled: BTreeSet<OperationId>,
    /// Names of clusters whose runs may have been given up by force.
    pub forced: BTreeSet<String>,
    /// The last state that a user was told of an operation that was accepted.
    pub told: BTreeMap<OperationId, Option<String>>,
}

/// What is known of a cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    /// The attempt whose `rke` acts on it now.
    pub running: Option<AttemptId>,
    /// The highest fence that an `rke` ran under.
    pub fence: Option<Fence>,
    /// The newest content of its state that was ever seen sealed as good.
    pub sealed: Option<Content>,
    /// Whether an `rke` cleaned its hosts.
    pub cleaned: bool,
    /// The copy of its state that the cluster itself keeps.
    pub kept: Option<Content>,
    /// The last revision that an `rke` wrote.
    pub revision: u64,
}

/// What is known of a run.
#[derive(Debug, Default)]
pub struct Run {
    /// How often its `rke` was started.
    pub starts: u32,
    /// How `rke` ended, as its supervisor noted it durably.
    pub exit: Option<ExitStatus>,
    /// Whether its `rke` stood still, for a time limit to find.
    pub hangs: bool,
    /// Every byte of output that was written to the volume.
    pub output: Vec<u8>,
}

/// Something a user wants.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub what: String,
    /// The operation, once it was accepted.
    pub operation: Option<OperationId>,
}

/// An `rke` that is about to act.
#[derive(Debug, Clone, Copy)]
pub struct Starting<'a> {
    /// Its attempt.
    pub attempt: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// The cluster.
    pub cluster: ClusterId,
    /// What it does.
    pub kind: TaskKind,
    /// The machine it is on.
    pub machine: &'a str,
    /// The state that it finds.
    pub found: &'a Found,
    /// The generations on the volume.
    pub generations: &'a Path,
}

impl Model {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(course: Course) -> Self {
        Self { course, facts: Mutex::default() }
    }

    /// Everything that is known.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened.
    pub fn note(&self, what: impl AsRef<str>) {
        let elapsed = self.course.elapsed();
        self.facts().events.push(format!("{:>9.3} {}", elapsed.as_secs_f64(), what.as_ref()));
    }

    /// Something happened that may not be.
    pub fn broken(&self, what: String) {
        self.note(format!("BROKEN: {what}"));
        self.facts().broken.push(what);
    }

    /// An `rke` begins to act on a cluster.
    pub fn rke_starts(&self, starting: &Starting<'_>) {
        let Starting { attempt, fence, cluster, kind, machine, found, generations } = starting;
        self.note(format!("{machine}: rke starts, {kind} of {cluster}, attempt {attempt}, fence {fence}, {found}"));
        let sealed = state::newest_good(generations);
        let mut faults = Vec::new();
        {
            let mut facts = self.facts();
            let run = facts.runs.entry(*attempt).or_default();
            run.starts += 1;
            if run.starts > 1 {
                faults.push(format!("rke of attempt {attempt} was started {} times", run.starts));
            }
            let known = facts.clusters.entry(*cluster).or_default();
            if let Some(other) = known.running.replace(*attempt) {
                faults.push(format!("two rke act on {cluster} at once: {other} and {attempt}"));
            }
            if known.fence.is_some_and(|highest| highest >= *fence) {
                faults.push(format!("rke of {attempt} runs under fence {fence} after {:?}", known.fence));
            }
            known.fence = known.fence.max(Some(*fence));
            faults.extend(known.sealed_now(sealed));
            faults.extend(known.fits(found));
        }
        faults.into_iter().for_each(|fault| self.broken(fault));
    }

    /// An `rke` stands still from here on.
    pub fn hangs(&self, attempt: AttemptId) {
        self.note(format!("rke of {attempt} hangs"));
        self.facts().runs.entry(attempt).or_default().hangs = true;
    }

    /// An `rke` has cleaned a cluster's hosts.
    pub fn cleaned(&self, cluster: ClusterId) {
        self.facts().clusters.entry(cluster).or_default().cleaned = true;
    }

    /// What a cluster keeps of its own state, as the `rke` that built it last left it there.
    pub fn kept_by_cluster(&self, cluster: ClusterId, built: Option<Content>) -> Option<Content> {
        let mut facts = self.facts();
        let known = facts.clusters.entry(cluster).or_default();
        if built.is_some() {
            known.kept = built;
        }
        known.kept.clone()
    }

    /// An `rke` acts no more.
    pub fn rke_ends(&self, attempt: AttemptId, cluster: ClusterId, how: &str) {
        self.note(format!("rke of {attempt} ends: {how}"));
        let mut facts = self.facts();
        let known = facts.clusters.entry(cluster).or_default();
        if known.running == Some(attempt) {
            known.running = None;
        }
    }

    /// The number of the next state that is written for a cluster.
    pub fn next_revision(&self, cluster: ClusterId) -> u64 {
        let mut facts = self.facts();
        let known = facts.clusters.entry(cluster).or_default();
        known.revision += 1;
        known.revision
    }

    /// Output is on the volume.
    pub fn output(&self, attempt: AttemptId, bytes: &[u8]) {
        self.facts().runs.entry(attempt).or_default().output.extend_from_slice(bytes);
    }

    /// The end of an `rke` is durable.
    pub fn exited(&self, attempt: AttemptId, exit: ExitStatus) {
        self.note(format!("exit of {attempt} is noted: {exit:?}"));
        self.facts().runs.entry(attempt).or_default().exit = Some(exit);
    }

    /// A user is about to ask for something.
    pub fn asks(&self, key: &str, ask: &Ask) {
        self.note(format!("{key} asks: {ask}"));
        let mut facts = self.facts();
        facts.asked.entry(key.to_owned()).or_insert(Asked { what: ask.to_string(), operation: None });
        // It may have its effect although the answer is lost.
        if let Ask::Cancel(operation) = ask {
            facts.cancelled.insert(*operation);
        }
        if let Ask::ForceUnlock(name) = ask {
            facts.forced.insert(name.clone());
        }
    }

    /// A user has seen `202`.
    pub fn accepted(&self, key: &str, operation: OperationId) {
        self.note(format!("{key} is accepted as {operation}"));
        let before = {
            let mut facts = self.facts();
            facts.told.entry(operation).or_default();
            facts.asked.get_mut(key).and_then(|asked| asked.operation.replace(operation))
        };
        if let Some(before) = before.filter(|before| *before != operation) {
            self.broken(format!("{key} was accepted twice: as {before} and as {operation}"));
        }
    }

    /// A user has intervened in an operation.
    pub fn intervened(&self, operation: OperationId, ask: &Ask) {
        self.note(format!("{operation}: {ask} is done"));
    }

    /// A user was told the state of an operation.
    pub fn told(&self, operation: OperationId, state: &str) {
        let before = self.facts().told.insert(operation, Some(state.to_owned())).flatten();
        if before.as_deref() == Some(state) {
            return;
        }
        self.note(format!("{operation} is {state}"));
        if let Some(before) = before.filter(|before| is_over(before)) {
            self.broken(format!("{operation} was {before} and is {state} now"));
        }
    }
}

impl Cluster {
    /// What is sealed on the volume now, against what was sealed before.
    pub fn sealed_now(&mut self, sealed: Option<Content>) -> Option<String> {
        let before = self.sealed.clone();
        match (before, sealed) {
            (Some(before), Some(now)) if now.revision < before.revision || now.ca != before.ca => {
                Some(format!("the sealed state went back: {before} was there, now {now}"))
            }
            (Some(before), None) => Some(format!("the sealed state is gone: {before} was there")),
            (_, now) => {
                self.sealed = now.or_else(|| self.sealed.take());
                None
            }
        }
    }

    /// Whether a state may be run on.
    fn fits(&self, found: &Found) -> Option<String> {
        let sealed = self.sealed.as_ref()?;
        match found {
            Found::Whole(content) if content.ca == sealed.ca && content.revision >= sealed.revision => None,
            found => Some(format!("rke was started on {found} although {sealed} is sealed")),
        }
    }
}

/// True for states that are left no more.
#[must_use]
pub fn is_over(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "cancelled")
}
