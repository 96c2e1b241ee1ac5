//! Lets an operator say that the hosts which a failed removal has cleaned, or may have, are in order again.
//!
//! Until then the state gate keeps `rke up` from building on them. That is for good where etcd was restored by hand,
//! or where nobody knows how far the removal came. Whether they are in order is not looked at here.

use std::collections::BTreeSet;
use std::path::Path;

use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};

use super::VolumeError;
use super::layout::Layout;

/// What is on record of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Hosts that were cleaned, or begun to be.
    pub hosts: BTreeSet<String>,
    /// Removals of which it is not known which hosts they have cleaned.
    pub removals: BTreeSet<AttemptId>,
}

/// Finds what is on record of a cluster on the volume at `root`, and forgets it if that is asked for; none where there
/// is nothing.
///
/// # Errors
/// [`VolumeError::Locked`] while a run of the cluster is on; links and faults.
pub fn on_record(
    root: &Path,
    (environment, cluster): (&EnvironmentName, &ClusterName),
    forget: bool,
) -> Result<Option<Cleaned>, VolumeError> {
    if !root.is_dir() {
        return Ok(None);
    }
    let layout = Layout::open(root)?;
    let dir = layout.cluster(environment, cluster);
    layout.check_cluster(&dir)?;
    if dir.read_record()?.is_none() {
        return Ok(None);
    }
    // Also to look: a removal that is at work is on record, and nothing is wrong with it.
    let _held = dir.lock()?;
    let Some(mut file) = dir.read_record()? else { return Ok(None) };
    let found = Cleaned { hosts: std::mem::take(&mut file.wiped), removals: std::mem::take(&mut file.removing) };
    if found.hosts.is_empty() && found.removals.is_empty() {
        return Ok(None);
    }
    if forget {
        dir.write_record(&file)?;
    }
    Ok(Some(found))
}
