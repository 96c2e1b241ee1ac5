//! A join token becomes an identity.
//!
//! The key is made here and never leaves the host. The controller is believed only under the
//! authority that the token pins, and what it answers is checked before it is stored.

use std::sync::Arc;

use cratekube_common::domain::id::VolumeId;
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::name::AgentName;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::pinned::NotTheAuthority;
use cratekube_proto::v1;
use rustls::{CertificateError, OtherError};
use tonic::{Code, Status};

use super::Identity;
use super::credentials::{self, NewKey, RefusedCertificate};
use super::files::{IdentityFiles, IdentityFilesError};
use super::keys;
use crate::config::Address;
use crate::link::channel::{ConnectError, Connection, Connector};
use crate::link::dial::Dialer;
use crate::link::tls::{self, TlsSetupError};

/// What an enrolment needs to know.
#[derive(Debug)]
pub struct Enrollment {
    /// The controller.
    pub controller: Address,
    /// Proves both sides to each other.
    pub token: JoinToken,
    /// The name that the agent will have.
    pub name: AgentName,
    /// The volumes that it serves.
    pub volumes: Vec<VolumeId>,
}

/// Why an agent is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// It already is.
    #[error("this agent is already enrolled ({0}): use --force to replace its identity")]
    AlreadyEnrolled(String),
    /// No key could be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// There is no connection, or not with the right controller.
    #[error("cannot enrol: {0}")]
    Connect(#[from] ConnectError),
    /// The server is not the controller that the token is for.
    #[error("cannot enrol: {controller} is not the controller that the join token is for: {source}")]
    Rogue {
        /// Who was asked.
        controller: Address,
        /// What it lacks.
        source: NotTheAuthority,
    },
    /// The controller does not take the token.
    #[error("the controller refused the join token: {0}; tokens are short-lived and work once, so ask for a new one")]
    Refused(String),
    /// The call failed otherwise.
    #[error("the controller did not enrol this agent: {0}")]
    Call(String),
    /// What came back cannot be used.
    #[error(transparent)]
    Certificate(#[from] RefusedCertificate),
    /// The agent's id is not one.
    #[error("the controller's answer names no agent: {0}")]
    AgentId(String),
    /// The identity could not be kept.
    #[error(transparent)]
    Keep(#[from] IdentityFilesError),
}

/// Enrols this agent and keeps its identity.
///
/// # Errors
/// [`EnrollError`]; nothing is stored then but the key that was asked with, for another try with this token.
pub async fn enroll(
    enrollment: &Enrollment,
    files: &IdentityFiles,
    force: bool,
    dialer: Arc<dyn Dialer>,
    clock: &Clock,
) -> Result<Identity, EnrollError> {
    if files.is_enrolled() && !force {
        return Err(EnrollError::AlreadyEnrolled(files.current_path().display().to_string()));
    }
    let tls = tls::pinned(&enrollment.token.ca_sha256, clock)?;
    let connector = Connector::new(dialer, enrollment.controller.clone());
    let connection = connector.connect(tls).await.map_err(|error| named(error, &enrollment.controller))?;
    let (made, answer) = ask(enrollment, files, &connection).await?;
    let pin = Some(enrollment.token.ca_sha256.as_str());
    let granted = credentials::check(&made.key, answer.certificate, pin, clock)?;
    let identity = Identity {
        agent: answer.agent_id.parse().map_err(EnrollError::AgentId)?,
        name: enrollment.name.clone(),
        controller: enrollment.controller.clone(),
        key: made.key,
        chain: granted.chain,
        trust: granted.trust,
    };
    files.save(&identity)?;
    Ok(identity)
}

/// Asks for a certificate; once more with another kind of key, when the controller wants one.
async fn ask(
    enrollment: &Enrollment,
    files: &IdentityFiles,
    connection: &Connection,
) -> Result<(NewKey, v1::EnrollResponse), EnrollError> {
    let mut algorithm = keys::DEFAULT;
    loop {
        let made = key(enrollment, files, algorithm).await?;
        let request = v1::EnrollRequest {
            join_token: enrollment.token.expose().expose().to_owned(),
            name: enrollment.name.to_string(),
            csr: made.csr.clone(),
            volumes: enrollment.volumes.iter().map(ToString::to_string).collect(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        match connection.enrollment().enroll(request).await {
            Ok(answer) => return Ok((made, answer.into_inner())),
            Err(status) => match keys::wanted(&status, algorithm) {
                // Only from the default, so that two that never agree do not go on forever.
                Some(wanted) if algorithm == keys::DEFAULT => algorithm = wanted,
                _ => return Err(refused(&status)),
            },
        }
    }
}

/// The key that was asked with before, or a new one, kept before anybody sees the token.
async fn key(enrollment: &Enrollment, files: &IdentityFiles, algorithm: KeyAlgorithm) -> Result<NewKey, EnrollError> {
    let Enrollment { token, name, .. } = enrollment;
    if let Some(Ok(before)) = files.asked(token, algorithm).map(|key| credentials::with_key(&key, name)) {
        return Ok(before);
    }
    let made = credentials::new_key_aside(algorithm, name).await?;
    files.keep_asking(token, algorithm, &made.key)?;
    Ok(made)
}

/// Finds the pin's own refusal inside what TLS makes of it.
fn named(error: ConnectError, controller: &Address) -> EnrollError {
    let ConnectError::Tls { source, .. } = &error else { return error.into() };
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other)))) => {
            match other.downcast_ref::<NotTheAuthority>() {
                Some(source) => EnrollError::Rogue { controller: controller.clone(), source: source.clone() },
                None => error.into(),
            }
        }
        _ => error.into(),
    }
}

fn refused(status: &Status) -> EnrollError {
    let said = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => EnrollError::Refused(said),
        _ => EnrollError::Call(said),
    }
}
