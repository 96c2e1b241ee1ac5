//! Recordings of the real rke that are compiled in: failures to replay, and help texts.
//!
//! Compiled in, so that the binary works anywhere. Only the text is used here; comparing whole
//! runs with recordings is for the tests.

use super::catalogue::{RECORDED_VERSION, VERSION};
use super::console::{self, Level};
use super::fault::After;

/// A recorded failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capture {
    pub(crate) name: &'static str,
    pub(crate) exit: u8,
    stdout: &'static str,
}

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Event(Level, String),
    Raw(String),
}

macro_rules! failures {
    ($($name:literal),* $(,)?) => {
        &[$(Capture {
            name: $name,
            exit: 1,
            stdout: include_str!(concat!("../../captures/", $name, "/stdout")),
        }),*]
    };
}

/// Every recorded failure that a `fail` fault can name.
const FAILURES: &[Capture] = failures![
    "02a-up-ssh-connection-refused",
    "02b-up-wrong-ssh-key",
    "02b2-up-second-after-unreachable",
    "02c-up-unknown-user",
    "02d-up-no-docker-permission",
    "02e-up-missing-key-file",
    "02f-up-encrypted-key",
    "02g-up-garbage-key",
    "02i-up-invalid-yaml",
    "02j-up-unknown-key",
    "02k-up-no-etcd-role",
    "02l-up-bad-k8s-version",
    "02l2-up-k8s-version-too-old",
    "02m-up-config-missing",
    "02n-up-empty-file",
    "02o-up-bad-hostname",
    "02p-up-bad-network-plugin",
    "02q-up-bad-role",
    "02r-up-no-controlplane",
    "02s-up-unknown-flag",
    "02u-up-wrong-type",
    "02v-up-duplicate-node",
    "02w-up-docker-unsupported",
    "02x-up-docker-unsupported-yaml-ignore-true",
    "02y-up-docker-unsupported-flag-ignore",
    "02z-up-blackholed-host",
    "02zz-up-ed25519-key-vs-openssh92-default",
    "02zz-up-rsa-key-vs-openssh92-default",
    "03a-up-registry-unreachable",
    "03d-up-config-elsewhere",
    "04a-remove-no-force-no-tty",
    "04b-remove-no-force-stdin-y",
    "04d-remove-force-no-state",
    "04e-remove-force-unreachable",
    "04f-remove-force-unreachable-with-state",
    "04g-remove-force-with-state-no-images",
    "04h-remove-force-blackholed",
    "05c-up-again-after-SIGHUP",
    "05c-up-again-after-SIGINT",
    "05c-up-again-after-SIGKILL",
    "05c-up-again-after-SIGTERM",
    "06a-two-ups-first",
    "06b-two-ups-second",
    "07b-readonly-dir-nonroot",
    "07c-full-disk-first-write",
    "07d-full-disk-rewrite",
    "07e-up-after-truncated-state",
    "07f-up-with-empty-state",
    "09a-util-get-state-file-no-cluster",
    "09b-version-no-cluster",
    "09c-cert-rotate-no-state",
    "09d-snapshot-save-no-state",
    "09e-snapshot-restore-no-state",
    "09f-up-init",
    "09i-config-system-images-bad",
    "09j-config-no-tty",
    "B03-up-add-worker-portcheck-fails",
    "B06-etcd-snapshot-save-noname",
    "B06a-etcd-snapshot-save-fails-without-retention",
    "B08b-etcd-snapshot-restore-nonexistent",
    "B10a-up-worker-unreachable",
    "B10b-up-controlplane-unreachable",
    "B14b-two-ups-live-second",
    "B14c-two-ups-fresh-first",
    "B15a-up-with-TRUNCATED-state-live-cluster",
    "B16a-up-state-file-missing-kubeconfig-present",
    "B17b-up-bad-apiserver-arg",
    "B22b-up-onto-orphaned-node-fails",
    "B23a-up-ha-one-etcd-cp-down",
    "B24-snapshot-save-s3-unreachable",
    "B28b-second-up-worker-still-unreachable",
];

/// Places that all runs of a command share, deepest first.
const MILESTONES: [&str; 8] = [
    "Building Kubernetes cluster",
    "[worker] Tearing down Worker Plane..",
    "Tearing down Kubernetes cluster",
    "Rotating Kubernetes cluster certificates",
    "Starting saving snapshot on etcd hosts",
    "Retrieving state file from cluster",
    "Initiating Kubernetes cluster",
    "Running RKE version",
];

/// The recorded failure of this name.
pub(crate) fn find(name: &str) -> Option<&'static Capture> {
    FAILURES.iter().find(|capture| capture.name == name)
}

/// Names of all recorded failures.
#[must_use]
pub fn names() -> Vec<&'static str> {
    FAILURES.iter().map(|capture| capture.name).collect()
}

/// Where a run should leave its own way and follow this recording.
pub(crate) fn departure(scenario: &str) -> After {
    let stdout = find(scenario).map_or("", |capture| capture.stdout);
    let milestone = MILESTONES.iter().find(|milestone| stdout.contains(*milestone)).unwrap_or(&"REHEARSAL");
    After::Text((*milestone).to_owned())
}

/// The lines of a recording after the one that carries `message` (all of them if none does),
/// with recorded hosts replaced by `addresses`.
pub(crate) fn tail(capture: &Capture, message: &str, addresses: &[String]) -> Vec<Line> {
    let mut recorded: Vec<&str> =
        capture.stdout.split("Setup tunnel for host [").skip(1).filter_map(|rest| rest.split(']').next()).collect();
    recorded.sort_unstable();
    recorded.dedup();
    let message = message.replace(VERSION, RECORDED_VERSION);
    let lines: Vec<Line> = capture.stdout.lines().map(parse).collect();
    let start = lines
        .iter()
        .position(|line| matches!(line, Line::Event(_, text) if *text == message))
        .map_or(0, |index| index + 1);
    lines[start..]
        .iter()
        .map(|line| match line {
            Line::Event(level, text) => Line::Event(*level, substitute(text, &recorded, addresses)),
            Line::Raw(text) => Line::Raw(substitute(text, &recorded, addresses)),
        })
        .collect()
}

fn parse(line: &str) -> Line {
    match console::parse_line(line) {
        Some((level, message)) => Line::Event(level, message),
        None => Line::Raw(line.to_owned()),
    }
}

fn substitute(text: &str, recorded: &[&str], addresses: &[String]) -> String {
    let mut text = text.replace(RECORDED_VERSION, VERSION);
    if addresses.is_empty() {
        return text;
    }
    for (index, old) in recorded.iter().enumerate() {
        let new = &addresses[index % addresses.len()];
        text = text.replace(old, new).replace(&old.replace('.', "-"), &new.replace('.', "-"));
    }
    text
}

macro_rules! help {
    ($name:literal) => {
        include_str!(concat!("../../captures/01-help-", $name, "/stdout"))
    };
}

/// The recorded help text of a command; the root's when there is none of its own.
pub(crate) fn help(command: &str) -> String {
    let text = match command {
        "up" => help!("up"),
        "remove" => help!("remove"),
        "version" => help!("version"),
        "config" => help!("config"),
        "etcd" => help!("etcd"),
        "etcd snapshot-save" => help!("etcd-snapshot-save"),
        "etcd snapshot-restore" => help!("etcd-snapshot-restore"),
        "cert rotate" => help!("cert-rotate"),
        "util get-state-file" => help!("util-get-state-file"),
        "util get-kubeconfig" => help!("util-get-kubeconfig"),
        _ => help!("root"),
    };
    text.replace(RECORDED_VERSION, VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_departs_at_its_deepest_milestone() {
        assert_eq!(departure("02l-up-bad-k8s-version"), After::from("Initiating Kubernetes cluster"));
        assert_eq!(departure("B03-up-add-worker-portcheck-fails"), After::from("Building Kubernetes cluster"));
    }

    #[test]
    fn recorded_hosts_give_way_to_the_real_ones() {
        let capture = find("B10b-up-controlplane-unreachable").unwrap();
        let addresses = ["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
        let lines = tail(capture, "Building Kubernetes cluster", &addresses);
        let Some(Line::Event(Level::Fatal, last)) = lines.last() else {
            panic!("no fatal line");
        };
        assert!(last.ends_with("failed to connect to the following etcd host(s) [10.0.0.1]"));
        assert!(!format!("{lines:?}").contains("172.30"));
    }
}
