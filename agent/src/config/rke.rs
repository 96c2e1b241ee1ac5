//! `[rke]`: the `rke` that the agent runs, and its bounds.

use std::path::PathBuf;
use std::time::Duration;

use cratekube_common::intake::Field;

use super::{Section, duration, limit, or, path};
use crate::run::scope::Wanted;

/// Longest run: the longest ordinary one takes half an hour; four times that is a hang.
const RUN_TIMEOUT: Duration = Duration::from_secs(2 * 3_600);
/// Between SIGTERM and SIGKILL. `rke` has no handler and ends at once; its SSH children get a moment.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// Longest silence: nine times the longest that was ever seen of a run that went on (134 s).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Longest phase: no whole run on real hosts took longer.
const PHASE_TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// Shorter would end runs that go on: hosts that do not answer are waited for that long.
const SHORT_SILENCE: Duration = Duration::from_secs(3 * 60);
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
    /// SHA-256 of the executables that may be run, lower-case hex; any when none is named.
    pub allowed_sha256: Vec<String>,
    /// Whether supervisors get a scope of their own.
    pub scope: Wanted,
    /// Longest time that a run may take.
    pub run_timeout: Duration,
    /// Longest time without output.
    pub silence_timeout: Duration,
    /// Longest time in one phase.
    pub phase_timeout: Duration,
    /// Time between asking a run to end and ending it.
    pub stop_grace: Duration,
    /// Most bytes of output kept of one run.
    pub output_cap: u64,
}

impl RkeSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let path = or(&section.field("path"), None, |f| path(f).map(Some));
        let allowed = or(&section.field("allowed_sha256"), Vec::new(), checksums);
        let scope = or(&section.field("scope"), Wanted::Auto, Field::parse);
        let run_timeout = or(&section.field("run_timeout"), RUN_TIMEOUT, limit);
        let silence_timeout = or(&section.field("silence_timeout"), SILENCE_TIMEOUT, silence);
        let phase_timeout = or(&section.field("phase_timeout"), PHASE_TIMEOUT, limit);
        let stop_grace = or(&section.field("stop_grace"), STOP_GRACE, duration);
        let cap = or(&section.field("output_cap"), OUTPUT_CAP, |f| f.integer(LEAST_OUTPUT_CAP..=MOST_OUTPUT_CAP));
        Some(Self {
            path: path?,
            allowed_sha256: allowed?,
            scope: scope?,
            run_timeout: run_timeout?,
            silence_timeout: silence_timeout?,
            phase_timeout: phase_timeout?,
            stop_grace: stop_grace?,
            output_cap: cap?,
        })
    }
}

fn silence(field: &Field<'_>) -> Option<Duration> {
    let limit = limit(field)?;
    if limit < SHORT_SILENCE {
        field.warn("is short: rke itself is silent for two minutes while a host does not answer");
    }
    Some(limit)
}

fn checksums(field: &Field<'_>) -> Option<Vec<String>> {
    let items = field.items()?;
    let checksum = |item: &Field<'_>| {
        let text = item.string()?.to_ascii_lowercase();
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Some(text);
        }
        item.error("must be a SHA-256: 64 hexadecimal digits, as `sha256sum` prints them");
        None
    };
    // All of them, so that every mistake is noted.
    let read: Vec<_> = items.iter().map(checksum).collect();
    read.into_iter().collect()
}
