//! A volume, a fake `rke` and agents that come and go, for tests that play whole runs with real
//! processes.
//!
//! The fake `rke` is a shell script that does what the test wrote into `behaviour`; with `gate` in it,
//! it waits until the test opens the gate. Agents are runtimes with an engine: dropping one is a crash.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../src/fixtures.rs"]
pub mod fixtures;

/// The executable that knows `supervise`: of the package whose tests these are.
const SUPERVISOR: Option<&str> = match option_env!("CARGO_BIN_EXE_cratekube-agent") {
    Some(agent) => Some(agent),
    None => option_env!("CARGO_BIN_EXE_house-agent"),
};

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cratekube_agent::engine::{EngineSettings, LocalEngine, OpenError};
use cratekube_agent::port::{self, Engine, Event, OutputSource};
use cratekube_agent::run::journal::{Journal, SupervisorRecord};
use cratekube_agent::volume::generations::{Generations, KUBECONFIG, STATE};
use cratekube_agent::volume::identity;
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::id::{AttemptId, ClusterId, VolumeId};
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport, TaskInput};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::rke::render::SshAccess;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::mint::Mint;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;

/// The hosts of the recorded runs.
pub const HOSTS: [&str; 2] = ["172.30.0.11", "172.30.0.12"];
/// Longest that anything may take on a slow day.
const PATIENCE: Duration = Duration::from_secs(60);

/// Recorded output of the real `rke`.
pub fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(name).join("stdout")
}

/// What is there before and after every agent.
pub struct World {
    pub dir: tempfile::TempDir,
    pub volume: PathBuf,
    pub volume_id: VolumeId,
    pub cluster: ClusterId,
    pub mint: Mint,
    pub clock: Clock,
    fence: u64,
}

impl World {
    pub fn new() -> Self {
        Self::on(|_| {})
    }

    /// A world whose volume is made ready by the caller, before anything is on it.
    pub fn on(prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock::system();
        let mint = Mint::system(clock.clone());
        let volume = dir.path().join("volume");
        fs::create_dir(&volume).unwrap();
        prepare(&volume);
        let volume_id = identity::init(&volume, &mint, &clock).unwrap();
        let world = Self { cluster: mint.id(), dir, volume, volume_id, mint, clock, fence: 0 };
        world.install_rke();
        world
    }

    fn install_rke(&self) {
        let at = self.dir.path().display();
        assert!(Command::new("mkfifo").arg(self.dir.path().join("gate")).status().unwrap().success());
        let script = format!(
            "#!/bin/sh\n\
             T={at}\n\
             [ \"$1\" = --version ] && echo 'rke version v1.2.23' && exit 0\n\
             [ \"$1\" = config ] && echo v1.20.15-rancher2-1 && exit 0\n\
             gate() {{ read -r _ < $T/gate; }}\n\
             echo \"$@\" >> $T/calls\n\
             . $T/behaviour\n"
        );
        let path = self.rke();
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn rke(&self) -> PathBuf {
        self.dir.path().join("rke")
    }

    /// Sets what the next `rke` does.
    pub fn behave(&self, script: &str) {
        fs::write(self.dir.path().join("behaviour"), script).unwrap();
    }

    /// The next `rke` builds the cluster.
    pub fn behave_well(&self, ca: &fixtures::Ca) {
        self.behave(&self.success(ca));
    }

    /// A script that builds the cluster.
    pub fn success(&self, ca: &fixtures::Ca) -> String {
        let state = self.dir.path().join(format!("state-{}", &ca.sha256[..8]));
        fs::write(&state, ca.state(&HOSTS)).unwrap();
        format!(
            "cp {} {STATE}; echo 'kind: Config' > {KUBECONFIG}; cat {}; exit 0",
            state.display(),
            capture("B01-up-single-node").display()
        )
    }

    /// Lets an `rke` go on that waits at its gate.
    pub fn open_gate(&self) {
        fs::write(self.dir.path().join("gate"), "go\n").unwrap();
    }

    /// The command lines of all `rke`s so far.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    pub fn settings(&self) -> EngineSettings {
        let ssh = SshAccess::Key { path: "/etc/cratekube/ssh_key".into() };
        let mut settings = EngineSettings::new(vec![self.volume.clone()], ssh);
        settings.rke = Some(self.rke());
        settings.supervisor_exe = SUPERVISOR.map(Into::into);
        settings.require_mount = false;
        settings.min_free_bytes = 1;
        settings
    }

    pub fn agent(&self) -> Agent {
        self.agent_with(self.settings()).unwrap()
    }

    pub fn agent_with(&self, settings: EngineSettings) -> Result<Agent, OpenError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sender, events) = port::events();
        let engine = runtime.block_on(LocalEngine::open(settings, self.clock.clone(), sender))?;
        Ok(Agent { engine, events, runtime })
    }

    pub fn spec(&self) -> ClusterSpec {
        let node = |host: &str| serde_json::json!({"address": host, "roles": ["controlplane", "etcd", "worker"]});
        let document = serde_json::json!({
            "kubernetes_version": "v1.20.15-rancher2-1",
            "nodes": HOSTS.map(node),
            "private_registries": [{"url": "registry.example", "user": "u", "password": "hunter2-canary"}],
        });
        intake::read(&document).unwrap().0
    }

    /// The next assignment, with the next fence.
    pub fn assignment(&mut self, kind: TaskKind) -> Assignment {
        self.fence += 1;
        Assignment {
            attempt: self.mint.id(),
            fence: Fence(self.fence),
            task: self.mint.id(),
            kind,
            operation: self.mint.id(),
            request_id: "r-1".into(),
            cluster: self.cluster,
            environment: "prod".parse().unwrap(),
            name: "blue".parse().unwrap(),
            volume: self.volume_id,
            spec: self.spec(),
            known: None,
            recovery: None,
            input: TaskInput::default(),
        }
    }

    pub fn cluster_dir(&self) -> PathBuf {
        self.volume.join("clusters/prod/blue")
    }

    pub fn working(&self, file: &str) -> PathBuf {
        self.cluster_dir().join("working").join(file)
    }

    pub fn generations(&self) -> Generations {
        Generations::at(self.cluster_dir().join("generations"))
    }

    pub fn journal(&self, attempt: AttemptId) -> Journal {
        Journal::at(self.cluster_dir().join("runs").join(attempt.to_string()))
    }

    pub fn supervisor(&self, attempt: AttemptId) -> SupervisorRecord {
        self.journal(attempt).supervisor().unwrap().unwrap()
    }

    /// Plays a whole run with an agent of its own.
    pub fn play(&mut self, kind: TaskKind) -> RunReport {
        let assignment = self.assignment(kind);
        let mut agent = self.agent();
        let report = agent.play(assignment);
        agent.close();
        report
    }
}

/// One agent.
pub struct Agent {
    pub engine: Arc<LocalEngine>,
    pub events: UnboundedReceiver<Event>,
    pub runtime: Runtime,
}

impl Agent {
    pub fn assign(&self, assignment: &Assignment) -> AttemptId {
        self.engine.assign(assignment.clone());
        assignment.attempt
    }

    /// Waits for an event.
    pub fn wait<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let events = &mut self.events;
        let waiting = async {
            loop {
                if let Some(found) = wanted(events.recv().await.expect("the engine is gone")) {
                    return found;
                }
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, waiting).await }).expect("waited too long")
    }

    pub fn report(&mut self) -> RunReport {
        self.wait(|event| match event {
            Event::Over(report) => Some(*report),
            _ => None,
        })
    }

    pub fn started(&mut self) -> OutputSource {
        self.wait(|event| match event {
            Event::Started { output, .. } => Some(output),
            _ => None,
        })
    }

    pub fn declined(&mut self) -> String {
        self.wait(|event| match event {
            Event::Declined { reason, .. } => Some(reason),
            _ => None,
        })
    }

    /// Waits until so many bytes of output are there.
    pub fn output(&self, source: &mut OutputSource, bytes: u64) {
        let waiting = source.length.wait_for(|length| length.bytes >= bytes);
        let waited = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, waiting).await });
        assert!(waited.expect("waited too long for output").is_ok());
    }

    pub fn play(&mut self, assignment: Assignment) -> RunReport {
        let attempt = assignment.attempt;
        self.engine.assign(assignment);
        let report = self.report();
        assert_eq!(report.attempt, attempt);
        self.settle(attempt);
        report
    }

    /// The controller has recorded a report.
    pub fn settle(&self, attempt: AttemptId) {
        self.engine.recorded(attempt);
    }

    /// Ends as an agent does that is asked to.
    pub fn close(self) {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.engine.close()).await }).unwrap();
    }

    /// Ends as an agent does that is killed: nothing more is done.
    pub fn crash(self) {
        let Self { engine, events, runtime } = self;
        drop(runtime);
        drop((engine, events));
    }
}

/// The failure of a report.
pub fn failure(report: &RunReport) -> &Failure {
    match &report.outcome {
        RunOutcome::Failed(failure) => failure,
        other => panic!("not failed: {other:?}"),
    }
}

/// The reason why nothing was started.
pub fn refusal(report: &RunReport) -> &Failure {
    match &report.outcome {
        RunOutcome::Refused(failure) => failure,
        other => panic!("not refused: {other:?}"),
    }
}
