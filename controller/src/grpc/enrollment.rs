//! A join token and a key become an agent with a certificate.
//!
//! The other side is told no reason for a refusal: which token exists, was used or has ended is for
//! the log and the audit.

use std::time::Duration;

use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::{AgentId, VolumeId};
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::domain::name::AgentName;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::tls::sha256_hex;
use cratekube_proto::convert::parse;
use cratekube_proto::status::Refusal;
use cratekube_proto::v1;
use cratekube_proto::v1::enrollment_server::Enrollment;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, async_trait};

use super::{GrpcState, peer, store_status};
use crate::edge::Peer;
use crate::edge::bucket::{Buckets, Rate};
use crate::metrics::NotEnrolled;
use crate::pki::PkiError;
use crate::pki::issue::Issued;
use crate::store::{EnrollAgent, EnrollRefusal, Enrolled};

/// From one address: a rack of new bastions behind one NAT at once, then one a second.
const FROM_ONE: Rate = Rate { every: Duration::from_secs(1), burst: 20 };
/// From all together: each try costs a signature and a write.
const FROM_ALL: Rate = Rate { every: Duration::from_millis(50), burst: 100 };

/// How fast join tokens may be tried.
#[must_use]
pub fn limits(clock: Clock) -> Buckets {
    Buckets::new(FROM_ONE, FROM_ALL, clock)
}

/// More volumes than one host can mount.
const MAX_VOLUMES: usize = 256;

/// The enrolment service.
#[derive(Debug)]
pub struct Enroll {
    state: GrpcState,
}

impl Enroll {
    /// The service.
    #[must_use]
    pub fn new(state: GrpcState) -> Self {
        Self { state }
    }

    /// Lets a stranger try, not too often.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(peer) = request.extensions().get::<Peer>() else { return Ok(()) };
        let Err(wait) = self.state.enrolments.take(peer.address.ip()) else { return Ok(()) };
        let seconds = wait.as_secs().saturating_add(1);
        self.state.metrics.not_enrolled(NotEnrolled::TooOften);
        tracing::debug!(address = %peer.address.ip(), seconds, "enrolment refused: too many tries");
        let mut status = Refusal::Exhausted.status(format!("too many tries; try again in {seconds} s"));
        status.metadata_mut().insert("retry-after", seconds.into());
        Err(status)
    }

    async fn record(
        &self,
        token: &JoinToken,
        id: AgentId,
        name: AgentName,
        volumes: Vec<VolumeId>,
        issued: &Issued,
        origin: String,
    ) -> Result<Enrolled, Status> {
        let audit = AuditEntry {
            actor: id.to_string(),
            origin,
            action: "agent.enroll".into(),
            object: name.to_string(),
            outcome: AuditOutcome::Allowed,
            detail: String::new(),
            request_id: self.state.mint.id::<cratekube_common::domain::id::SessionId>().to_string(),
        };
        let request = EnrollAgent {
            secret_sha256: sha256_hex(token.secret.expose().as_bytes()),
            agent: id,
            name,
            volumes,
            certificate: issued.facts(),
            audit,
            now: self.state.clock.now(),
        };
        self.state.store.enroll_agent(request).await.map_err(|e| store_status(&e))
    }
}

#[async_trait]
impl Enrollment for Enroll {
    async fn enroll(&self, request: Request<v1::EnrollRequest>) -> Result<Response<v1::EnrollResponse>, Status> {
        let origin = peer::origin(&request);
        self.admit(&request)?;
        let wire = request.into_inner();
        let name: AgentName = parse("name", &wire.name)?;
        let refused = || Refusal::Forbidden.status("the join token is not accepted; ask an admin for a new one");
        let token: JoinToken = wire.join_token.parse().map_err(|_| refused())?;
        let volumes = volumes(&wire.volumes)?;
        let pinned = Some(token.ca_sha256.as_str());
        let issue = |id| self.state.authority.issue_agent(&wire.csr, id, &name, 1, pinned).map_err(|e| not_issued(&e));
        let mut id: AgentId = self.state.mint.id();
        let mut issued = issue(id)?;
        let mut enrolled = self.record(&token, id, name.clone(), volumes.clone(), &issued, origin.clone()).await?;
        if let Enrolled::Before(earlier) = enrolled {
            (id, issued) = (earlier, issue(earlier)?);
            enrolled = self.record(&token, id, name.clone(), volumes, &issued, origin.clone()).await?;
        }
        match enrolled {
            Enrolled::New => {}
            Enrolled::Refused(EnrollRefusal::Used) | Enrolled::Before(_) => {
                self.state.metrics.not_enrolled(NotEnrolled::Reused);
                tracing::error!(alarm = true, %name, origin, "a join token was used a second time");
                return Err(refused());
            }
            Enrolled::Refused(reason) => {
                self.state.metrics.not_enrolled(NotEnrolled::Refused);
                tracing::warn!(%name, origin, ?reason, "enrolment refused");
                return Err(refused());
            }
        }
        tracing::info!(agent = %id, %name, origin, version = wire.version, "agent enrolled");
        let certificate = certificate(&issued);
        Ok(Response::new(v1::EnrollResponse { agent_id: id.to_string(), certificate: Some(certificate) }))
    }
}

/// Why there is no certificate; one whose key is not good enough is told what would do.
pub(super) fn not_issued(error: &PkiError) -> Status {
    let mut status = Refusal::Malformed.status(error.to_string());
    if let PkiError::Key(wanted) = error {
        status.metadata_mut().insert("key-algorithm", MetadataValue::from_static(wanted.as_str()));
    }
    status
}

fn volumes(wire: &[String]) -> Result<Vec<VolumeId>, Status> {
    if wire.len() > MAX_VOLUMES {
        return Err(Refusal::Exhausted.status("too many volumes"));
    }
    wire.iter().map(|id| parse("volumes", id).map_err(Status::from)).collect()
}

/// A certificate as it is sent.
pub(super) fn certificate(issued: &Issued) -> v1::Certificate {
    v1::Certificate {
        chain: vec![issued.certificate.to_vec(), issued.issuer_certificate.to_vec()],
        trust_bundle: issued.trust_bundle.iter().map(|root| root.to_vec()).collect(),
        not_after_ms: issued.not_after.as_millis(),
    }
}
