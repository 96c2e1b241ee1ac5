//! What people do to operations and agents while there is work: cancel, retry, force, drain, forget.

use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fault::{After, Fault, KillSignal, Kind};
use cratekube_tests::rehearsal::fleet::HostFault;
use serde_json::{Value, json};

const CLUSTERS: &str = "/v1/environments/prod/clusters";

async fn state(world: &World, operation: &str) -> anyhow::Result<Value> {
    Ok(world.client.get(operation).await?.expect(200)?.json())
}

async fn agent(world: &World) -> anyhow::Result<String> {
    let agents = world.client.get("/v1/admin/agents").await?.json();
    Ok(format!("/v1/admin/agents/{}", agents["items"][0]["id"].as_str().unwrap_or_default()))
}

#[tokio::test]
async fn hostile_row_51_a_running_operation_is_cancelled_sealed_and_leaves_no_rke_behind() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let operation = accepted.header("location").to_owned();
    let passage = gate.reached().await?;
    let asked = world.client.post(&format!("{operation}/cancel"), &json!({})).await?.expect(202)?.json();
    assert_eq!(asked["operation"]["state"], "cancelling");
    let ended = world.client.ended(&operation).await?;
    drop(passage);
    assert_eq!((&ended["state"], &ended["failure"]["class"]), (&"cancelled".into(), &"cancelled".into()), "{ended:#}");
    assert_eq!(ended["attempts"][0]["state"], "cancelled");
    let generations = world.client.get(&format!("{CLUSTERS}/web/generations")).await?.json();
    assert_eq!(generations["items"].as_array().unwrap().len(), 1, "what it left is sealed: {generations:#}");
    let again = world.client.post(&format!("{operation}/retry"), &json!({})).await?.expect(202)?;
    let retried = world.client.ended(again.header("location")).await?;
    assert_eq!(retried["state"], "succeeded", "rke goes on from what is there: {retried:#}");
    assert_eq!(format!("/v1/operations/{}", retried["retry_of"].as_str().unwrap()), operation);
    world.finish().await
}

#[tokio::test]
async fn a_cancel_reaches_an_agent_that_was_away_when_it_was_asked() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let operation = accepted.header("location").to_owned();
    let passage = gate.reached().await?;
    world.agent.process.kill().await?;
    world.client.post(&format!("{operation}/cancel"), &json!({})).await?.expect(202)?;
    world.agent.restart()?;
    assert_eq!(world.client.ended(&operation).await?["state"], "cancelled");
    drop(passage);
    world.finish().await
}

#[tokio::test]
async fn what_fails_in_passing_is_tried_again_by_itself_and_shows_its_attempts() -> anyhow::Result<()> {
    let mut world = World::persistent(programs!()).await?;
    let after = After::from("Building Kubernetes cluster");
    let flap = Kind::Crash { after, signal: KillSignal::default() };
    world.rke.fault(Fault::new(flap).times(1))?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!((&operation["state"], &operation["failure"]), (&"succeeded".into(), &Value::Null), "{operation:#}");
    let attempts = operation["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0]["failure"]["class"], "interrupted");
    assert_eq!(attempts[1]["output_offset"], attempts[0]["output_bytes"]);
    world.finish().await
}

#[tokio::test]
async fn attempts_are_bounded() -> anyhow::Result<()> {
    let world = World::persistent(programs!()).await?;
    world.rke.host("192.0.2.11").unreachable(HostFault::NoRoute)?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!((&operation["state"], &operation["failure"]["class"]), (&"failed".into(), &"unreachable".into()));
    assert_eq!(operation["attempts"].as_array().unwrap().len(), 3, "{operation:#}");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_43_a_run_whose_agent_is_lost_stays_locked_until_an_admin_forces_it() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let operation = accepted.header("location").to_owned();
    let passage = gate.reached().await?;
    let unlock = format!("{CLUSTERS}/web/force-unlock");
    let alive = world.client.post(&unlock, &json!({"reason": "test"})).await?.expect(409)?.json();
    assert_eq!(alive["type"], "/problems/agent-connected", "{alive:#}");
    world.agent.process.kill().await?;
    world.controller.process.line("lease ran out").await?;
    let lost = state(&world, &operation).await?;
    assert_eq!((&lost["state"], &lost["attempts"][0]["state"]), (&"running".into(), &"unknown".into()), "{lost:#}");
    let busy = world.client.delete(&format!("{CLUSTERS}/web?reason=test")).await?.expect(409)?.json();
    assert_eq!(busy["type"], "/problems/cluster-busy");
    world.client.post(&unlock, &json!({"reason": "the host burnt down"})).await?.expect(202)?;
    let forced = state(&world, &operation).await?;
    assert_eq!((&forced["state"], &forced["attempts"][0]["state"]), (&"failed".into(), &"fenced".into()));
    // It did not burn down after all: what it holds is evidence, and its rke is ended.
    world.agent.restart()?;
    world.agent.process.line("the controller settled this run without us").await?;
    let removal = world.client.delete(&format!("{CLUSTERS}/web?reason=test")).await?.expect(202)?;
    let removed = world.client.ended(removal.header("location")).await?;
    drop(passage);
    assert_eq!(state(&world, &operation).await?["state"], "failed", "nothing of it was applied");
    assert!(["succeeded", "failed"].contains(&removed["state"].as_str().unwrap()), "{removed:#}");
    world.finish().await
}

#[tokio::test]
async fn a_drained_agent_finishes_what_it_runs_and_takes_nothing_new() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let first = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    let agent = agent(&world).await?;
    let draining = world.client.post(&format!("{agent}/drain"), &json!({"reason": "upgrade"})).await?.expect(200)?;
    assert_eq!((&draining.json()["state"], &draining.json()["drained"]), (&"draining".into(), &false.into()));
    let second = world.client.post(CLUSTERS, &specs::single("db", "192.0.2.12")).await?.expect(202)?;
    drop(passage);
    assert_eq!(world.client.ended(first.header("location")).await?["state"], "succeeded");
    assert_eq!(world.client.get(&agent).await?.json()["drained"], true);
    let waits = state(&world, second.header("location")).await?;
    assert_eq!(waits["state"], "queued", "{waits:#}");
    world.client.post(&format!("{agent}/uncordon"), &json!({})).await?.expect(200)?;
    assert_eq!(world.client.ended(second.header("location")).await?["state"], "succeeded");
    world.finish().await
}

#[tokio::test]
async fn an_agent_that_is_gone_is_forgotten_and_its_volume_goes_on_elsewhere() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await?;
    let agent = agent(&world).await?;
    let here = world.client.post(&format!("{agent}/forget"), &json!({"reason": "x"})).await?.expect(409)?.json();
    assert_eq!(here["type"], "/problems/agent-connected");
    world.agent.process.stop().await?;
    world.client.post(&format!("{agent}/forget"), &json!({"reason": "terminated"})).await?.expect(200)?;
    let volume = world.agent.volume().to_owned();
    let mut heir = world.another_agent("bastion-2", &volume).await?;
    let removal = world.client.delete(&format!("{CLUSTERS}/web?reason=test")).await?.expect(202)?;
    let removed = world.client.ended(removal.header("location")).await?;
    assert_eq!(removed["state"], "succeeded", "{removed:#}");
    heir.process.stop().await?;
    world.controller.process.stop().await
}
