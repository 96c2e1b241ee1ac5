//! What users ask for, and what becomes of it.

use std::time::Duration;

use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::id::{ClusterId, OperationId, TaskId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::{Operation, OperationKind};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::domain::time::Timestamp;

/// One piece of the work of an operation that is to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedTask {
    /// Its id.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
}

/// Makes a repeated request find the first one's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Whose key it is; keys of different subjects are independent.
    pub subject: String,
    /// The key.
    pub key: String,
    /// SHA-256 of what was asked for; another one under the same key is a mistake.
    pub digest: String,
    /// When it may be forgotten.
    pub expires_at: Timestamp,
}

/// How long an idempotency key is remembered: longer than any client retries.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3600);

/// A new cluster and its provision.
#[derive(Debug, Clone)]
pub struct AcceptProvision {
    /// Ids, minted by the caller.
    pub cluster: ClusterId,
    /// Id of the operation.
    pub operation: OperationId,
    /// The operation's work, in order.
    pub tasks: Vec<PlannedTask>,
    /// Where.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// Whether it is protected against removal from the start.
    pub deletion_protection: bool,
    /// Desired state, secrets masked.
    pub spec: ClusterSpec,
    /// The secrets of the spec, encrypted by the caller; none when it has none.
    pub sealed_secrets: Option<Vec<u8>>,
    /// Who asks.
    pub requested_by: String,
    /// Warnings of validation, kept with the operation.
    pub warnings: Vec<String>,
    /// Against double requests.
    pub idempotency: Option<Idempotency>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// An operation on an existing cluster.
#[derive(Debug, Clone)]
pub struct AcceptOperation {
    /// Id of the operation.
    pub operation: OperationId,
    /// The operation's work, in order.
    pub tasks: Vec<PlannedTask>,
    /// What to do.
    pub kind: OperationKind,
    /// Where.
    pub environment: EnvironmentName,
    /// On which cluster.
    pub name: ClusterName,
    /// Only if the cluster is still at this revision.
    pub if_revision: Option<u64>,
    /// Who asks.
    pub requested_by: String,
    /// Why.
    pub reason: Option<String>,
    /// The generation to recover state from, when one is named.
    pub generation: Option<u64>,
    /// The operation that this one repeats; then only if its cluster is still there.
    pub retry_of: Option<(OperationId, ClusterId)>,
    /// Against double requests.
    pub idempotency: Option<Idempotency>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// A spec that a cluster is to be brought to.
#[derive(Debug, Clone)]
pub struct AcceptReconfigure {
    /// The cluster that was looked at; another one of the same name is not meant.
    pub cluster: ClusterId,
    /// The revision that was looked at.
    pub revision: u64,
    /// Id of the operation.
    pub operation: OperationId,
    /// The operation's work, in order.
    pub tasks: Vec<PlannedTask>,
    /// Where.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// What is to hold from now on; none to apply what holds already once more.
    pub change: Option<SpecChange>,
    /// Who asks.
    pub requested_by: String,
    /// Warnings of validation, kept with the operation.
    pub warnings: Vec<String>,
    /// Against double requests.
    pub idempotency: Option<Idempotency>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// A spec that takes the place of another.
#[derive(Debug, Clone)]
pub struct SpecChange {
    /// Desired state, secrets masked.
    pub spec: ClusterSpec,
    /// The secrets of the spec, encrypted by the caller; none when it has none.
    pub sealed_secrets: Option<Vec<u8>>,
}

/// What became of a request for an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Acceptance {
    /// Recorded.
    Accepted(Box<Operation>),
    /// The same request was accepted before; this is its operation as it is now.
    Replayed(Box<Operation>),
    /// The idempotency key was used for something else.
    KeyReused,
    /// A cluster of this name exists (and is not removed).
    Exists,
    /// There is no such cluster.
    NotFound,
    /// Another operation is at work on the cluster.
    Busy(OperationId),
    /// The cluster changed since; this is its revision.
    Changed(u64),
    /// The cluster is protected against removal.
    Protected,
    /// The cluster's phase does not allow it, in words.
    NotAllowed(String),
}
