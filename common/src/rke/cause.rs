//! Why a run failed, read from its output: the line that shows the cause, as a class with a remedy.
//!
//! RKE's last line often misleads: whatever keeps it from the hosts ends in `Cluster must have at
//! least one etcd plane host`. So hosts that could not be connected come first, then the table
//! below, from the particular to the general. What nobody foresaw is `internal`, with its line.
//!
//! It serves every command of `rke`, not only those that are tasks today.

use super::evidence::{Evidence, speaks_of_foreign_certificate};
use super::hosts;
use crate::domain::failure::{Failure, FailureClass as Class};

/// How RKE ends when hosts could not be connected.
const FOR_WANT_OF_HOSTS: &[&str] = &["Cluster must have at least one ", "cannot proceed with upgrade of "];

/// The failure that the output of a failed run shows.
#[must_use]
pub fn of(evidence: &Evidence) -> Failure {
    let Some(line) = evidence.fatal.as_ref().or(evidence.error.as_ref()) else {
        return unexplained(evidence);
    };
    let for_want_of_hosts = FOR_WANT_OF_HOSTS.iter().any(|mark| line.starts_with(mark));
    if for_want_of_hosts && let Some(failure) = hosts::unconnected(&evidence.tunnels) {
        return failure;
    }
    if let Some(failure) = leftovers(evidence, line) {
        return failure;
    }
    if let Some(rule) = RULES.iter().find(|rule| rule.marks.iter().all(|mark| line.contains(mark))) {
        return rule.failure(line);
    }
    let unknown = Rule {
        marks: &[],
        class: Class::Internal,
        retryable: true,
        message: "rke failed for a reason that this service does not know",
        remedy: "Retry once; if it fails the same way, read the line and the run's output, and ask an operator of the service.",
    };
    hosts::unconnected(&evidence.tunnels).unwrap_or_else(|| unknown.failure(line))
}

fn unexplained(evidence: &Evidence) -> Failure {
    if let Some(failure) = hosts::unconnected(&evidence.tunnels) {
        return failure;
    }
    let misused = evidence.last_raw.as_ref().filter(|line| line.starts_with("No help topic for"));
    Failure {
        class: Class::Internal,
        message: "rke failed without saying why".into(),
        line: evidence.last_raw.clone(),
        retryable: misused.is_none(),
        remedy: "Retry once; if it fails the same way, ask an operator of the service.".into(),
    }
}

/// etcd or the API server met certificates of another CA: something of another cluster, or of an
/// earlier life of this one, is still at work on a host.
fn leftovers(evidence: &Evidence, line: &str) -> Option<Failure> {
    let class = if line.contains("Failed to bring up Etcd Plane") {
        Class::Etcd
    } else if line.contains("Control Plane: ") {
        Class::ControlPlane
    } else {
        return None;
    };
    let own = speaks_of_foreign_certificate(line).then_some(line);
    let shown = own.or(evidence.foreign_certificate.as_deref())?;
    Some(Failure {
        class,
        message: "a host answers with the certificates of another CA: a cluster that was not removed from it still runs there".into(),
        line: Some(shown.into()),
        retryable: false,
        remedy: "Remove the other cluster from the hosts (its Kubernetes and etcd containers, /etc/kubernetes and /var/lib/etcd), or use clean hosts, then retry.".into(),
    })
}

/// What a line with all these marks means.
struct Rule {
    marks: &'static [&'static str],
    class: Class,
    retryable: bool,
    message: &'static str,
    remedy: &'static str,
}

impl Rule {
    fn failure(&self, line: &str) -> Failure {
        Failure {
            class: self.class,
            message: self.message.into(),
            line: Some(line.into()),
            retryable: self.retryable,
            remedy: self.remedy.into(),
        }
    }
}

const fn rule(
    marks: &'static [&'static str],
    class: Class,
    retryable: bool,
    message: &'static str,
    remedy: &'static str,
) -> Rule {
    Rule { marks, class, retryable, message, remedy }
}

const CORRECT_SPEC: &str = "Correct what the line names in the cluster's spec, then retry.";
const RESTORE_STATE: &str = "Do not run it again as it is: restore the newest good generation of the cluster's state, or recover it from the cluster with `rke util get-state-file`.";
const ASK_OPERATOR: &str =
    "This is a fault of the service, not of your cluster: ask an operator of the service, with the line.";

/// From the particular to the general; the first that fits is taken.
const RULES: &[Rule] = &[
    // The volume.
    rule(
        &["no space left on device"],
        Class::Volume,
        false,
        "the state volume is full",
        "Free space on the state volume or enlarge it; then retry.",
    ),
    rule(
        &["Failed to write state file"],
        Class::Volume,
        false,
        "rke could not write its state file",
        "See that the state volume is mounted for writing and belongs to the agent's user; then retry.",
    ),
    rule(
        &["Failed to resolve cluster file"],
        Class::Volume,
        false,
        "rke did not find its cluster.yml",
        "See that the state volume is mounted and the cluster's working directory is there; then retry.",
    ),
    // The description.
    rule(
        &["Failed to parse cluster file"],
        Class::Config,
        false,
        "rke cannot read the cluster's description",
        CORRECT_SPEC,
    ),
    rule(
        &["is an unsupported Kubernetes version"],
        Class::Config,
        false,
        "the installed rke does not know this Kubernetes version",
        "Choose a version that the installed rke supports (`rke config --list-version --all` shows them), then retry.",
    ),
    rule(
        &["k8s version is not supported"],
        Class::Config,
        false,
        "the installed rke does not know this Kubernetes version",
        "Choose one of the versions that the line names, then retry.",
    ),
    rule(&["Failed to validate cluster"], Class::Config, false, "rke refuses the cluster's description", CORRECT_SPEC),
    rule(
        &["Failed to classify hosts from config file"],
        Class::Config,
        false,
        "rke does not know a role of a node",
        "Use the roles controlplane, etcd and worker, then retry.",
    ),
    rule(
        &["Cluster must have at least one ", "failed to connect"],
        Class::Unreachable,
        true,
        "rke could not connect the hosts of etcd or the control plane",
        "See that the hosts run and accept SSH from the bastion, then retry.",
    ),
    rule(
        &["Cluster must have at least one "],
        Class::Config,
        false,
        "a role is missing that the cluster needs",
        "Give at least one node the role etcd and one the role controlplane, then retry.",
    ),
    rule(
        &["cannot proceed with upgrade of "],
        Class::Unreachable,
        true,
        "a host of the cluster cannot be reached, so rke does not go on",
        "See that all hosts run and accept SSH from the bastion, or take the lost one out of the spec, then retry.",
    ),
    // Docker.
    rule(
        &["Unsupported Docker version found"],
        Class::Docker,
        false,
        "a host has a Docker version that RKE does not support",
        "Install one of the Docker versions that the line names on that host, then retry.",
    ),
    rule(
        &["The container name", "is already in use"],
        Class::Docker,
        true,
        "a container of another run of rke stands in the way on a host",
        "See that nobody runs rke against these hosts by hand; then retry.",
    ),
    rule(
        &["No such container"],
        Class::Docker,
        true,
        "a container that rke works with was taken away during the run",
        "See that nobody runs rke against these hosts by hand; then retry.",
    ),
    // Images.
    rule(
        &["pull access denied"],
        Class::Image,
        false,
        "a registry refuses an image",
        "Correct user and password of the private registry in the spec, or the image's name, then retry.",
    ),
    rule(
        &["unauthorized"],
        Class::Image,
        false,
        "a registry refuses the login for an image",
        "Correct user and password of the private registry in the spec, then retry.",
    ),
    rule(
        &["manifest unknown"],
        Class::Image,
        false,
        "a registry does not have an image that this Kubernetes version needs",
        "Mirror the image into the registry, or choose another Kubernetes version, then retry.",
    ),
    rule(
        &["toomanyrequests"],
        Class::Image,
        true,
        "the registry allows no more pulls for now",
        "Wait, or name a private registry with a login in the spec, then retry.",
    ),
    rule(&["Failed to pull image"], Class::Image, true, PULL_FAILED, CHECK_REGISTRY),
    rule(&["Can't pull Docker image"], Class::Image, true, PULL_FAILED, CHECK_REGISTRY),
    rule(&["Error response from daemon: Get", "/v2/"], Class::Image, true, PULL_FAILED, CHECK_REGISTRY),
    // Between hosts.
    rule(
        &["is not able to connect to the following ports"],
        Class::Network,
        true,
        "hosts cannot reach each other on ports that Kubernetes needs",
        "Open the ports that the line names between the hosts (firewall, security groups), then retry.",
    ),
    // Snapshots.
    rule(
        &["Creation period and/or retention are not set"],
        Class::Config,
        false,
        "etcd's snapshots are not configured",
        "Give etcd_snapshots an interval and a retention in the spec, apply it, then retry.",
    ),
    rule(
        &["failed to set s3 server"],
        Class::Config,
        false,
        "the place for snapshots in S3 cannot be used",
        "Correct bucket, endpoint and credentials of the snapshots, then retry.",
    ),
    rule(
        &["failed to start backup server", "no such file or directory"],
        Class::Config,
        false,
        "there is no snapshot of that name",
        "Choose a snapshot that exists on the etcd hosts. etcd was restarted meanwhile: apply the cluster's spec again.",
    ),
    rule(
        &["failed to start backup server"],
        Class::Etcd,
        true,
        "the snapshot could not be served to the etcd hosts",
        "See that the etcd hosts run and Docker answers on them, then retry.",
    ),
    rule(
        &["Failed to take one-time snapshot"],
        Class::Etcd,
        true,
        "a snapshot of etcd could not be taken",
        "See that etcd is healthy and the etcd hosts have space in /opt/rke, then retry.",
    ),
    // RKE's state.
    rule(
        &["can't find old certificates"],
        Class::State,
        false,
        "the cluster's certificates are not in its state",
        RESTORE_STATE,
    ),
    rule(
        &["CA Certificate or Key is empty"],
        Class::State,
        false,
        "the cluster's CA is not in its state",
        RESTORE_STATE,
    ),
    rule(
        &["Failed to fetch cluster certs from nodes"],
        Class::State,
        false,
        "the cluster's state file is gone and its hosts do not have the certificates",
        RESTORE_STATE,
    ),
    rule(
        &["Unable to get ConfigMap with cluster state"],
        Class::State,
        false,
        "no control plane host gives back the cluster's state",
        "Restore the newest good generation of the cluster's state; if there is none, the cluster must be built anew.",
    ),
    rule(
        &["Failed to create Kubernetes Client", "no such file or directory"],
        Class::State,
        false,
        "the cluster's kubeconfig is missing",
        "Provision the cluster first, or restore the newest good generation of its state.",
    ),
    // Planes.
    rule(
        &["Etcd Plane"],
        Class::Etcd,
        true,
        "etcd did not become healthy",
        "Look at the log of the etcd container on the hosts that the line names; see that their disks are fast and their clocks agree, then retry.",
    ),
    rule(
        &["Control Plane: ", "unknown flag"],
        Class::ControlPlane,
        false,
        "a part of the control plane does not know an argument that it was given",
        "Take the argument that the line names out, or choose a Kubernetes version that knows it, then retry.",
    ),
    rule(
        &["Control Plane"],
        Class::ControlPlane,
        true,
        "the control plane did not become healthy",
        "Look at the container that the line names on its host (its log stands at the end of the line), then retry.",
    ),
    rule(
        &["Worker Plane"],
        Class::Worker,
        true,
        "a worker did not become healthy",
        "Look at the log of kubelet and kube-proxy on the host that the line names, then retry.",
    ),
    rule(
        &["Failed to get job complete status"],
        Class::Addon,
        true,
        "an add-on that the cluster cannot do without was not deployed in time",
        "Retry: images are there by then. If it fails again, look at the add-on's pods in kube-system.",
    ),
    rule(
        &["addon"],
        Class::Addon,
        true,
        "an add-on that the cluster cannot do without was not deployed",
        "Look at the add-on's pods in kube-system, then retry.",
    ),
    // How it was called.
    rule(&["flag provided but not defined"], Class::Internal, false, "rke was called wrongly", ASK_OPERATOR),
    rule(&["EOF"], Class::Internal, false, "rke asked a question and nobody was there to answer", ASK_OPERATOR),
    rule(
        &["panic: "],
        Class::Internal,
        true,
        "rke crashed",
        "Retry once; if it crashes again, ask an operator of the service, with the run's output.",
    ),
];

const PULL_FAILED: &str = "an image could not be pulled";
const CHECK_REGISTRY: &str = "See that the host that the line names reaches the registry (DNS, proxy, firewall), or name a private registry in the spec that it reaches, then retry.";
