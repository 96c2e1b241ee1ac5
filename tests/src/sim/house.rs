//! Everything of a simulated world that outlives a crash: directories, machines, clocks, who has which
//! volume; and the software of each host, made of the product's own parts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cratekube_agent::app::{Agent, Outside as AgentOutside};
use cratekube_agent::config::AgentConfig;
use cratekube_agent::identity::enroll::{Enrollment, enroll};
use cratekube_agent::identity::files::IdentityFiles;
use cratekube_agent::volume::identity;
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::environment::{EnvironmentPattern, Grant, Role};
use cratekube_common::domain::id::VolumeId;
use cratekube_common::domain::join_token::{JoinToken, SECRET_CHARACTERS};
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::mint::Mint;
use cratekube_common::runtime::{files, tls};
use cratekube_controller::app::{Controller, Outside, StartError, open_data, tokens};
use cratekube_controller::config::Config;
use cratekube_controller::datadir::Opening;
use cratekube_controller::store::sqlite::{DATABASE_FILE, Execution, SqliteOptions, SqliteStore};
use cratekube_controller::store::{NewJoinToken, Store as _, StoreError};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::Sabotage;
use super::call::{REST_PORT, Trust};
use super::chance::{Chance, Dice};
use super::faults::{CONTROLLER, bastion};
use super::machine::{Machine, MachineHost, Task};
use super::model::Model;
use super::net::{Door, Net};
use super::time::{Course, Skew};

/// The controller's port for agents.
const AGENTS_PORT: u16 = 7443;
/// How soon a service that failed is started again.
const RESTART: Duration = Duration::from_secs(1);
/// Runs that an agent executes at once.
const SLOTS: u32 = 2;
/// Longer than an `rke` that works ever says nothing.
const SILENCE: &str = "40s";
/// Longer than a step that works ever takes.
const STEP: &str = "2m";
/// Attempts of one task, at most.
pub const ATTEMPTS: usize = 3;
/// The store, without threads.
pub const INLINE: SqliteOptions = SqliteOptions { execution: Execution::Inline };

/// What a store does that takes a late lease for a failure: the attempt counts as one that never started.
const LATE_IS_FAILED: &str = "CREATE TRIGGER late_is_failed AFTER UPDATE OF state ON attempts \
     WHEN NEW.state = 'unknown' BEGIN \
         UPDATE attempts SET state = 'released' WHERE id = NEW.id; \
         UPDATE tasks SET state = 'queued' WHERE id = NEW.task; \
         UPDATE operations SET state = 'queued' WHERE id = NEW.operation; \
     END;";

/// What outlives a crash.
pub struct House {
    /// What decides everything.
    pub seed: u64,
    /// What must be true.
    pub model: Arc<Model>,
    /// The course of time.
    pub course: Course,
    /// The machines of the bastions.
    pub machines: Vec<Arc<Machine>>,
    /// How users know the controller.
    pub trust: Trust,
    /// What is wrong with the product in this world.
    pub sabotage: Option<Sabotage>,
    /// Names of the clusters that users look after.
    pub clusters: Vec<String>,
    dir: TempDir,
    hosts: BTreeMap<String, Host>,
    config: Config,
    volumes: RefCell<Vec<Vec<(VolumeId, PathBuf)>>>,
    join_tokens: Vec<JoinToken>,
    /// Tokens for agents that were forgotten, until they have joined again.
    joins: RefCell<BTreeMap<String, JoinToken>>,
    tasks: RefCell<Option<mpsc::UnboundedReceiver<Task>>>,
    shutdowns: RefCell<BTreeMap<String, Shutdown>>,
    ending: Cell<bool>,
}

/// Time and chance of one host.
struct Host {
    skew: Skew,
    clock: Clock,
    mint: Mint,
}

impl Host {
    fn new(seed: u64, name: &str, course: &Course) -> Self {
        let skew = Skew::default();
        let clock = course.clock(&skew);
        let dice = Arc::new(Dice::new(Chance::of(seed, name)));
        Self { mint: Mint::drawing_on(dice, Arc::clone(&clock)), clock, skew }
    }
}

impl House {
    /// A house in which nothing runs yet.
    ///
    /// # Errors
    /// When it cannot be laid out.
    pub fn build(
        seed: u64,
        bastions: usize,
        clusters: Vec<String>,
        sabotage: Option<Sabotage>,
    ) -> anyhow::Result<Rc<Self>> {
        let dir = tempfile::Builder::new().prefix("cratekube-sim-").tempdir_in(memory())?;
        let course = Course::default();
        let model = Arc::new(Model::new(course.clone()));
        let names = std::iter::once(CONTROLLER.to_owned()).chain((0..bastions).map(bastion));
        let hosts: BTreeMap<_, _> = names.map(|name| (name.clone(), Host::new(seed, &name, &course))).collect();
        let (queue, tasks) = mpsc::unbounded_channel();
        let config = controller_config(&dir.path().join(CONTROLLER), steps(seed))?;
        let lay_out = LayOut { dir: dir.path(), hosts: &hosts, config: &config, course: &course, bastions, sabotage };
        let (trust, join_tokens) = lay_out.controller()?;
        let volumes = lay_out.volumes()?;
        let machine = |n: usize| {
            let (name, chance) = (bastion(n), Chance::of(seed, &format!("machine-{n}")));
            let clock = Arc::clone(&hosts[&name].clock);
            Machine::new(name, Arc::clone(&model), clock, chance, queue.clone(), sabotage)
        };
        Ok(Rc::new(Self {
            machines: (0..bastions).map(machine).collect(),
            seed,
            model,
            course,
            trust,
            sabotage,
            clusters,
            dir,
            hosts,
            config,
            volumes: RefCell::new(volumes),
            join_tokens,
            joins: RefCell::default(),
            tasks: RefCell::new(Some(tasks)),
            shutdowns: RefCell::default(),
            ending: Cell::new(false),
        }))
    }

    /// The controller's data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.path().join(CONTROLLER)
    }

    /// Roots of all volumes.
    #[must_use]
    pub fn volume_roots(&self) -> Vec<PathBuf> {
        self.volumes.borrow().iter().flatten().map(|(_, root)| root.clone()).collect()
    }

    /// Nothing new is to be asked for.
    pub fn end(&self) {
        self.ending.set(true);
    }

    /// True when nothing new is to be asked for.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// True when no process of a machine runs.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.machines.iter().all(|machine| machine.processes() == 0)
    }

    /// Makes a host's wall clock wrong.
    pub fn skew(&self, host: &str, ms: i64) {
        if let Some(host) = self.hosts.get(host) {
            host.skew.set(ms);
        }
    }

    /// Puts all wall clocks right.
    pub fn put_clocks_right(&self) {
        self.hosts.values().for_each(|host| host.skew.set(0));
    }

    /// Asks a host's software to stop, as a service manager would; it is started again when it has.
    pub fn ask_to_stop(&self, host: &str) {
        if let Some(shutdown) = self.shutdowns.borrow().get(host) {
            shutdown.escalate();
        }
    }

    /// True when every bastion has joined and none is to join anew.
    #[must_use]
    pub fn has_everybody(&self) -> bool {
        let bastions = self.machines.len();
        (0..bastions).all(|n| self.identity_files(&bastion(n)).is_enrolled()) && self.joins.borrow().is_empty()
    }

    /// Has an agent join anew that was forgotten, as an operator on its bastion would.
    pub fn joins_again(&self, host: &str, token: JoinToken) {
        self.joins.borrow_mut().insert(host.to_owned(), token);
        self.ask_to_stop(host);
    }

    /// Attaches the volumes of one bastion to another; says whether there were any.
    pub fn move_volumes(&self, from: usize, to: usize) -> bool {
        let mut volumes = self.volumes.borrow_mut();
        let moved = std::mem::take(&mut volumes[from]);
        let any = !moved.is_empty();
        volumes[to].extend(moved);
        any
    }

    /// Puts an older copy in the place of the controller's database, or takes one: what an operator does
    /// who restores a backup and thinks no more of it.
    pub fn exchange_database(&self, older: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let database = self.data().join(DATABASE_FILE);
        let Some(older) = older else {
            let whole = SqliteStore::open(&self.data(), INLINE)
                .and_then(|store| now_or_never(store.close()).map_err(|e| StoreError::Open(e.to_string())));
            return whole.ok().and_then(|()| fs::read(database).ok());
        };
        for log in ["-wal", "-shm"] {
            let _may_not_be_there = fs::remove_file(self.data().join(format!("{DATABASE_FILE}{log}")));
        }
        fs::write(database, &older).ok().map(|()| older)
    }

    /// A token for a user; empty when there is none to be had.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        let host = &self.hosts[CONTROLLER];
        let issue = || -> anyhow::Result<String> {
            let data = open_data(&self.config, Opening::Command, &host.clock, &host.mint)?;
            let tokens = tokens(&self.config, &data, Arc::clone(&host.clock))?;
            let everything = |role| Grant { role, environments: EnvironmentPattern::any() };
            let grants = [everything(Role::Operator), everything(Role::Admin)];
            Ok(tokens.issue(subject, &grants, self.config.auth.max_token_lifetime, &format!("of-{subject}"))?)
        };
        issue().unwrap_or_default()
    }

    /// The controller's host: serves, and is started again when it was asked to stop.
    ///
    /// # Errors
    /// When the controller does not start.
    pub async fn controller(self: Rc<Self>) -> turmoil::Result {
        let host = &self.hosts[CONTROLLER];
        loop {
            let shutdown = self.starts(CONTROLLER);
            let (clock, mint) = (Arc::clone(&host.clock), host.mint.clone());
            let controller = Controller::open_in(self.config.clone(), clock, mint, shutdown, doors).await?;
            controller.run().await;
        }
    }

    /// A bastion's host: enrols, serves the volumes that are attached to it, and starts again.
    ///
    /// # Errors
    /// When the agent cannot be configured.
    pub async fn agent(self: Rc<Self>, n: usize) -> turmoil::Result {
        let name = bastion(n);
        self.enrol(n, &name).await?;
        let host = &self.hosts[&name];
        loop {
            self.join_again(n, &name).await;
            let volumes: Vec<_> = self.volumes.borrow()[n].iter().map(|(_, root)| root.clone()).collect();
            if volumes.is_empty() {
                tokio::time::sleep(RESTART).await;
                continue;
            }
            let config = self.agent_config(&name, &volumes)?;
            let outside =
                AgentOutside { dialer: Arc::new(Net), host: Arc::new(MachineHost(Arc::clone(&self.machines[n]))) };
            let shutdown = self.starts(&name);
            match Agent::open_in(&config, Arc::clone(&host.clock), host.mint.clone(), outside).await {
                Ok(agent) => agent.run(shutdown).await?,
                Err(error) => self.model.note(format!("{name} does not start: {error}")),
            }
            tokio::time::sleep(RESTART).await;
        }
    }

    /// The host on which processes of all machines run.
    ///
    /// # Errors
    /// Never.
    pub async fn machine_room(self: Rc<Self>) -> turmoil::Result {
        let tasks = self.tasks.borrow_mut().take();
        let Some(mut tasks) = tasks else { return Ok(()) };
        while let Some(task) = tasks.recv().await {
            tokio::spawn(task);
        }
        Ok(())
    }

    fn starts(&self, host: &str) -> Shutdown {
        self.model.note(format!("{host} starts"));
        let shutdown = Shutdown::new();
        self.shutdowns.borrow_mut().insert(host.to_owned(), shutdown.clone());
        shutdown
    }

    fn identity_files(&self, name: &str) -> IdentityFiles {
        IdentityFiles::at(&self.dir.path().join(name))
    }

    async fn enrol(&self, n: usize, name: &str) -> anyhow::Result<()> {
        let files = self.identity_files(name);
        while !files.is_enrolled() {
            if let Err(error) = self.enrol_with(n, name, &self.join_tokens[n], false).await {
                self.model.note(format!("{name} is not enrolled: {error:#}"));
                tokio::time::sleep(RESTART).await;
            }
        }
        Ok(())
    }

    /// Enrols anew where somebody brought a token for that, however often it takes.
    async fn join_again(&self, n: usize, name: &str) {
        let token = self.joins.borrow().get(name).cloned();
        let Some(token) = token else { return };
        while let Err(error) = self.enrol_with(n, name, &token, true).await {
            self.model.note(format!("{name} cannot join anew: {error:#}"));
            tokio::time::sleep(RESTART).await;
        }
        self.model.note(format!("{name} has joined anew"));
        self.joins.borrow_mut().remove(name);
    }

    async fn enrol_with(&self, n: usize, name: &str, token: &JoinToken, anew: bool) -> anyhow::Result<()> {
        let enrollment = Enrollment {
            controller: controller_address().parse().map_err(anyhow::Error::msg)?,
            token: token.clone(),
            name: name.parse().map_err(anyhow::Error::msg)?,
            volumes: self.volumes.borrow()[n].iter().map(|(id, _)| *id).collect(),
        };
        let files = self.identity_files(name);
        enroll(&enrollment, &files, anew, Arc::new(Net), &self.hosts[name].clock).await?;
        Ok(())
    }

    fn agent_config(&self, name: &str, volumes: &[PathBuf]) -> anyhow::Result<AgentConfig> {
        Ok(AgentConfig::from_value(&json!({
            "controller": {"address": controller_address()},
            "agent": {"name": name, "state_dir": self.dir.path().join(name), "slots": SLOTS},
            "volumes": {"paths": volumes, "require_mount": false, "min_free_bytes": 0, "keep_generations": 100},
            "rke": {"stop_grace": "2s", "silence_timeout": SILENCE, "run_timeout": "20m"},
            "steps": {"preflight": STEP, "configure": STEP, "verify": STEP},
            "ssh": {"key": "/etc/cratekube/ssh_key"},
        }))?)
    }
}

fn controller_address() -> String {
    format!("{CONTROLLER}:{AGENTS_PORT}")
}

/// In every third world steps go along with `rke`.
fn steps(seed: u64) -> &'static [&'static str] {
    if seed % 3 == 2 { &["preflight", "configure", "verify"] } else { &[] }
}

fn controller_config(data: &Path, steps: &[&str]) -> anyhow::Result<Config> {
    Ok(Config::read(&json!({
        "data": {"directory": data, "master_key": "5a".repeat(32)},
        "rest": {"names": [CONTROLLER]},
        "agents": {"names": [CONTROLLER], "lease_ttl": "12s", "heartbeat_interval": "3s"},
        "operations": {"attempts": ATTEMPTS, "retry_delay": "4s", "retry_delay_max": "20s", "steps": steps},
    }))?)
}

async fn doors() -> Result<Outside<Door>, StartError> {
    let open = async |listener, port| {
        let address = ([0, 0, 0, 0], port).into();
        Door::open(port).await.map_err(|source| StartError::Listen { listener, address, source })
    };
    let (rest, agents) = (open("rest", REST_PORT).await?, open("agents", AGENTS_PORT).await?);
    Ok(Outside { rest, agents, metrics: None, store: INLINE })
}

/// A filesystem in memory, where there is one: nothing in here must survive this machine.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// What is there before the world begins.
struct LayOut<'a> {
    dir: &'a Path,
    hosts: &'a BTreeMap<String, Host>,
    config: &'a Config,
    course: &'a Course,
    bastions: usize,
    sabotage: Option<Sabotage>,
}

impl LayOut<'_> {
    /// The controller's data directory, with a join token for each bastion.
    fn controller(&self) -> anyhow::Result<(Trust, Vec<JoinToken>)> {
        let host = &self.hosts[CONTROLLER];
        let data = open_data(self.config, Opening::Serve, &host.clock, &host.mint)?;
        let store = SqliteStore::open(&data.path, INLINE)?;
        let mut tokens = Vec::new();
        for n in 0..self.bastions {
            let secret = host.mint.token(SECRET_CHARACTERS);
            let now = host.clock.now();
            let token = NewJoinToken {
                id: host.mint.id(),
                secret_sha256: tls::sha256_hex(secret.as_bytes()),
                agent: Some(bastion(n).parse().map_err(anyhow::Error::msg)?),
                volume: None,
                environments: EnvironmentPattern::any(),
                created_by: "local".into(),
                created_at: now,
                expires_at: now.after(Duration::from_secs(3600)),
            };
            now_or_never(store.keep_join_token(token, audit(n)))??;
            tokens.push(JoinToken::new(&secret, &data.authority.fingerprint())?);
        }
        now_or_never(store.close())?;
        if self.sabotage == Some(Sabotage::LateIsFailed) {
            rusqlite::Connection::open(data.path.join(DATABASE_FILE))?.execute_batch(LATE_IS_FAILED)?;
        }
        let right = self.course.clock(&Skew::default());
        Ok((Trust::of(data.path.join("ca.pem"), right), tokens))
    }

    /// A volume for each bastion, attached to it.
    fn volumes(&self) -> anyhow::Result<Vec<Vec<(VolumeId, PathBuf)>>> {
        let make = |n: usize| -> anyhow::Result<Vec<(VolumeId, PathBuf)>> {
            let root = self.dir.join(format!("volume-{n}"));
            files::make_dir(&root)?;
            let host = &self.hosts[&bastion(n)];
            Ok(vec![(identity::init(&root, &host.mint, &host.clock)?, root)])
        };
        (0..self.bastions).map(make).collect()
    }
}

/// The store does everything inline: nothing is ever waited for.
pub fn now_or_never<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    futures::FutureExt::now_or_never(work).context("the store waits although it works inline")
}

fn audit(n: usize) -> AuditEntry {
    AuditEntry {
        actor: "local".into(),
        origin: "local".into(),
        action: "agent.join-token".into(),
        object: bastion(n),
        outcome: AuditOutcome::Allowed,
        detail: String::new(),
        request_id: "simulated".into(),
    }
}
