//! The furniture of stories: a store, people and agents with good manners, and their documents.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cratekube_common::domain::agent::{AgentEvent, AgentFacts, VolumeStatus};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::{ClusterSpec, NodeRole};
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::generation::{Manifest, SealedFile};
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId, VolumeId};
use cratekube_common::domain::operation::{Operation, OperationKind};
use cratekube_common::domain::run::{Assignment, HeldRun, RkeBinary, RunOutcome, RunReport, RunVerdict};
use cratekube_common::domain::task::{TaskKind, TaskState};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::ManualClock;
use cratekube_common::runtime::mint::Mint;
use serde_json::json;

use super::Place;
use crate::plan::settle::RetryPolicy;
use crate::store::{
    AcceptOperation, AcceptProvision, AcceptReconfigure, Acceptance, AgentChanged, Applied, CancelOperation,
    Cancellation, CertificateFacts, ChangeAgent, ConnectAgent, EnrollAgent, Enrolled, ForceUnlock, Forced, Idempotency,
    LeaseTasks, LeasedTask, NewJoinToken, OutputAppended, PageRequest, PlannedTask, Settled, SpecChange, Store,
    TaskRecord,
};

/// Where stories are played.
pub struct House {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// The time; stories let it pass.
    pub clock: Arc<ManualClock>,
    mint: Mint,
    place: Box<dyn Place>,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("store", &self.store).finish_non_exhaustive()
    }
}

/// An enrolled agent with one volume.
#[derive(Debug, Clone, Copy)]
pub struct Bastion {
    /// The agent.
    pub agent: AgentId,
    /// Its volume.
    pub volume: VolumeId,
}

impl House {
    /// Opens a fresh store.
    pub async fn open(place: Box<dyn Place>) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_795_000_000_000));
        let shared: cratekube_common::runtime::clock::Clock = clock.clone();
        let store = place.open().await;
        Self { store, clock, mint: Mint::system(shared), place }
    }

    /// Closes the store and opens what it kept.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store = self.place.open().await;
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        use cratekube_common::runtime::clock::TimeSource;
        self.clock.now()
    }

    /// A new id.
    pub fn id<T: From<uuid::Uuid>>(&self) -> T {
        self.mint.id()
    }

    /// A request for a cluster.
    pub fn provision(&self, environment: &str, name: &str) -> AcceptProvision {
        AcceptProvision {
            cluster: self.id(),
            operation: self.id(),
            tasks: self.work(&[TaskKind::Provision]),
            environment: environment.parse().unwrap(),
            name: name.parse().unwrap(),
            deletion_protection: false,
            spec: spec(),
            sealed_secrets: Some(vec![7, 0, 7]),
            requested_by: "ann".into(),
            warnings: vec!["one etcd node".into()],
            idempotency: None,
            audit: entry("cluster.provision", name),
            now: self.now(),
        }
    }

    /// An idempotency key.
    pub fn key(&self, subject: &str, key: &str, digest: &str) -> Option<Idempotency> {
        let expires_at = self.now().after(Duration::from_secs(60));
        Some(Idempotency { subject: subject.into(), key: key.into(), digest: digest.into(), expires_at })
    }

    /// Work of these kinds, in order.
    pub fn work(&self, kinds: &[TaskKind]) -> Vec<PlannedTask> {
        kinds.iter().map(|kind| PlannedTask { id: self.id(), kind: *kind }).collect()
    }

    /// Asks for a cluster and expects to get it.
    pub async fn provisioned(&self, environment: &str, name: &str) -> Operation {
        let request = self.provision(environment, name);
        accepted(self.store.accept_provision(request).await.unwrap())
    }

    /// A request for an operation on a cluster.
    pub fn operation(&self, kind: OperationKind, environment: &str, name: &str) -> AcceptOperation {
        AcceptOperation {
            operation: self.id(),
            tasks: self.work(rke_task(kind).as_slice()),
            kind,
            environment: environment.parse().unwrap(),
            name: name.parse().unwrap(),
            if_revision: None,
            requested_by: "ann".into(),
            reason: Some("no longer needed".into()),
            generation: None,
            retry_of: None,
            idempotency: None,
            audit: entry("cluster.operation", name),
            now: self.now(),
        }
    }

    /// A request to change the spec of a cluster that was just looked at.
    pub async fn change_of(&self, environment: &str, name: &str, change: Option<ClusterSpec>) -> AcceptReconfigure {
        let cluster = self.cluster(environment, name).await;
        let sealed_secrets = Some(vec![1, 0, 1]);
        AcceptReconfigure {
            cluster: cluster.id,
            revision: cluster.revision,
            operation: self.id(),
            tasks: self.work(&[TaskKind::Reconfigure]),
            environment: cluster.environment,
            name: cluster.name,
            change: change.map(|spec| SpecChange { spec, sealed_secrets }),
            requested_by: "bob".into(),
            warnings: vec!["two etcd nodes".into()],
            idempotency: None,
            audit: entry("cluster.reconfigure", name),
            now: self.now(),
        }
    }

    /// The numbers of a cluster's revisions, newest first, and whether each was reached.
    pub async fn revisions(&self, environment: &str, name: &str) -> Vec<(u64, bool)> {
        let page = PageRequest { after: None, limit: 50 };
        let found = self.store.revisions(self.cluster(environment, name).await.id, page).await.unwrap();
        found.items.iter().map(|revision| (revision.number, revision.verified_at.is_some())).collect()
    }

    /// Asks for a removal.
    pub async fn remove(&self, environment: &str, name: &str) -> Acceptance {
        let request = self.operation(OperationKind::Remove, environment, name);
        self.store.accept_operation(request).await.unwrap()
    }

    /// A join token; its secret's hash is its word, doubled up to a hash's length.
    pub async fn token(&self, secret: &str, environments: &str) -> NewJoinToken {
        let token = NewJoinToken {
            id: self.id(),
            secret_sha256: hash(secret),
            agent: None,
            volume: None,
            environments: environments.parse().unwrap(),
            created_by: "ann".into(),
            created_at: self.now(),
            expires_at: self.now().after(Duration::from_secs(3_600)),
        };
        self.store.keep_join_token(token.clone(), entry("join-token.create", secret)).await.unwrap();
        token
    }

    /// A request to enrol.
    pub fn enrolment(&self, secret: &str, name: &str) -> EnrollAgent {
        EnrollAgent {
            secret_sha256: hash(secret),
            agent: self.id(),
            name: name.parse().unwrap(),
            volumes: Vec::new(),
            certificate: self.certificate("0a", 1),
            audit: entry("agent.enroll", name),
            now: self.now(),
        }
    }

    /// A certificate for a day, with a key of its own.
    pub fn certificate(&self, serial: &str, generation: u64) -> CertificateFacts {
        let key_sha256 = hash(&self.id::<AgentId>().to_string());
        let not_after = self.now().after(Duration::from_secs(24 * 3_600));
        let (issuer, trust) = ("0c".into(), "0c".into());
        CertificateFacts { serial: serial.into(), generation, key_sha256, not_after, issuer, trust }
    }

    /// An agent that enrolled, without a connection.
    pub async fn enrolled(&self, name: &str, environments: &str) -> AgentId {
        let secret = self.id::<AgentId>().to_string();
        self.token(&secret, environments).await;
        let request = self.enrolment(&secret, name);
        let agent = request.agent;
        assert_eq!(self.store.enroll_agent(request).await.unwrap(), Enrolled::New);
        agent
    }

    /// An agent that enrolled and connected with a volume of its own.
    pub async fn bastion(&self, name: &str, environments: &str) -> Bastion {
        let bastion = Bastion { agent: self.enrolled(name, environments).await, volume: self.id() };
        self.connect(bastion, Vec::new()).await;
        bastion
    }

    /// A connection of an agent.
    pub fn connection(&self, bastion: Bastion, runs: Vec<HeldRun>) -> ConnectAgent {
        ConnectAgent {
            agent: bastion.agent,
            facts: facts(bastion.volume),
            runs,
            contested: Vec::new(),
            now: self.now(),
        }
    }

    /// An agent connects with the runs it holds.
    pub async fn connect(&self, bastion: Bastion, runs: Vec<HeldRun>) -> Vec<(AttemptId, RunVerdict)> {
        self.store.connect_agent(self.connection(bastion, runs)).await.unwrap()
    }

    /// A wish for work.
    pub fn wish(&self, bastion: Bastion, slots: usize) -> LeaseTasks {
        LeaseTasks {
            agent: bastion.agent,
            attempts: (0..slots).map(|_| self.id()).collect(),
            volumes: vec![bastion.volume],
            environments: EnvironmentPattern::any(),
            now: self.now(),
        }
    }

    /// An agent takes work.
    pub async fn lease(&self, bastion: Bastion, slots: usize) -> Vec<LeasedTask> {
        self.store.lease_tasks(self.wish(bastion, slots)).await.unwrap()
    }

    /// An agent takes the one task there is.
    pub async fn lease_one(&self, bastion: Bastion) -> Assignment {
        let mut leased = self.lease(bastion, 4).await;
        assert_eq!(leased.len(), 1, "one task waits");
        leased.remove(0).assignment
    }

    /// An agent takes the one operation there is, up to its `rke`: the steps before that succeed.
    pub async fn lease_rke(&self, bastion: Bastion) -> Assignment {
        loop {
            let work = self.lease_one(bastion).await;
            if work.kind.is_rke() {
                return work;
            }
            self.step(bastion, &work, RunOutcome::Succeeded).await;
        }
    }

    /// An agent takes what is left of an operation, while that is steps: they succeed.
    pub async fn take_steps(&self, bastion: Bastion, operation: OperationId) {
        let waits = |task: &TaskRecord| task.state == TaskState::Queued && !task.kind.is_rke();
        while self.store.tasks(operation).await.unwrap().iter().any(waits) {
            let work = self.lease_one(bastion).await;
            assert_eq!(work.operation, operation);
            self.step(bastion, &work, RunOutcome::Succeeded).await;
        }
    }

    /// A step is done, and found something.
    pub async fn step(&self, bastion: Bastion, work: &Assignment, outcome: RunOutcome) {
        self.start(bastion, work).await;
        let findings = Some(json!({"found by": work.kind}));
        let report = RunReport { generation: None, rke: None, findings, ..self.report(work, outcome) };
        self.settle(bastion, report).await;
    }

    /// An agent starts what it was given.
    pub async fn start(&self, bastion: Bastion, work: &Assignment) {
        let applied = self.store.start_attempt(bastion.agent, work.attempt, work.fence, self.now()).await.unwrap();
        assert_eq!(applied, Applied::Done(work.operation));
    }

    /// A cluster that waits, then is leased and started.
    pub async fn running(&self, bastion: Bastion, environment: &str, name: &str) -> Assignment {
        self.provisioned(environment, name).await;
        let work = self.lease_one(bastion).await;
        self.start(bastion, &work).await;
        work
    }

    /// A cluster that was built.
    pub async fn ready(&self, bastion: Bastion, environment: &str, name: &str) -> Assignment {
        let work = self.running(bastion, environment, name).await;
        let report = self.report(&work, RunOutcome::Succeeded);
        self.settle(bastion, report).await;
        work
    }

    /// A report with a good generation.
    pub fn report(&self, work: &Assignment, outcome: RunOutcome) -> RunReport {
        let number = work.known.as_ref().map_or(1, |known| known.generation + 1);
        RunReport {
            attempt: work.attempt,
            fence: work.fence,
            outcome,
            exit: None,
            started_at: Some(self.now()),
            ended_at: self.now(),
            generation: Some(self.manifest(work, number)),
            rke: Some(RkeBinary { version: "v1.8.4".into(), sha256: hash("rke"), rehearsal: false }),
            warnings: Vec::new(),
            output_bytes: 0,
            findings: None,
        }
    }

    /// A good generation.
    pub fn manifest(&self, work: &Assignment, number: u64) -> Manifest {
        Manifest {
            number,
            cluster: work.cluster,
            operation: work.operation,
            attempt: work.attempt,
            fence: work.fence,
            sealed_at: self.now(),
            ca_sha256: Some(hash("ca")),
            good: true,
            fault: None,
            files: vec![SealedFile { name: "cluster.rkestate".into(), bytes: 9, sha256: hash("state") }],
        }
    }

    /// A report is settled.
    pub async fn settle(&self, bastion: Bastion, report: RunReport) {
        let settled = self.store.settle_attempt(bastion.agent, report, RetryPolicy::NEVER, self.now()).await.unwrap();
        assert!(matches!(settled, Settled::Now { .. }), "{settled:?}");
    }

    /// Sends output and answers how much is stored.
    pub async fn append(&self, bastion: Bastion, work: &Assignment, offset: u64, data: &str) -> Option<u64> {
        let data = Bytes::copy_from_slice(data.as_bytes());
        let appended =
            self.store.append_output(bastion.agent, work.attempt, work.fence, offset, data, self.now()).await.unwrap();
        match appended {
            OutputAppended::Stored { stored, operation } => {
                assert_eq!(operation, work.operation);
                Some(stored)
            }
            OutputAppended::Closed | OutputAppended::Foreign => None,
        }
    }

    /// Asks for the end of an operation.
    pub async fn cancel(&self, operation: OperationId) -> Cancellation {
        let request =
            CancelOperation { operation, audit: entry("operation.cancel", &operation.to_string()), now: self.now() };
        self.store.cancel_operation(request).await.unwrap()
    }

    /// An admin gives up the run that holds a cluster.
    pub async fn force(&self, environment: &str, name: &str, connected: Vec<AgentId>) -> Forced {
        let request = ForceUnlock {
            environment: environment.parse().unwrap(),
            name: name.parse().unwrap(),
            reason: "its host is gone".into(),
            connected,
            audit: entry("cluster.force-unlock", name),
            now: self.now(),
        };
        self.store.force_unlock(request).await.unwrap()
    }

    /// An admin's step of an agent's life.
    pub async fn change(&self, agent: AgentId, event: AgentEvent) -> AgentChanged {
        let request = ChangeAgent { agent, event, audit: entry("agent.change", &agent.to_string()), now: self.now() };
        self.store.change_agent(request).await.unwrap()
    }

    /// A cluster as it is now.
    pub async fn cluster(&self, environment: &str, name: &str) -> Cluster {
        let found = self.store.cluster(&environment.parse().unwrap(), &name.parse().unwrap()).await.unwrap();
        found.unwrap()
    }

    /// An operation as it is now.
    pub async fn look(&self, id: OperationId) -> Operation {
        self.store.operation(id).await.unwrap().unwrap()
    }
}

/// What an agent says of itself.
pub fn facts(volume: VolumeId) -> AgentFacts {
    AgentFacts {
        version: "0.1.0".into(),
        hostname: "bastion".into(),
        slots: 4,
        rke: None,
        kubernetes_versions: vec!["v1.30.14-rancher1-1".into(), "v1.9.7-rancher2-2".into()],
        volumes: vec![volume_status(volume)],
    }
}

/// A volume without a fault.
pub fn volume_status(id: VolumeId) -> VolumeStatus {
    VolumeStatus {
        id,
        path: "/state".into(),
        free_bytes: 1,
        total_bytes: 2,
        fault: None,
        reserve_bytes: Some(1),
        scrub: None,
    }
}

/// The run of an assignment, as its agent holds it.
pub fn held(work: &Assignment) -> HeldRun {
    let (attempt, fence, cluster, volume) = (work.attempt, work.fence, work.cluster, work.volume);
    HeldRun { attempt, fence, cluster, volume, live: true }
}

/// A failure that can be tried again.
pub fn failure(class: FailureClass) -> Failure {
    Failure {
        class,
        message: "it did not work".into(),
        line: Some("FATA[0001] no".into()),
        retryable: true,
        remedy: "mend it".into(),
    }
}

/// An audit entry.
pub fn entry(action: &str, object: &str) -> AuditEntry {
    AuditEntry {
        actor: "ann".into(),
        origin: "local".into(),
        action: action.into(),
        object: object.into(),
        outcome: AuditOutcome::Allowed,
        detail: String::new(),
        request_id: "r-1".into(),
    }
}

/// The operation of a request that was accepted.
pub fn accepted(acceptance: Acceptance) -> Operation {
    match acceptance {
        Acceptance::Accepted(operation) => *operation,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Something that looks like a hash of a word.
pub fn hash(word: &str) -> String {
    let mut text: String = word.bytes().map(|b| format!("{b:02x}")).collect();
    text.extend(std::iter::repeat_n('0', 64usize.saturating_sub(text.len())));
    text.truncate(64);
    text
}

/// The task of an operation in which `rke` runs: what most stories are about.
fn rke_task(kind: OperationKind) -> Option<TaskKind> {
    let tasks = kind.tasks();
    tasks.iter().find(|task| task.is_rke()).or(tasks.first()).copied()
}

/// A small spec with a masked secret.
pub fn spec() -> ClusterSpec {
    let document = json!({
        "kubernetes_version": "v1.30.14-rancher1-1",
        "nodes": [{"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"]}],
        "private_registries": [{"url": "registry.example.com", "user": "u", "password": "hunter2"}],
    });
    let mut spec = intake::read(&document).unwrap().0;
    spec.take_secrets();
    spec
}

/// The small spec with a worker more.
pub fn larger_spec() -> ClusterSpec {
    let mut spec = spec();
    let mut worker = spec.nodes[0].clone();
    worker.address = "10.0.0.2".into();
    worker.roles.retain(|role| *role == NodeRole::Worker);
    spec.nodes.push(worker);
    spec
}

/// A fence one lower.
pub fn older(fence: Fence) -> Fence {
    Fence(fence.0 - 1)
}
