//! Revisions as clients read them. Secrets are masked.

use cratekube_common::domain::cluster::spec::Secrets;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::shown;
use crate::store::Revision;

/// One of the specs that a cluster had.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revision)]
pub(in super::super) struct RevisionView {
    /// From 1; the cluster's `ETag` while it held.
    revision: u64,
    /// The operation that made it. One that was called off before it ran made two: its own, and the one
    /// that took it back.
    operation: String,
    requested_by: String,
    created_at: String,
    /// When the cluster was last found to be as it says.
    verified_at: Option<String>,
    /// Desired state; passwords are masked.
    #[schema(value_type = Object)]
    spec: Value,
}

impl From<&Revision> for RevisionView {
    fn from(revision: &Revision) -> Self {
        Self {
            revision: revision.number,
            operation: revision.operation.to_string(),
            requested_by: shown(&revision.requested_by),
            created_at: revision.created_at.to_string(),
            verified_at: revision.verified_at.map(|at| at.to_string()),
            spec: revision.spec.to_json(Secrets::Mask),
        }
    }
}
