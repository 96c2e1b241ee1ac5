//! The store contract: domain verbs, each one atomic and durable when it answers.
//!
//! Invariants every implementation keeps (the conformance suite checks them):
//! - what was answered survives power loss; what was not answered may or may not have happened, and a
//!   caller may ask again: every verb is idempotent by the identifiers it is given;
//! - at most one attempt per cluster is in a [locking state](cratekube_common::domain::attempt::LOCKING),
//!   held by a unique index and not by good behaviour;
//! - a life-cycle step that the domain's `transition` functions refuse is refused here;
//! - anything that carries an old fence or belongs to another agent changes nothing;
//! - the audit entry of a change is written in the same transaction.
//!
//! "Not found" is `Ok(None)`. A conditional change tells *done*, *found but not allowed* and *not
//! found* apart in its answer; [`StoreError`] is for faults of the store itself.
//!
//! Not here: leases in time. Who is late is decided with a monotonic clock by `service::leases`; the
//! store is told by [`Store::lose_attempts`].

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod contract;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use cratekube_common::domain::agent::Agent;
use cratekube_common::domain::alarm::{Alarm, AlarmKind};
use cratekube_common::domain::api_key::ApiKey;
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::cluster::resource::ResourceName;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::{
    AgentId, AttemptId, ClusterId, JoinTokenId, OperationId, OrphanScanId, TaskId, VolumeId,
};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::Operation;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::removal::{OrphanInput, RemovalOptions, RemovalWish};
use cratekube_common::domain::revocation::Revocation;
use cratekube_common::domain::run::{Rotation, RunReport, RunVerdict};
use cratekube_common::domain::time::Timestamp;

pub use contract::*;

use crate::plan::settle::RetryPolicy;

/// What controllers keep. See the module's opening for what every verb promises.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    // --- what users ask for -------------------------------------------------------------------

    /// Records a new cluster with its provision operation and tasks.
    async fn accept_provision(&self, request: AcceptProvision) -> Result<Acceptance, StoreError>;

    /// Records an operation on an existing cluster (a removal; later kinds come the same way).
    async fn accept_operation(&self, request: AcceptOperation) -> Result<Acceptance, StoreError>;

    /// Records a rotation of certificates. An operation of this kind that repeats another one renews what that
    /// one was to renew, and is recorded by [`Self::accept_operation`].
    async fn accept_rotation(&self, request: AcceptOperation, rotation: Rotation) -> Result<Acceptance, StoreError>;

    /// Records the removal of a cluster, and what it is to do. One that repeats another one is recorded by
    /// [`Self::accept_operation`]: it does what that one was to do, and goes on where that one failed, unless
    /// something else was done with the cluster since.
    async fn accept_removal(&self, request: AcceptOperation, wish: RemovalWish) -> Result<Acceptance, StoreError>;

    /// Records a changed spec with its operation, if the cluster is still the one that was looked at.
    /// The spec before it is kept as a revision. An operation that is called off before anything of it
    /// ran takes its change back, as a further revision.
    async fn accept_reconfigure(&self, request: AcceptReconfigure) -> Result<Acceptance, StoreError>;

    /// What became of a request under this key, if it was made before: `Replayed` or `KeyReused`.
    async fn repeated(&self, idempotency: Idempotency, now: Timestamp) -> Result<Option<Acceptance>, StoreError>;
    /// Protects a cluster against removal, or ends that.
    async fn protect_cluster(&self, request: ProtectCluster) -> Result<Protected, StoreError>;

    /// Keeps a managed resource of a cluster, with the operation that brings it in where one is needed; or one
    /// of an environment's set.
    async fn put_resource(&self, request: PutResource) -> Result<ResourceChange, StoreError>;

    /// Deletes a managed resource: at once when the cluster can have nothing of it, otherwise it is withdrawn
    /// and goes when a configuration has taken it away.
    async fn delete_resource(&self, request: DeleteResource) -> Result<ResourceChange, StoreError>;

    /// The managed resources of a cluster, oldest first; at most as many as a cluster may have.
    async fn resources(&self, cluster: ClusterId) -> Result<Vec<Resource>, StoreError>;

    /// One managed resource of a cluster, with its manifest.
    async fn resource(&self, cluster: ClusterId, name: &ResourceName) -> Result<Option<SealedResource>, StoreError>;

    /// The set that every new cluster of an environment gets, by name.
    async fn default_resources(&self, environment: &EnvironmentName) -> Result<Vec<Resource>, StoreError>;

    /// One resource of that set, with its manifest.
    async fn default_resource(
        &self,
        environment: &EnvironmentName,
        name: &ResourceName,
    ) -> Result<Option<SealedResource>, StoreError>;

    /// What the last check of a cluster found.
    async fn health(&self, cluster: ClusterId) -> Result<Option<HealthRecord>, StoreError>;

    /// Notes that a kubeconfig was issued, and marks the cluster when it is an administrators' one. False
    /// when there is no such cluster any more: it must not be handed out then.
    async fn note_kubeconfig(&self, request: KubeconfigIssued) -> Result<bool, StoreError>;

    /// Ends an operation: at once when nothing of it runs, or by asking its agent to end the run.
    async fn cancel_operation(&self, request: CancelOperation) -> Result<Cancellation, StoreError>;

    /// Gives up the run that holds a cluster, on an admin's word: the attempt is fenced, the cluster's
    /// fence moves on, the operation fails. Whatever comes of that run later is evidence.
    async fn force_unlock(&self, request: ForceUnlock) -> Result<Forced, StoreError>;

    /// Ends a removal that cannot be finished, on an admin's word: its cluster counts as removed, whatever is
    /// left of it. Refused while a run holds the cluster.
    async fn abandon_removal(&self, request: AbandonRemoval) -> Result<Abandoned, StoreError>;

    /// What is known of a removal; nothing for other operations.
    async fn removal(&self, operation: OperationId) -> Result<Option<RemovalRecord>, StoreError>;

    /// What a removal of this cluster would be told.
    async fn removal_options(&self, cluster: ClusterId, wish: RemovalWish) -> Result<RemovalOptions, StoreError>;

    /// A cluster by name; the newest of that name when the name was used before. Secrets masked.
    async fn cluster(&self, environment: &EnvironmentName, name: &ClusterName) -> Result<Option<Cluster>, StoreError>;

    /// A cluster by name, with what a change of it is weighed against.
    async fn present_cluster(
        &self,
        environment: &EnvironmentName,
        name: &ClusterName,
    ) -> Result<Option<PresentCluster>, StoreError>;

    /// The specs that a cluster had, newest first; the newest is the one it has.
    async fn revisions(&self, cluster: ClusterId, page: PageRequest) -> Result<Page<Revision>, StoreError>;

    /// Clusters of one environment by name, removed ones only when asked for.
    async fn clusters(&self, filter: ClusterFilter, page: PageRequest) -> Result<Page<Cluster>, StoreError>;

    /// Environments that have clusters which are not removed, by name, with their number.
    async fn environments(&self) -> Result<Vec<EnvironmentSummary>, StoreError>;

    /// An operation.
    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError>;

    /// Operations, newest first.
    async fn operations(&self, filter: OperationFilter, page: PageRequest) -> Result<Page<Operation>, StoreError>;

    /// The tasks of an operation, in their order.
    async fn tasks(&self, operation: OperationId) -> Result<Vec<TaskRecord>, StoreError>;

    /// The attempts of an operation, oldest first.
    async fn attempts(&self, operation: OperationId) -> Result<Vec<AttemptRecord>, StoreError>;

    /// Generations of a cluster, newest first.
    async fn generations(&self, cluster: ClusterId, page: PageRequest) -> Result<Page<Manifest>, StoreError>;

    // --- output -------------------------------------------------------------------------------

    /// A piece of an operation's output: the runs of all its attempts, one after the other.
    /// Answers at most `max` bytes from `offset`, and where the output ends for now: while a run goes on,
    /// before the last bytes that may still turn out to be a secret.
    async fn read_output(&self, operation: OperationId, offset: u64, max: usize) -> Result<OutputPiece, StoreError>;

    /// Stores output of a run. `offset` counts from the beginning of that run. What is stored already
    /// is skipped; a gap stores nothing. Secrets are masked, byte by byte. Durable when it answers. Output that is refused leaves evidence.
    async fn append_output(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        offset: u64,
        data: Bytes,
        now: Timestamp,
    ) -> Result<OutputAppended, StoreError>;

    // --- what agents do -----------------------------------------------------------------------

    /// Keeps a join token (its hash) until it is used or ends.
    async fn keep_join_token(&self, token: NewJoinToken, audit: AuditEntry) -> Result<(), StoreError>;

    /// Join tokens that are not forgotten, newest first.
    async fn join_tokens(&self, page: PageRequest) -> Result<Page<JoinTokenRecord>, StoreError>;

    /// Takes back a join token that was not used.
    async fn withdraw_join_token(
        &self,
        token: JoinTokenId,
        audit: AuditEntry,
        now: Timestamp,
    ) -> Result<Withdrawn, StoreError>;

    /// Consumes a join token and records the agent, in one transaction: of two that race, one wins. Who has the
    /// winner's key may ask again until the agent was seen.
    async fn enroll_agent(&self, request: EnrollAgent) -> Result<Enrolled, StoreError>;

    /// A certificate of an agent.
    async fn certificate(&self, agent: AgentId, serial: &str) -> Result<Option<CertificateRecord>, StoreError>;

    /// The agent shows a certificate for the first time: it is in use from now on, and those before it
    /// are replaced. False when it was replaced itself.
    async fn use_certificate(&self, request: UseCertificate) -> Result<bool, StoreError>;

    /// Records a new certificate beside the one in use. One that was made before and never shown is
    /// replaced by it: its answer was lost.
    async fn renew_agent(&self, request: RenewAgent) -> Result<Renewed, StoreError>;

    /// Locks an agent out and orders its connections cut.
    async fn bar_agent(&self, request: BarAgent) -> Result<Barred, StoreError>;

    /// Lets an agent's name and keys enrol again. The agent itself stays revoked.
    async fn lift_ban(&self, agent: AgentId, audit: AuditEntry, now: Timestamp) -> Result<Barred, StoreError>;

    /// Cuts that were ordered after the one with this number, oldest first.
    async fn cuts(&self, after: u64) -> Result<Vec<Cut>, StoreError>;

    /// An agent.
    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StoreError>;

    /// Agents by name.
    async fn agents(&self, page: PageRequest) -> Result<Page<Agent>, StoreError>;

    /// Agents that may connect and could still renew at a moment, and whose certificate in use is not from this
    /// root; by name, at most so many.
    async fn agents_not_certified_by(
        &self,
        issuer: String,
        renewable_at: Timestamp,
        limit: usize,
    ) -> Result<Vec<Agent>, StoreError>;

    /// Says of every certificate of which that was not kept yet that this root made it, and that it alone was to be
    /// trusted. Answers of how many.
    async fn adopt_certificates(&self, issuer: String) -> Result<u64, StoreError>;

    /// Cordons, uncordons, drains or revokes an agent.
    async fn change_agent(&self, request: ChangeAgent) -> Result<AgentChanged, StoreError>;

    /// Forgets an agent that will not return: it is revoked, and its volumes are free for others. Refused
    /// while it holds attempts, unless forced; then those are given up as by [`Self::force_unlock`].
    async fn forget_agent(&self, request: ForgetAgent) -> Result<Forgotten, StoreError>;

    /// Kubernetes versions that any enrolled agent has ever offered; empty while none is known.
    async fn kubernetes_versions(&self) -> Result<Vec<String>, StoreError>;

    /// An agent connected: records its facts, takes over the volumes it serves (a volume belongs to
    /// the agent that connected with it last, unless a session of another agent is named live in
    /// `contested`), and answers what becomes of each run it holds. Attempts of this agent or on its
    /// volumes that were leased but are not among the held runs never started: they are released and
    /// their tasks queued again. Attempts on its volumes that other agents started and that are not
    /// held here stay unknown.
    async fn connect_agent(&self, request: ConnectAgent) -> Result<Vec<(AttemptId, RunVerdict)>, StoreError>;

    /// What a heartbeat says; need not be durable at once.
    async fn note_heartbeat(&self, agent: AgentId, heartbeat: HeartbeatFacts) -> Result<(), StoreError>;

    /// Leases queued tasks to an agent, oldest first, each with the next fence of its cluster. A
    /// cluster without a volume gets the agent's first served volume. Never two for one cluster.
    async fn lease_tasks(&self, request: LeaseTasks) -> Result<Vec<LeasedTask>, StoreError>;

    /// The agent has recorded the run and starts (or goes on with) it.
    async fn start_attempt(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        now: Timestamp,
    ) -> Result<Applied, StoreError>;

    /// The agent never started it: the task is queued again.
    async fn release_attempt(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        reason: String,
        now: Timestamp,
    ) -> Result<Applied, StoreError>;

    /// Which of these attempts are still the agent's to work on; `Cancel` where that is asked for.
    async fn lease_verdicts(
        &self,
        agent: AgentId,
        attempts: Vec<AttemptId>,
    ) -> Result<Vec<(AttemptId, RunVerdict)>, StoreError>;

    /// The leases of these attempts ran out: those that were leased or started become unknown, their
    /// clusters stay locked. Answers which.
    async fn lose_attempts(&self, attempts: Vec<AttemptId>, now: Timestamp) -> Result<Vec<AttemptId>, StoreError>;

    /// Attempts in a locking state with the agent that holds each: what a starting controller watches.
    async fn held_attempts(&self) -> Result<Vec<(AttemptId, AgentId)>, StoreError>;

    /// How far a run is.
    async fn record_progress(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        progress: Progress,
    ) -> Result<Applied, StoreError>;

    /// Moves attempt, task, operation and cluster on by a run's report, records its generation and
    /// makes the next task, in one transaction. A report is accepted once; the same report again
    /// answers [`Settled::Already`]. Refused while output is missing: `OutputMissing`.
    /// What failed in passing is queued again as `retries` allow, but not leased before
    /// [`Self::release_task`].
    async fn settle_attempt(
        &self,
        agent: AgentId,
        report: RunReport,
        retries: RetryPolicy,
        now: Timestamp,
    ) -> Result<Settled, StoreError>;

    /// Tasks that wait to be tried again, and how long each is to wait.
    async fn delayed_tasks(&self) -> Result<Vec<(TaskId, Duration)>, StoreError>;

    /// The wait of a task is over: it may be leased. Answers its operation if it still waited.
    async fn release_task(&self, task: TaskId) -> Result<Option<OperationId>, StoreError>;

    /// What was refused and is kept as evidence, newest first.
    async fn evidence(&self, page: PageRequest) -> Result<Page<Evidence>, StoreError>;

    // --- alarms -------------------------------------------------------------------------------

    /// Rings an alarm for something that changed nothing; what is shown by a change rings with it. Says
    /// whether it is new: the audit entry is kept only then.
    async fn ring_alarm(&self, request: RingAlarm) -> Result<bool, StoreError>;

    /// Somebody has seen to an alarm.
    async fn acknowledge_alarm(&self, request: Acknowledge) -> Result<Acknowledged, StoreError>;

    /// Alarms, newest first: all of them, only open ones, or only others.
    async fn alarms(&self, open: Option<bool>, page: PageRequest) -> Result<Page<Alarm>, StoreError>;

    /// How many alarms are open, by kind; kinds of which none is open are not there.
    async fn open_alarms(&self) -> Result<Vec<(AlarmKind, u64)>, StoreError>;

    // --- keys and tokens of users -------------------------------------------------------------

    /// Keeps an API key (its hash).
    async fn keep_api_key(&self, key: NewApiKey, audit: AuditEntry) -> Result<(), StoreError>;

    /// API keys, newest first; those that ended are listed for some time.
    async fn api_keys(&self, page: PageRequest) -> Result<Page<ApiKey>, StoreError>;

    /// Checks an API key that someone shows, in constant time, and notes its use.
    async fn use_api_key(&self, request: UseApiKey) -> Result<ApiKeyUsed, StoreError>;

    /// Revokes tokens, and the API keys that the revocation names. False when it names one key that is
    /// not there or was revoked before.
    async fn revoke(&self, revocation: Revocation, audit: AuditEntry) -> Result<bool, StoreError>;

    /// Revocations, newest first.
    async fn revocations(&self, page: PageRequest) -> Result<Page<Revocation>, StoreError>;

    /// Revocations that were recorded after those of an answer before, and where this answer ends;
    /// from 0 on all of them.
    async fn revocations_after(&self, number: u64) -> Result<(Vec<Revocation>, u64), StoreError>;

    // --- what happened ------------------------------------------------------------------------

    /// What happened after an event, oldest first, at most `limit` of what the filter lets through. Each
    /// event is kept by the transaction of the change that it tells of: nothing is missed, and nothing
    /// is told that did not happen.
    async fn events(&self, after: u64, filter: EventFilter, limit: usize) -> Result<Events, StoreError>;

    /// Changes whenever there are new events of this controller's own.
    fn events_happen(&self) -> watch::Receiver<u64>;

    /// An agent's session ended.
    async fn note_disconnect(&self, agent: AgentId) -> Result<(), StoreError>;

    // --- after a restore ----------------------------------------------------------------------

    /// Those of some volumes that nothing may be done on before they were looked through: the store was put
    /// back from a backup, and what happened since is known to the volumes alone. A cluster that
    /// belongs to no volume waits until every one on record was looked through.
    async fn volumes_to_look_through(&self, volumes: Vec<VolumeId>) -> Result<Vec<VolumeId>, StoreError>;

    /// Takes what a volume knows better: runs that ended since the backup, generations, clusters that were
    /// removed, fences. What is not known is kept as an orphan and left alone. The volume counts as
    /// looked through from then on.
    async fn take_inventory(&self, request: TakeInventory) -> Result<InventoryTaken, StoreError>;

    /// Clusters on volumes that are not known here, or otherwise.
    async fn orphans(&self, page: PageRequest) -> Result<Page<Orphan>, StoreError>;

    // --- orphans in the cloud -----------------------------------------------------------------

    /// Begins a look for orphans, if none is at work.
    async fn begin_orphan_scan(&self, request: BeginOrphanScan) -> Result<OrphanScanBegun, StoreError>;

    /// Ends it with what was found. False when it had ended.
    async fn end_orphan_scan(
        &self,
        id: OrphanScanId,
        results: Vec<OrphanScanResult>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// One look for orphans.
    async fn orphan_scan(&self, id: OrphanScanId) -> Result<Option<OrphanScan>, StoreError>;

    /// Looks for orphans, newest first; older ones than the last month of them are forgotten.
    async fn orphan_scans(&self, page: PageRequest) -> Result<Page<OrphanScan>, StoreError>;

    /// By which names tags may speak of clusters that are there, or were.
    async fn orphan_input(&self) -> Result<OrphanInput, StoreError>;

    // --- housekeeping -------------------------------------------------------------------------

    /// Adds an entry to the audit log.
    async fn audit(&self, entry: AuditEntry, now: Timestamp) -> Result<(), StoreError>;

    /// The audit log, newest first.
    async fn audit_entries(&self, page: PageRequest) -> Result<Page<AuditRecord>, StoreError> {
        self.audit_matching(AuditFilter::default(), page).await
    }

    /// Entries of the audit log that match, newest first.
    async fn audit_matching(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditRecord>, StoreError>;

    /// The link of the audit log's chain with this number, when there is one; the newest without a number.
    async fn audit_link(&self, number: Option<u64>) -> Result<Option<AuditLink>, StoreError>;

    /// Forgets what ended before `now`: idempotency keys, revocations, join tokens (a used one later, so
    /// that its reuse is noticed), API keys (some time after their end), certificates that cannot be
    /// renewed any more. Returns how many.
    async fn purge_expired(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// What may need somebody; of each kind at most `limit`.
    async fn attention(&self, limit: usize) -> Result<Attention, StoreError>;

    /// Volumes that were ever served, by id.
    async fn volumes(&self, page: PageRequest) -> Result<Page<VolumeRecord>, StoreError>;

    /// A volume that was ever served.
    async fn volume(&self, id: VolumeId) -> Result<Option<VolumeRecord>, StoreError>;

    /// Clusters on a volume that are not removed, oldest first.
    async fn clusters_on(&self, volume: VolumeId, page: PageRequest) -> Result<Page<Cluster>, StoreError>;

    /// What happened to an agent and what it ran, newest first, as far back as events are kept.
    async fn agent_events(&self, agent: AgentId, page: PageRequest) -> Result<Page<Event>, StoreError>;

    /// What the store holds, in numbers.
    async fn figures(&self) -> Result<Figures, StoreError>;

    /// Whether the store answers and can write.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Finishes what is queued and closes.
    async fn close(&self);
}
