//! Reports of residue, from made-up removals.

use std::time::Duration;

use cratekube_common::domain::id::{ClusterId, OperationId, TaskId};
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::removal::{CloudRecord, RemovalOptions, RemovalWish};
use serde_json::json;
use uuid::Uuid;

use super::*;

fn operation(state: OperationState) -> Operation {
    Operation {
        id: OperationId(Uuid::from_u128(1)),
        kind: OperationKind::Remove,
        state,
        environment: "prod".parse().unwrap(),
        cluster: "web".parse().unwrap(),
        cluster_id: ClusterId(Uuid::from_u128(2)),
        requested_by: "ann".into(),
        reason: Some("costs".into()),
        retry_of: None,
        request_id: None,
        created_at: Timestamp::from_millis(0),
        started_at: None,
        ended_at: Some(Timestamp::from_millis(1)),
        progress: None,
        failure: None,
        warnings: Vec::new(),
        waiting_for: None,
        output_bytes: 0,
    }
}

fn task(kind: TaskKind, findings: Value) -> TaskRecord {
    let findings = Some(findings).filter(|findings| !findings.is_null());
    TaskRecord { id: TaskId(Uuid::nil()), kind, state: TaskState::Succeeded, findings }
}

fn look(verdict: &str, objects: &[(&str, &str)]) -> Value {
    let entry = |(id, fate): &(&str, &str)| {
        json!({"kind": "volume", "id": id, "region": "r", "fate": fate, "monthly_cents": 80,
            "proof": {"by": "recorded"}, "why": "busy"})
    };
    let entries: Vec<Value> = objects.iter().map(entry).collect();
    let tally =
        serde_json::to_value(Tally::of(&serde_json::from_value::<Vec<Entry>>(json!(entries)).unwrap())).unwrap();
    json!({"verdict": verdict, "dry_run": false, "policy": "delete", "at": "2026-11-25T12:00:00Z", "prices": "list",
        "tally": tally, "entries": entries})
}

fn hosts(outcome: &str) -> Value {
    json!({"hosts": [{"address": "10.0.0.1", "outcome": outcome, "detail": "2 things stay"}]})
}

/// A removal of which every step says that nothing is left.
fn good() -> RemovalRecord {
    let wish = RemovalWish {
        policy: DataPolicy::Delete,
        hosts_terminated: false,
        confirm_pause: Duration::ZERO,
        undelete_days: 30,
    };
    RemovalRecord {
        options: Some(RemovalOptions::new(&wish, Default::default(), None, CloudRecord::default())),
        abandoned: None,
        ran: true,
        tasks: vec![
            task(TaskKind::Freeze, json!({"state": "done"})),
            task(TaskKind::Remove, Value::Null),
            task(TaskKind::CleanHosts, hosts("cleaned")),
            task(TaskKind::Sweep, look("clean", &[("vol-1", "deleted")])),
            task(TaskKind::Confirm, look("clean", &[("vol-1", "already_gone")])),
            task(TaskKind::Tombstone, json!({"state": "done", "generation": 7})),
        ],
        before: Vec::new(),
    }
}

fn with(kind: TaskKind, findings: Value) -> RemovalRecord {
    let mut record = good();
    record.tasks.retain(|task| task.kind != kind);
    record.tasks.push(task(kind, findings));
    record
}

fn told(record: &RemovalRecord) -> (Verdict, Vec<String>) {
    let report = residue(&operation(OperationState::Succeeded), record);
    (report.verdict, report.because)
}

#[test]
fn what_was_done_and_looked_at_again_is_clean() {
    let report = residue(&operation(OperationState::Succeeded), &good());
    assert_eq!((report.verdict, report.because), (Verdict::Clean, Vec::<String>::new()));
    let cloud = report.cloud.unwrap();
    assert_eq!((cloud.objects[0].fate, cloud.tally.monthly_cents_freed, cloud.monthly_cents()), (Fate::Deleted, 80, 0));
    assert_eq!(report.tombstone.unwrap()["generation"], 7);
    assert_eq!(report.hosts[0]["address"], "10.0.0.1");
}

#[test]
fn what_was_skipped_left_out_not_done_or_not_seen_is_never_clean() {
    for kind in [TaskKind::Remove, TaskKind::CleanHosts, TaskKind::Sweep, TaskKind::Confirm] {
        let mut left_out = good();
        left_out.tasks.retain(|task| task.kind != kind);
        assert_eq!(told(&left_out).0, Verdict::Unverified, "{kind} was left out");
        let mut failed = good();
        failed.tasks.iter_mut().filter(|task| task.kind == kind).for_each(|task| task.state = TaskState::Failed);
        assert_eq!(told(&failed).0, Verdict::Unverified, "{kind} failed");
        for state in ["skipped", "unverified"] {
            let (verdict, because) = told(&with(kind, json!({"state": state, "why": "no keys"})));
            assert_eq!((verdict, because.len()), (Verdict::Unverified, 1), "{kind} {state}: {because:?}");
            assert!(because[0].contains("no keys"), "{because:?}");
        }
        if kind != TaskKind::Remove {
            assert_eq!(told(&with(kind, Value::Null)).0, Verdict::Unverified, "{kind} says nothing");
        }
    }
    let blind = with(TaskKind::Confirm, json!({"unverified": "denied"}));
    assert_eq!(told(&blind).0, Verdict::Unverified);
    let (verdict, because) = told(&with(TaskKind::Confirm, look("unverified", &[])));
    assert_eq!((verdict, because.len()), (Verdict::Unverified, 1));
    assert_eq!(told(&with(TaskKind::CleanHosts, hosts("unreached"))).0, Verdict::Unverified);
}

#[test]
fn what_is_known_to_be_left_is_named_one_by_one() {
    let (verdict, because) = told(&with(TaskKind::Confirm, look("left", &[("vol-1", "deleted"), ("vol-2", "left")])));
    assert_eq!((verdict, because.as_slice()), (Verdict::Residue, &["volume vol-2 in the cloud: busy".to_owned()][..]));
    let (verdict, because) = told(&with(TaskKind::CleanHosts, hosts("partly")));
    assert_eq!((verdict, because.as_slice()), (Verdict::Residue, &["host 10.0.0.1: 2 things stay".to_owned()][..]));
}

#[test]
fn hosts_that_are_about_to_be_terminated_need_not_be_clean() {
    let mut record = with(TaskKind::CleanHosts, hosts("partly"));
    record.options.as_mut().unwrap().hosts_terminated = true;
    assert_eq!(told(&record).0, Verdict::Clean);
}

#[test]
fn a_removal_that_goes_on_or_was_abandoned_is_not_clean_whatever_its_steps_say() {
    let report = residue(&operation(OperationState::Running), &good());
    assert_eq!((report.verdict, report.because.len()), (Verdict::Unverified, 1));
    let abandoned = Abandonment { by: "eve".into(), at: Timestamp::from_millis(5), reason: "closed".into() };
    let record = RemovalRecord { abandoned: Some(abandoned), ..good() };
    let (verdict, because) = told(&record);
    assert_eq!((verdict, because[0].contains("eve: closed")), (Verdict::Unverified, true));
}

#[test]
fn a_cluster_that_nothing_ever_ran_for_left_nothing() {
    let record = RemovalRecord { ran: false, tasks: Vec::new(), ..good() };
    assert_eq!(told(&record).0, Verdict::Clean);
}

#[test]
fn what_a_removal_before_found_is_in_the_report_of_the_one_that_repeats_it() {
    let mut record = good();
    record.before = vec![task(TaskKind::Sweep, look("left", &[("vol-0", "deleted"), ("vol-1", "left")]))];
    let cloud = residue(&operation(OperationState::Succeeded), &record).cloud.unwrap();
    let seen: Vec<_> = cloud.objects.iter().map(|object| (object.id.as_str(), object.fate)).collect();
    assert_eq!(seen, [("vol-0", Fate::Deleted), ("vol-1", Fate::Deleted)]);
    assert_eq!((cloud.tally.deleted, cloud.tally.left), (2, 0));
}
