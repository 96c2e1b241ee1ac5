//! `cratekube volume`.

use clap::{Args, Subcommand};

use super::Most;

/// What can be done with state volumes.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum VolumeCommand {
    /// List state volumes: who serves them, how full they are, how many clusters are on them
    #[command(after_help = "Example:\n  cratekube volume list")]
    List(List),
    /// Show one state volume with its clusters and what the last scrub found
    #[command(after_help = "Example:\n  cratekube volume get 0197a2c4-5e1f-7cc3-98c4-dc0c0c07398f")]
    Get(One),
}

/// List volumes.
#[derive(Debug, Args)]
pub(in crate::client) struct List {
    #[command(flatten)]
    pub(in crate::client) most: Most,
}

/// One volume.
#[derive(Debug, Args)]
pub(in crate::client) struct One {
    /// Id of the volume
    #[arg(value_name = "VOLUME")]
    pub(in crate::client) volume: cratekube_common::domain::id::VolumeId,
}
