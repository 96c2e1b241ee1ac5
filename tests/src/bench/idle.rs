//! Memory of controller and agent that are connected and have nothing to do.

use std::io::Write;

use super::memory;
use crate::house::{Programs, World};

pub(super) async fn run(programs: &Programs, out: &mut impl Write) -> anyhow::Result<()> {
    let world = World::quiet(programs.clone()).await?;
    world.client.get("/v1/environments").await?.expect(200)?;
    let (agent, controller) = (memory(world.agent.process.pid())?, memory(world.controller.process.pid())?);
    writeln!(
        out,
        "idle memory (RSS)                      agent {:.1} MB, controller {:.1} MB   target 8, 20",
        agent.0, controller.0
    )?;
    world.finish().await
}
