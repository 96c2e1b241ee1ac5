//! The executable that is run: exactly the file that was looked at.
//!
//! Between the look (hash, allow-list, version) and the start the file may be replaced. So it is opened
//! once, told by device, inode, size and both times, and started through the open descriptor, by
//! `/proc/<pid>/fd/<n>`: what is at its path by then does not matter. The descriptor closes on exec, and
//! a script finds itself there for as long as its starter lives.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::own_pid;
use crate::volume::digest;

/// Tells one content of a file from another without reading it: nobody can set the time of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for FileMark {
    fn from(m: &Metadata) -> Self {
        let (modified, changed) = ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()));
        Self { dev: m.dev(), ino: m.ino(), size: m.size(), modified, changed }
    }
}

/// An executable that is held open.
#[derive(Debug)]
pub struct Program {
    file: File,
}

impl Program {
    /// Opens the file at a path.
    ///
    /// # Errors
    /// From the filesystem; what is not a regular file cannot be executed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_file() { Ok(Self { file }) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Which file this is, as it is now.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn mark(&self) -> io::Result<FileMark> {
        self.file.metadata().map(|m| FileMark::from(&m))
    }

    /// The SHA-256 of its content, which did not change meanwhile.
    ///
    /// # Errors
    /// From the filesystem, and when it changed.
    pub fn sha256(&self) -> io::Result<(String, FileMark)> {
        let before = self.mark()?;
        let (_, sha256) = digest::file(&self.executable())?;
        if self.mark()? == before {
            Ok((sha256, before))
        } else {
            Err(io::Error::other("it changed while it was read"))
        }
    }

    /// What to execute, as long as this lives.
    #[must_use]
    pub fn executable(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", own_pid(), self.file.as_raw_fd()))
    }

    /// Makes sure that this is what was looked at: the same file untouched, or at least the same content.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn must_be(&self, mark: &FileMark, sha256: &str) -> io::Result<()> {
        if self.mark()? == *mark || self.sha256()?.0 == sha256 {
            return Ok(());
        }
        Err(io::Error::other("the file was replaced after its checksum was taken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    fn script(path: &Path, says: &str) {
        std::fs::write(path, format!("#!/bin/sh\necho {says}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn hostile_row_68_what_was_opened_is_what_is_executed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rke");
        script(&path, "looked-at");
        let program = Program::open(&path).unwrap();
        let (sha256, mark) = program.sha256().unwrap();
        let other = dir.path().join("other");
        script(&other, "swapped");
        std::fs::rename(&other, &path).unwrap();
        let said = Command::new(program.executable()).output().unwrap();
        assert_eq!(said.stdout, b"looked-at\n");
        assert!(Program::open(&path).unwrap().must_be(&mark, &sha256).is_err());
        script(&other, "looked-at");
        assert!(Program::open(&other).unwrap().must_be(&mark, &sha256).is_ok(), "the same content elsewhere");
    }

    #[test]
    fn hostile_row_68_a_file_that_is_written_to_in_place_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rke");
        script(&path, "looked-at");
        let program = Program::open(&path).unwrap();
        let (sha256, mark) = program.sha256().unwrap();
        assert!(program.must_be(&mark, &sha256).is_ok());
        script(&path, "changed-it");
        assert!(program.must_be(&mark, &sha256).is_err());
        assert!(Program::open(dir.path()).is_err(), "a folder is no program");
    }
}
