//! What a removal left behind: its report, from what its steps found.
//!
//! The verdict errs to one side: *clean* is said only when `rke` removed the cluster, its hosts were
//! cleaned or are to be terminated, and the cloud was swept and looked at again, and each of them says that
//! nothing is left. What was not looked at, or could not be, makes it *unverified*; what is known to be left,
//! *residue*.

use std::collections::BTreeMap;

use cratekube_common::domain::operation::Operation;
use cratekube_common::domain::removal::{
    Cents, DataPolicy, Entry, Fate, ObjectKey, SweepFindings, Tally, Verdict as Swept,
};
use cratekube_common::domain::task::{TaskKind, TaskState};
use cratekube_common::domain::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::store::{Abandonment, RemovalRecord, TaskRecord};

/// Names the form of the report, also to those who verify it.
pub const FORMAT: &str = "cratekube/residue/v1";

/// What can be said of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything was looked at, and nothing of the cluster is left but what was kept on purpose.
    Clean,
    /// Not everything was looked at, or could be.
    Unverified,
    /// Something of the cluster is known to be left.
    Residue,
}

/// A removal's report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Residue {
    /// [`FORMAT`].
    pub format: &'static str,
    /// The removal.
    pub operation: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// Its environment.
    pub environment: String,
    /// Its name.
    pub cluster: String,
    /// Where the removal is.
    pub state: &'static str,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What was to become of volumes and snapshots.
    pub data_policy: Option<DataPolicy>,
    /// True when the hosts were said to be about to be terminated.
    pub hosts_terminated: bool,
    /// What can be said.
    pub verdict: Verdict,
    /// Why it is not clean: every reason there is.
    pub because: Vec<String>,
    /// What the steps say of themselves.
    pub steps: Vec<Step>,
    /// Objects in the cloud; none when nobody looked.
    pub cloud: Option<Cloud>,
    /// What became of each host, as cleaning found it.
    pub hosts: Vec<Value>,
    /// What is kept of the cluster's state, and for how long.
    pub tombstone: Option<Value>,
    /// That it was abandoned.
    pub abandoned: Option<Abandonment>,
}

/// A step of the removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does.
    pub step: &'static str,
    /// Where it is.
    pub state: &'static str,
    /// What it says came of it: `done`, `skipped`, `unverified`.
    pub outcome: Option<String>,
    /// Why.
    pub why: Option<String>,
}

/// What was found in the cloud, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cloud {
    /// The region.
    pub region: Option<String>,
    /// When it was looked at last.
    pub looked_at: Timestamp,
    /// Which price table the costs are from.
    pub prices: String,
    /// All objects, counted, and what they cost in a month.
    pub tally: Tally,
    /// The objects, those that are left first.
    pub objects: Vec<Entry>,
    /// How many are counted and not listed here.
    pub not_listed: u64,
}

impl Cloud {
    /// What of the cluster goes on costing, kept on purpose or not, in a month.
    #[must_use]
    pub fn monthly_cents(&self) -> Cents {
        self.tally.monthly_cents_left.saturating_add(self.tally.monthly_cents_kept)
    }
}

/// Makes the report of a removal.
#[must_use]
pub fn residue(operation: &Operation, record: &RemovalRecord) -> Residue {
    let mut known = Known::default();
    let hosts_terminated = record.options.as_ref().is_some_and(|options| options.hosts_terminated);
    if record.ran {
        known.weigh(operation, record, hosts_terminated);
    }
    let findings = |kind| of(&record.tasks, kind).and_then(|task| task.findings.clone());
    let hosts = findings(TaskKind::CleanHosts).and_then(|found| found["hosts"].as_array().cloned());
    Residue {
        format: FORMAT,
        operation: operation.id.to_string(),
        cluster_id: operation.cluster_id.to_string(),
        environment: operation.environment.to_string(),
        cluster: operation.cluster.to_string(),
        state: operation.state.as_str(),
        created_at: operation.created_at,
        ended_at: operation.ended_at,
        data_policy: record.options.as_ref().map(|options| options.policy),
        hosts_terminated,
        verdict: known.verdict(),
        because: known.into_reasons(),
        steps: record.tasks.iter().map(Step::of).collect(),
        cloud: cloud(record),
        hosts: hosts.unwrap_or_default(),
        tombstone: findings(TaskKind::Tombstone),
        abandoned: record.abandoned.clone(),
    }
}

fn of(tasks: &[TaskRecord], kind: TaskKind) -> Option<&TaskRecord> {
    tasks.iter().find(|task| task.kind == kind)
}

impl Step {
    fn of(task: &TaskRecord) -> Self {
        let word = |name: &str| Some(task.findings.as_ref()?.get(name)?.as_str()?.to_owned());
        Self {
            step: task.kind.as_str(),
            state: task.state.as_str(),
            outcome: word("state").or_else(|| word("verdict")),
            why: word("why").or_else(|| word("unverified")),
        }
    }
}

/// What speaks against calling it clean.
#[derive(Debug, Default)]
struct Known {
    left: Vec<String>,
    unverified: Vec<String>,
}

impl Known {
    fn weigh(&mut self, operation: &Operation, record: &RemovalRecord, hosts_terminated: bool) {
        if !operation.state.is_terminal() {
            self.unverified.push("The removal has not ended.".into());
        }
        if let Some(abandoned) = &record.abandoned {
            self.unverified.push(format!("It was abandoned by {}: {}", abandoned.by, abandoned.reason));
        }
        for kind in [TaskKind::Remove, TaskKind::Sweep, TaskKind::Confirm] {
            self.was_done(record, kind);
        }
        self.cloud(record);
        self.release(record);
        if !hosts_terminated {
            self.was_done(record, TaskKind::CleanHosts);
            self.hosts(record);
        }
    }

    /// Whether a step without which nothing is known was done.
    fn was_done(&mut self, record: &RemovalRecord, kind: TaskKind) {
        let Some(task) = of(&record.tasks, kind) else {
            return self.unverified.push(format!("The step {kind} was left out by the controller's settings."));
        };
        if task.state != TaskState::Succeeded {
            return self.unverified.push(format!("The step {kind} was not done: it is {}.", task.state));
        }
        let step = Step::of(task);
        match step.outcome.as_deref() {
            Some("skipped" | "unverified") => {
                let why = step.why.unwrap_or_else(|| "it does not say why".into());
                self.unverified.push(format!("The step {kind} could not be done: {why}"));
            }
            // What a look at the cloud or at hosts found has its own words.
            Some(_) => {}
            None if kind == TaskKind::Remove => {}
            None if kind == TaskKind::CleanHosts && told(task, "hosts").is_some() => {}
            None => self.unverified.push(format!("The step {kind} does not say what it found.")),
        }
    }

    fn cloud(&mut self, record: &RemovalRecord) {
        let Some(last) = last_look(record) else { return };
        for entry in last.entries.iter().filter(|entry| entry.fate == Fate::Left) {
            let why = entry.why.as_deref().unwrap_or("it is still there");
            self.left.push(format!("{} {} in the cloud: {why}", entry.kind, entry.id));
        }
        if last.verdict == Swept::Left && self.left.is_empty() {
            self.left.push(format!("{} objects in the cloud.", last.tally.left));
        }
    }

    fn release(&mut self, record: &RemovalRecord) {
        let blockers = of(&record.tasks, TaskKind::Release).and_then(|task| told(task, "blockers"));
        for blocker in blockers.and_then(Value::as_array).into_iter().flatten() {
            // What held a cluster's objects is gone with the cluster; what they held in the cloud is swept.
            let told = blocker.as_str().map_or_else(|| blocker.to_string(), str::to_owned);
            if of(&record.tasks, TaskKind::Sweep).is_none() {
                self.left.push(format!("not released by the cluster: {told}"));
            }
        }
    }

    fn hosts(&mut self, record: &RemovalRecord) {
        let hosts = of(&record.tasks, TaskKind::CleanHosts).and_then(|task| told(task, "hosts"));
        for host in hosts.and_then(Value::as_array).into_iter().flatten() {
            let word = |name: &str| host[name].as_str().unwrap_or_default();
            let told = format!("host {}: {}", word("address"), word("detail"));
            match word("outcome") {
                "partly" => self.left.push(told),
                "unreached" | "untold" => self.unverified.push(told),
                _ => {}
            }
        }
    }

    fn verdict(&self) -> Verdict {
        match (self.left.is_empty(), self.unverified.is_empty()) {
            (false, _) => Verdict::Residue,
            (true, false) => Verdict::Unverified,
            (true, true) => Verdict::Clean,
        }
    }

    fn into_reasons(mut self) -> Vec<String> {
        self.left.append(&mut self.unverified);
        self.left
    }
}

fn told<'a>(task: &'a TaskRecord, name: &str) -> Option<&'a Value> {
    task.findings.as_ref()?.get(name)
}

fn swept(task: &TaskRecord) -> Option<SweepFindings> {
    let of_the_cloud = matches!(task.kind, TaskKind::Sweep | TaskKind::Confirm);
    serde_json::from_value(task.findings.clone().filter(|_| of_the_cloud)?).ok()
}

/// What the last look of this removal found.
fn last_look(record: &RemovalRecord) -> Option<SweepFindings> {
    record.tasks.iter().filter_map(swept).next_back()
}

/// All objects that this removal, and those that it repeats, found in the cloud, each as it was seen last.
fn cloud(record: &RemovalRecord) -> Option<Cloud> {
    let looks: Vec<SweepFindings> = record.before.iter().chain(&record.tasks).filter_map(swept).collect();
    let last = looks.last()?;
    let mut objects: BTreeMap<ObjectKey, Entry> = BTreeMap::new();
    for entry in looks.iter().flat_map(|look| &look.entries) {
        let known = objects.get(&entry.key()).map(|known| known.fate);
        // That it is gone was found out once; what was done to it counts.
        if !(known == Some(Fate::Deleted) && entry.fate == Fate::AlreadyGone) {
            objects.insert(entry.key(), entry.clone());
        }
    }
    let objects: Vec<Entry> = objects.into_values().collect();
    let all = SweepFindings { entries: objects, not_listed: last.not_listed, ..last.clone() }.bounded();
    // What is not listed is in the step's own count, and in no other.
    let tally = if last.not_listed > 0 { last.tally } else { all.tally };
    Some(Cloud {
        region: last.region.clone(),
        looked_at: last.at,
        prices: last.prices.clone(),
        tally,
        objects: all.entries,
        not_listed: all.not_listed,
    })
}

#[cfg(test)]
mod tests;
