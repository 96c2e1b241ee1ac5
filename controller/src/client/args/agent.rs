//! `cratekube agent`.

use clap::{Args, Subcommand};
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::name::AgentName;

use super::{Because, Most};

/// What can be done with agents.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum AgentCommand {
    /// List agents by name
    #[command(after_help = "Example:\n  cratekube agent list")]
    List(List),
    /// Show one agent: what it runs, its volumes, its certificate, what happened to it last
    #[command(after_help = "Example:\n  cratekube agent get bastion-1")]
    Get(One),
    /// Give an agent nothing new; what it runs goes on
    #[command(after_help = "Example:\n  cratekube agent cordon bastion-1 --reason 'disk is being looked at'")]
    Cordon(Changed),
    /// Give an agent work again that was cordoned or drained
    #[command(after_help = "Example:\n  cratekube agent uncordon bastion-1")]
    Uncordon(Changed),
    /// Give an agent nothing new because it is to go; `get` tells when it holds no run any more
    #[command(after_help = "Example:\n  cratekube agent drain bastion-1 --reason 'to be replaced'")]
    Drain(Changed),
    /// Forget an agent that will not return; its volumes are free for whoever mounts them
    #[command(after_help = "\
Examples:
  cratekube agent forget bastion-1 --reason 'terminated'
  cratekube agent forget bastion-1 --reason 'burnt down while at work' --force")]
    Forget(Forget),
    /// Lock an agent out: its connections end, and it has to enroll again
    #[command(after_help = "Example:\n  cratekube agent revoke bastion-1 --reason 'its key was copied'")]
    Revoke(Barred),
    /// Lock an agent out for good: neither its name nor its keys may enroll
    #[command(after_help = "Example:\n  cratekube agent ban bastion-1 --reason 'stolen'")]
    Ban(Barred),
    /// Let the name and the keys of a banned agent enroll again
    #[command(after_help = "Example:\n  cratekube agent unban bastion-1 --reason 'found again'")]
    Unban(Barred),
    /// Print a join token: it enrolls one new agent, once, within a short time
    ///
    /// The token is a secret: hand it over in a file or on standard input, not on a command line.
    #[command(after_help = "\
Examples:
  (umask 077; cratekube agent join-token --agent bastion-2 --environments 'team-*' > join-token)
  cratekube agent join-token --lifetime 1h")]
    JoinToken(JoinToken),
}

/// List agents.
#[derive(Debug, Args)]
pub(in crate::client) struct List {
    #[command(flatten)]
    pub(in crate::client) most: Most,
}

/// One agent.
#[derive(Debug, Args)]
pub(in crate::client) struct One {
    /// Name or id of the agent
    #[arg(value_name = "AGENT")]
    pub(in crate::client) agent: String,
}

/// Change what an agent is given.
#[derive(Debug, Args)]
pub(in crate::client) struct Changed {
    #[command(flatten)]
    pub(in crate::client) one: One,
    /// Why, in a sentence; it is kept in the audit log
    #[arg(long, value_name = "TEXT")]
    pub(in crate::client) reason: Option<String>,
}

/// Lock an agent out, or in again.
#[derive(Debug, Args)]
pub(in crate::client) struct Barred {
    #[command(flatten)]
    pub(in crate::client) one: One,
    #[command(flatten)]
    pub(in crate::client) because: Because,
}

/// Forget an agent.
#[derive(Debug, Args)]
pub(in crate::client) struct Forget {
    #[command(flatten)]
    pub(in crate::client) one: One,
    #[command(flatten)]
    pub(in crate::client) because: Because,
    /// Give up its runs too, whose ends are not known; make sure that no `rke` of it is at work
    #[arg(long)]
    pub(in crate::client) force: bool,
}

/// Make a join token.
#[derive(Debug, Args)]
pub(in crate::client) struct JoinToken {
    /// Only an agent of this name can use it
    #[arg(long, value_name = "NAME")]
    pub(in crate::client) agent: Option<AgentName>,
    /// Only an agent that serves this volume can use it
    #[arg(long, value_name = "ID")]
    pub(in crate::client) volume: Option<String>,
    /// Environments whose new clusters the agent may be given: a name, a prefix such as `team-*`, or `*`
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pub(in crate::client) environments: EnvironmentPattern,
    /// How long it can be used; at most 24h
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub(in crate::client) lifetime: String,
}
