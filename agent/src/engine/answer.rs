//! Answers to the controller's questions: about clusters whose state is on a volume of this agent, and about
//! the cloud that the agent is in.
//!
//! Nothing is changed for an answer and nothing of it is kept. It is given beside a run on the same
//! cluster: for a kubeconfig the administrator's is read, and its CA must be the one on record; for a
//! preflight the hosts are looked at.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::cluster::access::KubeconfigRequest;
use cratekube_common::domain::cluster::preflight::{self, PlannedHosts};
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::query::{Answer, Query, Subject};
use cratekube_common::domain::removal::{OrphanInput, SweepInput};
use cratekube_common::domain::secret::Secret;
use cratekube_common::redact;
use serde_json::json;

use super::core::{Core, GLANCES, internal};
use crate::cloud;
use crate::kube::issue::issue;
use crate::kube::removal::record;
use crate::preflight::{self as look, Looked, Settings};
use crate::step::input::read_spec;
use crate::volume::VolumeError;

/// How long a cluster's API is waited for in a preview: less than whoever asked waits, so that the cloud is
/// looked at all the same.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(6);

/// A kubeconfig for a person.
pub(super) async fn kubeconfig(core: &Arc<Core>, query: Query) -> Answer {
    let request = KubeconfigRequest::from_json(&query.input).map_err(|why| malformed("kubeconfig", &why))?;
    let about = about("kubeconfig", &query)?;
    let context = format!("{}-{}", about.environment, about.name);
    let found = found(core, about).await?;
    let issued =
        issue(&found.working, &core.settings.kubernetes, &request, &context, found.ca_sha256.as_deref()).await?;
    Ok(issued.to_json())
}

/// Objects in the cloud whose clusters are not there any more. What cannot be looked at makes the answer
/// unverified, and is no failure.
pub(super) async fn orphan_scan(core: &Core, query: &Query) -> Answer {
    let asked = if query.input.is_null() { json!({}) } else { query.input.clone() };
    let input: OrphanInput =
        serde_json::from_value(asked).map_err(|why| malformed("scan for orphans", &why.to_string()))?;
    let found = cloud::steps::orphan_scan(&core.settings.cloud, &input).await;
    let said = serde_json::to_string(&found);
    said.map(Secret::new).map_err(|why| internal(format!("the findings cannot be written: {why}"), false, "Tell us."))
}

/// What the hosts of a planned spec are like. It is told before whoever asks gives up: a host that takes
/// longer is named.
pub(super) async fn preflight(core: &Arc<Core>, query: Query) -> Answer {
    let asked = query.input.get(preflight::SPEC).cloned().unwrap_or_default();
    let spec = read_spec(&asked).map_err(|why| malformed("preflight", &why))?;
    if !core.settings.preflight {
        return Err(absent_setting());
    }
    let Ok(_turn) = core.glances.try_acquire() else { return Err(enough()) };
    let within = query.patience * 4 / 5;
    let found = found(core, about("preflight", &query)?).await?;
    let looked = match Settings::of(&core.settings.ssh) {
        Ok(settings) => look::glance(&spec, &found.working, &settings, &core.clock, within).await,
        Err(fault) => Looked::failed(look::failure_of_key(&fault)),
    };
    let Looked { failure, mut findings, .. } = looked;
    let hosts = serde_json::from_value(findings["hosts"].take()).map_err(|fault| {
        internal(format!("what was found cannot be told: {fault}"), false, "This is a defect of the agent; tell it.")
    })?;
    // It quotes what hosts say.
    let told = redact::document(PlannedHosts { failure, hosts }.to_json());
    Ok(Secret::new(told.to_string()))
}

/// The cluster that a question is about.
fn about(kind: &str, query: &Query) -> Result<Subject, Failure> {
    query.about.clone().ok_or_else(|| malformed(kind, "it names no cluster"))
}

async fn found(core: &Arc<Core>, about: Subject) -> Result<Found, Failure> {
    let found = core.blocking(move |core| find(core, &about)).await;
    found.map_err(|error| internal(format!("the volume could not be read: {error}"), true, "Ask again."))?
}

/// What the removal of a cluster would delete in the cloud. Nothing is changed, and what cannot be looked at
/// makes the answer unverified.
pub(super) async fn removal_preview(core: &Arc<Core>, query: Query) -> Answer {
    let about = about("preview of a removal", &query)?;
    let asked = SweepInput::read(&query.input).map_err(|why| malformed("preview of a removal", &why))?;
    let cluster = about.cluster;
    let known = match core.blocking(move |core| find(core, &about)).await {
        Ok(Ok(found)) => {
            let ca_sha256 = found.ca_sha256.as_deref();
            let asking = record::known(&found.working, &core.settings.kubernetes, ca_sha256);
            let late = |_| Err("the cluster's API does not answer".into());
            tokio::time::timeout(CLUSTER_PATIENCE, asking).await.unwrap_or_else(late)
        }
        Ok(Err(absent)) => Err(absent.message),
        Err(error) => Err(format!("the volume could not be read: {error}")),
    };
    let found = cloud::preview::preview(&core.settings.cloud, cluster, asked, known).await;
    let said = serde_json::to_string(&found);
    said.map(Secret::new).map_err(|why| internal(format!("the findings cannot be written: {why}"), false, "Tell us."))
}

struct Found {
    working: PathBuf,
    ca_sha256: Option<String>,
}

/// The cluster's files, where they are that cluster's.
fn find(core: &Core, about: &Subject) -> Result<Found, Failure> {
    let volume = core.volume(about.volume).ok_or_else(|| absent("its volume is not served by this agent"))?;
    let cluster = volume.layout.cluster(&about.environment, &about.name);
    let unreadable = |error: VolumeError| {
        core.heed(cluster.path(), &error);
        internal(
            format!("the cluster's files could not be read: {error}"),
            true,
            "Look at the state volume, then ask again.",
        )
    };
    volume.layout.check_here().map_err(unreadable)?;
    if cluster.is_removed() {
        return Err(absent("it was removed"));
    }
    match cluster.read_record().map_err(unreadable)? {
        Some(record) if record.cluster == about.cluster => {
            Ok(Found { working: cluster.working(), ca_sha256: record.ca_sha256 })
        }
        Some(_) => Err(absent("another cluster has its place on the volume")),
        None => Err(absent("it was not built yet")),
    }
}

fn absent(why: &str) -> Failure {
    Failure {
        class: FailureClass::State,
        message: format!("the agent has no such cluster: {why}"),
        line: None,
        retryable: false,
        remedy: "Ask when the cluster is ready, and its volume is mounted on the bastion of its agent.".into(),
    }
}

fn absent_setting() -> Failure {
    Failure {
        class: FailureClass::Config,
        message: "preflight is off in the agent's settings (`ssh.preflight`)".into(),
        line: None,
        retryable: false,
        remedy: "Nothing, where this is meant; otherwise an operator of the service turns it on.".into(),
    }
}

fn enough() -> Failure {
    internal(format!("the agent looks at the hosts of {GLANCES} plans already"), true, "Ask again in a moment.")
}

fn malformed(kind: &str, why: &str) -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: format!("the question for a {kind} makes no sense: {why}"),
        line: None,
        retryable: false,
        remedy: "Upgrade the agent or the controller so that their versions match.".into(),
    }
}
