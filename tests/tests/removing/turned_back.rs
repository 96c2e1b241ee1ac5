//! A removal is turned back: the cluster is provisioned again, and what its removal had done until then is undone,
//! as far as it can be.

use cratekube_tests::house::{Setup, World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fleet::HostFault;
use serde_json::{Value, json};

use super::{CLUSTERS, HOST, STEPS, WEB, built, removed, service, states};

const WORKER: &str = "192.0.2.12";
const POLICIES: (&str, &str) = ("admissionregistration.k8s.io", "validatingadmissionpolicies");

fn claim() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}})
}

fn autoscaler() -> Value {
    let labels = json!({"app": "scaler"});
    let image = "registry.k8s.io/autoscaling/cluster-autoscaler:v1.28.0";
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "scaler", "namespace": "kube-system"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// A world in which the API of a cluster that is dead is not waited for long.
async fn impatient() -> anyhow::Result<World> {
    let operations = "attempts = 1\nconfirm_pause = \"0s\"";
    World::with(programs!(), Setup { operations, ready_timeout: "8s", ..Setup::default() }).await
}

/// Asks for the cluster's description again, and waits for the end of it.
async fn provisioned(world: &World) -> anyhow::Result<Value> {
    let accepted = world.client.post(&format!("{WEB}/provision"), &json!({})).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await
}

/// Removes the cluster, and cancels that when `rke remove` has written a line with this text.
async fn cancelled_after(world: &mut World, text: &str) -> anyhow::Result<()> {
    let gate = world.gate(text)?;
    let accepted = world.client.delete(&format!("{WEB}?reason=story")).await?.expect(202)?;
    let passage = gate.reached().await?;
    let path = format!("{}/cancel", accepted.header("location"));
    world.client.post(&path, &json!({})).await?.expect(202)?;
    let cancelled = world.client.ended(accepted.header("location")).await?;
    drop(passage);
    assert_eq!((&cancelled["state"], states(&cancelled)[3].1), (&json!("cancelled"), "cancelled"), "{cancelled:#}");
    Ok(())
}

/// How many quotas and policies freeze the cluster, and how many replicas its autoscaler has.
fn frost(world: &World) -> (usize, usize, Value) {
    let count = |(group, plural)| world.clusters.list(HOST, group, plural).len();
    let scaler = world.clusters.read(HOST, "apps", "deployments", Some("kube-system"), "scaler").unwrap_or_default();
    (count(("", "resourcequotas")), count(POLICIES), scaler["spec"]["replicas"].clone())
}

fn new_load_balancer(world: &World, name: &str) -> u16 {
    let path = "/api/v1/namespaces/default/services";
    world.clusters.ask(HOST, "somebody", "POST", path, &service(name, "LoadBalancer")).unwrap().0
}

async fn is_whole(world: &World) -> anyhow::Result<()> {
    let operation = provisioned(world).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(world.client.get(WEB).await?.json()["phase"], "ready");
    assert_eq!(frost(world), (0, 0, json!(2)), "nothing of the removal is left in the cluster");
    assert_eq!(new_load_balancer(world, "later"), 201);
    Ok(())
}

#[tokio::test]
async fn a_removal_that_is_cancelled_in_its_release_is_turned_back_and_the_cluster_thawed() -> anyhow::Result<()> {
    let world = World::whole(programs!()).await?;
    built(&world).await?;
    world.clusters.write(HOST, autoscaler());
    world.clusters.write(HOST, service("shop", "LoadBalancer"));
    let hold = world.clusters.hold("DELETE", "/services/shop");
    let accepted = world.client.delete(&format!("{WEB}?reason=story")).await?.expect(202)?;
    hold.reached().await;
    let (quotas, policies, replicas) = frost(&world);
    assert!(quotas > 3 && policies == 2 && replicas == 0, "frozen");
    assert!(matches!(new_load_balancer(&world, "now"), 403 | 422));
    let path = format!("{}/cancel", accepted.header("location"));
    world.client.post(&path, &json!({})).await?.expect(202)?;
    drop(hold);
    let cancelled = world.client.ended(accepted.header("location")).await?;
    assert_eq!((&cancelled["state"], states(&cancelled)[2].1), (&json!("cancelled"), "cancelled"), "{cancelled:#}");
    is_whole(&world).await?;
    world.finish().await
}

#[tokio::test]
async fn a_removal_that_failed_in_its_release_is_turned_back_and_the_cluster_can_be_removed_later() -> anyhow::Result<()>
{
    let world = World::whole(programs!()).await?;
    built(&world).await?;
    world.clusters.write(HOST, autoscaler());
    world.clusters.write(HOST, claim());
    world.clusters.fail("PATCH", "/persistentvolumes/", 403, 1);
    let failed = removed(&world, "").await?;
    assert_eq!((&failed["state"], states(&failed)[2].1), (&json!("failed"), "failed"), "{failed:#}");
    assert!(failed["tasks"][2]["blocker"].as_str().unwrap().contains("PersistentVolume "), "{failed:#}");
    is_whole(&world).await?;
    let claims = world.clusters.list(HOST, "", "persistentvolumeclaims");
    assert_eq!(claims[0]["metadata"].get("deletionTimestamp"), None, "its data are where they were");
    let operation = removed(&world, "hosts_terminated=true").await?;
    assert_eq!(states(&operation), STEPS.map(|step| (step, "succeeded")), "{operation:#}");
    world.finish().await
}

#[tokio::test]
async fn a_removal_whose_rke_took_nothing_off_a_host_is_turned_back() -> anyhow::Result<()> {
    let world = impatient().await?;
    built(&world).await?;
    world.clusters.write(HOST, autoscaler());
    world.clusters.write(HOST, service("kept", "ClusterIP"));
    world.rke.host(HOST).unreachable(HostFault::NoRoute)?;
    let failed = removed(&world, "").await?;
    assert_eq!((&failed["state"], states(&failed)[3].1), (&json!("failed"), "failed"), "{failed:#}");
    world.rke.host(HOST).reachable()?;
    is_whole(&world).await?;
    assert!(world.clusters.read(HOST, "", "services", Some("default"), "kept").is_some());
    world.finish().await
}

#[tokio::test]
async fn a_removal_that_was_cancelled_before_its_rke_cleaned_a_host_is_turned_back() -> anyhow::Result<()> {
    let mut world = World::whole(programs!()).await?;
    built(&world).await?;
    world.clusters.write(HOST, autoscaler());
    cancelled_after(&mut world, "Successfully tore down etcd plane").await?;
    assert!(world.clusters.list(HOST, "", "namespaces").is_empty(), "its API is gone");
    is_whole(&world).await?;
    world.finish().await
}

#[tokio::test]
async fn a_removal_that_was_cancelled_while_a_cleaner_was_being_started_is_not_turned_back() -> anyhow::Result<()> {
    let mut world = impatient().await?;
    built(&world).await?;
    // What follows is "Successfully started [kube-cleaner]": that is never written.
    cancelled_after(&mut world, "Starting container [kube-cleaner] on host").await?;
    let runs = world.rke.runs()?.len();
    let refused = provisioned(&world).await?;
    let failure = &refused["attempts"].as_array().unwrap().last().unwrap()["failure"];
    assert_eq!((&refused["state"], &failure["class"]), (&json!("failed"), &json!("state")), "{refused:#}");
    assert!(failure["message"].as_str().unwrap().contains("192.0.2.11"), "{failure:#}");
    assert_eq!(world.rke.runs()?.len(), runs, "rke is not started");
    world.finish().await
}

#[tokio::test]
async fn a_cluster_whose_etcd_rke_cleaned_away_is_not_built_again_and_is_removed_and_made_anew() -> anyhow::Result<()> {
    let world = impatient().await?;
    built(&world).await?;
    world.rke.host(WORKER).unreachable(HostFault::NoRoute)?;
    let failed = removed(&world, "").await?;
    assert_eq!((&failed["state"], states(&failed)[3].1), (&json!("failed"), "failed"), "{failed:#}");
    world.rke.host(WORKER).reachable()?;
    let runs = world.rke.runs()?.len();
    let refused = provisioned(&world).await?;
    assert_eq!(refused["state"], "failed", "{refused:#}");
    let failure = &refused["attempts"].as_array().unwrap().last().unwrap()["failure"];
    assert_eq!((&failure["class"], &failure["retryable"]), (&json!("state"), &json!(false)), "{failure:#}");
    let told = "has cleaned 1 of 1 hosts of the cluster's etcd (192.0.2.11): `rke up` would build an empty";
    assert!(failure["message"].as_str().unwrap().contains(told), "{failure:#}");
    assert!(failure["remedy"].as_str().unwrap().contains("Then remove the cluster (again"), "{failure:#}");
    assert_eq!(world.rke.runs()?.len(), runs, "rke is not started");
    let operation = removed(&world, "hosts_terminated=true").await?;
    assert_eq!(states(&operation), STEPS.map(|step| (step, "succeeded")), "{operation:#}");
    let again = world.client.post(CLUSTERS, &specs::with_worker("web", HOST, WORKER)).await?.expect(202)?;
    assert_eq!(world.client.ended(again.header("location")).await?["state"], "succeeded");
    world.finish().await
}
