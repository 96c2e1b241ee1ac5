//! `cratekube cluster`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use cratekube_common::domain::name::ClusterName;
use cratekube_common::runtime::settings::parse_duration;

use super::{Because, InEnvironment, Most, Waiting};

/// What can be done with clusters.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum ClusterCommand {
    /// Make a cluster from a description
    Create(Create),
    /// List clusters
    #[command(after_help = "\
Examples:
  cratekube cluster list -e prod
  cratekube cluster list --all-environments -o json")]
    List(List),
    /// Show one cluster
    #[command(after_help = "\
Examples:
  cratekube cluster get web -e prod
  cratekube cluster get web -e prod -o yaml")]
    Get(One),
    /// Remove a cluster, step by step, with everything that it made in the cloud
    ///
    /// Volumes and their snapshots are kept unless `--data-policy` says otherwise. What is left when it has
    /// ended is told by `cratekube operation residue`.
    #[command(after_help = "\
Examples:
  cratekube cluster delete web -e prod --dry-run --data-policy delete
  cratekube cluster delete web -e prod --reason 'moved to the new region' --wait
  cratekube cluster delete web -e prod --reason 'the stage is over' --data-policy snapshot --hosts-terminated")]
    Delete(Delete),
    /// List the sealed generations of a cluster's state, newest first
    #[command(after_help = "Example:\n  cratekube cluster generations web -e prod")]
    Generations(Generations),
    /// Give up a run whose agent is out of touch, so that the cluster can be worked on (administrators)
    ///
    /// Its operation fails. Whatever comes of the run later is kept as evidence and not applied. Make
    /// sure first that no `rke` of it is at work.
    #[command(after_help = "\
Example:
  cratekube cluster force-unlock web -e prod --reason 'the bastion was terminated'")]
    ForceUnlock(ForceUnlock),
    /// Get a kubeconfig that is good for a while
    ///
    /// It is made by the cluster's agent while you wait, and kept nowhere: ask for another one when it is
    /// lost. The one for administrators (`cluster-admin`) needs a reason; it lives as long as the cluster's
    /// CA, and the cluster is marked until that is rotated.
    #[command(after_help = "\
Examples:
  cratekube cluster kubeconfig web -e prod --role edit --namespace shop --file web.kubeconfig
  kubectl --kubeconfig <(cratekube cluster kubeconfig web --role view --namespace shop) get pods
  cratekube cluster kubeconfig web --role cluster-admin --reason 'etcd is full'")]
    Kubeconfig(Kubeconfig),
    /// Bring lost or damaged state back: from the newest good generation, else from the cluster itself
    ///
    /// Only state that is whole and carries the CA on record is believed. The cluster is `degraded`
    /// afterwards: its state is back, and `rke` has not run on it yet.
    #[command(after_help = "\
Examples:
  cratekube cluster recover-state web -e prod --reason 'the file was deleted' --wait
  cratekube cluster recover-state web -e prod --reason 'the last run was a mistake' --generation 3")]
    RecoverState(RecoverState),
    /// Show what the last check of a cluster found, and when its certificates end
    #[command(after_help = "Example:\n  cratekube cluster health web -e prod")]
    Health(One),
    /// Check a cluster now: its API, nodes, system pods, certificates
    #[command(after_help = "Example:\n  cratekube cluster verify web -e prod --wait")]
    Verify(Verify),
    /// Renew a cluster's certificates, one service after the other
    ///
    /// With `--ca` it gets a new CA: every credential that the old one made ends (administrators).
    #[command(after_help = "\
Examples:
  cratekube cluster rotate-certificates web -e prod --wait
  cratekube cluster rotate-certificates web --service etcd --service kubelet
  cratekube cluster rotate-certificates web --ca --reason 'a kubeconfig leaked' --wait")]
    RotateCertificates(Rotate),
}

/// One cluster.
#[derive(Debug, Args)]
pub(in crate::client) struct One {
    /// Name of the cluster
    pub(in crate::client) name: ClusterName,
    #[command(flatten)]
    pub(in crate::client) place: InEnvironment,
}

/// Make a cluster from a description
///
/// The description is YAML or JSON with `name`, `spec` and perhaps `environment`. Aliases, merge keys,
/// tags and repeated keys are refused. Mistakes are listed all at once, each with its JSON pointer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cratekube cluster create -e prod -f web.yaml --wait
  cratekube cluster create -f - < web.json -o name

A description:
  name: web
  environment: prod
  spec:
    kubernetes_version: v1.28.12-rancher1-1
    nodes:
    - {address: 192.0.2.21, roles: [controlplane, etcd, worker]}
    - {address: 192.0.2.22, roles: [worker], labels: {disk: ssd}}")]
pub(in crate::client) struct Create {
    /// The description; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::client) file: PathBuf,
    #[command(flatten)]
    pub(in crate::client) place: InEnvironment,
    #[command(flatten)]
    pub(in crate::client) waiting: Waiting,
}

/// List clusters.
#[derive(Debug, Args)]
pub(in crate::client) struct List {
    #[command(flatten)]
    pub(in crate::client) place: InEnvironment,
    /// In all environments that you may see
    #[arg(short = 'A', long, conflicts_with = "environment")]
    pub(in crate::client) all_environments: bool,
    /// Removed ones too
    #[arg(long)]
    pub(in crate::client) removed: bool,
    #[command(flatten)]
    pub(in crate::client) most: Most,
}

/// Remove a cluster.
#[derive(Debug, Args)]
pub(in crate::client) struct Delete {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// Why, in a sentence; it is kept in the audit log
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub(in crate::client) reason: Option<String>,
    /// What becomes of its volumes and their snapshots
    #[arg(long, value_enum, value_name = "POLICY", default_value_t)]
    pub(in crate::client) data_policy: DataPolicy,
    /// The hosts are about to be terminated: do not clean them
    #[arg(long)]
    pub(in crate::client) hosts_terminated: bool,
    /// Only tell what would go, and what it costs in a month; nothing is changed
    #[arg(long, conflicts_with = "wait")]
    pub(in crate::client) dry_run: bool,
    #[command(flatten)]
    pub(in crate::client) waiting: Waiting,
}

/// What becomes of volumes and their snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(in crate::client) enum DataPolicy {
    /// They stay, and go on costing
    #[default]
    Retain,
    /// A last snapshot of each volume is taken, then the volume is deleted
    Snapshot,
    /// They are deleted
    Delete,
}

impl DataPolicy {
    /// As the API spells it.
    pub(in crate::client) fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "retain",
            Self::Snapshot => "snapshot",
            Self::Delete => "delete",
        }
    }
}

/// Generations of a cluster.
#[derive(Debug, Args)]
pub(in crate::client) struct Generations {
    #[command(flatten)]
    pub(in crate::client) one: One,
    #[command(flatten)]
    pub(in crate::client) most: Most,
}

/// Give up a run.
#[derive(Debug, Args)]
pub(in crate::client) struct ForceUnlock {
    #[command(flatten)]
    pub(in crate::client) one: One,
    #[command(flatten)]
    pub(in crate::client) because: Because,
}

/// Bring state back.
#[derive(Debug, Args)]
pub(in crate::client) struct RecoverState {
    #[command(flatten)]
    pub(in crate::client) one: One,
    #[command(flatten)]
    pub(in crate::client) because: Because,
    /// From this sealed generation and no other
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::client) generation: Option<u64>,
    #[command(flatten)]
    pub(in crate::client) waiting: Waiting,
}

/// Check a cluster.
#[derive(Debug, Args)]
pub(in crate::client) struct Verify {
    #[command(flatten)]
    pub(in crate::client) one: One,
    #[command(flatten)]
    pub(in crate::client) waiting: Waiting,
}

/// Renew certificates.
#[derive(Debug, Args)]
pub(in crate::client) struct Rotate {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// Of this service only, such as `etcd` or `kubelet`; may be given again [default: all]
    #[arg(long = "service", value_name = "NAME", conflicts_with = "ca")]
    pub(in crate::client) services: Vec<String>,
    /// With a new CA
    #[arg(long, requires = "reason")]
    pub(in crate::client) ca: bool,
    /// Why, in a sentence; kept in the audit log, required for a new CA
    #[arg(long, value_name = "TEXT")]
    pub(in crate::client) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::client) waiting: Waiting,
}

/// Get a kubeconfig.
#[derive(Debug, Args)]
pub(in crate::client) struct Kubeconfig {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// What its holder may do
    #[arg(long, value_enum)]
    pub(in crate::client) role: KubeRole,
    /// In which namespace; not for cluster-admin [default: workspace]
    #[arg(long, value_name = "NAME")]
    pub(in crate::client) namespace: Option<String>,
    /// How long it lives, 10m to 24h; not for cluster-admin [default: 4h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(in crate::client) ttl: Option<String>,
    /// Why, in a sentence; kept in the audit log, required for cluster-admin
    #[arg(long, value_name = "TEXT")]
    pub(in crate::client) reason: Option<String>,
    /// Write it there, for you alone to read, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::client) file: Option<PathBuf>,
}

/// Roles of a kubeconfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::client) enum KubeRole {
    /// Look at most objects of one namespace
    View,
    /// Change most objects of one namespace
    Edit,
    /// Everything in one namespace
    Admin,
    /// Everything (administrators)
    ClusterAdmin,
}

/// A duration as the API takes it.
fn duration(text: &str) -> Result<String, String> {
    parse_duration(text).map(|_| text.to_owned())
}
