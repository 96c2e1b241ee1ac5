//! Which hosts carry a cluster, and which of them a removal that failed has cleaned: kept on the volume, for RKE's
//! own state forgets both.

use cratekube_common::domain::run::ExitStatus;
use cratekube_common::domain::task::TaskKind;

use super::attend::Live;
use super::core::Core;
use super::finish::Ended;
use crate::provisioner::Reader;
use crate::volume::VolumeError;
use crate::volume::layout::ClusterFile;

/// Keeps it in mind when a run is over. A failure here costs a warning at the next change.
pub(super) fn keep_in_mind(core: &Core, live: &Live, ended: &Ended) {
    let (record, Some(evidence)) = (&live.record, &ended.evidence) else { return };
    if !record.kind.builds() && record.kind != TaskKind::Remove {
        return;
    }
    let keep = || {
        core.volume_at(live.cluster.path()).map_or(Ok(()), |volume| volume.check())?;
        let Some(mut file) = live.cluster.read_record()? else { return Ok(()) };
        let before = file.clone();
        match record.kind {
            TaskKind::Remove => file.wiped.extend(evidence.wiped().iter().cloned()),
            _ => built(core, live, ended, evidence.as_ref(), &mut file),
        }
        if file == before { Ok(()) } else { live.cluster.write_record(&file) }
    };
    let kept: Result<(), VolumeError> = keep();
    if let Err(error) = kept {
        core.heed(live.cluster.path(), &error);
        tracing::warn!(attempt = %record.attempt, %error, "cannot keep in mind which hosts carry the cluster");
    }
}

/// What carries the cluster after a run that builds. A host that left is forgotten when it was cleaned, or when a
/// run that came to its end has told of it; after such a run whatever was cleaned before is built again.
fn built(core: &Core, live: &Live, ended: &Ended, evidence: &dyn Reader, file: &mut ClusterFile) {
    let record = &live.record;
    let told = evidence.has_finished() && ended.exit.as_ref().is_some_and(|e| e.exit == Some(ExitStatus::Code(0)));
    let built = core.provisioner.hosts(&live.cluster.working()).into_iter();
    file.hosts.extend(built.filter(|host| record.wanted_hosts.contains(host)));
    let is_gone = |host: &String| evidence.cleaned().contains(host) || told && record.left_hosts.contains(host);
    file.hosts.retain(|host| !is_gone(host));
    if told {
        file.wiped.clear();
    }
}
