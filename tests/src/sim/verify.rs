//! What must be true at the end of a world: the store, the volumes and what users were told, against
//! what the machines really did.

use std::collections::BTreeMap;
use std::path::Path;

use cratekube_agent::volume::generations::Generations;
use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::{AttemptId, OperationId};
use cratekube_common::domain::operation::{Operation, OperationKind, OperationState};
use cratekube_common::domain::run::ExitStatus;
use cratekube_common::domain::task::TaskState;
use cratekube_controller::store::sqlite::SqliteStore;
use cratekube_controller::store::{AttemptRecord, OperationFilter, PageRequest, Store, TaskRecord};

use super::house::{ATTEMPTS, House, INLINE, now_or_never};
use super::model::{Facts, is_over};
use super::state;

/// Compares; what does not fit is noted in the model.
pub fn verify(house: &House) {
    let found = Verification::of(house).map_or_else(|error| vec![format!("cannot verify: {error:#}")], |v| v.faults);
    found.into_iter().for_each(|fault| house.model.broken(fault));
}

struct Verification {
    store: SqliteStore,
    faults: Vec<String>,
}

impl Verification {
    fn of(house: &House) -> anyhow::Result<Self> {
        let store = SqliteStore::open(&house.data(), INLINE)?;
        let mut this = Self { store, faults: Vec::new() };
        if let Err(error) = now_or_never(this.store.verify_audit())? {
            this.faults.push(format!("the audit log does not verify: {error}"));
        }
        // Whatever goes wrong here, nobody is where they should not be, and no state is another's.
        let alarms = now_or_never(this.store.alarms(None, PageRequest { after: None, limit: 5 }))??;
        this.faults.extend(alarms.items.iter().map(|alarm| format!("an alarm rang: {}", alarm.what.detail)));
        let operations = this.operations()?;
        let facts = house.model.facts();
        this.nothing_lost_or_doubled(&facts, &operations);
        for operation in operations.values() {
            this.operation(&facts, operation)?;
        }
        for root in house.volume_roots() {
            this.volume(&facts, &root)?;
        }
        Ok(this)
    }

    fn operations(&self) -> anyhow::Result<BTreeMap<OperationId, Operation>> {
        let mut found = BTreeMap::new();
        let mut after = None;
        loop {
            let filter = OperationFilter {
                environments: vec![cratekube_common::domain::environment::EnvironmentPattern::any()],
                ..OperationFilter::default()
            };
            let page = now_or_never(self.store.operations(filter, PageRequest { after, limit: 100 }))??;
            found.extend(page.items.into_iter().map(|operation| (operation.id, operation)));
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// Every operation was asked for by exactly one request, and every accepted one is there.
    fn nothing_lost_or_doubled(&mut self, facts: &Facts, operations: &BTreeMap<OperationId, Operation>) {
        for (key, asked) in &facts.asked {
            if asked.operation.is_some_and(|id| !operations.contains_key(&id)) {
                self.faults.push(format!("{key} ({}) was accepted and is lost", asked.what));
            }
        }
        for (id, told) in &facts.told {
            let now = operations.get(id).map(|operation| operation.state.to_string());
            if told.as_deref().is_some_and(is_over) && *told != now {
                self.faults.push(format!("{id} is {now:?}, but a user was told {told:?}"));
            }
        }
        let known = facts.told.len();
        if operations.len() > known {
            self.faults.push(format!("there are {} operations, but only {known} were accepted", operations.len()));
        }
    }

    fn operation(&mut self, facts: &Facts, operation: &Operation) -> anyhow::Result<()> {
        let attempts = now_or_never(self.store.attempts(operation.id))??;
        let id = operation.id;
        if !operation.state.is_terminal() {
            self.faults.push(format!("{id} is {} at the end: {attempts:?}", operation.state));
            return Ok(());
        }
        let tasks = now_or_never(self.store.tasks(id))??;
        for task in &tasks {
            let may_have_run =
                |attempt: &&AttemptRecord| attempt.task == task.id && attempt.state != AttemptState::Released;
            let ran = attempts.iter().filter(may_have_run).count();
            if ran > ATTEMPTS {
                self.faults.push(format!("{} of {id} has {ran} attempts that may have run", task.kind));
            }
        }
        let done = operation.state == OperationState::Succeeded;
        if done != tasks.iter().all(|task| task.state == TaskState::Succeeded)
            && tasks.iter().any(|t| t.state != TaskState::Cancelled)
        {
            self.faults.push(format!("{id} is {}, but its tasks are {tasks:?}", operation.state));
        }
        if !attempts.is_sorted_by(|a, b| a.fence < b.fence) {
            self.faults.push(format!("the fences of {id} do not grow: {attempts:?}"));
        }
        for attempt in &attempts {
            self.attempt(facts, operation, &tasks, attempt);
        }
        self.output(facts, operation, &attempts)
    }

    /// What is on record of an attempt, against what its `rke` did.
    fn attempt(&mut self, facts: &Facts, operation: &Operation, tasks: &[TaskRecord], attempt: &AttemptRecord) {
        let id = attempt.id;
        let run = facts.runs.get(&id);
        let started = run.is_some_and(|run| run.starts > 0);
        let exit = run.and_then(|run| run.exit);
        let class = attempt.failure.as_ref().map(|failure| failure.class);
        let given_up = attempt.state == AttemptState::Fenced;
        if attempt.state.locks() {
            self.faults.push(format!("{id} is {} although its operation is over", attempt.state));
        }
        if given_up && !facts.forced.contains(operation.cluster.as_str()) {
            self.faults.push(format!("{id} was given up although nobody asked for that"));
        }
        if started && attempt.state == AttemptState::Released {
            self.faults.push(format!("{id} is released although its rke was started"));
        }
        let succeeded = operation.state == OperationState::Succeeded && attempt.state == AttemptState::Exited;
        if succeeded && !without_rke(facts, operation, id) && class.is_none() && exit != Some(ExitStatus::Code(0)) {
            self.faults.push(format!("{id} counts as a success, but its rke ended with {exit:?}"));
        }
        let task = tasks.iter().find(|task| task.id == attempt.task).map(|task| task.state);
        if exit == Some(ExitStatus::Code(0)) && task != Some(TaskState::Succeeded) && !given_up {
            self.faults.push(format!("the run of {id} did its work, but its task is {task:?}"));
        }
        let cancelled = facts.cancelled.contains(&operation.id);
        let lost = started && !matches!(exit, Some(ExitStatus::Code(_)));
        let fits = |class| match class {
            FailureClass::Interrupted | FailureClass::State => true,
            FailureClass::Cancelled => cancelled,
            FailureClass::Timeout => run.is_some_and(|run| run.hangs),
            _ => false,
        };
        if lost && class.is_some_and(|class| !fits(class)) {
            self.faults.push(format!("the rke of {id} was interrupted, but is on record as {class:?}"));
        }
        if operation.state == OperationState::Cancelled && !cancelled {
            self.faults.push(format!("{} is cancelled although nobody asked for that", operation.id));
        }
    }

    /// Every byte that was written, once; of a run that was given up, what came over before.
    fn output(&mut self, facts: &Facts, operation: &Operation, attempts: &[AttemptRecord]) -> anyhow::Result<()> {
        let mut stored = Vec::new();
        loop {
            let piece = now_or_never(self.store.read_output(operation.id, stored.len() as u64, 1 << 20))??;
            if piece.data.is_empty() {
                break;
            }
            stored.extend_from_slice(&piece.data);
        }
        let mut written = Vec::new();
        for attempt in attempts {
            let run = facts.runs.get(&attempt.id);
            if without_rke(facts, operation, attempt.id) {
                // What the agent says itself of what it put back, or found to be done.
                let bytes = usize::try_from(attempt.output_bytes).unwrap_or(usize::MAX);
                let said = stored.get(written.len()..).unwrap_or_default();
                written.extend_from_slice(&said[..bytes.min(said.len())]);
                continue;
            }
            let output = run.map(|run| run.output.as_slice()).unwrap_or_default();
            let kept = match attempt.state {
                AttemptState::Fenced => usize::try_from(attempt.output_bytes).unwrap_or(usize::MAX).min(output.len()),
                _ => output.len(),
            };
            written.extend_from_slice(&output[..kept]);
        }
        if stored != written {
            let same = stored.iter().zip(&written).take_while(|(a, b)| a == b).count();
            self.faults.push(format!(
                "the output of {} differs from byte {same} on: {} bytes were written, {} are stored",
                operation.id,
                written.len(),
                stored.len()
            ));
        }
        Ok(())
    }

    /// Generations on a volume: numbered without gaps, never older than the one before, and the same as
    /// the controller's.
    fn volume(&mut self, facts: &Facts, root: &Path) -> anyhow::Result<()> {
        let layout = cratekube_agent::volume::layout::Layout::open(root)?;
        for dir in layout.clusters()? {
            let Some(record) = dir.read_record()? else { continue };
            let generations = Generations::at(dir.generations());
            let manifests = generations.list()?;
            self.grows(&generations, &manifests);
            let cluster = now_or_never(self.store.cluster(&record.environment, &record.name))??;
            if let Some(cluster) = cluster.filter(|cluster| cluster.id == record.cluster) {
                let forced = facts.forced.contains(cluster.name.as_str());
                self.recorded(forced, &cluster, &manifests)?;
            }
        }
        Ok(())
    }

    fn grows(&mut self, generations: &Generations, manifests: &[Manifest]) {
        let mut newest: Option<state::Content> = None;
        for (n, manifest) in (1..).zip(manifests) {
            let place = generations.path(manifest.number);
            if manifest.number != n {
                self.faults.push(format!("{} is the {n}th generation", place.display()));
            }
            match generations.verify(manifest.number) {
                Ok(None) => {}
                damage => self.faults.push(format!("{} is not what was sealed: {damage:?}", place.display())),
            }
            let state::Found::Whole(content) = state::read(&place.join("cluster.rkestate")) else { continue };
            if newest.as_ref().is_some_and(|newest| content.revision < newest.revision || content.ca != newest.ca) {
                self.faults.push(format!("{} has {content} after {newest:?}", place.display()));
            }
            newest = manifest.good.then_some(content).or(newest);
        }
    }

    /// What is on record, against what is on the volume. Of a run that was given up nothing is recorded.
    fn recorded(&mut self, forced: bool, cluster: &Cluster, manifests: &[Manifest]) -> anyhow::Result<()> {
        let page = now_or_never(self.store.generations(cluster.id, PageRequest { after: None, limit: 200 }))??;
        let recorded: Vec<_> = page.items.into_iter().rev().collect();
        let all_there = recorded.iter().all(|manifest| manifests.contains(manifest));
        if !all_there || (recorded.len() < manifests.len() && !forced) {
            let numbers = |list: &[Manifest]| list.iter().map(|m| (m.number, m.attempt)).collect::<Vec<_>>();
            let (there, here) = (numbers(&recorded), numbers(manifests));
            self.faults.push(format!("{} has generations {here:?} on its volume, {there:?} on record", cluster.name));
        }
        let good = recorded.iter().rev().find(|manifest| manifest.good).map(|manifest| manifest.number);
        if cluster.generation != good {
            self.faults
                .push(format!("{} is at generation {:?}, recorded is {good:?}", cluster.name, cluster.generation));
        }
        Ok(())
    }
}

/// Whether an attempt may succeed without an `rke`: a generation was put back, or the hosts were cleaned before.
fn without_rke(facts: &Facts, operation: &Operation, attempt: AttemptId) -> bool {
    let started = facts.runs.get(&attempt).is_some_and(|run| run.starts > 0);
    let cleaned = || facts.clusters.get(&operation.cluster_id).is_some_and(|cluster| cluster.cleaned);
    match operation.kind {
        OperationKind::RecoverState => !started,
        OperationKind::Remove => !started && cleaned(),
        _ => false,
    }
}
