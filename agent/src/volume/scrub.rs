//! Reads everything again that is sealed on a volume, and finds what is not as it was sealed: bits that
//! flipped, files that are gone, manifests that cannot be read.
//!
//! One step reads one generation, so that whoever drives it can take its time ([`crate::engine`] does). A
//! fault ends no service: the gate never takes a generation that does not verify, and the others are
//! whole. Operators see it and have time to bring the volume into order.

use cratekube_common::domain::agent::ScrubStatus;
use cratekube_common::domain::time::Timestamp;

use super::VolumeError;
use super::generations::Generations;
use super::layout::{ClusterDir, Layout};

/// Most faults that are told by name.
const TOLD: usize = 20;

/// One reading of a volume.
#[derive(Debug, Default)]
pub struct Scrub {
    left: Vec<(ClusterDir, u64)>,
    checked: u64,
    faults: Vec<String>,
    untold: usize,
}

impl Scrub {
    /// Begins with all that is sealed now.
    #[must_use]
    pub fn begin(layout: &Layout) -> Self {
        let mut scrub = Self::default();
        match layout.clusters() {
            Ok(clusters) => clusters.iter().for_each(|cluster| scrub.list(layout, cluster)),
            Err(error) => scrub.fault(error.to_string()),
        }
        scrub
    }

    fn list(&mut self, layout: &Layout, cluster: &ClusterDir) {
        let numbers = layout.check_cluster(cluster).and_then(|()| Generations::at(cluster.generations()).numbers());
        match numbers {
            Ok(numbers) => self.left.extend(numbers.into_iter().map(|number| (cluster.clone(), number))),
            Err(error) => self.fault(error.to_string()),
        }
    }

    /// Reads the next generation; gives how many bytes that were, and none when nothing is left.
    pub fn step(&mut self) -> Option<u64> {
        let (cluster, number) = self.left.pop()?;
        let generations = Generations::at(cluster.generations());
        self.checked += 1;
        let bytes = match examine(&generations, number) {
            Ok((bytes, None)) => bytes,
            Ok((bytes, Some(fault))) => {
                self.fault(format!("{}: {fault}", generations.path(number).display()));
                bytes
            }
            Err(error) => {
                self.fault(error.to_string());
                0
            }
        };
        Some(bytes)
    }

    fn fault(&mut self, fault: String) {
        tracing::error!(fault, "what is on a state volume is not what was sealed");
        if self.faults.len() < TOLD {
            self.faults.push(fault);
        } else {
            self.untold += 1;
        }
    }

    /// What was found.
    #[must_use]
    pub fn end(mut self, at: Timestamp) -> ScrubStatus {
        if self.untold > 0 {
            self.faults.push(format!("and {} more; see the agent's log", self.untold));
        }
        ScrubStatus { ended_at: at, checked: self.checked, faults: self.faults }
    }
}

fn examine(generations: &Generations, number: u64) -> Result<(u64, Option<String>), VolumeError> {
    let looked = generations.manifest(number).and_then(|manifest| {
        let bytes = manifest.map_or(0, |m| m.files.iter().map(|file| file.bytes).sum());
        Ok((bytes, generations.verify(number)?))
    });
    // It may have been pruned meanwhile.
    if generations.numbers()?.contains(&number) { looked } else { Ok((0, None)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::volume::generations::{STATE, Seal};
    use crate::volume::layout::ClusterFile;
    use cratekube_common::domain::attempt::Fence;
    use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
    use std::fs;
    use uuid::Uuid;

    /// A volume with so many generations of one cluster.
    fn volume(count: u128) -> (tempfile::TempDir, Layout, Generations) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let file = ClusterFile {
            format_version: 1,
            cluster: ClusterId(Uuid::nil()),
            environment: "prod".parse().unwrap(),
            name: "blue".parse().unwrap(),
            ca_sha256: None,
            hosts: std::collections::BTreeSet::new(),
            wiped: std::collections::BTreeSet::new(),
            removing: std::collections::BTreeSet::new(),
        };
        let (cluster, _) = layout.claim(&file).unwrap();
        fs::write(cluster.working().join(STATE), fixtures::ca("blue").state(&["10.0.0.1"])).unwrap();
        let generations = Generations::at(cluster.generations());
        for attempt in 1..=count {
            let seal = Seal {
                cluster: file.cluster,
                operation: OperationId(Uuid::nil()),
                attempt: AttemptId(Uuid::from_u128(attempt)),
                fence: Fence(1),
                ca_on_record: None,
                above: 0,
                at: Timestamp::default(),
            };
            generations.seal(&cluster.working(), &seal).unwrap();
        }
        (dir, layout, generations)
    }

    fn scrubbed(layout: &Layout) -> ScrubStatus {
        let mut scrub = Scrub::begin(layout);
        while scrub.step().is_some() {}
        scrub.end(Timestamp::from_millis(7))
    }

    #[test]
    fn hostile_row_58_a_scrub_finds_flipped_bits_missing_files_and_damaged_manifests() {
        let (_dir, layout, generations) = volume(4);
        assert_eq!(scrubbed(&layout), ScrubStatus { ended_at: Timestamp::from_millis(7), checked: 4, faults: vec![] });
        let state = generations.path(1).join(STATE);
        let mut bytes = fs::read(&state).unwrap();
        bytes[100] ^= 1;
        fs::write(&state, bytes).unwrap();
        fs::remove_file(generations.path(2).join(STATE)).unwrap();
        fs::write(generations.path(3).join("manifest.json"), b"{").unwrap();
        let found = scrubbed(&layout);
        assert_eq!((found.checked, found.faults.len()), (4, 3), "{found:?}");
        for words in ["not what was sealed", "is missing", "is damaged"] {
            assert!(found.faults.iter().any(|fault| fault.contains(words)), "{words}: {found:?}");
        }
    }

    #[test]
    fn what_is_pruned_meanwhile_is_no_fault_and_faults_are_bounded() {
        let (_dir, layout, generations) = volume(30);
        let mut scrub = Scrub::begin(&layout);
        generations.prune(2).unwrap();
        while scrub.step().is_some() {}
        assert_eq!(scrub.end(Timestamp::default()).faults, Vec::<String>::new());
        let (_dir, layout, generations) = volume(25);
        for number in 1..=25 {
            fs::remove_file(generations.path(number).join(STATE)).unwrap();
        }
        let found = scrubbed(&layout);
        assert_eq!(found.faults.len(), TOLD + 1);
        assert!(found.faults[TOLD].starts_with("and 5 more"));
    }
}
