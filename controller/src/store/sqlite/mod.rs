//! SQLite, embedded: the default store.
//!
//! One `writer` commits what waits as one transaction; a few `readers` read beside it. Every
//! family of verbs is a file of functions on a connection; this one wires them to the contract.
//!
//! Durability: WAL with `synchronous=FULL`; a verb answers after the commit that holds it. Heartbeats
//! are the one exception the contract allows (see `agents`).
//!
//! Not here: who may use the data directory (the application locks it), and time: every verb is told.

mod accept;
mod agents;
mod attempts;
mod audit;
mod bars;
mod certificates;
mod clusters;
mod connect;
mod ending;
mod enroll;
mod events;
mod evidence;
mod fault;
mod lease;
mod masking;
mod migrate;
mod operations;
mod output;
mod page;
mod readers;
mod reconfigure;
mod retries;
mod revisions;
mod rows;
mod sealed;
mod settle;
mod users;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cratekube_common::domain::agent::Agent;
use cratekube_common::domain::api_key::ApiKey;
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::cluster::spec::Secrets;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::{AgentId, AttemptId, ClusterId, JoinTokenId, OperationId, TaskId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::Operation;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::revocation::Revocation;
use cratekube_common::domain::run::{RunReport, RunVerdict};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::files;
use tokio::sync::watch;

use super::{
    AcceptOperation, AcceptProvision, AcceptReconfigure, Acceptance, AgentChanged, ApiKeyUsed, Applied, AttemptRecord,
    AuditFilter, AuditLink, AuditRecord, BarAgent, Barred, CancelOperation, Cancellation, CertificateRecord,
    ChangeAgent, ClusterFilter, ConnectAgent, Cut, EnrollAgent, Enrolled, EnvironmentSummary, EventFilter, Events,
    Evidence, ForceUnlock, Forced, ForgetAgent, Forgotten, HeartbeatFacts, Idempotency, JoinTokenRecord, LeaseTasks,
    LeasedTask, NewApiKey, NewJoinToken, OperationFilter, OutputAppended, OutputPiece, Page, PageRequest,
    PresentCluster, ProtectCluster, Protected, RenewAgent, Renewed, Revision, Settled, Store, StoreError, UseApiKey,
    UseCertificate, Withdrawn,
};
use crate::plan::settle::RetryPolicy;
use output::Output;
use readers::Readers;
use writer::{Teller, Writer};

/// The database within the data directory.
pub const DATABASE_FILE: &str = "cratekube.db";
/// The output of operations within the data directory.
pub const OUTPUT_DIR: &str = "output";
/// Page cache of the writer: what a burst of small transactions touches.
const WRITER_CACHE_KIB: u32 = 4_096;

/// Where the work of the store is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Execution {
    /// Writes on a thread of their own, lists and files on threads that may block.
    #[default]
    Thread,
    /// Everything on the task that asks: no thread decides the order of anything, so that a
    /// simulation repeats itself.
    Inline,
}

/// How to open the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteOptions {
    /// Where the work is done.
    pub execution: Execution,
}

/// The embedded store.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    teller: Arc<Teller>,
    readers: Arc<Readers>,
    output: Arc<Output>,
    sightings: agents::Sightings,
}

impl SqliteStore {
    /// Opens the store in a data directory, making both when they are not there.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the database is damaged, not ours, or from a newer release; it is left
    /// as it is then.
    pub fn open(data_dir: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        Self::open_with(data_dir, options, clock::system())
    }

    /// Like [`SqliteStore::open`], with the clock that events get their time from.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(data_dir: &Path, options: SqliteOptions, clock: Clock) -> Result<Self, StoreError> {
        let (file, outputs) = (data_dir.join(DATABASE_FILE), data_dir.join(OUTPUT_DIR));
        let failed = |e: std::io::Error| StoreError::Open(format!("{}: {e}", data_dir.display()));
        if !file.try_exists().map_err(failed)? && has_entries(&outputs) {
            return Err(StoreError::Open(format!(
                "{} is missing although {} holds output: restore it from a backup, or move the output away to begin anew",
                file.display(),
                outputs.display()
            )));
        }
        files::make_dir(&outputs).map_err(failed)?;
        let db = migrate::open_writer(&file, WRITER_CACHE_KIB)?;
        let inline = options.execution == Execution::Inline;
        let teller = Teller::new(clock);
        let writer = match options.execution {
            Execution::Inline => Writer::inline(db, Arc::clone(&teller)),
            Execution::Thread => Writer::thread(db, Arc::clone(&teller))?,
        };
        let readers = Readers::new(file, inline);
        let output = Output::new(outputs, inline, writer.clone(), Arc::clone(&readers));
        Ok(Self { writer, teller, readers, output, sightings: agents::Sightings::default() })
    }

    /// Follows the chain of the audit log. Answers how many entries it has.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the number of the first entry that is missing or was changed.
    pub async fn verify_audit(&self) -> Result<u64, StoreError> {
        Ok(self.follow_audit(None).await?.map_or(0, |last| last.number))
    }

    /// Follows the chain of the audit log, which must reach the anchor and agree with it. Answers its end.
    ///
    /// # Errors
    /// As [`Self::verify_audit`].
    pub async fn follow_audit(&self, anchor: Option<AuditLink>) -> Result<Option<AuditLink>, StoreError> {
        self.readers.scan(move |db| audit::verify(db, anchor.as_ref())).await
    }

    /// Seals the secrets of every cluster anew, in one transaction; `anew` answers nothing for one that
    /// is so already. Answers how many there are.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when one of them does not open; none is changed then.
    pub async fn reseal_secrets<F>(&self, anew: F) -> Result<u64, StoreError>
    where
        F: Fn(ClusterId, &[u8]) -> Result<Option<Vec<u8>>, String> + Send + 'static,
    {
        self.writer.run(move |db| sealed::reseal(db, anew)).await
    }

    async fn write_sightings(&self, seen: Vec<(AgentId, HeartbeatFacts)>) -> Result<(), StoreError> {
        if seen.is_empty() {
            return Ok(());
        }
        self.writer.run(move |db| agents::write_sightings(db, &seen)).await
    }
}

fn has_entries(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

#[async_trait]
impl Store for SqliteStore {
    async fn accept_provision(&self, request: AcceptProvision) -> Result<Acceptance, StoreError> {
        let spec = request.spec.to_json(Secrets::Mask).to_string();
        self.writer.run(move |db| accept::provision(db, &request, &spec)).await
    }

    async fn accept_operation(&self, request: AcceptOperation) -> Result<Acceptance, StoreError> {
        self.writer.run(move |db| accept::operation(db, &request)).await
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

    async fn cancel_operation(&self, request: CancelOperation) -> Result<Cancellation, StoreError> {
        self.writer.run(move |db| ending::cancel(db, &request)).await
    }

    async fn force_unlock(&self, request: ForceUnlock) -> Result<Forced, StoreError> {
        self.writer.run(move |db| ending::force_unlock(db, &request)).await
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
}
