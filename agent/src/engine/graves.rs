//! Shreds what is kept of removed clusters when its window is over, beside everything else.
//!
//! Once an hour all tombstones of a volume are looked at. Each is credited with the time since the last
//! look by a clock that does not jump; one that is seen for the first time by this agent begins to count
//! then, so that no time is counted twice or guessed. Whatever is wrong with one keeps it as it is.
//!
//! A cluster's directory is put away under `removed/` before anything in it is touched: its name may be
//! taken by another cluster at any moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::id::ClusterId;
use cratekube_common::runtime::clock::Clock;

use super::core::Core;
use crate::run::journal::{Journal, Mark};
use crate::volume::identity::Volume;
use crate::volume::layout::{ClusterDir, Layout, directories};
use crate::volume::tombstone::{self, Tombstone};
use crate::volume::{VolumeError, shred};

/// Between two looks: a window is counted in days.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Looks for as long as the engine is open.
pub(crate) async fn keep(core: Arc<Core>, volume: Arc<Volume>) {
    let mut watch = Watch::default();
    loop {
        let at = volume.clone();
        let looked = core.blocking(move |core| {
            watch.pass(&at, &core.clock);
            watch
        });
        let Ok(after) = looked.await else { return };
        watch = after;
        tokio::time::sleep(EVERY).await;
    }
}

/// When each tombstone was seen last, by the clock that does not jump.
#[derive(Debug, Default)]
struct Watch {
    seen: BTreeMap<ClusterId, Duration>,
}

impl Watch {
    /// Looks at every tombstone once.
    fn pass(&mut self, volume: &Volume, clock: &Clock) {
        if volume.check().is_err() {
            return;
        }
        let layout = &volume.layout;
        let graves = [layout.clusters(), layout.removed()];
        for dir in graves.into_iter().flatten().flatten() {
            if let Err(error) = self.look(layout, &dir, clock) {
                volume.heed(&error);
                tracing::error!(cluster = %dir.path().display(), %error, "what is kept of a removed cluster is left as it is");
            }
        }
    }

    /// Looks at one tombstone, and shreds what is under it when that is due. Says whether it was shredded.
    fn look(&mut self, layout: &Layout, dir: &ClusterDir, clock: &Clock) -> Result<bool, VolumeError> {
        layout.check_cluster(dir)?;
        let Some(laid) = tombstone::read(dir)? else { return Ok(false) };
        let begun = shred::read(dir)?;
        if begun.as_ref().is_some_and(|begun| begun.ended_at.is_some()) {
            return Ok(false);
        }
        if begun.is_none() && !self.count(dir, &laid, clock)? {
            return Ok(false);
        }
        let lock = match dir.lock() {
            Err(VolumeError::Locked { .. }) => return Ok(false),
            lock => lock?,
        };
        let Some(away) = put_away(layout, dir, &laid)? else { return Ok(false) };
        let shredded = shred::shred(layout, &away, clock.now())?;
        drop(lock);
        self.seen.remove(&laid.cluster);
        tracing::info!(cluster = %laid.cluster, environment = %laid.environment, name = %laid.name, files = shredded.files.len(), "what was kept of a removed cluster is shredded");
        Ok(true)
    }

    /// Counts the time since the last look. Says whether the window is over.
    fn count(&mut self, dir: &ClusterDir, laid: &Tombstone, clock: &Clock) -> Result<bool, VolumeError> {
        let now = clock.monotonic();
        let before = tombstone::kept(dir)?;
        let since = self.seen.get(&laid.cluster).map_or(Duration::ZERO, |seen| now.saturating_sub(*seen));
        let kept = before.and(since);
        if kept != before {
            tombstone::keep(dir, kept)?;
        }
        // Not before it is written: what is counted here must not be counted again.
        self.seen.insert(laid.cluster, now);
        Ok(laid.is_due(kept, clock.now()))
    }
}

/// Puts a cluster's directory away; none when that cannot be done now.
fn put_away(layout: &Layout, dir: &ClusterDir, laid: &Tombstone) -> Result<Option<ClusterDir>, VolumeError> {
    let away = layout.put_away_at(laid.cluster);
    if *dir == away {
        return Ok(Some(away));
    }
    let is_its = dir.read_record()?.is_some_and(|file| file.cluster == laid.cluster);
    if !is_its || !dir.is_removed() || !is_settled(dir)? {
        return Ok(None);
    }
    layout.put_away(dir, laid.cluster)?;
    Ok(Some(away))
}

/// Whether the controller has heard of every run.
fn is_settled(dir: &ClusterDir) -> Result<bool, VolumeError> {
    let runs = directories(&dir.runs())?;
    let settled = |run: std::path::PathBuf| {
        let journal = Journal::at(run);
        journal.has(Mark::Recorded) || journal.has(Mark::Forgotten)
    };
    Ok(runs.into_iter().all(settled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::layout::ClusterFile;
    use crate::volume::tombstone::shred_after;
    use cratekube_common::domain::id::OperationId;
    use cratekube_common::domain::time::Timestamp;
    use cratekube_common::runtime::clock::ManualClock;
    use std::collections::BTreeSet;
    use std::fs;
    use uuid::Uuid;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

    struct Yard {
        _root: tempfile::TempDir,
        layout: Layout,
        manual: Arc<ManualClock>,
        clock: Clock,
    }

    impl Yard {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let layout = Layout::open(root.path()).unwrap();
            let manual = ManualClock::at(Timestamp::from_millis(1_795_000_000_000));
            let clock: Clock = manual.clone();
            Self { _root: root, layout, manual, clock }
        }

        fn file(cluster: u128) -> ClusterFile {
            ClusterFile {
                format_version: 1,
                cluster: ClusterId(Uuid::from_u128(cluster)),
                environment: "prod".parse().unwrap(),
                name: "blue".parse().unwrap(),
                ca_sha256: None,
                hosts: BTreeSet::new(),
                wiped: BTreeSet::new(),
                removing: BTreeSet::new(),
            }
        }

        /// A cluster that was removed and laid to rest, with a generation and a run.
        fn bury(&self, cluster: u128, undelete_days: u64) -> ClusterDir {
            let file = Self::file(cluster);
            let (dir, _) = self.layout.claim(&file).unwrap();
            for folder in ["generations/000001", "runs/a"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            fs::write(dir.path().join("generations/000001/cluster.rkestate"), "secret").unwrap();
            fs::write(dir.path().join("runs/a/recorded"), "").unwrap();
            fs::write(dir.removed(), "{}").unwrap();
            let now = self.clock.now();
            let laid = Tombstone {
                format_version: 1,
                cluster: file.cluster,
                environment: file.environment,
                name: file.name,
                operation: OperationId(Uuid::nil()),
                generation: Some(1),
                manifest_sha256: None,
                files: Vec::new(),
                laid_at: now,
                undelete_days,
                shred_after: shred_after(now, undelete_days),
            };
            tombstone::write(&dir, &laid).unwrap();
            dir
        }

        /// Looks each hour for so long; says whether it was shredded.
        fn pass(&self, watch: &mut Watch, dir: &ClusterDir, time: Duration) -> bool {
            let mut shredded = watch.look(&self.layout, dir, &self.clock).unwrap();
            for _ in 0..time.as_secs() / EVERY.as_secs() {
                self.manual.advance(EVERY);
                shredded |= watch.look(&self.layout, dir, &self.clock).unwrap();
            }
            shredded
        }
    }

    #[test]
    fn what_is_kept_is_shredded_when_its_window_is_over_and_put_away_before() {
        let yard = Yard::new();
        let dir = yard.bury(1, 30);
        let mut watch = Watch::default();
        assert!(!yard.pass(&mut watch, &dir, DAY * 29));
        assert!(dir.generations().join("000001").exists());
        assert!(yard.pass(&mut watch, &dir, DAY));
        let away = yard.layout.put_away_at(Yard::file(1).cluster);
        assert!(!dir.path().exists() && !away.generations().exists() && !away.runs().exists());
        assert!(away.tombstone().exists() && shred::read(&away).unwrap().unwrap().ended_at.is_some());
        assert!(!yard.pass(&mut watch, &away, DAY), "once");
    }

    #[test]
    fn no_clock_that_jumps_and_no_agent_that_restarts_shortens_a_window() {
        let yard = Yard::new();
        let dir = yard.bury(1, 2);
        let mut watch = Watch::default();
        yard.manual.jump(1_000 * DAY_MS);
        assert!(!yard.pass(&mut watch, &dir, DAY), "the wall clock alone says nothing");
        yard.manual.jump(-1_002 * DAY_MS);
        assert!(!yard.pass(&mut watch, &dir, DAY * 2), "nor does the other one alone");
        yard.manual.jump(DAY_MS);
        assert!(yard.pass(&mut watch, &dir, Duration::ZERO));
        // A new agent does not know how long the volume lay on a shelf.
        let dir = yard.bury(2, 2);
        assert!(!yard.pass(&mut Watch::default(), &dir, DAY));
        yard.manual.advance(DAY * 9);
        let mut restarted = Watch::default();
        assert!(!yard.pass(&mut restarted, &dir, Duration::ZERO));
        assert!(yard.pass(&mut restarted, &dir, DAY), "what was counted is not forgotten");
    }

    #[test]
    fn a_run_that_is_on_or_not_reported_and_a_damaged_tombstone_keep_everything() {
        let yard = Yard::new();
        let dir = yard.bury(1, 0);
        let lock = dir.lock().unwrap();
        assert!(!yard.pass(&mut Watch::default(), &dir, Duration::ZERO), "a run is on");
        drop(lock);
        fs::remove_file(dir.path().join("runs/a/recorded")).unwrap();
        assert!(!yard.pass(&mut Watch::default(), &dir, Duration::ZERO), "the controller has not heard of it");
        fs::write(dir.path().join("runs/a/recorded"), "").unwrap();
        let whole = fs::read(dir.tombstone()).unwrap();
        fs::write(dir.tombstone(), b"{").unwrap();
        assert!(Watch::default().look(&yard.layout, &dir, &yard.clock).is_err());
        fs::write(dir.tombstone(), whole).unwrap();
        fs::write(dir.kept(), b"{").unwrap();
        assert!(Watch::default().look(&yard.layout, &dir, &yard.clock).is_err());
        assert!(dir.generations().join("000001").exists());
    }

    #[test]
    fn a_name_that_is_used_again_takes_its_window_along_and_the_new_cluster_is_never_touched() {
        let yard = Yard::new();
        yard.bury(1, 1);
        let (living, _) = yard.layout.claim(&Yard::file(2)).unwrap();
        fs::create_dir_all(living.generations().join("000001")).unwrap();
        let away = yard.layout.put_away_at(Yard::file(1).cluster);
        let mut watch = Watch::default();
        assert!(!yard.pass(&mut watch, &living, DAY * 3));
        assert!(yard.pass(&mut watch, &away, DAY));
        assert!(living.generations().join("000001").exists());
        // A tombstone of another cluster in the place of a living one is not believed.
        fs::copy(away.tombstone(), living.tombstone()).unwrap();
        assert!(!yard.pass(&mut Watch::default(), &living, DAY * 3));
        assert!(living.generations().join("000001").exists());
    }

    #[test]
    fn what_was_begun_is_finished_by_the_next_look() {
        let yard = Yard::new();
        let dir = yard.bury(1, 0);
        let cluster = Yard::file(1).cluster;
        yard.layout.put_away(&dir, cluster).unwrap();
        let away = yard.layout.put_away_at(cluster);
        let begun = serde_json::json!({"began_at": yard.clock.now(), "ended_at": null, "files": []});
        fs::write(away.shredded(), begun.to_string()).unwrap();
        yard.manual.jump(-1_000 * DAY_MS);
        assert!(yard.pass(&mut Watch::default(), &away, Duration::ZERO), "there is no way back");
        assert!(!away.generations().exists());
    }
}
