//! The same through real processes: agents that are cut and come again, a certificate that is exchanged.

use cratekube_common::runtime::clock;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use serde_json::json;

const CLUSTERS: &str = "/v1/environments/prod/clusters";

async fn agent(world: &World, name: &str) -> anyhow::Result<serde_json::Value> {
    let agents = world.client.get("/v1/admin/agents").await?.expect(200)?.json();
    let found = agents["items"].as_array().into_iter().flatten().find(|agent| agent["name"] == name);
    found.cloned().ok_or_else(|| anyhow::anyhow!("no agent {name}: {agents:#}"))
}

#[tokio::test]
async fn hostile_row_36_a_revoked_agent_is_cut_its_run_goes_on_and_its_successor_reports_it() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    let id = agent(&world, "bastion-1").await?["id"].as_str().unwrap_or_default().to_owned();
    let clock = clock::system();
    let began = clock.monotonic();
    let path = format!("/v1/admin/agents/{id}/revoke");
    world.client.post(&path, &json!({"reason": "its key leaked"})).await?.expect(200)?;
    world.agent.process.line("does not accept this agent").await?;
    println!("figure: a revoked agent was cut after {:?}", clock.monotonic() - began);
    world.agent.process.stop().await?;
    let token = world.controller.command(&["agent", "join-token", "--agent", "bastion-1"]).await?;
    world.agent.enroll_again(&token).await?;
    world.agent.restart()?;
    world.agent.process.line("in session with the controller").await?;
    drop(passage);
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(operation["attempts"].as_array().map(Vec::len), Some(1), "the same run");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_38_a_certificate_is_renewed_in_the_middle_of_a_run_that_never_notices() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    let before = agent(&world, "bastion-1").await?["certificate"].clone();
    // From now on the controller certifies stronger keys only, and tells its agents so.
    world.controller.process.stop().await?;
    world.controller.restart_with(&[("CRATEKUBE_PKI__KEY_ALGORITHM", "ecdsa-p384")]).await?;
    world.controller.process.line("own key is ecdsa-p256 although pki.key_algorithm is ecdsa-p384").await?;
    world.agent.process.line("the agent's certificate is renewed").await?;
    drop(passage);
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(operation["attempts"].as_array().map(Vec::len), Some(1), "the same run");
    let after = agent(&world, "bastion-1").await?;
    assert_eq!((&before["generation"], &after["certificate"]["generation"]), (&json!(1), &json!(2)));
    let output = world.client.get(&format!("{}/output", accepted.header("location"))).await?.expect(200)?.text();
    assert_eq!(output.matches("Finished building Kubernetes cluster successfully").count(), 1, "nothing twice");
    world.finish().await
}

#[tokio::test]
async fn a_new_certificate_in_the_files_is_shown_to_who_comes_after_a_hangup() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let mut kept = world.client.connect().await?;
    world.controller.process.signal(rustix::process::Signal::HUP)?;
    world.controller.process.line("told by a signal to look at the listeners' certificates").await?;
    let ask = cratekube_tests::house::rest::Ask::new(http::Method::GET, "/v1/environments");
    kept.send(ask.clone()).await?.expect(200)?;
    world.client.send(ask).await?.expect(200)?;
    world.finish().await
}
