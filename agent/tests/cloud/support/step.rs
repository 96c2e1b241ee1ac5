//! Steps of a removal as the supervisor runs them: the agent's own executable, in a run's directory.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cratekube_agent::config::CloudSection;
use cratekube_agent::step::{self, StepInput, StepSettings, input};
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::removal::SweepFindings;
use cratekube_common::domain::task::TaskKind;
use cratekube_common::step::StepOutcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

/// A cluster's directory, and what its agent's operator set.
pub struct Bastion {
    dir: TempDir,
    pub cloud: CloudSection,
}

/// A step that runs.
pub struct Running {
    pub child: Child,
    run_dir: PathBuf,
}

/// How a step ended.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Option<StepOutcome>,
    /// What it waited for last.
    pub waited_for: Option<String>,
    pub said: String,
}

impl Ended {
    /// What it found; the step must have come to its end.
    pub fn findings(&self) -> SweepFindings {
        let outcome = self.outcome.as_ref().unwrap_or_else(|| panic!("it did not end: {}", self.said));
        serde_json::from_value(outcome.findings.clone()).unwrap_or_else(|e| panic!("{e}: {outcome:?}"))
    }

    /// What was deleted, or gone.
    pub fn gone(&self) -> BTreeSet<String> {
        use cratekube_common::domain::removal::Fate::{AlreadyGone, Deleted};
        let gone = self.findings().entries.into_iter().filter(|entry| [Deleted, AlreadyGone].contains(&entry.fate));
        gone.map(|entry| entry.id).collect()
    }
}

impl Bastion {
    /// A bastion whose AWS is at an address.
    pub fn before(aws: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("aws");
        std::fs::write(&keys, "[default]\naws_access_key_id = KEY\naws_secret_access_key = SECRET-canary\n").unwrap();
        let cloud = CloudSection {
            enabled: true,
            region: Some("eu-central-1".into()),
            endpoint: Some(format!("http://{aws}")),
            credentials: Some(keys),
            confirm_pause: Duration::ZERO,
            // Waits are parts of it: milliseconds.
            patience: Duration::from_secs(5),
            ..CloudSection::default()
        };
        std::fs::create_dir_all(dir.path().join("cluster/working")).unwrap();
        Self { dir, cloud }
    }

    /// Begins a step.
    pub fn begin(&self, kind: TaskKind, asked: &Value) -> Running {
        let run_dir = tempfile::tempdir_in(self.dir.path().join("cluster")).unwrap().keep();
        let spec = json!({
            "kubernetes_version": "v1.28.12-rancher1-1",
            "nodes": [{"address": "192.0.2.1", "roles": ["controlplane", "etcd", "worker"]}],
        });
        let id = Uuid::from_u128(7);
        let told = StepInput {
            kind,
            environment: "prod".parse().unwrap(),
            name: "web".parse().unwrap(),
            cluster: id.into(),
            operation: id.into(),
            attempt: id.into(),
            spec: intake::read(&spec).unwrap().0,
            working: self.dir.path().join("cluster/working"),
            run_dir: run_dir.clone(),
            settings: StepSettings { cloud: self.cloud.clone(), ..StepSettings::default() },
            input: asked.clone(),
        };
        input::write(&run_dir.join("scratch"), &told).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cratekube-agent"))
            .args(["step", run_dir.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running { child, run_dir }
    }

    /// Does a step.
    pub fn step(&self, kind: TaskKind, asked: &Value) -> Ended {
        self.begin(kind, asked).end()
    }
}

impl Running {
    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        assert!(!said.contains("SECRET-canary"), "the key is not told: {said}");
        let waited_for = step::console::waited_for(&self.run_dir);
        Ended { outcome: step::outcome(&self.run_dir).unwrap(), said, waited_for }
    }
}
