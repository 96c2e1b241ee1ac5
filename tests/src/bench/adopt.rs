//! From the restart of a killed agent until it has its run again.

use std::io::Write;
use std::process::{Command, Stdio};

use tokio::time::Instant;

use super::Samples;
use crate::house::{Programs, World, specs};

const CLUSTERS: &str = "/v1/environments/bench/clusters";
const RESTARTS: usize = 30;

pub(super) async fn run(programs: &Programs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut world = World::quiet(programs.clone()).await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::single("adopted", "192.0.2.11")).await?.expect(202)?;
    let passage = gate.reached().await?;
    let (mut adopted, mut told, mut starts) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..RESTARTS {
        world.agent.process.kill().await?;
        let begun = Instant::now();
        world.agent.restart()?;
        world.agent.process.line("found a run of an earlier agent").await?;
        adopted.add(begun.elapsed());
        world.agent.process.line("in session with the controller").await?;
        told.add(begun.elapsed());
        let begun = Instant::now();
        Command::new(world.agent.program()).arg("--help").stdout(Stdio::null()).status()?;
        starts.add(begun.elapsed());
    }
    drop(passage);
    let operation = world.client.ended(accepted.header("location")).await?;
    anyhow::ensure!(operation["state"] == "succeeded", "the run did not go on: {operation:#}");
    writeln!(out, "agent restarted → run adopted          {adopted}   target 1000")?;
    writeln!(out, "  and told to the controller           {told}")?;
    writeln!(out, "  beside: agent --help to exit         {starts}")?;
    world.finish().await
}
