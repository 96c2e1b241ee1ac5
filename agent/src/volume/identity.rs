//! Which volume this is, and that we alone serve it.
//!
//! `volume.json` says which; an exclusive `flock` on `volume.lock`, held for life, says that no other
//! agent serves it from this or any host that shares the filesystem; [`super::owner`] says so for hosts that
//! share only the device. A directory without
//! `volume.json` is a wrong or empty mount: nothing is ever created there unless someone asks for
//! [`init`]. What tells a copy from its original is in [`super::origin`]; a copy is refused until an
//! operator says that the original is gone ([`accept_copy`]).

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use cratekube_common::domain::agent::{ScrubStatus, VolumeStatus};
use cratekube_common::domain::id::VolumeId;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::files::{self, OwnLock};
use cratekube_common::runtime::mint::Mint;
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::origin::{Origin, Places};
use super::owner::Owner;
use super::{VolumeError, reserve};

/// The newest format that this release reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// What `volume.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFile {
    /// Layout of the volume.
    pub format_version: u32,
    /// The volume's own id.
    pub id: VolumeId,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it was made on, for people.
    #[serde(default)]
    pub device: Option<DeviceFacts>,
    /// What tells it from a copy; none on volumes of the first release, until they are served again.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// When an operator said that this copy takes the place of its original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_accepted_at: Option<Timestamp>,
}

/// What the filesystem says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// Device number.
    pub st_dev: u64,
    /// Filesystem id.
    pub fsid: u64,
    /// Size in bytes.
    pub total_bytes: u64,
}

/// Why a volume is not served.
#[derive(Debug, thiserror::Error)]
pub enum VolumeRefusal {
    /// No volume here.
    #[error("{} is no state volume: volume.json is missing (wrong or empty mount?)", .0.display())]
    NotAVolume(PathBuf),
    /// The directory is on the same filesystem as its parent.
    #[error("{} is not a mount point: the state volume is not mounted", .0.display())]
    NotMounted(PathBuf),
    /// Nothing can be written.
    #[error("{} is mounted read-only", .0.display())]
    ReadOnly(PathBuf),
    /// Made by a newer release.
    #[error("{} has format {found}; this agent reads formats up to {FORMAT_VERSION}: install a newer agent", path.display())]
    TooNew {
        /// The volume.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A copy of a volume that may still be in use.
    #[error("{} is a copy of state volume {id}, which was made on {recorded}; this is {found}. Attach the original; only when it is gone for good, run `cratekube-agent init-volume --accept-copy --path {}`", path.display(), path.display())]
    Copied {
        /// The copy.
        path: PathBuf,
        /// Of which volume.
        id: VolumeId,
        /// What is on record.
        recorded: String,
        /// What was found.
        found: String,
    },
    /// Another agent has it.
    #[error("{} is served by another agent: volume.lock is held", .0.display())]
    Served(PathBuf),
    /// It is not empty, and not ours.
    #[error("{} is not empty and no state volume: use an empty directory", .0.display())]
    Foreign(PathBuf),
    /// Everything else.
    #[error(transparent)]
    Fault(#[from] VolumeError),
}

/// A volume that we serve, for as long as this value lives.
#[derive(Debug)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// Its root.
    pub root: PathBuf,
    /// Where things are on it.
    pub layout: Layout,
    /// Our turn at it.
    owner: Owner,
    /// Why nothing more is written to it.
    distrusted: OnceLock<String>,
    /// What the last scrub found.
    scrubbed: Mutex<Option<ScrubStatus>>,
    _lock: OwnLock,
}

/// Makes a state volume of an empty directory. A directory that is one already is left alone.
///
/// # Errors
/// When the directory is missing, not empty, or not writable.
pub fn init(root: &Path, mint: &Mint, clock: &Clock) -> Result<VolumeId, VolumeRefusal> {
    if let Some(file) = read(root)? {
        return Ok(file.id);
    }
    let entries = fs::read_dir(root).map_err(VolumeError::io("read", root))?;
    // What `mkfs` leaves is not content.
    let foreign = entries.flatten().any(|entry| entry.file_name() != "lost+found");
    if foreign {
        return Err(VolumeRefusal::Foreign(root.to_owned()));
    }
    let file = VolumeFile {
        format_version: FORMAT_VERSION,
        id: mint.id(),
        created_at: clock.now(),
        device: device_facts(root).ok(),
        origin: None,
        copy_accepted_at: None,
    };
    files::make_dir(&root.join("clusters")).map_err(VolumeError::io("make clusters/ in", root))?;
    drop(make_lock(root)?);
    write(root, &VolumeFile { origin: Some(Origin::find(root, &Places::default())), ..file.clone() })?;
    Ok(file.id)
}

/// Makes a copy take the place of its original, which an operator says is gone for good.
///
/// # Errors
/// When it is no volume, is served, or cannot be written.
pub fn accept_copy(root: &Path, clock: &Clock) -> Result<VolumeId, VolumeRefusal> {
    accept_copy_with(root, clock, &Places::default())
}

fn accept_copy_with(root: &Path, clock: &Clock, places: &Places) -> Result<VolumeId, VolumeRefusal> {
    let file = known(root)?;
    let _not_while_it_is_served = lock(root)?;
    let origin = Some(Origin::find(root, places));
    let id = file.id;
    write(root, &VolumeFile { origin, copy_accepted_at: Some(clock.now()), device: device_facts(root).ok(), ..file })?;
    Ok(id)
}

/// Begins to serve a volume.
///
/// # Errors
/// Every reason not to, as a sentence.
pub fn open(root: &Path, require_mount: bool) -> Result<Volume, VolumeRefusal> {
    open_with(root, require_mount, &Places::default())
}

/// Like [`open`], on a host that tells of its devices elsewhere.
///
/// # Errors
/// As [`open`].
pub fn open_with(root: &Path, require_mount: bool, places: &Places) -> Result<Volume, VolumeRefusal> {
    if require_mount && !is_mount_point(root).map_err(VolumeError::io("look at", root))? {
        return Err(VolumeRefusal::NotMounted(root.to_owned()));
    }
    let file = known(root)?;
    let recorded = file.origin.clone().unwrap_or_default();
    let id = file.id;
    if let Some((recorded, found)) = recorded.difference(&Origin::find(root, places)) {
        return Err(VolumeRefusal::Copied { path: root.to_owned(), id, recorded, found });
    }
    let lock = lock(root)?;
    let origin = recorded.completed(Origin::find(root, places));
    if file.origin.as_ref() != Some(&origin) {
        write(root, &VolumeFile { origin: Some(origin), ..file })?;
    }
    files::make_dir(&root.join("clusters")).map_err(VolumeError::io("make clusters/ in", root))?;
    let layout = Layout::open(root)?;
    let owner = Owner::begin(root)?;
    reserve::take(root);
    Ok(Volume {
        id,
        root: root.to_owned(),
        layout,
        owner,
        distrusted: OnceLock::new(),
        scrubbed: Mutex::default(),
        _lock: lock,
    })
}

/// Reads `volume.json`; none when there is none.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn read(root: &Path) -> Result<Option<VolumeFile>, VolumeError> {
    let path = root.join("volume.json");
    let Some(bytes) = files::read_optional(&path).map_err(VolumeError::io("read", &path))? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| VolumeError::Damaged { path, fault: e.to_string() })
}

/// What the volume says of itself, where that is something that this release knows.
fn known(root: &Path) -> Result<VolumeFile, VolumeRefusal> {
    let file = read(root)?.ok_or_else(|| VolumeRefusal::NotAVolume(root.to_owned()))?;
    if file.format_version > FORMAT_VERSION {
        return Err(VolumeRefusal::TooNew { path: root.to_owned(), found: file.format_version });
    }
    Ok(file)
}

fn write(root: &Path, file: &VolumeFile) -> Result<(), VolumeError> {
    let path = root.join("volume.json");
    let content = serde_json::to_vec_pretty(file)
        .map_err(|e| VolumeError::Damaged { path: path.clone(), fault: e.to_string() })?;
    files::write_atomic(&path, &content).map_err(VolumeError::io("write", &path))
}

/// The lock file, durably: its inode is what a copy does not have.
fn make_lock(root: &Path) -> Result<File, VolumeError> {
    let path = root.join("volume.lock");
    let is_new = !path.exists();
    let made = files::open_lock(&path);
    if is_new {
        made.and_then(|file| files::sync(&file, &path).and_then(|()| files::sync_dir(root)).map(|()| file))
    } else {
        made
    }
    .map_err(VolumeError::io("open", &path))
}

fn lock(root: &Path) -> Result<OwnLock, VolumeRefusal> {
    let path = root.join("volume.lock");
    let lock = match make_lock(root) {
        Err(VolumeError::Io { source, .. }) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            return Err(VolumeRefusal::ReadOnly(root.to_owned()));
        }
        opened => opened?,
    };
    match OwnLock::take(lock) {
        Ok(lock) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(VolumeRefusal::Served(root.to_owned())),
        Err(TryLockError::Error(fault)) => Err(VolumeError::io("lock", &path)(fault).into()),
    }
}

/// Whether a directory is the root of a filesystem of its own.
fn is_mount_point(root: &Path) -> io::Result<bool> {
    let root = fs::canonicalize(root)?;
    let Some(parent) = root.parent() else { return Ok(true) };
    Ok(fs::metadata(&root)?.dev() != fs::metadata(parent)?.dev())
}

fn device_facts(root: &Path) -> io::Result<DeviceFacts> {
    let vfs = statvfs(root)?;
    Ok(DeviceFacts { st_dev: fs::metadata(root)?.dev(), fsid: vfs.f_fsid, total_bytes: vfs.f_blocks * vfs.f_frsize })
}

impl Volume {
    /// Bytes free for us.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn free_bytes(&self) -> Result<u64, VolumeError> {
        let vfs = statvfs(&self.root).map_err(|e| VolumeError::io("measure", &self.root)(e.into()))?;
        Ok(vfs.f_bavail.saturating_mul(vfs.f_frsize))
    }

    /// Takes note of an error. One that means that writes may be lost ends all writing, until the agent is
    /// started anew: asking the kernel again proves nothing.
    pub fn heed(&self, error: &VolumeError) {
        if error.is_broken() && self.distrusted.set(error.to_string()).is_ok() {
            tracing::error!(volume = %self.id, root = %self.root.display(), %error, "a state volume is not trusted any more; nothing is started on it");
        }
    }

    /// Refuses when the volume is gone, or is not trusted.
    ///
    /// # Errors
    /// [`VolumeError::Distrusted`], [`VolumeError::Gone`], [`VolumeError::Displaced`].
    pub fn check(&self) -> Result<(), VolumeError> {
        match self.distrusted.get() {
            Some(fault) => Err(VolumeError::Distrusted { root: self.root.clone(), fault: fault.clone() }),
            None => self.layout.check_here().and_then(|()| self.owner.check()),
        }
    }

    /// Keeps what a scrub found.
    pub fn keep_scrub(&self, found: ScrubStatus) {
        *self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    /// What the last scrub found.
    #[must_use]
    pub fn scrubbed(&self) -> Option<ScrubStatus> {
        self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The volume as it is now.
    #[must_use]
    pub fn status(&self) -> VolumeStatus {
        let (free_bytes, total_bytes, fault) = match self.measure() {
            Ok((free, total, fault)) => (free, total, fault),
            Err(error) => (0, 0, Some(error.to_string())),
        };
        VolumeStatus {
            id: self.id,
            path: self.root.display().to_string(),
            free_bytes,
            total_bytes,
            fault,
            reserve_bytes: None,
            scrub: self.scrubbed(),
        }
    }

    fn measure(&self) -> Result<(u64, u64, Option<String>), VolumeError> {
        let vfs = statvfs(&self.root).map_err(|e| VolumeError::io("measure", &self.root)(e.into()))?;
        let still_ours = read(&self.root)?.is_some_and(|file| file.id == self.id);
        let fault = if !still_ours {
            Some(format!("volume.json of volume {} is no longer at {}", self.id, self.root.display()))
        } else if vfs.f_flag.contains(StatVfsMountFlags::RDONLY) {
            Some(format!("{} is mounted read-only", self.root.display()))
        } else {
            self.check().err().map(|error| error.to_string())
        };
        Ok((vfs.f_bavail.saturating_mul(vfs.f_frsize), vfs.f_blocks.saturating_mul(vfs.f_frsize), fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::runtime::clock;

    fn fresh() -> (tempfile::TempDir, Mint, Clock) {
        let clock = clock::system();
        (tempfile::tempdir().unwrap(), Mint::system(clock.clone()), clock)
    }

    #[test]
    fn a_volume_keeps_its_id_and_is_served_once() {
        let (dir, mint, clock) = fresh();
        let id = init(dir.path(), &mint, &clock).unwrap();
        assert_eq!(init(dir.path(), &mint, &clock).unwrap(), id, "a second init changes nothing");
        let volume = open(dir.path(), false).unwrap();
        assert_eq!(volume.id, id);
        let status = volume.status();
        assert!(status.fault.is_none() && status.total_bytes >= status.free_bytes, "{status:?}");
        assert!(matches!(open(dir.path(), false), Err(VolumeRefusal::Served(_))));
        drop(volume);
        open(dir.path(), false).unwrap();
    }

    #[test]
    fn hostile_row_56_wrong_empty_foreign_or_newer_mounts_are_refused() {
        let (dir, mint, clock) = fresh();
        assert!(matches!(open(dir.path(), false), Err(VolumeRefusal::NotAVolume(_))));
        assert!(matches!(open(&dir.path().join("gone"), false), Err(VolumeRefusal::NotAVolume(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was created in an empty mount point");
        fs::write(dir.path().join("holiday.jpg"), b"x").unwrap();
        assert!(matches!(init(dir.path(), &mint, &clock), Err(VolumeRefusal::Foreign(_))));
        fs::remove_file(dir.path().join("holiday.jpg")).unwrap();
        init(dir.path(), &mint, &clock).unwrap();
        assert!(matches!(open(dir.path(), true), Err(VolumeRefusal::NotMounted(_))), "a plain directory is no mount");
        let path = dir.path().join("volume.json");
        let newer = fs::read_to_string(&path).unwrap().replace("\"format_version\": 1", "\"format_version\": 2");
        fs::write(&path, newer).unwrap();
        assert!(matches!(open(dir.path(), false), Err(VolumeRefusal::TooNew { found: 2, .. })));
        fs::write(&path, b"{").unwrap();
        assert!(matches!(open(dir.path(), false), Err(VolumeRefusal::Fault(VolumeError::Damaged { .. }))));
    }

    /// A host that tells that the device under a directory has this serial number.
    fn host(at: &Path, device_of: &Path, serial: &str) -> Places {
        let dev = fs::metadata(device_of).unwrap().dev();
        let device = at.join("sys/dev/block").join(format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev)));
        fs::create_dir_all(device.join("device")).unwrap();
        fs::write(device.join("device/serial"), serial).unwrap();
        Places { sys: at.join("sys"), dev: at.join("dev") }
    }

    #[test]
    fn hostile_row_55_a_restored_snapshot_is_refused_and_a_moved_device_is_not() {
        let (dir, mint, clock) = fresh();
        let (hosts, root) = (tempfile::tempdir().unwrap(), dir.path());
        let original = host(&hosts.path().join("1"), root, "vol0aaa");
        init(root, &mint, &clock).unwrap();
        // What this very host tells of its device is not of interest here.
        write(root, &VolumeFile { origin: None, ..read(root).unwrap().unwrap() }).unwrap();
        drop(open_with(root, false, &original).unwrap());
        assert_eq!(read(root).unwrap().unwrap().origin.unwrap().serial.as_deref(), Some("vol0aaa"), "completed");
        let moved = host(&hosts.path().join("2"), root, "vol0aaa");
        let mut file = read(root).unwrap().unwrap();
        file.device = Some(DeviceFacts { st_dev: 1, fsid: 2, total_bytes: 3 });
        write(root, &file).unwrap();
        drop(open_with(root, false, &moved).unwrap());
        let restored = host(&hosts.path().join("3"), root, "vol0bbb");
        let refused = open_with(root, false, &restored).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, VolumeRefusal::Copied { .. }), "{told}");
        assert!(told.contains("vol0aaa") && told.contains("vol0bbb") && told.contains("--accept-copy"), "{told}");
        assert_eq!(accept_copy_with(root, &clock, &restored).unwrap(), file.id, "the same volume from now on");
        drop(open_with(root, false, &restored).unwrap());
        assert!(read(root).unwrap().unwrap().copy_accepted_at.is_some());
        assert!(open_with(root, false, &original).is_err(), "and the original is the copy now");
    }

    #[test]
    fn hostile_row_55_a_volume_that_was_copied_file_by_file_is_refused() {
        let (dir, mint, clock) = fresh();
        init(dir.path(), &mint, &clock).unwrap();
        let copies = tempfile::tempdir().unwrap();
        let copy = copies.path().join("copy");
        assert!(std::process::Command::new("cp").arg("-a").arg(dir.path()).arg(&copy).status().unwrap().success());
        let refused = open(&copy, false).unwrap_err();
        assert!(refused.to_string().contains("volume.lock is inode"), "{refused}");
        fs::remove_file(copy.join("volume.lock")).unwrap();
        assert!(matches!(open(&copy, false), Err(VolumeRefusal::Copied { .. })), "also without the lock");
        assert!(!copy.join("volume.lock").exists(), "and nothing is made there");
        let served = open(dir.path(), false).unwrap();
        assert!(matches!(accept_copy(dir.path(), &clock), Err(VolumeRefusal::Served(_))));
        drop(served);
        accept_copy(&copy, &clock).unwrap();
        drop(open(&copy, false).unwrap());
    }

    #[test]
    fn a_volume_of_the_first_release_is_accepted_and_completed() {
        let (dir, mint, clock) = fresh();
        init(dir.path(), &mint, &clock).unwrap();
        let path = dir.path().join("volume.json");
        let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        old.as_object_mut().unwrap().remove("origin");
        fs::write(&path, old.to_string()).unwrap();
        fs::remove_file(dir.path().join("volume.lock")).unwrap();
        drop(open(dir.path(), false).unwrap());
        assert!(read(dir.path()).unwrap().unwrap().origin.unwrap().lock_inode.is_some());
    }

    #[test]
    fn hostile_row_62_a_volume_that_went_away_is_told_in_its_status() {
        let (dir, mint, clock) = fresh();
        init(dir.path(), &mint, &clock).unwrap();
        let volume = open(dir.path(), false).unwrap();
        fs::remove_file(dir.path().join("volume.json")).unwrap();
        assert!(volume.status().fault.is_some_and(|fault| fault.contains("no longer")));
    }
}
