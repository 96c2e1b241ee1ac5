//! `cratekube orphan`.

use clap::{Args, Subcommand};
use cratekube_common::domain::id::AgentId;

use super::Most;

/// What can be done about orphans.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum OrphanCommand {
    /// Have agents look at the cloud now; nothing is deleted
    #[command(after_help = "\
Examples:
  cratekube orphan scan
  cratekube orphan scan --agent 01936f3e-7c00-7000-8000-000000000001")]
    Scan(Scan),
    /// List what the last scan found, by cluster, with age and monthly cost
    #[command(after_help = "\
Examples:
  cratekube orphan list
  cratekube orphan list -o json")]
    List(Most),
}

/// Look at the cloud.
#[derive(Debug, Args)]
pub(in crate::client) struct Scan {
    /// At that of the agent with this id only
    #[arg(long, value_name = "ID")]
    pub(in crate::client) agent: Option<AgentId>,
}
