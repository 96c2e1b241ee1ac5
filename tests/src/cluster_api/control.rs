//! The hand on the small API: what goes wrong, what is in the clusters, what was asked of them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::authority::Standing;
use super::cluster::{Cluster, key};
use super::identity::User;
use super::proxy;
use super::request::Call;
use super::status::Reply;
use crate::rehearsal::fleet::Fleet;

/// A running API; it ends with this value.
#[derive(Debug)]
pub struct ClusterApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// One request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Address of the host that was asked.
    pub address: String,
    /// User that asked.
    pub user: String,
    /// `GET`, `PATCH`, …
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// Status that was answered.
    pub code: u16,
}

/// A request that is held until this value is dropped.
#[derive(Debug)]
pub struct Hold(Gate);

impl Hold {
    /// Waits until a request has come that is held.
    pub async fn reached(&self) {
        if let Ok(permit) = self.0.reached.0.acquire().await {
            permit.forget();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.release.notify_waiters();
        self.0.release.notify_one();
    }
}

/// What is to happen to a request.
#[derive(Debug)]
enum Trouble {
    Fail { code: u16, times: u32 },
    Hold { gate: Gate, answered: bool },
}

#[derive(Debug)]
struct Snare {
    method: String,
    path: String,
    /// Requests that pass before one is struck.
    passes: u32,
    trouble: Trouble,
}

/// Where a request waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    reached: Arc<Arrivals>,
    release: Arc<Notify>,
}

#[derive(Debug)]
struct Arrivals(Semaphore);

impl Default for Arrivals {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Gate {
    pub(crate) async fn wait(&self) {
        self.reached.0.add_permits(1);
        self.release.notified().await;
    }
}

/// What happens to a request.
#[derive(Debug, Default)]
pub(crate) struct Struck {
    /// It is answered with this, and not performed.
    pub(crate) reply: Option<Reply>,
    /// It is performed, and its answer waits here.
    pub(crate) answer: Option<Gate>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fleet: Fleet,
    clusters: Mutex<BTreeMap<String, Cluster>>,
    snares: Mutex<Vec<Snare>>,
    seen: Mutex<Vec<Seen>>,
}

impl ClusterApi {
    /// Starts it for the clusters of a fleet, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(fleet: &Fleet) -> io::Result<ClusterApi> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            fleet: fleet.clone(),
            clusters: Mutex::default(),
            snares: Mutex::default(),
            seen: Mutex::default(),
        });
        let task = tokio::spawn(proxy::serve(listener, Arc::clone(&shared)));
        Ok(ClusterApi { address, shared, task })
    }

    /// What clients are told as their proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests of a method whose path contains a text fail so many times. `*` is every method.
    pub fn fail(&self, method: &str, path: &str, code: u16, times: u32) {
        self.snare(method, path, 0, Trouble::Fail { code, times });
    }

    /// The next request of a method whose path contains a text waits until the hold is dropped.
    #[must_use]
    pub fn hold(&self, method: &str, path: &str) -> Hold {
        let gate = Gate::default();
        self.snare(method, path, 0, Trouble::Hold { gate: gate.clone(), answered: false });
        Hold(gate)
    }

    /// The n-th request from here on, whatever it is, waits until the hold is dropped: before it is performed,
    /// or with its answer.
    #[must_use]
    pub fn hold_nth(&self, nth: u32, answered: bool) -> Hold {
        let gate = Gate::default();
        self.snare("*", "", nth.saturating_sub(1), Trouble::Hold { gate: gate.clone(), answered });
        Hold(gate)
    }

    /// Nothing happens to requests any more.
    pub fn spare(&self) {
        lock(&self.shared.snares).clear();
    }

    fn snare(&self, method: &str, path: &str, passes: u32, trouble: Trouble) {
        lock(&self.shared.snares).push(Snare { method: method.to_owned(), path: path.to_owned(), passes, trouble });
    }

    /// Makes a node of the cluster at an address ready or not.
    pub fn set_ready(&self, address: &str, node: &str, ready: bool) {
        self.shared.with(address, |cluster| {
            if ready { cluster.unready.remove(node) } else { cluster.unready.insert(node.to_owned()) }
        });
    }

    /// Whether the API says that etcd is healthy.
    pub fn set_etcd(&self, address: &str, healthy: bool) {
        self.shared.with(address, |cluster| cluster.etcd_is_down = !healthy);
    }

    /// How many looks at its group a new definition takes until it is served; one at first.
    pub fn definitions_take(&self, address: &str, looks: u32) {
        self.shared.with(address, |cluster| cluster.definitions_take = looks);
    }

    /// From now on nobody works off this finalizer, as when its controller is gone.
    pub fn hold_finalizer(&self, address: &str, finalizer: &str) {
        self.shared.with(address, |cluster| cluster.stuck.insert(finalizer.to_owned()));
    }

    /// An object of the cluster at an address; none when it, or the cluster, is not there.
    #[must_use]
    pub fn read(&self, address: &str, group: &str, plural: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        self.shared.with(address, |cluster| cluster.get(group, plural, namespace, name).cloned()).flatten()
    }

    /// All objects of a kind.
    #[must_use]
    pub fn list(&self, address: &str, group: &str, plural: &str) -> Vec<Value> {
        self.shared.with(address, |cluster| cluster.list(group, plural, None).cloned().collect()).unwrap_or_default()
    }

    /// Puts an object into the cluster as it is, past every check.
    pub fn write(&self, address: &str, object: Value) {
        self.shared.with(address, |cluster| {
            cluster.put(object);
            cluster.control();
        });
    }

    /// Takes an object out of the cluster, past every check.
    pub fn erase(&self, address: &str, group: &str, plural: &str, namespace: Option<&str>, name: &str) {
        self.shared.with(address, |cluster| cluster.objects.remove(&key(group, plural, namespace, name)));
    }

    /// One request as an administrator of the cluster: status and body.
    pub fn ask(&self, address: &str, manager: &str, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut query = proxy::read_query(query);
        query.insert("fieldManager".to_owned(), manager.to_owned());
        let call = Call {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            content_type: if method == "PATCH" { "application/merge-patch+json" } else { "application/json" }
                .to_owned(),
            user_agent: manager.to_owned(),
            body: body.to_string().into_bytes(),
        };
        let admin = User { name: "kube-admin".to_owned(), groups: vec!["system:masters".to_owned()] };
        let reply = self.shared.with(address, |cluster| cluster.answer(&call, Ok(admin)))?;
        Some((reply.code, reply.body))
    }

    /// One request without a body by whoever holds a token: status and body.
    #[must_use]
    pub fn ask_with(&self, address: &str, token: &str, method: &str, path: &str) -> Option<(u16, Value)> {
        let call = Call { method: method.to_owned(), path: path.to_owned(), ..Call::default() };
        let reply = self.shared.with(address, |cluster| {
            let user = cluster.user_of_token(token);
            cluster.answer(&call, user)
        })?;
        Some((reply.code, reply.body))
    }

    /// Every request so far, in the order of the answers.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Resolves when it has ended, which it does not by itself.
    pub async fn ended(mut self) {
        let _aborted = (&mut self.task).await;
    }
}

impl Drop for ClusterApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Acts on the cluster at an address, when there is one.
    pub(crate) fn with<T>(&self, address: &str, act: impl FnOnce(&mut Cluster) -> T) -> Option<T> {
        let standing = Standing::at(&self.fleet, address).ok()?;
        let mut clusters = lock(&self.clusters);
        if !clusters.contains_key(&standing.ca) {
            let inherited = standing.live.formerly.as_ref().and_then(|old| clusters.remove(old));
            let cluster = inherited.unwrap_or_else(|| Cluster::new(&standing));
            clusters.insert(standing.ca.clone(), cluster);
        }
        let cluster = clusters.get_mut(&standing.ca)?;
        cluster.refresh(&standing, &self.fleet);
        Some(act(cluster))
    }

    /// What tests want to happen to a request; waits while it is held.
    pub(crate) async fn trouble(&self, method: &str, path: &str) -> Struck {
        let held = {
            let mut snares = lock(&self.snares);
            let mut hit = None;
            for (number, snare) in snares.iter_mut().enumerate() {
                if (snare.method == "*" || snare.method == method) && path.contains(&snare.path) {
                    if snare.passes == 0 {
                        hit = Some(number);
                        break;
                    }
                    snare.passes -= 1;
                }
            }
            let Some(hit) = hit else { return Struck::default() };
            match &mut snares[hit].trouble {
                Trouble::Fail { code, times } => {
                    let code = *code;
                    *times = times.saturating_sub(1);
                    if *times == 0 {
                        snares.remove(hit);
                    }
                    return Struck { reply: Some(failure(code)), answer: None };
                }
                Trouble::Hold { gate, answered } => {
                    let held = (gate.clone(), *answered);
                    snares.remove(hit);
                    held
                }
            }
        };
        match held {
            (gate, true) => Struck { reply: None, answer: Some(gate) },
            (gate, false) => {
                gate.wait().await;
                Struck::default()
            }
        }
    }

    pub(crate) fn saw(&self, seen: Seen) {
        lock(&self.seen).push(seen);
    }
}

fn failure(code: u16) -> Reply {
    let (reason, message) = match code {
        409 => {
            ("Conflict", "the object has been modified; please apply your changes to the latest version and try again")
        }
        429 => ("TooManyRequests", "Too many requests, please try again later."),
        403 => ("Forbidden", "forbidden"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "request did not complete within the allotted timeout"),
        _ => ("InternalError", "Internal error occurred: etcdserver: request timed out"),
    };
    Reply::failure(code, reason, message)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
