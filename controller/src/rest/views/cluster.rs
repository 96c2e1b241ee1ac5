//! Clusters as clients read them. Secrets are masked.

use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::cluster::spec::Secrets;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{FailureView, shown};

/// A cluster.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cluster)]
pub(in super::super) struct ClusterView {
    #[serde(flatten)]
    summary: ClusterSummary,
    /// Desired state; passwords are masked.
    #[schema(value_type = Object)]
    spec: Value,
}

/// A cluster, without its spec: what lists show.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct ClusterSummary {
    /// Its id; a name may be used again after removal, an id never.
    id: String,
    environment: String,
    name: String,
    /// `pending`, `provisioning`, `ready`, `updating`, `degraded`, `failed`, `removing` or `removed`.
    phase: &'static str,
    /// Counts changes of the spec; also the `ETag`.
    revision: u64,
    kubernetes_version: String,
    /// How many nodes the spec names.
    nodes: usize,
    /// The state volume that holds its state.
    volume: Option<String>,
    /// Newest generation of its state.
    generation: Option<u64>,
    /// SHA-256 fingerprint of its CA.
    ca_sha256: Option<String>,
    /// When the first of its certificates runs out; null until it was checked.
    certificates_expire_at: Option<String>,
    /// Whether a removal is refused until this is taken away.
    deletion_protection: bool,
    /// The operation that is at work on it.
    operation: Option<String>,
    /// Why it failed.
    failure: Option<FailureView>,
    /// Things to know about it.
    conditions: Vec<ConditionView>,
    created_at: String,
    updated_at: String,
    links: Links,
}

/// Something to know about a cluster.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Condition)]
pub(super) struct ConditionView {
    /// A stable word for programs.
    kind: String,
    /// A sentence for people.
    message: String,
}

/// Where to look next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClusterLinks)]
pub(super) struct Links {
    #[serde(rename = "self")]
    itself: String,
    generations: String,
    health: String,
    resources: String,
    revisions: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
}

impl From<&Cluster> for ClusterSummary {
    fn from(cluster: &Cluster) -> Self {
        let path = format!("/v1/environments/{}/clusters/{}", cluster.environment, cluster.name);
        let condition = |c: &cratekube_common::domain::cluster::Condition| ConditionView {
            kind: shown(&c.kind),
            message: shown(&c.message),
        };
        Self {
            id: cluster.id.to_string(),
            environment: cluster.environment.to_string(),
            name: cluster.name.to_string(),
            phase: cluster.phase.as_str(),
            revision: cluster.revision,
            kubernetes_version: cluster.spec.kubernetes_version.to_string(),
            nodes: cluster.spec.nodes.len(),
            volume: cluster.volume.map(|id| id.to_string()),
            generation: cluster.generation,
            ca_sha256: cluster.ca_sha256.clone(),
            certificates_expire_at: cluster.certificates_expire_at.map(|at| at.to_string()),
            deletion_protection: cluster.deletion_protection,
            operation: cluster.operation.map(|id| id.to_string()),
            failure: cluster.failure.as_ref().map(FailureView::from),
            conditions: cluster.conditions.iter().map(condition).collect(),
            created_at: cluster.created_at.to_string(),
            updated_at: cluster.updated_at.to_string(),
            links: Links {
                generations: format!("{path}/generations"),
                health: format!("{path}/health"),
                resources: format!("{path}/resources"),
                revisions: format!("{path}/revisions"),
                operation: cluster.operation.map(|id| format!("/v1/operations/{id}")),
                itself: path,
            },
        }
    }
}

impl From<&Cluster> for ClusterView {
    fn from(cluster: &Cluster) -> Self {
        Self { summary: cluster.into(), spec: cluster.spec.to_json(Secrets::Mask) }
    }
}
