//! `[rke]`: the `rke` that the agent runs, and its bounds.

use std::path::PathBuf;
use std::time::Duration;

use super::{Section, duration, or, path};

/// Longest run: the longest ordinary one takes half an hour; four times that is a hang.
const RUN_TIMEOUT: Duration = Duration::from_secs(2 * 3_600);
/// Between SIGTERM and SIGKILL. `rke` has no handler and ends at once; its SSH children get a moment.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// Most output kept of one run: five times the largest that was ever measured, and it fits any volume.
const OUTPUT_CAP: u64 = 1024 * 1024 * 1024;
/// Less would cut off ordinary runs.
const LEAST_OUTPUT_CAP: u64 = 1024 * 1024;
/// More than anyone reads.
const MOST_OUTPUT_CAP: u64 = 64 * 1024 * 1024 * 1024;

/// The `rke` that the agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RkeSection {
    /// The executable; searched on `PATH` when not set.
    pub path: Option<PathBuf>,
    /// Longest time that a run may take.
    pub run_timeout: Duration,
    /// Time between asking a run to end and ending it.
    pub stop_grace: Duration,
    /// Most bytes of output kept of one run.
    pub output_cap: u64,
}

impl RkeSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let path = or(&section.field("path"), None, |f| path(f).map(Some));
        let run_timeout = or(&section.field("run_timeout"), RUN_TIMEOUT, duration);
        let stop_grace = or(&section.field("stop_grace"), STOP_GRACE, duration);
        let cap = or(&section.field("output_cap"), OUTPUT_CAP, |f| f.integer(LEAST_OUTPUT_CAP..=MOST_OUTPUT_CAP));
        Some(Self { path: path?, run_timeout: run_timeout?, stop_grace: stop_grace?, output_cap: cap? })
    }
}
