//! Certificates are renewed: a user asks the controller, `rke` makes new ones, the cluster is checked with them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use cratekube_common::domain::time::Timestamp;
use cratekube_tests::house::{Setup, World, specs};
use cratekube_tests::programs;
use rustix::process::{Pid, Signal, kill_process};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, X509Certificate};

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const CLUSTER: &str = "/v1/environments/prod/clusters/web";
const HOST: &str = "192.0.2.11";
/// Made once and kept: the CAs.
const KEPT: [&str; 2] = ["kube-ca", "kube-apiserver-requestheader-ca"];

/// A certificate in RKE's state.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    serial: String,
    not_after: String,
}

/// A world with a cluster that was verified; what is interrupted is tried again soon.
async fn world() -> anyhow::Result<World> {
    let operations =
        "attempts = 3\nretry_delay = \"100ms\"\nretry_delay_max = \"1s\"\nsteps = [\"configure\", \"verify\"]";
    let world = World::with(programs!(), Setup { operations, ..Setup::default() }).await?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", HOST)).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    anyhow::ensure!(operation["state"] == "succeeded", "{operation:#}");
    Ok(world)
}

/// The certificates with which the cluster works, by RKE's names.
fn certificates(world: &World) -> anyhow::Result<BTreeMap<String, Made>> {
    let path = world.agent.cluster("prod", "web").join("working/cluster.rkestate");
    let state: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let bundle = state["currentState"]["certificatesBundle"].as_object().context("no certificates")?;
    let mut made = BTreeMap::new();
    for (name, held) in bundle {
        let Some(pem) = held["certificatePEM"].as_str().filter(|pem| !pem.is_empty()) else { continue };
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).context("no PEM")?;
        let (_, certificate) = X509Certificate::from_der(&der)?;
        let not_after = Timestamp::from_millis(certificate.validity().not_after.timestamp() * 1_000).to_string();
        made.insert(name.clone(), Made { serial: certificate.raw_serial_as_string(), not_after });
    }
    Ok(made)
}

/// Every certificate but what is kept is another one, and none ends earlier than before.
fn all_renewed(before: &BTreeMap<String, Made>, after: &BTreeMap<String, Made>) {
    assert!(before.keys().eq(after.keys()) && before.len() > KEPT.len(), "{before:?} {after:?}");
    for (name, old) in before {
        let new = &after[name];
        assert_eq!(old.serial == new.serial, KEPT.contains(&name.as_str()), "{name}: {old:?} {new:?}");
        assert!(new.not_after >= old.not_after, "{name}: {old:?} {new:?}");
    }
}

async fn read(world: &World, path: &str) -> anyhow::Result<Value> {
    Ok(world.client.get(path).await?.expect(200)?.json())
}

/// Health is what was found with the new certificates, by this operation.
async fn is_recorded(world: &World, operation: &Value, made: &BTreeMap<String, Made>) -> anyhow::Result<Value> {
    let health = read(world, &format!("{CLUSTER}/health")).await?;
    assert_eq!((&health["status"], &health["phase"]), (&json!("healthy"), &json!("ready")), "{health:#}");
    let of = health["links"]["operation"].as_str().context("no operation")?;
    assert!(of.ends_with(operation["id"].as_str().context("no id")?), "{health:#}");
    let told = health["certificates"].as_array().context("no certificates")?;
    for name in ["kube-apiserver", "kube-node", "kube-ca"] {
        let found = told.iter().find(|certificate| certificate["name"] == name);
        assert_eq!(found.map(|found| &found["not_after"]), Some(&json!(made[name].not_after)), "{name}: {health:#}");
    }
    Ok(health)
}

#[tokio::test]
async fn renewed_certificates_are_other_ones_of_the_same_ca_sealed_verified_and_told_in_health() -> anyhow::Result<()> {
    let world = world().await?;
    let (before, first) = (certificates(&world)?, read(&world, &format!("{CLUSTER}/health")).await?);
    let ca = read(&world, &format!("{CLUSTER}/generations")).await?["items"][0]["ca_sha256"].take();

    let accepted = world.client.post(&format!("{CLUSTER}/rotate-certificates"), &json!({})).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    let tasks: Vec<_> =
        operation["tasks"].as_array().context("no tasks")?.iter().map(|t| (&t["kind"], &t["state"])).collect();
    let done = json!("succeeded");
    assert_eq!(tasks, [(&json!("rotate-certificates"), &done), (&json!("verify"), &done)]);
    assert_eq!(world.rke.runs()?.iter().filter(|run| run.command == "cert rotate").count(), 1);

    let after = certificates(&world)?;
    all_renewed(&before, &after);
    let newest = read(&world, &format!("{CLUSTER}/generations")).await?["items"][0].take();
    assert_eq!((&newest["number"], &newest["good"], &newest["ca_sha256"]), (&json!(2), &json!(true), &ca));
    assert_eq!(newest["operation"], operation["id"], "sealed by this operation");
    let health = is_recorded(&world, &operation, &after).await?;
    assert!(health["checked_at"].as_str() > first["checked_at"].as_str(), "{health:#}");
    // What was given out before is signed by the same CA: it goes on working.
    let ask = json!({"role": "view", "ttl": "1h"});
    world.client.post(&format!("{CLUSTER}/kubeconfig"), &ask).await?.expect(200)?;
    world.finish().await
}

#[tokio::test]
async fn a_rotation_whose_rke_and_agent_are_killed_in_the_middle_is_taken_up_again_and_finished() -> anyhow::Result<()>
{
    let mut world = world().await?;
    let before = certificates(&world)?;
    let gate = world.gate("Rebuilding Kubernetes cluster with rotated certificates")?;
    let accepted = world.client.post(&format!("{CLUSTER}/rotate-certificates"), &json!({})).await?.expect(202)?;
    let passage = gate.reached().await?;
    world.agent.process.kill().await?;
    let at_work = world.rke.runs()?.into_iter().rfind(|run| run.command == "cert rotate").context("no rke")?;
    let pid = Pid::from_raw(at_work.pid.try_into()?).context("no process")?;
    kill_process(pid, Signal::KILL)?;
    drop(passage);
    world.agent.restart()?;

    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    let attempts = operation["attempts"].as_array().context("no attempts")?;
    let rotations: Vec<_> = attempts.iter().filter(|attempt| attempt["task"] == "rotate-certificates").collect();
    assert_eq!(rotations.len(), 2, "{operation:#}");
    assert!(rotations.iter().any(|attempt| attempt["failure"]["class"] == "interrupted"), "{operation:#}");
    let after = certificates(&world)?;
    all_renewed(&before, &after);
    let generations = read(&world, &format!("{CLUSTER}/generations")).await?;
    let sealed = generations["items"].as_array().context("no generations")?;
    let cas: Vec<_> = sealed.iter().map(|generation| &generation["ca_sha256"]).collect();
    assert!(sealed.len() == 3 && cas.iter().all(|ca| *ca == cas[0] && ca.is_string()), "{generations:#}");
    is_recorded(&world, &operation, &after).await?;
    world.finish().await
}
