//! The state volume: what is on it and what may be done with it.
//!
//! - [`identity`]: is this the volume, and is it served by us alone?
//! - [`origin`]: is it the volume itself, or a copy of it?
//! - [`layout`]: where everything of one cluster is, and that no symlink leads elsewhere.
//! - [`owner`]: whose turn it is to serve it.
//! - [`fence`]: the highest fence ever accepted.
//! - [`generations`]: immutable, numbered copies of the state.
//! - [`gate`]: whether `rke` may start on what is there.
//! - [`cleaned`]: an operator says that cleaned hosts are in order again.
//! - [`scrub`]: reads again what is sealed.
//! - [`tombstone`]: what is kept of a removed cluster, and until when; [`shred`]: what becomes of it then.
//! - [`reserve`]: space kept back so that a result can be written to a full volume.
//!
//! Every fault is a [`VolumeError`], and each of those is a [`Failure`] that a user can act on.

pub mod cleaned;
pub mod digest;
pub mod fence;
pub mod gate;
pub mod generations;
pub mod identity;
pub mod layout;
pub mod origin;
pub mod owner;
pub mod reserve;
pub mod scrub;
pub mod shred;
pub mod tombstone;

use std::io;
use std::path::{Path, PathBuf};

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::id::{AttemptId, ClusterId};
use rustix::io::Errno;

/// Errors after which a volume is not trusted.
const BREAKING: [Errno; 6] = [Errno::IO, Errno::ROFS, Errno::NXIO, Errno::NODEV, Errno::STALE, Errno::UCLEAN];
/// What to do about it.
const BROKEN: &str = "Look at the host's kernel log, check the filesystem (fsck) or attach the volume again, restart the agent, then retry.";

/// What can be wrong with a volume or with what is on it.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The filesystem refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something on the volume leads out of it.
    #[error("unsafe-volume: {} is, or is reached through, a symbolic link", path.display())]
    Unsafe {
        /// What is not to be followed.
        path: PathBuf,
    },
    /// A file that we wrote does not say what we would write.
    #[error("{} is damaged: {fault}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The directory has another cluster's state.
    #[error("{} holds the state of another cluster, {found}, which was never removed", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// Whose state it is.
        found: ClusterId,
    },
    /// The fence is older than one that was accepted, or taken by another attempt.
    #[error("fence {offered} is stale: fence {accepted} was accepted on this volume")]
    Fenced {
        /// What came.
        offered: Fence,
        /// What was there.
        accepted: Fence,
    },
    /// Another run on this cluster has not ended.
    #[error("another run on this cluster has not ended: it holds {}", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// The run that came with the last fence has not ended.
    #[error("attempt {attempt} runs on this cluster under fence {fence} and has not ended")]
    Running {
        /// The attempt.
        attempt: AttemptId,
        /// Its fence.
        fence: Fence,
    },
    /// The attempt has a run already, and was told about.
    #[error("attempt {attempt} was executed before; its run is kept in {}", path.display())]
    Known {
        /// The attempt.
        attempt: AttemptId,
        /// Its run.
        path: PathBuf,
    },
    /// The volume is not where it was.
    #[error("the state volume is no longer at {}: it was unmounted or detached", root.display())]
    Gone {
        /// Where it was.
        root: PathBuf,
    },
    /// Another agent began to serve the volume.
    #[error("{} says that the volume is served by another agent now, on {host}", path.display())]
    Displaced {
        /// What says so.
        path: PathBuf,
        /// The other one's host.
        host: String,
    },
    /// A write was lost or refused before: what is on the volume may not be what was written.
    #[error("the state volume at {} failed before and is not trusted: {fault}", root.display())]
    Distrusted {
        /// Where it is.
        root: PathBuf,
        /// What happened.
        fault: String,
    },
    /// Not enough space to start anything.
    #[error("the volume has {free} bytes free; {needed} are needed before a run may start")]
    Full {
        /// What there is.
        free: u64,
        /// What is needed.
        needed: u64,
    },
}

impl VolumeError {
    /// Wraps an error of the filesystem with what was being done.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// True when there is no space left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// True when what was written to the volume may be lost, or nothing more can be written: an I/O error,
    /// a filesystem that became read-only, a device that is gone. Nothing is tried again then, for a second
    /// try may succeed without proving anything.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Gone { .. } | Self::Displaced { .. } | Self::Distrusted { .. } => true,
            Self::Io { source, .. } => match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(errno) => BREAKING.contains(&errno),
                None => source.kind() == io::ErrorKind::ReadOnlyFilesystem,
            },
            _ => false,
        }
    }

    /// The same as a failure of the operation.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        use FailureClass as Class;
        let (class, retryable, remedy) = match self {
            Self::Unsafe { .. } => {
                (Class::Volume, false, "Find out who put the link there, and remove it. Nothing was run.")
            }
            Self::Damaged { .. } => {
                (Class::Volume, false, "Check the volume's filesystem; restore the file from a snapshot of the volume.")
            }
            Self::Occupied { .. } => (
                Class::State,
                false,
                "Remove that cluster, or move its directory away from the volume once it is certain that its hosts are free.",
            ),
            Self::Fenced { .. } | Self::Known { .. } => {
                (Class::Internal, false, "Nothing: a newer attempt has taken over.")
            }
            Self::Displaced { .. } => {
                (Class::Volume, false, "Stop this agent: the volume and its clusters are the other one's now.")
            }
            Self::Locked { .. } | Self::Running { .. } => {
                (Class::Internal, true, "Wait for that run to end, then retry.")
            }
            _ if self.is_broken() => (Class::Volume, true, BROKEN),
            _ if self.is_full() => (Class::Volume, true, "Free space on the volume or enlarge it, then retry."),
            _ => (Class::Volume, true, "Check the volume: is it mounted, writable and healthy? Then retry."),
        };
        Failure { class, message: self.to_string(), line: None, retryable, remedy: remedy.into() }
    }
}
