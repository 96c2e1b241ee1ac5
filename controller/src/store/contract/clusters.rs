//! Clusters as they are kept and shown.

use cratekube_common::domain::agent::Agent;
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::time::Timestamp;

/// One of the specs that a cluster had.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Its number, from 1.
    pub number: u64,
    /// Desired state, secrets masked.
    pub spec: ClusterSpec,
    /// The operation that made it.
    pub operation: OperationId,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When the cluster was last found to be as it says.
    pub verified_at: Option<Timestamp>,
}

/// Everything that a change of a cluster is weighed against.
#[derive(Debug, Clone, PartialEq)]
pub struct PresentCluster {
    /// The cluster.
    pub cluster: Cluster,
    /// The secrets of its spec, as the caller encrypted them.
    pub sealed_secrets: Option<Vec<u8>>,
    /// The newest spec that it was found to be as.
    pub verified: Option<Revision>,
    /// The agent that serves its state volume.
    pub agent: Option<Agent>,
}

/// Protection of a cluster against removal, put on or taken away.
#[derive(Debug, Clone)]
pub struct ProtectCluster {
    /// Where.
    pub environment: EnvironmentName,
    /// Which cluster.
    pub name: ClusterName,
    /// On or off.
    pub protection: bool,
    /// Only if the cluster is still at this revision.
    pub if_revision: Option<u64>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of a wish for protection.
#[derive(Debug, Clone, PartialEq)]
pub enum Protected {
    /// It is as asked for now; the cluster.
    Done(Box<Cluster>),
    /// There is no such cluster.
    NotFound,
    /// The cluster changed since; this is its revision.
    Changed(u64),
}

/// Which clusters.
#[derive(Debug, Clone)]
pub struct ClusterFilter {
    /// Where.
    pub environment: EnvironmentName,
    /// Removed ones too.
    pub include_removed: bool,
}

/// An environment and how many clusters it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentSummary {
    /// Its name.
    pub name: EnvironmentName,
    /// Clusters that are not removed.
    pub clusters: u64,
}

/// A kubeconfig was issued; nothing of it is kept but this.
#[derive(Debug, Clone)]
pub struct KubeconfigIssued {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Whether it is one for administrators of the cluster: it is marked then.
    pub administrators: bool,
    /// What kind, for whom to watch.
    pub detail: String,
    /// The audit entry.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}
