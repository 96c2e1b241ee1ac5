//! From the `202` to the first instruction of `rke`.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::Samples;
use crate::house::rest::Ask;
use crate::house::{Programs, World, specs};
use crate::rehearsal::clock::now_ns;
use crate::rehearsal::fault::{Fault, Kind};

const CLUSTERS: &str = "/v1/environments/bench/clusters";
const RUNS: usize = 300;

pub(super) async fn run(programs: &Programs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut world = World::quiet(programs.clone()).await?;
    world.rke.fault(Fault::new(Kind::ExitCode { code: 1, after: None }).on("up"))?;
    let mut connection = world.client.connect().await?;
    let mut accepted_ns = Vec::new();
    for i in 0..RUNS {
        let body = specs::single(&format!("c{i}"), "192.0.2.11");
        let accepted = connection.send(Ask::new(http::Method::POST, CLUSTERS).json(&body)).await?.expect(202)?;
        accepted_ns.push(now_ns());
        world.client.ended(accepted.header("location")).await?;
    }
    let mut samples = Samples::default();
    let runs = world.rke.runs()?;
    for (run, accepted) in runs.iter().filter(|run| run.command == "up").zip(&accepted_ns) {
        let waited = u128::from(run.start_ns).saturating_sub(*accepted);
        samples.add(Duration::from_nanos(u64::try_from(waited)?));
    }
    let mut spawns = Samples::default();
    for _ in 0..RUNS {
        let begun = Instant::now();
        Command::new(world.rke.program()).arg("--version").stdout(Stdio::null()).status()?;
        spawns.add(begun.elapsed());
    }
    writeln!(out, "accepted → first instruction of rke    {samples}   target p50 2, p99 5")?;
    writeln!(out, "  beside: spawn rke --version to exit  {spawns}")?;
    world.finish().await
}
