//! Fuzzing: what strangers send, changed at random, must never make anything panic, and never be
//! believed when it should not.
//!
//! Deterministic: a seed and a number name every input, so a finding can be played again. A short run
//! over every target is an ordinary test; a long one is `cargo run --release -p cratekube-tests --bin
//! fuzz`. Those inputs are not guided by coverage: targets are parsers whose corpora show every form. The
//! same targets are guided by coverage in `tests/fuzz`, for `cargo fuzz`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a target is a test")]

mod mutate;
mod targets;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use cratekube_common::runtime::clock;

pub use targets::{Play, Target, targets};

use mutate::Mutator;

/// The seed of a run without another one.
pub const SEED: u64 = 0x0ddb_1a5e_5bad_5eed;

/// Plays a target so many times. Answers the input at which it failed, with its number.
///
/// # Errors
/// The number, and the input.
pub fn play(target: &Target, seed: u64, executions: u64) -> Result<(), (u64, Vec<u8>)> {
    for number in 0..executions {
        let input = input(target, seed, number);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            return Err((number, input));
        }
    }
    Ok(())
}

/// The input with a number.
fn input(target: &Target, seed: u64, number: u64) -> Vec<u8> {
    let corpus = &target.corpus;
    let mut mutator = Mutator::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let whole = corpus[usize::try_from(number).unwrap_or(0) % corpus.len()].clone();
    // Every member of the corpus once as it is, so that a target that accepts nothing is noticed.
    if number < corpus.len() as u64 { whole } else { mutator.change(whole, corpus) }
}

/// Plays one input on the target with this name: for a fuzzer that makes its inputs itself.
///
/// # Panics
/// When something does not hold, or there is no such target.
pub fn once(name: &str, input: &[u8]) {
    thread_local! {
        static CHOSEN: std::cell::RefCell<Option<Target>> = const { std::cell::RefCell::new(None) };
    }
    CHOSEN.with_borrow_mut(|chosen| {
        let target = chosen.get_or_insert_with(|| named(name));
        assert_eq!(target.name, name, "one target a process");
        (target.run)(input);
    });
}

fn named(name: &str) -> Target {
    targets().into_iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"))
}

/// Writes every target's corpus, a folder each and a file for each input.
fn write_corpora(folder: &Path) -> std::io::Result<()> {
    for target in targets() {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, input) in target.corpus.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), input)?;
        }
    }
    Ok(())
}

/// The command line: `fuzz [TARGET|all] [EXECUTIONS] [SEED]`, or `fuzz corpus FOLDER`.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_else(|| "all".to_owned());
    if wanted == "corpus" {
        let folder = arguments.next().unwrap_or_else(|| "corpus".to_owned());
        let written = write_corpora(Path::new(&folder));
        written.unwrap_or_else(|error| panic!("cannot write {folder}: {error}"));
        return ExitCode::SUCCESS;
    }
    let executions = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let seed = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(SEED);
    let (mut out, clock) = (std::io::stdout(), clock::system());
    let mut code = ExitCode::SUCCESS;
    for target in targets().iter().filter(|target| wanted == "all" || target.name == wanted) {
        let began = clock.monotonic();
        let result = match play(target, seed, executions) {
            Ok(()) => format!("{executions} executions in {:?}, no finding", clock.monotonic() - began),
            Err((number, input)) => {
                code = ExitCode::FAILURE;
                format!("FINDING at {number} (seed {seed}): {}", data_encoding::HEXLOWER.encode(&input))
            }
        };
        let _nobody_reads = writeln!(out, "{:<12} {result}", target.name);
    }
    code
}
