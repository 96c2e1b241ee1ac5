//! Operations.

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

use super::Kind;
use super::cell::{Cell, age, size, some, span, text};
use super::sheet::Sheet;

/// Operations.
pub(in crate::client) static OPERATION: Kind = Kind {
    plural: "operations",
    name: "/id",
    columns: &[
        ("ID", |operation, _| Cell::plain(text(operation, "/id"))),
        ("KIND", |operation, _| Cell::plain(text(operation, "/kind"))),
        ("CLUSTER", |operation, _| Cell::plain(cluster_of(operation))),
        ("STATE", |operation, _| Cell::state(text(operation, "/state"))),
        ("PROGRESS", |operation, _| Cell::plain(progress(operation))),
        ("BY", |operation, _| Cell::plain(text(operation, "/requested_by"))),
        ("AGE", |operation, now| Cell::plain(age(operation, "/created_at", now))),
    ],
    sheet: operation,
};

/// `prod/web`.
pub(in crate::client) fn cluster_of(operation: &Value) -> String {
    format!("{}/{}", text(operation, "/environment"), text(operation, "/cluster"))
}

/// How far it is, why it waits, or why it failed.
fn progress(operation: &Value) -> String {
    let state = text(operation, "/state");
    let waits = || some(operation, "/waiting_for");
    match state.as_str() {
        "succeeded" => "-".to_owned(),
        "failed" => text(operation, "/failure/class"),
        _ => waits().or_else(|| step(operation)).unwrap_or_else(|| "-".to_owned()),
    }
}

fn step(operation: &Value) -> Option<String> {
    let phase = some(operation, "/progress/phase")?;
    Some(format!("{}/{} {phase}", text(operation, "/progress/step"), text(operation, "/progress/steps")))
}

fn operation(operation: &Value, now: Timestamp) -> Sheet {
    let warnings = operation["warnings"].as_array().into_iter().flatten();
    let attempts = operation["attempts"].as_array().into_iter().flatten();
    Sheet::default()
        .line("Operation", Cell::plain(text(operation, "/id")))
        .line("Kind", Cell::plain(text(operation, "/kind")))
        .line("Cluster", Cell::plain(cluster_of(operation)))
        .line("State", Cell::state(text(operation, "/state")))
        .each("Progress", step(operation).filter(|_| operation["state"] != "succeeded"))
        .given("Waiting", operation, "/waiting_for")
        .given("Failure", operation, "/failure/message")
        .given("Class", operation, "/failure/class")
        .given("rke said", operation, "/failure/line")
        .given("What to do", operation, "/failure/remedy")
        .each("Warning", warnings.map(|warning| text(warning, "")))
        .line("Asked by", Cell::plain(text(operation, "/requested_by")))
        .given("Reason", operation, "/reason")
        .given("Retry of", operation, "/retry_of")
        .line("Age", Cell::plain(age(operation, "/created_at", now)))
        .each("Took", took(operation))
        .line("Output", Cell::plain(size(operation, "/output_bytes")))
        .table(
            "Attempts",
            vec!["ATTEMPT", "TASK", "STATE", "AGENT", "RKE", "STARTED", "FAILURE"],
            attempts.map(attempt).collect(),
        )
}

fn took(operation: &Value) -> Option<String> {
    let at = |pointer| operation.pointer(pointer)?.as_str()?.parse::<Timestamp>().ok();
    Some(span(at("/ended_at")?.since(at("/started_at")?)))
}

fn attempt(attempt: &Value) -> Vec<Cell> {
    let rehearsal = if attempt["rke"]["rehearsal"] == true { " (rehearsal)" } else { "" };
    vec![
        Cell::plain(text(attempt, "/id")),
        Cell::plain(text(attempt, "/task")),
        Cell::state(text(attempt, "/state")),
        Cell::plain(text(attempt, "/agent")),
        Cell::plain(text(attempt, "/rke/version") + rehearsal),
        Cell::plain(text(attempt, "/started_at")),
        Cell::plain(text(attempt, "/failure/class")),
    ]
}

/// Why an operation did not succeed and what to do, line by line; the first names it.
pub(in crate::client) fn failure(operation: &Value) -> Vec<String> {
    let (id, kind, state) = (text(operation, "/id"), text(operation, "/kind"), text(operation, "/state"));
    let title =
        format!("{kind} of {} {}", cluster_of(operation), if state == "failed" { "failed" } else { "was cancelled" });
    let class = some(operation, "/failure/class").filter(|class| *class != state);
    let mut lines = vec![class.map_or_else(|| title.clone(), |class| format!("{title} [{class}]"))];
    lines.extend(some(operation, "/failure/message"));
    lines.extend(some(operation, "/failure/line").map(|line| format!("rke said: {line}")));
    lines.extend(some(operation, "/failure/remedy").map(|remedy| format!("what to do: {remedy}")));
    lines.push(format!("whole output: cratekube operation output {id}"));
    let mended = if operation["failure"]["retryable"] == false { "again, once it is mended" } else { "again" };
    lines.push(format!("{mended}: cratekube operation retry {id}"));
    lines
}
