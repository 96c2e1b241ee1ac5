//! Looks through a volume for a controller that was restored from a backup: what its clusters are, what
//! was sealed, and which runs have journals; and holds runs again whose reports that controller lost.
//!
//! Nothing on the volume is changed by looking. A run that is to be reported again loses the mark that
//! says it was recorded, and is gone on with as one that a restart of the agent found.

use std::path::PathBuf;
use std::sync::Arc;

use cratekube_common::domain::id::{AttemptId, VolumeId};
use cratekube_common::domain::inventory::{ClusterOnVolume, RunOnVolume, Work};

use super::core::Core;
use super::startup;
use crate::run::journal::{Journal, Mark};
use crate::volume::generations::Generations;
use crate::volume::identity::Volume;
use crate::volume::layout::{ClusterDir, directories};
use crate::volume::{VolumeError, fence};

/// Everything that a volume tells of its clusters.
pub(super) fn look_through(core: &Core, id: VolumeId) -> Result<Vec<ClusterOnVolume>, String> {
    let volume = core.volume(id).ok_or_else(|| format!("volume {id} is not served by this agent"))?;
    let clusters = volume.layout.clusters().map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, VolumeError> = clusters.iter().map(|dir| cluster(&volume, dir)).collect();
    found.map(|found| found.into_iter().flatten().collect()).map_err(|error| error.to_string())
}

fn cluster(volume: &Volume, dir: &ClusterDir) -> Result<Option<ClusterOnVolume>, VolumeError> {
    volume.layout.check_cluster(dir)?;
    let Some(file) = dir.read_record()? else { return Ok(None) };
    let runs: Result<Vec<_>, VolumeError> = directories(&dir.runs())?.into_iter().map(run).collect();
    let mut runs: Vec<RunOnVolume> = runs?.into_iter().flatten().collect();
    runs.sort_by_key(|run| run.fence);
    Ok(Some(ClusterOnVolume {
        cluster: file.cluster,
        environment: file.environment,
        name: file.name,
        fence: fence::read(&dir.fence())?.map(|accepted| accepted.fence),
        removed: dir.is_removed(),
        generations: Generations::at(dir.generations()).list()?,
        runs,
    }))
}

fn run(dir: PathBuf) -> Result<Option<RunOnVolume>, VolumeError> {
    let journal = Journal::at(dir);
    let (record, report) = (journal.run()?, journal.result()?);
    let whose = match (&record, &report) {
        (Some(record), _) => Some((record.attempt, record.fence)),
        (None, Some(report)) => Some((report.attempt, report.fence)),
        (None, None) => None,
    };
    let work = record.map(|r| Work { task: r.task, kind: r.kind, operation: r.operation, at: r.created_at });
    Ok(whose.map(|(attempt, fence)| RunOnVolume {
        attempt,
        fence,
        work,
        report,
        recorded: journal.has(Mark::Recorded),
        forgotten: journal.has(Mark::Forgotten),
    }))
}

/// Holds runs again, so that they are reported again with their output.
pub(super) fn report_again(core: &Arc<Core>, attempts: &[AttemptId]) {
    for volume in &core.volumes {
        let clusters = volume.layout.clusters().unwrap_or_else(|error| {
            tracing::error!(volume = %volume.id, %error, "cannot look for runs that are to be reported again");
            Vec::new()
        });
        for cluster in &clusters {
            for attempt in attempts {
                let journal = Journal::at(cluster.run(*attempt));
                if !journal.has(Mark::Recorded) {
                    continue;
                }
                tracing::info!(%attempt, "the controller wants to hear of a run again");
                let found =
                    journal.unmark(Mark::Recorded).and_then(|()| startup::find(core, volume, cluster, &journal));
                match found {
                    Ok(Some(found)) => startup::go_on(core, found),
                    Ok(None) => {}
                    Err(error) => tracing::error!(%attempt, %error, "a run cannot be reported again"),
                }
            }
        }
    }
}
