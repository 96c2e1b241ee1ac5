//! A router with everything behind it, for tests of endpoints: the embedded store in a folder of its
//! own, and an agent with good manners.

mod agent;
mod broken;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::cluster::manifest::Scope;
use cratekube_common::domain::environment::{Grant, Role};
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport};
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::mint::Mint;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Limits, Offer, RestParts, RestState, UserSettings, router};
use crate::auth::{SigningKey, Tokens};
use crate::edge::changeover::Changeover;
use crate::edge::tls::Trust;
use crate::keys::{Envelope, signing};
use crate::pki::authority::Authority;
use crate::plan::chain::Chain;
use crate::plan::policy::Policy;
use crate::plan::scopes::Scopes;
use crate::plan::settle::RetryPolicy;
use crate::service::Service;
use crate::service::dispatch::{Dispatch, DispatchParts};
use crate::service::leases::Leases;
use crate::service::lines::Lines;
use crate::service::presence::Presence;
use crate::service::spec_secrets::tests::Backwards;
use crate::service::watch::Watch;
use crate::store::conformance::house::Bastion;
use crate::store::conformance::{House, Opened, Place};
use crate::store::sqlite::{Execution, SqliteOptions, SqliteStore};
use crate::store::{PageRequest, Store};
pub(super) use agent::Agent;
pub(super) use broken::Broken;

/// What the whole API is tested on.
pub(super) struct World {
    pub(super) router: Router,
    pub(super) state: RestState,
    pub(super) house: House,
    pub(super) dir: Arc<tempfile::TempDir>,
    pub(super) presence: Presence,
    pub(super) watch: Watch,
    /// The other side of the service: what agents talk to.
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) shutdown: CancellationToken,
    pub(super) tokens: Arc<Tokens>,
    /// What signs its tokens.
    pub(super) key: SigningKey,
}

/// A folder that goes away with the last who holds it. The store works on the caller's task, so that
/// time that is paused does not run away while a thread works.
struct Folder(Arc<tempfile::TempDir>);

impl Place for Folder {
    fn open(&self) -> Opened<'_> {
        let options = SqliteOptions { execution: Execution::Inline };
        Box::pin(async move { Arc::new(SqliteStore::open(self.0.path(), options).unwrap()) as Arc<dyn Store> })
    }
}

/// An agent at work on the one operation there is.
pub(super) struct Work {
    pub(super) bastion: Bastion,
    pub(super) task: Assignment,
    sent: u64,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's slug; fails when the answer is not a problem document.
    pub(super) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{} {}", self.status, self.text());
        let document = self.json();
        assert_eq!(document["status"], self.status.as_u16());
        assert_eq!(document["request_id"], self.header("x-request-id"));
        document["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned()
    }

    pub(super) fn pointers(&self) -> Vec<String> {
        let document = self.json();
        let errors = document["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|e| e["pointer"].as_str().or(e["parameter"].as_str()).unwrap().to_owned()).collect()
    }
}

/// A request in the making.
pub(super) struct Ask<'a> {
    world: &'a World,
    request: http::request::Builder,
    body: Body,
}

impl Ask<'_> {
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub(super) fn raw(self, content_type: &str, body: impl Into<Body>) -> Self {
        let mut ask = self.header("content-type", content_type);
        ask.body = body.into();
        ask
    }

    pub(super) async fn open(self) -> Response {
        let request = self.request.body(self.body).unwrap();
        self.world.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn send(self) -> Answer {
        Answer::of(self.open().await).await
    }
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        Self::build(limits, None, Policy::default(), offer()).await
    }

    pub(super) async fn under(policy: Policy) -> Self {
        Self::build(Limits::default(), None, policy, offer()).await
    }

    pub(super) async fn broken(how: Broken) -> Self {
        Self::build(Limits::default(), Some(Arc::new(how)), Policy::default(), offer()).await
    }

    /// A world whose controller gives away the agents in a folder.
    pub(super) async fn offering(binaries: &std::path::Path) -> Self {
        let offer = Offer { binaries: Some(binaries.to_owned()), ..offer() };
        Self::build(Limits::default(), None, Policy::default(), offer).await
    }

    async fn build(limits: Limits, store: Option<Arc<dyn Store>>, policy: Policy, offer: Offer) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let house = House::open(Box::new(Folder(Arc::clone(&dir)))).await;
        let clock = house.clock.clone();
        let (presence, watch, shutdown) = (Presence::default(), Watch::default(), CancellationToken::new());
        let master = zeroize::Zeroizing::new(vec![7; 32]);
        let envelope = Arc::new(Envelope::new(&master, Mint::system(clock.clone())).unwrap());
        let keys = signing::load(dir.path(), true, &envelope).unwrap().signing_keys();
        let key = keys[0].clone();
        let tokens = Tokens::new(&keys, "cratekube", "cratekube-rest", Duration::from_secs(300), clock.clone());
        let tokens = Arc::new(tokens);
        let changeover = changeover(dir.path(), &envelope, house.clock.clone());
        let signing_keys = signing::Watched::new(dir.path().to_owned(), envelope, Arc::clone(&tokens));
        let store = store.unwrap_or_else(|| house.store.clone());
        let (scopes, policy) = (Arc::new(scopes()), Arc::new(policy));
        let (lines, mint) = (Lines::default(), Mint::system(clock.clone()));
        let dispatch = Arc::new(Dispatch::new(DispatchParts {
            store: store.clone(),
            watch: watch.clone(),
            presence: presence.clone(),
            lines: lines.clone(),
            leases: Leases::new(Duration::from_secs(30), clock.clone()),
            retry_policy: RetryPolicy::NEVER,
            vault: Arc::new(Backwards),
            scopes: scopes.clone(),
            policy: policy.clone(),
            clock: clock.clone(),
            mint: mint.clone(),
        }));
        let service = Service {
            store,
            watch: watch.clone(),
            presence: presence.clone(),
            lines,
            clock,
            mint,
            vault: Arc::new(Backwards),
            policy,
            chain: Arc::new(Chain::default()),
            scopes,
            scans: crate::service::orphans::Scans { interval: None, since: house.now() },
            removals: crate::config::operations::Removals::default(),
            stale_after: Duration::from_secs(24 * 3_600),
        };
        let state = RestState::new(RestParts {
            service,
            tokens: tokens.clone(),
            signing_keys: Arc::new(signing_keys),
            mac_key: [3; 32],
            changeover,
            offer,
            limits,
            users: UserSettings {
                default_api_key_lifetime: Duration::from_secs(90 * 86_400),
                max_api_key_lifetime: Duration::from_secs(365 * 86_400),
                trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            },
            shutdown: shutdown.clone(),
            checks: Vec::new(),
            metrics: crate::metrics::Metrics::default(),
            certificates: Arc::new(Vec::new),
        });
        Self { router: router(state.clone()), state, house, dir, presence, watch, dispatch, shutdown, tokens, key }
    }

    /// A token of `ann` with one role.
    pub(super) fn token(&self, role: Role, environments: &str) -> String {
        self.token_of("ann", role, environments)
    }

    pub(super) fn token_of(&self, subject: &str, role: Role, environments: &str) -> String {
        let grants = [Grant { role, environments: environments.parse().unwrap() }];
        let id = self.house.id::<uuid::Uuid>().to_string();
        self.tokens.issue(subject, &grants, Duration::from_secs(300), &id).unwrap()
    }

    /// A request without a token.
    pub(super) fn anonymous(&self, method: Method, path: &str) -> Ask<'_> {
        Ask { world: self, request: Request::builder().method(method).uri(path), body: Body::empty() }
    }

    /// A request of an operator of `prod`.
    pub(super) fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        self.ask_as(&self.token(Role::Operator, "prod"), method, path)
    }

    pub(super) fn ask_as(&self, token: &str, method: Method, path: &str) -> Ask<'_> {
        self.anonymous(method, path).header("authorization", &format!("Bearer {token}"))
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).send().await
    }

    /// The audit log, oldest first.
    pub(super) async fn audit(&self) -> Vec<AuditEntry> {
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let page = self.house.store.audit_entries(PageRequest { after, limit: 1_000 }).await.unwrap();
            entries.extend(page.items.into_iter().map(|record| record.entry));
            after = page.next;
            if after.is_none() {
                entries.reverse();
                return entries;
            }
        }
    }

    /// An agent takes and starts the one task that waits.
    pub(super) async fn work(&self) -> Work {
        let bastion = self.house.bastion("bastion-1", "*").await;
        let task = self.house.lease_rke(bastion).await;
        self.house.start(bastion, &task).await;
        self.watch.announce(task.operation);
        Work { bastion, task, sent: 0 }
    }

    /// The agent writes output.
    pub(super) async fn write(&self, work: &mut Work, bytes: &[u8]) {
        for piece in bytes.chunks(1024 * 1024) {
            let (task, data) = (&work.task, Bytes::copy_from_slice(piece));
            let (agent, now) = (work.bastion.agent, self.house.now());
            let stored = self.house.store.append_output(agent, task.attempt, task.fence, work.sent, data, now);
            stored.await.unwrap();
            work.sent += piece.len() as u64;
        }
        self.watch.announce(work.task.operation);
    }

    /// The agent says how far it is.
    pub(super) async fn progress(&self, work: &Work, progress: Progress) {
        let task = &work.task;
        let told = self.house.store.record_progress(work.bastion.agent, task.attempt, task.fence, progress);
        told.await.unwrap();
        self.watch.announce(task.operation);
    }

    /// The agent reports the end.
    pub(super) async fn settle(&self, work: &Work, outcome: RunOutcome) -> OperationId {
        let report = self.house.report(&work.task, outcome);
        let report = RunReport { output_bytes: work.sent, ..report };
        self.house.settle(work.bastion, report).await;
        self.house.take_steps(work.bastion, work.task.operation).await;
        self.watch.announce(work.task.operation);
        work.task.operation
    }

    /// Creates a cluster in `prod` that is ready.
    pub(super) async fn ready(&self, name: &str) -> Work {
        self.create(name).await;
        let work = self.work().await;
        self.settle(&work, RunOutcome::Succeeded).await;
        work
    }

    /// Creates a cluster in `prod`; answers the operation's id.
    pub(super) async fn create(&self, name: &str) -> String {
        let ask = self.ask(Method::POST, "/v1/environments/prod/clusters").json(&wanted(name));
        let answer = ask.send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        answer.json()["operation"]["id"].as_str().unwrap().to_owned()
    }
}

/// The CA, with nobody listening.
fn changeover(data: &std::path::Path, envelope: &Arc<Envelope>, clock: Clock) -> Changeover {
    let mint = Mint::system(Arc::clone(&clock));
    let authority = Authority::load(data, true, KeyAlgorithm::EcdsaP256, envelope, clock, mint).unwrap();
    let trust = Trust::new(authority.trust_bundle()).unwrap();
    Changeover::new(Arc::new(authority), trust, Arc::default(), Blocking::Inline)
}

/// What a controller tells new bastions, without anything to give away.
fn offer() -> Offer {
    Offer {
        url: "https://controller.example:8443".into(),
        agents: "controller.example:7443".into(),
        foreign_certificate: false,
        binaries: None,
    }
}

/// The good description with something changed, as a change is sent.
pub(super) fn changed(edit: impl FnOnce(&mut Value)) -> Value {
    let mut spec = wanted("-")["spec"].take();
    edit(&mut spec);
    json!({"spec": spec})
}

/// A good description of a cluster.
pub(super) fn wanted(name: &str) -> Value {
    json!({"name": name, "spec": {
        "kubernetes_version": "v1.30.14-rancher1-1",
        "nodes": [{"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"]}],
        "private_registries": [{"url": "registry.example", "user": "u", "password": "canary-secret-42"}],
    }})
}

/// One namespace everywhere; in `lab` also what is in none.
fn scopes() -> Scopes {
    let lab = Scope { cluster_scoped: true, ..Scope::default() };
    Scopes { default: Scope::default(), environments: vec![("lab".parse().unwrap(), lab)] }
}
