//! What an agent reports of a run.

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::generation::{Manifest, SealedFile};
use cratekube_common::domain::run::{ExitStatus, RunOutcome, RunReport};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::step::MAX_FINDINGS;

use super::{Malformed, bounded, document, parse, present, read_document, sha256, time};
use crate::v1;

const MAX_WARNINGS: usize = 1_000;
const MAX_FILES: usize = 1_000;

impl From<RunReport> for v1::RunReport {
    fn from(report: RunReport) -> Self {
        let (result, failure) = match report.outcome {
            RunOutcome::Succeeded => (v1::RunResult::Succeeded, None),
            RunOutcome::Failed(failure) => (v1::RunResult::Failed, Some(failure.into())),
            RunOutcome::Refused(failure) => (v1::RunResult::Refused, Some(failure.into())),
        };
        Self {
            attempt: report.attempt.to_string(),
            fence: report.fence.0,
            result: result.into(),
            failure,
            exit: report.exit.map(Into::into),
            started_ms: report.started_at.map(Timestamp::as_millis),
            ended_ms: report.ended_at.as_millis(),
            generation: report.generation.map(Into::into),
            rke: report.rke.map(Into::into),
            warnings: report.warnings,
            output_bytes: report.output_bytes,
            findings_json: report.findings.as_ref().map(document).unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::RunReport> for RunReport {
    type Error = Malformed;
    fn try_from(wire: v1::RunReport) -> Result<Self, Malformed> {
        if wire.warnings.len() > MAX_WARNINGS {
            return Err(Malformed { field: "warnings", fault: format!("more than {MAX_WARNINGS}") });
        }
        if wire.findings_json.len() > MAX_FINDINGS {
            return Err(Malformed { field: "findings_json", fault: format!("more than {MAX_FINDINGS} bytes") });
        }
        let findings = read_document("findings_json", &wire.findings_json)?;
        let outcome = match wire.result() {
            v1::RunResult::Succeeded => RunOutcome::Succeeded,
            v1::RunResult::Failed => RunOutcome::Failed(present("failure", wire.failure)?.try_into()?),
            v1::RunResult::Refused => RunOutcome::Refused(present("failure", wire.failure)?.try_into()?),
            v1::RunResult::Unspecified => return Err(Malformed { field: "result", fault: "is missing".into() }),
        };
        Ok(Self {
            attempt: parse("attempt", &wire.attempt)?,
            fence: Fence(wire.fence),
            outcome,
            exit: wire.exit.map(TryInto::try_into).transpose()?,
            started_at: wire.started_ms.map(time),
            ended_at: time(wire.ended_ms),
            generation: wire.generation.map(TryInto::try_into).transpose()?,
            rke: wire.rke.map(TryInto::try_into).transpose()?,
            warnings: wire.warnings.into_iter().map(|w| bounded("warnings", w)).collect::<Result<_, _>>()?,
            output_bytes: wire.output_bytes,
            findings: Some(findings).filter(|found| !found.is_null()),
        })
    }
}

impl From<Failure> for v1::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            class: failure.class.to_string(),
            message: failure.message,
            line: failure.line,
            retryable: failure.retryable,
            remedy: failure.remedy,
        }
    }
}

impl TryFrom<v1::Failure> for Failure {
    type Error = Malformed;
    fn try_from(wire: v1::Failure) -> Result<Self, Malformed> {
        Ok(Self {
            // One that only a newer release knows is still a failure.
            class: wire.class.parse().unwrap_or(FailureClass::Internal),
            message: bounded("failure.message", wire.message)?,
            line: wire.line.map(|line| bounded("failure.line", line)).transpose()?,
            retryable: wire.retryable,
            remedy: bounded("failure.remedy", wire.remedy)?,
        })
    }
}

impl From<ExitStatus> for v1::Exit {
    fn from(exit: ExitStatus) -> Self {
        let status = match exit {
            ExitStatus::Code(code) => v1::exit::Status::Code(code),
            ExitStatus::Signal(signal) => v1::exit::Status::Signal(signal),
        };
        Self { status: Some(status) }
    }
}

impl TryFrom<v1::Exit> for ExitStatus {
    type Error = Malformed;
    fn try_from(wire: v1::Exit) -> Result<Self, Malformed> {
        Ok(match present("exit.status", wire.status)? {
            v1::exit::Status::Code(code) => Self::Code(code),
            v1::exit::Status::Signal(signal) => Self::Signal(signal),
        })
    }
}

impl From<Manifest> for v1::Manifest {
    fn from(manifest: Manifest) -> Self {
        let file = |f: SealedFile| v1::SealedFile { name: f.name, bytes: f.bytes, sha256: f.sha256 };
        Self {
            number: manifest.number,
            cluster: manifest.cluster.to_string(),
            operation: manifest.operation.to_string(),
            attempt: manifest.attempt.to_string(),
            fence: manifest.fence.0,
            sealed_ms: manifest.sealed_at.as_millis(),
            ca_sha256: manifest.ca_sha256,
            good: manifest.good,
            fault: manifest.fault,
            files: manifest.files.into_iter().map(file).collect(),
        }
    }
}

impl TryFrom<v1::Manifest> for Manifest {
    type Error = Malformed;
    fn try_from(wire: v1::Manifest) -> Result<Self, Malformed> {
        if wire.files.len() > MAX_FILES {
            return Err(Malformed { field: "generation.files", fault: format!("more than {MAX_FILES}") });
        }
        let file = |f: v1::SealedFile| {
            let name = bounded("generation.files.name", f.name)?;
            Ok(SealedFile { name, bytes: f.bytes, sha256: sha256("generation.files.sha256", f.sha256)? })
        };
        Ok(Self {
            number: wire.number,
            cluster: parse("generation.cluster", &wire.cluster)?,
            operation: parse("generation.operation", &wire.operation)?,
            attempt: parse("generation.attempt", &wire.attempt)?,
            fence: Fence(wire.fence),
            sealed_at: time(wire.sealed_ms),
            ca_sha256: wire.ca_sha256.map(|s| sha256("generation.ca_sha256", s)).transpose()?,
            good: wire.good,
            fault: wire.fault,
            files: wire.files.into_iter().map(file).collect::<Result<_, Malformed>>()?,
        })
    }
}
