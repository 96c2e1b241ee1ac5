//! A cluster is removed with nothing left behind, through real processes: the steps of a removal, what stops
//! them and how they go on, what is told in the end, and ends that an administrator puts to it. AWS is moto's
//! server; where there is none those stories say that they are skipped.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../../agent/tests/cloud/support/world.rs"]
mod cloud;
#[path = "../../agent/tests/cloud/support/moto.rs"]
mod moto;
#[path = "removing/overdue.rs"]
mod overdue;
#[path = "../../agent/tests/cloud/support/proxy.rs"]
mod proxy;
#[path = "removing/turned_back.rs"]
mod turned_back;
#[path = "../../agent/tests/cloud/support/wire.rs"]
mod wire;

use cratekube_tests::house::{Setup, World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fleet::HostFault;
use serde_json::{Value, json};

use self::moto::Moto;
use self::proxy::Proxy;

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const WEB: &str = "/v1/environments/prod/clusters/web";
const STEPS: [&str; 8] = ["freeze", "record", "release", "remove", "clean-hosts", "sweep", "confirm", "tombstone"];
/// Control plane and etcd of the cluster.
const HOST: &str = "192.0.2.11";
const LOAD_BALANCER: &str = "service.kubernetes.io/load-balancer-cleanup";

fn service(name: &str, kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": kind, "ports": [{"port": 80}]}})
}

async fn built(world: &World) -> anyhow::Result<Value> {
    let accepted = world.client.post(CLUSTERS, &specs::with_worker("web", "192.0.2.11", "192.0.2.12")).await?;
    let operation = world.client.ended(accepted.expect(202)?.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    Ok(world.client.get(WEB).await?.expect(200)?.json())
}

/// Asks for the removal, and waits for its end.
async fn removed(world: &World, query: &str) -> anyhow::Result<Value> {
    let accepted = world.client.delete(&format!("{WEB}?reason=story&{query}")).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await
}

async fn report(world: &World, operation: &Value) -> anyhow::Result<Value> {
    let path = format!("/v1/operations/{}/residue", operation["id"].as_str().unwrap());
    let residue = world.client.get(&path).await?.expect(200)?.json();
    assert_eq!(residue["jws"].as_str().unwrap().split('.').count(), 3);
    Ok(residue["report"].clone())
}

fn states(operation: &Value) -> Vec<(&str, &str)> {
    let tasks = operation["tasks"].as_array().unwrap();
    tasks.iter().map(|task| (task["kind"].as_str().unwrap(), task["state"].as_str().unwrap())).collect()
}

fn removes(world: &World) -> anyhow::Result<usize> {
    Ok(world.rke.runs()?.iter().filter(|run| run.command == "remove").count())
}

#[tokio::test]
async fn a_removal_goes_through_all_its_steps_and_is_not_called_clean_when_nobody_looked_at_the_cloud()
-> anyhow::Result<()> {
    let world = World::whole(programs!()).await?;
    built(&world).await?;
    let runs = world.rke.runs()?.len();
    let preview = world.client.delete(&format!("{WEB}?dry_run=true&data_policy=delete")).await?.expect(200)?.json();
    assert!(preview["unverified"].as_str().unwrap().contains("cloud.enabled"), "{preview:#}");
    assert_eq!((&preview["steps"], &preview["hosts"]), (&json!(STEPS), &json!(["192.0.2.11", "192.0.2.12"])));
    assert_eq!((world.rke.runs()?.len(), world.client.get(WEB).await?.json()["phase"].clone()), (runs, json!("ready")));

    let operation = removed(&world, "hosts_terminated=true").await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(states(&operation), STEPS.map(|step| (step, "succeeded")), "{operation:#}");
    assert_eq!(world.client.get(WEB).await?.json()["phase"], "removed");
    let report = report(&world, &operation).await?;
    assert_eq!(report["verdict"], "unverified", "{report:#}");
    assert!(report["because"].to_string().contains("cloud.enabled"), "{report:#}");
    assert!(report["tombstone"]["generation"].as_u64() > Some(0), "{report:#}");
    let again = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.13")).await?.expect(202)?;
    assert_eq!(world.client.ended(again.header("location")).await?["state"], "succeeded", "the name is free");
    world.finish().await
}

#[tokio::test]
async fn what_a_cluster_left_in_the_cloud_goes_with_it_and_the_report_is_clean() -> anyhow::Result<()> {
    let Some(moto) = Moto::start("a removal through real processes") else { return Ok(()) };
    let proxy = Proxy::start(moto.at);
    let keys = tempfile::NamedTempFile::new()?;
    std::fs::write(keys.path(), "[default]\naws_access_key_id = KEY\naws_secret_access_key = SECRET\n")?;
    let section = format!(
        "[cloud]\nenabled = true\nregion = \"eu-central-1\"\nendpoint = \"http://{}\"\ncredentials = {:?}\npatience = \"5s\"\n",
        proxy.at,
        keys.path()
    );
    let operations = "attempts = 1\nconfirm_pause = \"0s\"";
    let setup = Setup { operations, agent: Box::leak(section.into_boxed_str()), ..Setup::default() };
    let world = World::with(programs!(), setup).await?;
    let id = built(&world).await?["id"].as_str().unwrap().to_owned();
    let aws = cloud::World::empty(moto.at);
    let tag = format!("kubernetes.io/cluster/{id}");
    let (mine, other) = (aws.volume(&[(&tag, "owned")]), aws.volume(&[("kubernetes.io/cluster/other", "owned")]));

    let preview = world.client.delete(&format!("{WEB}?dry_run=true&data_policy=delete")).await?.expect(200)?.json();
    assert_eq!((&preview["cloud"]["entries"][0]["id"], &preview["monthly_cents_freed"]), (&json!(mine), &json!(64)));
    assert!(proxy.calls().iter().all(|call| !call.changes()), "a dry run only looks: {:?}", proxy.calls());
    assert!(!proxy.calls().is_empty());

    let operation = removed(&world, "hosts_terminated=true&data_policy=delete").await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    let report = report(&world, &operation).await?;
    assert_eq!((&report["verdict"], &report["because"]), (&json!("clean"), &json!([])), "{report:#}");
    assert_eq!(report["cloud"]["objects"][0]["fate"], "deleted", "{report:#}");
    let left = aws.ids();
    assert!(left.contains(&other) && !left.contains(&mine), "{left:?}");

    let begun = world.client.post("/v1/admin/orphan-scans", &json!({})).await?.expect(202)?;
    let scan = loop {
        let scan = world.client.get(begun.header("location")).await?.expect(200)?.json();
        if !scan["ended_at"].is_null() {
            break scan;
        }
        tokio::task::yield_now().await;
    };
    let group = &scan["results"][0]["findings"]["groups"][0];
    assert_eq!((&group["name"], &group["objects"][0]["id"]), (&json!("other"), &json!(other)), "{scan:#}");
    assert!(aws.ids().contains(&other), "a scan only looks");
    world.finish().await
}

#[tokio::test]
async fn an_rke_that_lies_is_caught_its_host_named_and_a_retry_goes_on_at_that_step() -> anyhow::Result<()> {
    let world = World::whole(programs!()).await?;
    built(&world).await?;
    world.rke.host("192.0.2.12").unreachable(HostFault::NoRoute)?;
    let failed = removed(&world, "hosts_terminated=true").await?;
    assert_eq!(failed["state"], "failed", "rke itself said success: {failed:#}");
    assert_eq!(failed["tasks"][3]["state"], "failed", "{failed:#}");
    assert!(failed["tasks"][3]["blocker"].as_str().unwrap().contains("192.0.2.12"), "{failed:#}");
    assert_eq!(report(&world, &failed).await?["verdict"], "unverified");
    world.rke.host("192.0.2.12").reachable()?;
    let path = format!("/v1/operations/{}/retry", failed["id"].as_str().unwrap());
    let accepted = world.client.post(&path, &json!({})).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(states(&operation), STEPS.map(|step| (step, "succeeded")), "{operation:#}");
    let attempts = operation["attempts"].as_array().unwrap();
    assert_eq!(attempts.iter().map(|a| a["task"].as_str().unwrap()).collect::<Vec<_>>(), STEPS[3..]);
    world.finish().await
}

#[tokio::test]
async fn a_removal_goes_on_after_controller_and_agent_were_killed_in_it_and_rke_acts_once() -> anyhow::Result<()> {
    let mut world = World::whole(programs!()).await?;
    built(&world).await?;
    let gate = world.gate("Tearing down Kubernetes cluster")?;
    let accepted = world.client.delete(&format!("{WEB}?reason=story&hosts_terminated=true")).await?.expect(202)?;
    let passage = gate.reached().await?;
    world.controller.process.kill().await?;
    world.agent.process.kill().await?;
    world.controller.restart().await?;
    world.agent.restart()?;
    drop(passage);
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(states(&operation), STEPS.map(|step| (step, "succeeded")), "{operation:#}");
    assert_eq!(removes(&world)?, 1);
    world.finish().await
}

#[tokio::test]
async fn a_removal_that_cannot_be_finished_is_abandoned_and_what_is_not_known_is_said() -> anyhow::Result<()> {
    let world = World::whole(programs!()).await?;
    built(&world).await?;
    world.rke.host("192.0.2.12").unreachable(HostFault::NoRoute)?;
    let failed = removed(&world, "").await?;
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let path = format!("/v1/operations/{}/abandon", failed["id"].as_str().unwrap());
    let abandoned = world.client.post(&path, &json!({"reason": "the host burnt"})).await?.expect(202)?.json();
    assert_eq!(abandoned["cluster"]["phase"], "removed", "{abandoned:#}");
    let report = report(&world, &failed).await?;
    assert_eq!((&report["verdict"], &report["abandoned"]["reason"]), (&json!("unverified"), &json!("the host burnt")));
    assert!(report["because"].to_string().contains("The step remove was not done"), "{report:#}");
    world.rke.host("192.0.2.12").reachable()?;
    // The name is free on the volume, too.
    let successor = specs::with_worker("web", "192.0.2.21", "192.0.2.22");
    let accepted = world.client.post(CLUSTERS, &successor).await?.expect(202)?;
    assert_eq!(world.client.ended(accepted.header("location")).await?["state"], "succeeded");
    world.finish().await
}
