//! What may need somebody: what is not over, not well, not here. And the volumes.

use cratekube_common::domain::agent::Agent;
use cratekube_common::domain::alarm::Alarm;
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId, VolumeId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::Operation;
use cratekube_common::domain::time::Timestamp;

/// Everything that may need somebody, at one moment; of each kind at most as many as were asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attention {
    /// Operations that are not over, oldest first, with what they wait for.
    pub operations: Vec<Operation>,
    /// Clusters that are degraded or failed, those first that are so for longest.
    pub clusters: Vec<Cluster>,
    /// Runs whose end is not known.
    pub lost: Vec<LostRun>,
    /// Agents that are not revoked.
    pub agents: Vec<Agent>,
    /// Volumes with the agents that serve them.
    pub volumes: Vec<VolumeRecord>,
    /// Alarms that nobody acknowledged, newest first.
    pub alarms: Vec<Alarm>,
    /// When the certificates of clusters end, so far as was checked, those first that end first.
    pub certificates: Vec<ClusterCertificates>,
}

/// When the first certificate of a cluster ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterCertificates {
    /// The cluster's environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub cluster: ClusterName,
    /// When the first ends.
    pub end_at: Timestamp,
}

/// A run whose end is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct LostRun {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its operation.
    pub operation: OperationId,
    /// The agent that has it.
    pub agent: AgentId,
    /// The cluster, which is locked by it.
    pub environment: EnvironmentName,
    /// Its name.
    pub cluster: ClusterName,
    /// When the attempt was leased.
    pub leased_at: Timestamp,
}

/// A state volume that was ever served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Its own id.
    pub id: VolumeId,
    /// The agent that connected with it last.
    pub agent: AgentId,
    /// When that agent took it.
    pub taken_at: Timestamp,
    /// Clusters on it that are not removed.
    pub clusters: u64,
}
