//! The command line: what can be asked for, in words that `--help` shows.
//!
//! No option takes a secret: those come from files, standard input or the environment.

pub(super) mod agent;
pub(super) mod alarm;
pub(super) mod audit;
pub(super) mod ca;
pub(super) mod cluster;
pub(super) mod login;
pub(super) mod operation;
pub(super) mod orphan;
pub(super) mod resource;
pub(super) mod signing_key;
pub(super) mod volume;

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cratekube_common::domain::name::{EnvironmentName, check_label};
use cratekube_common::runtime::settings::parse_duration;

use super::{exit, settings};

/// Enough for a controller to restart.
const DEFAULT_PATIENCE: &str = "60s";

/// Drive the Cluster Management Service: make clusters, watch how they are built, look after agents
///
/// Log in once; every other command uses what was stored. Results go to standard output, progress and
/// faults to standard error.
#[derive(Debug, Parser)]
#[command(name = "cratekube", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = after_help(), after_long_help = after_long_help())]
#[command(arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Which profile to use, as `login` stored it
    #[arg(long, global = true, env = "CK_PROFILE", hide_env = true, default_value = "default")]
    #[arg(value_name = "NAME", value_parser = profile_name, help_heading = "Options of every command")]
    pub(super) profile: String,
    /// How results are printed: `table`, `json` or `yaml` (the API's documents), or `name` (the name or
    /// id alone, one a line, as other commands take it)
    #[arg(short, long, global = true, value_enum, default_value_t, hide_possible_values = true)]
    #[arg(value_name = "FORM", help_heading = "Options of every command")]
    pub(super) output: Format,
    /// How long to go on trying while the controller does not answer
    #[arg(long, global = true, default_value = DEFAULT_PATIENCE, value_parser = parse_duration)]
    #[arg(value_name = "DURATION", help_heading = "Options of every command")]
    pub(super) timeout: Duration,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// The API's documents
    Json,
    /// The API's documents
    Yaml,
    /// The name or id alone, one a line, as other commands take it
    Name,
}

/// What is asked for.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Store where a controller is and how you prove who you are
    Login(login::Login),
    /// Clusters: make, look at, remove
    #[command(subcommand, visible_alias = "clusters")]
    Cluster(cluster::ClusterCommand),
    /// Operations: what was asked for, how far it is, what came of it
    #[command(subcommand, visible_aliases = ["operations", "op"])]
    Operation(operation::OperationCommand),
    /// Agents on their bastions (administrators)
    #[command(subcommand, visible_alias = "agents")]
    Agent(agent::AgentCommand),
    /// The audit log (administrators)
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// What somebody has to look at (administrators)
    #[command(subcommand, visible_alias = "alarms")]
    Alarm(alarm::AlarmCommand),
    /// Kubernetes YAML that is kept in clusters
    #[command(subcommand, visible_alias = "resources")]
    Resource(resource::ResourceCommand),
    /// The keys that sign tokens (administrators)
    #[command(subcommand, visible_alias = "signing-keys")]
    SigningKey(signing_key::SigningKeyCommand),
    /// The CA that agents and listeners are certified by, and its rotation (administrators)
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// State volumes
    #[command(subcommand, visible_alias = "volumes")]
    Volume(volume::VolumeCommand),
    /// Objects in the cloud whose clusters are gone (administrators)
    #[command(subcommand, visible_alias = "orphans")]
    Orphan(orphan::OrphanCommand),
    /// What needs somebody, most urgent first
    #[command(after_help = "Example:\n  cratekube summary")]
    Summary,
    /// Environments that you may see
    #[command(subcommand, visible_aliases = ["environments", "env"])]
    Environment(EnvironmentCommand),
    /// Print a script that completes commands in a shell
    #[command(after_help = "\
Examples:
  source <(cratekube completion bash)
  cratekube completion zsh  > ~/.zfunc/_cratekube
  cratekube completion fish > ~/.config/fish/completions/cratekube.fish")]
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the version of this program
    Version,
}

/// Shells that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// What can be done with environments.
#[derive(Debug, Subcommand)]
pub(super) enum EnvironmentCommand {
    /// List them, with your role in each
    #[command(after_help = "Example:\n  cratekube environment list")]
    List,
}

/// Which environment.
#[derive(Debug, Args)]
pub(super) struct InEnvironment {
    /// The environment; without it the profile's, or `CK_ENVIRONMENT`
    #[arg(short, long, value_name = "NAME")]
    pub(super) environment: Option<EnvironmentName>,
}

/// Whether to wait for the end.
#[derive(Debug, Args)]
pub(super) struct Waiting {
    /// Show progress until it has ended, or for so long: `--wait`, `--wait=30m`
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true)]
    #[arg(value_parser = parse_duration, default_missing_value = "365d", hide_default_value = true)]
    pub(super) wait: Option<Duration>,
}

/// Why something is done that cannot be undone.
#[derive(Debug, Args)]
pub(super) struct Because {
    /// Why, in a sentence; it is kept in the audit log
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

/// How many.
#[derive(Debug, Args)]
pub(super) struct Most {
    /// Only the first so many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl Most {
    /// The number, if there is one.
    pub(super) fn items(&self) -> Option<usize> {
        self.limit.and_then(|limit| usize::try_from(limit).ok())
    }
}

fn profile_name(text: &str) -> Result<String, String> {
    check_label(text).map(|()| text.to_owned())
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n`cratekube --help` tells of exit codes and environment variables.")
}

fn after_long_help() -> String {
    format!("{EXAMPLES}\n\n{}\n\n{}", exit::HELP, settings::HELP)
}

const EXAMPLES: &str = "\
Examples:
  cratekube login --address https://ck.internal:8443 --ca ca.pem --credential key.txt
  cratekube cluster create -e prod -f web.yaml --wait
  cratekube operation list -o json
  cratekube cluster delete web -e prod --reason 'moved to the new region' --wait";
