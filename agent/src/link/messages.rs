//! Messages of a session, made of domain values.

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::query::Answer;
use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::Clock;
use cratekube_proto::convert::query;
use cratekube_proto::v1;
use v1::agent_message::Message;

use crate::port::Engine;

/// Wraps one of the messages that the agent sends.
fn wrap(message: Message) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

/// The first message: who we are on this host, and what we hold.
pub(super) async fn hello(engine: &dyn Engine, clock: &Clock) -> v1::AgentMessage {
    let facts = engine.facts().await;
    // Read last: a run that began meanwhile is in it.
    let runs = engine.held_runs().into_iter().map(Into::into).collect();
    let answers = engine.answers().iter().map(ToString::to_string).collect();
    wrap(Message::Hello(v1::Hello { facts: Some(facts.into()), runs, now_ms: clock.now().as_millis(), answers }))
}

/// Still here; the leases of everything that is held are to be renewed.
pub(super) async fn heartbeat(engine: &dyn Engine, clock: &Clock) -> v1::AgentMessage {
    let volumes = engine.volumes().await.into_iter().map(Into::into).collect();
    let attempts = engine.held_runs().iter().map(|run| run.attempt.to_string()).collect();
    let now_ms = clock.now().as_millis();
    wrap(Message::Heartbeat(v1::Heartbeat { now_ms, volumes, attempts, load: one_minute_load() }))
}

pub(super) fn ready(slots: u32) -> v1::AgentMessage {
    wrap(Message::Ready(v1::Ready { slots }))
}

pub(super) fn started(attempt: AttemptId, fence: Fence, at: Timestamp) -> v1::AgentMessage {
    let started_ms = at.as_millis();
    wrap(Message::Started(v1::RunStarted { attempt: attempt.to_string(), fence: fence.0, started_ms }))
}

pub(super) fn progress(attempt: AttemptId, fence: Fence, progress: Progress) -> v1::AgentMessage {
    let Progress { phase, step, steps } = progress;
    wrap(Message::Progress(v1::RunProgress { attempt: attempt.to_string(), fence: fence.0, phase, step, steps }))
}

pub(super) fn report(report: RunReport) -> v1::AgentMessage {
    wrap(Message::Report(report.into()))
}

pub(super) fn decline(attempt: AttemptId, fence: Fence, reason: impl Into<String>) -> v1::AgentMessage {
    let reason = reason.into();
    wrap(Message::Decline(v1::Decline { attempt: attempt.to_string(), fence: fence.0, reason, unsupported: false }))
}

/// The assignment is of a kind that this release does not know.
pub(super) fn unsupported(attempt: AttemptId, fence: Fence, kind: &str) -> v1::AgentMessage {
    let kind: String = kind.chars().take(100).collect();
    let version = env!("CARGO_PKG_VERSION");
    let reason = format!("unsupported: agent {version} does not know tasks of the kind {kind:?}; upgrade it");
    wrap(Message::Decline(v1::Decline { attempt: attempt.to_string(), fence: fence.0, reason, unsupported: true }))
}

/// What came of a question.
pub(super) fn answer(id: &str, answer: Answer) -> v1::AgentMessage {
    wrap(Message::Answer(query::answer(id, answer)))
}

/// The report on an assignment that could not be read.
pub(super) fn refusal(attempt: AttemptId, fence: Fence, malformed: &str, now: Timestamp) -> RunReport {
    let failure = Failure {
        class: FailureClass::Internal,
        message: format!("the agent could not read the assignment: {malformed}"),
        line: None,
        retryable: false,
        remedy: "Upgrade the agent or the controller so that their versions match. Nothing was run.".into(),
    };
    RunReport {
        attempt,
        fence,
        outcome: RunOutcome::Refused(failure),
        exit: None,
        started_at: None,
        ended_at: now,
        generation: None,
        rke: None,
        warnings: Vec::new(),
        output_bytes: 0,
        findings: None,
    }
}

/// One-minute load average of the host; zero where the kernel does not tell.
fn one_minute_load() -> f64 {
    std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| parse_load(&text)).unwrap_or_default()
}

fn parse_load(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_the_first_number_of_the_kernels_line() {
        assert_eq!(parse_load("0.42 0.30 0.25 1/321 4567\n"), Some(0.42));
        assert_eq!(parse_load(""), None);
    }
}
