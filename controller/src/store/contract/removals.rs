//! Removals: what they are to do, and ends that an administrator puts to them.

use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::operation::{Operation, OperationState};
use cratekube_common::domain::removal::RemovalOptions;
use cratekube_common::domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::TaskRecord;

/// A wish to end a removal that cannot be finished.
#[derive(Debug, Clone)]
pub struct AbandonRemoval {
    /// The removal.
    pub operation: OperationId,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// That a removal was abandoned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abandonment {
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What became of such a wish.
#[derive(Debug, Clone, PartialEq)]
pub enum Abandoned {
    /// The removal has ended, and the cluster counts as removed.
    Done(Box<Operation>),
    /// A run holds the cluster: it is at work, or its end is not known.
    Locked,
    /// Another operation is at work on the cluster.
    Busy(OperationId),
    /// It has ended, and there is nothing to abandon.
    Over(OperationState),
    /// It is no removal, or not the last word on its cluster, in words.
    NotAllowed(String),
    /// There is no such operation.
    NotFound,
}

/// What is known of a removal beside its operation.
#[derive(Debug, Clone, PartialEq)]
pub struct RemovalRecord {
    /// What it was to do; none for removals of earlier releases.
    pub options: Option<RemovalOptions>,
    /// That it was abandoned.
    pub abandoned: Option<Abandonment>,
    /// Whether anything was ever run for the cluster.
    pub ran: bool,
    /// Its tasks, in order.
    pub tasks: Vec<TaskRecord>,
    /// The tasks of the removals that it repeats, the oldest first.
    pub before: Vec<TaskRecord>,
}
