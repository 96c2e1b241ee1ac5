//! Faults on order, and the book of invocations.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;

use cratekube_tests::rehearsal::fault::{Fault, KillSignal, Kind, StateWrite};
use cratekube_tests::rehearsal::recorded_failures;
use cratekube_tests::rehearsal::settings::settings_path;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::world::{ONE, TWO, World, all, config, worker};

fn with(fault: Fault) -> World {
    let mut world = World::new(&config(&[all(ONE), worker(TWO)]));
    world.rke.fault(fault).unwrap();
    world
}

#[test]
fn it_says_first_that_it_is_a_rehearsal() {
    let world = with(Fault::new(Kind::ChangeCa).on("nothing"));
    for line in ["up", "remove --force", "cert rotate", "version"] {
        let told = world.run(line);
        let first = told.text.lines().next().unwrap();
        assert!(first.contains("level=warning msg=\"REHEARSAL: this is not rke."), "{line}");
    }
}

#[test]
fn malformed_settings_are_an_error_of_their_own() {
    let world = with(Fault::new(Kind::ChangeCa));
    let path = settings_path(world.rke.program());
    for text in ["{", r#"{"scael": 1}"#, r#"{"scale": -1}"#] {
        std::fs::write(&path, text).unwrap();
        let told = world.run("up").ended(64);
        assert!(told.stderr.contains("rke.rehearsal.json is malformed"), "{}", told.stderr);
        assert_eq!(told.text, "");
    }
}

#[test]
fn a_recorded_failure_is_replayed_with_our_hosts() {
    let world = with(
        Fault::new(Kind::Fail { scenario: "B03-up-add-worker-portcheck-fails".to_owned(), after: None })
            .on("up")
            .times(1),
    );
    world.write("cluster.yml", &config(&[all("10.1.0.1"), worker("10.1.0.2")]));
    world.run("up").ended(1).says("Host [10.1.0.1] is not able to connect to the following ports: [10.1.0.2:10250]");
    assert!(world.exists("cluster.rkestate"));
    world.run("up").ended(0);
    assert!(recorded_failures().len() > 60);
}

#[test]
fn a_crash_leaves_no_last_word() {
    for (signal, number) in [(KillSignal::Kill, 9), (KillSignal::Term, 15)] {
        let world = with(
            Fault::new(Kind::Crash { after: "[controlplane] Building up Controller Plane..".into(), signal }).times(1),
        );
        let output = world.command("up").output().unwrap();
        assert_eq!(output.status.signal(), Some(number));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.ends_with("Building up Controller Plane..\"\n"), "{text}");
        world.run("up").ended(0).says("Finished building");
        let runs = world.rke.runs().unwrap();
        assert_eq!((runs[0].exit, runs[1].exit), (None, Some(0)));
    }
}

#[test]
fn a_torn_write_leaves_exactly_so_many_bytes() {
    for (write, torn) in [(StateWrite::Desired, 1000), (StateWrite::Current, 30_000)] {
        let world = with(Fault::new(Kind::TornState { write, bytes: torn }));
        let output = world.command("up").output().unwrap();
        assert_eq!(output.status.signal(), Some(9));
        assert_eq!(world.read("cluster.rkestate").len(), torn);
    }
}

#[test]
fn an_empty_state_after_a_cheerful_end() {
    let world = with(Fault::new(Kind::EmptyState { write: StateWrite::Current, goes_on: true }));
    world.run("up").ended(0).says("Finished building");
    assert!(world.read("cluster.rkestate").is_empty());
}

#[test]
fn a_full_disk_leaves_a_truncated_file() {
    let world = with(Fault::new(Kind::DiskFull { write: StateWrite::Desired }));
    world.run("up").ended(1).says("Failed to write state file: write ./cluster.rkestate: no space left on device");
    assert_eq!(world.read("cluster.rkestate").len(), 12_288);
}

#[test]
fn a_flood_has_the_size_and_the_bytes_that_were_ordered() {
    let world = with(Fault::new(Kind::Flood {
        bytes: 3_000_000,
        line_length: 0,
        invalid_utf8: true,
        bytes_per_second: None,
        after: None,
    }));
    let output = world.command("up").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let longest = output.stdout.split(|b| *b == b'\n').map(<[u8]>::len).max();
    assert!(longest >= Some(3_000_000));
    assert!(std::str::from_utf8(&output.stdout).is_err());
}

#[test]
fn hostile_lines_codes_and_marks() {
    let dir = tempfile::tempdir().unwrap();
    let (started, pid) = (dir.path().join("started"), dir.path().join("pid"));
    let mut world = with(Fault::new(Kind::ExtraLine {
        text: "\u{1b}]0;owned\u{7}\r\n\r\ndata: x".to_owned(),
        after: Some("Building Kubernetes cluster".into()),
    }));
    world.rke.fault(Fault::new(Kind::StartMarker { path: started.clone() })).unwrap();
    world.rke.fault(Fault::new(Kind::PidFile { path: pid.clone() })).unwrap();
    world.run("up").ended(0).says("\u{1b}]0;owned\u{7}\r\n\r\ndata: x\n");
    let run = &world.rke.runs().unwrap()[0];
    assert_eq!(std::fs::read_to_string(pid).unwrap(), run.pid.to_string());
    assert_eq!(std::fs::read_to_string(started).unwrap(), run.start_ns.to_string());
    world.rke.no_faults().unwrap();
    world.rke.fault(Fault::new(Kind::ExitCode { code: 7, after: Some(3.into()) })).unwrap();
    let told = world.run("up").ended(7);
    assert_eq!(told.text.lines().count(), 3);
}

#[test]
fn a_changed_ca_and_a_skipped_host_pass_for_success() {
    let mut world = with(Fault::new(Kind::ChangeCa).times(1));
    // The first run mints its own CA anyway; the fault waits for a run that should keep it.
    world.run("up").ended(0);
    let before = world.rke.host(ONE).look().ca;
    world.run("up").ended(0);
    let after = world.rke.host(ONE).look().ca;
    assert_ne!(before, after);
    world.rke.fault(Fault::new(Kind::SkipHost { address: TWO.to_owned() }).on("remove")).unwrap();
    world
        .run("remove --force")
        .ended(0)
        .says(&format!("Removing host [{TWO}] from node lists"))
        .says("Cluster removed successfully");
    assert!(world.rke.host(TWO).look().runs("kubelet"));
    assert_eq!(world.rke.host(ONE).look().ca, None);
}

#[test]
fn a_hung_run_is_killed_at_once_and_an_overlap_is_on_record() {
    let world = with(Fault::new(Kind::Hang { after: "Building Kubernetes cluster".into(), seconds: None }).times(1));
    let mut hung = world.command("up").stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = Vec::new();
    let mut out = hung.stdout.take().unwrap();
    while !String::from_utf8_lossy(&seen).contains("Building Kubernetes cluster") {
        let mut chunk = [0; 4096];
        let read = out.read(&mut chunk).unwrap();
        assert_ne!(read, 0, "ended before it hung");
        seen.extend_from_slice(&chunk[..read]);
    }
    world.run("up").ended(0);
    hung.kill().unwrap();
    assert_eq!(hung.wait().unwrap().signal(), Some(9));
    world.run("up").ended(0);
    let runs = world.rke.runs().unwrap();
    let overlaps: Vec<bool> = runs.iter().map(|run| run.overlap).collect();
    assert_eq!(overlaps, [false, true, false]);
    assert_eq!(runs[0].argv[1..], ["up".to_owned()]);
    assert_eq!(runs[0].cluster.as_deref(), Some("lab"));
    assert!(runs[0].environment.is_empty());
    assert_eq!(runs[0].config_sha256, runs[1].config_sha256);
}

#[test]
fn a_child_stays_behind_and_holds_the_output_open() {
    let world = with(Fault::new(Kind::ForkChild { seconds: 300, after: None }));
    let mut child = world.command("up").stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let group = Pid::from_child(&child);
    let mut out = child.stdout.take().unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("Finished building") {
        let mut chunk = [0; 4096];
        let read = out.read(&mut chunk).unwrap();
        assert_ne!(read, 0, "the output ended early");
        text.extend_from_slice(&chunk[..read]);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(test_kill_process_group(group).is_ok(), "nobody stayed behind");
    kill_process_group(group, Signal::KILL).unwrap();
    out.read_to_end(&mut text).unwrap();
}
