//! What every endpoint can reach.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use cratekube_common::domain::time::Timestamp;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::health::Readiness;
use super::install::{Install, Offer};
use super::limits::{Gate, Limits};
use super::refusals::RefusalLog;
use crate::auth::Tokens;
use crate::config::Config;
use crate::edge::bucket::{Buckets, Rate};
use crate::edge::changeover::Changeover;
use crate::keys::signing::Watched;
use crate::metrics::Metrics;
use crate::service::Service;

/// One thing that must be well for the controller to be ready; answers in a sentence why it is not.
pub type Check = (&'static str, Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

/// Tells when certificates of the controller end, by name.
pub type Certificates = Arc<dyn Fn() -> Vec<(&'static str, Timestamp)> + Send + Sync>;

/// Attempts to exchange an API key, from one address: a person who mistypes is not stopped, a program
/// that guesses is.
const LOGINS_EACH: Rate = Rate { every: Duration::from_secs(1), burst: 10 };
/// The same from all addresses: each costs a look into the store.
const LOGINS_ALL: Rate = Rate { every: Duration::from_millis(20), burst: 100 };

/// What is set for users and their keys.
#[derive(Debug, Clone)]
pub struct UserSettings {
    /// How long an API key lives when nothing else is asked for.
    pub default_api_key_lifetime: Duration,
    /// How long it lives at most.
    pub max_api_key_lifetime: Duration,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl From<&Config> for UserSettings {
    fn from(config: &Config) -> Self {
        Self {
            default_api_key_lifetime: config.auth.default_api_key_lifetime(),
            max_api_key_lifetime: config.auth.max_api_key_lifetime,
            trusted_proxies: config.rest.trusted_proxies.clone(),
        }
    }
}

/// What a [`RestState`] is made of.
pub struct RestParts {
    /// The verbs.
    pub service: Service,
    /// Checks tokens.
    pub tokens: Arc<Tokens>,
    /// The keys that sign tokens.
    pub signing_keys: Arc<Watched>,
    /// Key of cursors and idempotency digests. Must be the same after a restart, or repeated requests
    /// are taken for new ones under a used key.
    pub mac_key: [u8; 32],
    /// The CA, and the steps of its rotation.
    pub changeover: Changeover,
    /// What new agents are told and given.
    pub offer: Offer,
    /// Bounds.
    pub limits: Limits,
    /// Users and their keys.
    pub users: UserSettings,
    /// Ends streams and waits when the controller is asked to stop.
    pub shutdown: CancellationToken,
    /// What `/readyz` looks at besides the store.
    pub checks: Vec<Check>,
    /// Counts what happens here.
    pub metrics: Metrics,
    /// When certificates of the controller end.
    pub certificates: Certificates,
}

/// What every endpoint can reach. Cheap to clone.
#[derive(Clone)]
pub struct RestState(Arc<Inner>);

/// The parts of a [`RestState`]; nothing of it is for other modules.
pub struct Inner {
    pub(super) service: Service,
    pub(super) tokens: Arc<Tokens>,
    pub(super) signing_keys: Arc<Watched>,
    pub(super) mac_key: hmac::Key,
    pub(super) changeover: Changeover,
    pub(super) install: Install,
    pub(super) limits: Limits,
    pub(super) users: UserSettings,
    pub(super) logins: Buckets,
    pub(super) gate: Gate,
    pub(super) shutdown: CancellationToken,
    pub(super) readiness: Readiness,
    pub(super) refusals: RefusalLog,
    pub(super) metrics: Metrics,
    pub(super) certificates: Certificates,
    /// When this controller began, by the monotonic clock and by the wall's.
    pub(super) began: Duration,
    pub(super) started_at: Timestamp,
}

impl RestState {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: RestParts) -> Self {
        Self(Arc::new(Inner {
            readiness: Readiness::new(parts.checks, parts.service.clock.clone()),
            refusals: RefusalLog::new(parts.service.clock.clone()),
            began: parts.service.clock.monotonic(),
            started_at: parts.service.clock.now(),
            certificates: parts.certificates,
            gate: Gate::new(&parts.limits),
            logins: Buckets::new(LOGINS_EACH, LOGINS_ALL, parts.service.clock.clone()),
            users: parts.users,
            service: parts.service,
            tokens: parts.tokens,
            signing_keys: parts.signing_keys,
            mac_key: hmac::Key::new(hmac::HMAC_SHA256, &parts.mac_key),
            changeover: parts.changeover,
            install: Install::new(parts.offer),
            limits: parts.limits,
            shutdown: parts.shutdown,
            metrics: parts.metrics,
        }))
    }

    /// Streams and waits of users that are open.
    #[must_use]
    pub fn streams_open(&self) -> usize {
        self.gate.open_streams()
    }

    /// Operations that somebody watches.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.service.watch.watched()
    }
}

impl std::ops::Deref for RestState {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for RestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestState").field("limits", &self.limits).finish_non_exhaustive()
    }
}
