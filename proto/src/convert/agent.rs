//! What an agent says of itself.

use cratekube_common::domain::agent::{AgentFacts, ScrubStatus, VolumeStatus};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::run::{HeldRun, RkeBinary, RunVerdict};

use super::{Malformed, bounded, parse, present, sha256, time};
use crate::v1;

/// More volumes than a host can have.
const MAX_VOLUMES: usize = 128;
const MAX_FAULTS: usize = 100;
/// More versions than any `rke` offers.
const MAX_VERSIONS: usize = 1_000;

impl TryFrom<v1::AgentFacts> for AgentFacts {
    type Error = Malformed;
    fn try_from(wire: v1::AgentFacts) -> Result<Self, Malformed> {
        if wire.kubernetes_versions.len() > MAX_VERSIONS {
            return Err(Malformed { field: "kubernetes_versions", fault: "too many".into() });
        }
        Ok(Self {
            version: bounded("version", wire.version)?,
            hostname: bounded("hostname", wire.hostname)?,
            slots: wire.slots,
            rke: wire.rke.map(TryInto::try_into).transpose()?,
            kubernetes_versions: wire.kubernetes_versions,
            volumes: volumes(wire.volumes)?,
        })
    }
}

/// Reads a list of volumes.
///
/// # Errors
/// [`Malformed`] when one of them is.
pub fn volumes(wire: Vec<v1::Volume>) -> Result<Vec<VolumeStatus>, Malformed> {
    if wire.len() > MAX_VOLUMES {
        return Err(Malformed { field: "volumes", fault: format!("more than {MAX_VOLUMES}") });
    }
    wire.into_iter().map(TryInto::try_into).collect()
}

impl From<AgentFacts> for v1::AgentFacts {
    fn from(facts: AgentFacts) -> Self {
        Self {
            version: facts.version,
            hostname: facts.hostname,
            slots: facts.slots,
            rke: facts.rke.map(Into::into),
            kubernetes_versions: facts.kubernetes_versions,
            volumes: facts.volumes.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::RkeBinary> for RkeBinary {
    type Error = Malformed;
    fn try_from(wire: v1::RkeBinary) -> Result<Self, Malformed> {
        let version = bounded("rke.version", wire.version)?;
        Ok(Self { version, sha256: sha256("rke.sha256", wire.sha256)?, rehearsal: wire.rehearsal })
    }
}

impl From<RkeBinary> for v1::RkeBinary {
    fn from(rke: RkeBinary) -> Self {
        Self { version: rke.version, sha256: rke.sha256, rehearsal: rke.rehearsal }
    }
}

impl TryFrom<v1::Volume> for VolumeStatus {
    type Error = Malformed;
    fn try_from(wire: v1::Volume) -> Result<Self, Malformed> {
        Ok(Self {
            id: parse("volume.id", &wire.id)?,
            path: bounded("volume.path", wire.path)?,
            free_bytes: wire.free_bytes,
            total_bytes: wire.total_bytes,
            fault: if wire.fault.is_empty() { None } else { Some(bounded("volume.fault", wire.fault)?) },
            reserve_bytes: wire.reserve_bytes,
            scrub: wire.scrub.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<VolumeStatus> for v1::Volume {
    fn from(volume: VolumeStatus) -> Self {
        Self {
            id: volume.id.to_string(),
            path: volume.path,
            free_bytes: volume.free_bytes,
            total_bytes: volume.total_bytes,
            fault: volume.fault.unwrap_or_default(),
            reserve_bytes: volume.reserve_bytes,
            scrub: volume.scrub.map(Into::into),
        }
    }
}

impl TryFrom<v1::Scrub> for ScrubStatus {
    type Error = Malformed;
    fn try_from(wire: v1::Scrub) -> Result<Self, Malformed> {
        if wire.faults.len() > MAX_FAULTS {
            return Err(Malformed { field: "volume.scrub.faults", fault: format!("more than {MAX_FAULTS}") });
        }
        let faults = wire.faults.into_iter().map(|fault| bounded("volume.scrub.faults", fault));
        Ok(Self { ended_at: time(wire.ended_ms), checked: wire.checked, faults: faults.collect::<Result<_, _>>()? })
    }
}

impl From<ScrubStatus> for v1::Scrub {
    fn from(scrub: ScrubStatus) -> Self {
        Self { ended_ms: scrub.ended_at.as_millis(), checked: scrub.checked, faults: scrub.faults }
    }
}

impl TryFrom<v1::HeldRun> for HeldRun {
    type Error = Malformed;
    fn try_from(wire: v1::HeldRun) -> Result<Self, Malformed> {
        Ok(Self {
            attempt: parse("run.attempt", &wire.attempt)?,
            fence: Fence(wire.fence),
            cluster: parse("run.cluster", &wire.cluster)?,
            volume: parse("run.volume", &wire.volume)?,
            live: wire.live,
        })
    }
}

impl From<HeldRun> for v1::HeldRun {
    fn from(run: HeldRun) -> Self {
        Self {
            attempt: run.attempt.to_string(),
            fence: run.fence.0,
            cluster: run.cluster.to_string(),
            volume: run.volume.to_string(),
            live: run.live,
        }
    }
}

impl From<RunVerdict> for v1::VerdictKind {
    fn from(verdict: RunVerdict) -> Self {
        match verdict {
            RunVerdict::Continue => Self::Continue,
            RunVerdict::Cancel => Self::Cancel,
            RunVerdict::Forget => Self::Forget,
        }
    }
}

impl TryFrom<v1::VerdictKind> for RunVerdict {
    type Error = Malformed;
    fn try_from(wire: v1::VerdictKind) -> Result<Self, Malformed> {
        let known = match wire {
            v1::VerdictKind::Continue => Some(Self::Continue),
            v1::VerdictKind::Cancel => Some(Self::Cancel),
            v1::VerdictKind::Forget => Some(Self::Forget),
            v1::VerdictKind::Unspecified => None,
        };
        present("verdict.kind", known)
    }
}
