//! A store on which every verb goes wrong in the same way.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
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

use crate::plan::settle::RetryPolicy;
use crate::store::*;

/// What goes wrong. Each has a secret to give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rest) enum Broken {
    Unavailable,
    Damaged,
    Hanging,
    Panicking,
}

impl Broken {
    async fn answer<T>(self) -> Result<T, StoreError> {
        match self {
            Self::Unavailable => Err(StoreError::Unavailable("secret: /var/path is locked".into())),
            Self::Damaged => Err(StoreError::Damaged("secret: table operations".into())),
            Self::Hanging => std::future::pending().await,
            Self::Panicking => panic!("secret: a defect"),
        }
    }
}

macro_rules! every_verb {
    ($($verb:ident($($name:ident: $argument:ty),*) -> $answer:ty;)+) => {
        #[async_trait]
        impl Store for Broken {
            $(async fn $verb(&self, $($name: $argument),*) -> Result<$answer, StoreError> { self.answer().await })+
            fn events_happen(&self) -> tokio::sync::watch::Receiver<u64> { tokio::sync::watch::channel(0).1 }
            async fn close(&self) {}
        }
    };
}

every_verb! {
    accept_provision(_a: AcceptProvision) -> Acceptance;
    accept_operation(_a: AcceptOperation) -> Acceptance;
    accept_rotation(_a: AcceptOperation, _b: Rotation) -> Acceptance;
    accept_removal(_a: AcceptOperation, _b: RemovalWish) -> Acceptance;
    abandon_removal(_a: AbandonRemoval) -> Abandoned;
    begin_orphan_scan(_a: BeginOrphanScan) -> OrphanScanBegun;
    end_orphan_scan(_a: OrphanScanId, _b: Vec<OrphanScanResult>, _c: Timestamp) -> bool;
    orphan_scan(_a: OrphanScanId) -> Option<OrphanScan>;
    orphan_scans(_a: PageRequest) -> Page<OrphanScan>;
    orphan_input() -> OrphanInput;
    removal(_a: OperationId) -> Option<RemovalRecord>;
    removal_options(_a: ClusterId, _b: RemovalWish) -> RemovalOptions;
    accept_reconfigure(_a: AcceptReconfigure) -> Acceptance;
    repeated(_a: Idempotency, _b: Timestamp) -> Option<Acceptance>;
    put_resource(_a: PutResource) -> ResourceChange;
    delete_resource(_a: DeleteResource) -> ResourceChange;
    resources(_a: ClusterId) -> Vec<Resource>;
    resource(_a: ClusterId, _b: &ResourceName) -> Option<SealedResource>;
    default_resources(_a: &EnvironmentName) -> Vec<Resource>;
    default_resource(_a: &EnvironmentName, _b: &ResourceName) -> Option<SealedResource>;
    health(_a: ClusterId) -> Option<HealthRecord>;
    note_kubeconfig(_a: KubeconfigIssued) -> bool;
    cancel_operation(_a: CancelOperation) -> Cancellation;
    force_unlock(_a: ForceUnlock) -> Forced;
    cluster(_a: &EnvironmentName, _b: &ClusterName) -> Option<Cluster>;
    present_cluster(_a: &EnvironmentName, _b: &ClusterName) -> Option<PresentCluster>;
    revisions(_a: ClusterId, _b: PageRequest) -> Page<Revision>;
    clusters(_a: ClusterFilter, _b: PageRequest) -> Page<Cluster>;
    environments() -> Vec<EnvironmentSummary>;
    operation(_a: OperationId) -> Option<Operation>;
    operations(_a: OperationFilter, _b: PageRequest) -> Page<Operation>;
    tasks(_a: OperationId) -> Vec<TaskRecord>;
    attempts(_a: OperationId) -> Vec<AttemptRecord>;
    generations(_a: ClusterId, _b: PageRequest) -> Page<Manifest>;
    read_output(_a: OperationId, _b: u64, _c: usize) -> OutputPiece;
    append_output(_a: AgentId, _b: AttemptId, _c: Fence, _d: u64, _e: Bytes, _f: Timestamp) -> OutputAppended;
    keep_join_token(_a: NewJoinToken, _b: AuditEntry) -> ();
    enroll_agent(_a: EnrollAgent) -> Enrolled;
    join_tokens(_a: PageRequest) -> Page<JoinTokenRecord>;
    withdraw_join_token(_a: JoinTokenId, _b: AuditEntry, _c: Timestamp) -> Withdrawn;
    certificate(_a: AgentId, _b: &str) -> Option<CertificateRecord>;
    use_certificate(_a: UseCertificate) -> bool;
    renew_agent(_a: RenewAgent) -> Renewed;
    bar_agent(_a: BarAgent) -> Barred;
    lift_ban(_a: AgentId, _b: AuditEntry, _c: Timestamp) -> Barred;
    cuts(_a: u64) -> Vec<Cut>;
    agent(_a: AgentId) -> Option<Agent>;
    agents(_a: PageRequest) -> Page<Agent>;
    adopt_certificates(_a: String) -> u64;
    agents_not_certified_by(_a: String, _b: Timestamp, _c: usize) -> Vec<Agent>;
    change_agent(_a: ChangeAgent) -> AgentChanged;
    forget_agent(_a: ForgetAgent) -> Forgotten;
    kubernetes_versions() -> Vec<String>;
    connect_agent(_a: ConnectAgent) -> Vec<(AttemptId, RunVerdict)>;
    note_heartbeat(_a: AgentId, _b: HeartbeatFacts) -> ();
    lease_tasks(_a: LeaseTasks) -> Vec<LeasedTask>;
    start_attempt(_a: AgentId, _b: AttemptId, _c: Fence, _d: Timestamp) -> Applied;
    release_attempt(_a: AgentId, _b: AttemptId, _c: Fence, _d: String, _e: Timestamp) -> Applied;
    lease_verdicts(_a: AgentId, _b: Vec<AttemptId>) -> Vec<(AttemptId, RunVerdict)>;
    lose_attempts(_a: Vec<AttemptId>, _b: Timestamp) -> Vec<AttemptId>;
    held_attempts() -> Vec<(AttemptId, AgentId)>;
    record_progress(_a: AgentId, _b: AttemptId, _c: Fence, _d: Progress) -> Applied;
    settle_attempt(_a: AgentId, _b: RunReport, _c: RetryPolicy, _d: Timestamp) -> Settled;
    delayed_tasks() -> Vec<(TaskId, Duration)>;
    release_task(_a: TaskId) -> Option<OperationId>;
    evidence(_a: PageRequest) -> Page<Evidence>;
    volumes_to_look_through(_a: Vec<VolumeId>) -> Vec<VolumeId>;
    take_inventory(_a: TakeInventory) -> InventoryTaken;
    orphans(_a: PageRequest) -> Page<Orphan>;
    ring_alarm(_a: RingAlarm) -> bool;
    acknowledge_alarm(_a: Acknowledge) -> Acknowledged;
    alarms(_a: Option<bool>, _b: PageRequest) -> Page<Alarm>;
    open_alarms() -> Vec<(AlarmKind, u64)>;
    events(_a: u64, _b: EventFilter, _c: usize) -> Events;
    note_disconnect(_a: AgentId) -> ();
    audit(_a: AuditEntry, _b: Timestamp) -> ();
    audit_matching(_a: AuditFilter, _b: PageRequest) -> Page<AuditRecord>;
    audit_link(_a: Option<u64>) -> Option<AuditLink>;
    protect_cluster(_a: ProtectCluster) -> Protected;
    keep_api_key(_a: NewApiKey, _b: AuditEntry) -> ();
    api_keys(_a: PageRequest) -> Page<ApiKey>;
    use_api_key(_a: UseApiKey) -> ApiKeyUsed;
    revoke(_a: Revocation, _b: AuditEntry) -> bool;
    revocations(_a: PageRequest) -> Page<Revocation>;
    revocations_after(_a: u64) -> (Vec<Revocation>, u64);
    purge_expired(_a: Timestamp) -> u64;
    attention(_a: usize) -> Attention;
    volumes(_a: PageRequest) -> Page<VolumeRecord>;
    volume(_a: VolumeId) -> Option<VolumeRecord>;
    clusters_on(_a: VolumeId, _b: PageRequest) -> Page<Cluster>;
    agent_events(_a: AgentId, _b: PageRequest) -> Page<Event>;
    figures() -> Figures;
    ready() -> ();
}
