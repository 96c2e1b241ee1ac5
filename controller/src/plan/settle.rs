//! What follows from the end of a run: the step of every life-cycle, in one value.
//!
//! Success is verified, not believed: a report that contradicts what is on record ends the operation
//! as failed with the class `state`, whatever it says itself. A cancel that came too late does not
//! undo what is done.

use std::time::Duration;

use cratekube_common::domain::alarm::AlarmKind;
use cratekube_common::domain::attempt::AttemptEvent;
use cratekube_common::domain::cluster::{ADMIN_KUBECONFIG, ClusterEvent, Condition};
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::generation::KnownState;
use cratekube_common::domain::id::{ClusterId, TaskId};
use cratekube_common::domain::operation::{OperationEvent, OperationKind, OperationState};
use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::domain::task::{TaskEvent, TaskKind};

use super::cancel::{cancelled, given_up};
use super::evidence::{self, Finding, StateRecord};
use super::policy;
pub use super::retry::RetryPolicy;

/// Said of everything that a stand-in for `rke` did.
const REHEARSAL: &str = "Nothing real was built: the agent's `rke` is a rehearsal.";
/// Conditions kept on a cluster: as many as anybody reads.
const MAX_CONDITIONS: usize = 50;

/// What is read before a run is settled.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// Where the operation is.
    pub operation: OperationState,
    /// What was asked for.
    pub asked: OperationKind,
    /// What the task does.
    pub kind: TaskKind,
    /// The operation's tasks that wait for this one, in order.
    pub pending: Vec<TaskId>,
    /// Attempts of this task that ran so far, this one included.
    pub attempts: u32,
    /// True when another agent went on with the run than the one that began it.
    pub taken_over: bool,
    /// The cluster.
    pub cluster: ClusterId,
    /// What is known about it now.
    pub conditions: Vec<Condition>,
    /// What is on record of its state.
    pub record: StateRecord,
}

/// Every step that follows from the end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The attempt's step.
    pub attempt: AttemptEvent,
    /// The task's step.
    pub task: TaskEvent,
    /// The operation's step; none while tasks remain, or when it is over already.
    pub operation: Option<OperationEvent>,
    /// The cluster's step.
    pub cluster: Option<ClusterEvent>,
    /// Why the run failed.
    pub failure: Option<Failure>,
    /// To be added to the operation's warnings.
    pub warnings: Vec<String>,
    /// What is known about the cluster from now on.
    pub conditions: Vec<Condition>,
    /// True when the generation goes into the history.
    pub record_generation: bool,
    /// The cluster's state that is known from now on, when that changes.
    pub known: Option<KnownState>,
    /// The task that may be leased next.
    pub release: Option<TaskId>,
    /// Tasks that will never run.
    pub drop: Vec<TaskId>,
    /// How long the task waits before it is tried again.
    pub retry_after: Option<Duration>,
    /// What an administrator has to look at.
    pub alarm: Option<(AlarmKind, String)>,
}

/// How a run ended, after comparing what it says with what is known.
enum End {
    Done,
    Cancelled(Failure),
    Failed(Failure),
}

/// Decides what follows from a report.
#[must_use]
pub fn settle(view: &RunView, report: &RunReport, policy: RetryPolicy) -> Settlement {
    let finding = evidence::weigh(view.cluster, report.generation.as_ref(), &view.record);
    let end = judge(view, report, &finding);
    let mut settlement = steps(view, end, policy);
    match finding.contradiction {
        Some((_, words)) if view.kind == TaskKind::Remove => settlement.warnings.push(words),
        alarm => settlement.alarm = alarm,
    }
    settlement.warnings.extend(report.warnings.iter().cloned());
    if is_rehearsal(report) {
        settlement.warnings.push(REHEARSAL.into());
    }
    settlement.warnings.extend(policy::warnings(report.rke.as_ref(), report.ended_at));
    settlement.conditions = conditions(view, report);
    settlement.record_generation = finding.record;
    settlement.known = finding.adopt;
    settlement
}

fn judge(view: &RunView, report: &RunReport, finding: &Finding) -> End {
    // Every `rke` but a removal's leaves a state to go on from.
    let builds = view.kind.is_rke() && view.kind != TaskKind::Remove;
    if let Some((_, words)) = finding.contradiction.as_ref().filter(|_| builds) {
        let said = match &report.outcome {
            RunOutcome::Succeeded => "the run succeeded".to_owned(),
            RunOutcome::Failed(failure) | RunOutcome::Refused(failure) => {
                format!("the run ended with: {}", failure.message)
            }
        };
        return End::Failed(evidence::state_failure(format!("{words}; {said}")));
    }
    match &report.outcome {
        RunOutcome::Succeeded if builds => match evidence::missing_state(report.generation.as_ref()) {
            Some(words) => End::Failed(evidence::state_failure(format!("the run says it succeeded, but {words}"))),
            None => End::Done,
        },
        RunOutcome::Succeeded => End::Done,
        RunOutcome::Failed(failure) | RunOutcome::Refused(failure) if failure.class == FailureClass::Cancelled => {
            End::Cancelled(failure.clone())
        }
        RunOutcome::Failed(failure) | RunOutcome::Refused(failure) => End::Failed(failure.clone()),
    }
}

fn steps(view: &RunView, end: End, policy: RetryPolicy) -> Settlement {
    let over = view.operation.is_terminal();
    let stopping = view.operation == OperationState::Cancelling;
    let live = |event: OperationEvent| (!over).then_some(event);
    let mut s = Settlement {
        attempt: AttemptEvent::Exited,
        task: TaskEvent::Failed,
        operation: None,
        cluster: None,
        failure: None,
        warnings: Vec::new(),
        conditions: Vec::new(),
        record_generation: false,
        known: None,
        release: None,
        drop: view.pending.clone(),
        retry_after: None,
        alarm: None,
    };
    let retry = |failure: &Failure| policy.wait(view, failure).filter(|_| !over);
    match end {
        End::Done if view.pending.is_empty() => {
            s.task = TaskEvent::Succeeded;
            s.operation = live(OperationEvent::Succeeded);
            s.cluster = done(view.asked);
        }
        End::Done if stopping || over => {
            s.task = TaskEvent::Succeeded;
            s.operation = live(OperationEvent::Cancelled);
            s.failure = Some(cancelled());
            s.cluster = failed(view.asked).filter(|_| !view.asked.leaves_cluster());
        }
        End::Done => {
            s.task = TaskEvent::Succeeded;
            s.drop.clear();
            s.release = view.pending.first().copied();
        }
        End::Failed(failure) if retry(&failure).is_some() => {
            s.retry_after = retry(&failure);
            s.task = TaskEvent::Requeued;
            s.operation = Some(OperationEvent::Requeued);
            s.failure = Some(failure);
            s.drop.clear();
        }
        End::Failed(failure) => {
            s.operation = live(OperationEvent::Failed);
            s.cluster = failed(view.asked);
            s.failure = Some(failure);
        }
        End::Cancelled(failure) => {
            s.attempt = AttemptEvent::Cancelled;
            s.task = TaskEvent::Cancelled;
            s.operation = live(OperationEvent::Cancelled);
            s.cluster = failed(view.asked).filter(|_| !view.asked.leaves_cluster());
            s.failure = Some(failure);
        }
    }
    // An operation that is over has no say in its cluster any more.
    s.cluster = s.cluster.filter(|_| !over);
    s
}

/// The cluster's step when everything is done that was asked for.
fn done(asked: OperationKind) -> Option<ClusterEvent> {
    match asked {
        OperationKind::Remove => Some(ClusterEvent::Removed),
        OperationKind::RecoverState => Some(ClusterEvent::Recovered),
        asked if asked.leaves_cluster() => None,
        _ => Some(ClusterEvent::Verified),
    }
}

/// The cluster's step when that could not be done.
fn failed(asked: OperationKind) -> Option<ClusterEvent> {
    match asked {
        // Its users would find what the check found.
        OperationKind::Verify => Some(ClusterEvent::Degraded),
        OperationKind::Configure => None,
        _ => Some(ClusterEvent::Failed),
    }
}

/// What follows when a run is given up: on an admin's word, nothing of it is waited for any more.
#[must_use]
pub fn give_up(view: &RunView, reason: &str) -> Settlement {
    let mut settlement = steps(view, End::Failed(given_up(reason)), RetryPolicy::NEVER);
    settlement.attempt = AttemptEvent::Fenced;
    settlement.conditions.clone_from(&view.conditions);
    settlement
}

fn is_rehearsal(report: &RunReport) -> bool {
    report.rke.as_ref().is_some_and(|rke| rke.rehearsal)
}

/// Whether a run took every credential back that the old CA made: it was asked for a new one, and made it.
fn takes_back(view: &RunView, report: &RunReport) -> bool {
    let made = report.generation.as_ref().and_then(|sealed| sealed.ca_sha256.as_ref());
    let new = view.record.new_ca_wanted && made.is_some() && made != view.record.ca_sha256.as_ref();
    new && report.outcome == RunOutcome::Succeeded
}

fn conditions(view: &RunView, report: &RunReport) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = match &report.rke {
        // What `rke` said of the cluster still holds after a step.
        _ if !view.kind.is_rke() => view.conditions.clone(),
        // Nothing ran: what was rehearsed before still is.
        None => view.conditions.iter().filter(|c| c.kind == "rehearsal").cloned().collect(),
        Some(rke) if rke.rehearsal => vec![Condition { kind: "rehearsal".into(), message: REHEARSAL.into() }],
        Some(_) => Vec::new(),
    };
    // Credentials that were given out stay given out.
    let stays = !takes_back(view, report);
    let marks = view.conditions.iter().filter(|c| c.kind == ADMIN_KUBECONFIG && stays).cloned();
    let warnings = report.warnings.iter().map(|w| Condition { kind: "warning".into(), message: w.clone() });
    for condition in marks.chain(warnings) {
        if !conditions.contains(&condition) {
            conditions.push(condition);
        }
    }
    conditions.truncate(MAX_CONDITIONS);
    conditions
}

#[cfg(test)]
mod tests;
