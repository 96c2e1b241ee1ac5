//! What is said about a run, with its secrets masked: it quotes lines of `rke`.

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
    RunReport { outcome, warnings, ..report }
}

fn failure(failure: Failure) -> Failure {
    let line = failure.line.as_deref().map(super::text);
    Failure { message: super::text(&failure.message), line, ..failure }
}
