//! `cratekube resource`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use cratekube_common::domain::cluster::resource::ResourceName;
use cratekube_common::domain::name::ClusterName;

use super::{InEnvironment, Waiting};

/// What can be done with managed resources.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum ResourceCommand {
    /// List managed resources, each with what became of it
    #[command(after_help = "\
Examples:
  cratekube resource list --cluster web -e prod
  cratekube resource list -e prod              # what every new cluster gets")]
    List(List),
    /// Show one managed resource: its state, its objects, what stands in the way
    #[command(after_help = "\
Examples:
  cratekube resource get page --cluster web -e prod
  cratekube resource get page --cluster web --manifest > page.yaml")]
    Get(Get),
    /// Keep Kubernetes YAML in a cluster, or in every new cluster of an environment
    ///
    /// One that is there already is replaced, if nobody else changed it meanwhile. Mistakes are listed all at
    /// once. What the cluster's API says of it: `resource get`.
    #[command(after_help = "\
Examples:
  cratekube resource put page --cluster web -e prod -f page.yaml --wait
  cratekube resource put page --cluster web -f page.yaml --mode sync --revision 3
  cratekube resource put limits -e team-a -f limits.yaml")]
    Put(Put),
    /// Take a managed resource away; objects of one in mode `sync` leave the cluster
    #[command(after_help = "\
Example:
  cratekube resource delete page --cluster web -e prod --wait")]
    Delete(Delete),
}

/// Whose resources.
#[derive(Debug, Args)]
pub(in crate::client) struct Holder {
    /// Of this cluster; without it, the set that every new cluster of the environment gets
    #[arg(short, long, value_name = "NAME")]
    pub(in crate::client) cluster: Option<ClusterName>,
    #[command(flatten)]
    pub(in crate::client) place: InEnvironment,
}

/// List resources.
#[derive(Debug, Args)]
pub(in crate::client) struct List {
    #[command(flatten)]
    pub(in crate::client) holder: Holder,
}

/// One resource.
#[derive(Debug, Args)]
pub(in crate::client) struct One {
    /// Name of the resource
    pub(in crate::client) name: ResourceName,
    #[command(flatten)]
    pub(in crate::client) holder: Holder,
}

/// Show a resource.
#[derive(Debug, Args)]
pub(in crate::client) struct Get {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// Print the manifest alone; values of Secrets are masked
    #[arg(long)]
    pub(in crate::client) manifest: bool,
}

/// Keep a resource.
#[derive(Debug, Args)]
pub(in crate::client) struct Put {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// The manifest, YAML of one document or more; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::client) file: PathBuf,
    /// What becomes of objects that leave the manifest [default: upsert]
    #[arg(long, value_enum)]
    pub(in crate::client) mode: Option<Mode>,
    /// Only if it still has this revision, as you have seen it; 0 for only if there is none
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::client) revision: Option<u64>,
    #[command(flatten)]
    pub(in crate::client) waiting: Waiting,
}

/// What becomes of objects that leave a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::client) enum Mode {
    /// They stay
    Upsert,
    /// They are removed
    Sync,
}

impl Mode {
    /// As the API takes it.
    pub(in crate::client) fn as_str(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Sync => "sync",
        }
    }
}

/// Take a resource away.
#[derive(Debug, Args)]
pub(in crate::client) struct Delete {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// Only if it still has this revision
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::client) revision: Option<u64>,
    #[command(flatten)]
    pub(in crate::client) waiting: Waiting,
}
