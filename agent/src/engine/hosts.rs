//! Which hosts carry a cluster, and which of them a removal that failed has cleaned: kept on the volume, for RKE's
//! own state forgets both.
//!
//! A removal is put on record before its `rke` is started. Which hosts it has cleaned takes the place of that once
//! all that it said is known; where that is lost (the host went down, the volume failed) it stays on record, and
//! counts as one that may have cleaned any host.

use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::run::{ExitStatus, RunOutcome};
use cratekube_common::domain::task::TaskKind;

use super::attend::Live;
use super::core::Core;
use super::finish::Ended;
use crate::provisioner::Reader;
use crate::run::journal::Journal;
use crate::volume::VolumeError;
use crate::volume::layout::{ClusterDir, ClusterFile};

/// What is on record, without removals whose `rke` was never started. Called with the cluster's lock held, or before
/// the agent goes on with any run.
pub(super) fn on_record(cluster: &ClusterDir) -> Result<Option<ClusterFile>, VolumeError> {
    let Some(mut file) = cluster.read_record()? else { return Ok(None) };
    let before = file.removing.len();
    file.removing.retain(|attempt| !never_started(&Journal::at(cluster.run(*attempt))));
    if file.removing.len() != before {
        cluster.write_record(&file)?;
    }
    Ok(Some(file))
}

/// Whether a run is known to have started nothing: it was refused, or it was never journaled.
fn never_started(journal: &Journal) -> bool {
    let refused = || {
        let told = journal.result().ok().flatten();
        told.is_some_and(|report| matches!(report.outcome, RunOutcome::Refused(_)))
    };
    let nothing_of = |name: &&str| !journal.dir().join(name).exists();
    let prepared_only = || ["run.json", "supervisor.json", "output.log", "exit.json"].iter().all(nothing_of);
    journal.dir().is_dir() && (refused() || prepared_only())
}

/// Puts on record that this run may clean hosts from now on. No removal is started where that cannot be done.
pub(super) fn removal_begins(
    cluster: &ClusterDir,
    file: &mut ClusterFile,
    attempt: AttemptId,
) -> Result<(), VolumeError> {
    file.removing.insert(attempt);
    cluster.write_record(file)
}

/// Forgets what was cleaned before anything was built: there is nothing that could have been lost by it.
pub(super) fn first_build_begins(cluster: &ClusterDir, file: &mut ClusterFile) -> Result<(), VolumeError> {
    if file.wiped.is_empty() && file.removing.is_empty() {
        return Ok(());
    }
    file.wiped.clear();
    file.removing.clear();
    cluster.write_record(file)
}

/// Strikes a removal off the record that did not live to be journaled, before its directory is cleared away.
pub(super) fn stillborn(core: &Core, cluster: &ClusterDir) {
    let strike = || {
        core.volume_at(cluster.path()).map_or(Ok(()), |volume| volume.check())?;
        on_record(cluster)
    };
    if let Err(error) = strike() {
        tracing::warn!(cluster = %cluster.path().display(), %error, "cannot look for removals that were never started");
    }
}

/// Keeps it in mind when a run is over. A failure here costs a warning at the next change; a removal then stays on
/// record as one of which it is not known what it has cleaned.
pub(super) fn keep_in_mind(core: &Core, live: &Live, ended: &Ended) {
    let record = &live.record;
    if !record.kind.builds() && record.kind != TaskKind::Remove {
        return;
    }
    let keep = || {
        core.volume_at(live.cluster.path()).map_or(Ok(()), |volume| volume.check())?;
        let Some(mut file) = live.cluster.read_record()? else { return Ok(()) };
        let before = file.clone();
        match (record.kind, &ended.evidence) {
            (TaskKind::Remove, _) => removed(record.attempt, ended, &mut file),
            (_, Some(evidence)) => built(core, live, ended, evidence.as_ref(), &mut file),
            (_, None) => {}
        }
        if file == before { Ok(()) } else { live.cluster.write_record(&file) }
    };
    let kept: Result<(), VolumeError> = keep();
    if let Err(error) = kept {
        core.heed(live.cluster.path(), &error);
        tracing::warn!(attempt = %record.attempt, %error, "cannot keep in mind which hosts carry the cluster");
    }
}

/// What a removal has cleaned.
fn removed(attempt: AttemptId, ended: &Ended, file: &mut ClusterFile) {
    let told = ended.evidence.iter().flat_map(|evidence| evidence.wiped());
    file.wiped.extend(told.cloned());
    if is_all_known(ended) {
        file.removing.remove(&attempt);
    }
}

/// Whether everything that a run said was kept and read.
fn is_all_known(ended: &Ended) -> bool {
    let Some(exit) = ended.exit.as_ref().filter(|_| ended.evidence.is_some()) else { return false };
    !exit.output_failed && exit.dropped_bytes == 0 && ended.output_bytes >= exit.output_bytes
}

/// What carries the cluster after a run that builds. A host that left is forgotten when it was cleaned, or when a
/// run that came to its end has told of it; after such a run whatever was cleaned before is built again. Not so a
/// host of etcd that is still wanted: RKE does not fill an emptied member, and succeeds without it.
fn built(core: &Core, live: &Live, ended: &Ended, evidence: &dyn Reader, file: &mut ClusterFile) {
    let record = &live.record;
    let told = evidence.has_finished() && ended.exit.as_ref().is_some_and(|e| e.exit == Some(ExitStatus::Code(0)));
    let built = core.provisioner.hosts(&live.cluster.working()).into_iter();
    file.hosts.extend(built.filter(|host| record.wanted_hosts.contains(host)));
    let is_gone = |host: &String| evidence.cleaned().contains(host) || told && record.left_hosts.contains(host);
    file.hosts.retain(|host| !is_gone(host));
    if told {
        file.wiped.retain(|host| record.etcd_hosts.contains(host) && record.wanted_hosts.contains(host));
    }
}
