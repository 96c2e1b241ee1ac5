//! The agent's side of an attempt: what is assigned, and what is reported back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attempt::Fence;
use super::cluster::spec::ClusterSpec;
use super::failure::Failure;
use super::generation::{KnownState, Manifest};
use super::id::{AttemptId, ClusterId, OperationId, TaskId, VolumeId};
use super::name::{ClusterName, EnvironmentName};
use super::task::TaskKind;
use super::time::Timestamp;

/// Everything an agent needs to execute one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The attempt; names the run.
    pub attempt: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// The task.
    pub task: TaskId,
    /// What to do.
    pub kind: TaskKind,
    /// The operation, for logs and manifests.
    pub operation: OperationId,
    /// The request that the operation came from, for logs; empty when that is not known.
    pub request_id: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The volume that holds, or from now on will hold, the cluster's state.
    pub volume: VolumeId,
    /// Desired state.
    pub spec: ClusterSpec,
    /// What the controller knows of the cluster's state; none for a cluster that never ran.
    pub known: Option<KnownState>,
    /// How state is to be brought back; only for that kind of task.
    pub recovery: Option<Recovery>,
    /// What a step works on besides the spec.
    pub input: TaskInput,
}

/// What a step works on besides the spec, by its kind; null for `rke`. It may have secrets, and shows none.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskInput(pub Value);

impl TaskInput {
    /// Name of the part with the clusters that make way.
    const MAKE_WAY: &str = "make_way";

    /// Names clusters that count as removed although their state may still be on the volume, under the name
    /// that the task's cluster has now: they make way.
    pub fn make_way(&mut self, clusters: &BTreeSet<ClusterId>) {
        if !clusters.is_empty() {
            self.merge(&BTreeMap::from([(Self::MAKE_WAY, clusters)]));
        }
    }

    /// Clusters that make way for the task's; none when it names none that can be read.
    #[must_use]
    pub fn making_way(&self) -> BTreeSet<ClusterId> {
        self.0.get(Self::MAKE_WAY).and_then(|named| BTreeSet::deserialize(named).ok()).unwrap_or_default()
    }

    /// Adds the fields of a part beside those that are there, such as what earlier steps found.
    pub fn merge(&mut self, part: &impl Serialize) {
        if self.0.is_null() {
            self.0 = Value::Object(serde_json::Map::new());
        }
        if let (Some(fields), Ok(Value::Object(part))) = (self.0.as_object_mut(), serde_json::to_value(part)) {
            fields.extend(part);
        }
    }
}

impl fmt::Debug for TaskInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_null() { "TaskInput(null)" } else { "TaskInput(…)" })
    }
}

/// Which certificates are renewed. The name of its part in a task's input is [`Rotation::INPUT`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The CA too, which takes back every credential that it made; all services are restarted.
    #[serde(default)]
    pub ca: bool,
    /// Of these services only; of all when empty.
    #[serde(default)]
    pub services: Vec<RotatedService>,
}

super::spelled! {
    /// A service whose certificates `rke` renews by themselves.
    pub enum RotatedService {
        /// The API server.
        KubeApiserver = "kube-apiserver",
        /// The controller manager.
        KubeControllerManager = "kube-controller-manager",
        /// The scheduler.
        KubeScheduler = "kube-scheduler",
        /// The kubelets.
        Kubelet = "kubelet",
        /// The proxies.
        KubeProxy = "kube-proxy",
        /// etcd.
        Etcd = "etcd",
    }
}

impl Rotation {
    /// Name of its part in a task's input.
    pub const INPUT: &'static str = "rotation";

    /// What follows `cert rotate --config cluster.yml` on `rke`'s command line.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let services = self.services.iter().flat_map(|service| ["--service".to_owned(), service.to_string()]);
        services.chain(self.ca.then(|| "--rotate-ca".to_owned())).collect()
    }
}

/// How state is to be brought back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// From this generation and no other; otherwise from the newest good one, or from the cluster.
    pub generation: Option<u64>,
    /// Newest generation ever recorded, good or not: what is sealed gets a higher number, also on a volume
    /// that went back in time.
    pub newest_recorded: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Which `rke` ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RkeBinary {
    /// What `rke --version` says.
    pub version: String,
    /// SHA-256 of the executable, lower-case hex.
    pub sha256: String,
    /// True when it is not the real one.
    pub rehearsal: bool,
}

/// A time limit of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeLimit {
    /// Of the whole run.
    Run,
    /// Of the time without a word of `rke`.
    Silence,
    /// Of the time in one phase.
    Phase,
}

/// A time limit that ended a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedLimit {
    /// Which.
    pub limit: TimeLimit,
    /// How long it is.
    pub after_ms: u64,
    /// The phase that the run stood in; none before its first.
    pub phase: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// What was asked for is done, and was verified to be done.
    Succeeded,
    /// It is not done.
    Failed(Failure),
    /// `rke` was never started (refused by the state gate, volume not usable).
    Refused(Failure),
}

/// What an agent reports when a run is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// The attempt.
    pub attempt: AttemptId,
    /// The fence it ran under.
    pub fence: Fence,
    /// How it ended.
    pub outcome: RunOutcome,
    /// How the process ended; none when it never started or the exit was lost with the host.
    pub exit: Option<ExitStatus>,
    /// When `rke` started, by the agent's clock.
    pub started_at: Option<Timestamp>,
    /// When it ended, by the agent's clock.
    pub ended_at: Timestamp,
    /// The generation that was sealed after the run.
    pub generation: Option<Manifest>,
    /// Which `rke` ran.
    pub rke: Option<RkeBinary>,
    /// Things to know although it went well.
    pub warnings: Vec<String>,
    /// Total bytes of output of this run; a report is accepted only when all of them are stored.
    pub output_bytes: u64,
    /// What a step found or did, by its kind; none where there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Value>,
}

/// A run that an agent holds when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRun {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// The cluster.
    pub cluster: ClusterId,
    /// The volume it is on.
    pub volume: VolumeId,
    /// True when `rke` is still running.
    pub live: bool,
}

/// The controller's word on a held run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunVerdict {
    /// Go on; the lease is yours again.
    Continue,
    /// End it, seal, report.
    Cancel,
    /// It is settled or superseded: keep it as evidence, apply and report nothing.
    Forget,
}
