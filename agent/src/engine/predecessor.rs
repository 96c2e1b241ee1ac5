//! Whether the run that came with the last fence is still on.
//!
//! A higher fence keeps older attempts out; it says nothing of the one that it follows. That one must
//! have ended by its own journal, so that the fence keeps two runs off one cluster also where the lock
//! file is of no use: on a disk that two hosts have attached, or when somebody removed it.

use super::core::Core;
use crate::run::journal::{Journal, Mark, RunRecord};
use crate::volume::VolumeError;
use crate::volume::fence::Accepted;
use crate::volume::layout::ClusterDir;

/// Refuses while the run of the last fence has not ended.
pub(crate) fn has_ended(core: &Core, cluster: &ClusterDir, accepted: Option<Accepted>) -> Result<(), VolumeError> {
    let Some(Accepted { attempt, fence }) = accepted else { return Ok(()) };
    let journal = Journal::at(cluster.run(attempt));
    let Some(record) = journal.run()? else { return Ok(()) };
    let told = journal.result()?.is_some() || journal.has(Mark::Recorded);
    if told || journal.exit()?.is_some() || died(core, &journal, &record) {
        return Ok(());
    }
    Err(VolumeError::Running { attempt, fence })
}

/// True when its processes are known and gone. Of another boot's nothing is known here: this agent found
/// none when it began, so another host has the volume.
fn died(core: &Core, journal: &Journal, record: &RunRecord) -> bool {
    let of_this_boot = record.boot_id == core.boot_id;
    let supervisor = journal.supervisor().ok().flatten().filter(|_| of_this_boot);
    supervisor.is_some_and(|found| {
        let mut processes = std::iter::once(found.supervisor).chain(found.rke);
        !processes.any(|process| core.host.lives(process))
    })
}
