//! The highest fence ever accepted for a cluster: one of the three locks that each alone keep two runs
//! off one cluster. It is durable before anything is started under it.

use std::path::Path;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::runtime::files;
use serde::{Deserialize, Serialize};

use super::VolumeError;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The highest fence.
    pub fence: Fence,
    /// The attempt that came with it.
    pub attempt: AttemptId,
}

/// Reads what was accepted; none when nothing ever was.
///
/// # Errors
/// When the file cannot be read or is damaged: a fence that cannot be compared refuses everything.
pub fn read(path: &Path) -> Result<Option<Accepted>, VolumeError> {
    let Some(bytes) = files::read_optional(path).map_err(VolumeError::io("read", path))? else { return Ok(None) };
    let damaged = |e: serde_json::Error| VolumeError::Damaged { path: path.to_owned(), fault: e.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// Whether an attempt may act: pure.
///
/// # Errors
/// [`VolumeError::Fenced`] for an older fence, and for the same one from another attempt.
pub fn check(accepted: Option<Accepted>, offered: Accepted) -> Result<(), VolumeError> {
    match accepted {
        Some(accepted) if offered != accepted && offered.fence <= accepted.fence => {
            Err(VolumeError::Fenced { offered: offered.fence, accepted: accepted.fence })
        }
        _ => Ok(()),
    }
}

/// Accepts a fence, durably.
///
/// # Errors
/// As [`check`], and from the filesystem.
pub fn accept(path: &Path, offered: Accepted) -> Result<(), VolumeError> {
    let accepted = read(path)?;
    check(accepted, offered)?;
    if accepted == Some(offered) {
        return Ok(());
    }
    let content = serde_json::to_vec(&offered)
        .map_err(|e| VolumeError::Damaged { path: path.to_owned(), fault: e.to_string() })?;
    files::write_atomic(path, &content).map_err(VolumeError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn offer(fence: u64, attempt: u128) -> Accepted {
        Accepted { fence: Fence(fence), attempt: AttemptId(Uuid::from_u128(attempt)) }
    }

    #[test]
    fn hostile_row_43_an_older_fence_and_a_shared_one_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        accept(&path, offer(7, 1)).unwrap();
        accept(&path, offer(7, 1)).unwrap();
        assert!(matches!(accept(&path, offer(6, 2)), Err(VolumeError::Fenced { .. })));
        assert!(matches!(accept(&path, offer(7, 2)), Err(VolumeError::Fenced { .. })));
        accept(&path, offer(8, 2)).unwrap();
        assert_eq!(read(&path).unwrap(), Some(offer(8, 2)));
    }

    #[test]
    fn a_damaged_fence_refuses_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        std::fs::write(&path, b"{\"fence\":").unwrap();
        assert!(matches!(accept(&path, offer(9, 1)), Err(VolumeError::Damaged { .. })));
    }

    proptest! {
        #[test]
        fn what_is_accepted_never_shrinks(offers in prop::collection::vec((0u64..20, 0u128..4), 1..60)) {
            let mut accepted = None;
            for (fence, attempt) in offers {
                let offered = offer(fence, attempt);
                if check(accepted, offered).is_ok() {
                    prop_assert!(accepted.is_none_or(|a: Accepted| a.fence <= offered.fence));
                    accepted = Some(offered);
                }
            }
        }
    }
}
