//! A new identity before the old one ends.
//!
//! At seven tenths of a certificate's life, or when the controller asks: new key, new certificate,
//! kept beside the old, proved on a connection of its own, and only then put in its place. A failure
//! leaves the old one in use and is tried again, later each time. The run that is going on, its process
//! and its output know nothing of it.

use std::time::Duration;

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::runtime::backoff::Backoff;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::mint::Mint;
use cratekube_proto::v1;
use tokio::sync::Notify;
use tonic::Status;

use super::Identity;
use super::credentials::{self, NewKey, RefusedCertificate};
use super::files::{IdentityFiles, IdentityFilesError};
use super::keys;
use crate::link::channel::{ConnectError, Connection, Connector};
use crate::link::tls::{self, TlsSetupError};

/// First wait after a failed renewal.
const FIRST_DELAY: Duration = Duration::from_secs(5);
/// Longest wait between two tries: a certificate's last third is hours long.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// How often the wall clock is looked at, which may jump: at least so often.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// Longest time for a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Renews an agent's identity.
#[derive(Debug, Clone)]
pub struct Renewer {
    /// Where the identity is kept.
    pub files: IdentityFiles,
    /// Opens the connection that proves a new one.
    pub connector: Connector,
    /// Tells when it is time.
    pub clock: Clock,
    /// Spreads the tries.
    pub mint: Mint,
}

/// A new identity, and the connection that proved it.
#[derive(Debug)]
pub struct Renewed {
    /// The identity; already in the place of the old one.
    pub identity: Identity,
    /// A connection on which the controller accepted it.
    pub connection: Connection,
}

/// Why there is no new identity.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// No key could be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    /// The controller gave no certificate.
    #[error("the controller did not renew the certificate: {0}")]
    Call(String),
    /// What came back cannot be used.
    #[error(transparent)]
    Certificate(#[from] RefusedCertificate),
    /// TLS cannot be set up with it.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// No connection to prove it on.
    #[error("the new certificate could not be tried: {0}")]
    Connect(#[from] ConnectError),
    /// The controller does not accept what it gave.
    #[error("the controller does not accept the new certificate: {0}")]
    Refused(String),
    /// It could not be kept.
    #[error(transparent)]
    Keep(#[from] IdentityFilesError),
    /// There is no new identity to prove.
    #[error("there is no new certificate to try")]
    NothingPending,
}

impl Renewer {
    /// Waits until renewal is due or asked for, and returns when it has worked. `pending` is a new
    /// identity that was not proved yet.
    pub async fn renewed(
        &self,
        current: &Identity,
        pending: &mut Option<Identity>,
        connection: &Connection,
        asked: &Notify,
    ) -> Renewed {
        if pending.is_none() {
            self.due(current, asked).await;
        }
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        loop {
            match self.renew(current, pending, connection).await {
                Ok(renewed) => return renewed,
                Err(error) => tracing::warn!(%error, "the certificate is not renewed yet; the old one stays in use"),
            }
            let delay = backoff.next(self.mint.chance()).max(Duration::from_secs(1));
            tokio::select! {
                biased;
                () = tokio::time::sleep(delay) => {}
                () = asked.notified() => {}
            }
        }
    }

    async fn due(&self, current: &Identity, asked: &Notify) {
        // A certificate that cannot be read says nothing of its end: now is the time.
        let Ok(validity) = current.validity() else { return };
        loop {
            let left = validity.renew_at().since(self.clock.now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
                () = asked.notified() => return,
            }
        }
    }

    /// Renews once: asks over this connection, unless a new identity is pending, and proves it.
    ///
    /// # Errors
    /// [`RenewError`]; the current identity stays in use then.
    pub async fn renew(
        &self,
        current: &Identity,
        pending: &mut Option<Identity>,
        connection: &Connection,
    ) -> Result<Renewed, RenewError> {
        if pending.is_none() {
            *pending = Some(self.ask(current, connection).await?);
        }
        self.settle(pending).await
    }

    /// Proves the pending identity and puts it in the place of the current one; drops it when the
    /// controller does not accept it, and keeps it pending when that could not be found out.
    ///
    /// # Errors
    /// [`RenewError`].
    pub async fn settle(&self, pending: &mut Option<Identity>) -> Result<Renewed, RenewError> {
        let identity = pending.clone().ok_or(RenewError::NothingPending)?;
        match self.prove(&identity).await {
            Ok(connection) => {
                self.files.promote()?;
                *pending = None;
                tracing::info!(agent = %identity.agent, "the agent's certificate is renewed");
                Ok(Renewed { identity, connection })
            }
            Err(error @ RenewError::Refused(_)) => {
                *pending = None;
                self.files.discard()?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, current: &Identity, connection: &Connection) -> Result<Identity, RenewError> {
        let algorithm = current.chain.first().map_or(keys::DEFAULT, keys::of);
        let (made, answer) = match request(algorithm, current, connection).await? {
            Ok(granted) => granted,
            Err(status) => {
                let wanted = keys::wanted(&status, algorithm).ok_or_else(|| RenewError::Call(said(&status)))?;
                tracing::info!(%wanted, "the controller wants another kind of key");
                request(wanted, current, connection).await?.map_err(|e| RenewError::Call(said(&e)))?
            }
        };
        let granted = credentials::check(&made.key, answer.certificate, None, &self.clock)?;
        let identity = Identity { key: made.key, chain: granted.chain, trust: granted.trust, ..current.clone() };
        self.files.stage(&identity)?;
        Ok(identity)
    }

    /// Shows the new certificate to the controller.
    async fn prove(&self, identity: &Identity) -> Result<Connection, RenewError> {
        let connection = self.connector.connect(tls::enrolled(identity, &self.clock)?).await.map_err(|error| {
            if error.is_refusal() { RenewError::Refused(error.to_string()) } else { RenewError::Connect(error) }
        })?;
        match connection.accepted().await {
            Ok(_) => Ok(connection),
            Err(status) if connection.is_refusal(&status) => Err(RenewError::Refused(said(&status))),
            Err(status) => Err(RenewError::Call(said(&status))),
        }
    }
}

/// Asks for a certificate with a new key of a kind; the refusal, when there is one, is the inner answer.
async fn request(
    algorithm: KeyAlgorithm,
    current: &Identity,
    connection: &Connection,
) -> Result<Result<(NewKey, v1::RenewResponse), Status>, RenewError> {
    let made = credentials::new_key_aside(algorithm, &current.name).await?;
    let mut link = connection.link();
    let answer = within(link.renew(v1::RenewRequest { csr: made.csr.clone() })).await;
    Ok(answer.map(|answer| (made, answer.into_inner())))
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded("the controller did not answer in time");
    tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(late).flatten()
}

fn said(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
