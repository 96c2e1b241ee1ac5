//! The link to the controller: one session after the other, for as long as the agent runs.
//!
//! - [`dial`], [`tls`], [`channel`]: one connection.
//! - `session`: one conversation on it; `outbox`, `shelf`: the output of runs beside it; `questions`:
//!   what the controller asks and is answered at once.
//! - here: connecting again, with growing delays and full jitter, and going over to a renewed identity.
//!
//! Runs do not notice any of this. What the link forgets with a session, the engine tells it again.

pub mod channel;
pub mod dial;
mod lookthrough;
mod messages;
mod outbox;
mod overheard;
mod questions;
mod session;
mod shelf;
pub(crate) mod skew;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use cratekube_common::runtime::backoff::{Backoff, CAP};
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::mint::Mint;
use cratekube_common::runtime::notify;
use tokio::sync::{Notify, mpsc};

use self::channel::{ConnectError, Connection, Connector};
use self::dial::Dialer;
use self::session::{Ended, Session, SessionError};
use self::tls::TlsSetupError;
use crate::config::Address;
use crate::identity::Identity;
use crate::identity::files::{IdentityFiles, IdentityFilesError, Saved};
use crate::identity::renew::{RenewError, Renewed, Renewer};
use crate::metrics::Metrics;
use crate::port::{Engine, Event};

/// First wait after a lost connection, on average half of it.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// A session that lived this long was a good one: the next failure is a new one.
const GOOD_SESSION: Duration = Duration::from_secs(30);

/// What a link is made of.
pub struct LinkParts {
    /// Executes what is assigned.
    pub engine: Arc<dyn Engine>,
    /// What the engine wants to be known.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// Where the agent's identity is kept.
    pub files: IdentityFiles,
    /// Where the controller is.
    pub controller: Address,
    /// How to get there.
    pub dialer: Arc<dyn Dialer>,
    /// Tells the time.
    pub clock: Clock,
    /// Spreads the tries to connect.
    pub mint: Mint,
    /// Where output is read from the volume.
    pub blocking: Blocking,
    /// Counts what happens.
    pub metrics: Metrics,
}

/// The agent's link to its controller.
pub struct Link {
    engine: Arc<dyn Engine>,
    events: mpsc::UnboundedReceiver<Event>,
    renewer: Renewer,
    blocking: Blocking,
    metrics: Metrics,
    identity: Identity,
    /// A new identity that was not proved yet.
    pending: Option<Identity>,
    /// A connection that proved a new identity, to be used next.
    proved: Option<Connection>,
}

/// Why one try, or one session, ended badly.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Renew(#[from] RenewError),
    #[error("the agent was asked to stop")]
    Stopped,
}

impl LinkError {
    /// True when the controller does not accept who we are: trying harder does not help.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_refusal(),
            Self::Session(error) => matches!(error, SessionError::Refused(_)),
            Self::Renew(error) => matches!(error, RenewError::Refused(_)),
            Self::Tls(_) | Self::Stopped => false,
        }
    }
}

impl LinkError {
    /// True when whoever answers is nobody whom we trust.
    fn is_distrust(&self) -> bool {
        match self {
            Self::Connect(error) | Self::Renew(RenewError::Connect(error)) => error.is_distrust(),
            _ => false,
        }
    }
}

/// What to do after a session.
enum Next {
    Stop,
    /// Connect again at once: there is a new identity.
    GoOn,
    /// Connect again after the usual delay.
    Retry,
}

impl Link {
    /// Reads the agent's identity; nothing is connected yet.
    ///
    /// # Errors
    /// When the agent is not enrolled or its identity is damaged.
    pub fn open(parts: LinkParts) -> Result<Self, IdentityFilesError> {
        let Saved { current, next } = parts.files.load()?;
        let connector = Connector::new(parts.dialer, parts.controller);
        let renewer = Renewer { files: parts.files, connector, clock: parts.clock, mint: parts.mint };
        let LinkParts { engine, events, blocking, metrics, .. } = parts;
        if let Ok(validity) = current.validity() {
            metrics.certificate(validity.not_after);
        }
        Ok(Self { engine, events, renewer, blocking, metrics, identity: current, pending: next, proved: None })
    }

    /// Who the agent is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Holds sessions until the agent is asked to stop.
    pub async fn run(mut self, shutdown: &Shutdown) {
        let mut backoff = Backoff::new(FIRST_DELAY, CAP);
        while !shutdown.soft.is_cancelled() {
            let began = self.renewer.clock.monotonic();
            let result = self.once(shutdown).await;
            if self.renewer.clock.monotonic().saturating_sub(began) > GOOD_SESSION {
                backoff.reset();
            }
            let delay = match result {
                Ok(Next::Stop) | Err(LinkError::Stopped) => return,
                Ok(Next::GoOn) => continue,
                Ok(Next::Retry) => backoff.next(self.renewer.mint.chance()),
                Err(error) => self.delay_after(&error, &mut backoff),
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep(delay) => {}
                () = shutdown.soft.cancelled() => return,
            }
        }
    }

    fn delay_after(&self, error: &LinkError, backoff: &mut Backoff) -> Duration {
        let controller = self.renewer.connector.address();
        let chance = self.renewer.mint.chance();
        self.metrics.not_connected(error.is_refusal());
        if error.is_refusal() {
            let delay = CAP.mul_f64(f64::midpoint(1.0, chance));
            tracing::error!(
                %controller, agent = %self.identity.agent, %error, retry_ms = delay.as_millis(),
                "the controller does not accept this agent: its certificate is revoked, expired or unknown; \
                 enrol it again with `cratekube-agent enroll --force`, runs in progress go on"
            );
            notify::tell(notify::State::Status(&format!(
                "refused: {error}; enrol it again: cratekube-agent enroll --force"
            )));
            return delay;
        }
        let delay = backoff.next(chance);
        if error.is_distrust() {
            tracing::error!(
                %controller, agent = %self.identity.agent, %error, retry_ms = delay.as_millis(),
                "whoever answers shows a certificate of a CA that this agent does not trust: either the CA was rotated \
                 while this agent was away, then enrol it again with `cratekube-agent enroll --force`; or it is not the \
                 controller, and somebody is in between. Runs in progress go on"
            );
            notify::tell(notify::State::Status(&format!(
                "not trusted: {controller}: {error}; if the CA was rotated, enrol again: cratekube-agent enroll --force"
            )));
            return delay;
        }
        notify::tell(notify::State::Status(&format!("offline: {controller}: {error}; runs go on")));
        tracing::warn!(%controller, %error, retry_ms = delay.as_millis(), "not connected with the controller");
        delay
    }

    async fn once(&mut self, shutdown: &Shutdown) -> Result<Next, LinkError> {
        let connection = tokio::select! {
            biased;
            () = shutdown.soft.cancelled() => return Err(LinkError::Stopped),
            connection = self.connection() => connection?,
        };
        let renew_now = Notify::new();
        let session = Session {
            engine: &self.engine,
            events: &mut self.events,
            connection: &connection,
            clock: &self.renewer.clock,
            shutdown,
            renew_now: &renew_now,
            blocking: self.blocking,
            metrics: &self.metrics,
        };
        let renewed = self.renewer.renewed(&self.identity, &mut self.pending, &connection, &renew_now);
        match Box::pin(session.hold(renewed)).await? {
            Ended::Stopped => Ok(Next::Stop),
            Ended::Dismissed => {
                tracing::info!("the controller ended the session; connecting again");
                Ok(Next::Retry)
            }
            Ended::Renewed(renewed) => {
                self.adopt(renewed);
                Ok(Next::GoOn)
            }
        }
    }

    fn adopt(&mut self, renewed: Renewed) {
        self.proved = Some(self.go_over(renewed));
        self.pending = None;
    }

    /// Uses a new identity from now on; gives back the connection that proved it.
    fn go_over(&mut self, renewed: Renewed) -> Connection {
        self.identity = renewed.identity;
        self.metrics.renewed(self.identity.validity().ok().map(|validity| validity.not_after));
        renewed.connection
    }

    /// A connection with the best identity that there is.
    async fn connection(&mut self) -> Result<Connection, LinkError> {
        if let Some(proved) = self.proved.take() {
            return Ok(proved);
        }
        if self.pending.is_some() {
            match self.renewer.settle(&mut self.pending).await {
                Ok(renewed) => return Ok(self.go_over(renewed)),
                Err(error @ RenewError::Refused(_)) => {
                    tracing::warn!(%error, "a renewed certificate is not used; the old one is");
                }
                // The controller may have it in use already, and would take the old one, shown again,
                // for a stolen one.
                Err(error) => return Err(error.into()),
            }
        }
        let connection = self.renewer.connector.connect(tls::enrolled(&self.identity, &self.renewer.clock)?).await?;
        let over = self.identity.validity().is_ok_and(|validity| validity.is_over(self.renewer.clock.now()));
        if over {
            // A controller that still renews an ended certificate may refuse it for anything else.
            let renewed = self.renewer.renew(&self.identity, &mut self.pending, &connection).await?;
            return Ok(self.go_over(renewed));
        }
        Ok(connection)
    }
}
