//! `kill -9` of a process of a run, chosen by chance, at a moment chosen by chance, again and again.
//!
//! `CRATEKUBE_SEED` tells a story again, `CRATEKUBE_KILLS` makes it longer.

use cratekube_tests::house::World;
use cratekube_tests::house::aftermath::End;
use cratekube_tests::house::kills::{Chance, Kill};
use cratekube_tests::programs;

/// Enough to meet every process at several moments, and quick.
const KILLS: usize = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn hostile_row_45_and_63_kills_at_random_lose_and_double_nothing() -> anyhow::Result<()> {
    let seed = number("CRATEKUBE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let kills = number("CRATEKUBE_KILLS").and_then(|n| usize::try_from(n).ok()).unwrap_or(KILLS);
    println!("again: CRATEKUBE_SEED={seed} CRATEKUBE_KILLS={kills} cargo test -p cratekube-tests --test random_kills");
    let (mut world, mut chance) = (World::start(programs!()).await?, Chance::of(seed));
    let mut interrupted = 0;
    for n in 1..=kills {
        let kill = Kill::by(&mut chance);
        let end = world.survives(n, kill).await;
        let end = end.map_err(|error| error.context(format!("kill {n} of seed {seed}: {kill:?}")))?;
        interrupted += usize::from(end == End::Interrupted);
    }
    println!("{kills} kills, {interrupted} runs interrupted, nothing lost or doubled");
    world.finish().await
}
