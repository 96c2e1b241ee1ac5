//! Join tokens, enrolment and certificates of agents.

use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::{AgentId, JoinTokenId, VolumeId};
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::time::Timestamp;

/// A join token to keep.
#[derive(Debug, Clone)]
pub struct NewJoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// SHA-256 of the secret, lower-case hex.
    pub secret_sha256: String,
    /// Only for an agent of this name.
    pub agent: Option<AgentName>,
    /// Only for an agent that serves this volume.
    pub volume: Option<VolumeId>,
    /// Environments whose new clusters the agent may be given.
    pub environments: EnvironmentPattern,
    /// Who asked for it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A join token as admins see it: all but its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTokenRecord {
    /// Its id.
    pub id: JoinTokenId,
    /// Only for an agent of this name.
    pub agent: Option<AgentName>,
    /// Only for an agent that serves this volume.
    pub volume: Option<VolumeId>,
    /// Environments whose new clusters the agent may be given.
    pub environments: EnvironmentPattern,
    /// Who asked for it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was used, and by which agent.
    pub used: Option<(Timestamp, AgentId)>,
}

/// What became of the wish to withdraw a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// It is gone.
    Done,
    /// It was used; what it made is an agent now.
    Used,
    /// There is none.
    NotFound,
}

/// An agent that enrols.
#[derive(Debug, Clone)]
pub struct EnrollAgent {
    /// SHA-256 of the join token's secret, lower-case hex.
    pub secret_sha256: String,
    /// Id for the agent if it is new.
    pub agent: AgentId,
    /// Name it wants.
    pub name: AgentName,
    /// Volumes that it says it serves.
    pub volumes: Vec<VolumeId>,
    /// The certificate that was made for it (thrown away when refused).
    pub certificate: CertificateFacts,
    /// The audit entry; its outcome is set by the store.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// Recorded under the id given.
    New,
    /// This agent came of the same token and the same key, and was never seen: the answer was lost. Ask again
    /// under its id, with a certificate for it.
    Before(AgentId),
    /// Refused. The other side is told no reason; the log and the audit are.
    Refused(EnrollRefusal),
}

/// Why an enrolment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrollRefusal {
    /// No such token.
    Unknown,
    /// Used before: an alarm.
    Used,
    /// Ended.
    Expired,
    /// For another agent.
    OtherName,
    /// For an agent that serves another volume.
    OtherVolume,
    /// An agent of this name is enrolled and not revoked.
    NameTaken,
    /// Its name or its key is banned.
    Banned,
}

/// A certificate that was made for an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Serial number, lower-case hex.
    pub serial: String,
    /// How many certificates the agent had with it, from 1.
    pub generation: u64,
    /// SHA-256 of the public key (DER), lower-case hex.
    pub key_sha256: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// Fingerprint of the root that made it.
    pub issuer: String,
    /// Fingerprints of those that came with it to be trusted, sorted, with a blank between them; empty when that
    /// is not known.
    pub trust: String,
}

/// A certificate of an agent, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// How many certificates the agent had with it, from 1.
    pub generation: u64,
    /// When it was first shown; a new one is not in use before that.
    pub used_at: Option<Timestamp>,
    /// When a newer one took its place.
    pub replaced_at: Option<Timestamp>,
    /// Fingerprints of those that came with it to be trusted, as in [`CertificateFacts`].
    pub trust: String,
}

/// An agent shows a certificate for the first time.
#[derive(Debug, Clone)]
pub struct UseCertificate {
    /// The agent.
    pub agent: AgentId,
    /// The certificate. Recorded now when it is not known: its signature proves that it was made here.
    pub certificate: CertificateFacts,
    /// When.
    pub now: Timestamp,
}

/// A new certificate for an agent.
#[derive(Debug, Clone)]
pub struct RenewAgent {
    /// The agent.
    pub agent: AgentId,
    /// Serial number of the certificate it showed when it asked.
    pub shown: String,
    /// The one that was made for it.
    pub certificate: CertificateFacts,
    /// When.
    pub now: Timestamp,
}

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// Recorded; in use once it is shown.
    Now,
    /// The certificate it was asked with is not the one in use.
    Superseded,
    /// There is no such agent, or it may not connect.
    NotAllowed,
}

/// An agent is locked out.
#[derive(Debug, Clone)]
pub struct BarAgent {
    /// The agent.
    pub agent: AgentId,
    /// How.
    pub bar: Bar,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// Ways to lock an agent out, each on every controller at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    /// Until an admin revokes it: someone else may have its key.
    Quarantine,
    /// It has to enrol again.
    Revoke,
    /// It is revoked, and neither its name nor one of its keys may enrol.
    Ban,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// Done.
    Now,
    /// It was so before.
    Already,
    /// There is no such agent.
    NotFound,
}

/// An agent whose connections end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Its number; numbers grow.
    pub number: u64,
    /// The agent.
    pub agent: AgentId,
}
