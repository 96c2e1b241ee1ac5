//! Steps: work on a cluster that is not `rke`'s, in a process of its own.
//!
//! `cratekube-agent step <run-dir>` runs under the same supervisor as `rke`: same lock, limits, cancel,
//! output and adoption. It reads what to do from `scratch/input.json`, prints what it does, and leaves
//! what came of it in `outcome.json`; what it waits for meanwhile is in `waits-for`. Whoever kills it may do so anywhere: **every step can be done
//! again from its beginning**, and does then what is left.
//!
//! - [`input`]: what a step is told.
//! - [`console`]: what it says meanwhile.
//! - [`main`]: the process.

pub mod console;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod input;
mod tombstone;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::runtime::files;
pub use cratekube_common::step::{Case, judge};
use cratekube_common::step::{MAX_FINDINGS, StepOutcome};
use serde_json::Value;

use crate::{cloud, kube};

pub use self::console::{Console, Printer};
pub use self::input::{StepInput, StepSettings};

/// Where the outcome is, in the run's directory.
const OUTCOME: &str = "outcome.json";

/// Whether this release of the agent can do such a task.
#[must_use]
pub fn can(kind: TaskKind) -> bool {
    use TaskKind as K;
    match kind {
        K::Provision | K::Reconfigure | K::Remove | K::RecoverState | K::RotateCertificates => true,
        K::Preflight | K::Configure | K::Verify => true,
        K::Freeze | K::Record | K::Release | K::CleanHosts | K::Sweep | K::Confirm | K::Tombstone => true,
    }
}

/// Does a step.
async fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    match input.kind {
        TaskKind::Preflight => crate::preflight::run(input, console).await,
        TaskKind::CleanHosts => crate::clean::run(input, console).await,
        TaskKind::Configure => kube::configure::run(input, console).await,
        TaskKind::Verify => kube::verify::run(input, console).await,
        TaskKind::Freeze => kube::removal::freeze::run(input, console).await,
        TaskKind::Record => kube::removal::record::run(input, console).await,
        TaskKind::Release => kube::removal::release::run(input, console).await,
        TaskKind::Sweep => cloud::steps::sweep(input, console).await,
        TaskKind::Confirm => cloud::steps::confirm(input, console).await,
        TaskKind::Tombstone => tombstone::run(input, console),
        kind @ (TaskKind::Provision
        | TaskKind::Reconfigure
        | TaskKind::Remove
        | TaskKind::RecoverState
        | TaskKind::RotateCertificates) => {
            let failure = no_step(kind);
            console.line(&failure.message);
            StepOutcome { failure: Some(failure), ..StepOutcome::default() }
        }
    }
}

/// Does what `step <run-dir>` on the command line says, and writes what came of it.
#[must_use]
pub fn main(run_dir: &Path, out: &mut (impl Write + Send)) -> ExitCode {
    let printer = Printer::of_run(out, run_dir);
    match input::read(run_dir).and_then(|input| finish(run_dir, begin(&input, &printer)?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printer.line(&format!("the step could not be done: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn begin(input: &StepInput, console: &dyn Console) -> io::Result<StepOutcome> {
    // One thread: a step waits most of the time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(run(input, console)))
}

fn finish(run_dir: &Path, mut outcome: StepOutcome) -> io::Result<()> {
    if outcome.findings.to_string().len() > MAX_FINDINGS {
        outcome.findings = Value::Null;
        outcome.warnings.push(format!("what was found is more than {MAX_FINDINGS} bytes, and was left out"));
    }
    files::write_atomic(&run_dir.join(OUTCOME), &serde_json::to_vec(&outcome)?)
}

/// What the step of a run says came of it; none when it did not come to its end.
///
/// # Errors
/// From the filesystem; what cannot be understood is none.
pub fn outcome(run_dir: &Path) -> io::Result<Option<StepOutcome>> {
    let bytes = files::read_optional(&run_dir.join(OUTCOME))?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Program and arguments of a step: the very executable that supervises it, whatever is installed by then.
#[must_use]
pub fn command(run_dir: &Path) -> Vec<String> {
    ["/proc/self/exe".to_owned(), "step".to_owned(), run_dir.display().to_string()].into()
}

/// Where a step finds its input, in the run's directory.
#[must_use]
pub fn input_path(scratch: &Path) -> PathBuf {
    scratch.join("input.json")
}

fn no_step(kind: TaskKind) -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: format!("`{kind}` is no step"),
        line: None,
        retryable: false,
        remedy: "Upgrade the agent to the release of its controller, then retry.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_step_is_left_in_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let input = fixtures::step_input(TaskKind::Provision);
        input::write(&dir.path().join("scratch"), &input).unwrap();
        let mut out = Vec::new();
        assert_eq!(outcome(dir.path()).unwrap(), None);
        assert_eq!(main(dir.path(), &mut out), ExitCode::SUCCESS);
        let said = outcome(dir.path()).unwrap().unwrap();
        assert_eq!(said.failure.unwrap().message, "`provision` is no step");
        assert!(String::from_utf8(out).unwrap().contains("is no step"));
    }

    #[test]
    fn findings_that_are_too_large_are_left_out_and_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let findings = Value::String("x".repeat(MAX_FINDINGS));
        finish(dir.path(), StepOutcome { findings, ..StepOutcome::default() }).unwrap();
        let said = outcome(dir.path()).unwrap().unwrap();
        assert_eq!((said.findings, said.warnings.len()), (Value::Null, 1));
    }

    #[test]
    fn a_step_without_input_fails_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        assert_eq!(main(dir.path(), &mut out), ExitCode::FAILURE);
        assert!(String::from_utf8(out).unwrap().starts_with("the step could not be done: "));
        assert_eq!(outcome(dir.path()).unwrap(), None);
    }
}
