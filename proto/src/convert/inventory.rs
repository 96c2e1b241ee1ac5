//! What a volume tells of its clusters.

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::inventory::{ClusterOnVolume, RunOnVolume, Work};

use super::{Malformed, parse, present, time};
use crate::v1;

/// More generations or runs of one cluster than an agent keeps.
const MAX_KEPT: usize = 10_000;

impl From<ClusterOnVolume> for v1::ClusterOnVolume {
    fn from(found: ClusterOnVolume) -> Self {
        Self {
            cluster: found.cluster.to_string(),
            environment: found.environment.to_string(),
            name: found.name.to_string(),
            fence: found.fence.map_or(0, |fence| fence.0),
            removed: found.removed,
            generations: found.generations.into_iter().map(Into::into).collect(),
            runs: found.runs.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::ClusterOnVolume> for ClusterOnVolume {
    type Error = Malformed;
    fn try_from(wire: v1::ClusterOnVolume) -> Result<Self, Malformed> {
        if wire.generations.len() > MAX_KEPT || wire.runs.len() > MAX_KEPT {
            return Err(Malformed { field: "inventory.clusters", fault: format!("more than {MAX_KEPT} are kept") });
        }
        let runs = wire.runs.into_iter().map(TryInto::try_into).collect::<Result<Vec<RunOnVolume>, _>>()?;
        let generations = wire.generations.into_iter().map(TryInto::try_into).collect::<Result<Vec<_>, _>>()?;
        let mut found = Self {
            cluster: parse("inventory.cluster", &wire.cluster)?,
            environment: parse("inventory.environment", &wire.environment)?,
            name: parse("inventory.name", &wire.name)?,
            fence: (wire.fence > 0).then_some(Fence(wire.fence)),
            removed: wire.removed,
            generations,
            runs,
        };
        found.runs.sort_by_key(|run| run.fence);
        found.generations.sort_by_key(|manifest| manifest.number);
        Ok(found)
    }
}

impl From<RunOnVolume> for v1::RunOnVolume {
    fn from(run: RunOnVolume) -> Self {
        let work = |work: Work| v1::Work {
            task: work.task.to_string(),
            kind: work.kind.to_string(),
            operation: work.operation.to_string(),
            at_ms: work.at.as_millis(),
        };
        Self {
            attempt: run.attempt.to_string(),
            fence: run.fence.0,
            work: run.work.map(work),
            report: run.report.map(Into::into),
            recorded: run.recorded,
            forgotten: run.forgotten,
        }
    }
}

impl TryFrom<v1::RunOnVolume> for RunOnVolume {
    type Error = Malformed;
    fn try_from(wire: v1::RunOnVolume) -> Result<Self, Malformed> {
        let work = |work: v1::Work| {
            Ok(Work {
                task: parse("inventory.task", &work.task)?,
                kind: parse("inventory.kind", &work.kind)?,
                operation: parse("inventory.operation", &work.operation)?,
                at: time(work.at_ms),
            })
        };
        Ok(Self {
            attempt: parse("inventory.attempt", &wire.attempt)?,
            fence: Fence(wire.fence),
            work: wire.work.map(work).transpose()?,
            report: wire.report.map(TryInto::try_into).transpose()?,
            recorded: wire.recorded,
            forgotten: wire.forgotten,
        })
    }
}

/// Reads the cluster of a message.
///
/// # Errors
/// [`Malformed`] when it has none, or one that breaks the protocol.
pub fn cluster(wire: Option<v1::ClusterOnVolume>) -> Result<ClusterOnVolume, Malformed> {
    present("inventory.cluster", wire)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::task::TaskKind;
    use cratekube_common::domain::time::Timestamp;
    use uuid::Uuid;

    fn run(fence: u64) -> RunOnVolume {
        RunOnVolume {
            attempt: Uuid::from_u128(fence.into()).into(),
            fence: Fence(fence),
            work: Some(Work {
                task: Uuid::from_u128(1).into(),
                kind: TaskKind::Provision,
                operation: Uuid::from_u128(2).into(),
                at: Timestamp::from_millis(3),
            }),
            report: None,
            recorded: true,
            forgotten: false,
        }
    }

    #[test]
    fn what_a_volume_tells_comes_over_and_its_runs_in_order() {
        let found = ClusterOnVolume {
            cluster: Uuid::from_u128(9).into(),
            environment: "prod".parse().unwrap(),
            name: "web".parse().unwrap(),
            fence: Some(Fence(2)),
            removed: false,
            generations: Vec::new(),
            runs: vec![run(1), run(2)],
        };
        let mut wire = v1::ClusterOnVolume::from(found.clone());
        wire.runs.reverse();
        assert_eq!(ClusterOnVolume::try_from(wire.clone()).unwrap(), found);
        wire.runs[0].work = Some(v1::Work { kind: "dance".into(), ..v1::Work::default() });
        assert!(ClusterOnVolume::try_from(wire).is_err());
    }
}
