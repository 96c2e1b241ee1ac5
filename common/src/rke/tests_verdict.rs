//! Verdicts that no recording shows: what was stopped, what the state contradicts, the alarm.

use super::classify::{Case, Judgement, Stop, judge};
use super::evidence::Evidence;
use super::lines::LineReader;
use super::state::{StateFacts, StateNode};
use crate::domain::failure::{Failure, FailureClass as Class};
use crate::domain::run::{ExitStatus, ReachedLimit, TimeLimit};
use crate::domain::task::TaskKind;

const FINISHED: &str = "info|Finished building Kubernetes cluster successfully";
const REMOVED: &str = "info|Cluster removed successfully";
const NEW_CA: &str = "info|[certificates] Generating CA kubernetes certificates";

fn evidence(kind: TaskKind, events: &[&str]) -> Evidence {
    let (mut reader, mut evidence) = (LineReader::new(), Evidence::new(kind));
    for event in events {
        let line = match event.split_once('|') {
            Some((level, message)) => format!("time=\"2026-11-23T17:00:29Z\" level={level} msg={message:?}\n"),
            None => format!("{event}\n"),
        };
        reader.feed(line.as_bytes(), |line| evidence.observe(line));
    }
    evidence
}

/// Lives as long as the test: a case borrows it.
fn state(ca: &str, hosts: &[&str]) -> &'static StateFacts {
    let node = |host: &&str| StateNode { address: (*host).to_owned(), hostname: None, roles: Vec::new() };
    Box::leak(Box::new(StateFacts {
        ca_sha256: ca.into(),
        current_ca_sha256: None,
        has_current: true,
        nodes: hosts.iter().map(node).collect(),
        desired_nodes: Vec::new(),
        kubernetes_version: None,
    }))
}

/// A run for hosts a and b that went well; tests change what they are about.
fn judged(kind: TaskKind, events: &[&str], change: impl FnOnce(&mut Case<'_>)) -> Judgement {
    let evidence = evidence(kind, events);
    let state = state("ca", &["a", "b"]);
    let mut case = Case {
        kind,
        exit: Some(ExitStatus::Code(0)),
        evidence: &evidence,
        wanted_hosts: &["a", "b"],
        left_hosts: &[],
        state: Some(state),
        ca_before: Some("ca"),
        new_ca_wanted: false,
        stopped: None,
    };
    change(&mut case);
    judge(&case)
}

fn failure(judgement: Judgement) -> Failure {
    judgement.outcome.unwrap_err()
}

#[test]
fn hostile_row_69_exit_0_alone_is_not_success() {
    let good = judged(TaskKind::Provision, &[FINISHED], |_| {});
    assert_eq!((good.outcome, good.warnings.len()), (Ok(()), 0));
    assert_eq!(failure(judged(TaskKind::Provision, &[], |_| {})).class, Class::Internal);
    // Another task's words do not count, nor do words that are no event of RKE's.
    assert_eq!(failure(judged(TaskKind::Provision, &[REMOVED], |_| {})).class, Class::Internal);
    let raw = "Finished building Kubernetes cluster successfully";
    assert_eq!(failure(judged(TaskKind::Provision, &[raw], |_| {})).class, Class::Internal);
    assert_eq!(failure(judged(TaskKind::Provision, &[FINISHED], |case| case.state = None)).class, Class::State);
}

#[test]
fn hostile_row_69_a_wanted_host_that_the_state_does_not_have_fails_the_run_by_name() {
    let partial = state("ca", &["a"]);
    let missing = failure(judged(TaskKind::Provision, &[FINISHED], |case| case.state = Some(partial)));
    assert_eq!((missing.class, missing.retryable), (Class::Unreachable, true));
    assert!(missing.message.contains("host b did not become part of the cluster"), "{}", missing.message);
}

#[test]
fn hostile_row_69_a_removal_names_the_hosts_that_left_before_it_and_were_never_cleaned() {
    let cleaned =
        ["info|[hosts] Successfully cleaned up host [a]", "info|[hosts] Successfully cleaned up host [b]", REMOVED];
    let judgement = judged(TaskKind::Remove, &cleaned, |case| case.left_hosts = &["c"]);
    assert_eq!(judgement.outcome, Ok(()));
    assert!(judgement.warnings[0].contains("host c left the description"), "{judgement:?}");
}

#[test]
fn a_missing_host_has_the_class_of_its_own_reason() {
    for (reason, class, retryable) in [
        ("ssh: unable to authenticate, attempted methods [none publickey]", Class::Auth, false),
        ("Error: ssh: rejected: connect failed (open failed)", Class::Docker, false),
        ("dial tcp: lookup b: no such host", Class::Unreachable, true),
        ("something new", Class::Unreachable, true),
    ] {
        let tunnel = format!("warning|Failed to set up SSH tunneling for host [b]: {reason}");
        let events = [&tunnel, "warning|Removing host [b] from node lists", FINISHED];
        let failure = failure(judged(TaskKind::Provision, &events, |_| {}));
        assert_eq!((failure.class, failure.retryable), (class, retryable), "{reason}");
        assert!(failure.line.unwrap().contains(reason));
    }
}

#[test]
fn hostile_row_60_a_ca_that_changed_is_an_alarm_whatever_else_happened() {
    let other = state("another", &["a", "b"]);
    let ends = [Some(ExitStatus::Code(0)), Some(ExitStatus::Code(1)), Some(ExitStatus::Signal(9)), None];
    for exit in ends {
        for stopped in [None, Some(Stop::Cancelled), Some(Stop::HostLost)] {
            let failure = failure(judged(TaskKind::Provision, &[NEW_CA, FINISHED], |case| {
                (case.exit, case.stopped, case.state) = (exit, stopped, Some(other));
            }));
            assert_eq!((failure.class, failure.retryable), (Class::State, false));
            assert!(failure.message.starts_with("ALARM"), "{}", failure.message);
        }
    }
    let torn = judged(TaskKind::Provision, &[NEW_CA], |case| (case.exit, case.state) = (None, None));
    assert!(failure(torn).message.contains("not whole"));
}

#[test]
fn a_new_cluster_makes_a_ca_and_that_is_no_alarm() {
    let judgement = judged(TaskKind::Provision, &[NEW_CA, FINISHED], |case| case.ca_before = None);
    assert_eq!(judgement.outcome, Ok(()));
}

#[test]
fn hostile_row_64_what_was_ended_from_outside_is_not_called_failed() {
    static LIMIT: ReachedLimit = ReachedLimit { limit: TimeLimit::Run, after_ms: 3_600_000, phase: None };
    for (exit, stopped, class) in [
        (Some(ExitStatus::Signal(15)), Some(Stop::Cancelled), Class::Cancelled),
        (Some(ExitStatus::Signal(9)), Some(Stop::TimedOut(&LIMIT)), Class::Timeout),
        (None, Some(Stop::HostLost), Class::Interrupted),
        (Some(ExitStatus::Signal(9)), None, Class::Interrupted),
        (None, None, Class::Interrupted),
    ] {
        let failure = failure(judged(TaskKind::Provision, &[], |case| (case.exit, case.stopped) = (exit, stopped)));
        assert_eq!(failure.class, class, "{exit:?} {stopped:?}");
        assert_eq!(failure.retryable, class != Class::Cancelled);
    }
    // It had ended well before the signal could reach it.
    assert_eq!(judged(TaskKind::Provision, &[FINISHED], |case| case.stopped = Some(Stop::Cancelled)).outcome, Ok(()));
    // An exit that was lost is no success, even if the output looks like one.
    assert!(judged(TaskKind::Provision, &[FINISHED], |case| case.exit = None).outcome.is_err());
}

#[test]
fn without_network_or_dns_there_is_no_success_without_the_other_add_ons_there_is_a_warning() {
    let why = "Failed to get job complete status";
    for (event, core) in [
        (format!("warning|Failed to deploy addon execute job [rke-network-plugin]: {why}"), true),
        (format!("warning|Failed to deploy DNS addon execute job for provider coredns: {why}"), true),
        (format!("warning|Failed to deploy addon execute job [rke-metrics-addon]: {why}"), false),
        (format!("warning|Failed to deploy addon execute job [rke-ingress-controller]: {why}"), false),
    ] {
        let judgement = judged(TaskKind::Provision, &[&event, FINISHED], |_| {});
        assert_eq!(judgement.warnings.len(), usize::from(!core), "{event}");
        match judgement.outcome {
            Ok(()) => assert!(!core, "{event}"),
            Err(failure) => assert!(core && failure.class == Class::Addon && failure.retryable, "{event}"),
        }
    }
    let critical = format!("fatal|{why} for job rke-network-plugin-deploy-job in namespace kube-system");
    let failed = judged(TaskKind::Provision, &[&critical], |case| case.exit = Some(ExitStatus::Code(1)));
    assert_eq!(failure(failed).class, Class::Addon);
}

#[test]
fn a_host_counts_as_wiped_as_soon_as_its_cleaner_is_being_started_whatever_came_of_it() {
    let events = [
        "info|[hosts] Cleaning up host [a]",
        "info|[hosts] Running cleaner container on host [a]",
        "info|Starting container [kube-cleaner] on host [b], try #1",
        "info|Starting container [rke-log-cleaner] on host [c], try #1",
        "warning|[kube-cleaner] Can't pull Docker image [rancher/rke-tools:v0.1.80] on host [d]: no route",
    ];
    let evidence = evidence(TaskKind::Remove, &events);
    assert_eq!((evidence.wiped, evidence.cleaned), (["b".to_owned()].into(), [].into()));
}

#[test]
fn a_removal_is_believed_only_when_every_host_was_cleaned() {
    let (a, b) = ("info|[hosts] Successfully cleaned up host [a]", "info|[hosts] Successfully cleaned up host [b]");
    assert_eq!(judged(TaskKind::Remove, &[a, b, REMOVED], |_| {}).outcome, Ok(()));
    assert_eq!(judged(TaskKind::Remove, &[a, b, REMOVED], |case| case.state = None).outcome, Ok(()));
    let left = failure(judged(TaskKind::Remove, &[a, REMOVED], |_| {}));
    assert!(left.class == Class::Unreachable && left.message.contains("host b"), "{left:?}");
    let skipped = "warning|Removing host [b] from node lists";
    assert!(judged(TaskKind::Remove, &[skipped, a, b, REMOVED], |_| {}).outcome.is_err());
}

#[test]
fn a_rehearsal_is_never_silent() {
    let event = "warning|REHEARSAL: this is not rke, no cluster was built";
    let warnings = judged(TaskKind::Provision, &[event, FINISHED], |_| {}).warnings;
    assert_eq!(warnings, ["REHEARSAL: this is not rke, no cluster was built"]);
}

#[test]
fn planes_and_crashes_have_their_class() {
    for (event, class) in [
        ("fatal|[workerPlane] Failed to bring up Worker Plane: [Failed to verify healthcheck: kubelet]", Class::Worker),
        ("fatal|[workerPlane] Failed to upgrade Worker Plane: [x]", Class::Worker),
        ("fatal|[etcd] Failed to bring up Etcd Plane: etcd cluster is unhealthy", Class::Etcd),
        ("fatal|[controlPlane] Failed to bring up Control Plane: [x]", Class::ControlPlane),
        ("fatal|[Failed to pull image [r/x:1] on host [a]: manifest unknown]", Class::Image),
        ("panic: runtime error: invalid memory address or nil pointer dereference", Class::Internal),
        ("fatal|words that nobody foresaw", Class::Internal),
    ] {
        let failure = failure(judged(TaskKind::Provision, &[event], |case| case.exit = Some(ExitStatus::Code(1))));
        assert_eq!(failure.class, class, "{event}");
        assert!(event.ends_with(failure.line.as_deref().unwrap()), "{failure:?}");
    }
}

#[test]
fn hostile_row_71_evidence_stays_bounded() {
    let mut evidence = Evidence::new(TaskKind::Provision);
    let mut reader = LineReader::new();
    let long = "x".repeat(10_000);
    for i in 0..5_000 {
        let text = format!(
            "time=\"t\" level=warning msg=\"Failed to set up SSH tunneling for host [h{i}]: {long}\"\n\
             time=\"t\" level=warning msg=\"Removing host [h{i}] from node lists\"\n\
             time=\"t\" level=warning msg=\"Failed to deploy addon execute job [a{i}]: {long}\"\n{long}\n"
        );
        reader.feed(text.as_bytes(), |line| evidence.observe(line));
    }
    assert_eq!((evidence.tunnels.len(), evidence.skipped.len()), (1_000, 1_000));
    assert!(evidence.overflowed && evidence.addons.len() <= 64);
    assert!(evidence.tunnels.values().all(|line| line.len() < 3_000));
    assert!(evidence.last_raw.unwrap().len() <= 3_000);
}

#[test]
fn hostile_row_58_state_that_a_cluster_gave_back_is_believed_only_when_whole_built_and_of_the_ca_on_record() {
    const BACK: &str = "info|Successfully Deployed state file at [./cluster.rkestate]";
    let recover = |change: &dyn Fn(&mut Case<'_>)| judged(TaskKind::RecoverState, &[BACK], |case| change(case)).outcome;
    assert_eq!(recover(&|_| {}), Ok(()));
    let unbelieved = [
        failure(judged(TaskKind::RecoverState, &[BACK], |case| case.state = None)),
        failure(judged(TaskKind::RecoverState, &[BACK], |case| case.ca_before = None)),
        failure(judged(TaskKind::RecoverState, &[BACK], |case| case.ca_before = Some("another"))),
    ];
    for failure in unbelieved {
        assert_eq!(failure.class, Class::State);
        assert!(!failure.message.contains("ALARM") && failure.remedy.starts_with("Nothing was changed"));
    }
    assert!(judged(TaskKind::RecoverState, &[], |_| {}).outcome.is_err(), "it must say that it has it");
}

#[test]
fn a_rotation_is_believed_when_every_host_has_it_and_the_ca_is_the_one_that_was_asked_for() {
    const ROTATED: &str = "info|[worker] Successfully restarted Worker Plane..";
    let rotated = |events: &[&str], wanted: bool, ca: &str| {
        let state = state(ca, &["a", "b"]);
        judged(TaskKind::RotateCertificates, events, |case| (case.new_ca_wanted, case.state) = (wanted, Some(state)))
    };
    assert_eq!(rotated(&[ROTATED], false, "ca").outcome, Ok(()));
    assert_eq!(rotated(&[ROTATED], true, "new").outcome, Ok(()));
    let unasked = failure(rotated(&[ROTATED], false, "new"));
    assert!(unasked.class == Class::State && unasked.message.starts_with("ALARM"), "{unasked:?}");
    let kept = failure(rotated(&[ROTATED], true, "ca"));
    assert!(kept.message.contains("still carries the one from before"), "{kept:?}");
    let early = failure(rotated(&[], false, "ca"));
    assert!(early.message.contains("did not say that it finished"), "{early:?}");
}
