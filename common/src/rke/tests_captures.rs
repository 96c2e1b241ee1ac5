//! Every recorded scenario of the real `rke` against the verdict that it must get.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::cause;
use super::classify::{Case, Judgement, judge};
use super::evidence::Evidence;
use super::lines::LineReader;
use super::phases::PhaseTracker;
use super::state::{StateFacts, StateNode};
use crate::domain::failure::{Failure, FailureClass as Class};
use crate::domain::run::ExitStatus;
use crate::domain::task::TaskKind;

struct Capture {
    command: String,
    exit: Option<ExitStatus>,
    output: Vec<u8>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/captures")
}

fn read(name: &str) -> Capture {
    let text = |file: &str| fs::read_to_string(root().join(name).join(file)).unwrap_or_default();
    let command = text("cmd").lines().next().unwrap_or_default().to_owned();
    let exit = text("exit");
    let words: Vec<&str> = exit.split_whitespace().collect();
    let exit = match words.as_slice() {
        ["killed", "by", "signal", signal, ..] => Some(ExitStatus::Signal(signal.parse().unwrap())),
        [code] => Some(ExitStatus::Code(code.parse().unwrap())),
        _ => None,
    };
    let mut output = fs::read(root().join(name).join("stdout")).unwrap_or_default();
    output.extend(fs::read(root().join(name).join("stderr")).unwrap_or_default());
    Capture { command, exit, output }
}

fn watch(kind: TaskKind, output: &[u8], chunk: usize) -> (Evidence, Vec<u32>) {
    let (mut reader, mut evidence, mut tracker) = (LineReader::new(), Evidence::new(kind), PhaseTracker::new(kind));
    let mut steps = Vec::new();
    for chunk in output.chunks(chunk) {
        reader.feed(chunk, |line| {
            evidence.observe(line);
            steps.extend(tracker.observe(line).map(|p| p.step));
        });
    }
    reader.finish(|line| evidence.observe(line));
    (evidence, steps)
}

/// What a scenario must come to.
enum Expect {
    /// Asked for and done; with words that its only warning has.
    Done(Option<&'static str>),
    /// Asked for and not done: class, whether a retry can help, words of the line that shows it.
    Fails(Class, bool, &'static str),
    /// Another command that went well; there is nothing to judge.
    Other,
    /// Another command that failed; its cause is found in the same way.
    OtherFails(Class, bool, &'static str),
}

struct Row {
    name: &'static str,
    /// Last numbers of the addresses that were asked for.
    hosts: &'static [u8],
    expect: Expect,
}

const fn done(name: &'static str, hosts: &'static [u8]) -> Row {
    Row { name, hosts, expect: Expect::Done(None) }
}

const fn warned(name: &'static str, hosts: &'static [u8], words: &'static str) -> Row {
    Row { name, hosts, expect: Expect::Done(Some(words)) }
}

const fn fails(name: &'static str, hosts: &'static [u8], class: Class, retryable: bool, words: &'static str) -> Row {
    Row { name, hosts, expect: Expect::Fails(class, retryable, words) }
}

const fn other(name: &'static str) -> Row {
    Row { name, hosts: &[], expect: Expect::Other }
}

const fn other_fails(name: &'static str, class: Class, retryable: bool, words: &'static str) -> Row {
    Row { name, hosts: &[], expect: Expect::OtherFails(class, retryable, words) }
}

/// Scenarios of clusters that had a CA, and lost their state before the run.
const HAD_ANOTHER_CA: &[&str] = &[
    "07e-up-after-truncated-state",
    "07f-up-with-empty-state",
    "B15a-up-with-TRUNCATED-state-live-cluster",
    "B26-cert-rotate-ca",
];

#[rustfmt::skip]
const TABLE: &[Row] = &[
    other("01-help-cert-generate-csr"),
    other("01-help-cert-rotate"),
    other("01-help-config"),
    other("01-help-encrypt-rotate-key"),
    other("01-help-etcd"),
    other("01-help-etcd-snapshot-restore"),
    other("01-help-etcd-snapshot-save"),
    other("01-help-remove"),
    other("01-help-root"),
    other("01-help-up"),
    other("01-help-util-get-kubeconfig"),
    other("01-help-util-get-state-file"),
    other("01-help-version"),
    other("01a-version"),
    fails("02a-up-ssh-connection-refused", &[], Class::Unreachable, true, "tunneling for host [127.0.0.2]: Can't retrieve Docker Info: Cannot connect to the Docker daemon"),
    fails("02b-up-wrong-ssh-key", &[], Class::Auth, false, "unable to authenticate"),
    fails("02b2-up-second-after-unreachable", &[], Class::Unreachable, true, "Cannot connect to the Docker daemon"),
    fails("02c-up-unknown-user", &[], Class::Auth, false, "unable to authenticate"),
    fails("02d-up-no-docker-permission", &[], Class::Docker, false, "connect failed (open failed)"),
    fails("02e-up-missing-key-file", &[], Class::Auth, false, "Error while reading SSH key file"),
    fails("02f-up-encrypted-key", &[], Class::Auth, false, "passphrase protected"),
    fails("02g-up-garbage-key", &[], Class::Auth, false, "no key found"),
    fails("02i-up-invalid-yaml", &[], Class::Config, false, "Failed to parse cluster file"),
    fails("02j-up-unknown-key", &[], Class::Image, true, "Failed to pull image"),
    fails("02k-up-no-etcd-role", &[], Class::Config, false, "please specify one or more etcd"),
    fails("02l-up-bad-k8s-version", &[], Class::Config, false, "v9.9.9 is an unsupported Kubernetes version"),
    fails("02l2-up-k8s-version-too-old", &[], Class::Image, true, "Failed to pull image"),
    fails("02m-up-config-missing", &[], Class::Volume, false, "Failed to resolve cluster file"),
    fails("02n-up-empty-file", &[], Class::Config, false, "please specify one or more etcd"),
    fails("02o-up-bad-hostname", &[], Class::Config, false, "Hostname_override [node_1!]"),
    fails("02p-up-bad-network-plugin", &[], Class::Config, false, "Network plugin [bogus]"),
    fails("02q-up-bad-role", &[], Class::Config, false, "role master"),
    fails("02r-up-no-controlplane", &[], Class::Image, true, "Failed to pull image"),
    fails("02s-up-unknown-flag", &[], Class::Internal, false, "flag provided but not defined"),
    other_fails("02t-unknown-command", Class::Internal, false, "No help topic"),
    fails("02u-up-wrong-type", &[], Class::Config, false, "cannot unmarshal !!str `etcd`"),
    fails("02v-up-duplicate-node", &[], Class::Config, false, "duplicate node: 127.0.0.2"),
    fails("02w-up-docker-unsupported", &[], Class::Docker, false, "Unsupported Docker version"),
    fails("02x-up-docker-unsupported-yaml-ignore-true", &[], Class::Docker, false, "Unsupported Docker version"),
    fails("02y-up-docker-unsupported-flag-ignore", &[], Class::Image, true, "Failed to pull image"),
    fails("02z-up-blackholed-host", &[], Class::Unreachable, true, "connection timed out"),
    fails("02zz-up-ed25519-key-vs-openssh92-default", &[], Class::Image, true, "Failed to pull image"),
    fails("02zz-up-rsa-key-vs-openssh92-default", &[], Class::Auth, false, "unable to authenticate"),
    fails("03a-up-registry-unreachable", &[], Class::Image, true, "Failed to pull image"),
    fails("03b-up-registry-unreachable-tty", &[], Class::Image, true, "Failed to pull image"),
    fails("03c-up-registry-unreachable-quiet", &[], Class::Internal, true, ""),
    fails("03d-up-config-elsewhere", &[], Class::Image, true, "Failed to pull image"),
    fails("04a-remove-no-force-no-tty", &[], Class::Internal, false, "EOF"),
    fails("04b-remove-no-force-stdin-y", &[], Class::Image, true, "Failed to pull image"),
    fails("04c-remove-no-force-stdin-n", &[], Class::Internal, true, "[y/n]"),
    fails("04d-remove-force-no-state", &[], Class::Image, true, "Failed to pull image"),
    fails("04e-remove-force-unreachable", &[], Class::Unreachable, true, "tunneling for host [127.0.0.2]"),
    fails("04f-remove-force-unreachable-with-state", &[], Class::Unreachable, true, "tunneling for host [127.0.0.2]"),
    fails("04g-remove-force-with-state-no-images", &[], Class::Image, true, "Failed to pull image"),
    fails("04h-remove-force-blackholed", &[], Class::Unreachable, true, "connection timed out"),
    fails("05a-up-SIGHUP-during-certs", &[], Class::Interrupted, true, ""),
    fails("05a-up-SIGINT-during-certs", &[], Class::Interrupted, true, ""),
    fails("05a-up-SIGKILL-during-certs", &[], Class::Interrupted, true, ""),
    fails("05a-up-SIGTERM-during-certs", &[], Class::Interrupted, true, ""),
    fails("05b-up-SIGHUP-during-pull", &[], Class::Interrupted, true, ""),
    fails("05b-up-SIGINT-during-pull", &[], Class::Interrupted, true, ""),
    fails("05b-up-SIGKILL-during-pull", &[], Class::Interrupted, true, ""),
    fails("05b-up-SIGTERM-during-pull", &[], Class::Interrupted, true, ""),
    fails("05c-up-again-after-SIGHUP", &[], Class::Image, true, "Failed to pull image"),
    fails("05c-up-again-after-SIGINT", &[], Class::Image, true, "Failed to pull image"),
    fails("05c-up-again-after-SIGKILL", &[], Class::Image, true, "Failed to pull image"),
    fails("05c-up-again-after-SIGTERM", &[], Class::Image, true, "Failed to pull image"),
    fails("06a-two-ups-first", &[], Class::Image, true, "Failed to pull image"),
    fails("06b-two-ups-second", &[], Class::Image, true, "Failed to pull image"),
    other_fails("07a-strace-up", Class::Image, true, "Failed to pull image"),
    fails("07b-readonly-dir-nonroot", &[], Class::Volume, false, "permission denied"),
    fails("07c-full-disk-first-write", &[], Class::Volume, false, "no space left on device"),
    fails("07d-full-disk-rewrite", &[], Class::Volume, false, "no space left on device"),
    fails("07e-up-after-truncated-state", &[], Class::State, false, "Generating CA"),
    fails("07f-up-with-empty-state", &[], Class::State, false, "Generating CA"),
    fails("08b-up-debug", &[], Class::Image, true, "Failed to pull image"),
    fails("08d-secrets-inline", &[], Class::Image, true, "Failed to pull image"),
    fails("08d-secrets-inline-debug", &[], Class::Image, true, "Failed to pull image"),
    fails("08d-secrets-inline-trace", &[], Class::Image, true, "Failed to pull image"),
    fails("09a-util-get-state-file-no-cluster", &[], Class::State, false, "Unable to get ConfigMap"),
    other_fails("09b-version-no-cluster", Class::State, false, "Failed to create Kubernetes Client"),
    other_fails("09c-cert-rotate-no-state", Class::State, false, "can't find old certificates"),
    other_fails("09d-snapshot-save-no-state", Class::Image, true, "Failed to pull image"),
    other_fails("09e-snapshot-restore-no-state", Class::Image, true, "Error response from daemon"),
    fails("09f-up-init", &[], Class::State, false, "CA Certificate or Key is empty"),
    other("09g-config-list-version"),
    other("09h-config-system-images"),
    other_fails("09i-config-system-images-bad", Class::Config, false, "k8s version is not supported"),
    other_fails("09j-config-no-tty", Class::Internal, false, "EOF"),
    done("B01-up-single-node", &[11]),
    done("B02-up-second-idempotent", &[11]),
    fails("B03-up-add-worker-portcheck-fails", &[], Class::Network, true, "172.30.0.12:10250"),
    done("B04-up-add-worker", &[11, 12]),
    other("B05-rke-version"),
    done("B05-util-get-state-file", &[11]),
    other_fails("B06-etcd-snapshot-save-noname", Class::Config, false, "Creation period"),
    other_fails("B06a-etcd-snapshot-save-fails-without-retention", Class::Config, false, "Creation period"),
    other("B06b-etcd-snapshot-save"),
    done("B07-cert-rotate", &[11, 12]),
    other("B08-etcd-snapshot-restore"),
    other_fails("B08b-etcd-snapshot-restore-nonexistent", Class::Config, false, "stat /backup/nosuch"),
    done("B09-up-after-failed-restore", &[11, 12]),
    fails("B10a-up-worker-unreachable", &[], Class::Unreachable, true, "tunneling for host [172.30.0.12]"),
    fails("B10b-up-controlplane-unreachable", &[], Class::Unreachable, true, "tunneling for host [172.30.0.11]"),
    done("B11a-up-remove-worker-ORPHANED-after-earlier-unreachable-run", &[11]),
    done("B11b-up-readd-worker", &[11, 12]),
    done("B11c-up-remove-worker", &[11]),
    done("B12a-up-readd-worker", &[11, 12]),
    warned("B12b-up-remove-unreachable-worker", &[11], "host 172.30.0.12 left the cluster without being cleaned"),
    fails("B13a-SIGTERM-port-checks", &[], Class::Interrupted, true, ""),
    fails("B13b-SIGKILL-cert-deployer", &[], Class::Interrupted, true, ""),
    fails("B13c-SIGTERM-controlplane", &[], Class::Interrupted, true, ""),
    done("B13d-up-recovers", &[13]),
    done("B14a-two-ups-live-first", &[13]),
    fails("B14b-two-ups-live-second", &[], Class::Docker, true, "No such container"),
    fails("B14c-two-ups-fresh-first", &[], Class::Docker, true, "is already in use"),
    done("B14d-two-ups-fresh-second", &[12]),
    fails("B15a-up-with-TRUNCATED-state-live-cluster", &[], Class::State, false, "Generating CA"),
    done("B15b-up-after-restoring-good-state", &[13]),
    fails("B16a-up-state-file-missing-kubeconfig-present", &[], Class::State, false, "Failed to fetch cluster certs"),
    done("B16b-get-state-file-when-missing", &[13]),
    done("B16c-get-state-file-neither-present", &[13]),
    other("B16d-util-get-kubeconfig"),
    done("B16e-up-after-state-recovered", &[13]),
    done("B17a-up-change-apiserver-arg", &[13]),
    fails("B17b-up-bad-apiserver-arg", &[], Class::ControlPlane, false, "unknown flag: --no-such-flag"),
    done("B17c-up-recovers-after-bad-arg", &[13]),
    warned("B18a-up-addon-TIMEOUT", &[13], "add-on rke-user-includes-addons was not deployed"),
    warned("B18b-up-addon-bad", &[13], "add-on rke-user-includes-addons was not deployed"),
    done("B18c-up-addon-good", &[13]),
    done("B19a-remove-force-single", &[12]),
    done("B19b-remove-force-again", &[12]),
    done("B20-up-default-addons-images-missing", &[12]),
    done("B21a-remove-force-b3", &[13]),
    done("B21b-up-add-worker3", &[11, 13]),
    fails("B21c-remove-force-worker-unreachable", &[11, 13], Class::Unreachable, true, "tunneling for host [172.30.0.13]"),
    done("B22a-remove-b2", &[12]),
    fails("B22b-up-onto-orphaned-node-fails", &[], Class::ControlPlane, false, "certificate signed by unknown authority"),
    done("B22c-up-3-node-ha", &[11, 12, 13]),
    fails("B23a-up-ha-one-etcd-cp-down", &[], Class::Unreachable, true, "tunneling for host [172.30.0.13]"),
    done("B23b-up-ha-remove-etcd-member", &[11, 12]),
    other_fails("B24-snapshot-save-s3-unreachable", Class::Config, false, "failed to set s3 server"),
    fails("B25a-SIGKILL-mid-container-replace", &[], Class::Interrupted, true, ""),
    done("B25b-up-recovers", &[11, 12]),
    done("B26-cert-rotate-ca", &[11, 12]),
    done("B27-remove-force-final", &[11, 12]),
    fails("B28a-FIRST-up-worker-unreachable", &[11, 12], Class::Unreachable, true, "tunneling for host [172.30.0.12]"),
    fails("B28b-second-up-worker-still-unreachable", &[], Class::Unreachable, true, "tunneling for host [172.30.0.12]"),
    done("B28c-third-up-worker-back", &[11, 12]),
    done("B29-remove-force-two-nodes", &[11, 12]),
];

fn kind_of(command: &str) -> TaskKind {
    match command {
        removal if removal.contains("rke remove") => TaskKind::Remove,
        recovery if recovery.contains("get-state-file") => TaskKind::RecoverState,
        rotation if rotation.contains("cert rotate") => TaskKind::RotateCertificates,
        _ => TaskKind::Provision,
    }
}

/// The verdict with a state as RKE leaves it: it has the hosts that were not skipped.
fn verdict(row: &Row, capture: &Capture, evidence: &Evidence) -> Judgement {
    let wanted: Vec<String> = row.hosts.iter().map(|n| format!("172.30.0.{n}")).collect();
    let built = wanted.iter().filter(|host| !evidence.skipped.contains(*host));
    let node = |host: &String| StateNode { address: host.clone(), hostname: None, roles: Vec::new() };
    let state = StateFacts {
        ca_sha256: "new".into(),
        current_ca_sha256: None,
        has_current: true,
        nodes: built.map(node).collect(),
        desired_nodes: Vec::new(),
        kubernetes_version: None,
    };
    judge(&Case {
        kind: kind_of(&capture.command),
        exit: capture.exit,
        evidence,
        wanted_hosts: &wanted.iter().map(String::as_str).collect::<Vec<_>>(),
        left_hosts: &[],
        state: Some(&state),
        ca_before: Some(if HAD_ANOTHER_CA.contains(&row.name) { "old" } else { "new" }),
        new_ca_wanted: capture.command.contains("--rotate-ca"),
        stopped: None,
    })
}

fn check_failure(name: &str, failure: &Failure, class: Class, retryable: bool, words: &str) {
    assert_eq!((failure.class, failure.retryable), (class, retryable), "{name}: {failure:?}");
    assert!(failure.line.as_deref().unwrap_or_default().contains(words), "{name}: {failure:?}");
    assert!(failure.message.len() > 15 && failure.remedy.ends_with('.'), "{name}: {failure:?}");
}

fn check(row: &Row, capture: &Capture) {
    let name = row.name;
    let evidence = watch(kind_of(&capture.command), &capture.output, 4096).0;
    match row.expect {
        Expect::Done(words) => {
            let judgement = verdict(row, capture, &evidence);
            assert_eq!(judgement.outcome, Ok(()), "{name}");
            assert_eq!(judgement.warnings.len(), usize::from(words.is_some()), "{name}: {judgement:?}");
            assert!(judgement.warnings.iter().all(|w| w.contains(words.unwrap_or_default())), "{name}: {judgement:?}");
        }
        Expect::Fails(class, retryable, words) => {
            let failure = verdict(row, capture, &evidence).outcome.unwrap_err();
            check_failure(name, &failure, class, retryable, words);
        }
        Expect::Other => assert_eq!(capture.exit, Some(ExitStatus::Code(0)), "{name}"),
        Expect::OtherFails(class, retryable, words) => {
            assert_ne!(capture.exit, Some(ExitStatus::Code(0)), "{name}");
            check_failure(name, &cause::of(&evidence), class, retryable, words);
        }
    }
}

fn recorded() -> BTreeSet<String> {
    fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_recorded_scenario_is_in_the_table_and_gets_its_verdict() {
    let listed: BTreeSet<String> = TABLE.iter().map(|row| row.name.to_owned()).collect();
    assert_eq!(listed, recorded());
    assert_eq!(listed.len(), TABLE.len(), "a scenario is listed twice");
    for row in TABLE {
        check(row, &read(row.name));
    }
}

/// What a change of a cluster of hosts 11 and 12 to host 11 alone comes to.
fn without_host_12(name: &str) -> Judgement {
    let capture = read(name);
    let evidence = watch(TaskKind::Reconfigure, &capture.output, 4096).0;
    let node = StateNode { address: "172.30.0.11".into(), hostname: None, roles: Vec::new() };
    let state = StateFacts {
        ca_sha256: "ca".into(),
        current_ca_sha256: None,
        has_current: true,
        nodes: vec![node],
        desired_nodes: Vec::new(),
        kubernetes_version: None,
    };
    judge(&Case {
        kind: TaskKind::Reconfigure,
        exit: capture.exit,
        evidence: &evidence,
        wanted_hosts: &["172.30.0.11"],
        left_hosts: &["172.30.0.12"],
        state: Some(&state),
        ca_before: Some("ca"),
        new_ca_wanted: false,
        stopped: None,
    })
}

#[test]
fn hostile_row_69_a_host_that_left_is_believed_to_be_gone_only_when_rke_cleaned_it() {
    let cleaned = without_host_12("B11c-up-remove-worker");
    assert_eq!((cleaned.outcome, cleaned.warnings.len()), (Ok(()), 0));
    let unreachable = without_host_12("B12b-up-remove-unreachable-worker");
    assert_eq!(unreachable.outcome, Ok(()));
    assert!(unreachable.warnings[0].contains("172.30.0.12 left the cluster without being cleaned"));
    let orphaned = without_host_12("B11a-up-remove-worker-ORPHANED-after-earlier-unreachable-run");
    let failure = orphaned.outcome.unwrap_err();
    assert_eq!((failure.class, failure.line), (Class::State, None));
    assert!(failure.message.starts_with("host 172.30.0.12 left the description"), "{}", failure.message);
}

#[test]
fn a_host_counts_as_wiped_from_the_line_before_its_cleaner_is_started_and_not_where_there_is_no_image_for_it() {
    for (name, wiped) in [
        ("04d-remove-force-no-state", &[][..]),
        ("04g-remove-force-with-state-no-images", &[]),
        ("B19a-remove-force-single", &["172.30.0.12"]),
        ("B21c-remove-force-worker-unreachable", &["172.30.0.11"]),
    ] {
        let output = read(name).output;
        let started = b"[kube-cleaner] Successfully started";
        let end = output.windows(started.len()).position(|found| found == started).unwrap_or(output.len());
        let (evidence, _) = watch(TaskKind::Remove, &output[..end], 4096);
        assert_eq!(Vec::from_iter(&evidence.wiped), wiped, "{name}");
    }
}

#[test]
fn the_verdict_does_not_depend_on_how_the_output_is_cut() {
    for name in [
        "02b-up-wrong-ssh-key",
        "04a-remove-no-force-no-tty",
        "B28a-FIRST-up-worker-unreachable",
        "03b-up-registry-unreachable-tty",
    ] {
        let capture = read(name);
        let kind = kind_of(&capture.command);
        let whole = watch(kind, &capture.output, usize::MAX);
        for chunk in [1, 7, 64, 1_000] {
            let cut = watch(kind, &capture.output, chunk);
            assert_eq!(format!("{:?}", cut.0), format!("{:?}", whole.0), "{name} cut at {chunk}");
            assert_eq!(cut.1, whole.1, "{name} cut at {chunk}");
        }
    }
}

#[test]
fn phases_only_go_forward_and_a_run_that_finished_reached_the_last() {
    for row in TABLE {
        let capture = read(row.name);
        let (evidence, steps) = watch(kind_of(&capture.command), &capture.output, 4096);
        assert!(steps.is_sorted_by(|a, b| a < b), "{}: {steps:?}", row.name);
        let steps_of_kind = match kind_of(&capture.command) {
            TaskKind::Provision | TaskKind::Reconfigure => 15,
            TaskKind::Remove => 7,
            TaskKind::RecoverState => 4,
            TaskKind::RotateCertificates => 9,
            other => panic!("{other} is not recorded"),
        };
        assert_eq!(steps.last() == Some(&steps_of_kind), evidence.finished, "{}: {steps:?}", row.name);
    }
}
