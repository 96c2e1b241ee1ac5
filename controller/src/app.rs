//! Start-up, typed: [`Config`] → [`Controller`] (keys loaded, store open, listeners bound, addresses
//! known) → running until a [`Shutdown`]. The only place that names concrete backends.

use std::net::SocketAddr;
use std::sync::Arc;

use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::{clock::Clock, mint::Mint};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio_util::task::TaskTracker;

use crate::anchor::Anchor;
use crate::auth::Tokens;
use crate::config::Config;
use crate::datadir::{DataDir, DataDirError, Opening};
use crate::edge::accept::{Edge, Listener, Security};
use crate::edge::changeover::Changeover;
use crate::edge::counters::Counters;
use crate::edge::limits::Limits;
use crate::edge::renewal::{Renewal, RenewalError, Source};
use crate::edge::tls::{TlsError, Trust, for_agents, for_users};
use crate::grpc::cuts::Cuts;
use crate::grpc::{self, GrpcState, enrollment};
use crate::keys::master::MasterKeySource;
use crate::keys::signing::Watched;
use crate::metrics::{self, Exposition, Happened, Metrics, Standing};
use crate::pki::authority::Authority;
use crate::plan::attention;
use crate::reconcile::{self, OfUsers};
use crate::rest::{self, RestParts, RestState};
use crate::service::Service;
use crate::service::dispatch::{Dispatch, DispatchParts};
use crate::service::leases::Leases;
use crate::service::lines::Lines;
use crate::service::orphans::Scans;
use crate::service::presence::Presence;
use crate::service::revocations::Refresh;
use crate::service::spec_secrets::SpecVault;
use crate::service::watch::Watch;
use crate::store::sqlite::{Execution, SqliteOptions, SqliteStore};
use crate::store::{Store, StoreError};

/// Why the controller does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory and its keys.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS of the listeners.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener's certificate.
    #[error(transparent)]
    Certificate(#[from] RenewalError),
    /// A listener's address is taken or not ours.
    #[error("cannot listen on {address} for {listener}: {source}")]
    Listen {
        /// Which listener.
        listener: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Tokens cannot be made or checked.
    #[error("the self-test of tokens failed: {0}")]
    SelfTest(String),
}

/// A controller that is ready to run.
#[derive(Debug)]
pub struct Controller<L = TcpListener> {
    rest: (Edge, L),
    agents: (Edge, L),
    metrics: Option<(Edge, L, Arc<Happened>)>,
    store: Arc<dyn Store>,
    dispatch: Arc<Dispatch>,
    authority: Arc<Authority>,
    cuts: Cuts,
    renewals: Arc<Vec<Renewal>>,
    look_at_certificates: Arc<Notify>,
    of_users: OfUsers,
    service: Service,
    clock: Clock,
    shutdown: Shutdown,
    rest_address: SocketAddr,
    agents_address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    _lock: crate::datadir::Lock,
}

/// What a controller is surrounded by.
#[derive(Debug)]
pub struct Outside<L> {
    /// Where users connect, bound.
    pub rest: (L, SocketAddr),
    /// Where agents connect, bound.
    pub agents: (L, SocketAddr),
    /// Where Prometheus connects, bound; none for nowhere.
    pub metrics: Option<(L, SocketAddr)>,
    /// How the store is opened.
    pub store: SqliteOptions,
}

impl Controller {
    /// Opens everything and binds the listeners; nothing is served yet.
    ///
    /// # Errors
    /// [`StartError`]; what exists is never replaced.
    pub async fn open(config: Config, clock: Clock, mint: Mint, shutdown: Shutdown) -> Result<Self, StartError> {
        let (rest, agents, metrics) = (config.rest.listen, config.agents.listen, config.metrics.listen);
        let outside = async || {
            let (rest, agents) = (bind("rest", rest).await?, bind("agents", agents).await?);
            let metrics = match metrics {
                Some(address) => Some(bind("metrics", address).await?),
                None => None,
            };
            Ok(Outside { rest, agents, metrics, store: SqliteOptions::default() })
        };
        Self::open_in(config, clock, mint, shutdown, outside).await
    }
}

impl<L: Listener> Controller<L> {
    /// Like [`Controller::open`], with listeners and a store of the caller's choice. They are asked for
    /// when the data directory is known to be ours.
    ///
    /// # Errors
    /// As [`Controller::open`].
    pub async fn open_in(
        config: Config,
        clock: Clock,
        mint: Mint,
        shutdown: Shutdown,
        outside: impl AsyncFnOnce() -> Result<Outside<L>, StartError>,
    ) -> Result<Self, StartError> {
        let data = open_data(&config, Opening::Serve, &clock, &mint)?;
        warn_of_local_key(&config.data.master_key);
        if let Some(difference) = data.authority.differs_from_settings() {
            tracing::warn!("{difference}");
        }
        let cursor_key = data.signing_keys.cursor_key();
        let tokens = Arc::new(tokens(&config, &data, clock.clone())?);
        let outside = outside().await?;
        let ((rest_listener, rest_address), (agents_listener, agents_address)) = (outside.rest, outside.agents);
        let blocking = match outside.store.execution {
            Execution::Inline => Blocking::Inline,
            Execution::Thread => Blocking::Threads,
        };
        let store = SqliteStore::open_with(&data.path, outside.store, Arc::clone(&clock))?;
        let (counted, meters) = (Metrics::default(), store.meters());
        let store: Arc<dyn Store> = Arc::new(store);
        let root = data.authority.now();
        if root.progress.is_none() {
            // A release that did not keep it had one root ever.
            store.adopt_certificates(root.stays.fingerprint).await?;
        }
        data.note_listening(rest_address, agents_address)?;
        let DataDir { envelope, authority, lock, .. } = data;
        let authority = Arc::new(authority);
        let of_users = OfUsers {
            revocations: Refresh::new(Arc::clone(&store), Arc::clone(&tokens), clock.clone()),
            keys: Arc::new(Watched::new(config.data.directory.clone(), Arc::clone(&envelope), Arc::clone(&tokens))),
            anchor: Arc::new(Anchor::new(&config.data.directory, Arc::clone(&envelope))),
        };
        // Before anyone is let in: what was revoked stays revoked.
        of_users.revocations.look().await?;

        let (watch, presence, lines) = (Watch::default(), Presence::default(), Lines::default());
        let scopes = Arc::new(config.resources.scopes.clone());
        let policy = Arc::new(config.policy.policy.clone());
        let dispatch = Arc::new(Dispatch::new(DispatchParts {
            store: Arc::clone(&store),
            watch: watch.clone(),
            presence: presence.clone(),
            lines: lines.clone(),
            leases: Leases::new(config.agents.lease_ttl, clock.clone()),
            retry_policy: config.operations.retry_policy,
            vault: Arc::clone(&envelope) as Arc<dyn SpecVault>,
            scopes: Arc::clone(&scopes),
            policy: Arc::clone(&policy),
            clock: clock.clone(),
            mint: mint.clone(),
        }));
        dispatch.start().await?;

        let service = Service {
            store: Arc::clone(&store),
            watch: watch.clone(),
            presence: presence.clone(),
            lines,
            clock: clock.clone(),
            mint: mint.clone(),
            vault: envelope,
            policy,
            chain: Arc::new(config.operations.chain.clone()),
            scopes,
            removals: config.operations.removals,
            scans: Scans { interval: config.orphans.scan_interval, since: clock.now() },
            stale_after: config.health.stale_after,
        };
        let own = |names: &[String]| Source::Own(names.to_vec());
        let rest_source = match &config.rest.certificate {
            Some((certificate, key)) => Source::Files(certificate.clone(), key.clone()),
            None => own(&config.rest.names),
        };
        let renewal = |name, source| Renewal::new(name, source, Arc::clone(&authority), clock.clone());
        let renewals = vec![renewal("rest", rest_source)?, renewal("agents", own(&config.agents.names))?];
        let renewals = Arc::new(renewals);
        let rest_tls = for_users(renewals[0].certificate(), &clock)?;
        let trust = Trust::new(authority.trust_bundle())?;
        let agents_tls = for_agents(renewals[1].certificate(), Arc::clone(&trust), &clock)?;
        let cuts = Cuts::default();
        let edge = |name, security, router, limits| {
            let counters = Counters::default();
            Edge { name, security, router, limits, counters, mint: mint.clone() }
        };
        let grpc = grpc::router(GrpcState {
            store: Arc::clone(&store),
            dispatch: Arc::clone(&dispatch),
            watch,
            authority: Arc::clone(&authority),
            cuts: cuts.clone(),
            enrolments: Arc::new(enrollment::limits(clock.clone())),
            metrics: counted.clone(),
            heartbeat_interval: config.agents.heartbeat_interval,
            clock: clock.clone(),
            mint: mint.clone(),
            shutdown: shutdown.clone(),
        });
        let rest_state = RestState::new(RestParts {
            service: service.clone(),
            tokens,
            signing_keys: Arc::clone(&of_users.keys),
            mac_key: cursor_key,
            changeover: Changeover::new(Arc::clone(&authority), trust, Arc::clone(&renewals), blocking),
            offer: offer(&config, rest_address, agents_address),
            limits: rest::Limits::default(),
            users: rest::UserSettings::from(&config),
            shutdown: shutdown.soft.clone(),
            checks: Vec::new(),
            metrics: counted.clone(),
            certificates: certificates(Arc::clone(&authority), Arc::clone(&renewals)),
        });
        let tls = |config| Security::Tls(Arc::new(config));
        let rest_edge = edge("rest", tls(rest_tls), rest::router(rest_state.clone()), Limits::rest());
        let agents_edge = edge("agents", tls(agents_tls), grpc, Limits::agents());
        let metrics_address = outside.metrics.as_ref().map(|(_, address)| *address);
        let metrics = match outside.metrics {
            None => None,
            Some((listener, address)) => {
                warn_of_open_metrics(address);
                let happened = Arc::new(Happened::new(counted.clone(), Arc::clone(&store)));
                happened.begin().await?;
                let exposition = Exposition {
                    counted: counted.registry(&meters),
                    happened: Arc::clone(&happened),
                    standing: Standing {
                        store: Arc::clone(&store),
                        presence,
                        dispatch: Arc::clone(&dispatch),
                        rest: rest_state,
                        listeners: vec![
                            (rest_edge.name, rest_edge.counters.clone()),
                            (agents_edge.name, agents_edge.counters.clone()),
                        ],
                        authority: Arc::clone(&authority),
                        renewals: Arc::clone(&renewals),
                        clock: clock.clone(),
                        started: clock.now(),
                    },
                    turn: Mutex::default(),
                };
                let router = metrics::serve::router(Arc::new(exposition));
                Some((edge("metrics", Security::Plain, router, Limits::metrics()), listener, happened))
            }
        };

        Ok(Self {
            rest_address,
            agents_address,
            metrics_address,
            rest: (rest_edge, rest_listener),
            agents: (agents_edge, agents_listener),
            metrics,
            store,
            dispatch,
            authority,
            cuts,
            renewals,
            look_at_certificates: Arc::default(),
            of_users,
            service,
            clock,
            shutdown,
            _lock: lock,
        })
    }

    /// Looks at the listeners' certificates at once whenever the process is told so by SIGHUP.
    ///
    /// # Errors
    /// When the signal cannot be listened for.
    pub fn look_on_hangup(&self) -> std::io::Result<()> {
        let (mut hangup, look) = (signal(SignalKind::hangup())?, Arc::clone(&self.look_at_certificates));
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::info!("told by a signal to look at the listeners' certificates");
                look.notify_one();
            }
        });
        Ok(())
    }

    /// Where users connect.
    #[must_use]
    pub fn rest_address(&self) -> SocketAddr {
        self.rest_address
    }

    /// Where agents connect.
    #[must_use]
    pub fn agents_address(&self) -> SocketAddr {
        self.agents_address
    }

    /// Where Prometheus connects, if anywhere.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// What happened at the listeners for users and for agents.
    #[must_use]
    pub fn counters(&self) -> (Counters, Counters) {
        (self.rest.0.counters.clone(), self.agents.0.counters.clone())
    }

    /// Whom users and agents are to trust, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// Serves until asked to stop, finishes what is open, closes the store.
    pub async fn run(self) {
        let metrics = self.metrics_address.map(tracing::field::display);
        tracing::info!(rest = %self.rest_address, agents = %self.agents_address, metrics, "controller ready");
        let tasks = TaskTracker::new();
        let stop = self.shutdown.soft.clone();
        let (anchor, clock, store) = (Arc::clone(&self.of_users.anchor), self.clock, Arc::clone(&self.store));
        reconcile::start(&tasks, Arc::clone(&store), Arc::clone(&self.dispatch), clock.clone(), &stop);
        reconcile::start_of_users(&tasks, self.of_users, Arc::clone(&store), clock.clone(), &stop);
        reconcile::scan_for_orphans(&tasks, self.service, &stop);
        reconcile::cut_connections(&tasks, Arc::clone(&store), self.cuts, &stop);
        reconcile::renew_certificates(&tasks, self.renewals, self.look_at_certificates, &stop);
        let dispatch = Arc::clone(&self.dispatch);
        tasks.spawn(async move { dispatch.run(stop).await });
        if let Some((edge, listener, happened)) = self.metrics {
            reconcile::count(&tasks, happened, &self.shutdown.soft);
            tasks.spawn(edge.serve(listener, self.shutdown.clone()));
        }
        for (edge, listener) in [self.rest, self.agents] {
            tasks.spawn(edge.serve(listener, self.shutdown.clone()));
        }
        tasks.close();
        tasks.wait().await;
        if let Err(error) = anchor.advance(store.as_ref(), clock.now()).await {
            tracing::error!(%error, "the audit log could not be anchored");
        }
        store.close().await;
        tracing::info!("controller stopped");
    }
}

/// Tells when the certificates of the controller end.
fn certificates(authority: Arc<Authority>, renewals: Arc<Vec<Renewal>>) -> rest::Certificates {
    Arc::new(move || {
        let own = renewals.iter().filter_map(|renewal| Some((renewal.name(), renewal.not_after()?)));
        authority.not_after().map(|ends| (attention::CA, ends)).into_iter().chain(own).collect()
    })
}

/// Opens the data directory that the configuration names.
///
/// # Errors
/// [`DataDirError`]; nothing that exists is ever replaced.
pub fn open_data(config: &Config, opening: Opening, clock: &Clock, mint: &Mint) -> Result<DataDir, DataDirError> {
    let (data, algorithm) = (&config.data, config.pki.key_algorithm);
    DataDir::open(&data.directory, &data.master_key, algorithm, opening, clock, mint)
}

/// What makes and checks tokens for this controller.
///
/// # Errors
/// [`StartError::SelfTest`] when a token that was just made is not accepted.
pub fn tokens(config: &Config, data: &DataDir, clock: Clock) -> Result<Tokens, StartError> {
    let issuer = format!("cratekube:{}", data.id);
    let keys = data.signing_keys.living(clock.now()).signing_keys();
    let tokens = Tokens::new(&keys, &issuer, &config.auth.audience, config.auth.max_token_lifetime, clock);
    tokens.self_test().map_err(|e| StartError::SelfTest(e.to_string()))?;
    Ok(tokens)
}

/// What new bastions are told: this controller under the first of its names, unless something else is set.
fn offer(config: &Config, rest: SocketAddr, agents: SocketAddr) -> rest::Offer {
    let place = |names: &[String], port: u16| {
        let name = names.first().map_or("localhost", String::as_str);
        if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
    };
    let install = &config.install;
    let url = install.url.clone();
    let agents_at = install.agents.clone();
    rest::Offer {
        url: url.unwrap_or_else(|| format!("https://{}", place(&config.rest.names, rest.port()))),
        agents: agents_at.unwrap_or_else(|| place(&config.agents.names, agents.port())),
        foreign_certificate: config.rest.certificate.is_some(),
        binaries: install.agent_binaries.clone(),
    }
}

fn warn_of_local_key(source: &MasterKeySource) {
    if *source == MasterKeySource::Local {
        tracing::warn!(
            "the master key lies beside the data: who can copy the data directory can read its secrets; \
             set CRATEKUBE_DATA__MASTER_KEY, data.master_key_file or data.master_key_command for more than a trial"
        );
    }
}

/// Anyone who reaches the listener reads how many clusters there are, and who tries to get in.
fn warn_of_open_metrics(address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "metrics are shown without a token to everyone who reaches this address");
    }
}

async fn bind(listener: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let fault = |source| StartError::Listen { listener, address, source };
    let bound = TcpListener::bind(address).await.map_err(fault)?;
    let address = bound.local_addr().map_err(fault)?;
    Ok((bound, address))
}
