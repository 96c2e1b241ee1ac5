//! `[volumes]`: the state volumes that the agent serves.

use std::path::PathBuf;
use std::time::Duration;

use super::{Section, duration, or, path};

/// Generations kept per cluster: enough to look back over a year of monthly changes and mistakes, at
/// some 100 KiB each. The last good one is kept always.
const KEEP_GENERATIONS: u64 = 30;
/// Room for a result and its output when the disk is otherwise full, beyond three copies of the state.
const MIN_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// Between two readings of everything that is sealed: rot is found long before the last good generation
/// is pruned.
const SCRUB_INTERVAL: Duration = Duration::from_secs(24 * 3_600);

/// The state volumes that the agent serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesSection {
    /// Their roots.
    pub paths: Vec<PathBuf>,
    /// Whether a root must be a mount of its own, so that an empty mount point is never taken for a
    /// new volume. Off only for trials.
    pub require_mount: bool,
    /// Sealed generations kept per cluster.
    pub keep_generations: u32,
    /// With less free space than this no run is started.
    pub min_free_bytes: u64,
    /// Time between two readings of everything that is sealed.
    pub scrub_interval: Duration,
}

impl VolumesSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let paths = read_paths(section);
        let require_mount = or(&section.field("require_mount"), true, super::Field::boolean);
        let keep = or(&section.field("keep_generations"), KEEP_GENERATIONS, |f| f.integer(2..=10_000));
        let min_free = or(&section.field("min_free_bytes"), MIN_FREE_BYTES, |f| f.integer(0..=1 << 50));
        let scrub = or(&section.field("scrub_interval"), SCRUB_INTERVAL, duration);
        Some(Self {
            paths: paths?,
            require_mount: require_mount?,
            keep_generations: u32::try_from(keep?).ok()?,
            min_free_bytes: min_free?,
            scrub_interval: scrub?,
        })
    }
}

fn read_paths(section: &mut Section<'_>) -> Option<Vec<PathBuf>> {
    let field = section.field("paths").required();
    let items = field.items()?;
    if items.is_empty() {
        field.error("must name at least one volume");
    }
    let mut paths = Vec::new();
    for item in items {
        match path(&item) {
            Some(same) if paths.contains(&same) => item.error("is named twice"),
            Some(new) => paths.push(new),
            None => {}
        }
    }
    Some(paths)
}
