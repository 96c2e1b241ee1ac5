//! State that was torn, lost or changed comes back: by itself where it was our own run, on request
//! otherwise; and only state that is known to be the cluster's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::time::Duration;

use cratekube_agent::engine::EngineSettings;
use cratekube_agent::port::Engine;
use cratekube_agent::run::process;
use cratekube_agent::volume::generations::{KUBECONFIG, STATE};
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::generation::{KnownState, Manifest};
use cratekube_common::domain::run::{Assignment, Recovery, RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind::{Provision, RecoverState, Remove};
use rustix::process::Signal;
use support::{World, capture, failure, fixtures, refusal};

/// A world with a cluster that was built, and what the controller knows of it.
fn built() -> (World, fixtures::Ca, KnownState) {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    let report = world.play(Provision);
    assert_eq!(report.outcome, RunOutcome::Succeeded);
    (world, ca, known(&report.generation.unwrap()))
}

fn known(manifest: &Manifest) -> KnownState {
    let state = manifest.files.iter().find(|f| f.name == STATE).map(|f| f.sha256.clone());
    KnownState { generation: manifest.number, state_sha256: state, ca_sha256: manifest.ca_sha256.clone() }
}

fn play(world: &World, assignment: Assignment) -> RunReport {
    let mut agent = world.agent();
    let report = agent.play(assignment);
    agent.close();
    report
}

fn provision(world: &mut World, known: &KnownState) -> RunReport {
    let assignment = Assignment { known: Some(known.clone()), ..world.assignment(Provision) };
    play(world, assignment)
}

fn recover(world: &mut World, known: &KnownState, recovery: Recovery) -> RunReport {
    let assignment =
        Assignment { known: Some(known.clone()), recovery: Some(recovery), ..world.assignment(RecoverState) };
    play(world, assignment)
}

/// The recorded output of bringing state back, after which the scratch directory has it.
fn give_back(world: &World, ca: &fixtures::Ca) {
    let state = world.dir.path().join(format!("back-{}", &ca.sha256[..8]));
    fs::write(&state, ca.state(&support::HOSTS)).unwrap();
    let recorded = capture("B16c-get-state-file-neither-present");
    world.behave(&format!(
        "[ -e {STATE} ] && exit 9; cp {} {STATE}; echo back > {KUBECONFIG}; cat {}; exit 0",
        state.display(),
        recorded.display()
    ));
}

#[test]
fn hostile_row_58_what_our_own_run_tore_is_put_back_and_said() {
    for kind in [Provision, Remove] {
        let (mut world, ca, known) = built();
        let whole = fs::read(world.working(STATE)).unwrap();
        world.behave(&format!("printf '{{\"desired' > {STATE}; rm {KUBECONFIG}; exit 1"));
        assert!(!provision(&mut world, &known).generation.unwrap().good);
        let seen = world.dir.path().join("seen");
        let done = match kind {
            Remove => format!("cat {}", capture("B27-remove-force-final").display()),
            _ => world.success(&ca),
        };
        world.behave(&format!("cp {STATE} {}; {done}", seen.display()));
        let assignment = Assignment { known: Some(known.clone()), ..world.assignment(kind) };
        let report = play(&world, assignment);
        assert_eq!(report.outcome, RunOutcome::Succeeded, "{report:?}");
        assert_eq!(fs::read(seen).unwrap(), whole, "rke found the good state");
        assert!(report.warnings[0].contains("generation 1 was put back"), "{:?}", report.warnings);
        let aside = world.journal(report.attempt).dir().join("aside").join(STATE);
        assert_eq!(fs::read_to_string(aside).unwrap(), "{\"desired", "what was there is kept");
    }
}

#[test]
fn hostile_row_58_nothing_is_put_back_by_itself_where_somebody_changed_the_files_or_more_is_known() {
    let (mut world, _, known) = built();
    world.behave(&format!(": > {STATE}; exit 1"));
    provision(&mut world, &known);
    let calls = world.calls().len();
    let other = KnownState { state_sha256: Some("0".repeat(64)), generation: 2, ..known.clone() };
    assert!(refusal(&provision(&mut world, &other)).message.starts_with("state_regressed"));
    fs::write(world.working(STATE), b"by hand").unwrap();
    let refused = provision(&mut world, &known);
    assert!(refusal(&refused).message.starts_with("drift") && refusal(&refused).remedy.contains("recover-state"));
    assert_eq!(fs::read(world.working(STATE)).unwrap(), b"by hand", "nothing was touched");
    assert_eq!(world.calls().len(), calls, "rke was not started");
}

#[test]
fn hostile_row_58_drift_is_recovered_on_request_from_the_newest_good_generation() {
    let (mut world, ca, known) = built();
    let whole = fs::read(world.working(STATE)).unwrap();
    fs::write(world.working(STATE), b"by hand").unwrap();
    fs::remove_file(world.working(KUBECONFIG)).unwrap();
    assert!(refusal(&provision(&mut world, &known)).message.starts_with("drift"));
    let assignment = Assignment { known: Some(known), ..world.assignment(RecoverState) };
    let mut agent = world.agent();
    let attempt = agent.assign(&assignment);
    let output = agent.started();
    let report = agent.report();
    agent.settle(attempt);
    agent.close();
    assert_eq!(report.outcome, RunOutcome::Succeeded, "{report:?}");
    let said = fs::read_to_string(output.path).unwrap();
    assert!(said.contains("generation 1 was put back") && said.len() as u64 == report.output_bytes);
    let sealed = report.generation.unwrap();
    assert_eq!((sealed.number, sealed.good), (2, true));
    assert_eq!(fs::read(world.working(STATE)).unwrap(), whole);
    assert_eq!(world.calls().len(), 1, "no rke was needed");
    assert_eq!(fs::read(world.journal(attempt).dir().join("aside").join(STATE)).unwrap(), b"by hand");
    world.behave_well(&ca);
    let sealed = self::known(&sealed);
    assert_eq!(provision(&mut world, &sealed).outcome, RunOutcome::Succeeded, "operations go on");
}

#[test]
fn hostile_row_58_where_no_generation_is_left_the_cluster_is_asked() {
    let (mut world, ca, known) = built();
    let rotten = world.generations().path(1).join(STATE);
    let mut bytes = fs::read(&rotten).unwrap();
    bytes[100] ^= 1;
    fs::write(&rotten, bytes).unwrap();
    fs::remove_file(world.working(STATE)).unwrap();
    let before = fs::read(world.working(KUBECONFIG)).unwrap();
    give_back(&world, &fixtures::ca("mallory"));
    let foreign = recover(&mut world, &known, Recovery::default());
    assert_eq!(failure(&foreign).class, FailureClass::State);
    assert!(failure(&foreign).message.contains("on record"), "{:?}", failure(&foreign));
    assert_eq!(foreign.generation, None, "nothing is sealed");
    assert!(!world.working(STATE).exists(), "nothing was touched");
    world.behave(&format!("cat {}; exit 1", capture("09a-util-get-state-file-no-cluster").display()));
    let none = recover(&mut world, &known, Recovery::default());
    assert_eq!(failure(&none).class, FailureClass::State);
    assert_eq!(fs::read(world.working(KUBECONFIG)).unwrap(), before);
    give_back(&world, &ca);
    let back = recover(&mut world, &known, Recovery { generation: None, newest_recorded: 1 });
    assert_eq!(back.outcome, RunOutcome::Succeeded, "{back:?}");
    let sealed = back.generation.unwrap();
    assert_eq!((sealed.number, sealed.good, sealed.ca_sha256.as_ref()), (2, true, Some(&ca.sha256)));
    assert_eq!(world.calls().last().unwrap(), "util get-state-file --config cluster.yml");
    assert!(!world.journal(back.attempt).dir().join("scratch").exists(), "the copy is gone");
    world.behave_well(&ca);
    assert_eq!(provision(&mut world, &self::known(&sealed)).outcome, RunOutcome::Succeeded);
}

#[test]
fn hostile_row_59_a_regressed_volume_is_recovered_only_from_a_generation_that_is_named() {
    let (mut world, ca, known) = built();
    let ahead = KnownState { generation: 9, state_sha256: Some("0".repeat(64)), ..known };
    let unnamed = recover(&mut world, &ahead, Recovery { generation: None, newest_recorded: 12 });
    assert!(refusal(&unnamed).message.starts_with("state_regressed"));
    let gone = recover(&mut world, &ahead, Recovery { generation: Some(7), newest_recorded: 12 });
    assert!(refusal(&gone).message.contains("generation 7 is not kept"), "{:?}", refusal(&gone));
    let named = recover(&mut world, &ahead, Recovery { generation: Some(1), newest_recorded: 12 });
    assert_eq!(named.outcome, RunOutcome::Succeeded, "{named:?}");
    let sealed = named.generation.unwrap();
    assert_eq!(sealed.number, 13, "above everything that was ever recorded");
    world.behave_well(&ca);
    assert_eq!(provision(&mut world, &self::known(&sealed)).outcome, RunOutcome::Succeeded);
}

#[test]
fn hostile_row_60_recovery_never_takes_another_ca() {
    let (mut world, _, known) = built();
    let other = KnownState { ca_sha256: Some("0".repeat(64)), ..known };
    let refused = recover(&mut world, &other, Recovery { generation: Some(1), newest_recorded: 1 });
    assert_eq!(refusal(&refused).class, FailureClass::State);
    assert!(refusal(&refused).message.contains("the controller's"));
    assert_eq!(world.generations().numbers().unwrap(), [1]);
}

#[test]
fn hostile_row_54_a_new_bastion_that_mounts_the_volume_takes_its_clusters_over() {
    let (mut world, ca, known) = built();
    world.behave("echo before; gate");
    let (assignment, mut agent) = (world.assignment(Provision), world.agent());
    let attempt = agent.assign(&assignment);
    let mut output = agent.started();
    agent.output(&mut output, 7);
    agent.crash();
    // The bastion is terminated: whatever ran on it is gone, and another host has the volume elsewhere.
    let supervisor = world.supervisor(attempt);
    process::signal_group(supervisor.rke.unwrap(), Signal::KILL).unwrap();
    let pid = rustix::process::Pid::from_raw(supervisor.supervisor.pid).unwrap();
    let _it_may_have_ended = rustix::process::kill_process(pid, Signal::KILL);
    while process::lives(supervisor.supervisor) {
        std::thread::yield_now();
    }
    let journal = world.journal(attempt);
    let mut record = journal.run().unwrap().unwrap();
    record.boot_id = "another-host".into();
    journal.write_run(&record).unwrap();
    let _its_end_is_lost = fs::remove_file(journal.dir().join("exit.json"));
    let elsewhere = world.dir.path().join("elsewhere");
    fs::rename(&world.volume, &elsewhere).unwrap();
    world.volume = elsewhere;
    let mut agent = world.agent();
    assert_eq!(agent.runtime.block_on(agent.engine.volumes())[0].id, world.volume_id, "the same volume");
    assert_eq!(agent.engine.held_runs()[0].attempt, attempt, "the interrupted run is found");
    let report = agent.report();
    assert_eq!(failure(&report).class, FailureClass::Interrupted, "never started again by itself");
    agent.settle(attempt);
    agent.close();
    assert_eq!(world.calls().len(), 2);
    world.behave_well(&ca);
    assert_eq!(provision(&mut world, &known).outcome, RunOutcome::Succeeded, "operations go on");
    assert!(world.generations().numbers().unwrap().starts_with(&[1, 2, 3]));
}

#[test]
fn hostile_row_58_rot_is_found_in_the_background_and_ends_no_service() {
    let (mut world, ca, known) = built();
    let rotten = world.generations().path(1).join(STATE);
    let mut bytes = fs::read(&rotten).unwrap();
    bytes[100] ^= 1;
    fs::write(&rotten, bytes).unwrap();
    let often = Duration::from_millis(1);
    let agent = world.agent_with(EngineSettings { scrub_interval: often, ..world.settings() }).unwrap();
    let scrubbed = loop {
        let status = agent.runtime.block_on(agent.engine.volumes()).remove(0);
        if let Some(scrub) = status.scrub {
            assert_eq!(status.fault, None, "the volume is served");
            break scrub;
        }
    };
    assert_eq!(scrubbed.checked, 1);
    assert!(scrubbed.faults[0].contains("cluster.rkestate is not what was sealed"), "{scrubbed:?}");
    agent.close();
    world.behave_well(&ca);
    assert_eq!(provision(&mut world, &known).outcome, RunOutcome::Succeeded);
}
