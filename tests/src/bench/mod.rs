//! Benches: what the product takes, with real processes, and what the machine itself takes beside it.
//!
//! None of them is a test: they print figures and judge nothing. Each row starts a world of its own.

mod adopt;
mod cuts;
mod floods;
mod idle;
mod kills;
mod output;
mod post;
mod redact;
mod start;
mod wire;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::house::Programs;

/// Runs the benches that the command line names, or all.
#[must_use]
pub fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all = ["post", "start", "output", "redact", "idle", "adopt", "kills", "cuts", "floods"];
    let chosen: Vec<&str> =
        all.into_iter().filter(|row| wanted.is_empty() || wanted.iter().any(|w| w == row)).collect();
    if chosen.is_empty() {
        let _nobody_reads = writeln!(std::io::stderr(), "bench: known are {}", all.join(", "));
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(&chosen, &mut out)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = writeln!(std::io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(rows: &[&str], out: &mut impl Write) -> anyhow::Result<()> {
    for row in rows {
        match *row {
            "post" => post::run(&programs()?, out).await?,
            "start" => start::run(&programs()?, out).await?,
            "output" => output::run(&programs()?, out).await?,
            "redact" => redact::run(out)?,
            "adopt" => adopt::run(&programs()?, out).await?,
            "kills" => kills::run(&programs()?, out).await?,
            "cuts" => cuts::run(&programs()?, out).await?,
            "floods" => floods::run(&programs()?, out).await?,
            _ => idle::run(&programs()?, out).await?,
        }
    }
    Ok(())
}

/// The programs beside this one.
fn programs() -> anyhow::Result<Programs> {
    let folder = std::env::current_exe()?.parent().context("no folder")?.to_owned();
    let program = |name: &str| folder.join(name);
    Ok(Programs {
        controller: program("house-controller"),
        agent: program("house-agent"),
        rke: program("rke-rehearsal"),
    })
}

/// Durations in order, for percentiles.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    fn at(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    }
}

impl std::fmt::Display for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms ({} samples)", self.at(50), self.at(99), self.0.len())
    }
}

/// Memory of a process in MB: now and at most.
pub(crate) fn memory(pid: Option<u32>) -> anyhow::Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.context("the process has ended")?))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    Ok((field("VmRSS:").context("no VmRSS")? / 1024.0, field("VmHWM:").context("no VmHWM")? / 1024.0))
}
