//! Space kept back, so that a result can still be written when the volume is full.
//!
//! The file is really allocated, and given up by whoever has to write a result and finds no space. It
//! is taken again when there is room. Without it everything works, only less surely.

use std::fs;
use std::path::{Path, PathBuf};

use cratekube_common::runtime::fault::{self, Step};
use cratekube_common::runtime::files;
use rustix::fs::{FallocateFlags, fallocate};

/// How much: a seal of a large state and all journals of the runs that end meanwhile.
pub const RESERVE_BYTES: u64 = 8 << 20;

/// Where the reserve of a volume is.
#[must_use]
pub fn path(root: &Path) -> PathBuf {
    root.join(".reserve")
}

/// Takes the reserve when it is not there; best effort.
pub fn take(root: &Path) {
    let path = path(root);
    if fs::metadata(&path).is_ok_and(|m| m.len() == RESERVE_BYTES) {
        return;
    }
    let allocate = |file| {
        fault::step(Step::Allocate, &path)?;
        Ok(fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?)
    };
    if let Err(error) = files::create_private(&path).and_then(allocate) {
        tracing::warn!(path = %path.display(), %error, "no space can be kept back for results");
        give_up(&path);
    }
}

/// Gives the space up; says whether there was any.
pub fn give_up(path: &Path) -> bool {
    files::remove(path).is_ok()
}
