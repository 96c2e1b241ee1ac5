//! The steps of a removal that speak to the cluster before `rke remove` takes its API away.
//!
//! - [`freeze`]: nothing that would make an object in the cloud is created any more;
//! - [`record`]: what the cluster knows of objects in the cloud is written down;
//! - [`release`]: what holds such objects is deleted and waited for; [`blockers`] names what does not go;
//! - [`thaw`]: what was frozen is undone when the cluster stays after all, as a part of *configure*.
//!
//! A cluster that is dead is a normal case: a step that cannot speak to it is *skipped* and says why, and
//! the removal goes on; one whose API goes away in the middle is *unverified*. Only a cluster whose CA is
//! the one on record is spoken to at all: these steps delete.
//!
//! What they are told (`StepInput::input`), all of it optional: `{"policy", "ca_sha256", "skip_kubernetes",
//! "earlier"}`. Findings of each: `{"state": "done", "skipped" or "unverified", "why"?, …}`.

mod blockers;
pub mod freeze;
pub mod record;
pub mod release;
pub(super) mod thaw;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use cratekube_common::domain::cluster::spec::NodeRole;
use cratekube_common::runtime::backoff::Backoff;
use cratekube_common::step::StepOutcome;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::admin::AdminConfig;
use super::api::Api;
use super::fault::ApiFault;
use super::served::PORT;
use crate::step::{Console, StepInput};
use crate::volume::layout::ClusterFile;

/// Owner of the fields that a removal sets.
const FIELD_MANAGER: &str = "cratekube-removal";
/// Longest wait for an API before it counts as dead: longer than the restart of a control plane takes.
const REACH_PATIENCE: Duration = Duration::from_secs(3 * 60);
/// Where a step has no limit: none of these does so much.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Waits between two tries, as parts of that: half a second at first, fifteen at most.
const FIRST_TRY: u32 = 360;
const MOST_TRY: u32 = 12;

/// A part of the time that a step may take, so that it comes to its end before it is ended.
fn share(input: &StepInput, parts: u32) -> Duration {
    input.settings.limit.map_or(Duration::MAX, |limit| limit / parts)
}

/// What a step does that goes on without what is not done in time: half of its limit.
async fn in_time<T>(input: &StepInput, work: impl Future<Output = T>) -> Result<T, String> {
    let patience = share(input, 2).min(LONGEST);
    tokio::time::timeout(patience, work).await.map_err(|_| {
        let (seconds, setting) = (patience.as_secs(), input.kind.setting());
        format!("not everything was done within {seconds} s, half of the step's limit (`steps.{setting}`)")
    })
}

/// The API of the cluster that is removed, and its namespaces; or why it is not spoken to.
async fn reach(input: &StepInput, console: &dyn Console) -> Result<(Api, Vec<Value>), String> {
    if input.input["skip_kubernetes"] == true {
        return Err("it was asked for that the cluster's API is left alone".into());
    }
    let admin = AdminConfig::read(&input.working).map_err(|failure| failure.message)?;
    let known = authorities(input);
    if !admin.ca_sha256().is_some_and(|ca| known.is_empty() || known.contains(&ca)) {
        return Err("the kubeconfig in the working directory is of another CA than the one on record".into());
    }
    let apis = doors(input, &admin)?;
    let mut patience = input.settings.kubernetes.ready_timeout.min(REACH_PATIENCE).min(share(input, 4));
    if input.input["earlier"]["freeze"]["state"] == "skipped" {
        // It was waited for already.
        patience /= 10;
    }
    let (mut last, mut told) = ("no answer".to_owned(), String::new());
    let answered = tokio::time::timeout(patience, async {
        let mut backoff = Backoff::new(patience / FIRST_TRY, patience / MOST_TRY);
        loop {
            let mut passing = false;
            let mut asked: FuturesUnordered<_> = apis.iter().map(ask).collect();
            while let Some((api, listed)) = asked.next().await {
                match listed {
                    Ok(namespaces) => return Ok((api.clone(), namespaces)),
                    Err(fault) => {
                        passing |= fault.is_passing();
                        last = format!("the cluster's API does not answer as it should: {}", fault.message());
                    }
                }
            }
            if !passing {
                return Err(());
            }
            if told != last {
                console.line(&format!("waiting: {last}"));
                console.waits_for(&last);
                told.clone_from(&last);
            }
            tokio::time::sleep(backoff.next(1.0)).await;
        }
    });
    match answered.await {
        Ok(Ok(reached)) => Ok(reached),
        Ok(Err(())) => Err(last),
        Err(_) => Err(format!("within {} s, {last}", patience.as_secs())),
    }
}

/// Asks for the namespaces, once: who may list these is the administrator of a cluster whose store answers.
async fn ask(api: &Api) -> (&Api, Result<Vec<Value>, ApiFault>) {
    (api, api.once().list("/api/v1/namespaces").await)
}

/// Where the API may answer: at the address in the kubeconfig, and at every other control plane. All of them
/// show certificates of the same CA, which alone is trusted.
fn doors(input: &StepInput, admin: &AdminConfig) -> Result<Vec<Api>, String> {
    let planes = input.spec.nodes.iter().filter(|node| node.has(NodeRole::ControlPlane));
    let mut servers = vec![admin.server.clone()];
    for node in planes {
        let host = if node.address.contains(':') { format!("[{}]", node.address) } else { node.address.clone() };
        let server = format!("https://{host}:{PORT}");
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    let door = |server| {
        let admin = AdminConfig { server, ..admin.clone() };
        Api::new(&admin, &input.settings.kubernetes).map(|api| api.under(FIELD_MANAGER)).map_err(|f| f.message)
    };
    servers.into_iter().map(door).collect()
}

/// Fingerprints of the cluster's CA: what the controller says, and what the volume has on record.
fn authorities(input: &StepInput) -> BTreeSet<String> {
    let told = &input.input["ca_sha256"];
    let several = told.as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut known: BTreeSet<String> = told.as_str().into_iter().chain(several).map(str::to_owned).collect();
    let record = input.working.parent().and_then(|dir| fs::read(dir.join("cluster.json")).ok());
    let record = record.and_then(|bytes| serde_json::from_slice::<ClusterFile>(&bytes).ok());
    known.extend(record.and_then(|file| file.ca_sha256));
    known
}

/// The outcome of a step that left the cluster alone.
fn skipped(step: &str, why: &str, console: &dyn Console) -> StepOutcome {
    let words = format!("the step {step} is skipped: {why}");
    console.line(&words);
    StepOutcome { failure: None, warnings: vec![words], findings: json!({"state": "skipped", "why": why}) }
}

/// What findings say of themselves: `done`, or `unverified` with the reasons.
fn standing(faults: &[String]) -> Value {
    if faults.is_empty() { json!({"state": "done"}) } else { json!({"state": "unverified", "why": faults.join("; ")}) }
}

/// Puts more members into findings.
fn with(mut findings: Value, more: Value) -> Value {
    if let (Some(map), Value::Object(more)) = (findings.as_object_mut(), more) {
        map.extend(more);
    }
    findings
}

/// All objects of a collection; none of a kind that the cluster does not have.
async fn all(api: &Api, path: &str) -> Result<Vec<Value>, ApiFault> {
    match api.list(path).await {
        Err(fault) if fault.is_not_found() => Ok(Vec::new()),
        listed => listed,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `namespace/name`, or the name of what is in none.
fn name_of(object: &Value) -> String {
    let metadata = &object["metadata"];
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{}", text(&metadata["name"])),
        None => text(&metadata["name"]).to_owned(),
    }
}

fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}
