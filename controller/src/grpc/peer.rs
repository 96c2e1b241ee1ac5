//! Who is at the other end: an enrolled agent, by its certificate.
//!
//! The handshake has proved that the certificate comes from our authority and that the other side has
//! its key. Here, on every call: it names an agent, it has not ended, and the agent may connect. mTLS
//! checks the end of a certificate only at the handshake; a session outlives that.

use cratekube_common::domain::agent::{Agent, AgentState};
use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::time::Timestamp;
use cratekube_proto::status::Refusal;
use tonic::{Request, Status};
use x509_parser::prelude::{GeneralName, parse_x509_certificate};

use super::{GrpcState, store_status};
use crate::edge::Peer;
use crate::pki::issue::AGENT_URI_PREFIX;

/// An agent that may speak.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The agent on record.
    pub agent: Agent,
    /// When its certificate ends.
    pub not_after: Timestamp,
    /// Where it calls from.
    pub address: String,
}

/// Checks who calls.
///
/// # Errors
/// `UNAUTHENTICATED` without a usable certificate, `PERMISSION_DENIED` when the agent may not connect.
pub async fn identify<T>(state: &GrpcState, request: &Request<T>) -> Result<Caller, Status> {
    let refuse = |why: &str| Refusal::Unauthenticated.status(why);
    let peer = request.extensions().get::<Peer>().ok_or_else(|| refuse("no connection"))?;
    let leaf = peer.certificates.first().ok_or_else(|| refuse("a client certificate is required; enroll first"))?;
    let (id, not_after) = read(leaf).ok_or_else(|| refuse("the client certificate names no agent"))?;
    if state.clock.now() > not_after {
        return Err(refuse("the client certificate has ended; enroll again"));
    }
    let agent = state.store.agent(id).await.map_err(|e| store_status(&e))?;
    let agent = agent.ok_or_else(|| refuse("the agent is not known here; enroll again"))?;
    if agent.state == AgentState::Revoked {
        return Err(Refusal::Forbidden.status("the agent is revoked"));
    }
    Ok(Caller { agent, not_after, address: peer.address.ip().to_string() })
}

/// The address a call comes from, for records.
pub fn origin<T>(request: &Request<T>) -> String {
    request.extensions().get::<Peer>().map_or_else(|| "unknown".into(), |peer| peer.address.ip().to_string())
}

fn read(der: &[u8]) -> Option<(AgentId, Timestamp)> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let id = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(AGENT_URI_PREFIX)?.parse().ok(),
        _ => None,
    })?;
    let not_after_ms = certificate.validity().not_after.timestamp().saturating_mul(1_000);
    Some((id, Timestamp::from_millis(not_after_ms)))
}
