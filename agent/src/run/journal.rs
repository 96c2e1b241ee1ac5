//! What a run's directory says.
//!
//! ```text
//! runs/<attempt>/run.json         what is run, written before anything is started
//! runs/<attempt>/supervisor.json  who supervises, and which process rke is
//! runs/<attempt>/output.log       the output
//! runs/<attempt>/exit.json        how rke ended, by its supervisor
//! runs/<attempt>/cancel           someone asked to end it
//! runs/<attempt>/unsealed.json    the state it left could not be sealed yet
//! runs/<attempt>/result.json      the report
//! runs/<attempt>/recorded         the controller has the report
//! runs/<attempt>/forgotten        superseded: evidence only
//! ```
//!
//! Everything is replaced atomically. All is durable but `supervisor.json`: it says nothing that
//! is true after the host went down, and no write may wait in front of `rke`. No secret is in any of
//! them: the spec is not recorded, `cluster.yml` is where it belongs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::generation::SealedFile;
use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId, TaskId, VolumeId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::run::{ExitStatus, ReachedLimit, Recovery, RkeBinary, Rotation, RunReport, TimeLimit};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::program::FileMark;
use crate::volume::VolumeError;

/// What is run: everything that is needed to go on with it after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Layout of the journal.
    pub format_version: u32,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// The task.
    pub task: TaskId,
    /// What is done.
    pub kind: TaskKind,
    /// The operation.
    pub operation: OperationId,
    /// The request that the operation came from; empty when that is not known.
    #[serde(default)]
    pub request_id: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The volume.
    pub volume: VolumeId,
    /// Hosts that must be part of the cluster afterwards, or must be cleaned.
    pub wanted_hosts: Vec<String>,
    /// Hosts that carried the cluster and are not wanted any more.
    #[serde(default)]
    pub left_hosts: Vec<String>,
    /// The CA that must still be there afterwards.
    pub ca_before: Option<String>,
    /// How state is to be brought back.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// Hosts of the cluster's etcd, by the state that the run starts on.
    #[serde(default)]
    pub etcd_hosts: Vec<String>,
    /// Which certificates are renewed; only for that kind of task.
    #[serde(default)]
    pub rotation: Option<Rotation>,
    /// What is to be said of it, whatever comes of it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Name of the driver; journals of the first releases name none.
    #[serde(default = "first_driver")]
    pub provisioner: String,
    /// Which `rke`.
    pub rke: RkeBinary,
    /// What the supervisor does.
    pub command: Command,
    /// The boot of the host that the run belongs to.
    pub boot_id: String,
    /// When it was written.
    pub created_at: Timestamp,
}

/// What the supervisor starts, and within which limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments; no shell.
    pub argv: Vec<String>,
    /// The program's file as it was when it was looked at; journals of the first release have none.
    #[serde(default)]
    pub program: Option<FileMark>,
    /// Where it runs.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// The cluster's lock, which is held while it runs.
    pub lock: PathBuf,
    /// Space to give up when the exit cannot be written.
    pub reserve: PathBuf,
    /// Longest run.
    pub time_limit_ms: u64,
    /// Longest time without output; journals of the first release have no such limit.
    #[serde(default = "unlimited")]
    pub silence_limit_ms: u64,
    /// Longest time in one phase; the same.
    #[serde(default = "unlimited")]
    pub phase_limit_ms: u64,
    /// Time between TERM and KILL.
    pub stop_grace_ms: u64,
    /// Most bytes of output kept.
    pub output_cap: u64,
}

fn first_driver() -> String {
    crate::provisioner::rke::NAME.to_owned()
}

fn unlimited() -> u64 {
    u64::MAX
}

impl Command {
    /// The time limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let (run, silence, phase) = (self.time_limit_ms, self.silence_limit_ms, self.phase_limit_ms);
        let [run, silence, phase] = [run, silence, phase].map(Duration::from_millis);
        Limits { run, silence, phase }
    }

    /// Time between TERM and KILL.
    #[must_use]
    pub fn stop_grace(&self) -> Duration {
        Duration::from_millis(self.stop_grace_ms)
    }
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number; also the number of its group.
    pub pid: i32,
    /// When it started, in ticks since the host's boot.
    pub start_time: u64,
}

/// Who supervises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorRecord {
    /// The supervisor.
    pub supervisor: ProcessId,
    /// The boot of the host that the numbers belong to.
    pub boot_id: String,
    /// `rke`, once it is started.
    pub rke: Option<ProcessId>,
    /// When `rke` was started.
    pub started_at: Option<Timestamp>,
    /// The control group that is the run's own, where it has one.
    #[serde(default)]
    pub cgroup: Option<String>,
}

/// How `rke` ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Its status; none when it could not be started.
    pub exit: Option<ExitStatus>,
    /// Why it could not be started.
    #[serde(default)]
    pub start_error: Option<String>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Bytes in `output.log`.
    pub output_bytes: u64,
    /// Bytes that were left out of it.
    #[serde(default)]
    pub dropped_bytes: u64,
    /// True when the end of the output could not be written: what it said is not known.
    #[serde(default)]
    pub output_failed: bool,
    /// True when a time limit ended it.
    #[serde(default)]
    pub timed_out: bool,
    /// Which one; supervisors of the first release knew one only, and do not name it.
    #[serde(default)]
    pub reached: Option<ReachedLimit>,
}

impl ExitRecord {
    /// The time limit that ended a run, if one did.
    #[must_use]
    pub fn reached_limit(&self, command: &Command) -> Option<ReachedLimit> {
        let the_only_one = || ReachedLimit { limit: TimeLimit::Run, after_ms: command.time_limit_ms, phase: None };
        self.reached.clone().or_else(|| self.timed_out.then(the_only_one))
    }
}

/// The journal of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// The journal in a directory.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the output is.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.dir.join("output.log")
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn run(&self) -> Result<Option<RunRecord>, VolumeError> {
        self.read("run.json")
    }

    /// Writes `run.json`, durably.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn write_run(&self, record: &RunRecord) -> Result<(), VolumeError> {
        self.write("run.json", record)
    }

    /// Reads `supervisor.json`.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn supervisor(&self) -> Result<Option<SupervisorRecord>, VolumeError> {
        self.read("supervisor.json")
    }

    /// Writes `supervisor.json`: whole for every reader, but not durable.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn write_supervisor(&self, record: &SupervisorRecord) -> Result<(), VolumeError> {
        let path = self.dir.join("supervisor.json");
        let written =
            serde_json::to_vec(record).map_err(io::Error::from).and_then(|content| files::replace(&path, &content));
        written.map_err(VolumeError::io("write", &path))
    }

    /// Reads `exit.json`.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn exit(&self) -> Result<Option<ExitRecord>, VolumeError> {
        self.read("exit.json")
    }

    /// Writes `exit.json`, durably.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn write_exit(&self, record: &ExitRecord) -> Result<(), VolumeError> {
        self.write("exit.json", record)
    }

    /// Reads `result.json`.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn result(&self) -> Result<Option<RunReport>, VolumeError> {
        self.read("result.json")
    }

    /// Writes `result.json`, durably.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn write_result(&self, report: &RunReport) -> Result<(), VolumeError> {
        self.write("result.json", report)
    }

    /// What the run left in `working/` when it could not be sealed.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn unsealed(&self) -> Result<Option<Vec<SealedFile>>, VolumeError> {
        self.read("unsealed.json")
    }

    /// Whether the run left something that could not be sealed.
    #[must_use]
    pub fn is_unsealed(&self) -> bool {
        self.dir.join("unsealed.json").exists()
    }

    /// Notes that what is in `working/` could not be sealed.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn write_unsealed(&self, files: &[SealedFile]) -> Result<(), VolumeError> {
        self.write("unsealed.json", &files)
    }

    /// Notes that it was sealed after all.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn clear_unsealed(&self) -> Result<(), VolumeError> {
        let path = self.dir.join("unsealed.json");
        match files::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(VolumeError::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Whether a mark is there.
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.dir.join(mark.file()).exists()
    }

    /// Sets a mark, durably.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn mark(&self, mark: Mark) -> Result<(), VolumeError> {
        let path = self.dir.join(mark.file());
        files::write_atomic(&path, b"").map_err(VolumeError::io("write", &path))
    }

    /// Takes a mark away, durably.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn unmark(&self, mark: Mark) -> Result<(), VolumeError> {
        let path = self.dir.join(mark.file());
        let taken = match files::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => files::sync_dir(&self.dir),
        };
        taken.map_err(VolumeError::io("remove", &path))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, VolumeError> {
        let path = self.dir.join(name);
        let Some(bytes) = files::read_optional(&path).map_err(VolumeError::io("read", &path))? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| VolumeError::Damaged { path, fault: e.to_string() })
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), VolumeError> {
        let path = self.dir.join(name);
        let written =
            serde_json::to_vec(value).map_err(io::Error::from).and_then(|content| files::write_atomic(&path, &content));
        written.map_err(VolumeError::io("write", &path))
    }
}

/// Something that is either noted or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Someone asked to end the run.
    Cancel,
    /// The controller has the report.
    Recorded,
    /// Superseded: evidence only.
    Forgotten,
}

impl Mark {
    fn file(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Recorded => "recorded",
            Self::Forgotten => "forgotten",
        }
    }
}
