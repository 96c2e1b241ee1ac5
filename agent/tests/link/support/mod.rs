//! A scripted controller, its authority, its network, and an engine that does what it is told.

pub mod controller;
pub mod engine;
pub mod net;
pub mod pki;

use std::sync::Arc;
use std::time::Duration;

use cratekube_agent::identity::files::IdentityFiles;
use cratekube_agent::link::{Link, LinkParts};
use cratekube_agent::metrics::Metrics;
use cratekube_agent::port;
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::mint::Mint;
use tokio::task::JoinHandle;

use controller::{Options, TestController, TestSession};
use engine::FakeEngine;

/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

/// An enrolled agent with a fake engine, linked to a scripted controller.
pub struct World {
    pub controller: TestController,
    pub engine: Arc<FakeEngine>,
    pub shutdown: Shutdown,
    pub files: IdentityFiles,
    pub dir: tempfile::TempDir,
    pub link: JoinHandle<()>,
    clock: Clock,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Options::default(), clock::system()).await
    }

    pub async fn with(options: Options, clock: Clock) -> Self {
        let controller = TestController::start(options).await;
        let dir = tempfile::tempdir().unwrap();
        let files = IdentityFiles::at(&dir.path().join("state"));
        files.save(&controller.authority.identity(&controller.address)).unwrap();
        let shutdown = Shutdown::new();
        let (link, engine) = link(&controller, &files, &clock, &shutdown);
        Self { controller, engine, shutdown, files, dir, link, clock }
    }

    /// Starts the agent again, with an engine that holds nothing.
    pub fn restart(&mut self) {
        self.shutdown = Shutdown::new();
        (self.link, self.engine) = link(&self.controller, &self.files, &self.clock, &self.shutdown);
    }

    /// The next session, welcomed and without verdicts.
    pub async fn session(&mut self) -> TestSession {
        let session = self.controller.session().await;
        session.welcome(Vec::new()).await;
        session
    }
}

fn link(
    controller: &TestController,
    files: &IdentityFiles,
    clock: &Clock,
    shutdown: &Shutdown,
) -> (JoinHandle<()>, Arc<FakeEngine>) {
    let (tell, events) = port::events();
    let engine = FakeEngine::new(tell);
    let link = Link::open(LinkParts {
        engine: Arc::clone(&engine) as Arc<dyn port::Engine>,
        events,
        files: files.clone(),
        controller: controller.address.clone(),
        dialer: controller.dialer(),
        clock: Arc::clone(clock),
        mint: Mint::system(Arc::clone(clock)),
        blocking: Blocking::Threads,
        metrics: Metrics::default(),
    })
    .unwrap();
    let asked = shutdown.clone();
    (tokio::spawn(async move { link.run(&asked).await }), engine)
}

impl Drop for World {
    fn drop(&mut self) {
        self.link.abort();
        let faults = self.controller.state.faults.lock().unwrap();
        assert!(std::thread::panicking() || faults.is_empty(), "the agent broke the protocol: {faults:?}");
    }
}
