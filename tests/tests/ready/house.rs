//! The whole way: a user asks the controller, the agent answers out of the cluster.

use cratekube_agent::config::KubernetesSection;
use cratekube_agent::kube::configure;
use cratekube_agent::step::{StepInput, StepSettings};
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::task::TaskKind;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::Lines;

const CLUSTER: &str = "/v1/environments/prod/clusters/web";
const HOST: &str = "192.0.2.11";

/// Configures the cluster of a world as its agent would.
async fn configure(world: &World) -> anyhow::Result<()> {
    let id = Uuid::from_u128(7);
    let description = specs::single("web", HOST);
    let spec = intake::read(&description["spec"]).map_err(|faults| anyhow::anyhow!("{faults:?}"))?.0;
    let kubernetes = KubernetesSection { proxy: Some(world.clusters.url()), ..KubernetesSection::default() };
    let input = StepInput {
        kind: TaskKind::Configure,
        environment: "prod".parse().map_err(anyhow::Error::msg)?,
        name: "web".parse().map_err(anyhow::Error::msg)?,
        cluster: id.into(),
        operation: id.into(),
        attempt: id.into(),
        spec,
        working: world.agent.cluster("prod", "web").join("working"),
        run_dir: world.path().to_owned(),
        settings: StepSettings { kubernetes, ..StepSettings::default() },
        input: Value::Null,
    };
    let outcome = configure::run(&input, &Lines::default()).await;
    anyhow::ensure!(outcome.failure.is_none(), "{outcome:?}");
    Ok(())
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
    let world = World::start(programs!()).await?;
    let accepted =
        world.client.post("/v1/environments/prod/clusters", &specs::single("web", HOST)).await?.expect(202)?;
    assert_eq!(world.client.ended(accepted.header("location")).await?["state"], "succeeded");
    configure(&world).await?;
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
