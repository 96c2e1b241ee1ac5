//! What a step is told: a file in its run's directory that is gone when the run is over.
//!
//! It has the spec with its secrets, so it is private, and never sealed or reported.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::{ClusterSpec, Secrets};
use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::intake::{Field, Notes, parse_json};
use cratekube_common::rke::render::SshAccess;
use cratekube_common::runtime::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input_path;
use crate::config::{CloudSection, KubernetesSection};

/// Everything a step works on.
#[derive(Debug, Clone, PartialEq)]
pub struct StepInput {
    /// What to do.
    pub kind: TaskKind,
    /// The cluster's environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The cluster.
    pub cluster: ClusterId,
    /// The operation that this is a part of.
    pub operation: OperationId,
    /// The attempt.
    pub attempt: AttemptId,
    /// Desired state, with its secrets.
    pub spec: ClusterSpec,
    /// Where RKE's state is: `kube_config_cluster.yml`, `cluster.rkestate`. Not there before a first run.
    pub working: PathBuf,
    /// The run's own directory: a step may keep a journal there.
    pub run_dir: PathBuf,
    /// What the agent's operator set.
    pub settings: StepSettings,
    /// What the controller adds, by the kind of task: `{"earlier": {<kind>: <findings>}, …}`.
    pub input: Value,
}

/// What the agent's operator set, as far as steps need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSettings {
    /// How hosts are logged in to.
    pub ssh: SshAccess,
    /// Whether and how AWS is looked at.
    pub cloud: CloudSection,
    /// How the cluster's API is reached.
    #[serde(default)]
    pub kubernetes: KubernetesSection,
    /// Whether hosts are looked at before `rke` begins.
    #[serde(default = "on")]
    pub preflight: bool,
    /// Whether hosts of a removed cluster are cleaned.
    #[serde(default = "on")]
    pub clean_hosts: bool,
    /// After how long the step is ended; none when that is not known.
    #[serde(default)]
    pub limit: Option<Duration>,
}

fn on() -> bool {
    true
}

impl Default for StepSettings {
    fn default() -> Self {
        Self {
            ssh: SshAccess::Untold,
            cloud: CloudSection::default(),
            kubernetes: KubernetesSection::default(),
            preflight: true,
            clean_hosts: true,
            limit: None,
        }
    }
}

/// The same as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    kind: TaskKind,
    environment: EnvironmentName,
    name: ClusterName,
    cluster: ClusterId,
    operation: OperationId,
    attempt: AttemptId,
    spec: Value,
    working: PathBuf,
    settings: StepSettings,
    input: Value,
}

/// Writes the input of a step: private and whole, but not durable, for it is written anew for every run.
///
/// # Errors
/// From the filesystem.
pub fn write(scratch: &Path, input: &StepInput) -> io::Result<()> {
    files::make_child(scratch)?;
    let input = input.clone();
    let written = Written {
        kind: input.kind,
        environment: input.environment,
        name: input.name,
        cluster: input.cluster,
        operation: input.operation,
        attempt: input.attempt,
        spec: input.spec.to_json(Secrets::Reveal),
        working: input.working,
        settings: input.settings,
        input: input.input,
    };
    files::replace(&input_path(scratch), &serde_json::to_vec(&written)?)
}

/// Reads the input of the step of a run.
///
/// # Errors
/// When it is not there, or not an input.
pub fn read(run_dir: &Path) -> io::Result<StepInput> {
    let invalid = |fault: String| io::Error::new(io::ErrorKind::InvalidData, format!("input.json: {fault}"));
    let bytes = fs::read(input_path(&run_dir.join("scratch")))?;
    let written: Written = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
    Ok(StepInput {
        kind: written.kind,
        environment: written.environment,
        name: written.name,
        cluster: written.cluster,
        operation: written.operation,
        attempt: written.attempt,
        spec: read_spec(&written.spec).map_err(invalid)?,
        working: written.working,
        run_dir: run_dir.to_owned(),
        settings: written.settings,
        input: written.input,
    })
}

/// Reads a spec that the controller has checked.
pub(crate) fn read_spec(document: &Value) -> Result<ClusterSpec, String> {
    let document = parse_json(document.to_string().as_bytes()).map_err(|e| e.to_string())?;
    let notes = Notes::default();
    let spec = intake::read_spec(&Field::root(&document, &notes));
    let fault = notes.into_faults().errors.first().map(ToString::to_string);
    match (spec, fault) {
        (Some(spec), None) => Ok(spec),
        (_, fault) => Err(fault.unwrap_or_else(|| "the spec is not one".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::fixtures;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_written_is_read_back_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let input = StepInput {
            run_dir: dir.path().to_owned(),
            input: serde_json::json!({"earlier": {"record": {"volumes": ["vol-1"]}}}),
            ..fixtures::step_input(TaskKind::Configure)
        };
        let scratch = dir.path().join("scratch");
        write(&scratch, &input).unwrap();
        assert_eq!(read(dir.path()).unwrap(), input);
        assert_eq!(fs::metadata(input_path(&scratch)).unwrap().mode() & 0o777, 0o600);
    }
}
