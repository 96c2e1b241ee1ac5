//! Where everything of one cluster is on a volume.
//!
//! Paths are made of names that are RFC 1123 labels and of ids, and before anything is done at one it
//! is resolved by the kernel beneath the volume's root with symbolic links forbidden: a link that
//! someone planted is refused, never followed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cratekube_common::domain::id::{AttemptId, ClusterId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::runtime::files;
use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags, flock, fstat, open, openat2, stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::VolumeError;
use super::generations::{CLUSTER_YML, KUBECONFIG, STATE};

/// Folder of clusters that were removed and put away, by their ids.
const REMOVED: &str = "removed";

/// The directories of a volume.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    dir: OwnedFd,
}

/// What `cluster.json` says: whose directory this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFile {
    /// Layout of the directory.
    pub format_version: u32,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The CA on record: set by the first good generation; nothing here changes it afterwards.
    #[serde(default)]
    pub ca_sha256: Option<String>,
    /// Hosts that carry the cluster: built, and not cleaned since. RKE's own state forgets a host that
    /// it could not reach.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    /// Hosts that a removal which did not come to its end has cleaned, or begun to: what they kept of the cluster
    /// is gone.
    #[serde(default)]
    pub wiped: BTreeSet<String>,
    /// Removals that were begun, and of which it is not known (yet, or for good) which hosts they have cleaned.
    #[serde(default)]
    pub removing: BTreeSet<AttemptId>,
}

/// The directory of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDir {
    path: PathBuf,
}

impl Layout {
    /// The layout of the volume at `root`.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn open(root: &Path) -> Result<Self, VolumeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(root, flags, Mode::empty()).map_err(|e| VolumeError::io("open", root)(e.into()))?;
        Ok(Self { root: root.to_owned(), dir })
    }

    /// The volume's root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a cluster's directory is, or will be.
    #[must_use]
    pub fn cluster(&self, environment: &EnvironmentName, name: &ClusterName) -> ClusterDir {
        ClusterDir { path: self.root.join("clusters").join(environment.as_str()).join(name.as_str()) }
    }

    /// Refuses when what is at the root is not what was opened: the volume was unmounted or detached, and
    /// nothing may be made at its empty mount point.
    ///
    /// # Errors
    /// [`VolumeError::Gone`].
    pub fn check_here(&self) -> Result<(), VolumeError> {
        let opened = fstat(&self.dir).map_err(|e| VolumeError::io("look at", &self.root)(e.into()))?;
        match stat(&self.root) {
            Ok(found) if (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino) => Ok(()),
            Ok(_) | Err(Errno::NOENT | Errno::NOTCONN | Errno::STALE) => {
                Err(VolumeError::Gone { root: self.root.clone() })
            }
            Err(errno) => Err(VolumeError::io("look at", &self.root)(errno.into())),
        }
    }

    /// Refuses a path that is, or is reached through, a symbolic link. What is not there is fine.
    ///
    /// # Errors
    /// [`VolumeError::Unsafe`], and from the filesystem.
    pub fn check(&self, path: &Path) -> Result<(), VolumeError> {
        let unsafe_path = || VolumeError::Unsafe { path: path.to_owned() };
        let relative = path.strip_prefix(&self.root).map_err(|_| unsafe_path())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.dir, relative, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::LOOP | Errno::XDEV) => Err(unsafe_path()),
            // A kernel or a sandbox without openat2: look at each component.
            Err(Errno::NOSYS | Errno::PERM) => self.check_each(relative).then_some(()).ok_or_else(unsafe_path),
            Err(errno) => Err(VolumeError::io("look at", path)(errno.into())),
        }
    }

    fn check_each(&self, relative: &Path) -> bool {
        let mut at = self.root.clone();
        relative.components().all(|component| {
            at.push(component);
            !fs::symlink_metadata(&at).is_ok_and(|m| m.is_symlink())
        })
    }

    /// Refuses links anywhere in a cluster's directory where we or `rke` would write.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_cluster(&self, cluster: &ClusterDir) -> Result<(), VolumeError> {
        let working = cluster.working();
        let places = [
            cluster.generations(),
            cluster.runs(),
            cluster.fence(),
            cluster.lock_path(),
            cluster.record(),
            cluster.removed(),
            cluster.tombstone(),
            cluster.kept(),
            cluster.shredded(),
        ];
        let files = [CLUSTER_YML, STATE, KUBECONFIG].map(|name| working.join(name));
        places.iter().chain(&files).try_for_each(|path| self.check(path))
    }

    /// Every cluster's directory on the volume.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn clusters(&self) -> Result<Vec<ClusterDir>, VolumeError> {
        let mut found = Vec::new();
        for environment in directories(&self.root.join("clusters"))? {
            found.extend(directories(&environment)?.into_iter().map(|path| ClusterDir { path }));
        }
        Ok(found)
    }

    /// Takes the directory for a cluster: makes it, or finds it to be this cluster's. What a removed
    /// cluster left under the name is put away first, under `removed/<cluster id>/`.
    ///
    /// # Errors
    /// [`VolumeError::Occupied`] when another cluster that was not removed is there; links and faults.
    pub fn claim(&self, file: &ClusterFile) -> Result<(ClusterDir, ClusterFile), VolumeError> {
        let dir = self.cluster(&file.environment, &file.name);
        self.check_here()?;
        self.check_cluster(&dir)?;
        match dir.read_record()? {
            Some(found) if found.cluster == file.cluster => return Ok((dir, found)),
            Some(found) if dir.is_removed() => self.put_away(&dir, found.cluster)?,
            Some(found) => return Err(VolumeError::Occupied { path: dir.path, found: found.cluster }),
            None => {}
        }
        for part in [dir.working(), dir.generations(), dir.runs()] {
            files::make_dir(&part).map_err(VolumeError::io("make", &part))?;
        }
        dir.write_record(file)?;
        Ok((dir, file.clone()))
    }

    /// Puts away the cluster that has the place of another one, when it is among those that make way: it
    /// counts as removed, although it was not removed here. Its state is kept.
    ///
    /// # Errors
    /// [`VolumeError::Locked`] while a run of it is on; links and faults.
    pub fn make_way(&self, file: &ClusterFile, leaving: &BTreeSet<ClusterId>) -> Result<(), VolumeError> {
        let dir = self.cluster(&file.environment, &file.name);
        self.check_here()?;
        self.check_cluster(&dir)?;
        let found = dir.read_record()?.map(|found| found.cluster);
        match found.filter(|found| *found != file.cluster && leaving.contains(found)) {
            Some(found) => {
                let _held = dir.lock()?;
                self.put_away(&dir, found)
            }
            None => Ok(()),
        }
    }

    /// The directory of every removed cluster that was put away.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn removed(&self) -> Result<Vec<ClusterDir>, VolumeError> {
        let found = directories(&self.root.join(REMOVED))?;
        Ok(found.into_iter().map(|path| ClusterDir { path }).collect())
    }

    /// Where a removed cluster is put away.
    #[must_use]
    pub fn put_away_at(&self, cluster: ClusterId) -> ClusterDir {
        ClusterDir { path: self.root.join(REMOVED).join(cluster.to_string()) }
    }

    /// Puts a removed cluster's directory away. It is an error when one was put away for the
    /// same cluster before.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn put_away(&self, dir: &ClusterDir, cluster: ClusterId) -> Result<(), VolumeError> {
        let removed = self.root.join(REMOVED);
        self.check(&removed)?;
        files::make_dir(&removed).map_err(VolumeError::io("make", &removed))?;
        let to = self.put_away_at(cluster).path;
        let moved = files::rename(&dir.path, &to).and_then(|()| files::sync_dir(&removed));
        moved.and_then(|()| dir.path.parent().map_or(Ok(()), files::sync_dir)).map_err(VolumeError::io("put away", &to))
    }
}

/// The real directories in a directory, in order; links are no directories.
pub(crate) fn directories(path: &Path) -> Result<Vec<PathBuf>, VolumeError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(VolumeError::io("list", path))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(VolumeError::io("list", path))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

impl ClusterDir {
    /// The directory that a `working/` is in.
    #[must_use]
    pub fn of_working(working: &Path) -> Self {
        Self { path: working.parent().unwrap_or(working).to_owned() }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where `rke` runs.
    #[must_use]
    pub fn working(&self) -> PathBuf {
        self.path.join("working")
    }

    /// Where generations are.
    #[must_use]
    pub fn generations(&self) -> PathBuf {
        self.path.join("generations")
    }

    /// Where runs are.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// Where one run is.
    #[must_use]
    pub fn run(&self, attempt: AttemptId) -> PathBuf {
        self.runs().join(attempt.to_string())
    }

    /// The highest fence ever accepted.
    #[must_use]
    pub fn fence(&self) -> PathBuf {
        self.path.join("fence")
    }

    /// What is locked while a run is on.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Whose directory this is.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.path.join("cluster.json")
    }

    /// What its removals write down.
    #[must_use]
    pub fn removal(&self) -> PathBuf {
        self.path.join("removal")
    }

    /// What is kept of the cluster, and until when; there when it was laid to rest.
    #[must_use]
    pub fn tombstone(&self) -> PathBuf {
        self.path.join("tombstone.json")
    }

    /// For how long it has been kept.
    #[must_use]
    pub fn kept(&self) -> PathBuf {
        self.path.join("kept.json")
    }

    /// What was shredded of it.
    #[must_use]
    pub fn shredded(&self) -> PathBuf {
        self.path.join("shredded.json")
    }

    /// There when the cluster was removed, and that was verified.
    #[must_use]
    pub fn removed(&self) -> PathBuf {
        self.path.join("removed.json")
    }

    /// True when the cluster was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed().is_file()
    }

    /// Reads `cluster.json`.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read_record(&self) -> Result<Option<ClusterFile>, VolumeError> {
        let path = self.record();
        let Some(bytes) = files::read_optional(&path).map_err(VolumeError::io("read", &path))? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| VolumeError::Damaged { path, fault: e.to_string() })
    }

    /// Writes `cluster.json`, durably.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn write_record(&self, file: &ClusterFile) -> Result<(), VolumeError> {
        let path = self.record();
        let content = serde_json::to_vec_pretty(file)
            .map_err(|e| VolumeError::Damaged { path: path.clone(), fault: e.to_string() })?;
        files::write_atomic(&path, &content).map_err(VolumeError::io("write", &path))
    }

    /// Takes the cluster's lock without waiting. It is held as long as any descriptor of this opening
    /// lives: the supervisor and `rke` inherit one, so that it outlives the agent.
    ///
    /// # Errors
    /// [`VolumeError::Locked`] when a run is on.
    pub fn lock(&self) -> Result<File, VolumeError> {
        let path = self.lock_path();
        // Read-only from here: `rke` gets it as its standard input and must not write to it.
        let lock = files::open_lock(&path).and_then(|_| File::open(&path)).map_err(VolumeError::io("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(lock),
            Err(Errno::WOULDBLOCK) => Err(VolumeError::Locked { path }),
            Err(errno) => Err(VolumeError::io("lock", &path)(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use uuid::Uuid;

    fn record(cluster: u128) -> ClusterFile {
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

    #[test]
    fn hostile_row_02_a_planted_link_is_refused_wherever_it_is() {
        for place in ["clusters/prod", "clusters/prod/blue", "clusters/prod/blue/working", "clusters/prod/blue/lock"] {
            let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let link = dir.path().join(place);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(outside.path(), &link).unwrap();
            let layout = Layout::open(dir.path()).unwrap();
            let refused = layout.claim(&record(1)).unwrap_err();
            assert!(matches!(refused, VolumeError::Unsafe { .. }), "{place}: {refused}");
            assert!(refused.to_string().starts_with("unsafe-volume"));
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "nothing was written through {place}");
        }
    }

    #[test]
    fn hostile_row_02_a_linked_state_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let (cluster, _) = layout.claim(&record(1)).unwrap();
        symlink("/etc/passwd", cluster.working().join(STATE)).unwrap();
        assert!(matches!(layout.claim(&record(1)), Err(VolumeError::Unsafe { .. })));
    }

    #[test]
    fn a_name_is_used_again_only_after_its_cluster_was_removed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let (cluster, _) = layout.claim(&record(1)).unwrap();
        assert_eq!(layout.claim(&record(1)).unwrap().0, cluster);
        assert!(matches!(layout.claim(&record(2)), Err(VolumeError::Occupied { .. })));
        fs::write(cluster.removed(), b"{}").unwrap();
        fs::write(cluster.fence(), b"kept").unwrap();
        let (again, file) = layout.claim(&record(2)).unwrap();
        assert_eq!((again.path(), file.cluster), (cluster.path(), record(2).cluster));
        assert!(!again.fence().exists() && !again.is_removed());
        let kept = dir.path().join("removed").join(record(1).cluster.to_string()).join("fence");
        assert_eq!(fs::read(kept).unwrap(), b"kept");
        assert_eq!(layout.clusters().unwrap(), [again]);
    }

    #[test]
    fn a_cluster_that_was_given_up_makes_way_unless_a_run_of_it_is_on() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let leaving = BTreeSet::from([record(1).cluster]);
        layout.make_way(&record(2), &leaving).unwrap();
        let (old, _) = layout.claim(&record(1)).unwrap();
        fs::write(old.working().join("cluster.rkestate"), b"kept").unwrap();
        layout.make_way(&record(1), &leaving).unwrap();
        layout.make_way(&record(2), &BTreeSet::from([record(3).cluster])).unwrap();
        assert!(matches!(layout.claim(&record(2)), Err(VolumeError::Occupied { .. })), "nobody said that it may go");
        let run = old.lock().unwrap();
        assert!(matches!(layout.make_way(&record(2), &leaving), Err(VolumeError::Locked { .. })));
        rustix::fs::flock(&run, FlockOperation::Unlock).unwrap();
        layout.make_way(&record(2), &leaving).unwrap();
        let kept = layout.put_away_at(record(1).cluster).working().join("cluster.rkestate");
        assert_eq!(fs::read(kept).unwrap(), b"kept");
        assert_eq!(layout.claim(&record(2)).unwrap().1.cluster, record(2).cluster);
    }

    #[test]
    fn the_lock_is_held_by_one_and_by_whoever_inherits_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let (cluster, _) = layout.claim(&record(1)).unwrap();
        let lock = cluster.lock().unwrap();
        assert!(matches!(cluster.lock(), Err(VolumeError::Locked { .. })));
        let inherited = lock.try_clone().unwrap();
        drop(lock);
        assert!(matches!(cluster.lock(), Err(VolumeError::Locked { .. })));
        drop(inherited);
        // Children that other tests are just starting hold a copy for a moment.
        let is_free = || {
            std::thread::yield_now();
            cluster.lock().is_ok()
        };
        assert!((0..100_000).any(|_| is_free()));
    }
}
