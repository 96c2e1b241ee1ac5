//! Files that survive a power cut: write aside, fsync, rename, fsync the directory.
//!
//! Every durable write of controller and agent goes through here. Files are 0600, directories 0700.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a directory 0700 with its missing parents, durably.
///
/// # Errors
/// From the filesystem.
pub fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    parent.map_or(Ok(()), sync_dir)
}

/// Writes a file so that after a crash either the old or the new content is there, whole.
///
/// # Errors
/// From the filesystem; the old content is still there then.
pub fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = aside(path);
    let written = create_private(&aside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&aside, path)) {
        let _best_effort = fs::remove_file(&aside);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// Creates or truncates a file that only its owner may read.
///
/// # Errors
/// From the filesystem.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// From the filesystem.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a file that may not be there.
///
/// # Errors
/// Every error but "not found".
pub fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn aside(path: &Path) -> std::path::PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_private_whole_and_leave_nothing_aside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        make_dir(&folder).unwrap();
        make_dir(&folder).unwrap();
        let file = folder.join("f.json");
        write_atomic(&file, b"one").unwrap();
        write_atomic(&file, b"two").unwrap();
        assert_eq!(read_optional(&file).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(read_optional(&folder.join("none")).unwrap(), None);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
