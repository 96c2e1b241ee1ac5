//! What a state volume tells of its clusters. It is asked for after a controller was restored from a
//! backup: what happened since then is known to the volumes alone.

use super::attempt::Fence;
use super::generation::Manifest;
use super::id::{AttemptId, ClusterId, OperationId, TaskId};
use super::name::{ClusterName, EnvironmentName};
use super::run::RunReport;
use super::task::TaskKind;
use super::time::Timestamp;

/// Everything that a volume knows of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterOnVolume {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The highest fence that was ever accepted for it; none when nothing ever ran.
    pub fence: Option<Fence>,
    /// Whether it was removed: its hosts are clean, and only what was sealed is left.
    pub removed: bool,
    /// What was sealed and is kept, oldest first.
    pub generations: Vec<Manifest>,
    /// Runs that are kept, in the order of their fences.
    pub runs: Vec<RunOnVolume>,
}

/// A run that a volume has the journal of.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOnVolume {
    /// Its attempt.
    pub attempt: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// What it was to do; none for one that was refused before that was written down.
    pub work: Option<Work>,
    /// What is reported of it; none while it is at work, or when that was lost.
    pub report: Option<RunReport>,
    /// Whether a controller has recorded the report.
    pub recorded: bool,
    /// Whether a controller said that it is evidence only.
    pub forgotten: bool,
}

/// What a run was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// The task.
    pub task: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// The operation.
    pub operation: OperationId,
    /// When the agent wrote it down.
    pub at: Timestamp,
}
