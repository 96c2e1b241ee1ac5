//! `kill -9` of controller and agent while something runs: nothing accepted is lost, nothing runs twice.

use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;

const CLUSTERS: &str = "/v1/environments/prod/clusters";

fn ups(world: &World) -> anyhow::Result<usize> {
    Ok(world.rke.runs()?.iter().filter(|run| run.command == "up").count())
}

#[tokio::test]
async fn hostile_row_63_a_killed_agent_finds_its_run_again_and_nothing_of_the_output_is_missing() -> anyhow::Result<()>
{
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    world.agent.process.kill().await?;
    world.agent.restart()?;
    world.agent.process.line("in session with the controller").await?;
    drop(passage);
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(operation["attempts"].as_array().unwrap().len(), 1, "the same run went on");
    assert_eq!(ups(&world)?, 1);
    let output = world.client.get(&format!("{}/output", accepted.header("location"))).await?.expect(200)?.text();
    assert_eq!(output.matches("Building Kubernetes cluster\"").count(), 1, "{output}");
    assert!(output.contains("Finished building Kubernetes cluster successfully"));
    world.finish().await
}

#[tokio::test]
async fn a_run_that_ends_while_the_agent_is_dead_is_reported_by_the_next() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    world.agent.process.kill().await?;
    drop(passage);
    world.agent.restart()?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(ups(&world)?, 1);
    world.finish().await
}

#[tokio::test]
async fn hostile_row_45_a_killed_controller_loses_nothing_that_it_accepted() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let first = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    let second = world.client.post(CLUSTERS, &specs::single("web2", "192.0.2.12")).await?.expect(202)?;
    world.controller.process.kill().await?;
    world.controller.restart().await?;
    drop(passage);
    for accepted in [first, second] {
        let operation = world.client.ended(accepted.header("location")).await?;
        assert_eq!(operation["state"], "succeeded", "{operation:#}");
    }
    assert_eq!(ups(&world)?, 2);
    world.finish().await
}

#[tokio::test]
async fn a_run_goes_on_while_the_link_is_cut_and_is_reported_after() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    world.link.cut();
    drop(passage);
    let dead = world.controller.process.line("session ended").await;
    world.link.mend();
    dead?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(operation["attempts"].as_array().unwrap().len(), 1);
    world.finish().await
}

#[tokio::test]
async fn hostile_row_64_a_killed_rke_is_interrupted_and_never_a_success() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    let pid = world.rke.runs()?.iter().rfind(|run| run.command == "up").map(|run| run.pid);
    let pid = rustix::process::Pid::from_raw(pid.unwrap().try_into()?).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    drop(passage);
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["failure"]["class"], "interrupted", "{operation:#}");
    assert_eq!(operation["failure"]["retryable"], true);
    world.finish().await
}
