//! A store that was restored from a backup, and what the volumes know better.

use std::time::Duration;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::id::{AgentId, AttemptId, ClusterId, OperationId, TaskId, VolumeId};
use cratekube_common::domain::inventory::ClusterOnVolume;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::revocation::Revocation;
use cratekube_common::domain::time::Timestamp;

use crate::plan::settle::RetryPolicy;

/// The store was just put back from a backup.
#[derive(Debug, Clone)]
pub struct BeginRestored {
    /// When the backup was made.
    pub made_at: Timestamp,
    /// What makes every token of before count no more.
    pub revocation: Revocation,
    /// The audit entry of the restore.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What was found in a store that was put back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoredStore {
    /// Clusters that are not removed.
    pub clusters: u64,
    /// Runs that were at work when the backup was made: their ends are not known.
    pub unknown: u64,
    /// Volumes that are to be looked through before anything is done on them.
    pub volumes: u64,
}

/// Everything that a volume told.
#[derive(Debug, Clone)]
pub struct TakeInventory {
    /// The agent that serves it.
    pub agent: AgentId,
    /// The volume.
    pub volume: VolumeId,
    /// Its clusters.
    pub clusters: Vec<ClusterOnVolume>,
    /// Attempts that the agent holds, whether they are on the volume already or not.
    pub held: Vec<AttemptId>,
    /// How what failed in passing is tried again.
    pub retries: RetryPolicy,
    /// The audit entry; its detail is set by the store.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What was taken from a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InventoryTaken {
    /// Runs whose reports the agent is to send again.
    pub report_again: Vec<AttemptId>,
    /// Runs that were settled from what the volume says.
    pub settled: u64,
    /// Attempts that never came to the volume, and are queued again.
    pub released: u64,
    /// Generations that were not on record.
    pub generations: u64,
    /// Clusters that the controller does not know, or knows otherwise.
    pub orphans: u64,
    /// The operations that were settled, for those who watch them.
    pub operations: Vec<OperationId>,
    /// Tasks that wait to be tried again.
    pub retries: Vec<(TaskId, Duration)>,
}

/// A cluster on a volume that the controller does not know, or knows otherwise. It is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The volume.
    pub volume: VolumeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The highest fence that was accepted for it.
    pub fence: Option<Fence>,
    /// Its newest good generation.
    pub generation: Option<u64>,
    /// Why it is one, in a sentence.
    pub reason: String,
    /// When it was found.
    pub found_at: Timestamp,
}
