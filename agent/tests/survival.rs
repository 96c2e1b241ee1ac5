//! Agents, supervisors and hosts that end in the middle of a run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use cratekube_agent::port::{Engine, Event};
use cratekube_agent::run::process::{self, Awaited};
use cratekube_agent::volume::fence::{self, Accepted};
use cratekube_agent::volume::owner::Owner;
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::run::{ExitStatus, RunOutcome, RunVerdict};
use cratekube_common::domain::task::TaskKind::Provision;
use rustix::process::Signal;
use support::{Agent, World, failure, fixtures, refusal};

/// A run that waits at its gate, with the agent that started it.
fn at_the_gate(world: &mut World, then: &str) -> (Agent, AttemptId) {
    world.behave(&format!("echo before; gate; {then}"));
    let assignment = world.assignment(Provision);
    let mut agent = world.agent();
    let attempt = agent.assign(&assignment);
    let mut output = agent.started();
    agent.output(&mut output, 7);
    (agent, attempt)
}

/// Waits until the supervisor of a run is gone.
fn supervisor_gone(world: &World, attempt: AttemptId) {
    let supervisor = world.supervisor(attempt).supervisor;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if let Some(awaited) = Awaited::of(supervisor).unwrap() {
            awaited.ended().await.unwrap();
        }
    });
}

#[test]
fn hostile_row_63_a_run_outlives_its_agent_and_is_adopted() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    let then = world.success(&ca);
    let (agent, attempt) = at_the_gate(&mut world, &then);
    let before = world.supervisor(attempt);
    agent.crash();
    assert!(process::lives(before.supervisor) && process::lives(before.rke.unwrap()));
    let mut next = world.agent();
    let held = next.engine.held_runs();
    assert_eq!((held.len(), held[0].attempt), (1, attempt));
    let output = next.started();
    assert_eq!(output.attempt, attempt);
    assert!(next.engine.held_runs()[0].live);
    assert_eq!(next.engine.replay().len(), 1);
    next.engine.verdict(attempt, RunVerdict::Continue);
    world.open_gate();
    let report = next.report();
    assert_eq!((report.attempt, report.exit), (attempt, Some(ExitStatus::Code(0))));
    assert_eq!(report.outcome, RunOutcome::Succeeded);
    assert_eq!(report.started_at, before.started_at);
    let output = fs::read_to_string(output.path).unwrap();
    assert!(output.starts_with("before\ntime="), "no gap, nothing doubled");
    assert_eq!(output.matches("Finished building Kubernetes cluster successfully").count(), 1);
    assert_eq!(world.calls().len(), 1, "the same run");
    next.close();
}

#[test]
fn hostile_row_63_a_run_that_ended_while_no_agent_was_there_is_sealed_and_told() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    let then = world.success(&ca);
    let (agent, attempt) = at_the_gate(&mut world, &then);
    agent.crash();
    world.open_gate();
    supervisor_gone(&world, attempt);
    let mut next = world.agent();
    let report = next.report();
    assert_eq!((report.attempt, &report.outcome), (attempt, &RunOutcome::Succeeded));
    assert!(!next.engine.held_runs()[0].live);
    next.crash();
    let mut third = world.agent();
    assert_eq!(third.report(), report, "told again until it is recorded");
    let replayed = third.engine.replay();
    assert!(matches!(&replayed[0], Event::Started { output, .. } if output.length.borrow().complete));
    assert!(matches!(&replayed[1], Event::Over(again) if **again == report));
    third.settle(attempt);
    third.close();
    assert!(world.agent().engine.held_runs().is_empty());
    assert_eq!(world.generations().numbers().unwrap(), [1]);
}

#[test]
fn hostile_row_63_a_killed_supervisor_takes_rke_with_it_and_the_run_is_interrupted() {
    let mut world = World::new();
    let (mut agent, attempt) = at_the_gate(&mut world, "exit 0");
    let record = world.supervisor(attempt);
    process::signal_group(record.supervisor, Signal::KILL).unwrap();
    let report = agent.report();
    assert_eq!(failure(&report).class, FailureClass::Interrupted);
    assert!(failure(&report).retryable);
    assert_eq!((report.exit, report.output_bytes), (None, 7));
    assert!(report.generation.is_some(), "what it left is sealed");
    assert!(!process::lives(record.rke.unwrap()), "nothing acts on the cluster unseen");
    agent.close();
}

#[test]
fn hostile_row_63_nothing_is_sealed_beside_an_rke_that_its_supervisor_did_not_live_to_name() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    // It hides from whoever looks for the run's processes by their environment.
    let hidden = world.dir.path().join("hidden");
    fs::write(&hidden, world.success(&ca)).unwrap();
    let gate = world.dir.path().join("gate");
    let hide = format!("env -i PATH=$PATH sh -c 'echo hidden; read -r _ < {}; . {}'", gate.display(), hidden.display());
    world.behave(&format!("echo before; exec {hide}"));
    let assignment = world.assignment(Provision);
    let mut agent = world.agent();
    let attempt = agent.assign(&assignment);
    let mut output = agent.started();
    agent.output(&mut output, 14);
    let mut record = world.supervisor(attempt);
    let rke = record.rke.take().unwrap();
    process::signal_group(record.supervisor, Signal::STOP).unwrap();
    world.journal(attempt).write_supervisor(&record).unwrap();
    process::signal_group(record.supervisor, Signal::KILL).unwrap();
    supervisor_gone(&world, attempt);
    assert!(process::lives(rke) && agent.engine.held_runs()[0].live);
    world.open_gate();
    let report = agent.report();
    assert_eq!(failure(&report).class, FailureClass::Interrupted);
    assert_eq!(report.generation.unwrap().ca_sha256, Some(ca.sha256), "what it wrote last is sealed");
    assert!(!process::lives(rke));
    agent.close();
}

#[test]
fn hostile_row_66_what_a_killed_supervisor_leaves_is_ended_also_where_it_named_nobody() {
    let mut world = World::new();
    let pid = world.dir.path().join("pid");
    let stray =
        format!("setsid sh -c 'echo $$ > {0}; exec sleep 600' & while ! test -s {0}; do :; done", pid.display());
    world.behave(&format!("{stray}; echo before; gate"));
    let assignment = world.assignment(Provision);
    let mut agent = world.agent();
    let attempt = agent.assign(&assignment);
    let mut output = agent.started();
    agent.output(&mut output, 7);
    let mut record = world.supervisor(attempt);
    let rke = record.rke.take().unwrap();
    process::signal_group(record.supervisor, Signal::STOP).unwrap();
    world.journal(attempt).write_supervisor(&record).unwrap();
    process::signal_group(record.supervisor, Signal::KILL).unwrap();
    assert_eq!(failure(&agent.report()).class, FailureClass::Interrupted);
    agent.close();
    let stray: i32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert!(!process::lives(rke) && process::identify(stray).is_err(), "nothing of the run lives");
}

#[test]
fn hostile_row_63_agent_and_supervisor_both_killed_leave_an_interrupted_run() {
    let mut world = World::new();
    let (agent, attempt) = at_the_gate(&mut world, "exit 0");
    let record = world.supervisor(attempt);
    agent.crash();
    process::signal_group(record.supervisor, Signal::KILL).unwrap();
    supervisor_gone(&world, attempt);
    let mut next = world.agent();
    assert_eq!(failure(&next.report()).class, FailureClass::Interrupted);
    assert!(!process::lives(record.rke.unwrap()));
    next.close();
}

#[test]
fn hostile_row_64_a_run_that_ended_with_its_host_is_interrupted() {
    let mut world = World::new();
    let (agent, attempt) = at_the_gate(&mut world, "exit 0");
    agent.crash();
    let dir = world.journal(attempt).dir().to_owned();
    let record = world.supervisor(attempt);
    process::signal_group(record.supervisor, Signal::KILL).unwrap();
    process::signal_group(record.rke.unwrap(), Signal::KILL).unwrap();
    supervisor_gone(&world, attempt);
    for file in ["run.json", "supervisor.json"] {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        fs::write(dir.join(file), text.replace(&record.boot_id, "another-boot")).unwrap();
    }
    let mut next = world.agent();
    let report = next.report();
    assert_eq!((failure(&report).class, report.exit), (FailureClass::Interrupted, None));
    assert!(failure(&report).message.contains("bastion went down"));
    next.close();
}

#[test]
fn hostile_row_64_a_supervisors_word_torn_by_a_power_cut_hides_no_run() {
    for (boot, torn, host_lost) in [("another-boot", "", true), ("", "{\"supe", false)] {
        let mut world = World::new();
        let (agent, attempt) = at_the_gate(&mut world, "exit 0");
        agent.crash();
        let dir = world.journal(attempt).dir().to_owned();
        let record = world.supervisor(attempt);
        process::signal_group(record.supervisor, Signal::KILL).unwrap();
        supervisor_gone(&world, attempt);
        process::signal_group(record.rke.unwrap(), Signal::KILL).unwrap();
        if !boot.is_empty() {
            let text = fs::read_to_string(dir.join("run.json")).unwrap();
            fs::write(dir.join("run.json"), text.replace(&record.boot_id, boot)).unwrap();
        }
        fs::write(dir.join("supervisor.json"), torn).unwrap();
        let mut next = world.agent();
        assert_eq!(next.engine.held_runs().len(), 1);
        let report = next.report();
        assert_eq!((failure(&report).class, report.exit), (FailureClass::Interrupted, None));
        assert_eq!(failure(&report).message.contains("bastion went down"), host_lost);
        next.close();
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_a_fault_of_its_volume_and_hides_no_other_run() {
    let mut world = World::new();
    let (agent, attempt) = at_the_gate(&mut world, "exit 0");
    agent.crash();
    let torn = world.cluster_dir().join("runs").join("00000000-0000-0000-0000-000000000000");
    fs::create_dir(&torn).unwrap();
    fs::write(torn.join("run.json"), "{").unwrap();
    let mut next = world.agent();
    assert_eq!(next.engine.held_runs().len(), 1, "the run after it is held");
    let fault = next.runtime.block_on(next.engine.volumes())[0].fault.clone();
    assert!(fault.is_some_and(|fault| fault.contains("could be read") && fault.contains("run.json")));
    world.open_gate();
    assert_eq!(next.report().attempt, attempt);
    next.close();
}

#[test]
fn a_run_that_was_journaled_but_never_started_is_told_as_such() {
    let mut world = World::new();
    let (mut agent, attempt) = at_the_gate(&mut world, "exit 0");
    agent.engine.verdict(attempt, RunVerdict::Cancel);
    agent.report();
    agent.close();
    let dir = world.journal(attempt).dir().to_owned();
    for file in ["supervisor.json", "exit.json", "result.json", "output.log", "cancel"] {
        fs::remove_file(dir.join(file)).unwrap();
    }
    let mut next = world.agent();
    let report = next.report();
    assert_eq!(refusal(&report).class, FailureClass::Interrupted);
    assert!(refusal(&report).retryable && report.started_at.is_none());
    next.close();
}

#[test]
fn what_was_prepared_for_a_run_that_was_not_journaled_is_cleared_away() {
    let mut world = World::new();
    world.behave("exit 1");
    world.play(Provision);
    let runs = world.cluster_dir().join("runs");
    let [bare, aside] = [1, 2].map(|n| runs.join(format!("00000000-0000-0000-0000-00000000000{n}")));
    for dir in [bare.join("scratch"), aside.join("scratch"), aside.join("aside")] {
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cluster.rkestate"), "keys").unwrap();
    }
    world.agent().close();
    assert!(!bare.exists() && !aside.join("scratch").exists());
    assert!(aside.join("aside/cluster.rkestate").exists(), "what was put aside stays");
}

#[test]
fn a_cancel_that_was_asked_for_before_a_crash_is_carried_out_after_it() {
    let mut world = World::new();
    world.behave("trap '' TERM; echo before; gate; gate");
    let assignment = world.assignment(Provision);
    let mut agent = world.agent();
    let attempt = agent.assign(&assignment);
    let mut output = agent.started();
    agent.output(&mut output, 7);
    world.journal(attempt).mark(cratekube_agent::run::journal::Mark::Cancel).unwrap();
    agent.crash();
    let rke = world.supervisor(attempt).rke.unwrap();
    let mut next = world.agent();
    process::signal_group(rke, Signal::KILL).unwrap();
    assert_eq!(failure(&next.report()).class, FailureClass::Cancelled);
    next.close();
}

#[test]
fn a_forgotten_run_is_ended_sealed_and_never_told() {
    let mut world = World::new();
    let (mut agent, attempt) = at_the_gate(&mut world, "exit 0");
    let rke = world.supervisor(attempt).rke.unwrap();
    agent.engine.verdict(attempt, RunVerdict::Forget);
    assert!(agent.engine.held_runs().is_empty());
    agent.wait(|event| match event {
        Event::Over(report) => panic!("told: {report:?}"),
        Event::Slots => Some(()),
        _ => None,
    });
    assert!(!process::lives(rke));
    assert_eq!(agent.engine.free_slots(), agent.runtime.block_on(agent.engine.facts()).slots);
    agent.close();
    assert_eq!(world.generations().numbers().unwrap(), [1], "the state it left is not drift");
    let next = world.agent();
    assert!(next.engine.held_runs().is_empty() && next.engine.replay().is_empty());
    next.close();
    world.behave("exit 1");
    assert!(matches!(world.play(Provision).outcome, RunOutcome::Failed(_)), "the cluster is free again");
}

#[test]
fn hostile_row_55_an_agent_whose_volume_another_one_serves_seals_nothing_any_more() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    let then = world.success(&ca);
    let (mut agent, _) = at_the_gate(&mut world, &then);
    // Another host has the same device: our lock on it is not seen there.
    let other = Owner::begin(&world.volume).unwrap();
    world.open_gate();
    let report = agent.report();
    assert_eq!(failure(&report).class, FailureClass::Volume);
    assert!(failure(&report).message.contains("served by another agent"), "{report:?}");
    assert_eq!(report.generation, None);
    assert!(world.generations().numbers().unwrap().is_empty(), "nothing was sealed beside the other one");
    let next = world.assignment(Provision);
    let second = agent.play(next);
    assert!(refusal(&second).message.contains("not trusted"), "nor is anything started: {second:?}");
    other.check().unwrap();
    agent.close();
}

#[test]
fn hostile_row_43_what_an_older_fence_left_is_not_sealed_over_what_a_newer_one_did() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    let then = world.success(&ca);
    let (mut agent, attempt) = at_the_gate(&mut world, &then);
    let newer = Accepted { fence: Fence(99), attempt: AttemptId(uuid::Uuid::from_u128(99)) };
    fence::accept(&world.cluster_dir().join("fence"), newer).unwrap();
    world.open_gate();
    let report = agent.report();
    assert_eq!(report.attempt, attempt);
    assert!(failure(&report).message.contains("is stale"), "{report:?}");
    assert!(world.generations().numbers().unwrap().is_empty());
    agent.close();
}
