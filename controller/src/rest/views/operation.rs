//! Operations and their attempts as clients read them.

use cratekube_common::domain::operation::Operation;
use cratekube_common::domain::task::TaskState;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{FailureView, ProgressView, shown, shown_document};
use crate::store::{AttemptRecord, TaskRecord};

/// An operation: what a user asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub(in super::super) struct OperationView {
    id: String,
    /// `provision`, `reconfigure`, `remove`, …
    kind: &'static str,
    /// `queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`; the last three are final.
    state: &'static str,
    environment: String,
    /// Name of the cluster.
    cluster: String,
    cluster_id: String,
    requested_by: String,
    /// Why, as the requester said.
    reason: Option<String>,
    /// The operation that this one repeats.
    retry_of: Option<String>,
    /// The request that it came from: the same in the audit log, in the logs of controller and agent, and
    /// with the run.
    request_id: Option<String>,
    created_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    progress: Option<ProgressView>,
    /// Why it failed, or why the last attempt did.
    failure: Option<FailureView>,
    warnings: Vec<String>,
    /// Why it waits, while it waits.
    waiting_for: Option<String>,
    /// Bytes of output so far.
    output_bytes: u64,
    links: Links,
}

/// Where to look next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OperationLinks)]
pub(super) struct Links {
    #[serde(rename = "self")]
    itself: String,
    cluster: String,
    output: String,
}

/// An operation with its tasks and attempts.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct OperationDetail {
    #[serde(flatten)]
    pub(in super::super) operation: OperationView,
    /// In their order.
    pub(in super::super) tasks: Vec<TaskView>,
    /// Oldest first.
    pub(in super::super) attempts: Vec<AttemptView>,
}

/// One piece of the operation's work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Task)]
pub(in super::super) struct TaskView {
    id: String,
    /// `preflight`, `provision`, `configure`, `verify`, …
    kind: &'static str,
    /// `pending`, `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    state: &'static str,
    /// What it found or did, by its kind; none before its end.
    #[schema(value_type = Option<Object>)]
    findings: Option<Value>,
    /// What keeps it from going on: why its last attempt failed, or what it waits for.
    blocker: Option<String>,
}

impl TaskView {
    /// The tasks of an operation, with what blocks each.
    pub(in super::super) fn all(operation: &Operation, tasks: &[TaskRecord], attempts: &[AttemptRecord]) -> Vec<Self> {
        let of = |task: &TaskRecord| attempts.iter().rfind(|a| a.task == task.id);
        let view = |task: &TaskRecord| Self {
            id: task.id.to_string(),
            kind: task.kind.as_str(),
            state: task.state.as_str(),
            findings: task.findings.clone().map(shown_document),
            blocker: blocker(operation, task, of(task)).map(|text| shown(&text)),
        };
        tasks.iter().map(view).collect()
    }
}

fn blocker(operation: &Operation, task: &TaskRecord, last: Option<&AttemptRecord>) -> Option<String> {
    let failed = || last.and_then(|attempt| attempt.failure.as_ref());
    let why = failed().map(|failure| format!("{} {}", failure.message, failure.remedy));
    let waits = || operation.waiting_for.clone();
    match task.state {
        TaskState::Failed => why,
        // It waits to be tried again, or for an agent.
        TaskState::Queued => [why, waits()].into_iter().flatten().reduce(|why, waits| format!("{why} {waits}")),
        TaskState::Running => waits(),
        TaskState::Pending | TaskState::Succeeded | TaskState::Cancelled => None,
    }
}

/// One execution of a piece of the operation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(in super::super) struct AttemptView {
    id: String,
    /// Kind of the task that it executed.
    task: &'static str,
    /// `leased`, `started`, `unknown`, `exited`, `cancelled`, `released` or `fenced`.
    state: &'static str,
    /// Id of the agent.
    agent: String,
    leased_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    failure: Option<FailureView>,
    rke: Option<RkeView>,
    /// Where its output begins within the operation's.
    output_offset: u64,
    output_bytes: u64,
    /// True when another agent went on with the run than the one that began it.
    taken_over: bool,
}

/// Which `rke` ran.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rke)]
pub(in super::super) struct RkeView {
    version: String,
    sha256: String,
    /// True when it is not the real one: nothing was built.
    rehearsal: bool,
}

impl From<&cratekube_common::domain::run::RkeBinary> for RkeView {
    fn from(rke: &cratekube_common::domain::run::RkeBinary) -> Self {
        Self { version: shown(&rke.version), sha256: rke.sha256.clone(), rehearsal: rke.rehearsal }
    }
}

impl From<&Operation> for OperationView {
    fn from(operation: &Operation) -> Self {
        let (environment, cluster) = (operation.environment.to_string(), operation.cluster.to_string());
        let path = format!("/v1/operations/{}", operation.id);
        Self {
            id: operation.id.to_string(),
            kind: operation.kind.as_str(),
            state: operation.state.as_str(),
            cluster_id: operation.cluster_id.to_string(),
            requested_by: shown(&operation.requested_by),
            reason: operation.reason.as_deref().map(shown),
            retry_of: operation.retry_of.map(|id| id.to_string()),
            request_id: operation.request_id.as_deref().map(shown),
            created_at: operation.created_at.to_string(),
            started_at: operation.started_at.map(|at| at.to_string()),
            ended_at: operation.ended_at.map(|at| at.to_string()),
            progress: operation.progress.as_ref().map(ProgressView::from),
            failure: operation.failure.as_ref().map(FailureView::from),
            warnings: operation.warnings.iter().map(|w| shown(w)).collect(),
            waiting_for: operation.waiting_for.as_deref().map(shown),
            output_bytes: operation.output_bytes,
            links: Links {
                cluster: format!("/v1/environments/{environment}/clusters/{cluster}"),
                output: format!("{path}/output"),
                itself: path,
            },
            environment,
            cluster,
        }
    }
}

impl From<&AttemptRecord> for AttemptView {
    fn from(attempt: &AttemptRecord) -> Self {
        Self {
            id: attempt.id.to_string(),
            task: attempt.kind.as_str(),
            state: attempt.state.as_str(),
            agent: attempt.agent.to_string(),
            leased_at: attempt.leased_at.to_string(),
            started_at: attempt.started_at.map(|at| at.to_string()),
            ended_at: attempt.ended_at.map(|at| at.to_string()),
            failure: attempt.failure.as_ref().map(FailureView::from),
            rke: attempt.rke.as_ref().map(RkeView::from),
            output_offset: attempt.output_offset,
            output_bytes: attempt.output_bytes,
            taken_over: attempt.taken_over,
        }
    }
}
