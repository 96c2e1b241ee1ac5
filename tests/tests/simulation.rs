//! Simulated worlds: many seeds, named ones, and worlds that are wrong on purpose.
//!
//! ```sh
//! cargo test -p cratekube-tests --test simulation -- seeds                # 300 seeds
//! CRATEKUBE_SIM_SEEDS=5000 cargo test -p cratekube-tests --test simulation -- seeds
//! CRATEKUBE_SIM_SEED=17 cargo test -p cratekube-tests --test simulation -- replay --nocapture
//! ```

use cratekube_common::runtime::telemetry::{self, LogFormat};
use cratekube_tests::sim::play;

/// Seeds that are played when nobody says otherwise.
const SEEDS: u64 = 300;
/// Tests that share them, so that all cores have work.
const SHARES: u64 = 4;
/// Broken worlds that are told of in full.
const TOLD: usize = 2;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Plays every seed of a share.
fn share(n: u64) {
    let seeds = setting("CRATEKUBE_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut worlds, mut operations, mut runs, mut faults) = (0, 0, 0, 0);
    let mut broken = Vec::new();
    for seed in (0..seeds).filter(|seed| seed % SHARES == n) {
        match play(seed, None) {
            Ok(played) => {
                worlds += 1;
                operations += played.operations;
                runs += played.runs;
                faults += played.faults;
            }
            Err(world) => broken.push(world),
        }
    }
    println!("{worlds} worlds held: {operations} operations, {runs} runs of rke, {faults} faults");
    let seeds: Vec<_> = broken.iter().map(|world| world.seed).collect();
    let told: Vec<_> = broken.iter().take(TOLD).map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{} worlds broke, seeds {seeds:?}\n{}", seeds.len(), told.join("\n\n"));
}

#[test]
fn seeds_first_share() {
    share(0);
}

#[test]
fn seeds_second_share() {
    share(1);
}

#[test]
fn seeds_third_share() {
    share(2);
}

#[test]
fn seeds_fourth_share() {
    share(3);
}

/// Plays the seed in `CRATEKUBE_SIM_SEED` and prints what happened; with `RUST_LOG`, what the product
/// logged, too.
#[test]
fn replay() {
    let Some(seed) = setting("CRATEKUBE_SIM_SEED") else { return };
    if let Ok(filter) = std::env::var("RUST_LOG") {
        telemetry::start(LogFormat::Text, &filter);
    }
    match play(seed, None) {
        Ok(played) => played.events.iter().for_each(|event| println!("{event}")),
        Err(broken) => {
            broken.events.iter().for_each(|event| println!("{event}"));
            panic!("{broken}");
        }
    }
}
