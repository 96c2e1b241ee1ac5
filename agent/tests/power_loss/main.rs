//! The power goes at any moment, and with it everything that was not made durable (hostile.md, row 58).
//!
//! The steps of what is done are recorded through the seam of `runtime::fault`; [`disk`] says what each
//! crash between them may leave; what is found there is read by the product's own readers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk;
#[path = "../support/mod.rs"]
mod support;
mod whole_runs;

use std::fs;
use std::path::{Path, PathBuf};

use cratekube_agent::run::journal::{ExitRecord, Journal, Mark};
use cratekube_agent::volume::fence::{self, Accepted};
use cratekube_agent::volume::generations::{Generations, KUBECONFIG, STATE, Seal, difference};
use cratekube_agent::volume::layout::{ClusterFile, Layout};
use cratekube_agent::volume::{digest, generations::SEALED};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::fault::Recorded;
use cratekube_common::runtime::{fault, files};
use disk::{Disk, Tree, all_crashes, materialise};
use support::fixtures;
use uuid::Uuid;

fn seal(attempt: u128) -> Seal<'static> {
    Seal {
        cluster: ClusterId(Uuid::from_u128(1)),
        operation: OperationId(Uuid::from_u128(2)),
        attempt: AttemptId(Uuid::from_u128(attempt)),
        fence: Fence(3),
        ca_on_record: None,
        above: 0,
        at: Timestamp::from_millis(1_795_000_000_000),
    }
}

/// A cluster's directory with a sealed generation for each state but the last, which was just written.
fn place(states: &[String]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = dir.path().join("cluster");
    files::make_dir(&cluster.join("working")).unwrap();
    fs::write(cluster.join("working").join(KUBECONFIG), "kind: Config").unwrap();
    for (nth, state) in states.iter().enumerate() {
        fs::write(cluster.join("working").join(STATE), state).unwrap();
        if nth + 1 < states.len() {
            generations(&cluster).seal(&cluster.join("working"), &seal(nth as u128 + 1)).unwrap();
        }
    }
    (dir, cluster)
}

fn generations(cluster: &Path) -> Generations {
    Generations::at(cluster.join("generations"))
}

/// The numbers of the generations; each is one that was sealed, whole.
fn whole(found: &Generations, sealed: &[Manifest]) -> Result<Vec<u64>, String> {
    for manifest in found.list().map_err(|e| e.to_string())? {
        if !sealed.contains(&manifest) {
            return Err(format!("generation {} was never sealed", manifest.number));
        }
        if let Some(torn) = found.verify(manifest.number).map_err(|e| e.to_string())? {
            return Err(format!("generation {}: {torn}", manifest.number));
        }
    }
    found.numbers().map_err(|e| e.to_string())
}

fn states(count: usize) -> Vec<String> {
    let ca = fixtures::ca("blue");
    (0..count).map(|n| ca.state(&[&format!("10.0.0.{n}")])).collect()
}

/// A seal that is recorded, and what it must have left whatever happens.
struct Sealing {
    dir: tempfile::TempDir,
    disk: Disk,
    steps: Vec<Recorded>,
    sealed: Vec<Manifest>,
}

impl Sealing {
    /// Seals on top of so many generations.
    fn after(before: usize) -> Self {
        let states = states(before + 1);
        let (dir, cluster) = place(&states);
        let mut disk = Disk::load(&cluster);
        let older = before.checked_sub(1).map_or("", |n| states[n].as_str());
        disk.dirty(&cluster.join("working").join(STATE), older.as_bytes());
        disk.fresh(&cluster.join("working").join(KUBECONFIG));
        let recorder = fault::record(&cluster);
        generations(&cluster).seal(&cluster.join("working"), &seal(before as u128 + 1)).unwrap();
        let sealed = generations(&cluster).list().unwrap();
        Self { dir, disk, steps: recorder.steps(), sealed }
    }

    /// What is wrong with what a crash left.
    fn examine(&self, tree: &Tree, answered: bool) -> Result<(), String> {
        let (at, number) = (self.dir.path().join("crashed"), self.sealed.len());
        materialise(tree, &at);
        let found = generations(&at);
        found.clear_leftovers().map_err(|e| e.to_string())?;
        let numbers = whole(&found, &self.sealed)?;
        if numbers.len() + 1 < number || (answered && numbers.len() < number) {
            return Err(format!("of {number} generations only {numbers:?} are left"));
        }
        if numbers.len() == number {
            let working = digest::files(&at.join("working"), &SEALED).unwrap();
            let torn = difference(&self.sealed[number - 1].files, &working, &[]);
            return torn.map_or(Ok(()), |torn| Err(format!("sealed, but in working/ {torn}")));
        }
        // The next start seals what is left, as a generation of its own.
        let again = found.seal(&at.join("working"), &seal(number as u128)).map_err(|e| e.to_string())?;
        let torn = found.verify(again.number).map_err(|e| e.to_string())?;
        if again.number != number as u64 { Err("it was sealed twice".into()) } else { torn.map_or(Ok(()), Err) }
    }

    /// What is wrong after any crash, when these are the steps.
    fn examine_all(&self, steps: &[Recorded]) -> Result<usize, String> {
        let (all, last) = all_crashes(&self.disk, steps, 58);
        all.iter().try_for_each(|tree| self.examine(tree, last.contains(tree)))?;
        Ok(all.len())
    }
}

#[test]
fn hostile_row_58_sealing_survives_the_loss_of_everything_that_was_not_made_durable() {
    for before in 0..3 {
        let sealing = Sealing::after(before);
        let crashes = sealing.examine_all(&sealing.steps).unwrap();
        assert!(crashes > 50, "{crashes} crashes");
    }
}

#[test]
fn hostile_row_58_sealing_does_not_survive_when_any_of_its_syncs_is_left_out() {
    let sealing = Sealing::after(1);
    let is_sync = |step: &Recorded| matches!(step, Recorded::Sync(_) | Recorded::SyncDir(_));
    let syncs: Vec<usize> = (0..sealing.steps.len()).filter(|n| is_sync(&sealing.steps[*n])).collect();
    assert!(syncs.len() >= 8, "{syncs:?}");
    for left_out in syncs {
        let mut steps = sealing.steps.clone();
        let step = steps.remove(left_out);
        // The name that is sealed under is not what it is made under: that need not be durable.
        let for_the_name_aside = left_out.checked_sub(1).is_some_and(|n| matches!(steps[n], Recorded::MakeDir(_)));
        let found = sealing.examine_all(&steps);
        assert_eq!(found.is_ok(), for_the_name_aside, "without {step:?}: {found:?}");
    }
}

#[test]
fn hostile_row_58_pruning_never_leaves_a_generation_half_there() {
    let (dir, cluster) = place(&states(5));
    let sealed = generations(&cluster).list().unwrap();
    let disk = Disk::load(&cluster);
    let recorder = fault::record(&cluster);
    generations(&cluster).prune(2).unwrap();
    let (all, _) = all_crashes(&disk, &recorder.steps(), 59);
    let at = dir.path().join("crashed");
    for tree in &all {
        materialise(tree, &at);
        generations(&at).clear_leftovers().unwrap();
        let numbers = whole(&generations(&at), &sealed).unwrap();
        assert!(numbers.ends_with(&[3, 4]), "{numbers:?}");
    }
}

#[test]
fn hostile_row_58_a_file_is_old_or_new_and_new_once_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    files::write_atomic(&base.join("f"), b"old").unwrap();
    let disk = Disk::load(&base);
    let recorder = fault::record(&base);
    files::write_atomic(&base.join("f"), b"new and longer").unwrap();
    files::write_atomic(&base.join("fresh"), b"fresh").unwrap();
    files::make_dir(&base.join("a/b")).unwrap();
    let (all, last) = all_crashes(&disk, &recorder.steps(), 60);
    for tree in &all {
        let found = |name: &str| tree.get(Path::new(name)).cloned().flatten();
        assert!([&b"old"[..], b"new and longer"].contains(&found("f").unwrap().as_slice()));
        assert!(found("fresh").is_none_or(|content| content == b"fresh"));
    }
    for tree in &last {
        assert_eq!(tree.get(Path::new("f")), Some(&Some(b"new and longer".to_vec())));
        assert_eq!(tree.get(Path::new("fresh")), Some(&Some(b"fresh".to_vec())));
        assert_eq!(tree.get(Path::new("a/b")), Some(&None), "a directory that was made is there");
    }
}

#[test]
fn hostile_row_58_a_fence_that_was_accepted_is_never_forgotten_and_never_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    let offer = |fence: u64| Accepted { fence: Fence(fence), attempt: AttemptId(Uuid::from_u128(fence.into())) };
    fence::accept(&base.join("fence"), offer(1)).unwrap();
    let disk = Disk::load(&base);
    let recorder = fault::record(&base);
    fence::accept(&base.join("fence"), offer(2)).unwrap();
    let (all, last) = all_crashes(&disk, &recorder.steps(), 61);
    let at = dir.path().join("crashed");
    for tree in &all {
        materialise(tree, &at);
        let found = fence::read(&at.join("fence")).unwrap().unwrap();
        assert!(found == offer(1) || found == offer(2));
        assert!(!last.contains(tree) || found == offer(2), "an accepted fence is forgotten");
        assert!(fence::check(Some(found), offer(0)).is_err());
    }
}

#[test]
fn hostile_row_58_what_a_journal_says_is_whole_and_there_once_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("runs");
    fs::create_dir(&base).unwrap();
    let disk = Disk::load(&base);
    let recorder = fault::record(&base);
    let journal = Journal::at(base.join("1"));
    files::make_dir(journal.dir()).unwrap();
    let exit = ExitRecord {
        exit: None,
        start_error: Some("no such file".into()),
        started_at: None,
        ended_at: Timestamp::from_millis(1),
        output_bytes: 7,
        dropped_bytes: 0,
        output_failed: false,
        timed_out: false,
        reached: None,
    };
    journal.write_exit(&exit).unwrap();
    journal.write_unsealed(&[]).unwrap();
    journal.mark(Mark::Recorded).unwrap();
    let (all, last) = all_crashes(&disk, &recorder.steps(), 62);
    let at = dir.path().join("crashed");
    for tree in &all {
        materialise(tree, &at);
        let found = Journal::at(at.join("1"));
        let (read, unsealed) = (found.exit().unwrap(), found.unsealed().unwrap());
        assert!(read.is_none_or(|read| read == exit));
        let done = last.contains(tree);
        assert!(!done || (unsealed.is_some() && found.has(Mark::Recorded) && found.exit().unwrap().is_some()));
        assert!(!found.has(Mark::Recorded) || found.exit().unwrap().is_some(), "never recorded before it ended");
    }
}

#[test]
fn hostile_row_58_a_name_that_is_used_again_is_either_of_the_two_clusters() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let file = |cluster: u128| ClusterFile {
        format_version: 1,
        cluster: ClusterId(Uuid::from_u128(cluster)),
        environment: "prod".parse().unwrap(),
        name: "blue".parse().unwrap(),
        ca_sha256: None,
        hosts: std::collections::BTreeSet::new(),
        wiped: std::collections::BTreeSet::new(),
        removing: std::collections::BTreeSet::new(),
    };
    let (cluster, _) = Layout::open(&volume).unwrap().claim(&file(1)).unwrap();
    files::write_atomic(&cluster.removed(), b"{}").unwrap();
    let disk = Disk::load(&volume);
    let recorder = fault::record(&volume);
    Layout::open(&volume).unwrap().claim(&file(2)).unwrap();
    let (all, last) = all_crashes(&disk, &recorder.steps(), 63);
    let at = dir.path().join("crashed");
    for tree in &all {
        materialise(tree, &at);
        let layout = Layout::open(&at).unwrap();
        let kept = at.join("removed").join(file(1).cluster.to_string()).join("cluster.json");
        let there = layout.cluster(&file(1).environment, &file(1).name);
        let first = there.read_record().unwrap().is_some_and(|found| found == file(1));
        assert!(first != kept.exists(), "the removed cluster is kept in one place");
        assert_eq!(layout.claim(&file(2)).unwrap().1, file(2), "and the name can be taken");
    }
    for tree in &last {
        materialise(tree, &at);
        let layout = Layout::open(&at).unwrap();
        assert_eq!(layout.cluster(&file(2).environment, &file(2).name).read_record().unwrap(), Some(file(2)));
    }
}
