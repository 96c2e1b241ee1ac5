//! Files that survive a power cut: write aside, fsync, rename, fsync the directory.
//!
//! Every durable write of controller and agent goes through here, and so through the seam where tests
//! make it fail ([`fault`]). Files are 0600, directories 0700.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::fault::{self, Step};

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
    fault::step(Step::MakeDir, path)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    parent.map_or(Ok(()), sync_dir)
}

/// Makes a directory 0700 in one that is there, durably. Where a volume has gone away nothing is made at
/// its empty mount point.
///
/// # Errors
/// From the filesystem, also when the parent is not there.
pub fn make_child(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => Err(io::ErrorKind::NotFound.into()),
        _ => make_dir(path),
    }
}

/// Writes a file so that after a crash either the old or the new content is there, whole.
///
/// # Errors
/// From the filesystem; the old content is still there then, unless it was only the directory that
/// could not be made durable: then either may be there after a crash.
pub fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = aside(path);
    let written = write_new(&aside, content);
    if let Err(error) = written.and_then(|()| rename(&aside, path)) {
        let _best_effort = remove(&aside);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes what an interrupted [`write_atomic`] left beside a file, if it left anything. For whoever alone writes
/// it.
///
/// # Errors
/// From the filesystem.
pub fn remove_unfinished(path: &Path) -> io::Result<()> {
    let aside = aside(path);
    if aside.try_exists()? { remove(&aside) } else { Ok(()) }
}

/// Writes a file that nobody reads yet, and makes its content durable; its name is not.
///
/// # Errors
/// From the filesystem.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = create_private(path)?;
    fault::write_all(&file, path, content)?;
    sync(&file, path)
}

/// Replaces a file so that every reader finds the old or the new content, whole; but not after a crash.
///
/// # Errors
/// From the filesystem.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = aside(path);
    fault::write_all(create_private(&aside)?, &aside, content)?;
    rename(&aside, path)
}

/// Creates or truncates a file that only its owner may read.
///
/// # Errors
/// From the filesystem.
pub fn create_private(path: &Path) -> io::Result<File> {
    fault::step(Step::Create, path)?;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Opens a file for locking, and makes it when it is not there. Its content and its inode stay.
///
/// # Errors
/// From the filesystem.
pub fn open_lock(path: &Path) -> io::Result<File> {
    if !path.exists() {
        fault::step(Step::Create, path)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// A lock that belongs to this process alone. It ends when this is dropped: closing the file would not
/// be enough while a child that is just being started holds a copy of its descriptor.
#[derive(Debug)]
pub struct OwnLock(File);

impl OwnLock {
    /// Locks a file without waiting.
    ///
    /// # Errors
    /// When it is locked already, or cannot be.
    pub fn take(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for OwnLock {
    fn drop(&mut self) {
        // What fails here ends with the descriptors.
        let _ = self.0.unlock();
    }
}

/// Makes the content of a file durable. After an error nothing is known of what is on the disk: the
/// kernel may have dropped what it could not write, so that asking again proves nothing.
///
/// # Errors
/// From the filesystem.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    fault::step(Step::Sync, path)?;
    file.sync_all()
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// From the filesystem.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    fault::step(Step::SyncDir, path)?;
    File::open(path)?.sync_all()
}

/// Gives a file or directory another name; durable once the directories are.
///
/// # Errors
/// From the filesystem.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::step(Step::Rename(to), from)?;
    fs::rename(from, to)
}

/// Gives a file a second name that nothing has yet; durable once the directory is.
///
/// # Errors
/// From the filesystem.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    fault::step(Step::Link(to), from)?;
    fs::hard_link(from, to)
}

/// Removes a file.
///
/// # Errors
/// From the filesystem.
pub fn remove(path: &Path) -> io::Result<()> {
    fault::step(Step::Remove, path)?;
    fs::remove_file(path)
}

/// Removes a directory with all that is in it; one that is not there is fine.
///
/// # Errors
/// From the filesystem.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    fault::step(Step::RemoveTree, path)?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
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

    #[test]
    fn an_own_lock_ends_with_its_owner_although_a_child_holds_a_copy_of_the_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let opened = open_lock(&path).unwrap();
        let of_a_child = opened.try_clone().unwrap();
        let lock = OwnLock::take(opened).unwrap();
        assert!(OwnLock::take(open_lock(&path).unwrap()).is_err());
        drop(lock);
        assert!(OwnLock::take(open_lock(&path).unwrap()).is_ok());
        drop(of_a_child);
    }

    #[cfg(feature = "faults")]
    #[test]
    fn hostile_row_57_a_write_that_fails_anywhere_leaves_the_old_content_or_the_new_one() {
        use fault::{Act, Plan, install};
        for act in [Act::FULL, Act::BROKEN, Act::READ_ONLY] {
            for nth in 1.. {
                let dir = tempfile::tempdir().unwrap();
                let file = dir.path().join("f.json");
                write_atomic(&file, b"old").unwrap();
                let plan = install(Plan::at(act, nth, &dir.path().display().to_string()));
                let written = write_atomic(&file, b"new and longer");
                let found = read_optional(&file).unwrap().unwrap();
                if plan.struck() == 0 {
                    assert!(written.is_ok() && nth > 4, "{nth} steps");
                    break;
                }
                // Only where the directory could not be made durable is the new content there.
                let expected: &[u8] = if nth == 5 { b"new and longer" } else { b"old" };
                assert!(written.is_err() && found == expected, "{act:?} at {nth}: {found:?}");
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
            }
        }
    }

    #[cfg(feature = "faults")]
    #[test]
    fn what_is_written_is_recorded_in_order_with_its_data() {
        use fault::Recorded as R;
        let dir = tempfile::tempdir().unwrap();
        let (file, aside) = (dir.path().join("f"), dir.path().join(".f.new"));
        let recorder = fault::record(dir.path());
        write_atomic(&file, b"x").unwrap();
        let expected = [
            R::Create(aside.clone()),
            R::Write(aside.clone(), b"x".to_vec()),
            R::Sync(aside.clone()),
            R::Rename(aside, file),
            R::SyncDir(dir.path().to_owned()),
        ];
        assert_eq!(recorder.steps(), expected);
    }
}
