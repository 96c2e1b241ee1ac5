//! `cratekube operation`.

use std::time::Duration;

use clap::{Args, Subcommand};
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::runtime::settings::parse_duration;

use super::{Because, Most, Waiting};

/// What can be done with operations.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum OperationCommand {
    /// List operations, newest first
    #[command(after_help = "\
Examples:
  cratekube operation list --limit 10
  cratekube operation list -e prod --cluster web --state failed -o name")]
    List(List),
    /// Show one operation with its attempts
    #[command(after_help = "Example:\n  cratekube operation get 01936f3e-7c00-7000-8000-000000000001")]
    Get(One),
    /// Show progress until it has ended; the exit code tells the outcome
    ///
    /// Ctrl-C ends the watching, not the operation.
    #[command(after_help = "\
Examples:
  cratekube operation watch 01936f3e-7c00-7000-8000-000000000001
  cratekube operation watch 01936f3e-7c00-7000-8000-000000000001 --for 30m -o json")]
    Watch(Watch),
    /// Print the output of `rke`
    ///
    /// A connection that breaks is taken up again where it broke. What is followed, and what goes to a
    /// terminal, has its control characters written out; else it is the output byte for byte.
    #[command(after_help = "\
Examples:
  cratekube operation output 01936f3e-7c00-7000-8000-000000000001 > up.log
  cratekube operation output -f 01936f3e-7c00-7000-8000-000000000001")]
    Output(Output),
    /// End an operation: one that waits never starts, of one that runs `rke` is ended
    #[command(after_help = "\
Example:
  cratekube operation cancel 01936f3e-7c00-7000-8000-000000000001 --wait")]
    Cancel(Ended),
    /// Ask again for what a failed or cancelled operation did not do
    #[command(after_help = "\
Example:
  cratekube operation retry 01936f3e-7c00-7000-8000-000000000001 --wait")]
    Retry(Ended),
    /// End a removal that cannot be finished; whatever is left of its cluster stays (administrators)
    ///
    /// The cluster counts as removed and its name is free. `residue` lists what is known to be left. Give a run
    /// that is out of touch up first: `cratekube cluster force-unlock`.
    #[command(after_help = "\
Example:
  cratekube operation abandon 01936f3e-7c00-7000-8000-000000000001 --reason 'the account is closed'")]
    Abandon(Abandon),
    /// Tell what a removal left behind: found, deleted, kept and why, with costs; signed in `-o json`
    #[command(after_help = "\
Examples:
  cratekube operation residue 01936f3e-7c00-7000-8000-000000000001
  cratekube operation residue 01936f3e-7c00-7000-8000-000000000001 -o json > residue.json")]
    Residue(One),
}

/// Abandon a removal.
#[derive(Debug, Args)]
pub(in crate::client) struct Abandon {
    #[command(flatten)]
    pub(in crate::client) one: One,
    #[command(flatten)]
    pub(in crate::client) because: Because,
}

/// One operation.
#[derive(Debug, Args)]
pub(in crate::client) struct One {
    /// Id of the operation
    #[arg(value_name = "ID")]
    pub(in crate::client) id: OperationId,
}

/// List operations.
#[derive(Debug, Args)]
pub(in crate::client) struct List {
    /// Of this environment only
    #[arg(short, long, value_name = "NAME")]
    pub(in crate::client) environment: Option<EnvironmentName>,
    /// Of clusters of this name only
    #[arg(long, value_name = "NAME")]
    pub(in crate::client) cluster: Option<ClusterName>,
    /// In this state only: queued, running, cancelling, succeeded, failed or cancelled
    #[arg(long, value_name = "STATE")]
    pub(in crate::client) state: Option<String>,
    #[command(flatten)]
    pub(in crate::client) most: Most,
}

/// Watch one.
#[derive(Debug, Args)]
pub(in crate::client) struct Watch {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// Give up watching after so long
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(in crate::client) limit: Option<Duration>,
}

/// Output of one.
#[derive(Debug, Args)]
pub(in crate::client) struct Output {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// Go on until the operation has ended; the exit code tells the outcome
    #[arg(short, long)]
    pub(in crate::client) follow: bool,
}

/// Cancel or retry one.
#[derive(Debug, Args)]
pub(in crate::client) struct Ended {
    #[command(flatten)]
    pub(in crate::client) one: One,
    #[command(flatten)]
    pub(in crate::client) waiting: Waiting,
}
