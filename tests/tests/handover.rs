//! Agents that stand still, are upgraded, go down with their host, or hand their volume on.

use cratekube_agent::config::AgentConfig;
use cratekube_agent::doctor::{self, Level};
use cratekube_agent::run::journal::ProcessId;
use cratekube_agent::run::process;
use cratekube_common::runtime::clock::{self, Clock, ManualClock};
use cratekube_tests::house::aftermath::{CLUSTERS, End};
use cratekube_tests::house::gate::Passage;
use cratekube_tests::house::{Programs, Setup, World, specs};
use cratekube_tests::programs;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A cluster whose `rke` waits in the middle of its run; where the operation is.
async fn in_mid_run(world: &mut World) -> anyhow::Result<(String, Passage)> {
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::nth("web", 1)).await?.expect(202)?;
    Ok((accepted.header("location").to_owned(), gate.reached().await?))
}

/// Waits until the operation is seen to run: what its output says is told in order after its start.
async fn seen_running(world: &World, location: &str) -> anyhow::Result<()> {
    let mut events = world.client.events(&format!("{location}/output?follow=true"), None).await?;
    while let Some(event) = events.next().await? {
        if event.event == "output" {
            return Ok(());
        }
    }
    anyhow::bail!("the operation ended before it was seen to run")
}

fn attempts(operation: &Value) -> usize {
    operation["attempts"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn hostile_row_43_an_agent_that_stands_still_for_longer_than_its_lease_is_unknown_and_then_goes_on()
-> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let (location, passage) = in_mid_run(&mut world).await?;
    seen_running(&world, &location).await?;
    world.agent.process.signal(Signal::STOP)?;
    world.controller.process.line("lease ran out").await?;
    let lost = world.client.get(&location).await?.expect(200)?.json();
    assert_eq!((&lost["state"], &lost["attempts"][0]["state"]), (&json!("running"), &json!("unknown")), "{lost:#}");
    assert_eq!(lost["failure"], Value::Null, "lost is not failed");
    let busy = world.client.delete(&format!("{CLUSTERS}/web?reason=test")).await?;
    assert_eq!(busy.status, 409, "the cluster stays locked: {}", busy.text());
    drop(passage);
    world.agent.process.signal(Signal::CONT)?;
    let operation = world.client.ended(&location).await?;
    assert_eq!((world.aftermath("web", &operation).await?, attempts(&operation)), (End::Succeeded, 1));
    world.finish().await
}

#[tokio::test]
async fn hostile_row_63_an_agent_that_is_upgraded_in_mid_run_goes_on_with_the_same_run() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let program = place.path().join("cratekube-agent");
    let released: Programs = programs!();
    std::fs::copy(&released.agent, &program)?;
    let mut world = World::start(Programs { agent: program.clone(), ..released.clone() }).await?;
    let (location, passage) = in_mid_run(&mut world).await?;
    seen_running(&world, &location).await?;
    let next = place.path().join("next");
    std::fs::copy(&released.agent, &next)?;
    std::fs::rename(&next, &program)?;
    world.agent.process.stop().await?;
    world.agent.restart()?;
    world.agent.process.line("in session with the controller").await?;
    let supervisor = world.supervised("web")?.supervisor;
    let runs = std::fs::read_link(format!("/proc/{}/exe", supervisor.pid))?;
    assert!(runs.to_string_lossy().ends_with("(deleted)"), "the run is still supervised by the old: {runs:?}");
    drop(passage);
    let operation = world.client.ended(&location).await?;
    assert_eq!((world.aftermath("web", &operation).await?, attempts(&operation)), (End::Succeeded, 1));
    world.finish().await
}

/// Makes a run's journal say that it belongs to another boot.
fn rebooted(world: &World) -> anyhow::Result<()> {
    let dir = world.journal("web")?.dir().to_owned();
    for file in ["run.json", "supervisor.json"] {
        let mut document: Value = serde_json::from_slice(&std::fs::read(dir.join(file))?)?;
        document["boot_id"] = json!("another boot");
        std::fs::write(dir.join(file), document.to_string())?;
    }
    Ok(())
}

#[tokio::test]
async fn hostile_row_64_a_run_that_went_down_with_its_host_is_interrupted_and_never_a_success() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let (location, passage) = in_mid_run(&mut world).await?;
    world.host_lost("web").await?;
    rebooted(&world)?;
    drop(passage);
    world.agent.restart()?;
    let operation = world.client.ended(&location).await?;
    assert_eq!(world.aftermath("web", &operation).await?, End::Interrupted);
    let message = operation["failure"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("bastion went down") && operation["failure"]["retryable"] == true, "{operation:#}");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_65_a_process_that_got_the_number_of_a_dead_one_is_neither_adopted_nor_ended() -> anyhow::Result<()>
{
    let mut world = World::start(programs!()).await?;
    let (location, passage) = in_mid_run(&mut world).await?;
    world.host_lost("web").await?;
    let mut bystander = tokio::process::Command::new("/bin/cat");
    let mut bystander = bystander.stdin(std::process::Stdio::piped()).process_group(0).kill_on_drop(true).spawn()?;
    let pid = i32::try_from(bystander.id().unwrap_or_default())?;
    let mut said = world.supervised("web")?;
    let reused = |dead: ProcessId| ProcessId { pid, ..dead };
    (said.supervisor, said.rke) = (reused(said.supervisor), said.rke.map(reused));
    world.journal("web")?.write_supervisor(&said)?;
    drop(passage);
    world.agent.restart()?;
    let operation = world.client.ended(&location).await?;
    assert_eq!(world.aftermath("web", &operation).await?, End::Interrupted);
    assert!(process::identify(pid).is_ok(), "the bystander lives");
    drop(bystander.stdin.take());
    assert!(bystander.wait().await?.success());
    world.finish().await
}

#[tokio::test]
async fn hostile_row_54_a_volume_goes_to_another_agent_in_mid_run_and_operations_go_on_there() -> anyhow::Result<()> {
    let mut world = World::persistent(programs!()).await?;
    let (location, passage) = in_mid_run(&mut world).await?;
    world.host_lost("web").await?;
    rebooted(&world)?;
    drop(passage);
    let volume = world.agent.volume().to_owned();
    let second = world.another_agent("bastion-2", &volume).await?;
    let mut first = std::mem::replace(&mut world.agent, second);
    let operation = world.client.ended(&location).await?;
    assert_eq!(world.aftermath("web", &operation).await?, End::Interrupted, "and not run again by itself");
    assert_eq!(attempts(&operation), 1, "{operation:#}");
    let retried = world.client.post(&format!("{location}/retry"), &json!({})).await?;
    assert!(retried.status.is_success(), "{}", retried.text());
    let again = if retried.header("location").is_empty() { location } else { retried.header("location").to_owned() };
    let operation = world.client.ended(&again).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    // The first one comes back and finds its volume served.
    first.restart()?;
    assert!(!first.process.ended().await?.success());
    assert!(first.process.printed().iter().any(|line| line.contains("served by")), "{:?}", first.process.printed());
    world.finish().await
}

#[tokio::test]
async fn hostile_row_67_a_run_that_falls_silent_is_ended_while_no_agent_is_there() -> anyhow::Result<()> {
    let rke_settings = "silence_timeout = \"700ms\"\nstop_grace = \"200ms\"";
    let mut world = World::with(programs!(), Setup { rke_settings, ..Setup::default() }).await?;
    let (location, passage) = in_mid_run(&mut world).await?;
    world.agent.process.kill().await?;
    world.gone(world.supervised("web")?.supervisor).await?;
    world.agent.restart()?;
    let operation = world.client.ended(&location).await?;
    let failure = &operation["failure"];
    assert_eq!(failure["class"], "timeout", "{operation:#}");
    assert_eq!(failure["message"], "ended after 700 ms without a word of rke, in phase `connecting`");
    assert!(failure["remedy"].as_str().is_some_and(|remedy| remedy.contains("rke.silence_timeout")), "{failure:#}");
    drop(passage);
    world.finish().await
}

#[tokio::test]
async fn hostile_row_51_a_cancel_that_races_the_end_leaves_one_outcome_and_one_that_comes_first_starts_nothing()
-> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    for n in 1..=6 {
        let name = format!("c{n}");
        let gate = world.gate("Finished building Kubernetes cluster")?;
        let accepted = world.client.post(CLUSTERS, &specs::nth(&name, n)).await?.expect(202)?;
        let location = accepted.header("location").to_owned();
        drop(gate.reached().await?);
        let asked = world.client.post(&format!("{location}/cancel"), &json!({})).await?;
        let operation = world.client.ended(&location).await?;
        let state = operation["state"].as_str().unwrap_or_default();
        assert!(matches!(state, "succeeded" | "cancelled"), "{} {operation:#}", asked.text());
        assert_eq!((world.ups(&name)?, attempts(&operation)), (1, 1), "{operation:#}");
        let again = world.client.get(&location).await?.json();
        assert_eq!(again["state"], state, "it stays what it is");
    }
    world.agent.process.stop().await?;
    let accepted = world.client.post(CLUSTERS, &specs::nth("never", 9)).await?.expect(202)?;
    world.client.post(&format!("{}/cancel", accepted.header("location")), &json!({})).await?;
    world.agent.restart()?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!((operation["state"].as_str(), world.ups("never")?), (Some("cancelled"), 0), "{operation:#}");
    world.agent.process.line("in session with the controller").await?;
    world.finish().await
}

#[tokio::test]
async fn hostile_row_37_the_doctor_says_both_times_when_the_clocks_are_ten_minutes_apart() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let (config, _) = AgentConfig::load(Some(world.agent.config()), std::iter::empty())?;
    let now = clock::system().now().as_millis();
    for ahead_ms in [600_000, -600_000] {
        let there = cratekube_common::domain::time::Timestamp::from_millis(now + ahead_ms);
        let skewed: Clock = ManualClock::at(there);
        let checks = doctor::controller::check(&config, &skewed).await;
        let clock = checks.iter().find(|check| check.subject == "clock");
        let clock = clock.ok_or_else(|| anyhow::anyhow!("the clock was not looked at: {checks:?}"))?;
        assert_eq!(clock.level, Level::Warn, "{clock:?}");
        assert!(clock.finding.contains(&there.to_string()) && clock.finding.contains("the controller"), "{clock:?}");
    }
    world.finish().await
}
