//! `kill -9` at every durable step of the agent, of the supervisor and of the controller, one after the
//! other: after each the killed one is started again, and the operation ends as it must.
#![allow(clippy::print_stdout, reason = "figures, for those who ask for them with --nocapture")]

use cratekube_common::runtime::fault::{PLAN, SUPERVISOR_PLAN, TRACE};
use cratekube_tests::house::aftermath::{CLUSTERS, End};
use cratekube_tests::house::rest::{Answer, Ask};
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use http::Method;

/// Provisions a cluster with an agent that dies at the n-th step in the cluster's folder.
async fn agent_killed_at(world: &mut World, n: usize) -> anyhow::Result<End> {
    let (name, plan) = (format!("c{n}"), format!("kill@{n}:*:/prod/c{n}"));
    world.agent.process.kill().await?;
    world.agent.restart_with(&[(PLAN, &plan), (SUPERVISOR_PLAN, "")])?;
    let accepted = world.client.post(CLUSTERS, &specs::nth(&name, n)).await?.expect(202)?;
    world.agent.process.ended().await?;
    world.agent.restart()?;
    let operation = world.client.ended(accepted.header("location")).await?;
    world.aftermath(&name, &operation).await
}

/// How many durable steps an agent takes in a cluster's folder for its first run and the report.
async fn agent_steps(world: &mut World) -> anyhow::Result<usize> {
    // The first cluster of an environment takes steps of its own.
    let first = world.client.post(CLUSTERS, &specs::nth("first", 499)).await?.expect(202)?;
    assert_eq!(world.client.ended(first.header("location")).await?["state"], "succeeded");
    let trace = world.path().join("trace");
    world.agent.process.kill().await?;
    world.agent.restart_with(&[(TRACE, &trace.to_string_lossy())])?;
    let agent = format!("{} ", world.agent.process.pid().unwrap_or_default());
    let accepted = world.client.post(CLUSTERS, &specs::nth("counted", 0)).await?.expect(202)?;
    assert_eq!(world.client.ended(accepted.header("location")).await?["state"], "succeeded");
    // A clean end: what was under way is seen through.
    world.agent.process.stop().await?;
    world.agent.restart()?;
    let steps = std::fs::read_to_string(trace)?;
    Ok(steps.lines().filter(|line| line.starts_with(&agent) && line.contains("/prod/counted")).count())
}

async fn agent_killed_at_each(half: usize) -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let steps = agent_steps(&mut world).await?;
    assert!(steps > 20, "{steps}");
    let mut interrupted = Vec::new();
    for n in (1..=steps).filter(|n| n % 2 == half) {
        match agent_killed_at(&mut world, n).await {
            Ok(End::Succeeded) => {}
            // Between run.json and the supervisor: nothing was started.
            Ok(End::Interrupted) if world.ups(&format!("c{n}"))? == 0 => interrupted.push(n),
            other => anyhow::bail!("killed at step {n} of {steps}: {other:?}"),
        }
    }
    println!("the agent was killed at every second of {steps} steps; never started: {interrupted:?}");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_63_an_agent_killed_at_any_odd_durable_step_loses_and_doubles_nothing() -> anyhow::Result<()> {
    agent_killed_at_each(1).await
}

#[tokio::test]
async fn hostile_row_63_an_agent_killed_at_any_even_durable_step_loses_and_doubles_nothing() -> anyhow::Result<()> {
    agent_killed_at_each(0).await
}

#[tokio::test]
async fn hostile_row_63_a_supervisor_killed_at_any_step_leaves_an_interrupted_run_and_a_free_cluster()
-> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let mut plans: Vec<String> = (1..=6).map(|n| format!("kill@{n}:*:supervisor.json")).collect();
    plans.push("kill@1:point:supervise.started".into());
    plans.extend((1..=3).map(|n| format!("kill@{n}:*:output.log")));
    plans.extend((1..=5).map(|n| format!("kill@{n}:*:exit.json")));
    let mut survived = 0;
    for (n, plan) in plans.iter().enumerate() {
        let name = format!("c{n}");
        world.agent.process.kill().await?;
        world.agent.restart_with(&[(PLAN, ""), (SUPERVISOR_PLAN, plan)])?;
        let accepted = world.client.post(CLUSTERS, &specs::nth(&name, n)).await?.expect(202)?;
        let operation = world.client.ended(accepted.header("location")).await?;
        world.aftermath(&name, &operation).await.map_err(|e| e.context(plan.clone()))?;
        world.agent.process.kill().await?;
        world.agent.restart()?;
        let removal = world.client.delete(&format!("{CLUSTERS}/{name}?reason=test")).await?.expect(202)?;
        let removal = world.client.ended(removal.header("location")).await?;
        assert_ne!(removal["state"], "queued", "{plan}: the cluster is not locked: {removal:#}");
        survived += 1;
    }
    println!("the supervisor was killed at {survived} steps");
    world.finish().await
}

/// A house whose controller dies once, wherever that is, and is started again by whoever notices.
struct Mortal<'a> {
    world: &'a mut World,
    deaths: usize,
}

impl<'a> Mortal<'a> {
    /// The controller from now on under a plan.
    async fn doomed(world: &'a mut World, plan: &str) -> anyhow::Result<Self> {
        world.agent.process.kill().await?;
        world.controller.process.kill().await?;
        let mut mortal = Mortal { world, deaths: 0 };
        if mortal.world.controller.restart_with(&[(PLAN, plan)]).await.is_err() {
            mortal.revive().await?;
        }
        mortal.world.agent.restart()?;
        Ok(mortal)
    }

    async fn revive(&mut self) -> anyhow::Result<()> {
        self.deaths += 1;
        self.world.controller.process.ended().await?;
        self.world.controller.restart().await
    }

    /// The answer of a living controller: one that died over it is asked again.
    async fn send(&mut self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        if let Ok(answer) = self.world.client.send(ask.clone()).await {
            return Ok(answer);
        }
        self.revive().await?;
        self.world.client.send(ask).await
    }

    /// The ended operation, of whichever controller answers.
    async fn ended(&mut self, operation: &str) -> anyhow::Result<serde_json::Value> {
        if let Ok(ended) = self.world.client.ended(operation).await {
            return Ok(ended);
        }
        self.revive().await?;
        self.world.client.ended(operation).await
    }

    /// Whether it died.
    fn died(&self) -> bool {
        assert!(self.deaths <= 1, "it died once at most");
        self.deaths == 1
    }
}

fn provision<'a>(body: &serde_json::Value, name: &str) -> Ask<'a> {
    Ask::new(Method::POST, CLUSTERS).json(body).header("idempotency-key", name)
}

/// Provisions a cluster while the controller dies at a point; says whether it did.
async fn controller_killed_at(world: &mut World, n: usize, plan: &str) -> anyhow::Result<bool> {
    let name = format!("c{n}");
    let mut mortal = Mortal::doomed(world, plan).await?;
    let accepted = mortal.send(provision(&specs::nth(&name, n), &name)).await?.expect(202)?;
    let ended = mortal.ended(accepted.header("location")).await?;
    let died = mortal.died();
    assert_eq!(world.aftermath(&name, &ended).await?, End::Succeeded);
    Ok(died)
}

/// Kills the controller at the first, second, … time that it comes to a point, until a whole run is too
/// short for it.
async fn controller_killed_at_each(point: &str, least: usize) -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let mut survived = 0;
    for n in 1..=40 {
        let plan = format!("kill@{n}:point:{point}");
        let died = controller_killed_at(&mut world, n, &plan).await.map_err(|e| e.context(plan))?;
        if !died {
            break;
        }
        survived = n;
    }
    assert!(survived >= least, "{point} was come to {survived} times");
    println!("the controller was killed at {survived} of {point}");
    // Without a plan: what is left of the last one is not to strike while everything stops.
    world.controller.process.kill().await?;
    world.controller.restart().await?;
    world.finish().await
}

#[tokio::test]
async fn hostile_row_45_a_controller_killed_before_any_commit_loses_nothing_that_it_accepted() -> anyhow::Result<()> {
    controller_killed_at_each("store.commit.before", 5).await
}

#[tokio::test]
async fn hostile_row_45_a_controller_killed_after_any_commit_and_before_its_answer_doubles_nothing()
-> anyhow::Result<()> {
    controller_killed_at_each("store.commit.after", 5).await
}

#[tokio::test]
async fn hostile_row_45_a_controller_killed_while_it_grants_a_lease_or_stores_output_goes_on() -> anyhow::Result<()> {
    controller_killed_at_each("lease.granted", 1).await?;
    controller_killed_at_each("output.stored", 1).await
}

/// Every step of a removal is done, by one attempt of it that ran.
fn is_removed_once(operation: &serde_json::Value) -> bool {
    let tasks = operation["tasks"].as_array().into_iter().flatten();
    let kinds: Vec<&str> =
        tasks.filter(|task| task["state"] == "succeeded").filter_map(|t| t["kind"].as_str()).collect();
    let attempts: Vec<_> = operation["attempts"].as_array().into_iter().flatten().collect();
    let ran = |kind: &&str| attempts.iter().filter(|a| a["task"] == **kind && a["state"] == "exited").count() == 1;
    operation["state"] == "succeeded" && kinds.len() == 8 && kinds.iter().all(ran)
}

/// Removes a cluster in all its steps while the controller dies at a point; says whether it did.
async fn controller_killed_in_removal(world: &mut World, n: usize, plan: &str) -> anyhow::Result<bool> {
    let name = format!("c{n}");
    let built = world.client.send(provision(&specs::nth(&name, n), &name)).await?.expect(202)?;
    assert_eq!(world.client.ended(built.header("location")).await?["state"], "succeeded");
    let mut mortal = Mortal::doomed(world, plan).await?;
    let path = format!("{CLUSTERS}/{name}?reason=story&hosts_terminated=true");
    let remove = Ask::new(Method::DELETE, &path).header("idempotency-key", &format!("{name}-gone"));
    let accepted = mortal.send(remove).await?.expect(202)?;
    let location = accepted.header("location").to_owned();
    let ended = mortal.ended(&location).await?;
    assert!(is_removed_once(&ended), "{ended:#}");
    let residue = format!("{location}/residue");
    let report = mortal.send(Ask::new(Method::GET, &residue)).await?.expect(200)?.json();
    assert_eq!(report["report"]["verdict"], "unverified", "nobody looked at a cloud: {report:#}");
    let died = mortal.died();
    // The one without a plan, for what comes next.
    world.controller.process.kill().await?;
    world.controller.restart().await?;
    Ok(died)
}

/// Kills the controller at the first, second, … time that a removal comes to a point, until a whole removal is
/// too short for it.
async fn removal_killed_at_each(point: &str, least: usize) -> anyhow::Result<()> {
    let mut world = World::whole(programs!()).await?;
    let mut survived = 0;
    for n in 1..200 {
        let plan = format!("kill@{n}:point:{point}");
        if !controller_killed_in_removal(&mut world, n, &plan).await.map_err(|e| e.context(plan))? {
            break;
        }
        survived = n;
    }
    assert!(survived >= least, "{point} was come to {survived} times");
    println!("the controller was killed at {survived} of {point} in a removal");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_45_a_controller_killed_before_any_commit_of_a_removal_goes_on_with_it() -> anyhow::Result<()> {
    removal_killed_at_each("store.commit.before", 30).await
}

#[tokio::test]
async fn hostile_row_45_a_controller_killed_after_any_commit_of_a_removal_goes_on_with_it() -> anyhow::Result<()> {
    removal_killed_at_each("store.commit.after", 30).await
}
