//! From an assignment to a running `rke`: prepare it, start the supervisor. Whatever refuses is told as a report, not
//! started.

use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport};
use tokio::sync::watch;

use super::attend::{self, Live};
use super::core::{Core, internal};
use super::finish;
use super::held::Wish;
use super::prepare::{Preparation, Refusal};
use super::recover::{self, Over};
use super::removed;
use crate::provisioner::Tool;
use crate::volume::VolumeError;
use crate::volume::gate::Source;
use crate::volume::identity::Volume;

/// A lock may be held for a moment by a process that is being started and has not yet let go of what it
/// inherited.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Executes an assignment to its end.
pub(crate) async fn execute(
    core: Arc<Core>,
    volume: Arc<Volume>,
    assignment: Assignment,
    wishes: watch::Receiver<Wish>,
) {
    let attempt = assignment.attempt;
    tracing::info!(%attempt, operation = %assignment.operation, request_id = assignment.request_id, kind = %assignment.kind, environment = %assignment.environment, cluster = %assignment.name, fence = %assignment.fence, "assigned");
    let assignment = Arc::new(assignment);
    match start(&core, &volume, &assignment, &wishes).await {
        Ok(Started::Live(live)) => attend::attend(core, *live, wishes).await,
        Ok(Started::Over(over)) => {
            core.settings.metrics.run_ended(&over.report);
            finish::tell_with_output(&core, over.whose, &over.journal, over.report);
        }
        Err(refusal) => refuse(&core, &assignment, *refusal).await,
    }
}

async fn start(
    core: &Arc<Core>,
    volume: &Arc<Volume>,
    assignment: &Arc<Assignment>,
    wishes: &watch::Receiver<Wish>,
) -> Result<Started, Box<Refusal>> {
    let rke = core.provisioner.probe(core.host.as_ref()).await.map_err(|e| Refusal::of(e.to_failure()))?;
    for _ in 0..LOCK_TRIES {
        match try_start(core, volume, assignment, wishes, rke.clone()).await {
            Err(refusal) if matches!(refusal.error, Some(VolumeError::Locked { .. })) => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            started => return started,
        }
    }
    try_start(core, volume, assignment, wishes, rke).await
}

async fn try_start(
    core: &Arc<Core>,
    volume: &Arc<Volume>,
    assignment: &Arc<Assignment>,
    wishes: &watch::Receiver<Wish>,
    rke: Arc<Tool>,
) -> Result<Started, Box<Refusal>> {
    let (volume, assignment, wishes) = (volume.clone(), assignment.clone(), wishes.clone());
    let started = core.blocking(move |core| {
        let prepared = Preparation { core, volume: &volume, assignment: &assignment, rke: &rke }.prepare();
        let prepared = prepared.inspect_err(|refusal| {
            if let Some(error) = &refusal.error {
                volume.heed(error);
            }
        })?;
        core.held.journaled(assignment.attempt, &prepared.journal);
        if *wishes.borrow() != Wish::GoOn {
            return Err(Box::new(Refusal { journal: Some(prepared.journal), ..*Refusal::of(before_start()) }));
        }
        if prepared.removed_before {
            return Ok(Started::Over(Box::new(removed::again(core, prepared))));
        }
        match prepared.source {
            Some(Source::Generation(number)) => {
                Ok(Started::Over(Box::new(recover::by_generation(core, prepared, number))))
            }
            _ => prepared.start(core).map(|live| Started::Live(Box::new(live))),
        }
    });
    started.await.unwrap_or_else(|e| Err(Refusal::of(internal(e.to_string(), true, "Retry."))))
}

/// What came of preparing a run.
enum Started {
    /// `rke` runs.
    Live(Box<Live>),
    /// It was done without `rke`.
    Over(Box<Over>),
}

fn before_start() -> Failure {
    Failure {
        class: FailureClass::Cancelled,
        message: "ended on request before rke was started".into(),
        line: None,
        retryable: true,
        remedy: "Nothing was changed.".into(),
    }
}

async fn refuse(core: &Arc<Core>, assignment: &Assignment, refusal: Refusal) {
    let attempt = assignment.attempt;
    tracing::warn!(%attempt, class = %refusal.failure.class, reason = refusal.failure.message, "rke is not started");
    let report = RunReport {
        attempt,
        fence: assignment.fence,
        outcome: RunOutcome::Refused(refusal.failure),
        exit: None,
        started_at: None,
        ended_at: core.clock.now(),
        generation: None,
        rke: None,
        warnings: Vec::new(),
        output_bytes: 0,
        findings: None,
    };
    core.settings.metrics.run_ended(&report);
    if let Some(journal) = refusal.journal {
        core.held.journaled(attempt, &journal);
        let report = report.clone();
        let written = core.blocking(move |core| finish::write_result(core, &journal, &report)).await;
        if let Err(error) = written {
            tracing::error!(%attempt, %error, "cannot note a refusal");
        }
    }
    finish::tell(core, report);
}
