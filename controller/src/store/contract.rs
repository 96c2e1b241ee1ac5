//! The values that go into and come out of the store's verbs.

use std::time::Duration;

use bytes::Bytes;
use cratekube_common::domain::agent::{Agent, AgentEvent, AgentState, VolumeStatus};
use cratekube_common::domain::api_key::ApiKey;
use cratekube_common::domain::attempt::{AttemptState, Fence};
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::id::{AgentId, AttemptId, ClusterId, JoinTokenId, OperationId, TaskId, VolumeId};
use cratekube_common::domain::name::{AgentName, ClusterName, EnvironmentName};
use cratekube_common::domain::operation::{Operation, OperationKind, OperationState};
use cratekube_common::domain::run::{Assignment, RkeBinary};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::domain::time::Timestamp;

/// A fault of the store itself.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is busy or full; the same call may succeed later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It cannot be opened.
    #[error("cannot open the store: {0}")]
    Open(String),
    /// What it holds cannot be read, or a rule that must hold does not.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next part begins; none at the end.
    pub next: Option<String>,
}

/// Which part of a list: keyset paging, no offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// The `next` of the part before.
    pub after: Option<String>,
    /// At most so many items.
    pub limit: usize,
}

/// Makes a repeated request find the first one's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Whose key it is; keys of different subjects are independent.
    pub subject: String,
    /// The key.
    pub key: String,
    /// SHA-256 of what was asked for; another one under the same key is a mistake.
    pub digest: String,
    /// When it may be forgotten.
    pub expires_at: Timestamp,
}

/// A new cluster and its provision.
#[derive(Debug, Clone)]
pub struct AcceptProvision {
    /// Ids, minted by the caller.
    pub cluster: ClusterId,
    /// Id of the operation.
    pub operation: OperationId,
    /// One id for each of the operation's tasks.
    pub tasks: Vec<TaskId>,
    /// Where.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// Whether it is protected against removal from the start.
    pub deletion_protection: bool,
    /// Desired state, secrets masked.
    pub spec: ClusterSpec,
    /// The secrets of the spec, encrypted by the caller; none when it has none.
    pub sealed_secrets: Option<Vec<u8>>,
    /// Who asks.
    pub requested_by: String,
    /// Warnings of validation, kept with the operation.
    pub warnings: Vec<String>,
    /// Against double requests.
    pub idempotency: Option<Idempotency>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// An operation on an existing cluster.
#[derive(Debug, Clone)]
pub struct AcceptOperation {
    /// Id of the operation.
    pub operation: OperationId,
    /// One id for each of the operation's tasks.
    pub tasks: Vec<TaskId>,
    /// What to do.
    pub kind: OperationKind,
    /// Where.
    pub environment: EnvironmentName,
    /// On which cluster.
    pub name: ClusterName,
    /// Only if the cluster is still at this revision.
    pub if_revision: Option<u64>,
    /// Who asks.
    pub requested_by: String,
    /// Why.
    pub reason: Option<String>,
    /// The generation to recover state from, when one is named.
    pub generation: Option<u64>,
    /// The operation that this one repeats; then only if its cluster is still there.
    pub retry_of: Option<(OperationId, ClusterId)>,
    /// Against double requests.
    pub idempotency: Option<Idempotency>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// A spec that a cluster is to be brought to.
#[derive(Debug, Clone)]
pub struct AcceptReconfigure {
    /// The cluster that was looked at; another one of the same name is not meant.
    pub cluster: ClusterId,
    /// The revision that was looked at.
    pub revision: u64,
    /// Id of the operation.
    pub operation: OperationId,
    /// One id for each of the operation's tasks.
    pub tasks: Vec<TaskId>,
    /// Where.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// What is to hold from now on; none to apply what holds already once more.
    pub change: Option<SpecChange>,
    /// Who asks.
    pub requested_by: String,
    /// Warnings of validation, kept with the operation.
    pub warnings: Vec<String>,
    /// Against double requests.
    pub idempotency: Option<Idempotency>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// A spec that takes the place of another.
#[derive(Debug, Clone)]
pub struct SpecChange {
    /// Desired state, secrets masked.
    pub spec: ClusterSpec,
    /// The secrets of the spec, encrypted by the caller; none when it has none.
    pub sealed_secrets: Option<Vec<u8>>,
}

/// One of the specs that a cluster had.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Its number, from 1.
    pub number: u64,
    /// Desired state, secrets masked.
    pub spec: ClusterSpec,
    /// The operation that made it.
    pub operation: OperationId,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When the cluster was last found to be as it says.
    pub verified_at: Option<Timestamp>,
}

/// Everything that a change of a cluster is weighed against.
#[derive(Debug, Clone, PartialEq)]
pub struct PresentCluster {
    /// The cluster.
    pub cluster: Cluster,
    /// The secrets of its spec, as the caller encrypted them.
    pub sealed_secrets: Option<Vec<u8>>,
    /// The newest spec that it was found to be as.
    pub verified: Option<Revision>,
    /// The agent that serves its state volume.
    pub agent: Option<Agent>,
}

/// A wish to end an operation.
#[derive(Debug, Clone)]
pub struct CancelOperation {
    /// Which.
    pub operation: OperationId,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of a wish to end an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancellation {
    /// Nothing of it runs, and nothing will.
    Cancelled(Box<Operation>),
    /// A run of it is to be ended; its agent is to be told.
    Ending {
        /// The operation as it is now.
        operation: Box<Operation>,
        /// The agent that has the run.
        agent: AgentId,
        /// The run.
        attempt: AttemptId,
    },
    /// It ended before, otherwise.
    Over(OperationState),
    /// There is no such operation.
    NotFound,
}

/// An admin's word that a run whose end is not known cannot act any more.
#[derive(Debug, Clone)]
pub struct ForceUnlock {
    /// Where.
    pub environment: EnvironmentName,
    /// Which cluster.
    pub name: ClusterName,
    /// Why; told in the failure of the operation.
    pub reason: String,
    /// Agents that are connected now: what they hold is not forced.
    pub connected: Vec<AgentId>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of an admin's word.
#[derive(Debug, Clone, PartialEq)]
pub enum Forced {
    /// The attempt is fenced, its operation failed, the cluster free.
    Done(Box<Operation>),
    /// The agent that has the run is connected: nothing is unknown.
    Alive(AgentId),
    /// No run holds the cluster.
    NotLocked,
    /// There is no such cluster.
    NotFound,
}

/// An admin's step of an agent's life.
#[derive(Debug, Clone)]
pub struct ChangeAgent {
    /// Which.
    pub agent: AgentId,
    /// What is done to it.
    pub event: AgentEvent,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of an admin's step.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentChanged {
    /// Done, or so before.
    Done(Box<Agent>),
    /// Its state does not allow it.
    NotAllowed(AgentState),
    /// There is no such agent.
    NotFound,
}

/// An agent that will not return.
#[derive(Debug, Clone)]
pub struct ForgetAgent {
    /// Which.
    pub agent: AgentId,
    /// Why; told in the failures of the operations that are given up.
    pub reason: String,
    /// Whether runs whose end is not known are given up too.
    pub force: bool,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of forgetting an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Forgotten {
    /// It may connect no more and serves no volume; these operations were given up.
    Done(Vec<OperationId>),
    /// It holds these attempts.
    Holds(Vec<AttemptId>),
    /// There is no such agent.
    NotFound,
}

/// What became of a request for an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Acceptance {
    /// Recorded.
    Accepted(Box<Operation>),
    /// The same request was accepted before; this is its operation as it is now.
    Replayed(Box<Operation>),
    /// The idempotency key was used for something else.
    KeyReused,
    /// A cluster of this name exists (and is not removed).
    Exists,
    /// There is no such cluster.
    NotFound,
    /// Another operation is at work on the cluster.
    Busy(OperationId),
    /// The cluster changed since; this is its revision.
    Changed(u64),
    /// The cluster is protected against removal.
    Protected,
    /// The cluster's phase does not allow it, in words.
    NotAllowed(String),
}

/// Protection of a cluster against removal, put on or taken away.
#[derive(Debug, Clone)]
pub struct ProtectCluster {
    /// Where.
    pub environment: EnvironmentName,
    /// Which cluster.
    pub name: ClusterName,
    /// On or off.
    pub protection: bool,
    /// Only if the cluster is still at this revision.
    pub if_revision: Option<u64>,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of a wish for protection.
#[derive(Debug, Clone, PartialEq)]
pub enum Protected {
    /// It is as asked for now; the cluster.
    Done(Box<Cluster>),
    /// There is no such cluster.
    NotFound,
    /// The cluster changed since; this is its revision.
    Changed(u64),
}

/// Which clusters.
#[derive(Debug, Clone)]
pub struct ClusterFilter {
    /// Where.
    pub environment: EnvironmentName,
    /// Removed ones too.
    pub include_removed: bool,
}

/// Which operations.
#[derive(Debug, Clone, Default)]
pub struct OperationFilter {
    /// In environments that one of these patterns names.
    pub environments: Vec<EnvironmentPattern>,
    /// Of this environment only.
    pub environment: Option<EnvironmentName>,
    /// Of the cluster of this name only.
    pub cluster: Option<ClusterName>,
    /// In this state only.
    pub state: Option<OperationState>,
}

/// An environment and how many clusters it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentSummary {
    /// Its name.
    pub name: EnvironmentName,
    /// Clusters that are not removed.
    pub clusters: u64,
}

/// One attempt as watchers of its operation see it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// Its id.
    pub id: AttemptId,
    /// The task.
    pub task: TaskId,
    /// What was done.
    pub kind: TaskKind,
    /// Where it is.
    pub state: AttemptState,
    /// The agent that has it.
    pub agent: AgentId,
    /// Its fence.
    pub fence: Fence,
    /// When it was leased.
    pub leased_at: Timestamp,
    /// When the run was recorded by the agent.
    pub started_at: Option<Timestamp>,
    /// When its end was recorded.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Which `rke` ran.
    pub rke: Option<RkeBinary>,
    /// Where its output begins within the operation's output.
    pub output_offset: u64,
    /// Bytes of its output.
    pub output_bytes: u64,
    /// True when another agent went on with the run than the one that began it.
    pub taken_over: bool,
}

/// Something that was refused and is kept as evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Its number; newer ones are higher.
    pub number: u64,
    /// `report` or `output`.
    pub kind: String,
    /// The attempt it named.
    pub attempt: String,
    /// The agent it came from.
    pub agent: AgentId,
    /// The fence it carried.
    pub fence: Fence,
    /// The report, or place, size and checksum of the output, as JSON.
    pub document: serde_json::Value,
    /// When it came.
    pub at: Timestamp,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number; later ones are higher, and there may be gaps.
    pub number: u64,
    /// When it was kept.
    pub at: Timestamp,
    /// What: `operation.running`, `cluster.ready`, `attempt.unknown`, `agent.connected`, `volume.served`, …
    pub kind: String,
    /// Where; none for what concerns administrators.
    pub environment: Option<EnvironmentName>,
    /// The cluster's name.
    pub cluster: Option<ClusterName>,
    /// The operation.
    pub operation: Option<OperationId>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// More of it, by kind.
    pub detail: serde_json::Value,
}

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// In environments that one of these patterns names.
    pub environments: Vec<EnvironmentPattern>,
    /// Those that concern administrators, too.
    pub administrative: bool,
    /// Of this environment only.
    pub environment: Option<EnvironmentName>,
    /// Of clusters of this name only.
    pub cluster: Option<ClusterName>,
    /// Of these kinds only: `cluster` stands for all that begin with `cluster.`.
    pub kinds: Vec<String>,
}

/// A part of what happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// The events, oldest first.
    pub items: Vec<Event>,
    /// Up to where was looked: go on after this one.
    pub upto: u64,
    /// The oldest that is kept; what came before is forgotten.
    pub oldest: u64,
    /// The newest.
    pub newest: u64,
}

/// How long events are kept: longer than any watcher is away.
pub const EVENT_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPiece {
    /// The bytes, from the offset asked for.
    pub data: Bytes,
    /// Where the output ends for now.
    pub end: u64,
    /// True when nothing will be added: the operation is over.
    pub complete: bool,
}

/// What became of a piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputAppended {
    /// So many bytes of this run are stored now, durably.
    Stored {
        /// Bytes from the beginning of the run.
        stored: u64,
        /// The operation they belong to, for those who watch it.
        operation: OperationId,
    },
    /// The attempt is settled, superseded or not this agent's: nothing was stored.
    Closed,
}

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
}

/// A certificate of an agent, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateRecord {
    /// How many certificates the agent had with it, from 1.
    pub generation: u64,
    /// When it was first shown; a new one is not in use before that.
    pub used_at: Option<Timestamp>,
    /// When a newer one took its place.
    pub replaced_at: Option<Timestamp>,
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

/// What a heartbeat says.
#[derive(Debug, Clone)]
pub struct HeartbeatFacts {
    /// When it came.
    pub seen_at: Timestamp,
    /// The agent's clock minus ours, in milliseconds.
    pub clock_skew_ms: i64,
    /// Its volumes.
    pub volumes: Vec<VolumeStatus>,
}

/// A wish for work.
#[derive(Debug, Clone)]
pub struct LeaseTasks {
    /// The agent.
    pub agent: AgentId,
    /// Ids for the attempts; as many tasks are leased at most.
    pub attempts: Vec<AttemptId>,
    /// Volumes it serves without a fault, in its order.
    pub volumes: Vec<VolumeId>,
    /// Environments whose new clusters it may be given.
    pub environments: EnvironmentPattern,
    /// When.
    pub now: Timestamp,
}

/// A task that was leased.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedTask {
    /// What the agent is to do; secrets of the spec masked.
    pub assignment: Assignment,
    /// The secrets of the spec, as the caller of `accept_provision` encrypted them.
    pub sealed_secrets: Option<Vec<u8>>,
}

/// What became of a conditional change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Done, or done before. The operation it belongs to, for those who watch it.
    Done(OperationId),
    /// The attempt is settled, superseded, under another fence or not this agent's.
    Stale,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Recorded.
    Now {
        /// The operation, for those who watch it.
        operation: OperationId,
        /// True when a task may be leased now that could not before.
        more_work: bool,
        /// The task that is to be tried again, and how long it waits for that.
        retry: Option<(TaskId, Duration)>,
    },
    /// This very report was recorded before.
    Already(OperationId),
    /// So many bytes of its output are stored, fewer than the report names: send them first.
    OutputMissing {
        /// Bytes stored.
        stored: u64,
    },
    /// The attempt is superseded or not this agent's. The report is kept as evidence, not applied.
    Stale,
}

/// An API key to keep.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What is known of it.
    pub key: ApiKey,
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
}

/// An API key that someone shows.
#[derive(Debug, Clone)]
pub struct UseApiKey {
    /// The part that names it.
    pub handle: String,
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
    /// The audit entry of its use; actor and object are set by the store.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of an API key that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyUsed {
    /// It counts; its use was noted.
    Accepted(Box<ApiKey>),
    /// It does not. The other side is told no reason; the audit is.
    Refused(ApiKeyRefusal),
}

/// Why an API key does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyRefusal {
    /// No such key.
    Unknown,
    /// The handle is known, the rest is not that key's.
    Wrong,
    /// Ended.
    Expired,
    /// Revoked.
    Revoked,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub entry: AuditEntry,
    /// SHA-256 over it and the hash of the entry before it.
    pub hash: Vec<u8>,
}

/// Where the chain of the audit log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLink {
    /// Number of an entry.
    pub number: u64,
    /// Its hash.
    pub hash: Vec<u8>,
}

/// Which entries of the audit log; what is not given is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this actor.
    pub actor: Option<String>,
    /// This action.
    pub action: Option<String>,
    /// On this object.
    pub object: Option<String>,
    /// With this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// How long an idempotency key is remembered: longer than any client retries.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3600);
