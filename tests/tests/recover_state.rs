//! State that was torn, lost or changed by others is brought back on request, rung by rung, and the cluster
//! is provisioned again from it.

use std::path::PathBuf;

use cratekube_tests::house::aftermath::CLUSTERS;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fault::{Fault, Kind};
use cratekube_tests::rehearsal::fleet::HostFault;
use serde_json::{Value, json};

/// Where the first cluster is.
const ADDRESS: &str = "198.18.0.2";

/// Asks for a verb of a cluster and waits for its end.
async fn ask(world: &World, name: &str, verb: &str, body: Value) -> anyhow::Result<Value> {
    let accepted = world.client.post(&format!("{CLUSTERS}/{name}/{verb}"), &body).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await
}

async fn provision(world: &World, name: &str, n: usize) -> anyhow::Result<Value> {
    let accepted = world.client.post(CLUSTERS, &specs::nth(name, n)).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await
}

async fn recover(world: &World, name: &str) -> anyhow::Result<Value> {
    ask(world, name, "recover-state", json!({"reason": "it was torn"})).await
}

async fn cluster(world: &World, name: &str) -> anyhow::Result<Value> {
    Ok(world.client.get(&format!("{CLUSTERS}/{name}")).await?.expect(200)?.json())
}

/// The cluster is provisioned again, by an `rke` that went on from what is there.
async fn goes_on(world: &World, name: &str, ca: &Value) -> anyhow::Result<()> {
    let again = ask(world, name, "provision", json!({})).await?;
    assert_eq!(again["state"], "succeeded", "{again:#}");
    let cluster = cluster(world, name).await?;
    assert_eq!((&cluster["phase"], &cluster["ca_sha256"]), (&json!("ready"), ca), "{cluster:#}");
    Ok(())
}

fn state(world: &World, name: &str) -> PathBuf {
    world.agent.cluster("prod", name).join("working/cluster.rkestate")
}

/// Every generation of a cluster rots; answers what puts them right again.
fn rot(world: &World, name: &str) -> anyhow::Result<impl FnOnce() -> std::io::Result<()> + use<>> {
    let mut whole = Vec::new();
    for entry in std::fs::read_dir(world.agent.cluster("prod", name).join("generations"))? {
        let state = entry?.path().join("cluster.rkestate");
        if let Ok(bytes) = std::fs::read(&state) {
            std::fs::write(&state, &bytes[..bytes.len() / 2])?;
            whole.push((state, bytes));
        }
    }
    Ok(move || whole.into_iter().try_for_each(|(path, bytes)| std::fs::write(path, bytes)))
}

/// How often the cluster itself was asked for its state.
fn fetches(world: &World) -> anyhow::Result<usize> {
    Ok(world.rke.runs()?.iter().filter(|run| run.command.contains("get-state-file")).count())
}

#[tokio::test]
async fn hostile_row_58_torn_and_lost_state_comes_back_from_the_newest_good_generation() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    assert_eq!(provision(&world, "web", 1).await?["state"], "succeeded");
    let (path, ca) = (state(&world, "web"), cluster(&world, "web").await?["ca_sha256"].clone());
    for kept in [Some(1_000), Some(0), None] {
        let whole = std::fs::read(&path)?;
        match kept {
            Some(bytes) => std::fs::write(&path, &whole[..bytes])?,
            None => std::fs::remove_file(&path)?,
        }
        // Whoever comes first is stopped by the gate: here a removal.
        let accepted = world.client.delete(&format!("{CLUSTERS}/web?reason=test")).await?.expect(202)?;
        let stopped = world.client.ended(accepted.header("location")).await?;
        assert_eq!(stopped["failure"]["class"], "state", "{stopped:#}");
        assert!(stopped["failure"]["remedy"].as_str().unwrap().contains("recover-state"), "{stopped:#}");
        let recovered = recover(&world, "web").await?;
        assert_eq!(recovered["state"], "succeeded", "{recovered:#}");
        assert!(recovered["warnings"].to_string().contains("was put back"), "{recovered:#}");
        assert_eq!(cluster(&world, "web").await?["phase"], "degraded", "nobody looked at it yet");
        assert!(std::fs::read(&path)? == whole, "byte for byte");
        goes_on(&world, "web", &ca).await?;
    }
    assert_eq!(fetches(&world)?, 0, "no rke was needed to bring it back");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_58_where_no_generation_is_left_the_cluster_itself_gives_its_state_back() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    assert_eq!(provision(&world, "web", 1).await?["state"], "succeeded");
    let ca = cluster(&world, "web").await?["ca_sha256"].clone();
    let _never_right_again = rot(&world, "web")?;
    std::fs::write(state(&world, "web"), b"{")?;
    let recovered = recover(&world, "web").await?;
    assert_eq!((&recovered["state"], fetches(&world)?), (&json!("succeeded"), 1), "{recovered:#}");
    assert_eq!(cluster(&world, "web").await?["phase"], "degraded");
    goes_on(&world, "web", &ca).await?;
    world.finish().await
}

#[tokio::test]
async fn hostile_row_60_a_cluster_that_gives_back_the_state_of_another_is_not_believed() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    assert_eq!(provision(&world, "web", 1).await?["state"], "succeeded");
    assert_eq!(provision(&world, "other", 2).await?["state"], "succeeded");
    let ca = cluster(&world, "web").await?["ca_sha256"].clone();
    let fleet = world.rke.fleet();
    let (own, foreign) = (ca.as_str().unwrap(), cluster(&world, "other").await?["ca_sha256"].clone());
    let copy = fleet.saved_state(own).unwrap();
    fleet.save_state(own, &fleet.saved_state(foreign.as_str().unwrap()).unwrap())?;
    let _never_right_again = rot(&world, "web")?;
    std::fs::write(state(&world, "web"), b"{")?;
    let refused = recover(&world, "web").await?;
    assert_eq!((&refused["state"], &refused["failure"]["class"]), (&json!("failed"), &json!("state")), "{refused:#}");
    assert!(!refused["failure"]["remedy"].as_str().unwrap().is_empty());
    assert_eq!(std::fs::read(state(&world, "web"))?, b"{", "nothing of it was taken");
    let kept = cluster(&world, "web").await?;
    assert_eq!((&kept["ca_sha256"], &kept["phase"]), (&ca, &json!("degraded")), "{kept:#}");
    // The right copy is believed.
    fleet.save_state(own, &copy)?;
    assert_eq!(recover(&world, "web").await?["state"], "succeeded");
    goes_on(&world, "web", &ca).await?;
    world.finish().await
}

#[tokio::test]
async fn hostile_row_58_where_nothing_gives_the_state_back_it_is_for_the_operator_and_a_failed_cluster_stays_failed()
-> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let late = "[controlplane] Building up Controller Plane";
    world.rke.fault(Fault::new(Kind::ExitCode { code: 1, after: Some(late.into()) }).times(1))?;
    let failed = provision(&world, "web", 1).await?;
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let before = cluster(&world, "web").await?;
    assert_eq!((&before["phase"], before["generation"].is_null()), (&json!("failed"), false), "{before:#}");
    let whole = std::fs::read(state(&world, "web"))?;

    let right_again = rot(&world, "web")?;
    std::fs::write(state(&world, "web"), b"{")?;
    world.rke.host(ADDRESS).unreachable(HostFault::NoRoute)?;
    let nothing = recover(&world, "web").await?;
    assert_eq!(nothing["state"], "failed", "{nothing:#}");
    assert!(!nothing["failure"]["remedy"].as_str().unwrap().is_empty(), "{nothing:#}");
    let after = cluster(&world, "web").await?;
    assert_eq!((&after["phase"], &after["operation"]), (&json!("failed"), &Value::Null), "no better: {after:#}");
    assert_eq!(std::fs::read(state(&world, "web"))?, b"{", "nothing was touched");

    // The operator finds a copy of the volume.
    right_again()?;
    world.rke.host(ADDRESS).reachable()?;
    let recovered = recover(&world, "web").await?;
    assert_eq!(recovered["state"], "succeeded", "{recovered:#}");
    assert_eq!(std::fs::read(state(&world, "web"))?, whole);
    assert_eq!(cluster(&world, "web").await?["phase"], "degraded");
    goes_on(&world, "web", &before["ca_sha256"]).await?;
    world.finish().await
}
