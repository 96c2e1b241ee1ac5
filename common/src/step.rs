//! Steps: work on a cluster that is not `rke`'s, done by a process of our own under the same supervisor.
//!
//! A step prints plain lines for people. A line of the form `==> [2/5] waiting for nodes` announces a
//! phase, and becomes progress; no other line of it begins like that. What came of it is in a file, not
//! in the lines: a [`StepOutcome`]. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::failure::{Failure, FailureClass};
use crate::domain::progress::Progress;
use crate::domain::run::ExitStatus;
use crate::domain::task::TaskKind;
use crate::rke::classify::Stop;
use crate::rke::overdue;

/// How the line of a phase begins.
const MARK: &str = "==> [";
/// Longest name of a phase.
const MAX_NAME: usize = 100;
/// Most bytes that findings have as JSON: what a report can carry beside everything else.
pub const MAX_FINDINGS: usize = 1 << 20;

/// The line that announces a phase.
#[must_use]
pub fn announcement(step: u32, steps: u32, name: &str) -> String {
    format!("{MARK}{step}/{steps}] {name}")
}

/// A line for people, which announces nothing.
#[must_use]
pub fn plain(text: &str) -> String {
    if text.starts_with(MARK) { format!(" {text}") } else { text.to_owned() }
}

/// The phase that a line announces.
#[must_use]
pub fn announced(line: &[u8]) -> Option<Progress> {
    let rest = std::str::from_utf8(line).ok()?.strip_prefix(MARK)?;
    let (numbers, name) = rest.split_once("] ")?;
    let (step, steps) = numbers.split_once('/')?;
    let (step, steps) = (step.parse().ok()?, steps.parse().ok()?);
    let whole = 0 < step && step <= steps && name.len() <= MAX_NAME;
    whole.then(|| Progress { phase: name.to_owned(), step, steps })
}

/// What came of a step, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepOutcome {
    /// Why it did not do what it was asked; none when it did.
    pub failure: Option<Failure>,
    /// Things to know although it went well.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What it found or did, by its kind; null for nothing.
    #[serde(default)]
    pub findings: Value,
}

/// Everything that is known when a step is over.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What was asked.
    pub kind: TaskKind,
    /// What it says came of it.
    pub outcome: Option<&'a StepOutcome>,
    /// How it ended.
    pub exit: Option<ExitStatus>,
    /// Why it was ended, when it was.
    pub stopped: Option<Stop<'a>>,
    /// What it waited for last, as it said itself.
    pub waited_for: Option<&'a str>,
}

/// Judges a step by what it says, how it ended, and why it was ended.
///
/// # Errors
/// Why it did not do what it was asked.
pub fn judge(case: &Case<'_>) -> Result<(), Failure> {
    match (case.outcome, case.exit, case.stopped) {
        // It came to its end by itself before it could be stopped.
        (Some(outcome), Some(ExitStatus::Code(0)), _) => outcome.failure.clone().map_or(Ok(()), Err),
        (_, _, Some(Stop::Cancelled)) => Err(Failure {
            class: FailureClass::Cancelled,
            message: "ended on request".into(),
            line: None,
            retryable: false,
            remedy: "Nothing is half done that a retry would not finish: ask for it again when it is wanted.".into(),
        }),
        (_, _, Some(Stop::TimedOut(reached))) => Err(overdue::of_step(reached, case.kind, case.waited_for)),
        (_, _, Some(Stop::HostLost)) => Err(interrupted("the bastion went down during the step", case)),
        (_, Some(ExitStatus::Signal(signal)), None) => {
            Err(interrupted(&format!("signal {signal} ended the step"), case))
        }
        (_, None, None) => Err(interrupted("how the step ended is not known", case)),
        (_, Some(ExitStatus::Code(code)), None) => Err(Failure {
            class: FailureClass::Internal,
            message: format!("the step ended with {code} without saying what came of it"),
            line: None,
            retryable: true,
            remedy: "Retry once; if it ends the same way, ask an operator of the service, with the run's output."
                .into(),
        }),
    }
}

fn interrupted(message: &str, case: &Case<'_>) -> Failure {
    let waited = case.waited_for.map(|what| format!("; it waited for this: {what}")).unwrap_or_default();
    Failure {
        class: FailureClass::Interrupted,
        message: format!("{message}; how far it came is not known{waited}"),
        line: None,
        retryable: true,
        remedy: "Retry: a step can be done again, and goes on from what is there.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::run::{ReachedLimit, TimeLimit};

    fn failed() -> Failure {
        Failure {
            class: FailureClass::Unreachable,
            message: "nobody answers".into(),
            line: None,
            retryable: true,
            remedy: "Wait.".into(),
        }
    }

    #[test]
    fn what_is_announced_is_read_back_and_nothing_else_is() {
        let line = announcement(2, 5, "waiting for nodes");
        assert_eq!(
            announced(line.as_bytes()).unwrap(),
            Progress { phase: "waiting for nodes".into(), step: 2, steps: 5 }
        );
        for other in ["==> [0/5] x", "==> [6/5] x", "==> [1/x] x", "==> [1/5]x", " ==> [1/5] x", "=> [1/5] x"] {
            assert_eq!(announced(other.as_bytes()), None, "{other}");
        }
        assert_eq!(announced(plain(&line).as_bytes()), None, "a line for people cannot pass for a phase");
        assert_eq!(announced(announcement(1, 1, &"x".repeat(101)).as_bytes()), None);
        assert_eq!(announced(b"==> [1/1] \xff"), None);
    }

    #[test]
    fn a_step_is_believed_only_when_it_came_to_its_end() {
        let done = StepOutcome::default();
        let refused = StepOutcome { failure: Some(failed()), ..StepOutcome::default() };
        let code = |code| Some(ExitStatus::Code(code));
        let judge = |outcome, exit, stopped| {
            judge(&Case { kind: TaskKind::Release, outcome, exit, stopped, waited_for: Some("a Service") })
        };
        assert_eq!(judge(Some(&done), code(0), None), Ok(()));
        assert_eq!(judge(Some(&done), code(0), Some(Stop::Cancelled)), Ok(()), "it was done already");
        assert_eq!(judge(Some(&refused), code(0), None), Err(failed()));
        let class = |outcome, exit, stop| judge(outcome, exit, stop).unwrap_err().class;
        assert_eq!(class(None, code(0), None), FailureClass::Internal);
        assert_eq!(class(Some(&done), code(101), None), FailureClass::Internal);
        assert_eq!(class(Some(&done), Some(ExitStatus::Signal(9)), None), FailureClass::Interrupted);
        assert_eq!(class(None, None, None), FailureClass::Interrupted);
        assert_eq!(class(Some(&done), None, Some(Stop::HostLost)), FailureClass::Interrupted);
        assert_eq!(class(None, Some(ExitStatus::Signal(15)), Some(Stop::Cancelled)), FailureClass::Cancelled);
        let reached = ReachedLimit { limit: TimeLimit::Run, after_ms: 1_200_000, phase: None };
        let late = judge(None, Some(ExitStatus::Signal(15)), Some(Stop::TimedOut(&reached))).unwrap_err();
        assert_eq!(late.class, FailureClass::Timeout);
        let lost = judge(None, None, Some(Stop::HostLost)).unwrap_err();
        assert!(lost.message.ends_with("it waited for this: a Service"), "{}", lost.message);
        assert!(late.message.ends_with("it waited for this: a Service"), "{}", late.message);
        assert!(late.remedy.contains("steps.release"), "{}", late.remedy);
        assert_eq!(judge(Some(&done), code(0), Some(Stop::TimedOut(&reached))), Ok(()), "it was done already");
    }
}
