//! The command line of `cratekube-controller`.

mod audit;
mod backup;
mod users;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::environment::{EnvironmentPattern, Grant, Role};
use cratekube_common::domain::id::{AgentId, SessionId, VolumeId};
use cratekube_common::domain::join_token::{JoinToken, SECRET_CHARACTERS};
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::secret::Secret;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::{mint::Mint, notify, settings::parse_duration, telemetry, tls::sha256_hex};

use crate::app::{Controller, open_data, tokens};
use crate::config::Config;
use crate::datadir::{DataDir, Opening};
use crate::errors;
use crate::keys::master::MasterKeySource;
use crate::rekey;
use crate::service::identity::LONGEST_JOIN_LIFETIME;
use crate::service::revocations::Refresh;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Bar, BarAgent, Barred, NewJoinToken, Store};

/// Long enough to walk over to the bastion, short enough to be worthless tomorrow.
const DEFAULT_JOIN_LIFETIME: &str = "10m";

/// Cluster Management Service: the controller.
#[derive(Debug, Parser)]
#[command(name = "cratekube-controller", version, about, long_about = None, max_term_width = 100)]
pub struct Cli {
    /// Configuration file (TOML); the environment (CRATEKUBE_…) is laid over it
    #[arg(long, short, global = true, env = "CRATEKUBE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the REST API and agents until stopped (a second signal stops at once)
    Serve,
    /// Tokens for users of the REST API
    #[command(subcommand)]
    Token(TokenCommand),
    /// API keys of users: exchanged for tokens at /v1/auth/token
    #[command(subcommand)]
    ApiKey(users::ApiKeyCommand),
    /// The keys that sign tokens
    #[command(subcommand)]
    SigningKey(users::SigningKeyCommand),
    /// The audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// What agents need
    #[command(subcommand)]
    Agent(AgentCommand),
    /// The key that seals everything else
    #[command(subcommand)]
    MasterKey(MasterKeyCommand),
    /// Write a backup into a file, also beside a running controller
    #[command(
        after_help = "The master key is not in it: keep it elsewhere.\n\nExample:\n  cratekube-controller backup /backup/cratekube-$(date -u +%F).tar"
    )]
    Backup(backup::MakeBackup),
    /// Restore a backup into an empty data directory
    #[command(
        after_help = "The directory is data.directory of the configuration. Nothing may be in it but the master key, where that is kept beside the data. Every token of before ends; agents tell what happened since the backup when they connect.\n\nExample:\n  cratekube-controller restore /backup/cratekube-2026-11-25.tar"
    )]
    Restore(backup::RestoreBackup),
    /// Check the configuration and say what it comes to
    CheckConfig,
    /// Print the catalogue of errors: every kind of problem and class of failure, and what to do
    Errors,
}

#[derive(Debug, Subcommand)]
enum MasterKeyCommand {
    /// Seal everything anew under another master key. The controller must be stopped. When it is
    /// interrupted, run it again, with either key
    #[command(
        after_help = "Example:\n  openssl rand -hex 32 > new.key && chmod 600 new.key\n  cratekube-controller master-key rotate --new-key-file new.key\n  # then give the new key where the old one was given, and start the controller"
    )]
    Rotate {
        /// File with the new key. Without it one is made, when the old one is kept beside the data
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print a token
    #[command(
        after_help = "Example:\n  cratekube-controller token issue --subject alice --grant operator:team-a --grant 'viewer:*'"
    )]
    Issue(IssueToken),
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Print a join token: it can be used once, for a short time, to enroll one agent
    #[command(
        after_help = "Example:\n  cratekube-controller agent join-token --agent bastion-1 --environments 'team-*'"
    )]
    JoinToken(MakeJoinToken),
    /// Lock an agent out: its connections end within seconds, and it has to enroll again
    Revoke(BarArgs),
    /// Lock an agent out, and let neither its name nor its keys enroll again
    Ban(BarArgs),
    /// Let the name and keys of a banned agent enroll again
    Unban(BarArgs),
}

#[derive(Debug, Args)]
struct BarArgs {
    /// The agent's id
    id: AgentId,
    /// Why; kept in the audit log
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
struct IssueToken {
    /// Whom the token stands for; appears in the audit log
    #[arg(long)]
    subject: String,
    /// ROLE:ENVIRONMENTS, e.g. `operator:prod`, `viewer:team-*`, `admin:*`; may be repeated
    #[arg(long = "grant", required = true, value_parser = parse_grant)]
    grants: Vec<Grant>,
    /// How long it is valid, e.g. `15m`; at most auth.max_token_lifetime, which is the default
    #[arg(long, value_parser = parse_duration)]
    lifetime: Option<Duration>,
}

#[derive(Debug, Args)]
struct MakeJoinToken {
    /// Only an agent of this name can use it
    #[arg(long)]
    agent: Option<AgentName>,
    /// Only an agent that serves this volume can use it
    #[arg(long)]
    volume: Option<VolumeId>,
    /// Environments whose new clusters the agent may be given: a name, a prefix such as `team-*`, or `*`
    #[arg(long, default_value = "*")]
    environments: EnvironmentPattern,
    /// How long it can be used; at most 24h
    #[arg(long, default_value = DEFAULT_JOIN_LIFETIME, value_parser = parse_duration)]
    lifetime: Duration,
}

fn parse_grant(text: &str) -> Result<Grant, String> {
    let form = || format!("{text:?} is not a grant: write ROLE:ENVIRONMENTS, e.g. `operator:prod`");
    let (role, environments) = text.split_once(':').ok_or_else(form)?;
    Ok(Grant { role: role.parse::<Role>()?, environments: environments.parse()? })
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = writeln!(std::io::stderr(), "cratekube-controller: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes. Many quote their cause themselves: nothing is said twice.
fn told(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !words.ends_with(&cause) {
            words.push_str(if words.is_empty() { "" } else { ": " });
            words.push_str(&cause);
        }
    }
    words
}

impl Cli {
    fn run(self) -> anyhow::Result<()> {
        if matches!(self.command, Command::Errors) {
            return Ok(std::io::stdout().write_all(errors::catalogue().as_bytes())?);
        }
        let config = Config::load(self.config.as_deref(), settings_env())?;
        match self.command {
            // Answered above: it needs no configuration.
            Command::Errors => Ok(()),
            Command::Serve => serve(config),
            Command::CheckConfig => check_config(&config),
            Command::Backup(args) => runtime()?.block_on(backup::make(&config, &args)),
            Command::Restore(args) => runtime()?.block_on(backup::restore(&config, &args)),
            Command::Token(TokenCommand::Issue(args)) => runtime()?.block_on(issue_token(&config, args)),
            Command::ApiKey(command) => runtime()?.block_on(users::api_key(&config, command)),
            Command::SigningKey(command) => runtime()?.block_on(users::signing_key(&config, &command)),
            Command::Audit(command) => runtime()?.block_on(audit::run(&config, &command)),
            Command::Agent(AgentCommand::JoinToken(args)) => runtime()?.block_on(make_join_token(&config, args)),
            Command::Agent(AgentCommand::Revoke(args)) => runtime()?.block_on(bar(&config, args, Some(Bar::Revoke))),
            Command::Agent(AgentCommand::Ban(args)) => runtime()?.block_on(bar(&config, args, Some(Bar::Ban))),
            Command::Agent(AgentCommand::Unban(args)) => runtime()?.block_on(bar(&config, args, None)),
            Command::MasterKey(MasterKeyCommand::Rotate { new_key_file }) => {
                runtime()?.block_on(rotate_master_key(&config, new_key_file.as_deref()))
            }
        }
    }
}

/// The environment without the variable that names the file.
fn settings_env() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(key, _)| key != "CRATEKUBE_CONFIG")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::start(config.log.format, &config.log.filter);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.on_signals().context("cannot listen for signals")?;
        let clock = clock::system();
        let controller = Controller::open(config, clock.clone(), Mint::system(clock), shutdown).await?;
        controller.look_on_hangup().context("cannot listen for signals")?;
        // The listeners are bound: who connects from now on is served.
        notify::tell(notify::State::Ready);
        controller.run().await;
        Ok(())
    })
}

fn check_config(config: &Config) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "The configuration is valid.")?;
    writeln!(out, "  data directory   {}", config.data.directory.display())?;
    writeln!(out, "  REST             https://{} (names: {})", config.rest.listen, config.rest.names.join(", "))?;
    writeln!(out, "  agents           {} (names: {})", config.agents.listen, config.agents.names.join(", "))?;
    writeln!(
        out,
        "  lease            {:?}, heartbeat {:?}",
        config.agents.lease_ttl, config.agents.heartbeat_interval
    )?;
    let retries = config.operations.retry_policy;
    writeln!(out, "  attempts         {}, after {:?} to {:?}", retries.attempts, retries.delay, retries.delay_max)?;
    match &config.install.agent_binaries {
        Some(folder) => writeln!(out, "  agents offered   from {}", folder.display())?,
        None => writeln!(out, "  agents offered   none (install.agent_binaries is not set)")?,
    }
    writeln!(out, "  token lifetime   at most {:?}", config.auth.max_token_lifetime)?;
    writeln!(out, "  API key lifetime at most {:?}", config.auth.max_api_key_lifetime)?;
    Ok(())
}

/// What a command has that works beside a controller, running or not.
struct Beside {
    clock: Clock,
    mint: Mint,
    data: DataDir,
    store: Arc<SqliteStore>,
}

impl Beside {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let clock = clock::system();
        let mint = Mint::system(clock.clone());
        let data = open_data(config, Opening::Command, &clock, &mint)?;
        let store = Arc::new(SqliteStore::open(&data.path, SqliteOptions::default())?);
        Ok(Self { clock, mint, data, store })
    }
}

async fn issue_token(config: &Config, args: IssueToken) -> anyhow::Result<()> {
    let Beside { clock, mint, data, store } = Beside::open(config)?;
    let tokens = Arc::new(tokens(config, &data, clock.clone())?);
    Refresh::new(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&tokens), clock.clone()).look().await?;
    let lifetime = args.lifetime.unwrap_or(config.auth.max_token_lifetime);
    let jti = mint.id::<SessionId>().to_string();
    let grants: Vec<_> = args.grants.iter().map(|g| format!("{}:{}", g.role, g.environments)).collect();
    let token = tokens.issue(&args.subject, &args.grants, lifetime, &jti)?;
    store.audit(local_audit("token.issue", args.subject, grants.join(" "), &mint), clock.now()).await?;
    store.close().await;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(())
}

async fn make_join_token(config: &Config, args: MakeJoinToken) -> anyhow::Result<()> {
    anyhow::ensure!(
        !args.lifetime.is_zero() && args.lifetime <= LONGEST_JOIN_LIFETIME,
        "--lifetime must be at most 24h"
    );
    let Beside { clock, mint, data, store } = Beside::open(config)?;
    let secret = Secret::new(mint.token(SECRET_CHARACTERS));
    let now = clock.now();
    let token = NewJoinToken {
        id: mint.id(),
        secret_sha256: sha256_hex(secret.expose().as_bytes()),
        agent: args.agent.clone(),
        volume: args.volume,
        created_by: "local".into(),
        environments: args.environments,
        created_at: now,
        expires_at: now.after(args.lifetime),
    };
    let name = args.agent.map_or_else(|| "any agent".to_owned(), |name| name.to_string());
    let detail = format!("token {}, until {}", token.id, token.expires_at);
    store.keep_join_token(token, local_audit("agent.join-token", name, detail, &mint)).await?;
    store.close().await;
    let token = JoinToken::new(secret.expose(), &data.authority.fingerprint())?;
    writeln!(std::io::stdout(), "{}", token.expose().expose())?;
    Ok(())
}

/// Locks an agent out, or lifts its ban. A running controller notices within a second.
async fn bar(config: &Config, args: BarArgs, bar: Option<Bar>) -> anyhow::Result<()> {
    let Beside { clock, mint, store, .. } = Beside::open(config)?;
    let (agent, now) = (args.id, clock.now());
    let audit = |action: &str| local_audit(action, agent.to_string(), args.reason.clone(), &mint);
    let barred = match bar {
        Some(bar) => {
            let action = if bar == Bar::Ban { "agent.ban" } else { "agent.revoke" };
            store.bar_agent(BarAgent { agent, bar, audit: audit(action), now }).await?
        }
        None => store.lift_ban(agent, audit("agent.unban"), now).await?,
    };
    store.close().await;
    match barred {
        Barred::Now => writeln!(std::io::stdout(), "done")?,
        Barred::Already => writeln!(std::io::stdout(), "it was so before")?,
        Barred::NotFound => anyhow::bail!("there is no agent {agent}"),
    }
    Ok(())
}

async fn rotate_master_key(config: &Config, new_key_file: Option<&Path>) -> anyhow::Result<()> {
    let mint = Mint::system(clock::system());
    let done = rekey::rotate(&config.data, new_key_file, &mint).await?;
    writeln!(std::io::stdout(), "sealed anew: {} files, {} values in the store", done.files, done.values)?;
    if config.data.master_key != MasterKeySource::Local {
        writeln!(std::io::stdout(), "give the new key where the old one was given before you start the controller")?;
    }
    Ok(())
}

fn local_audit(action: &str, object: String, detail: String, mint: &Mint) -> AuditEntry {
    AuditEntry {
        actor: "local".into(),
        origin: "local".into(),
        action: action.into(),
        object,
        outcome: AuditOutcome::Allowed,
        detail,
        request_id: mint.id::<SessionId>().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_each_of_its_causes_once() {
        let gone = || std::io::Error::other("no such file");
        let quoting = crate::pki::PkiError::File { path: "/data".into(), source: gone() };
        assert_eq!(told(&quoting.into()), "cannot use /data: no such file");
        let plain = Err::<(), _>(gone()).context("reading the key").unwrap_err();
        assert_eq!(told(&plain), "reading the key: no such file");
    }
}
