//! 200 MB of output until every byte is durable on the controller.

use std::fs::File;
use std::io::Write;

use tokio::time::Instant;

use super::memory;
use crate::house::{Programs, World, specs};
use crate::rehearsal::fault::{Fault, Kind};

const BYTES: u64 = 200 * 1024 * 1024;
const CLUSTERS: &str = "/v1/environments/bench/clusters";

pub(super) async fn run(programs: &Programs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut world = World::quiet(programs.clone()).await?;
    let flood =
        Kind::Flood { bytes: BYTES, line_length: 100, invalid_utf8: false, bytes_per_second: None, after: None };
    world.rke.fault(Fault::new(flood).times(1))?;
    let (agent, controller) = (world.agent.process.pid(), world.controller.process.pid());
    let (before_agent, before_controller) = (memory(agent)?.0, memory(controller)?.0);
    let begun = Instant::now();
    let accepted = world.client.post(CLUSTERS, &specs::single("flood", "192.0.2.11")).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let stored = operation["output_bytes"].as_u64().unwrap_or(0);
    anyhow::ensure!(stored > BYTES, "only {stored} bytes are stored: {operation:#}");
    let (peak_agent, peak_controller) = (memory(agent)?.1, memory(controller)?.1);
    let megabytes = stored as f64 / 1e6;
    writeln!(
        out,
        "200 MB of output stored durably        {:.0} MB/s ({megabytes:.0} MB in {seconds:.2} s)   target 150",
        megabytes / seconds
    )?;
    writeln!(
        out,
        "  memory grew at most                  agent {:.1} MB, controller {:.1} MB   target 16, 32",
        peak_agent - before_agent,
        peak_controller - before_controller
    )?;
    writeln!(out, "  beside: write and fdatasync 200 MB   {:.0} MB/s", disk(&world)?)?;
    world.finish().await
}

fn disk(world: &World) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut file = File::create(world.path().join("disk"))?;
    let block = vec![b'x'; 1024 * 1024];
    for _ in 0..BYTES / 1024 / 1024 {
        file.write_all(&block)?;
    }
    file.sync_data()?;
    Ok(BYTES as f64 / 1e6 / begun.elapsed().as_secs_f64())
}
