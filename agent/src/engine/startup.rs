//! Goes on with every run that a journal tells of, when the engine is opened.
//!
//! Reading is quick and only looks; what is to be done about each run is decided by
//! [`machine`] and done in the background. Nothing is started here. What was prepared for a run that never came to be
//! is cleared away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::id::{ClusterId, VolumeId};
use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::runtime::files;
use tokio::sync::watch;

use super::attend::{self, Live};
use super::core::Core;
use super::finish;
use super::held::{Taken, Whose, Wish};
use super::hosts;
use crate::run::journal::{Journal, Mark, ProcessId, RunRecord};
use crate::run::machine::{self, Journaled, Step};
use crate::volume::VolumeError;
use crate::volume::generations::Generations;
use crate::volume::identity::Volume;
use crate::volume::layout::{ClusterDir, directories};

/// How often a supervisor that was just started is looked for.
const SOON: Duration = Duration::from_millis(20);

/// A run that a journal tells of.
#[derive(Debug)]
pub(crate) struct Found {
    cluster: ClusterDir,
    journal: Journal,
    whose: Whose,
    record: Option<RunRecord>,
    result: Option<RunReport>,
    step: Step,
}

/// What was found on the volumes, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The runs that are to be gone on with.
    pub(crate) found: Vec<Found>,
    /// A sentence for each volume with something that could not be read.
    pub(crate) unread: BTreeMap<VolumeId, String>,
}

impl Reading {
    /// Remembers that something on a volume could not be read: a run may be there that nobody knows of.
    fn miss(&mut self, volume: &Volume, path: &Path, error: &VolumeError) {
        tracing::error!(volume = %volume.id, path = %path.display(), %error, "cannot read a journal");
        let fault = || format!("not every run on this volume could be read when the agent started: {error}");
        self.unread.entry(volume.id).or_insert_with(fault);
    }
}

/// Reads all journals on all volumes. What cannot be read is told, and left alone; it keeps nothing else
/// from being read.
pub(crate) fn read_journals(core: &Core) -> Reading {
    let mut reading = Reading::default();
    for volume in &core.volumes {
        match volume.layout.clusters() {
            Ok(clusters) => clusters.iter().for_each(|cluster| read_cluster(core, volume, cluster, &mut reading)),
            Err(error) => reading.miss(volume, &volume.root, &error),
        }
    }
    reading
}

fn read_cluster(core: &Core, volume: &Volume, cluster: &ClusterDir, reading: &mut Reading) {
    let (id, runs) = match runs_of(volume, cluster) {
        Ok(Some(known)) => known,
        Ok(None) => return,
        Err(error) => return reading.miss(volume, cluster.path(), &error),
    };
    if let Err(error) = Generations::at(cluster.generations()).clear_leftovers() {
        tracing::warn!(cluster = %cluster.path().display(), %error, "cannot clear away what an interrupted seal left");
    }
    for journal in runs.into_iter().map(Journal::at) {
        match read_run(core, volume, (cluster, id), &journal) {
            Ok(run) => reading.found.extend(run),
            Err(error) => reading.miss(volume, journal.dir(), &error),
        }
    }
}

fn runs_of(volume: &Volume, cluster: &ClusterDir) -> Result<Option<(ClusterId, Vec<PathBuf>)>, VolumeError> {
    volume.layout.check_cluster(cluster)?;
    let Some(file) = cluster.read_record()? else { return Ok(None) };
    Ok(Some((file.cluster, directories(&cluster.runs())?)))
}

/// Finds out what is to be done about one run; nothing when that is nothing.
pub(crate) fn find(
    core: &Core,
    volume: &Volume,
    cluster: &ClusterDir,
    journal: &Journal,
) -> Result<Option<Found>, VolumeError> {
    let Some(file) = cluster.read_record()? else { return Ok(None) };
    read_run(core, volume, (cluster, file.cluster), journal)
}

fn read_run(
    core: &Core,
    volume: &Volume,
    (dir, cluster): (&ClusterDir, ClusterId),
    journal: &Journal,
) -> Result<Option<Found>, VolumeError> {
    if journal.has(Mark::Recorded) {
        return Ok(None);
    }
    let record = journal.run()?;
    let step = step(core, dir, journal, record.as_ref())?;
    let result = journal.result()?;
    let (attempt, fence) = match (&record, &result) {
        (Some(record), _) => (record.attempt, record.fence),
        (None, Some(report)) => (report.attempt, report.fence),
        (None, None) => {
            hosts::stillborn(core, dir);
            clear_stillborn(journal);
            return Ok(None);
        }
    };
    let whose = Whose { attempt, fence, cluster, volume: volume.id };
    Ok(Some(Found { cluster: dir.clone(), journal: journal.clone(), whose, record, result, step }))
}

/// Clears away what was prepared for a run that the agent did not live to journal: nothing was started.
/// The copy for a removal has the cluster's keys. What was put aside stays, and so does anything that
/// only a run can have left.
fn clear_stillborn(journal: &Journal) {
    let kept = ["aside", "supervisor.json", "output.log", "exit.json", "forgotten"];
    let keeps = kept.iter().any(|name| journal.dir().join(name).symlink_metadata().is_ok());
    let gone = if keeps { finish::scratch(journal) } else { journal.dir().to_owned() };
    if let Err(error) = files::remove_tree(&gone) {
        tracing::error!(path = %gone.display(), %error, "cannot clear away what was prepared for a run");
    }
}

fn step(core: &Core, cluster: &ClusterDir, journal: &Journal, record: Option<&RunRecord>) -> Result<Step, VolumeError> {
    // First: what a supervisor writes, it writes with the lock held. The other way round, one that begins
    // and ends in between would seem never to have been.
    let locked = matches!(cluster.lock(), Err(VolumeError::Locked { .. }));
    let this_boot = record.is_some_and(|r| r.boot_id == core.boot_id);
    // Of another boot it says nothing that is still true, and it may be torn: it is not durable.
    let supervisor = if this_boot { said_by(journal) } else { Supervisor::Silent };
    let journaled = Journaled {
        run: record.is_some(),
        supervisor: !matches!(supervisor, Supervisor::Silent),
        exit: journal.exit()?.is_some(),
        result: journal.result()?.is_some(),
        recorded: journal.has(Mark::Recorded),
        forgotten: journal.has(Mark::Forgotten),
        this_boot,
        supervisor_lives: matches!(supervisor, Supervisor::Is(process) if core.host.lives(process)),
        locked,
    };
    Ok(machine::next(journaled))
}

/// What a supervisor of this boot says of itself.
enum Supervisor {
    /// Nothing.
    Silent,
    /// Something that cannot be read: it began, and whether it has ended only the cluster's lock tells,
    /// which is waited for before anything is sealed.
    Garbled,
    /// Who it is.
    Is(ProcessId),
}

fn said_by(journal: &Journal) -> Supervisor {
    match journal.supervisor() {
        Ok(None) => Supervisor::Silent,
        Ok(Some(record)) => Supervisor::Is(record.supervisor),
        Err(error) => {
            tracing::warn!(run = %journal.dir().display(), %error, "cannot read who supervises a run");
            Supervisor::Garbled
        }
    }
}

/// Holds a run that was found, and does in the background what is to be done.
pub(crate) fn go_on(core: &Arc<Core>, found: Found) {
    if matches!(found.step, Step::Done | Step::Evidence) {
        return;
    }
    let Taken::Held(wishes) = core.held.take(found.whose, None) else { return };
    core.held.journaled(found.whose.attempt, &found.journal);
    tracing::info!(attempt = %found.whose.attempt, step = ?found.step, "found a run of an earlier agent");
    if found.journal.has(Mark::Forgotten) {
        core.held.wish(found.whose.attempt, Wish::Forget);
    }
    if let (Step::Report, Some(report)) = (found.step, &found.result) {
        return finish::tell_with_output(core, found.whose, &found.journal, report.clone());
    }
    let going_on = core.clone();
    core.spawn(Box::pin(async move { take_step(going_on, found, wishes).await }));
}

async fn take_step(core: Arc<Core>, mut found: Found, wishes: watch::Receiver<Wish>) {
    while found.step == Step::AwaitSupervisor {
        tokio::time::sleep(SOON).await;
        let (cluster, journal, record) = (found.cluster.clone(), found.journal.clone(), found.record.clone());
        let looked = core.blocking(move |core| step(core, &cluster, &journal, record.as_ref())).await;
        if let Ok(Ok(step)) = looked {
            found.step = step;
        }
    }
    let Some(record) = found.record else { return };
    let host_lost = match found.step {
        Step::Adopt | Step::Seal => false,
        Step::SealInterrupted { host_lost } => host_lost,
        _ => return never_started(&core, &found.journal, &record).await,
    };
    let supervisor = found.journal.supervisor().ok().flatten();
    let at = supervisor.as_ref().and_then(|s| s.started_at).unwrap_or(record.created_at);
    let supervisor = supervisor.filter(|_| found.step == Step::Adopt).map(|s| s.supervisor);
    let (journal, cluster) = (found.journal, found.cluster);
    let live =
        Live { journal, record, cluster, supervisor, child: None, lock: None, host_lost, volume_failed: false, at };
    attend::attend(core, live, wishes).await;
}

async fn never_started(core: &Arc<Core>, journal: &Journal, record: &RunRecord) {
    let failure = Failure {
        class: FailureClass::Interrupted,
        message: "the agent ended before rke was started".into(),
        line: None,
        retryable: true,
        remedy: "Retry: nothing was changed.".into(),
    };
    let report = RunReport {
        attempt: record.attempt,
        fence: record.fence,
        outcome: RunOutcome::Refused(failure),
        exit: None,
        started_at: None,
        ended_at: core.clock.now(),
        generation: None,
        rke: Some(record.rke.clone()).filter(|_| record.kind.is_rke()),
        warnings: Vec::new(),
        output_bytes: 0,
        findings: None,
    };
    let (journal, written) = (journal.clone(), report.clone());
    let noted = core.blocking(move |core| finish::write_result(core, &journal, &written)).await;
    if let Err(error) = noted {
        tracing::error!(attempt = %record.attempt, %error, "cannot note that a run was never started");
    }
    finish::tell(core, report);
}
