//! A cluster that the rehearsal has built, and steps on it in this process.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::ensure;
use cratekube_agent::config::KubernetesSection;
use cratekube_agent::kube::{configure, verify};
use cratekube_agent::step::{Console, StepInput, StepSettings};
use cratekube_common::domain::cluster::health::VerifyFindings;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::resource::ConfigureFindings;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::task::TaskKind;
use cratekube_common::rke::render::{self, SshAccess};
use cratekube_common::step::StepOutcome;
use cratekube_tests::cluster_api::ClusterApi;
use cratekube_tests::programs;
use cratekube_tests::rehearsal::control::Rehearsal;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

/// Its control plane.
pub const HOST: &str = "10.0.0.1";
pub const WORKER: &str = "10.0.0.2";

/// A cluster that `rke` has built, its API, and its working directory.
pub struct Built {
    pub api: ClusterApi,
    pub rke: Rehearsal,
    pub spec: ClusterSpec,
    pub said: Lines,
    dir: TempDir,
}

/// Lines of steps, and what they waited for.
#[derive(Default)]
pub struct Lines(Mutex<Vec<String>>, Mutex<Vec<String>>);

impl Console for Lines {
    fn phase(&self, step: u32, steps: u32, name: &str) {
        self.line(&format!("[{step}/{steps}] {name}"));
    }

    fn line(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn waits_for(&self, what: &str) {
        self.1.lock().unwrap().push(what.to_owned());
    }
}

impl Lines {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// Everything that was waited for.
    pub fn waited(&self) -> String {
        self.1.lock().unwrap().join("\n")
    }
}

fn spec(more: &Value) -> Value {
    let mut spec = json!({"kubernetes_version": "v1.28.12-rancher1-1", "nodes": [
        {"address": HOST, "roles": ["controlplane", "etcd"]}, {"address": WORKER, "roles": ["worker"]}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

impl Built {
    pub async fn plain() -> anyhow::Result<Built> {
        Self::with(json!({})).await
    }

    /// A cluster with more in its spec.
    pub async fn with(more: Value) -> anyhow::Result<Built> {
        let dir = tempfile::tempdir()?;
        let rke = Rehearsal::install(&dir.path().join("bin"), &programs!().rke)?;
        let api = ClusterApi::start(rke.fleet()).await?;
        let spec = intake::read(&spec(&more)).map_err(|faults| anyhow::anyhow!("{faults:?}"))?.0;
        let built = Built { api, rke, spec, said: Lines::default(), dir };
        std::fs::create_dir(built.working())?;
        built.up().await?;
        Ok(built)
    }

    /// Runs `rke up` with the spec as it is now.
    pub async fn up(&self) -> anyhow::Result<()> {
        let text = render::cluster_yml(&self.spec, "prod-blue", &SshAccess::Untold);
        std::fs::write(self.working().join("cluster.yml"), text)?;
        let mut command = tokio::process::Command::new(self.rke.program());
        let output = command.args(["up", "--config", "cluster.yml"]).current_dir(self.working()).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    pub fn working(&self) -> PathBuf {
        self.dir.path().join("working")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn settings(&self) -> KubernetesSection {
        KubernetesSection {
            proxy: Some(self.api.url()),
            request_timeout: Duration::from_secs(10),
            ready_timeout: Duration::from_secs(1),
        }
    }

    pub fn input(&self, kind: TaskKind, input: Value) -> StepInput {
        let id = Uuid::from_u128(7);
        StepInput {
            kind,
            environment: "prod".parse().unwrap(),
            name: "blue".parse().unwrap(),
            cluster: id.into(),
            operation: id.into(),
            attempt: id.into(),
            spec: self.spec.clone(),
            working: self.working(),
            run_dir: self.path("run"),
            settings: StepSettings { kubernetes: self.settings(), ..StepSettings::default() },
            input,
        }
    }

    pub async fn configure(&self, input: Value) -> (StepOutcome, ConfigureFindings) {
        let outcome = at_once(configure::run(&self.input(TaskKind::Configure, input), &self.said)).await;
        let findings = serde_json::from_value(outcome.findings.clone()).unwrap_or_default();
        (outcome, findings)
    }

    pub async fn verify(&self) -> (StepOutcome, VerifyFindings) {
        let input = json!({"earlier": {"configure": {"namespaces": ["workspace"]}}});
        let outcome = at_once(verify::run(&self.input(TaskKind::Verify, input), &self.said)).await;
        let findings = serde_json::from_value(outcome.findings.clone()).expect("findings");
        (outcome, findings)
    }

    /// An object in the namespace of users.
    pub fn read(&self, plural: &str, name: &str) -> Option<Value> {
        self.api.read(HOST, "", plural, Some("workspace"), name)
    }
}

/// Does something whose pauses take no time: both sides of every connection are tasks of this one thread, so
/// that time moves on only when neither has anything to do.
async fn at_once<T>(work: impl Future<Output = T>) -> T {
    tokio::time::pause();
    let done = work.await;
    tokio::time::resume();
    done
}

/// A resource as the controller sends it.
pub fn resource(name: &str, mode: &str, manifest: &str, previous: &Value) -> Value {
    json!({"name": name, "mode": mode, "manifest": manifest, "previous": previous})
}

pub fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value:?}\n")
}
