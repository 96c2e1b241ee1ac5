//! What goes wrong is named, with its class, the line that shows it, and what to do.

use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fault::{Fault, Kind, StateWrite};
use cratekube_tests::rehearsal::fleet::HostFault;
use serde_json::Value;

const CLUSTERS: &str = "/v1/environments/prod/clusters";

async fn provision(world: &World, body: &Value) -> anyhow::Result<Value> {
    let accepted = world.client.post(CLUSTERS, body).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await
}

async fn remove(world: &World, name: &str) -> anyhow::Result<Value> {
    let accepted = world.client.delete(&format!("{CLUSTERS}/{name}?reason=test")).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await
}

#[tokio::test]
async fn a_host_that_refuses_ssh_is_named_with_a_remedy() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    world.rke.host("192.0.2.11").unreachable(HostFault::WrongKey)?;
    let operation = provision(&world, &specs::single("web", "192.0.2.11")).await?;
    let failure = &operation["failure"];
    assert_eq!(
        (operation["state"].as_str(), failure["class"].as_str()),
        (Some("failed"), Some("auth")),
        "{operation:#}"
    );
    assert!(failure["line"].as_str().unwrap().contains("192.0.2.11"), "{failure:#}");
    assert!(!failure["remedy"].as_str().unwrap().is_empty());
    let cluster = world.client.get(&format!("{CLUSTERS}/web")).await?.json();
    assert_eq!(cluster["phase"], "failed");
    assert_eq!(cluster["failure"]["class"], "auth");
    // Also a failed run is sealed.
    let generations = world.client.get(&format!("{CLUSTERS}/web/generations")).await?.json();
    assert_eq!(generations["items"].as_array().unwrap().len(), 1, "{generations:#}");
    world.finish().await
}

#[tokio::test]
async fn exit_0_with_a_node_missing_is_not_success() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    world.rke.host("192.0.2.12").unreachable(HostFault::NoRoute)?;
    let operation = provision(&world, &specs::with_worker("web", "192.0.2.11", "192.0.2.12")).await?;
    assert_eq!(operation["state"], "failed", "{operation:#}");
    assert_eq!(operation["failure"]["class"], "unreachable", "{operation:#}");
    assert_eq!(operation["attempts"][0]["exit"]["code"].as_i64().unwrap_or(0), 0);
    world.finish().await
}

#[tokio::test]
async fn a_removal_that_skipped_a_host_is_not_believed_and_keeps_the_state() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    provision(&world, &specs::with_worker("web", "192.0.2.11", "192.0.2.12")).await?;
    let state = world.agent.cluster("prod", "web").join("working/cluster.rkestate");
    let before = std::fs::read(&state)?;
    world.rke.host("192.0.2.12").unreachable(HostFault::NoRoute)?;
    let operation = remove(&world, "web").await?;
    assert_eq!(operation["state"], "failed", "rke itself said success: {operation:#}");
    assert!(operation["failure"]["message"].as_str().unwrap().contains("192.0.2.12"), "{operation:#}");
    assert_eq!(std::fs::read(&state)?, before, "rke removed its state in a copy only");
    world.rke.host("192.0.2.12").reachable()?;
    assert_eq!(remove(&world, "web").await?["state"], "succeeded");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_60_a_ca_that_changed_by_itself_fails_the_operation() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    world.rke.fault(Fault::new(Kind::TornState { write: StateWrite::Current, bytes: 1_000 }).times(1))?;
    let operation = provision(&world, &specs::single("web", "192.0.2.11")).await?;
    assert_eq!(operation["state"], "failed", "a run that died writing its state: {operation:#}");
    let torn = world.agent.cluster("prod", "web").join("working/cluster.rkestate");
    assert_eq!(std::fs::metadata(&torn)?.len(), 1_000);
    let newest = &world.client.get(&format!("{CLUSTERS}/web/generations")).await?.json()["items"][0];
    assert_eq!(newest["good"], false, "{newest:#}");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_58_a_torn_state_stops_rke_before_it_starts() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    provision(&world, &specs::single("web", "192.0.2.11")).await?;
    let runs = world.rke.runs()?.len();
    let state = world.agent.cluster("prod", "web").join("working/cluster.rkestate");
    let whole = std::fs::read(&state)?;
    for broken in [&b""[..], &whole[..whole.len() / 2]] {
        std::fs::write(&state, broken)?;
        let operation = remove(&world, "web").await?;
        assert_eq!(operation["state"], "failed", "{operation:#}");
        assert_eq!(operation["failure"]["class"], "state", "{operation:#}");
        assert_eq!(world.rke.runs()?.len(), runs, "rke was not started");
        assert_eq!(std::fs::read(&state)?, broken, "nothing was touched");
    }
    std::fs::write(&state, &whole)?;
    assert_eq!(remove(&world, "web").await?["state"], "succeeded");
    world.finish().await
}

#[tokio::test]
async fn a_version_that_no_agent_offers_is_refused_before_anything_is_made() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let mut body = specs::single("web", "192.0.2.11");
    body["spec"]["kubernetes_version"] = "v1.2.3-rancher1-1".into();
    let refused = world.client.post(CLUSTERS, &body).await?.expect(422)?.json();
    assert_eq!(refused["errors"][0]["pointer"], "/spec/kubernetes_version", "{refused:#}");
    world.client.get(&format!("{CLUSTERS}/web")).await?.expect(404)?;
    world.finish().await
}
