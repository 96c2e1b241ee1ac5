//! What can be asked of the agent.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use cratekube_common::domain::name::{AgentName, ClusterName, EnvironmentName};
use cratekube_common::domain::secret::Secret;

use crate::identity::token_source::TokenSource;

const EXAMPLES: &str = "\
Examples:
  cratekube-agent init-volume --path /mnt/state
  cratekube-agent enroll --token-file /run/join-token
  cratekube-agent doctor
  cratekube-agent run

Settings come from the file and from the environment: CRATEKUBE_AGENT__SLOTS=8 sets `slots` in section
[agent]. Exit codes: 0 done, 1 failed, 2 not understood.";

const ENROLL_EXAMPLES: &str = "\
Examples:
  # On the controller: (umask 077; cratekube-controller agent join-token > join-token)
  cratekube-agent enroll --token-file join-token
  ssh controller cratekube-controller agent join-token | cratekube-agent enroll --name bastion-1";

const INIT_EXAMPLES: &str = "\
Examples:
  cratekube-agent init-volume --path /mnt/state
  # The original is gone, this is its newest snapshot:
  cratekube-agent init-volume --accept-copy --path /mnt/state";

const FORGET_EXAMPLES: &str = "\
Example:
  # The operation said that another machine answers at 10.0.0.12, and it was exchanged on purpose:
  cratekube-agent forget-host-key --environment prod --cluster web --host 10.0.0.12";

const CLEANED_EXAMPLES: &str = "\
Example, as the agent's user, so that it can read the record afterwards:
  # A removal failed, and its cluster is refused since. What is on record of that:
  sudo -u cratekube-agent cratekube-agent forget-cleaned --environment prod --cluster web
  # Its etcd was looked at on each host, or was restored by hand:
  sudo -u cratekube-agent cratekube-agent forget-cleaned --environment prod --cluster web --in-order";

/// Runs RKE beside the state volume on a bastion, on behalf of the CrateKube controller.
#[derive(Debug, Parser)]
#[command(name = "cratekube-agent", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Settings file [default: /etc/cratekube/agent.toml, when it exists].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn a join token into this agent's identity.
    #[command(after_help = ENROLL_EXAMPLES)]
    Enroll(EnrollArgs),
    /// Serve the state volumes and execute what the controller assigns.
    #[command(after_help = "Example:\n  cratekube-agent --config /etc/cratekube/agent.toml run")]
    Run,
    /// Look at everything that a run will need, and say how to mend what is wrong.
    #[command(after_help = "Example:\n  cratekube-agent doctor && systemctl start cratekube-agent")]
    Doctor,
    /// Make a state volume of an empty, mounted directory.
    #[command(after_help = INIT_EXAMPLES)]
    InitVolume {
        /// The directory.
        #[arg(long, value_name = "DIR")]
        path: PathBuf,
        /// It is a copy of a state volume (a restored snapshot), whose original is gone for good: let it
        /// take its place. Two that are both in use would run the same clusters twice.
        #[arg(long)]
        accept_copy: bool,
    },
    /// Forget the SSH host key of a host that was exchanged, so that the next one that it shows is recorded.
    #[command(after_help = FORGET_EXAMPLES)]
    ForgetHostKey {
        /// The cluster's environment.
        #[arg(long)]
        environment: EnvironmentName,
        /// The cluster.
        #[arg(long)]
        cluster: ClusterName,
        /// Address of the host, as the cluster's spec has it.
        #[arg(long, value_name = "ADDRESS")]
        host: String,
    },
    /// Show which hosts a removal that failed has cleaned, or forget it, so that the cluster is built on them again.
    #[command(after_help = CLEANED_EXAMPLES)]
    ForgetCleaned {
        /// The cluster's environment.
        #[arg(long)]
        environment: EnvironmentName,
        /// The cluster.
        #[arg(long)]
        cluster: ClusterName,
        /// The data of the cluster are in its etcd, on these hosts: forget it. Where they are not, the next run
        /// builds an empty cluster.
        #[arg(long)]
        in_order: bool,
    },
    /// Do the step of one run (started by its supervisor).
    #[command(hide = true)]
    Step {
        /// The run's directory.
        run_dir: PathBuf,
    },
    /// Watch over one run (started by the agent itself).
    #[command(hide = true)]
    Supervise {
        /// The run's directory.
        run_dir: PathBuf,
    },
}

/// How to enrol.
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// Read the join token from this file, and remove it afterwards [default: standard input].
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// The join token itself; every user of this host can see it with `ps`.
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub token: Option<Secret>,
    /// Name of this agent [default: `agent.name`, then the host's name].
    #[arg(long)]
    pub name: Option<AgentName>,
    /// Replace the identity that this agent already has.
    #[arg(long)]
    pub force: bool,
}

impl EnrollArgs {
    /// Where the token is to be read from.
    #[must_use]
    pub fn token_source(&self) -> TokenSource {
        match (&self.token_file, &self.token) {
            (Some(file), _) => TokenSource::File(file.clone()),
            (None, Some(token)) => TokenSource::Argument(token.clone()),
            (None, None) => TokenSource::Stdin,
        }
    }
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}
