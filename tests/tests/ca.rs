//! Row 39 through real processes: the root of the CA is rotated while a run is under way.

#![allow(clippy::print_stdout, reason = "figures, for those who ask for them with --nocapture")]

use std::sync::Arc;

use anyhow::Context as _;
use cratekube_agent::identity::Identity;
use cratekube_agent::identity::files::IdentityFiles;
use cratekube_agent::link::channel::Connector;
use cratekube_agent::link::dial::Tcp;
use cratekube_agent::link::tls;
use cratekube_common::runtime::clock;
use cratekube_common::runtime::fault::PLAN;
use cratekube_common::runtime::tls::certificates;
use cratekube_tests::house::process::PATIENCE;
use cratekube_tests::house::rest::{Answer, Client};
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use serde_json::{Value, json};

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const CA: &str = "/v1/admin/ca";

/// A house whose CA is rotated while a run waits at a gate.
struct Rotated {
    world: World,
    /// `ca.pem` from before.
    old_ca: String,
    /// The agent's identity from before.
    old_identity: Identity,
}

impl Rotated {
    async fn start() -> anyhow::Result<Self> {
        let world = World::start(programs!()).await?;
        let old_ca = std::fs::read_to_string(world.controller.data().join("ca.pem"))?;
        let old_identity = IdentityFiles::at(&world.path().join("agent-state")).load()?.current;
        Ok(Self { world, old_ca, old_identity })
    }

    /// A client that trusts what is to be trusted now.
    async fn trust_anew(&mut self) -> anyhow::Result<()> {
        self.world.client = self.world.controller.client("tester", &["operator:*", "admin:*"]).await?;
        Ok(())
    }

    async fn ask(&self, step: &str, leave_behind: bool) -> anyhow::Result<Answer> {
        let mut body = json!({"reason": "story"});
        if leave_behind {
            body["leave_behind"] = json!(true);
        }
        self.world.client.post(&format!("{CA}/{step}"), &body).await
    }

    /// Takes a step that is expected to be taken.
    async fn step(&mut self, step: &str, leave_behind: bool) -> anyhow::Result<Value> {
        let taken = self.ask(step, leave_behind).await?.expect(200)?.json();
        self.trust_anew().await?;
        Ok(taken)
    }

    async fn ca(&self) -> anyhow::Result<Value> {
        Ok(self.world.client.get(CA).await?.expect(200)?.json())
    }

    /// Waits until every agent has the certificate that it would get now.
    async fn until_taken_over(&self) -> anyhow::Result<()> {
        let taken_over = async {
            loop {
                let ca = self.ca().await?;
                if ca["behind"].as_array().is_none_or(Vec::is_empty) {
                    return anyhow::Ok(());
                }
            }
        };
        tokio::time::timeout(PATIENCE, taken_over).await.context("an agent stays behind")?
    }

    /// A new session under whatever is in force now.
    async fn agent_comes_again(&mut self) -> anyhow::Result<()> {
        self.world.agent.process.kill().await?;
        self.world.agent.restart()?;
        self.world.agent.process.line("in session with the controller").await.map(|_| ())
    }

    /// Whether an agent's identity is let in, whatever it trusts itself.
    async fn is_let_in(&self, identity: &Identity) -> anyhow::Result<bool> {
        let ca = std::fs::read(self.world.controller.data().join("ca.pem"))?;
        let identity = Identity { trust: certificates(&ca).map_err(anyhow::Error::msg)?, ..identity.clone() };
        let address = format!("localhost:{}", self.world.controller.agents.port());
        let connector = Connector::new(Arc::new(Tcp), address.parse().map_err(anyhow::Error::msg)?);
        Ok(match connector.connect(tls::enrolled(&identity, &clock::system())?).await {
            Ok(connection) => connection.accepted().await.is_ok(),
            Err(error) if error.is_refusal() => false,
            Err(error) => return Err(error.into()),
        })
    }

    /// Whether the controller is trusted by who trusts this.
    async fn is_trusted_by(&self, ca: &str) -> anyhow::Result<bool> {
        let client = Client::new(self.world.controller.rest, ca, None)?;
        Ok(client.get("/healthz").await.is_ok())
    }

    fn identity(&self) -> anyhow::Result<Identity> {
        Ok(IdentityFiles::at(&self.world.path().join("agent-state")).load()?.current)
    }
}

/// The operation succeeded by the one run that it began with.
async fn ends_by_one_run(rotated: &Rotated, location: &str) -> anyhow::Result<()> {
    let operation = rotated.world.client.ended(location).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(operation["attempts"].as_array().map(Vec::len), Some(1), "the same run");
    assert_eq!(rotated.world.ups("web")?, 1);
    Ok(())
}

#[tokio::test]
async fn hostile_row_39_a_rotation_does_not_touch_a_run_and_the_old_ca_is_refused_after_it() -> anyhow::Result<()> {
    let mut rotated = Rotated::start().await?;
    let gate = rotated.world.gate("Building Kubernetes cluster")?;
    let web = specs::single("web", "192.0.2.11");
    let accepted = rotated.world.client.post(CLUSTERS, &web).await?.expect(202)?;
    let passage = gate.reached().await?;
    let begun = rotated.step("rotate", false).await?;
    assert_eq!(begun["phase"], "introduced", "{begun:#}");
    assert!(rotated.is_trusted_by(&rotated.old_ca).await?, "nobody has to know of it yet");
    rotated.until_taken_over().await?;
    rotated.step("switch", false).await?;
    assert!(!rotated.is_trusted_by(&rotated.old_ca).await?);
    rotated.agent_comes_again().await?;
    rotated.step("finish", false).await?;
    // Nobody trusts the old one any more, not for a day either: the agent is told at once.
    rotated.world.agent.process.line("the agent's certificate is renewed").await?;
    assert_eq!(rotated.identity()?.trust.len(), 1);
    rotated.agent_comes_again().await?;
    let agent = rotated.world.client.get("/v1/admin/agents").await?.expect(200)?.json()["items"][0].clone();
    assert_eq!(agent["certificate"]["generation"], 3, "once for each of the two steps that concern it: {agent:#}");
    assert!(!rotated.is_let_in(&rotated.old_identity).await?, "its certificate has hours to live");
    assert!(rotated.is_let_in(&rotated.identity()?).await?);
    drop(passage);
    ends_by_one_run(&rotated, accepted.header("location")).await?;
    let agents = rotated.world.client.get("/v1/admin/agents").await?.expect(200)?.json();
    assert_eq!(agents["items"].as_array().map(Vec::len), Some(1), "the same agent: {agents:#}");
    rotated.world.finish().await
}

#[tokio::test]
async fn hostile_row_39_an_agent_that_is_away_all_the_time_enrols_again_and_reports_the_run_that_it_held()
-> anyhow::Result<()> {
    let mut rotated = Rotated::start().await?;
    let gate = rotated.world.gate("Building Kubernetes cluster")?;
    let web = specs::single("web", "192.0.2.11");
    let accepted = rotated.world.client.post(CLUSTERS, &web).await?.expect(202)?;
    let passage = gate.reached().await?;
    rotated.world.agent.process.kill().await?;
    rotated.step("rotate", false).await?;
    let refused = rotated.ask("switch", false).await?.expect(409)?.json();
    assert_eq!(
        (&refused["type"], &refused["behind"][0]["name"]),
        (&json!("/problems/agents-behind"), &json!("bastion-1"))
    );
    rotated.step("switch", true).await?;
    rotated.ask("finish", false).await?.expect(409)?;
    rotated.step("finish", true).await?;
    rotated.world.agent.restart()?;
    rotated.world.agent.process.line("of a CA that this agent does not trust").await?;
    rotated.world.agent.process.stop().await?;
    assert!(!rotated.is_let_in(&rotated.old_identity).await?);
    let token = rotated.world.controller.command(&["agent", "join-token", "--agent", "bastion-1"]).await?;
    rotated.world.agent.enroll_again(&token).await?;
    rotated.world.agent.restart()?;
    rotated.world.agent.process.line("in session with the controller").await?;
    drop(passage);
    ends_by_one_run(&rotated, accepted.header("location")).await?;
    rotated.world.finish().await
}

#[tokio::test]
async fn hostile_row_39_rolled_back_midway_everyone_goes_back_and_who_was_away_never_notices() -> anyhow::Result<()> {
    let mut rotated = Rotated::start().await?;
    // This one trusts the old root alone, all the time.
    let mut away = rotated.world.another_agent("bastion-2", &rotated.world.path().join("volume-2")).await?;
    away.process.stop().await?;
    let gate = rotated.world.gate("Building Kubernetes cluster")?;
    let web = specs::single("web", "192.0.2.11");
    let accepted = rotated.world.client.post(CLUSTERS, &web).await?.expect(202)?;
    let passage = gate.reached().await?;
    for switched in [false, true] {
        rotated.step("rotate", false).await?;
        let ahead = async |rotated: &Rotated| {
            let behind = rotated.ca().await?["behind"].as_array().map_or(0, Vec::len);
            anyhow::Ok(behind == 1)
        };
        tokio::time::timeout(PATIENCE, async {
            while !ahead(&rotated).await? {}
            anyhow::Ok(())
        })
        .await??;
        if switched {
            rotated.step("switch", true).await?;
            rotated.agent_comes_again().await?;
        }
        let back = rotated.step("roll-back", false).await?;
        assert_eq!(back["rolled_back"], true, "{back:#}");
        assert!(rotated.is_trusted_by(&rotated.old_ca).await?);
        rotated.until_taken_over().await?;
        rotated.step("finish", false).await?;
        rotated.agent_comes_again().await?;
    }
    away.restart()?;
    away.process.line("in session with the controller").await?;
    away.process.stop().await?;
    assert_eq!(std::fs::read_to_string(rotated.world.controller.data().join("ca.pem"))?, rotated.old_ca);
    drop(passage);
    ends_by_one_run(&rotated, accepted.header("location")).await?;
    rotated.world.finish().await
}

#[tokio::test]
async fn hostile_row_39_a_step_that_meets_a_full_disk_says_so_and_is_repeated() -> anyhow::Result<()> {
    let mut rotated = Rotated::start().await?;
    rotated.step("rotate", false).await?;
    rotated.until_taken_over().await?;
    // The phase is written; what has to follow it is not.
    rotated.world.controller.process.kill().await?;
    rotated.world.controller.restart_with(&[(PLAN, "enospc@1:create:/.ca.pem")]).await?;
    rotated.trust_anew().await?;
    let failed = rotated.ask("switch", false).await?.expect(500)?.json();
    assert_eq!(failed["type"], "/problems/ca-step-unfinished", "{failed:#}");
    assert!(!rotated.is_trusted_by(&rotated.old_ca).await?, "listeners show what agents are told to trust");
    // Which is not in `ca.pem` alone yet, but both were in it before.
    rotated.step("switch", false).await?;
    rotated.agent_comes_again().await?;
    rotated.step("finish", false).await?;
    rotated.agent_comes_again().await?;
    rotated.world.finish().await
}

/// Takes a step while the controller dies at the n-th durable step of it, and repeats it until it is taken. Answers
/// whether it died.
async fn step_killed_at(rotated: &mut Rotated, step: &str, n: usize, done: &str) -> anyhow::Result<bool> {
    let plan = format!("kill@{n}:*:ca.");
    rotated.world.controller.process.kill().await?;
    rotated.world.controller.restart_with(&[(PLAN, &plan)]).await?;
    rotated.trust_anew().await?;
    if matches!(step, "switch" | "finish") {
        // Afresh: one that was turned away so often would wait for long.
        rotated.agent_comes_again().await?;
        rotated.until_taken_over().await?;
    }
    let died = rotated.ask(step, false).await.is_err();
    if died {
        rotated.world.controller.process.ended().await?;
    } else {
        // What is left of the plan is not to strike later.
        rotated.world.controller.process.kill().await?;
    }
    rotated.world.controller.restart().await?;
    if died {
        rotated.trust_anew().await?;
        if rotated.ca().await?["phase"] != done {
            rotated.ask(step, false).await?.expect(200)?;
        }
    }
    rotated.trust_anew().await?;
    let ca = rotated.ca().await?;
    anyhow::ensure!(ca["phase"] == done, "{step} killed at {n}: {ca:#}");
    let mut names = std::fs::read_dir(rotated.world.controller.data())?.map(|entry| Ok(entry?.file_name()));
    let left =
        names.find(|name: &std::io::Result<_>| name.as_ref().is_ok_and(|n| n.to_string_lossy().ends_with(".new")));
    anyhow::ensure!(left.is_none(), "{step} killed at {n} left {left:?}");
    Ok(died)
}

/// Rotates again and again while the controller dies at the first, second, … durable step of each step of it, until
/// none is that long. A run waits at its gate all the time.
async fn rotations_killed_at_each(turn: (&str, &str), least: usize) -> anyhow::Result<()> {
    let mut rotated = Rotated::start().await?;
    let gate = rotated.world.gate("Building Kubernetes cluster")?;
    let web = specs::single("web", "192.0.2.11");
    let accepted = rotated.world.client.post(CLUSTERS, &web).await?.expect(202)?;
    let passage = gate.reached().await?;
    let steps = [("rotate", "introduced"), turn, ("finish", "none")];
    let (mut survived, mut is_long) = (0, [true; 3]);
    for n in 1..100 {
        for ((step, done), is_long) in steps.into_iter().zip(&mut is_long) {
            *is_long = *is_long && step_killed_at(&mut rotated, step, n, done).await?;
            if !*is_long && rotated.ca().await?["phase"] != done {
                rotated.agent_comes_again().await?;
                rotated.until_taken_over().await?;
                rotated.step(step, false).await?;
            }
            survived += usize::from(*is_long);
        }
        if !is_long.contains(&true) {
            break;
        }
    }
    assert!(survived >= least, "{survived}");
    assert!(turn.0 == "roll-back" || !rotated.is_let_in(&rotated.old_identity).await?);
    println!("the controller was killed at {survived} durable steps of rotations of its CA");
    rotated.agent_comes_again().await?;
    drop(passage);
    ends_by_one_run(&rotated, accepted.header("location")).await?;
    rotated.world.finish().await
}

#[tokio::test]
async fn hostile_row_39_a_controller_killed_at_any_durable_step_of_a_rotation_loses_nobody_and_no_run()
-> anyhow::Result<()> {
    rotations_killed_at_each(("switch", "switched"), 28).await
}

#[tokio::test]
async fn hostile_row_39_a_controller_killed_at_any_durable_step_of_a_rotation_that_is_rolled_back_loses_nobody()
-> anyhow::Result<()> {
    rotations_killed_at_each(("roll-back", "switched"), 25).await
}
