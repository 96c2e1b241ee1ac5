//! What each command does.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use cratekube_common::domain::name::{AgentName, ClusterName, EnvironmentName};
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::mint::Mint;
use cratekube_common::runtime::notify;
use cratekube_common::runtime::settings::SettingsError;
use cratekube_common::runtime::telemetry;
use tokio::runtime::Runtime;

use super::args::{Cli, Command, EnrollArgs};
use crate::app::{Agent, AgentError};
use crate::config::AgentConfig;
use crate::doctor::{self, Check};
use crate::identity::enroll::{EnrollError, Enrollment, enroll};
use crate::identity::files::IdentityFiles;
use crate::identity::token_source::ReadTokenError;
use crate::link::dial::Tcp;
use crate::ssh::known::{self, KnownHostsFault};
use crate::step;
use crate::volume::VolumeError;
use crate::volume::cleaned::{self, Cleaned};
use crate::volume::identity::{self as volume, VolumeRefusal};

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no join token.
    #[error(transparent)]
    Token(#[from] ReadTokenError),
    /// The agent has no name.
    #[error("this agent needs a name: give --name or set `agent.name` ({0})")]
    Name(String),
    /// The agent is not enrolled.
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    /// The agent cannot start.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The link ended by a fault of ours.
    #[error("the agent ended by a fault of its own: {0}")]
    Fault(#[from] tokio::task::JoinError),
    /// The volume is not made.
    #[error("cannot make a state volume: {0}")]
    Volume(#[from] VolumeRefusal),
    /// What is on a state volume cannot be used.
    #[error(transparent)]
    Record(#[from] VolumeError),
    /// The record of hosts' keys cannot be used.
    #[error(transparent)]
    HostKeys(#[from] KnownHostsFault),
    /// From the operating system.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Does what was asked; false when it was done and the answer is no.
pub(super) fn run(cli: Cli, out: &mut (impl Write + Send), err: &mut impl Write) -> Result<bool, CliError> {
    let config = cli.config.as_deref();
    let clock = clock::system();
    let mint = Mint::system(Arc::clone(&clock));
    match cli.command {
        Command::Supervise { run_dir } => Ok(supervise(&run_dir) == ExitCode::SUCCESS),
        Command::Step { run_dir } => Ok(step::main(&run_dir, out) == ExitCode::SUCCESS),
        Command::InitVolume { path, accept_copy } => {
            let id =
                if accept_copy { volume::accept_copy(&path, &clock)? } else { volume::init(&path, &mint, &clock)? };
            writeln!(out, "{} is state volume {id}", path.display())?;
            Ok(true)
        }
        Command::ForgetHostKey { environment, cluster, host } => {
            forget(&settings(config)?.0, &environment, &cluster, &host, out)
        }
        Command::ForgetCleaned { environment, cluster, in_order } => {
            forget_cleaned(&settings(config)?.0, (&environment, &cluster), in_order, out)
        }
        Command::Doctor => runtime()?.block_on(look(config, &clock, out)),
        Command::Enroll(args) => runtime()?.block_on(join(config, &args, &clock, out, err)),
        Command::Run => runtime()?.block_on(serve(config, clock, mint)),
    }
}

/// One thread: the agent mostly waits, and its memory counts on a small bastion.
fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Watches over one run.
pub(super) fn supervise(run_dir: &Path) -> ExitCode {
    crate::run::supervise::supervise(run_dir)
}

fn settings(file: Option<&Path>) -> Result<(AgentConfig, Vec<String>), SettingsError> {
    AgentConfig::load(file, std::env::vars())
}

/// Forgets what is on record of a host's key, on every volume that has the cluster.
fn forget(
    config: &AgentConfig,
    environment: &EnvironmentName,
    cluster: &ClusterName,
    host: &str,
    out: &mut impl Write,
) -> Result<bool, CliError> {
    let mut forgotten = false;
    for root in &config.volumes.paths {
        let dir = root.join("clusters").join(environment.as_str()).join(cluster.as_str());
        for record in known::forget(&dir, host)? {
            writeln!(out, "forgot {} of {host}, on record since {}", record.fingerprint, record.since)?;
            forgotten = true;
        }
    }
    if !forgotten {
        writeln!(out, "no key of {host} is on record for {environment}/{cluster}")?;
    }
    Ok(forgotten)
}

/// Shows which hosts of a cluster were cleaned, on every volume that has it, and forgets it if they are in order.
fn forget_cleaned(
    config: &AgentConfig,
    of: (&EnvironmentName, &ClusterName),
    in_order: bool,
    out: &mut impl Write,
) -> Result<bool, CliError> {
    let mut found = false;
    for root in &config.volumes.paths {
        let Some(Cleaned { hosts, removals }) = cleaned::on_record(root, of, in_order)? else { continue };
        let verb = if in_order { "forgot" } else { "on record" };
        for host in hosts {
            writeln!(out, "{verb}: {host} was cleaned by a removal that did not come to its end")?;
        }
        for attempt in removals {
            writeln!(out, "{verb}: removal {attempt}, of which it is not known which hosts it has cleaned")?;
        }
        found = true;
    }
    let (environment, cluster) = of;
    match (found, in_order) {
        (false, _) => writeln!(out, "no cleaned host is on record for {environment}/{cluster}")?,
        (true, false) => writeln!(out, "nothing was forgotten: say --in-order once etcd is whole on these hosts")?,
        (true, true) => {}
    }
    Ok(found && in_order)
}

async fn look(file: Option<&Path>, clock: &Clock, out: &mut impl Write) -> Result<bool, CliError> {
    let checks = match settings(file) {
        Ok((config, warnings)) => {
            let mut checks = vec![Check::ok("settings", "understood")];
            checks
                .extend(warnings.into_iter().map(|warning| Check::warn("settings", warning, "see the settings file")));
            checks.extend(doctor::examine(&config, clock).await);
            checks
        }
        Err(error) => vec![Check::fail("settings", error.to_string(), "correct the settings file or the environment")],
    };
    Ok(doctor::print(&checks, out)?)
}

async fn join(
    file: Option<&Path>,
    args: &EnrollArgs,
    clock: &Clock,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<bool, CliError> {
    let (config, _) = settings(file)?;
    let source = args.token_source();
    if let Some(warning) = source.warning() {
        writeln!(err, "warning: {warning}")?;
    }
    let name = args.name.clone().or_else(|| config.agent.name.clone());
    let enrollment = Enrollment {
        controller: config.controller.address.clone(),
        token: source.read(std::io::stdin())?,
        name: name.map_or_else(host_name, Ok)?,
        // A volume that is not made yet does not hinder: the agent tells its volumes when it connects.
        volumes: config
            .volumes
            .paths
            .iter()
            .filter_map(|path| volume::read(path).ok().flatten())
            .map(|v| v.id)
            .collect(),
    };
    let files = IdentityFiles::at(&config.agent.state_dir);
    let identity = enroll(&enrollment, &files, args.force, Arc::new(Tcp), clock).await?;
    source.discard();
    writeln!(out, "enrolled as {} ({}) with {}", identity.name, identity.agent, identity.controller)?;
    Ok(true)
}

/// The first part of the host's name.
fn host_name() -> Result<AgentName, CliError> {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().to_ascii_lowercase();
    host.split('.').next().unwrap_or_default().parse().map_err(CliError::Name)
}

async fn serve(file: Option<&Path>, clock: Clock, mint: Mint) -> Result<bool, CliError> {
    let (config, warnings) = settings(file)?;
    telemetry::start(config.log.format, &config.log.filter);
    for warning in warnings {
        tracing::warn!(%warning, "the settings are understood, but");
    }
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let agent = Agent::open(&config, clock, mint).await?.start(shutdown.clone());
    notify::tell(notify::State::Ready);
    shutdown.soft.cancelled().await;
    notify::tell(notify::State::Stopping);
    agent.finished().await?;
    Ok(true)
}
