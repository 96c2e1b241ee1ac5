//! What every endpoint can reach.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use tokio_util::sync::CancellationToken;

use super::health::Readiness;
use super::limits::{Gate, Limits};
use super::refusals::RefusalLog;
use crate::auth::Tokens;
use crate::service::Service;

/// One thing that must be well for the controller to be ready; answers in a sentence why it is not.
pub type Check = (&'static str, Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

/// What a [`RestState`] is made of.
pub struct RestParts {
    /// The verbs.
    pub service: Service,
    /// Checks tokens.
    pub tokens: Arc<Tokens>,
    /// Key of cursors and idempotency digests. Must be the same after a restart, or repeated requests
    /// are taken for new ones under a used key.
    pub mac_key: [u8; 32],
    /// SHA-256 of the authority that new agents are to trust, lower-case hex.
    pub ca_sha256: String,
    /// Bounds.
    pub limits: Limits,
    /// Ends streams and waits when the controller is asked to stop.
    pub shutdown: CancellationToken,
    /// What `/readyz` looks at besides the store.
    pub checks: Vec<Check>,
}

/// What every endpoint can reach. Cheap to clone.
#[derive(Clone)]
pub struct RestState(Arc<Inner>);

/// The parts of a [`RestState`]; nothing of it is for other modules.
pub struct Inner {
    pub(super) service: Service,
    pub(super) tokens: Arc<Tokens>,
    pub(super) mac_key: hmac::Key,
    pub(super) ca_sha256: String,
    pub(super) limits: Limits,
    pub(super) gate: Gate,
    pub(super) shutdown: CancellationToken,
    pub(super) readiness: Readiness,
    pub(super) refusals: RefusalLog,
}

impl RestState {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: RestParts) -> Self {
        Self(Arc::new(Inner {
            readiness: Readiness::new(parts.checks, parts.service.clock.clone()),
            refusals: RefusalLog::new(parts.service.clock.clone()),
            gate: Gate::new(&parts.limits),
            service: parts.service,
            tokens: parts.tokens,
            mac_key: hmac::Key::new(hmac::HMAC_SHA256, &parts.mac_key),
            ca_sha256: parts.ca_sha256,
            limits: parts.limits,
            shutdown: parts.shutdown,
        }))
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
