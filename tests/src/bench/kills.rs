//! A hundred kills at random: what was lost, and what was doubled.

use std::io::Write;

use crate::house::aftermath::End;
use crate::house::kills::{Chance, Kill};
use crate::house::{Programs, World};

const KILLS: usize = 100;
/// Any would do; a fixed one can be compared.
const SEED: u64 = 1;

pub(super) async fn run(programs: &Programs, out: &mut impl Write) -> anyhow::Result<()> {
    let (mut world, mut chance) = (World::quiet(programs.clone()).await?, Chance::of(SEED));
    let (mut survived, mut interrupted, mut wrong) = (0, 0, Vec::new());
    for n in 1..=KILLS {
        let kill = Kill::by(&mut chance);
        match world.survives(n, kill).await {
            Ok(end) => {
                survived += 1;
                interrupted += usize::from(end == End::Interrupted);
            }
            // What is lost or doubled is in the words; a world that cannot go on ends the row.
            Err(error) => wrong.push(format!("kill {n} ({kill:?}): {error:#}")),
        }
    }
    writeln!(
        out,
        "kills at random, nothing lost/doubled  {survived} of {KILLS} ({interrupted} runs interrupted)   target {KILLS}"
    )?;
    wrong.iter().try_for_each(|words| writeln!(out, "  {words}"))?;
    world.finish().await
}
