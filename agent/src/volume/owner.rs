//! Who serves a volume now: a number that grows each time an agent begins to serve it.
//!
//! The `flock` on `volume.lock` is not seen by another host that has the same device. So whoever begins
//! to serve a volume writes the next number to `owner.json`, and looks whether that is still the newest
//! before `rke` is started and before a generation is sealed. An agent whose volume went to another one
//! while it was away commits nothing any more; what it has is evidence.
//!
//! Not here: telling a copy of a volume from its original, which has a history of its own.

use std::path::{Path, PathBuf};

use cratekube_common::runtime::files;
use serde::{Deserialize, Serialize};

use super::VolumeError;

/// What `owner.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OwnerFile {
    /// Grows with everyone who begins to serve the volume.
    epoch: u64,
    /// Name of the host, for people.
    host: String,
}

/// Our turn at a volume.
#[derive(Debug)]
pub struct Owner {
    path: PathBuf,
    epoch: u64,
}

impl Owner {
    /// Begins a turn, durably.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged: a number that cannot be compared refuses.
    pub fn begin(root: &Path) -> Result<Self, VolumeError> {
        let path = root.join("owner.json");
        let epoch = read(&path)?.map_or(1, |file| file.epoch.saturating_add(1));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let content = serde_json::to_vec(&OwnerFile { epoch, host }).map_err(damaged(&path))?;
        files::write_atomic(&path, &content).map_err(VolumeError::io("write", &path))?;
        Ok(Self { path, epoch })
    }

    /// Whether it is still our turn.
    ///
    /// # Errors
    /// [`VolumeError::Displaced`] when somebody else's has begun; and when the file cannot be read.
    pub fn check(&self) -> Result<(), VolumeError> {
        let found = read(&self.path)?;
        if found.as_ref().is_some_and(|file| file.epoch == self.epoch) {
            return Ok(());
        }
        let host = found.map_or_else(|| "nobody".to_owned(), |file| file.host);
        Err(VolumeError::Displaced { path: self.path.clone(), host })
    }
}

fn read(path: &Path) -> Result<Option<OwnerFile>, VolumeError> {
    let Some(bytes) = files::read_optional(path).map_err(VolumeError::io("read", path))? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged(path))
}

fn damaged(path: &Path) -> impl FnOnce(serde_json::Error) -> VolumeError {
    let path = path.to_owned();
    move |error| VolumeError::Damaged { path, fault: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_row_55_whoever_served_a_volume_before_is_told_that_its_turn_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let first = Owner::begin(dir.path()).unwrap();
        first.check().unwrap();
        let second = Owner::begin(dir.path()).unwrap();
        assert!(matches!(first.check(), Err(VolumeError::Displaced { .. })));
        second.check().unwrap();
        std::fs::remove_file(dir.path().join("owner.json")).unwrap();
        assert!(matches!(second.check(), Err(VolumeError::Displaced { .. })), "what is gone is not ours");
    }

    #[test]
    fn a_damaged_owner_refuses_everything() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner::begin(dir.path()).unwrap();
        std::fs::write(dir.path().join("owner.json"), b"{\"epoch\":").unwrap();
        assert!(matches!(owner.check(), Err(VolumeError::Damaged { .. })));
        assert!(matches!(Owner::begin(dir.path()), Err(VolumeError::Damaged { .. })));
    }
}
