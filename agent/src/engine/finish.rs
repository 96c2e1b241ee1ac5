//! When `rke` has ended: seal what it left, judge, write the result, tell.
//!
//! The state is sealed after every run, also after failed and killed ones, before anything else is
//! said of it. Each step can be repeated after a crash: the seal is found again by its attempt, the
//! verdict is computed from what is on the volume.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::run::{ExitStatus, ReachedLimit, RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::redact;
use cratekube_common::runtime::files;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::attend::Live;
use super::core::{Core, internal};
use super::held::{Started, Told, Whose};
use super::{hosts, recover};
use crate::port::{Event, OutputLength, OutputSource};
use crate::provisioner::{Case, Reader, Stop, Verb};
use crate::run::journal::{ExitRecord, Journal, Mark, RunRecord};
use crate::step;
use crate::volume::fence::{self, Accepted};
use crate::volume::generations::{self, Generations, SEALED, Seal};
use crate::volume::layout::{ClusterDir, ClusterFile, directories};
use crate::volume::{VolumeError, digest, reserve};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What its supervisor says; none when that is lost.
    pub(crate) exit: Option<ExitRecord>,
    /// What its output says; none when it cannot be read.
    pub(crate) evidence: Option<Box<dyn Reader>>,
    /// How much output there is.
    pub(crate) output_bytes: u64,
}

/// Seals, judges, writes the result and tells.
pub(crate) async fn finish(core: &Arc<Core>, live: Live, ended: Ended) {
    let (attempt, fence) = (live.record.attempt, live.record.fence);
    match core.blocking(move |core| conclude(core, live, &ended)).await {
        Ok(report) => tell(core, report),
        Err(error) => {
            // Held still, and in the journal as it was: the next start goes on from there.
            tracing::error!(%attempt, %fence, %error, "cannot finish a run");
        }
    }
}

/// Tells a report that somebody waits for.
pub(crate) fn tell(core: &Arc<Core>, report: RunReport) {
    let attempt = report.attempt;
    match core.held.over(report) {
        Told::Controller(event) => core.tell(event),
        Told::Journal(Some(journal)) => mark(core, attempt, journal, Mark::Forgotten),
        Told::Journal(None) | Told::Nobody => {}
    }
    core.tell(Event::Slots);
}

/// Tells a report together with the output of its run, which is whole.
pub(crate) fn tell_with_output(core: &Arc<Core>, whose: Whose, journal: &Journal, report: RunReport) {
    if let Some(at) = report.started_at {
        let (attempt, fence) = (report.attempt, report.fence);
        let (_, length) = watch::channel(OutputLength { bytes: report.output_bytes, complete: true });
        let started = Started { at, output: OutputSource { attempt, fence, path: journal.output(), length } };
        let event = whose.started(&started);
        core.held.started(attempt, started, false);
        core.tell(event);
    }
    tell(core, report);
}

/// Sets a mark in a run's journal, in the background.
pub(crate) fn mark(core: &Arc<Core>, attempt: AttemptId, journal: Journal, mark: Mark) {
    let marking = core.clone();
    core.see_through(async move {
        let marked = marking.blocking(move |_| journal.mark(mark)).await;
        if let Err(error) = marked.and_then(|m| m.map_err(io::Error::other)) {
            tracing::error!(%attempt, ?mark, %error, "cannot mark a run in its journal; it will be told again");
        }
    });
}

fn conclude(core: &Core, mut live: Live, ended: &Ended) -> RunReport {
    // Where another agent started the run we do not have the lock yet.
    live.lock = live.lock.or_else(|| {
        live.cluster.lock().inspect_err(|error| tracing::warn!(%error, "sealing beside a lock that is still held")).ok()
    });
    let sealed = match live.record.kind {
        // What is in working/ is not ours to seal: only what was brought back is.
        TaskKind::RecoverState => recover::adopt(core, &live, ended),
        TaskKind::Provision | TaskKind::Reconfigure | TaskKind::Remove | TaskKind::RotateCertificates => {
            seal(core, &live).map(Some)
        }
        // A step leaves the state alone.
        _ => Ok(None),
    };
    let mut report = redact::report(judge(core, &live, ended, &sealed));
    hosts::keep_in_mind(core, &live, ended);
    let record = &live.record;
    if record.kind == TaskKind::Remove
        && report.outcome == RunOutcome::Succeeded
        && let Err(error) = clear_away(core, &live, sealed.as_ref().ok().and_then(Option::as_ref))
    {
        report.outcome = RunOutcome::Failed(error.to_failure());
    }
    write_result(core, &live.journal, &report);
    tidy(core, &live.cluster);
    core.settings.metrics.run_ended(&report);
    tracing::info!(attempt = %record.attempt, request_id = record.request_id, outcome = outcome_name(&report.outcome), exit = ?report.exit, generation = report.generation.as_ref().map(|m| m.number), output_bytes = report.output_bytes, "a run is over");
    report
}

fn outcome_name(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Succeeded => "succeeded",
        RunOutcome::Failed(_) => "failed",
        RunOutcome::Refused(_) => "refused",
    }
}

/// Where a removal runs.
pub(crate) fn scratch(journal: &Journal) -> PathBuf {
    journal.dir().join("scratch")
}

// ---- sealing

pub(crate) fn seal(core: &Core, live: &Live) -> Result<Manifest, VolumeError> {
    let sealed = seal_run(core, &live.cluster, &live.record).or_else(|error| {
        // There is space kept back for exactly this.
        let volume = core.volume_at(live.cluster.path()).filter(|_| error.is_full());
        if volume.is_some_and(|volume| reserve::give_up(&reserve::path(&volume.root))) {
            return seal_anew(core, &live.cluster, &live.record);
        }
        Err(error)
    });
    if let Err(error) = &sealed {
        core.heed(live.cluster.path(), error);
        tracing::error!(attempt = %live.record.attempt, %error, "the state cannot be sealed");
        let working = live.cluster.working();
        let noted = digest::files(&working, &SEALED)
            .map_err(VolumeError::io("read", &working))
            .and_then(|files| live.journal.write_unsealed(&files));
        if let Err(error) = noted {
            tracing::error!(attempt = %live.record.attempt, %error, "nor can it be noted what is to be sealed");
        }
    }
    sealed
}

/// Seals after sealing has failed: nothing of what was written before is relied upon.
fn seal_anew(core: &Core, cluster: &ClusterDir, record: &RunRecord) -> Result<Manifest, VolumeError> {
    let working = cluster.working();
    generations::write_again(&working).map_err(VolumeError::io("write anew", &working))?;
    seal_run(core, cluster, record)
}

/// Whether a run was to make a new CA.
fn wants_new_ca(record: &RunRecord) -> bool {
    record.rotation.as_ref().is_some_and(|rotation| rotation.ca)
}

fn seal_run(core: &Core, cluster: &ClusterDir, record: &RunRecord) -> Result<Manifest, VolumeError> {
    core.volume_at(cluster.path()).map_or(Ok(()), |volume| volume.check())?;
    // A newer attempt has taken over: what this one left is not to become the newest.
    let ours = Accepted { fence: record.fence, attempt: record.attempt };
    fence::check(fence::read(&cluster.fence())?, ours)?;
    let file = cluster.read_record()?;
    let on_record = file.as_ref().and_then(|f| f.ca_sha256.clone());
    let seal = Seal {
        cluster: record.cluster,
        operation: record.operation,
        attempt: record.attempt,
        fence: record.fence,
        // Where a new CA was asked for, whichever the state carries now is the one to go on from.
        ca_on_record: on_record.as_deref().or(record.ca_before.as_deref()).filter(|_| !wants_new_ca(record)),
        above: record.recovery.map_or(0, |recovery| recovery.newest_recorded),
        at: core.clock.now(),
    };
    let manifest = Generations::at(cluster.generations()).seal(&cluster.working(), &seal)?;
    let learns = |file: &ClusterFile| file.ca_sha256.is_none() || wants_new_ca(record);
    if let Some(mut file) = file.filter(|file| manifest.good && learns(file)) {
        file.ca_sha256.clone_from(&manifest.ca_sha256);
        cluster.write_record(&file)?;
    }
    Ok(manifest)
}

/// Seals what an earlier run left that could not be sealed then (a full disk), if nothing has changed
/// it since. Called with the cluster's lock held, before the gate.
pub(crate) fn seal_leftover(core: &Core, cluster: &ClusterDir) -> Result<(), VolumeError> {
    let journals = directories(&cluster.runs())?.into_iter().rev().map(Journal::at);
    let Some(journal) = journals.into_iter().find(Journal::is_unsealed) else { return Ok(()) };
    let (Some(left), Some(record)) = (journal.unsealed()?, journal.run()?) else { return Ok(()) };
    let working = cluster.working();
    let found = digest::files(&working, &SEALED).map_err(VolumeError::io("read", &working))?;
    if found == left {
        seal_anew(core, cluster, &record)?;
        journal.clear_unsealed()?;
    }
    Ok(())
}

// ---- judging

fn judge(core: &Core, live: &Live, ended: &Ended, sealed: &Result<Option<Manifest>, VolumeError>) -> RunReport {
    let (record, exit) = (&live.record, ended.exit.as_ref());
    let Verdict { outcome, mut warnings, findings } = verdict(core, live, ended);
    warnings.splice(..0, record.warnings.iter().cloned());
    if let Some(dropped) = exit.map(|e| e.dropped_bytes).filter(|n| *n > 0) {
        warnings.push(format!("{dropped} bytes in the middle of the output were left out"));
    }
    let outcome = match (outcome, sealed) {
        (RunOutcome::Succeeded, Err(error)) => RunOutcome::Failed(error.to_failure()),
        (RunOutcome::Failed(failure), Err(error)) if explains(error, &failure) => {
            warnings.push(format!("the run ended with: {}", failure.message));
            RunOutcome::Failed(error.to_failure())
        }
        (outcome, Err(error)) => {
            warnings.push(format!("the state was not sealed: {error}"));
            outcome
        }
        (outcome, Ok(_)) => outcome,
    };
    RunReport {
        attempt: record.attempt,
        fence: record.fence,
        outcome,
        exit: exit.and_then(|e| e.exit),
        started_at: exit.map_or(Some(live.at), |e| e.started_at),
        ended_at: exit.map_or_else(|| core.clock.now(), |e| e.ended_at),
        generation: sealed.as_ref().ok().cloned().flatten(),
        rke: Some(record.rke.clone()).filter(|_| record.kind.is_rke()),
        warnings,
        output_bytes: ended.output_bytes,
        findings,
    }
}

/// Whether the volume is why a run failed, whatever else was seen of it.
fn explains(error: &VolumeError, failure: &Failure) -> bool {
    match failure.class {
        // An alarm stays one.
        FailureClass::State | FailureClass::Cancelled => false,
        FailureClass::Interrupted => error.is_broken() || error.is_full(),
        _ => error.is_broken(),
    }
}

/// What is to be said of a run.
pub(crate) struct Verdict {
    pub(crate) outcome: RunOutcome,
    warnings: Vec<String>,
    findings: Option<Value>,
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        Self { outcome: RunOutcome::Failed(failure), warnings: Vec::new(), findings: None }
    }
}

pub(crate) fn verdict(core: &Core, live: &Live, ended: &Ended) -> Verdict {
    if let Some(error) = ended.exit.as_ref().and_then(|e| e.start_error.as_deref()) {
        let outcome = RunOutcome::Refused(not_started(error));
        return Verdict { outcome, warnings: Vec::new(), findings: None };
    }
    let reached = ended.exit.as_ref().and_then(|e| e.reached_limit(&live.record.command));
    let stopped = stopped(live, reached.as_ref());
    if !live.record.kind.is_rke() {
        return step_verdict(live, ended, stopped);
    }
    let Some(evidence) = &ended.evidence else {
        let failure = internal("the output of rke cannot be read".into(), true, "Check the state volume, then retry.");
        return failure.into();
    };
    let place = match live.record.kind {
        TaskKind::RecoverState => scratch(&live.journal),
        _ => live.cluster.working(),
    };
    let exit = ended.exit.as_ref().and_then(|e| e.exit);
    let case = Case { record: &live.record, exit, place: &place, stopped };
    let Some(mut judgement) = evidence.judge(&case) else {
        return internal("what came of the run is not known".into(), true, "Retry.").into();
    };
    judgement.warnings.extend(ended_in_the_middle(core, evidence.as_ref(), &case));
    let outcome = judgement.outcome.map_err(|failure| match failure.class {
        FailureClass::Interrupted if live.volume_failed && ended.exit.is_none() => unwritten(),
        FailureClass::Internal if ended.exit.as_ref().is_some_and(|e| e.output_failed) => unwritten(),
        _ => failure,
    });
    let outcome = outcome.map_or_else(RunOutcome::Failed, |()| RunOutcome::Succeeded);
    Verdict { outcome, warnings: judgement.warnings, findings: None }
}

/// What is to be said of a run that was ended on request where the cluster is at its most delicate.
fn ended_in_the_middle(core: &Core, output: &dyn Reader, case: &Case<'_>) -> Option<String> {
    let (Some(Stop::Cancelled), Some(verb)) = (case.stopped, Verb::of(case.record.kind)) else { return None };
    let phase = output.progress()?.phase;
    let capabilities = core.provisioner.capabilities();
    let harmless = case.exit == Some(ExitStatus::Code(0)) || capabilities.may_end(verb, &phase);
    (!harmless).then(|| {
        format!(
            "{} was ended in the phase `{phase}`: the cluster may not work until the same is done again",
            capabilities.name
        )
    })
}

/// What is to be said of a step: what it says itself, if it came to its end.
fn step_verdict(live: &Live, ended: &Ended, stopped: Option<Stop<'_>>) -> Verdict {
    let said = match step::outcome(live.journal.dir()) {
        Ok(said) => said,
        Err(error) => {
            let failure = internal(format!("what came of the step cannot be read: {error}"), true, "Retry.");
            return failure.into();
        }
    };
    let waited_for = step::console::waited_for(live.journal.dir());
    let judged = step::judge(&step::Case {
        kind: live.record.kind,
        outcome: said.as_ref(),
        exit: ended.exit.as_ref().and_then(|e| e.exit),
        stopped,
        waited_for: waited_for.as_deref(),
    });
    let outcome = judged.map_or_else(RunOutcome::Failed, |()| RunOutcome::Succeeded);
    let said = said.unwrap_or_default();
    Verdict { outcome, warnings: said.warnings, findings: Some(said.findings).filter(|found| !found.is_null()) }
}

fn unwritten() -> Failure {
    Failure {
        class: FailureClass::Volume,
        message: "the state volume failed while rke was supervised; how far rke came is not known".into(),
        line: None,
        retryable: true,
        remedy: "Free space on the volume, or check it: the host's kernel log says what failed. Then retry: rke goes on from what is there, once the state was found to be whole.".into(),
    }
}

fn not_started(error: &str) -> Failure {
    internal(
        format!("rke could not be started: {error}"),
        true,
        "Check rke on the agent's host with `cratekube-agent doctor`.",
    )
}

fn stopped<'a>(live: &Live, reached: Option<&'a ReachedLimit>) -> Option<Stop<'a>> {
    if let Some(reached) = reached {
        return Some(Stop::TimedOut(reached));
    }
    if live.journal.has(Mark::Cancel) {
        return Some(Stop::Cancelled);
    }
    live.host_lost.then_some(Stop::HostLost)
}

// ---- what stays

/// The cluster is gone, and that was verified: its files are in the last generation.
fn clear_away(core: &Core, live: &Live, sealed: Option<&Manifest>) -> Result<(), VolumeError> {
    let removed = json!({
        "cluster": live.record.cluster,
        "operation": live.record.operation,
        "attempt": live.record.attempt,
        "generation": sealed.map(|m| m.number),
        "removed_at": core.clock.now(),
    });
    let path = live.cluster.removed();
    files::write_atomic(&path, removed.to_string().as_bytes()).map_err(VolumeError::io("write", &path))?;
    let working = live.cluster.working();
    files::remove_tree(&working).map_err(VolumeError::io("remove", &working))
}

/// Writes the result; when there is no space, the reserve is given up for it. A result that cannot be
/// written is told all the same: what is lost is only that a restart knows it.
pub(crate) fn write_result(core: &Core, journal: &Journal, report: &RunReport) {
    // The copy that a removal ran on has the cluster's keys.
    let _often_not_there = files::remove_tree(&scratch(journal));
    let write = || {
        core.volume_at(journal.dir()).map_or(Ok(()), |volume| volume.check())?;
        files::make_child(journal.dir()).map_err(VolumeError::io("make", journal.dir()))?;
        journal.write_result(report)
    };
    let written = write().or_else(|error| {
        let volume = core.volume_at(journal.dir()).filter(|_| error.is_full());
        if volume.is_some_and(|v| reserve::give_up(&reserve::path(&v.root))) { write() } else { Err(error) }
    });
    if let Err(error) = written {
        core.heed(journal.dir(), &error);
        tracing::error!(attempt = %report.attempt, %error, "cannot write the result of a run");
    }
}

/// Keeps as much as the settings say; best effort, and never in the way of a result.
fn tidy(core: &Core, cluster: &ClusterDir) {
    let pruned = Generations::at(cluster.generations()).prune(core.settings.keep_generations);
    if let Err(error) = pruned.and_then(|()| prune_runs(cluster, core.settings.keep_runs)) {
        tracing::warn!(cluster = %cluster.path().display(), %error, "cannot clear away what is old");
    }
    if let Some(volume) = core.volume_at(cluster.path()).filter(|volume| volume.check().is_ok()) {
        reserve::take(&volume.root);
    }
}

/// Old runs go when the controller has their reports. Their ids are in order of time.
fn prune_runs(cluster: &ClusterDir, keep: usize) -> Result<(), VolumeError> {
    let runs = directories(&cluster.runs())?;
    let excess = runs.len().saturating_sub(keep.max(1));
    let settled = |dir: &PathBuf| {
        let journal = Journal::at(dir.clone());
        (journal.has(Mark::Recorded) || journal.has(Mark::Forgotten)) && !journal.is_unsealed()
    };
    for dir in runs.into_iter().take(excess).filter(settled) {
        files::remove_tree(&dir).map_err(VolumeError::io("prune", &dir))?;
    }
    Ok(())
}
