//! Who is at the other end: an enrolled agent, by its certificate.
//!
//! The handshake has proved that the certificate comes from our authority and that the other side has
//! its key. Here, on every call and again while a stream is open: it names an agent, it has not ended,
//! it is the one in use, and the agent may connect ([`plan::standing`](crate::plan::standing)). mTLS
//! checks a certificate only at the handshake; a session outlives that.

use cratekube_common::domain::agent::Agent;
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::{AgentId, SessionId};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::tls::sha256_hex;
use cratekube_proto::status::{MAY_RENEW, Refusal};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::prelude::{GeneralName, X509Certificate, parse_x509_certificate};

use super::{GrpcState, store_status};
use crate::edge::Peer;
use crate::pki::authority::Authority;
use crate::pki::issue::AGENT_URI_PREFIX;
use crate::pki::keys;
use crate::plan::standing::{Call, Shown, Standing, Why, standing};
use crate::store::{Bar, BarAgent, Barred, CertificateFacts, CertificateRecord, UseCertificate};

/// What is said to who has a certificate from a root that went.
const UNTRUSTED: &str = "the CA of the client certificate is trusted no more; enroll again";

/// An agent that may speak.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The agent on record.
    pub agent: Agent,
    /// Its certificate.
    pub shown: Shown,
    /// The certificate's generation.
    pub generation: u64,
    /// Whether its key is less than what is certified now: it should renew soon.
    pub weak: bool,
    /// Fingerprint of the root that made its certificate.
    pub issuer: String,
    /// Fingerprints of those that came with it to be trusted; empty when that is not known.
    pub trust: String,
    /// Where it calls from.
    pub address: String,
    /// Cancelled when the agent is locked out.
    pub cut: CancellationToken,
    /// Cancelled when its connection is to end, and ends it.
    pub retire: CancellationToken,
}

/// Checks who calls, and whether it may make this call.
///
/// # Errors
/// `UNAUTHENTICATED` without a usable certificate, `PERMISSION_DENIED` when the agent may not connect.
pub async fn identify<T>(state: &GrpcState, request: &Request<T>, call: Call) -> Result<Caller, Status> {
    let refuse = |why: &str| Refusal::Unauthenticated.status(why);
    let peer = request.extensions().get::<Peer>().ok_or_else(|| refuse("no connection"))?;
    let leaf = peer.certificates.first().ok_or_else(|| refuse("a client certificate is required; enroll first"))?;
    let read = read(leaf, &state.authority).map_err(|error| match error {
        Unread::NoAgent => refuse("the client certificate names no agent"),
        Unread::Untrusted => refuse(UNTRUSTED),
    })?;
    let address = peer.address.ip().to_string();
    let Admitted { agent, generation, trust, cut } = admit(state, &read, call, &address).await?;
    let retire = peer.retire.clone();
    let Read { shown, weak, issuer, .. } = read;
    Ok(Caller { agent, shown, generation, weak, issuer, trust, address, cut, retire })
}

impl Caller {
    /// Whether it is to renew: its key is not enough any more, or the authority's root was exchanged since.
    #[must_use]
    pub fn is_outdated(&self, authority: &Authority) -> bool {
        self.weak || !authority.is_current(&self.issuer, &self.trust)
    }
}

/// The address a call comes from, for records.
pub fn origin<T>(request: &Request<T>) -> String {
    request.extensions().get::<Peer>().map_or_else(|| "unknown".into(), |peer| peer.address.ip().to_string())
}

/// Waits until a caller with an open stream may not go on, ends its connection, and answers why.
///
/// It is looked at as often as it sends heartbeats: a replaced or ended certificate goes unnoticed for
/// as long as that. Locked-out agents are cut sooner, by order.
pub async fn ousted(state: &GrpcState, caller: &Caller) -> Status {
    let why = loop {
        tokio::select! {
            biased;
            () = caller.cut.cancelled() => break Refusal::Forbidden.status("the agent is locked out"),
            () = tokio::time::sleep(state.heartbeat_interval) => {}
        }
        if !state.authority.trusts(&caller.issuer) {
            break Refusal::Unauthenticated.status(UNTRUSTED);
        }
        match look(state, caller.agent.id, &caller.shown, Call::Work).await {
            Ok(Looked { standing: Standing::Good | Standing::FirstUse, .. }) => {}
            // An open stream under a replaced certificate is one that its agent forgot to close.
            Ok(Looked { standing: Standing::Stolen, .. }) => {
                break Refusal::Unauthenticated.status("the certificate was replaced");
            }
            Ok(Looked { standing: Standing::Refused(why), .. }) => break refusal(why),
            // A store that is away for a moment ends no stream; the next look will tell.
            Err(error) => tracing::debug!(agent = %caller.agent.id, %error, "cannot look at an agent again"),
        }
    };
    tracing::warn!(agent = %caller.agent.id, why = why.message(), "an open stream is cut");
    caller.retire.cancel();
    why
}

/// An agent that may make its call.
struct Admitted {
    agent: Agent,
    generation: u64,
    trust: String,
    cut: CancellationToken,
}

async fn admit(state: &GrpcState, read: &Read, call: Call, address: &str) -> Result<Admitted, Status> {
    // Watched before it is looked up, so that a cut in between is not missed.
    let cut = state.cuts.watch(read.agent);
    let Looked { agent, standing, record } = look(state, read.agent, &read.shown, call).await?;
    let recorded = record.as_ref().map(|record| record.generation);
    let generation = recorded.or(read.shown.generation).unwrap_or(agent.certificate_generation);
    let trust = record.map(|record| record.trust).unwrap_or_default();
    match standing {
        Standing::Good => Ok(Admitted { agent, generation, trust, cut }),
        // It was made before a step of a rotation: the one in use stays, and the next is from the root that does.
        Standing::FirstUse
            if recorded.is_some_and(|generation| generation > 1) && !state.authority.stays(&read.issuer) =>
        {
            Err(refusal(Why::Unclaimed))
        }
        Standing::FirstUse => {
            let certificate = CertificateFacts {
                serial: read.shown.serial.clone(),
                generation,
                key_sha256: read.key_sha256.clone(),
                not_after: read.shown.not_after,
                issuer: read.issuer.clone(),
                trust: trust.clone(),
            };
            let request = UseCertificate { agent: agent.id, certificate, now: state.clock.now() };
            match state.store.use_certificate(request).await.map_err(|e| store_status(&e))? {
                true => Ok(Admitted { agent, generation, trust, cut }),
                false => Err(refusal(Why::Unclaimed)),
            }
        }
        Standing::Refused(why) => {
            tracing::info!(agent = %agent.id, address, ?why, "a call of an agent is refused");
            Err(refusal(why))
        }
        Standing::Stolen => {
            quarantine(state, &agent, generation, address).await?;
            Err(refusal(Why::Quarantined))
        }
    }
}

/// An agent, and what its certificate is good for.
struct Looked {
    agent: Agent,
    standing: Standing,
    /// The certificate, if it is on record.
    record: Option<CertificateRecord>,
}

async fn look(state: &GrpcState, id: AgentId, shown: &Shown, call: Call) -> Result<Looked, Status> {
    let agent = state.store.agent(id).await.map_err(|e| store_status(&e))?;
    let unknown = || Refusal::Unauthenticated.status("the agent is not known here; enroll again");
    let agent = agent.ok_or_else(unknown)?;
    let record = state.store.certificate(id, &shown.serial).await.map_err(|e| store_status(&e))?;
    let now = state.clock.now();
    let standing = standing(agent.state, agent.certificate_generation, record.as_ref(), shown, call, now);
    Ok(Looked { agent, standing, record })
}

/// Two hosts hold what should be one key, and nobody can tell which is the right one: both are out.
pub(super) async fn quarantine(state: &GrpcState, agent: &Agent, generation: u64, address: &str) -> Result<(), Status> {
    let detail = format!(
        "certificate {generation} was used from {address} although {} is in use: its key is in two places",
        agent.certificate_generation
    );
    let audit = AuditEntry {
        actor: agent.id.to_string(),
        origin: address.to_owned(),
        action: "agent.quarantine".into(),
        object: agent.name.to_string(),
        outcome: AuditOutcome::Refused,
        detail,
        request_id: state.mint.id::<SessionId>().to_string(),
    };
    let request = BarAgent { agent: agent.id, bar: Bar::Quarantine, audit, now: state.clock.now() };
    if state.store.bar_agent(request).await.map_err(|e| store_status(&e))? == Barred::Now {
        tracing::error!(
            alarm = true, agent = %agent.id, name = %agent.name, address, generation,
            in_use = agent.certificate_generation,
            "a replaced certificate was used: the agent's key is in two places; both are locked out until it is \
             revoked and the right host enrolled again"
        );
    }
    Ok(())
}

fn refusal(why: Why) -> Status {
    match why {
        Why::Revoked => Refusal::Forbidden.status("the agent is revoked"),
        Why::Quarantined => {
            Refusal::Forbidden.status("the agent's key is in two places; an admin has to revoke it, then enroll again")
        }
        Why::Ended => Refusal::Unauthenticated.status("the client certificate has ended; enroll again"),
        Why::EndedMayRenew => {
            let mut status =
                Refusal::Unauthenticated.status("the client certificate has ended; it can only be renewed");
            status.metadata_mut().insert(MAY_RENEW, MetadataValue::from_static("true"));
            status
        }
        Why::Unknown => Refusal::Unauthenticated.status("the client certificate is not on record; enroll again"),
        Why::Unclaimed => Refusal::Unauthenticated.status("a newer certificate was made instead of this one"),
    }
}

/// What a client certificate says.
struct Read {
    agent: AgentId,
    shown: Shown,
    key_sha256: String,
    weak: bool,
    issuer: String,
}

/// Why a client certificate says nothing.
enum Unread {
    /// It names no agent.
    NoAgent,
    /// It is from a root that is trusted no more: its connection is older than the end of a rotation.
    Untrusted,
}

fn read(der: &[u8], authority: &Authority) -> Result<Read, Unread> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| Unread::NoAgent)?;
    let agent = agent(&certificate).ok_or(Unread::NoAgent)?;
    let issuer = authority.issuer_of(&certificate).ok_or(Unread::Untrusted)?;
    let not_after_ms = certificate.validity().not_after.timestamp().saturating_mul(1_000);
    let shown = Shown {
        serial: data_encoding::HEXLOWER.encode(certificate.raw_serial()),
        generation: generation(&certificate),
        not_after: Timestamp::from_millis(not_after_ms),
    };
    let weak = !keys::is_enough(&certificate, authority.algorithm());
    Ok(Read { agent, shown, key_sha256: sha256_hex(certificate.public_key().raw), weak, issuer })
}

fn agent(certificate: &X509Certificate<'_>) -> Option<AgentId> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(AGENT_URI_PREFIX)?.parse().ok(),
        _ => None,
    })
}

/// The generation, from the subject's serial number.
fn generation(certificate: &X509Certificate<'_>) -> Option<u64> {
    certificate.subject().iter_by_oid(&OID_X509_SERIALNUMBER).next()?.as_str().ok()?.parse().ok()
}
