//! What clients read: the domain's values as JSON documents, with links, and with everything that
//! came from outside made harmless to look at.

mod access;
mod agent;
mod alarm;
mod audit;
mod cluster;
mod generation;
mod health;
mod operation;
mod plan;
mod removal;
mod resource;
mod revision;
mod summary;

pub(super) use access::{ApiKeyView, GrantView, RevocationView};
pub(super) use agent::AgentView;
pub(super) use alarm::AlarmView;
pub(super) use audit::AuditEntryView;
pub(super) use cluster::{ClusterSummary, ClusterView};
pub(super) use generation::GenerationView;
pub(super) use health::HealthView;
pub(super) use operation::{AttemptView, OperationDetail, OperationView, TaskView};
pub(super) use plan::PlanView;
pub(super) use removal::PreviewView;
pub(super) use resource::{ResourceDetail, ResourceView};
pub(super) use revision::RevisionView;
pub(super) use summary::{StateVolumeView, SummaryView};

use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::progress::Progress;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::visible::visible;

/// Text that came from outside.
pub(super) fn shown(text: &str) -> String {
    visible(text).into_owned()
}

/// A document from outside, harmless to look at.
pub(super) fn shown_document(document: Value) -> Value {
    match document {
        Value::String(text) => Value::String(shown(&text)),
        Value::Array(items) => items.into_iter().map(shown_document).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (shown(&key), shown_document(value))).collect(),
        plain => plain,
    }
}

/// Why something failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
pub(super) struct FailureView {
    /// Stable, for programs: `config`, `unreachable`, `auth`, `docker`, `image`, `network`, `etcd`,
    /// `control_plane`, `worker`, `addon`, `state`, `volume`, `timeout`, `interrupted`, `cancelled`,
    /// `internal`.
    class: &'static str,
    /// What happened.
    message: String,
    /// The line of `rke` that shows it.
    line: Option<String>,
    /// Whether doing the same again can help.
    retryable: bool,
    /// What to do.
    remedy: String,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            class: failure.class.as_str(),
            message: shown(&failure.message),
            line: failure.line.as_deref().map(shown),
            retryable: failure.retryable,
            remedy: shown(&failure.remedy),
        }
    }
}

/// How far something is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Progress)]
pub(super) struct ProgressView {
    /// What is being done.
    phase: String,
    /// Which step this is, from 1.
    step: u32,
    /// How many there are.
    steps: u32,
}

impl From<&Progress> for ProgressView {
    fn from(progress: &Progress) -> Self {
        Self { phase: shown(&progress.phase), step: progress.step, steps: progress.steps }
    }
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listing<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Send as `cursor` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}
