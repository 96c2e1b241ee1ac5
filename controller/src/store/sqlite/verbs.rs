//! The contract's verbs: which family answers each of them, and whether it reads or writes.

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
use cratekube_common::domain::cluster::spec::Secrets;
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
use tokio::sync::watch;

use super::super::{
    AbandonRemoval, Abandoned, AcceptOperation, AcceptProvision, AcceptReconfigure, Acceptance, Acknowledge,
    Acknowledged, AgentChanged, ApiKeyUsed, Applied, AttemptRecord, Attention, AuditFilter, AuditLink, AuditRecord,
    BarAgent, Barred, BeginOrphanScan, CancelOperation, Cancellation, CertificateRecord, ChangeAgent, ClusterFilter,
    ConnectAgent, Cut, DeleteResource, EnrollAgent, Enrolled, EnvironmentSummary, Event, EventFilter, Events, Evidence,
    Figures, ForceUnlock, Forced, ForgetAgent, Forgotten, HealthRecord, HeartbeatFacts, Idempotency, InventoryTaken,
    JoinTokenRecord, KubeconfigIssued, LeaseTasks, LeasedTask, NewApiKey, NewJoinToken, OperationFilter, Orphan,
    OrphanScan, OrphanScanBegun, OrphanScanResult, OutputAppended, OutputPiece, Page, PageRequest, PresentCluster,
    ProtectCluster, Protected, PutResource, RemovalRecord, RenewAgent, Renewed, Resource, ResourceChange, Revision,
    RingAlarm, SealedResource, Settled, Store, StoreError, TakeInventory, TaskRecord, UseApiKey, UseCertificate,
    VolumeRecord, Withdrawn,
};
use super::{
    SqliteStore, accept, access, agents, alarms, attempts, attention, audit, bars, certificates, clusters, connect,
    defaults, ending, enroll, events, evidence, figures, health, inventory, lease, operations, orphans, reconfigure,
    removal, resources, restored, retries, revisions, settle, users,
};
use crate::plan::settle::RetryPolicy;

#[async_trait]
impl Store for SqliteStore {
    async fn accept_provision(&self, request: AcceptProvision) -> Result<Acceptance, StoreError> {
        let spec = request.spec.to_json(Secrets::Mask).to_string();
        self.writer.run(move |db| accept::provision(db, &request, &spec)).await
    }

    async fn accept_operation(&self, request: AcceptOperation) -> Result<Acceptance, StoreError> {
        self.writer.run(move |db| accept::operation(db, &request)).await
    }

    async fn accept_rotation(&self, request: AcceptOperation, rotation: Rotation) -> Result<Acceptance, StoreError> {
        self.writer.run(move |db| accept::rotation(db, &request, &rotation)).await
    }

    async fn accept_removal(&self, request: AcceptOperation, wish: RemovalWish) -> Result<Acceptance, StoreError> {
        self.writer.run(move |db| removal::removal(db, &request, &wish)).await
    }

    async fn accept_reconfigure(&self, request: AcceptReconfigure) -> Result<Acceptance, StoreError> {
        let spec = request.change.as_ref().map(|change| change.spec.to_json(Secrets::Mask).to_string());
        self.writer.run(move |db| reconfigure::accept(db, &request, spec.as_deref())).await
    }

    async fn repeated(&self, idempotency: Idempotency, now: Timestamp) -> Result<Option<Acceptance>, StoreError> {
        self.writer.run(move |db| accept::repeated_key(db, &idempotency, now)).await
    }

    async fn protect_cluster(&self, request: ProtectCluster) -> Result<Protected, StoreError> {
        self.writer.run(move |db| accept::protect(db, &request)).await
    }

    async fn put_resource(&self, request: PutResource) -> Result<ResourceChange, StoreError> {
        self.writer
            .run(move |db| match request.holder.cluster {
                Some(_) => resources::put(db, &request),
                None => defaults::put(db, &request),
            })
            .await
    }

    async fn delete_resource(&self, request: DeleteResource) -> Result<ResourceChange, StoreError> {
        self.writer
            .run(move |db| match request.holder.cluster {
                Some(_) => resources::delete(db, &request),
                None => defaults::delete(db, &request),
            })
            .await
    }

    async fn resources(&self, cluster: ClusterId) -> Result<Vec<Resource>, StoreError> {
        self.readers.scan(move |db| resources::list(db, cluster)).await
    }

    async fn resource(&self, cluster: ClusterId, name: &ResourceName) -> Result<Option<SealedResource>, StoreError> {
        self.readers.point(|db| resources::one(db, cluster, name.as_str()))
    }

    async fn default_resources(&self, environment: &EnvironmentName) -> Result<Vec<Resource>, StoreError> {
        self.readers.point(|db| defaults::list(db, environment))
    }

    async fn default_resource(
        &self,
        environment: &EnvironmentName,
        name: &ResourceName,
    ) -> Result<Option<SealedResource>, StoreError> {
        self.readers.point(|db| defaults::one(db, environment, name.as_str()))
    }

    async fn health(&self, cluster: ClusterId) -> Result<Option<HealthRecord>, StoreError> {
        self.readers.point(|db| health::last(db, cluster))
    }

    async fn note_kubeconfig(&self, request: KubeconfigIssued) -> Result<bool, StoreError> {
        self.writer.run(move |db| access::note_kubeconfig(db, &request)).await
    }

    async fn cancel_operation(&self, request: CancelOperation) -> Result<Cancellation, StoreError> {
        self.writer.run(move |db| ending::cancel(db, &request)).await
    }

    async fn force_unlock(&self, request: ForceUnlock) -> Result<Forced, StoreError> {
        self.writer.run(move |db| ending::force_unlock(db, &request)).await
    }

    async fn abandon_removal(&self, request: AbandonRemoval) -> Result<Abandoned, StoreError> {
        self.writer.run(move |db| removal::abandon(db, &request)).await
    }

    async fn removal(&self, operation: OperationId) -> Result<Option<RemovalRecord>, StoreError> {
        self.readers.scan(move |db| removal::by_operation(db, operation)).await
    }

    async fn removal_options(&self, cluster: ClusterId, wish: RemovalWish) -> Result<RemovalOptions, StoreError> {
        self.readers.scan(move |db| removal::options(db, cluster, &wish)).await
    }

    async fn cluster(&self, environment: &EnvironmentName, name: &ClusterName) -> Result<Option<Cluster>, StoreError> {
        self.readers.point(|db| clusters::by_name(db, environment, name))
    }

    async fn present_cluster(
        &self,
        environment: &EnvironmentName,
        name: &ClusterName,
    ) -> Result<Option<PresentCluster>, StoreError> {
        let mut present = self.readers.point(|db| revisions::present(db, environment, name))?;
        if let Some(agent) = present.as_mut().and_then(|present| present.agent.as_mut()) {
            self.sightings.overlay(agent);
        }
        Ok(present)
    }

    async fn revisions(&self, cluster: ClusterId, page: PageRequest) -> Result<Page<Revision>, StoreError> {
        self.readers.scan(move |db| revisions::list(db, cluster, &page)).await
    }

    async fn clusters(&self, filter: ClusterFilter, page: PageRequest) -> Result<Page<Cluster>, StoreError> {
        self.readers.scan(move |db| clusters::list(db, &filter, &page)).await
    }

    async fn environments(&self) -> Result<Vec<EnvironmentSummary>, StoreError> {
        self.readers.scan(clusters::environments).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        self.readers.point(|db| operations::by_id(db, id))
    }

    async fn operations(&self, filter: OperationFilter, page: PageRequest) -> Result<Page<Operation>, StoreError> {
        self.readers.scan(move |db| operations::list(db, &filter, &page)).await
    }

    async fn tasks(&self, operation: OperationId) -> Result<Vec<TaskRecord>, StoreError> {
        self.readers.point(|db| operations::tasks(db, operation))
    }

    async fn attempts(&self, operation: OperationId) -> Result<Vec<AttemptRecord>, StoreError> {
        self.readers.point(|db| operations::attempts(db, operation))
    }

    async fn generations(&self, cluster: ClusterId, page: PageRequest) -> Result<Page<Manifest>, StoreError> {
        self.readers.scan(move |db| clusters::generations(db, cluster, &page)).await
    }

    async fn read_output(&self, operation: OperationId, offset: u64, max: usize) -> Result<OutputPiece, StoreError> {
        self.output.read(operation, offset, max).await
    }

    async fn append_output(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        offset: u64,
        data: Bytes,
        now: Timestamp,
    ) -> Result<OutputAppended, StoreError> {
        self.output.append((agent, attempt, fence), offset, data, now).await
    }

    async fn keep_join_token(&self, token: NewJoinToken, audit: AuditEntry) -> Result<(), StoreError> {
        self.writer.run(move |db| enroll::keep_token(db, &token, &audit)).await
    }

    async fn enroll_agent(&self, request: EnrollAgent) -> Result<Enrolled, StoreError> {
        self.writer.run(move |db| enroll::enroll(db, &request)).await
    }

    async fn join_tokens(&self, page: PageRequest) -> Result<Page<JoinTokenRecord>, StoreError> {
        self.readers.scan(move |db| enroll::tokens(db, &page)).await
    }

    async fn withdraw_join_token(
        &self,
        token: JoinTokenId,
        audit: AuditEntry,
        now: Timestamp,
    ) -> Result<Withdrawn, StoreError> {
        self.writer.run(move |db| enroll::withdraw(db, token, &audit, now)).await
    }

    async fn certificate(&self, agent: AgentId, serial: &str) -> Result<Option<CertificateRecord>, StoreError> {
        self.readers.point(|db| certificates::find(db, agent, serial))
    }

    async fn agents_not_certified_by(
        &self,
        issuer: String,
        renewable_at: Timestamp,
        limit: usize,
    ) -> Result<Vec<Agent>, StoreError> {
        self.readers.scan(move |db| agents::not_certified_by(db, &issuer, renewable_at, limit)).await
    }

    async fn adopt_certificates(&self, issuer: String) -> Result<u64, StoreError> {
        self.writer.run(move |db| certificates::adopt(db, &issuer)).await
    }

    async fn use_certificate(&self, request: UseCertificate) -> Result<bool, StoreError> {
        self.writer.run(move |db| certificates::begin(db, &request)).await
    }

    async fn renew_agent(&self, request: RenewAgent) -> Result<Renewed, StoreError> {
        self.writer.run(move |db| certificates::renew(db, &request)).await
    }

    async fn bar_agent(&self, request: BarAgent) -> Result<Barred, StoreError> {
        self.writer.run(move |db| bars::bar(db, &request)).await
    }

    async fn lift_ban(&self, agent: AgentId, audit: AuditEntry, now: Timestamp) -> Result<Barred, StoreError> {
        self.writer.run(move |db| bars::lift(db, agent, &audit, now)).await
    }

    async fn cuts(&self, after: u64) -> Result<Vec<Cut>, StoreError> {
        self.readers.point(|db| bars::cuts(db, after))
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        let mut agent = self.readers.point(|db| agents::by_id(db, id))?;
        if let Some(agent) = &mut agent {
            self.sightings.overlay(agent);
        }
        Ok(agent)
    }

    async fn agents(&self, page: PageRequest) -> Result<Page<Agent>, StoreError> {
        let mut page = self.readers.scan(move |db| agents::list(db, &page)).await?;
        page.items.iter_mut().for_each(|agent| self.sightings.overlay(agent));
        Ok(page)
    }

    async fn change_agent(&self, request: ChangeAgent) -> Result<AgentChanged, StoreError> {
        let mut changed = self.writer.run(move |db| ending::change_agent(db, &request)).await?;
        if let AgentChanged::Done(agent) = &mut changed {
            self.sightings.overlay(agent);
        }
        Ok(changed)
    }

    async fn forget_agent(&self, request: ForgetAgent) -> Result<Forgotten, StoreError> {
        self.writer.run(move |db| ending::forget_agent(db, &request)).await
    }

    async fn kubernetes_versions(&self) -> Result<Vec<String>, StoreError> {
        self.readers.point(agents::kubernetes_versions)
    }

    async fn connect_agent(&self, request: ConnectAgent) -> Result<Vec<(AttemptId, RunVerdict)>, StoreError> {
        let agent = request.agent;
        let volumes = request.facts.volumes.clone();
        let seen = HeartbeatFacts { seen_at: request.now, clock_skew_ms: 0, volumes };
        let verdicts = self.writer.run(move |db| connect::connect(db, &request)).await?;
        self.sightings.connected(agent, seen);
        Ok(verdicts)
    }

    async fn note_heartbeat(&self, agent: AgentId, heartbeat: HeartbeatFacts) -> Result<(), StoreError> {
        let due = self.sightings.note(agent, heartbeat);
        self.write_sightings(due).await
    }

    async fn lease_tasks(&self, request: LeaseTasks) -> Result<Vec<LeasedTask>, StoreError> {
        let leases = self.writer.run(move |db| lease::lease(db, &request)).await?;
        // One that cannot be read must not keep the others from their agent.
        let readable = |lease: lease::RawLease| match lease.into_task() {
            Ok(task) => Some(task),
            Err(error) => {
                tracing::error!(%error, "a leased task cannot be read; its cluster stays locked");
                None
            }
        };
        Ok(leases.into_iter().filter_map(readable).collect())
    }

    async fn start_attempt(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        self.writer.run(move |db| attempts::start(db, agent, attempt, fence, now)).await
    }

    async fn release_attempt(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        reason: String,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        self.writer.run(move |db| attempts::release(db, agent, attempt, fence, &reason, now)).await
    }

    async fn lease_verdicts(
        &self,
        agent: AgentId,
        attempts: Vec<AttemptId>,
    ) -> Result<Vec<(AttemptId, RunVerdict)>, StoreError> {
        let word = self.readers.point(|db| attempts::verdicts(db, agent, &attempts))?;
        if !word.found_again.is_empty() {
            self.writer.run(move |db| attempts::find_again(db, agent, &word.found_again)).await?;
        }
        Ok(word.verdicts)
    }

    async fn lose_attempts(&self, attempts: Vec<AttemptId>, _now: Timestamp) -> Result<Vec<AttemptId>, StoreError> {
        self.writer.run(move |db| attempts::lose(db, &attempts)).await
    }

    async fn held_attempts(&self) -> Result<Vec<(AttemptId, AgentId)>, StoreError> {
        self.readers.scan(lease::held).await
    }

    async fn record_progress(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        progress: Progress,
    ) -> Result<Applied, StoreError> {
        self.writer.run(move |db| attempts::progress(db, agent, attempt, fence, &progress)).await
    }

    async fn settle_attempt(
        &self,
        agent: AgentId,
        report: RunReport,
        retry_policy: RetryPolicy,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        self.writer.run(move |db| settle::settle(db, agent, &report, retry_policy, now)).await
    }

    async fn delayed_tasks(&self) -> Result<Vec<(TaskId, Duration)>, StoreError> {
        self.readers.scan(retries::delayed).await
    }

    async fn release_task(&self, task: TaskId) -> Result<Option<OperationId>, StoreError> {
        self.writer.run(move |db| retries::release(db, task)).await
    }

    async fn events(&self, after: u64, filter: EventFilter, limit: usize) -> Result<Events, StoreError> {
        self.readers.scan(move |db| events::after(db, after, &filter, limit)).await
    }

    fn events_happen(&self) -> watch::Receiver<u64> {
        self.teller.listen()
    }

    async fn note_disconnect(&self, agent: AgentId) -> Result<(), StoreError> {
        self.writer.run(move |db| events::agent(db, "agent.disconnected", &agent.to_string())).await
    }

    async fn evidence(&self, page: PageRequest) -> Result<Page<Evidence>, StoreError> {
        self.readers.scan(move |db| evidence::list(db, &page)).await
    }

    async fn ring_alarm(&self, request: RingAlarm) -> Result<bool, StoreError> {
        self.writer.run(move |db| alarms::ring_alone(db, &request)).await
    }

    async fn acknowledge_alarm(&self, request: Acknowledge) -> Result<Acknowledged, StoreError> {
        self.writer.run(move |db| alarms::acknowledge(db, &request)).await
    }

    async fn alarms(&self, open: Option<bool>, page: PageRequest) -> Result<Page<Alarm>, StoreError> {
        self.readers.scan(move |db| alarms::list(db, open, &page)).await
    }

    async fn open_alarms(&self) -> Result<Vec<(AlarmKind, u64)>, StoreError> {
        self.readers.scan(alarms::open).await
    }

    async fn begin_orphan_scan(&self, request: BeginOrphanScan) -> Result<OrphanScanBegun, StoreError> {
        self.writer.run(move |db| orphans::begin(db, &request)).await
    }

    async fn end_orphan_scan(
        &self,
        id: OrphanScanId,
        results: Vec<OrphanScanResult>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.writer.run(move |db| orphans::end(db, id, &results, now)).await
    }

    async fn orphan_scan(&self, id: OrphanScanId) -> Result<Option<OrphanScan>, StoreError> {
        self.readers.scan(move |db| orphans::by_id(db, id)).await
    }

    async fn orphan_scans(&self, page: PageRequest) -> Result<Page<OrphanScan>, StoreError> {
        self.readers.scan(move |db| orphans::list(db, &page)).await
    }

    async fn orphan_input(&self) -> Result<OrphanInput, StoreError> {
        self.readers.scan(orphans::input).await
    }

    async fn audit(&self, entry: AuditEntry, now: Timestamp) -> Result<(), StoreError> {
        self.writer.run(move |db| audit::append(db, &entry, now)).await
    }

    async fn audit_matching(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditRecord>, StoreError> {
        self.readers.scan(move |db| audit::entries(db, &filter, &page)).await
    }

    async fn audit_link(&self, number: Option<u64>) -> Result<Option<AuditLink>, StoreError> {
        self.readers.point(|db| audit::link(db, number))
    }

    async fn keep_api_key(&self, key: NewApiKey, audit: AuditEntry) -> Result<(), StoreError> {
        self.writer.run(move |db| users::keep_key(db, &key, &audit)).await
    }

    async fn api_keys(&self, page: PageRequest) -> Result<Page<ApiKey>, StoreError> {
        self.readers.scan(move |db| users::keys(db, &page)).await
    }

    async fn use_api_key(&self, request: UseApiKey) -> Result<ApiKeyUsed, StoreError> {
        self.writer.run(move |db| users::use_key(db, &request)).await
    }

    async fn revoke(&self, revocation: Revocation, audit: AuditEntry) -> Result<bool, StoreError> {
        self.writer.run(move |db| users::revoke(db, &revocation, &audit)).await
    }

    async fn revocations(&self, page: PageRequest) -> Result<Page<Revocation>, StoreError> {
        self.readers.scan(move |db| users::revocations(db, &page)).await
    }

    async fn revocations_after(&self, number: u64) -> Result<(Vec<Revocation>, u64), StoreError> {
        self.readers.scan(move |db| users::revocations_after(db, number)).await
    }

    async fn purge_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.writer.run(move |db| enroll::purge(db, now)).await
    }

    async fn attention(&self, limit: usize) -> Result<Attention, StoreError> {
        let mut found = self.readers.scan(move |db| attention::read(db, limit)).await?;
        found.agents.iter_mut().for_each(|agent| self.sightings.overlay(agent));
        Ok(found)
    }

    async fn volumes(&self, page: PageRequest) -> Result<Page<VolumeRecord>, StoreError> {
        self.readers.scan(move |db| attention::volumes(db, &page)).await
    }

    async fn volume(&self, id: VolumeId) -> Result<Option<VolumeRecord>, StoreError> {
        self.readers.point(|db| attention::volume(db, id))
    }

    async fn clusters_on(&self, volume: VolumeId, page: PageRequest) -> Result<Page<Cluster>, StoreError> {
        self.readers.scan(move |db| attention::clusters_on(db, volume, &page)).await
    }

    async fn agent_events(&self, agent: AgentId, page: PageRequest) -> Result<Page<Event>, StoreError> {
        self.readers.scan(move |db| attention::agent_events(db, agent, &page)).await
    }

    async fn figures(&self) -> Result<Figures, StoreError> {
        self.readers.scan(figures::read).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let probe = "UPDATE probe SET writes = writes + 1";
        self.writer.run(move |db| Ok(db.prepare_cached(probe)?.execute([]).map(|_| ())?)).await
    }

    async fn close(&self) {
        // What heartbeats said since the last minute may be lost; nothing else is unwritten.
        let _best_effort = self.write_sightings(self.sightings.unwritten()).await;
        self.writer.close().await;
        self.readers.close();
    }

    async fn volumes_to_look_through(&self, volumes: Vec<VolumeId>) -> Result<Vec<VolumeId>, StoreError> {
        self.readers.point(|db| restored::to_look_through(db, &volumes))
    }

    async fn take_inventory(&self, request: TakeInventory) -> Result<InventoryTaken, StoreError> {
        self.writer.run(move |db| inventory::take(db, &request)).await
    }

    async fn orphans(&self, page: PageRequest) -> Result<Page<Orphan>, StoreError> {
        self.readers.scan(move |db| inventory::orphans(db, &page)).await
    }
}
