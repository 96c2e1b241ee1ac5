//! A tombstone: what is kept of a removed cluster, and until when.
//!
//! The state of a removed cluster is its last generation, which the engine sealed from `working/` after
//! `rke remove` had ended and before `working/` was taken away. It stays as it is for a window, so that it
//! can be brought back by hand, and is shredded after it ([`super::shred`]).
//!
//! A clock that jumps must not shorten the window. So it is measured twice: the wall clock must have passed
//! its end, and the agent must have *served* the volume for as long, by a clock that does not jump
//! ([`Kept`]). Time in which no agent serves the volume does not count: late is harmless, early is not.

use std::path::Path;
use std::time::Duration;

use cratekube_common::domain::generation::SealedFile;
use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::VolumeError;
use super::layout::ClusterDir;

/// How long the state of a removed cluster is kept when nothing is said.
pub const UNDELETE_DAYS: u64 = 30;
/// Longest time that it is kept: ten years.
pub const MOST_UNDELETE_DAYS: u64 = 3_650;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What `tombstone.json` in a cluster's directory says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Layout of the file.
    pub format_version: u32,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The operation that removed it.
    pub operation: OperationId,
    /// The generation that is kept; none when none was ever sealed.
    pub generation: Option<u64>,
    /// SHA-256 of that generation's manifest, which has the checksums of all its files.
    pub manifest_sha256: Option<String>,
    /// The files of that generation.
    pub files: Vec<SealedFile>,
    /// When it was laid to rest, by the agent's clock.
    pub laid_at: Timestamp,
    /// How long it is kept, in days.
    pub undelete_days: u64,
    /// Before this nothing is shredded.
    pub shred_after: Timestamp,
}

/// For how long a tombstone has been seen on a volume that an agent served: `kept.json` beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// That time, in milliseconds.
    pub served_ms: u64,
}

impl Kept {
    /// With more time.
    #[must_use]
    pub fn and(self, more: Duration) -> Self {
        Self { served_ms: self.served_ms.saturating_add(u64::try_from(more.as_millis()).unwrap_or(u64::MAX)) }
    }
}

impl Tombstone {
    /// The window.
    #[must_use]
    pub fn window(&self) -> Duration {
        DAY.saturating_mul(u32::try_from(self.undelete_days).unwrap_or(u32::MAX))
    }

    /// True when the window is over by both clocks.
    #[must_use]
    pub fn is_due(&self, kept: Kept, now: Timestamp) -> bool {
        now >= self.shred_after && Duration::from_millis(kept.served_ms) >= self.window()
    }

    /// This tombstone where another one stands already: the cluster was laid to rest then, and the longer
    /// of both windows holds.
    #[must_use]
    pub fn beside(self, older: &Self) -> Self {
        Self {
            laid_at: older.laid_at,
            undelete_days: self.undelete_days.max(older.undelete_days),
            shred_after: self.shred_after.max(older.shred_after),
            ..self
        }
    }
}

/// The end of a window that begins now.
#[must_use]
pub fn shred_after(now: Timestamp, undelete_days: u64) -> Timestamp {
    now.after(DAY.saturating_mul(u32::try_from(undelete_days).unwrap_or(u32::MAX)))
}

/// The tombstone in a cluster's directory; none where none was laid.
///
/// # Errors
/// When it cannot be read, or is damaged: then nothing is shredded.
pub fn read(dir: &ClusterDir) -> Result<Option<Tombstone>, VolumeError> {
    read_json(&dir.tombstone())
}

/// Lays a tombstone, durably.
///
/// # Errors
/// From the filesystem.
pub fn write(dir: &ClusterDir, tombstone: &Tombstone) -> Result<(), VolumeError> {
    write_json(&dir.tombstone(), tombstone)
}

/// For how long a tombstone has been seen.
///
/// # Errors
/// When that cannot be read, or is damaged.
pub fn kept(dir: &ClusterDir) -> Result<Kept, VolumeError> {
    read_json(&dir.kept()).map(Option::unwrap_or_default)
}

/// Remembers for how long a tombstone has been seen.
///
/// # Errors
/// From the filesystem.
pub fn keep(dir: &ClusterDir, kept: Kept) -> Result<(), VolumeError> {
    write_json(&dir.kept(), &kept)
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, VolumeError> {
    let Some(bytes) = files::read_optional(path).map_err(VolumeError::io("read", path))? else { return Ok(None) };
    let damaged = |e: serde_json::Error| VolumeError::Damaged { path: path.to_owned(), fault: e.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), VolumeError> {
    let content = serde_json::to_vec_pretty(value)
        .map_err(|e| VolumeError::Damaged { path: path.to_owned(), fault: e.to_string() })?;
    files::write_atomic(path, &content).map_err(VolumeError::io("write", path))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    pub(crate) fn tombstone(undelete_days: u64) -> Tombstone {
        Tombstone {
            format_version: 1,
            cluster: ClusterId(Uuid::from_u128(1)),
            environment: "prod".parse().unwrap(),
            name: "blue".parse().unwrap(),
            operation: OperationId(Uuid::from_u128(2)),
            generation: Some(7),
            manifest_sha256: Some("a".repeat(64)),
            files: Vec::new(),
            laid_at: NOW,
            undelete_days,
            shred_after: shred_after(NOW, undelete_days),
        }
    }

    #[test]
    fn a_window_is_over_when_both_clocks_say_so() {
        let laid = tombstone(30);
        let month = Kept::default().and(DAY * 30);
        let almost = Kept::default().and(DAY * 30 - Duration::from_millis(1));
        assert!(laid.is_due(month, laid.shred_after));
        assert!(!laid.is_due(almost, NOW.after(DAY * 3_000)), "a clock that jumped ahead shreds nothing");
        assert!(!laid.is_due(month, NOW.after(DAY * 29)), "nor does one that was ahead when it was laid");
        assert!(!laid.is_due(Kept { served_ms: u64::MAX }, Timestamp::from_millis(0)));
        assert!(tombstone(0).is_due(Kept::default(), NOW));
    }

    #[test]
    fn a_second_tombstone_never_shortens_the_window_of_the_first() {
        let (short, long) = (tombstone(1), tombstone(90));
        assert_eq!(short.clone().beside(&long).shred_after, long.shred_after);
        assert_eq!(long.clone().beside(&short).window(), long.window());
    }
}
