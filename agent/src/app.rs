//! The agent put together: settings → [`Agent`] (volumes served, runs adopted, identity read) →
//! [`Running`] (in touch with the controller).
//!
//! A soft shutdown takes no new work, brings over what is there and leaves; a hard one leaves at once.
//! Runs go on in either case: they belong to their supervisors.

use std::net::SocketAddr;
use std::sync::Arc;

use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::mint::Mint;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};

use crate::config::AgentConfig;
use crate::engine::{EngineSettings, LocalEngine, OpenError};
use crate::identity::files::{IdentityFiles, IdentityFilesError};
use crate::link::dial::{Dialer, Tcp};
use crate::link::{Link, LinkParts};
use crate::metrics::serve::{Exposition, serve};
use crate::port;
use crate::run::host::Host;
use crate::run::scope::{self, Surroundings};

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It has no usable identity.
    #[error(transparent)]
    Identity(#[from] IdentityFilesError),
    /// Its metrics cannot be shown where they are to be.
    #[error("cannot listen on {0} for metrics: {1}")]
    Metrics(SocketAddr, std::io::Error),
    /// It cannot serve its volumes.
    #[error("cannot serve the state volumes: {0}")]
    Engine(#[from] OpenError),
}

/// What the agent is surrounded by.
#[derive(Debug)]
pub struct Outside {
    /// How bytes get to the controller.
    pub dialer: Arc<dyn Dialer>,
    /// The host with its processes and its `rke`.
    pub host: Arc<dyn Host>,
}

/// An agent that has adopted its runs and is ready to connect.
pub struct Agent {
    link: Link,
    engine: Arc<LocalEngine>,
    metrics: Option<(TcpListener, SocketAddr, Exposition)>,
}

/// An agent that is in touch with its controller, or tries to be.
pub struct Running {
    shutdown: Shutdown,
    link: JoinHandle<()>,
}

impl Agent {
    /// Reads the identity, serves the volumes, adopts the runs.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn open(config: &AgentConfig, clock: Clock, mint: Mint) -> Result<Self, AgentError> {
        let settings = engine_settings(config);
        let host = Arc::new(settings.this_host(Arc::clone(&clock)));
        Self::open_in(config, clock, mint, Outside { dialer: Arc::new(Tcp), host }).await
    }

    /// Like [`Agent::open`], with a network and a host of the caller's choice.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn open_in(config: &AgentConfig, clock: Clock, mint: Mint, outside: Outside) -> Result<Self, AgentError> {
        let Outside { dialer, host } = outside;
        let files = IdentityFiles::at(&config.agent.state_dir);
        // Before the volumes are locked: an agent that is not enrolled has no business with them.
        files.load()?;
        let (tell, events) = port::events();
        let (settings, blocking) = (engine_settings(config), host.blocking());
        let engine_settings = settings.clone();
        let listener = listen(config.metrics.listen).await?;
        let engine = LocalEngine::open_on(host, settings, Arc::clone(&clock), tell).await?;
        let controller = config.controller.address.clone();
        let held = Arc::clone(&engine) as Arc<dyn port::Engine>;
        let exposition = |(listener, at)| (listener, at, Exposition::new(Arc::clone(&held), &engine_settings));
        let metrics = listener.map(exposition);
        let link = Link::open(LinkParts {
            engine: held,
            events,
            files,
            controller,
            dialer,
            clock,
            mint,
            blocking,
            metrics: engine_settings.metrics.clone(),
        })?;
        Ok(Self { link, engine, metrics })
    }

    /// Begins to connect.
    #[must_use]
    pub fn start(self, shutdown: Shutdown) -> Running {
        let identity = self.link.identity();
        let at = self.metrics.as_ref().map(|(_, at, _)| tracing::field::display(at));
        tracing::info!(agent = %identity.agent, name = %identity.name, version = env!("CARGO_PKG_VERSION"), metrics = at, "the agent runs");
        if let Some((listener, _, exposition)) = self.metrics {
            tokio::spawn(serve(listener, exposition, shutdown.soft.clone()));
        }
        let asked = shutdown.clone();
        let link = tokio::spawn(async move {
            self.link.run(&asked).await;
            // The volumes are free for the next agent; the runs on them go on.
            self.engine.close().await;
        });
        Running { shutdown, link }
    }

    /// Runs until it is asked to stop.
    ///
    /// # Errors
    /// When the link panicked.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), JoinError> {
        self.start(shutdown).finished().await
    }
}

impl Running {
    /// How to stop it.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// When the link panicked.
    pub async fn finished(self) -> Result<(), JoinError> {
        self.link.await
    }
}

/// Binds the listener for metrics, when there is to be one.
async fn listen(at: Option<SocketAddr>) -> Result<Option<(TcpListener, SocketAddr)>, AgentError> {
    let Some(at) = at else { return Ok(None) };
    let bound = TcpListener::bind(at).await.map_err(|e| AgentError::Metrics(at, e))?;
    let at = bound.local_addr().map_err(|e| AgentError::Metrics(at, e))?;
    if !at.ip().is_loopback() {
        tracing::warn!(%at, "metrics are shown without a token to everyone who reaches this address");
    }
    Ok(Some((bound, at)))
}

fn engine_settings(config: &AgentConfig) -> EngineSettings {
    let mut settings = EngineSettings::new(config.volumes.paths.clone(), (&config.ssh).into());
    settings.kubernetes.clone_from(&config.kubernetes);
    settings.rke.clone_from(&config.rke.path);
    settings.cloud.clone_from(&config.cloud);
    settings.preflight = config.ssh.preflight;
    settings.clean_hosts = config.ssh.clean_hosts;
    settings.slots = config.agent.slots;
    settings.allowed_sha256.clone_from(&config.rke.allowed_sha256);
    settings.scope = scope::decide(config.rke.scope, &Surroundings::look()).ok();
    settings.limits.clone_from(&config.steps);
    settings.run_timeout = config.rke.run_timeout;
    settings.silence_timeout = config.rke.silence_timeout;
    settings.phase_timeout = config.rke.phase_timeout;
    settings.stop_grace = config.rke.stop_grace;
    settings.output_cap = config.rke.output_cap;
    settings.keep_generations = usize::try_from(config.volumes.keep_generations).unwrap_or(usize::MAX);
    settings.require_mount = config.volumes.require_mount;
    settings.min_free_bytes = config.volumes.min_free_bytes;
    settings.scrub_interval = config.volumes.scrub_interval;
    settings
}
