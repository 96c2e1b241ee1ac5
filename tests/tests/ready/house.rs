//! The whole way: a user asks the controller, the agent answers out of the cluster.

use cratekube_tests::house::{Setup, World, specs};
use cratekube_tests::programs;
use serde_json::json;

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const CLUSTER: &str = "/v1/environments/prod/clusters/web";
const HOST: &str = "192.0.2.11";

/// A world whose clusters are configured and verified after `rke`.
async fn world() -> anyhow::Result<World> {
    let setup = Setup { operations: "attempts = 1\nsteps = [\"configure\", \"verify\"]", ..Setup::default() };
    World::with(programs!(), setup).await
}

/// Files below a folder that contain a text.
fn holders(dir: &std::path::Path, needle: &str) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(holders(&path, needle)?);
        } else if path.is_file() && !path.is_symlink() {
            let content = std::fs::read(&path)?;
            if content.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_kubeconfig_comes_out_of_the_cluster_and_stays_nowhere_on_its_way() -> anyhow::Result<()> {
    let world = world().await?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", HOST)).await?.expect(202)?;
    assert_eq!(world.client.ended(accepted.header("location")).await?["state"], "succeeded");
    let ask = json!({"role": "view", "ttl": "1h"});
    let answer = world.client.post(&format!("{CLUSTER}/kubeconfig"), &ask).await?.expect(200)?.json();
    let text = answer["kubeconfig"].as_str().expect("a kubeconfig");
    let file = cratekube_common::yaml::read(text).expect("plain YAML").remove(0).value;
    let token = file["users"][0]["user"]["token"].as_str().expect("a token");
    assert_eq!(file["clusters"][0]["cluster"]["server"], "https://192.0.2.11:6443");
    let may = |path: &str| world.clusters.ask_with(HOST, token, "GET", path).map(|(code, _)| code);
    assert_eq!(may("/api/v1/namespaces/workspace/pods"), Some(200));
    assert_eq!(may("/api/v1/namespaces/workspace/secrets"), Some(403));
    assert_eq!(holders(world.path(), token)?, Vec::<std::path::PathBuf>::new());
    let elsewhere =
        world.client.post(&format!("{CLUSTER}/kubeconfig"), &json!({"role": "view", "namespace": "nowhere"})).await?;
    assert!(elsewhere.status.as_u16() >= 400, "{elsewhere:?}");
    assert!(elsewhere.text().contains("no account for view"), "{elsewhere:?}");
    world.finish().await
}

#[tokio::test]
async fn an_agent_that_is_killed_while_a_cluster_is_configured_finds_it_configured() -> anyhow::Result<()> {
    let mut world = world().await?;
    let hold = world.clusters.hold("PATCH", "/rolebindings/cratekube-edit?");
    let accepted = world.client.post(CLUSTERS, &specs::single("web", HOST)).await?.expect(202)?;
    hold.reached().await;
    world.agent.process.kill().await?;
    drop(hold);
    world.agent.restart()?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    let bound = world.clusters.list(HOST, "rbac.authorization.k8s.io", "rolebindings").len();
    assert_eq!(bound, 3, "view, edit and admin");
    let health = world.client.get(&format!("{CLUSTER}/health")).await?.expect(200)?.text();
    assert!(health.contains("system-workloads") && health.contains("not_after"), "{health}");
    world.finish().await
}
