//! What is said about a run, with its secrets masked: it quotes lines of `rke`.

use serde_json::Value;

use crate::domain::failure::Failure;
use crate::domain::run::{RunOutcome, RunReport};

/// Masks what a report quotes.
#[must_use]
pub fn report(report: RunReport) -> RunReport {
    let outcome = match report.outcome {
        RunOutcome::Succeeded => RunOutcome::Succeeded,
        RunOutcome::Failed(fault) => RunOutcome::Failed(failure(fault)),
        RunOutcome::Refused(fault) => RunOutcome::Refused(failure(fault)),
    };
    let warnings = report.warnings.iter().map(|warning| super::text(warning)).collect();
    let findings = report.findings.map(document);
    RunReport { outcome, warnings, findings, ..report }
}

/// Masks every text of a document; its keys are ours.
#[must_use]
pub fn document(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(super::text(&text)),
        Value::Array(items) => items.into_iter().map(document).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, document(value))).collect(),
        plain => plain,
    }
}

fn failure(failure: Failure) -> Failure {
    let line = failure.line.as_deref().map(super::text);
    Failure { message: super::text(&failure.message), line, ..failure }
}
