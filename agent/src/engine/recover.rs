//! Brings lost or damaged state back into `working/`: from a generation, or from what the cluster gave.
//!
//! What is in `working/` is first copied into the run's directory, durably; then each file is replaced
//! whole, the state last. An interruption leaves files that are each of the one or of the other, and the
//! gate goes on from there. What is believed was decided before; nothing is decided here.

use std::io;

use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::runtime::files;

use super::attend::Live;
use super::core::Core;
use super::finish::{self, Ended};
use super::held::Whose;
use super::prepare::Prepared;
use crate::run::journal::Journal;
use crate::volume::VolumeError;
use crate::volume::generations::{Generations, KUBECONFIG, STATE, copy_files};
use crate::volume::layout::ClusterDir;

/// A recovery that needed no `rke`.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) whose: Whose,
    pub(crate) journal: Journal,
    pub(crate) report: RunReport,
}

/// What is said of state that was put back.
pub(crate) fn said(number: u64, journal: &Journal) -> String {
    let aside = journal.dir().join("aside");
    format!(
        "the state was not whole: generation {number} was put back, and what was there is kept in {}",
        aside.display()
    )
}

/// Puts the files of a generation back, before `rke` runs on them.
pub(crate) fn put_back(cluster: &ClusterDir, journal: &Journal, number: u64) -> Result<(), VolumeError> {
    let content = Generations::at(cluster.generations()).content(number)?;
    replace(cluster, journal, &content)
}

/// Puts a generation back and seals it as the newest: all that was asked for.
pub(crate) fn by_generation(core: &Core, prepared: Prepared, number: u64) -> Over {
    let Prepared { journal, record, cluster, lock, .. } = prepared;
    let at = core.clock.now();
    let words = said(number, &journal);
    let live = Live {
        journal,
        record,
        cluster,
        supervisor: None,
        child: None,
        lock: Some(lock),
        host_lost: false,
        volume_failed: false,
        at,
    };
    let text = format!("{words}\n");
    let written = files::write_new(&live.journal.output(), text.as_bytes());
    let output_bytes = written.map_or(0, |()| text.len() as u64);
    let sealed = put_back(&live.cluster, &live.journal, number).and_then(|()| finish::seal(core, &live));
    let outcome = match &sealed {
        Ok(_) => RunOutcome::Succeeded,
        Err(error) => {
            core.heed(live.cluster.path(), error);
            RunOutcome::Failed(error.to_failure())
        }
    };
    let report = RunReport {
        attempt: live.record.attempt,
        fence: live.record.fence,
        outcome,
        exit: None,
        started_at: Some(at),
        ended_at: core.clock.now(),
        generation: sealed.ok(),
        rke: Some(live.record.rke.clone()),
        warnings: vec![words],
        output_bytes,
        findings: None,
    };
    finish::write_result(core, &live.journal, &report);
    tracing::info!(attempt = %report.attempt, number, "a generation was put back");
    Over { whose: live.whose(), journal: live.journal, report }
}

/// Takes over what the cluster gave back, if it is believed, and seals it.
pub(crate) fn adopt(core: &Core, live: &Live, ended: &Ended) -> Result<Option<Manifest>, VolumeError> {
    if finish::verdict(core, live, ended).outcome != RunOutcome::Succeeded {
        return Ok(None);
    }
    let scratch = finish::scratch(&live.journal);
    let mut content = Vec::new();
    for name in [STATE, KUBECONFIG] {
        let bytes = files::read_optional(&scratch.join(name)).map_err(VolumeError::io("read", &scratch))?;
        content.extend(bytes.map(|bytes| (name.to_owned(), bytes)));
    }
    replace(&live.cluster, &live.journal, &content)?;
    finish::seal(core, live).map(Some)
}

/// Replaces the state files in `working/`.
fn replace(cluster: &ClusterDir, journal: &Journal, content: &[(String, Vec<u8>)]) -> Result<(), VolumeError> {
    let (working, aside) = (cluster.working(), journal.dir().join("aside"));
    for dir in [&working, &aside] {
        files::make_child(dir).map_err(VolumeError::io("make", dir))?;
    }
    let kept = copy_files(&working, &aside).and_then(|_| files::sync_dir(&aside));
    kept.map_err(VolumeError::io("put aside into", &aside))?;
    for name in [KUBECONFIG, STATE] {
        let path = working.join(name);
        let replaced = match content.iter().find(|(found, _)| found == name) {
            Some((_, bytes)) => files::write_atomic(&path, bytes),
            None => match files::remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => files::sync_dir(&working),
            },
        };
        replaced.map_err(VolumeError::io("put back", &path))?;
    }
    Ok(())
}
