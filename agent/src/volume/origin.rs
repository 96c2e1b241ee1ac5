//! What tells a volume from a copy of it.
//!
//! A snapshot that was restored carries the volume's own id, and so does a copy made file by file; an
//! agent that served one beside the original would run an older past of the same clusters. So the volume
//! remembers what a copy does not have: the serial number of its block device (EBS gives NVMe devices the
//! id of their volume), the id of its filesystem, and the inode of `volume.lock`, which is made once and
//! never replaced. A device that is attached elsewhere keeps all three.
//!
//! What cannot be found is not compared: not every host tells serial numbers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a volume was made on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Serial number of the block device.
    #[serde(default)]
    pub serial: Option<String>,
    /// Id of the filesystem.
    #[serde(default)]
    pub filesystem: Option<String>,
    /// Inode of `volume.lock`.
    #[serde(default)]
    pub lock_inode: Option<u64>,
}

/// Where the host tells of its devices.
#[derive(Debug, Clone)]
pub struct Places {
    /// Mounted `sysfs`.
    pub sys: PathBuf,
    /// Device nodes.
    pub dev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into() }
    }
}

impl Origin {
    /// What is found for the volume at a root.
    #[must_use]
    pub fn find(root: &Path, places: &Places) -> Self {
        let device = fs::metadata(root).ok().and_then(|m| places.device(m.dev()));
        let lock_inode = fs::symlink_metadata(root.join("volume.lock")).ok().map(|m| m.ino());
        let serial = device.as_deref().and_then(serial);
        let filesystem = device.as_deref().and_then(|device| places.filesystem(device));
        Self { serial, filesystem, lock_inode }
    }

    /// How what is found differs from what is recorded, each in words; none when it is the same volume.
    #[must_use]
    pub fn difference(&self, found: &Self) -> Option<(String, String)> {
        let both = |a: &Option<String>, b: &Option<String>| a.clone().zip(b.clone()).filter(|(a, b)| a != b);
        if let Some((recorded, found)) = both(&self.serial, &found.serial) {
            return Some((format!("device {recorded}"), format!("device {found}")));
        }
        if let Some((recorded, found)) = both(&self.filesystem, &found.filesystem) {
            return Some((format!("filesystem {recorded}"), format!("filesystem {found}")));
        }
        let recorded = self.lock_inode.filter(|_| self.lock_inode != found.lock_inode)?;
        let found = found.lock_inode.map_or("missing".to_owned(), |inode| format!("inode {inode}"));
        Some((format!("a filesystem where volume.lock is inode {recorded}"), format!("one where it is {found}")))
    }

    /// What is recorded, with what is found where nothing was.
    #[must_use]
    pub fn completed(&self, found: Self) -> Self {
        Self {
            serial: self.serial.clone().or(found.serial),
            filesystem: self.filesystem.clone().or(found.filesystem),
            lock_inode: self.lock_inode.or(found.lock_inode),
        }
    }
}

impl Places {
    /// The directory of a device in `sysfs`; none for filesystems without a block device.
    fn device(&self, dev: u64) -> Option<PathBuf> {
        let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
        fs::canonicalize(self.sys.join("dev/block").join(format!("{major}:{minor}"))).ok()
    }

    /// The id under which the host lists the filesystem on a device.
    fn filesystem(&self, device: &Path) -> Option<String> {
        let node = fs::canonicalize(self.dev.join(device.file_name()?)).ok()?;
        let listed = fs::read_dir(self.dev.join("disk/by-uuid")).ok()?;
        let found = listed.flatten().find(|entry| fs::canonicalize(entry.path()).is_ok_and(|at| at == node))?;
        found.file_name().into_string().ok()
    }
}

/// The serial number of a device, or of the disk that it is a partition of.
fn serial(device: &Path) -> Option<String> {
    let disk = device.parent()?;
    let places = [device.join("device/serial"), device.join("serial"), disk.join("device/serial"), disk.join("serial")];
    let read = |place: &PathBuf| fs::read_to_string(place).ok().map(|text| text.trim().to_owned());
    places.iter().filter_map(read).find(|serial| !serial.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn origin(serial: Option<&str>, filesystem: Option<&str>, lock_inode: Option<u64>) -> Origin {
        Origin { serial: serial.map(Into::into), filesystem: filesystem.map(Into::into), lock_inode }
    }

    #[test]
    fn hostile_row_55_a_copy_is_told_from_its_original_by_whatever_both_tell() {
        let made = origin(Some("vol-1"), Some("fs-1"), Some(12));
        assert_eq!(made.difference(&made), None);
        assert_eq!(made.difference(&origin(None, None, Some(12))), None, "what is not told is not compared");
        let (recorded, found) = made.difference(&origin(Some("vol-2"), Some("fs-1"), Some(12))).unwrap();
        assert_eq!((recorded.as_str(), found.as_str()), ("device vol-1", "device vol-2"), "a restored snapshot");
        assert!(made.difference(&origin(Some("vol-1"), Some("fs-2"), Some(12))).is_some(), "made anew");
        assert!(made.difference(&origin(None, None, Some(13))).is_some(), "copied file by file");
        assert!(made.difference(&origin(None, None, None)).unwrap().1.contains("missing"));
        let none = Origin::default();
        assert_eq!(none.difference(&made), None);
        assert_eq!(none.completed(made.clone()), made);
    }

    #[test]
    fn serial_and_filesystem_are_read_where_the_host_tells_them() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { sys: dir.path().join("sys"), dev: dir.path().join("dev") };
        let dev = fs::metadata(dir.path()).unwrap().dev();
        let disk = places.sys.join("devices/nvme1/nvme1n1");
        let partition = disk.join("nvme1n1p1");
        fs::create_dir_all(&partition).unwrap();
        fs::create_dir_all(disk.join("device")).unwrap();
        fs::write(disk.join("device/serial"), "vol0123456789abcdef \n").unwrap();
        fs::create_dir_all(places.sys.join("dev/block")).unwrap();
        let number = format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
        symlink(&partition, places.sys.join("dev/block").join(number)).unwrap();
        fs::create_dir_all(places.dev.join("disk/by-uuid")).unwrap();
        fs::write(places.dev.join("nvme1n1p1"), "").unwrap();
        symlink("../../nvme1n1p1", places.dev.join("disk/by-uuid/1d1a-77")).unwrap();
        let found = Origin::find(dir.path(), &places);
        assert_eq!(found, origin(Some("vol0123456789abcdef"), Some("1d1a-77"), None));
        fs::write(dir.path().join("volume.lock"), "").unwrap();
        assert!(Origin::find(dir.path(), &places).lock_inode.is_some());
    }
}
