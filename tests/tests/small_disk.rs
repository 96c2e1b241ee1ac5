//! A real filesystem that is full, read-only or gone in the middle of a run, with the real supervisor
//! and the rehearsal of `rke`.
//!
//! Each test plays itself again in a mount namespace of its own, where it may mount a small tmpfs. Where
//! the host does not allow that, the test says so and passes, except in CI (`CI=true`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../../agent/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cratekube_agent::engine::OpenError;
use cratekube_agent::port::Engine;
use cratekube_agent::volume::generations::SEALED;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind::Provision;
use cratekube_tests::house::Gate;
use cratekube_tests::rehearsal::control::Rehearsal;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use support::{Agent, World, refusal};

const INSIDE: &str = "CRATEKUBE_TEST_IN_NAMESPACE";
const PAGE: u64 = 4096;

/// Plays the test with this name where it may mount.
fn alone(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let Some(unshare) = ["-rm", "-m"].into_iter().find(|flags| may_mount(flags)) else {
        assert!(std::env::var_os("CI").is_none(), "CI must be allowed to mount a tmpfs in a namespace of its own");
        return println!("SKIPPED {name}: this host does not allow to mount a tmpfs in a namespace of its own");
    };
    let again = Command::new("unshare")
        .arg(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let told = [again.stdout, again.stderr].concat();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&told));
}

fn may_mount(flags: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none"];
    let tried = Command::new("unshare").arg(flags).args(mount).arg(dir.path()).output();
    tried.is_ok_and(|tried| tried.status.success())
}

fn root(program: &str, args: &[&str], path: &Path) {
    let done = Command::new(program).args(args).arg(path).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A world on a small disk, with a cluster that was built on it.
struct Disk {
    // Dropped first: a directory that is mounted on cannot be removed.
    _mounted: Mounted,
    world: World,
    rke: Rehearsal,
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // As often as something is mounted there.
        while Command::new("umount").arg("-l").arg(&self.0).output().is_ok_and(|done| done.status.success()) {}
    }
}

impl Disk {
    fn new() -> Self {
        let world = World::on(|volume| root("mount", &["-t", "tmpfs", "-o", "size=24m,mode=700", "none"], volume));
        let rke = env!("CARGO_BIN_EXE_rke-rehearsal");
        let rke = Rehearsal::install(&world.dir.path().join("bin"), Path::new(rke)).unwrap();
        let mut disk = Self { _mounted: Mounted(world.volume.clone()), world, rke };
        let report = disk.play();
        assert_eq!(report.outcome, RunOutcome::Succeeded, "{report:?}");
        disk
    }

    fn agent(&self) -> Agent {
        self.try_agent().unwrap()
    }

    fn try_agent(&self) -> Result<Agent, OpenError> {
        let mut settings = self.world.settings();
        settings.rke = Some(self.rke.program().to_owned());
        settings.require_mount = true;
        self.world.agent_with(settings)
    }

    fn play(&mut self) -> RunReport {
        let (assignment, mut agent) = (self.world.assignment(Provision), self.agent());
        let report = agent.play(assignment);
        agent.close();
        report
    }

    /// Plays a run in which something happens to the disk once `rke` has begun.
    fn play_while(&mut self, agent: &mut Agent, happens: impl FnOnce(&Path)) -> RunReport {
        let gate = Gate::in_next_run(&mut self.rke, self.world.dir.path(), "Initiating Kubernetes cluster").unwrap();
        let attempt = agent.assign(&self.larger());
        let passage = agent.runtime.block_on(gate.reached()).unwrap();
        happens(&self.world.volume);
        drop(passage);
        let report = agent.report();
        assert_eq!(report.attempt, attempt);
        agent.settle(attempt);
        report
    }

    /// A run with more hosts: the state grows.
    fn larger(&mut self) -> Assignment {
        let mut assignment = self.world.assignment(Provision);
        let node = |n: u8| {
            let roles = ["controlplane", "etcd", "worker"];
            serde_json::json!({"address": format!("172.30.0.{n}"), "roles": roles})
        };
        let nodes: Vec<_> = (11..18).map(node).collect();
        let document = serde_json::json!({"kubernetes_version": "v1.20.15-rancher2-1", "nodes": nodes});
        assignment.spec = intake::read(&document).unwrap().0;
        assignment
    }

    /// Everything that was sealed is whole.
    fn whole(&self, what: &str) {
        let generations = self.world.generations();
        for number in generations.numbers().unwrap() {
            assert_eq!(generations.verify(number).unwrap(), None, "{what}: generation {number}");
        }
        assert!(generations.newest_good().unwrap().is_some(), "{what}");
    }

    /// An operator puts the newest good generation back, and the next run goes well.
    fn goes_on(&mut self, what: &str) {
        let generations = self.world.generations();
        let good = generations.newest_good().unwrap().unwrap();
        for name in SEALED.iter().skip(1) {
            fs::copy(generations.path(good.number).join(name), self.world.working(name)).unwrap();
        }
        let mut agent = self.agent();
        for held in agent.engine.held_runs() {
            agent.report();
            agent.settle(held.attempt);
        }
        let report = agent.play(self.world.assignment(Provision));
        assert_eq!(report.outcome, RunOutcome::Succeeded, "{what}: {report:?}");
        agent.close();
    }
}

fn free(volume: &Path) -> u64 {
    let vfs = statvfs(volume).unwrap();
    vfs.f_bavail * vfs.f_frsize
}

/// Leaves so many bytes on the volume.
fn fill(volume: &Path, left: u64) {
    let ballast = fs::File::create(volume.join("ballast")).unwrap();
    let take = |bytes: u64| fallocate(&ballast, FallocateFlags::empty(), 0, bytes);
    // What is told to be free is counted for each processor: not all of it can be had.
    let most = (0..).map(|pages| free(volume) - pages * PAGE).find(|bytes| take(*bytes).is_ok()).unwrap();
    ballast.set_len(most - left).unwrap();
}

fn why(report: &RunReport) -> Option<&Failure> {
    match &report.outcome {
        RunOutcome::Succeeded => None,
        RunOutcome::Failed(failure) | RunOutcome::Refused(failure) => Some(failure),
    }
}

#[test]
fn hostile_row_57_a_disk_that_is_full_at_any_write_of_a_run_loses_nothing() {
    alone("hostile_row_57_a_disk_that_is_full_at_any_write_of_a_run_loses_nothing", || {
        let mut disk = Disk::new();
        let (mut failed, mut passed_in_a_row) = (0, 0);
        for pages in 0.. {
            let mut agent = disk.agent();
            let what = format!("{pages} pages left");
            let report = disk.play_while(&mut agent, |volume| fill(volume, pages * PAGE));
            let reserve = disk.world.volume.join(".reserve").exists();
            agent.close();
            disk.whole(&what);
            match why(&report) {
                None => assert!(report.generation.as_ref().unwrap().good, "{what}"),
                Some(failure) => assert_eq!(failure.class, FailureClass::Volume, "{what}: {failure:?}"),
            }
            failed += usize::from(why(&report).is_some());
            passed_in_a_row = if why(&report).is_none() && reserve { passed_in_a_row + 1 } else { 0 };
            fs::remove_file(disk.world.volume.join("ballast")).unwrap();
            if passed_in_a_row == 2 {
                break;
            }
            disk.goes_on(&what);
        }
        assert!(failed > 10, "only {failed} runs met a full disk");
    });
}

#[test]
fn hostile_row_56_a_volume_that_becomes_read_only_in_a_run_is_not_written_to_again() {
    alone("hostile_row_56_a_volume_that_becomes_read_only_in_a_run_is_not_written_to_again", || {
        let mut disk = Disk::new();
        let mut agent = disk.agent();
        // What is open stays writable, as it does where a filesystem goes read-only: laid over with itself.
        let report = disk.play_while(&mut agent, |volume| {
            root("mount", &["--bind", &volume.display().to_string()], volume);
            root("mount", &["-o", "remount,ro,bind"], volume);
        });
        assert_eq!(why(&report).unwrap().class, FailureClass::Volume, "{report:?}");
        let refused = agent.play(disk.world.assignment(Provision));
        assert_eq!(refusal(&refused).class, FailureClass::Volume);
        let status = agent.runtime.block_on(agent.engine.volumes()).remove(0);
        assert!(status.fault.unwrap().contains("read-only"));
        agent.close();
        let refused = disk.try_agent().err().unwrap();
        assert!(refused.to_string().contains("mounted read-only"), "{refused}");
        root("umount", &[], &disk.world.volume);
        disk.whole("after it was read-only");
        disk.goes_on("after it was read-only");
    });
}

#[test]
fn hostile_row_62_a_volume_that_vanishes_in_a_run_is_never_made_anew_at_its_mount_point() {
    alone("hostile_row_62_a_volume_that_vanishes_in_a_run_is_never_made_anew_at_its_mount_point", || {
        let mut disk = Disk::new();
        let mut agent = disk.agent();
        let report = disk.play_while(&mut agent, |volume| root("umount", &["-l"], volume));
        assert_eq!(why(&report).unwrap().class, FailureClass::Volume, "{report:?}");
        let runs = disk.rke.runs().unwrap().len();
        let refused = agent.play(disk.world.assignment(Provision));
        assert_eq!(refusal(&refused).class, FailureClass::Volume);
        assert!(refusal(&refused).message.contains("unmounted or detached"), "{:?}", refusal(&refused));
        let status = agent.runtime.block_on(agent.engine.volumes()).remove(0);
        assert!(status.fault.is_some());
        agent.close();
        let refused = disk.try_agent().err().unwrap();
        assert!(refused.to_string().contains("not a mount point"), "{refused}");
        let left: Vec<_> = fs::read_dir(&disk.world.volume).unwrap().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "made at the empty mount point: {left:?}");
        assert_eq!(disk.rke.runs().unwrap().len(), runs, "rke was not started");
    });
}
