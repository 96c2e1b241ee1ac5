//! A controller within the test's own process, on real sockets, with a clock that the test sets: for
//! stories about certificates, which last for hours.
//!
//! Agents are played by the agent's own code for enrolling, connecting and renewing, one call at a time.

#![allow(clippy::panic, reason = "names that a test writes are good names")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cratekube_agent::config::Address;
use cratekube_agent::identity::Identity;
use cratekube_agent::identity::enroll::{EnrollError, Enrollment, enroll};
use cratekube_agent::identity::files::IdentityFiles;
use cratekube_agent::identity::renew::{RenewError, Renewed, Renewer};
use cratekube_agent::link::channel::{Connection, Connector};
use cratekube_agent::link::dial::Tcp;
use cratekube_agent::link::tls;
use cratekube_common::domain::environment::{Grant, Role};
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::runtime::clock::{self, Clock, ManualClock};
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::mint::Mint;
use cratekube_controller::app::{Controller, open_data, tokens};
use cratekube_controller::auth::Tokens;
use cratekube_controller::config::Config;
use cratekube_controller::datadir::Opening;
use cratekube_controller::edge::counters::Counters;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::rest::Client;

/// A controller that runs in here.
pub struct Indoors {
    /// The time, for it and for agents.
    pub clock: Arc<ManualClock>,
    /// Where users connect.
    pub rest: SocketAddr,
    /// Where agents connect.
    pub agents: SocketAddr,
    /// What happened at the listener for agents.
    pub counters: Counters,
    tokens: Tokens,
    shutdown: Shutdown,
    running: JoinHandle<()>,
    dir: TempDir,
}

impl Indoors {
    /// A controller with settings of its own beside those that every test needs.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(mut settings: Value) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        settings["data"]["directory"] = json!(dir.path().join("data"));
        settings["rest"]["listen"] = json!("127.0.0.1:0");
        settings["agents"]["listen"] = json!("127.0.0.1:0");
        settings["agents"]["heartbeat_interval"] = json!("500ms");
        let config = Config::read(&settings)?;
        let manual = ManualClock::at(clock::system().now());
        let clock: Clock = manual.clone();
        let mint = Mint::system(clock.clone());
        let shutdown = Shutdown::new();
        let controller = Controller::open(config.clone(), clock.clone(), mint.clone(), shutdown.clone()).await?;
        let (rest, agents) = (controller.rest_address(), controller.agents_address());
        let counters = controller.counters().1;
        let data = open_data(&config, Opening::Command, &clock, &mint)?;
        let tokens = tokens(&config, &data, clock)?;
        let running = tokio::spawn(controller.run());
        Ok(Self { clock: manual, rest, agents, counters, tokens, shutdown, running, dir })
    }

    /// A token of somebody who may do everything.
    ///
    /// # Errors
    /// When none is made.
    pub fn token(&self) -> anyhow::Result<String> {
        let grants = [Grant { role: Role::Admin, environments: "*".parse().map_err(anyhow::Error::msg)? }];
        Ok(self.tokens.issue("ann", &grants, Duration::from_secs(600), "1")?)
    }

    /// A client that may do everything.
    ///
    /// # Errors
    /// When no token is made.
    pub fn admin(&self) -> anyhow::Result<Client> {
        Client::new(self.rest, &self.ca_pem()?, Some(self.token()?))
    }

    /// Whom to trust now, PEM.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ca_pem(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.path().join("data/ca.pem"))?)
    }

    /// A clock that shows the same time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A join token, by the API.
    ///
    /// # Errors
    /// When it is not made.
    pub async fn join_token(&self, wanted: Value) -> anyhow::Result<JoinToken> {
        let made = self.admin()?.post("/v1/admin/join-tokens", &wanted).await?.expect(201)?.json();
        Ok(made["token"].as_str().context("no token")?.parse()?)
    }

    /// A host that may become an agent.
    #[must_use]
    pub fn host(&self, name: &str) -> Host {
        let controller: Address =
            format!("localhost:{}", self.agents.port()).parse().unwrap_or_else(|e: String| panic!("{e}"));
        Host { name: name.to_owned(), dir: self.path().join(format!("host-{name}")), controller, clock: self.clock() }
    }

    /// A host that became an agent.
    ///
    /// # Errors
    /// When it did not.
    pub async fn agent(&self, name: &str) -> anyhow::Result<(Host, Identity)> {
        let host = self.host(name);
        let identity = host.enroll(self.join_token(json!({})).await?).await?;
        Ok((host, identity))
    }

    /// The audit log's actions, newest first, with what they were done on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit(&self) -> anyhow::Result<Vec<cratekube_common::domain::audit::AuditEntry>> {
        use cratekube_controller::store::sqlite::{SqliteOptions, SqliteStore};
        use cratekube_controller::store::{PageRequest, Store as _};
        let store = SqliteStore::open(&self.path().join("data"), SqliteOptions::default())?;
        let page = store.audit_entries(PageRequest { after: None, limit: 1_000 }).await?;
        store.close().await;
        Ok(page.items.into_iter().map(|record| record.entry).collect())
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it ended badly.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.shutdown.insist();
        Ok(self.running.await?)
    }
}

/// A host with a folder for an agent's identity.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    dir: std::path::PathBuf,
    controller: Address,
    clock: Clock,
}

impl Host {
    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Where its identity is kept.
    #[must_use]
    pub fn files(&self) -> IdentityFiles {
        IdentityFiles::at(&self.dir)
    }

    /// Opens connections.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector::new(Arc::new(Tcp), self.controller.clone())
    }

    /// Enrols; replaces an identity that is there.
    ///
    /// # Errors
    /// When the controller refuses.
    pub async fn enroll(&self, token: JoinToken) -> Result<Identity, EnrollError> {
        let name = self.name.parse().unwrap_or_else(|e: String| panic!("{e}"));
        let enrollment = Enrollment { controller: self.controller.clone(), token, name, volumes: Vec::new() };
        enroll(&enrollment, &self.files(), true, Arc::new(Tcp), &self.clock).await
    }

    /// A connection that shows an identity.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(&self, identity: &Identity) -> anyhow::Result<Connection> {
        Ok(self.connector().connect(tls::enrolled(identity, &self.clock)?).await?)
    }

    /// Renews an identity over a connection, as the agent does.
    ///
    /// # Errors
    /// When there is no new one.
    pub async fn renew(&self, identity: &Identity, connection: &Connection) -> Result<Renewed, RenewError> {
        let mint = Mint::system(self.clock.clone());
        let renewer = Renewer { files: self.files(), connector: self.connector(), clock: self.clock.clone(), mint };
        renewer.renew(identity, &mut None, connection).await
    }

    /// Proves an identity that was staged, as the agent does when it is started again.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn settle(&self, pending: &mut Option<Identity>) -> Result<Renewed, RenewError> {
        let mint = Mint::system(self.clock.clone());
        let renewer = Renewer { files: self.files(), connector: self.connector(), clock: self.clock.clone(), mint };
        renewer.settle(pending).await
    }

    /// A clock that shows its time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Opens a session and says hello.
    ///
    /// # Errors
    /// The status it is refused with.
    pub async fn session(&self, connection: &Connection) -> Result<Session, Status> {
        let (up, messages) = mpsc::channel(16);
        let facts = v1::AgentFacts { version: "0".into(), hostname: self.name.clone(), slots: 1, ..Default::default() };
        let now_ms = self.clock.now().as_millis();
        let hello = v1::Hello { facts: Some(facts), runs: Vec::new(), now_ms, answers: Vec::new() };
        let _there_is_room = up.try_send(v1::AgentMessage { message: Some(Up::Hello(hello)) });
        let mut link = connection.link();
        let mut down = link.session(ReceiverStream::new(messages)).await?.into_inner();
        match down.message().await?.and_then(|message| message.message) {
            Some(Down::Welcome(_)) => Ok(Session { up, down }),
            other => Err(Status::internal(format!("no welcome: {other:?}"))),
        }
    }
}

/// An open session, from the agent's side.
pub struct Session {
    up: mpsc::Sender<v1::AgentMessage>,
    down: Streaming<v1::ControllerMessage>,
}

impl Session {
    /// Says something.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn say(&self, message: Up) -> anyhow::Result<()> {
        Ok(self.up.send(v1::AgentMessage { message: Some(message) }).await?)
    }

    /// The next message.
    ///
    /// # Errors
    /// The status that the session ended with.
    pub async fn heard(&mut self) -> Result<Option<Down>, Status> {
        Ok(self.down.message().await?.and_then(|message| message.message))
    }

    /// Waits for the session's end, and answers how it ended.
    pub async fn ended(mut self) -> Status {
        let end = async {
            loop {
                match self.down.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok("it ended"),
                    Err(status) => return status,
                }
            }
        };
        tokio::time::timeout(super::process::PATIENCE, end).await.unwrap_or_else(|_| Status::ok("it never ended"))
    }
}
