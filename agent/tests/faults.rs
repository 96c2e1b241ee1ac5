//! A volume that fails at every single durable step of a run: no space, a broken device.
//!
//! The steps of the agent fail through a plan in this process, those of its supervisor through one that
//! is handed on to it. Each step is tried, until a run passes that no fault has struck.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use cratekube_agent::port::Engine;
use cratekube_agent::volume::generations::STATE;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind::Provision;
use cratekube_common::runtime::fault::{self, Act, Plan};
use support::{World, fixtures, refusal};

/// More steps than a run has.
const BOUND: usize = 200;

/// A world with a cluster that was built; and its state.
fn built() -> (World, fixtures::Ca, Vec<u8>) {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
    let state = fs::read(world.working(STATE)).unwrap();
    (world, ca, state)
}

/// The next `rke` grows the state.
fn grow(world: &World, ca: &fixtures::Ca, hosts: usize) {
    let hosts: Vec<String> = (0..hosts).map(|n| format!("172.30.1.{n}")).collect();
    let all: Vec<&str> = support::HOSTS.iter().copied().chain(hosts.iter().map(String::as_str)).collect();
    let next = world.dir.path().join("next");
    fs::write(&next, ca.state(&all)).unwrap();
    let check = format!("grep -q '}}$' {STATE} || touch {}", world.dir.path().join("violated").display());
    world.behave(&format!("{check}; cp {} {STATE}; {}", next.display(), world.success(ca).replace("cp ", ": ")));
}

fn why(report: &RunReport) -> Option<&Failure> {
    match &report.outcome {
        RunOutcome::Succeeded => None,
        RunOutcome::Failed(failure) | RunOutcome::Refused(failure) => Some(failure),
    }
}

/// What holds after a run in which the volume failed.
fn nothing_is_lost(world: &World, report: &RunReport, what: &str) {
    let generations = world.generations();
    for number in generations.numbers().unwrap() {
        assert_eq!(generations.verify(number).unwrap(), None, "{what}: generation {number}");
    }
    assert!(generations.newest_good().unwrap().is_some(), "{what}");
    assert!(!world.dir.path().join("violated").exists(), "{what}: rke was started on torn state");
    match why(report) {
        None => assert!(report.generation.as_ref().is_some_and(|m| m.good), "{what}: {report:?}"),
        Some(failure) => {
            assert_eq!(failure.class, FailureClass::Volume, "{what}: {failure:?}");
            assert!(failure.retryable && !failure.remedy.is_empty(), "{what}: {failure:?}");
        }
    }
}

/// The volume is well again, and so is the cluster.
fn goes_on(world: &mut World, ca: &fixtures::Ca, what: &str) {
    world.behave_well(ca);
    let (assignment, mut agent) = (world.assignment(Provision), world.agent());
    // What could not be noted as told is told again.
    for held in agent.engine.held_runs() {
        let report = agent.report();
        assert_eq!(report.attempt, held.attempt, "{what}");
        agent.settle(held.attempt);
    }
    let next = agent.play(assignment);
    assert_eq!(next.outcome, RunOutcome::Succeeded, "{what}: the next run");
    agent.close();
}

/// Fails each step of the agent in turn; gives how many there are.
fn agent_steps(act: Act) -> usize {
    for nth in 1..BOUND {
        let (mut world, ca, _) = built();
        grow(&world, &ca, nth);
        let (assignment, mut agent) = (world.assignment(Provision), world.agent());
        let plan = fault::install(Plan::at(act, nth, &world.volume.display().to_string()));
        let report = agent.play(assignment);
        agent.close();
        if plan.struck() == 0 {
            assert_eq!(report.outcome, RunOutcome::Succeeded);
            return nth - 1;
        }
        drop(plan);
        let what = format!("{} at the agent's step {nth}", act.name());
        nothing_is_lost(&world, &report, &what);
        goes_on(&mut world, &ca, &what);
    }
    panic!("no run passed")
}

#[test]
fn hostile_row_57_no_space_at_any_step_of_the_agent_loses_nothing() {
    let steps = agent_steps(Act::FULL);
    assert!(steps > 40, "{steps} steps");
}

#[test]
fn hostile_row_61_a_broken_device_at_any_step_of_the_agent_loses_nothing() {
    let steps = agent_steps(Act::BROKEN);
    assert!(steps > 30, "{steps} steps");
}

#[test]
fn hostile_row_57_and_61_a_fault_at_any_step_of_the_supervisor_loses_nothing() {
    for act in ["enospc", "eio", "erofs"] {
        for nth in 1.. {
            let (mut world, ca, _) = built();
            grow(&world, &ca, nth);
            let trace = world.dir.path().join("trace");
            let handed_on = fault::hand_on(&format!("{act}@{nth}:*:{}", world.volume.display()), &trace);
            let report = world.play(Provision);
            if handed_on.struck() == 0 {
                assert!(nth > 12 && report.outcome == RunOutcome::Succeeded, "{nth} steps: {report:?}");
                break;
            }
            drop(handed_on);
            let what = format!("{act} at the supervisor's step {nth}");
            nothing_is_lost(&world, &report, &what);
            goes_on(&mut world, &ca, &what);
        }
    }
}

#[test]
fn hostile_row_57_a_volume_that_stays_full_still_gives_a_report() {
    let (mut world, ca, before) = built();
    grow(&world, &ca, 1);
    let (assignment, mut agent) = (world.assignment(Provision), world.agent());
    let generations = world.generations().path(2).parent().unwrap().display().to_string();
    let plan = fault::install(Plan::at(Act::FULL, 1, &generations).and_on());
    let report = agent.play(assignment);
    assert!(plan.struck() > 1, "tried again with the space that was kept back");
    assert_eq!(why(&report).unwrap().class, FailureClass::Volume);
    assert_eq!(report.generation, None);
    assert_eq!(world.generations().numbers().unwrap(), [1]);
    assert_eq!(fs::read(world.generations().path(1).join(STATE)).unwrap(), before, "the old state is intact");
    drop(plan);
    agent.close();
    goes_on(&mut world, &ca, "once there is space again");
    assert_eq!(world.generations().numbers().unwrap(), [1, 2, 3], "what was left is sealed first");
}

#[test]
fn hostile_row_61_a_sync_that_failed_is_not_tried_again_and_nothing_is_started_any_more() {
    let (mut world, ca, _) = built();
    grow(&world, &ca, 1);
    let (first, second) = (world.assignment(Provision), world.assignment(Provision));
    let mut agent = world.agent();
    let generations = world.generations().path(2).parent().unwrap().display().to_string();
    let plan = fault::install(Plan::at(Act::BROKEN, 1, &generations).only("sync"));
    let report = agent.play(first);
    assert_eq!((plan.struck(), plan.seen()), (1, 1), "one sync failed, and none came after it");
    assert_eq!(why(&report).unwrap().class, FailureClass::Volume);
    drop(plan);
    let calls = world.calls().len();
    let refused = agent.play(second);
    assert_eq!(refusal(&refused).class, FailureClass::Volume);
    assert!(refusal(&refused).message.contains("not trusted") && refusal(&refused).remedy.contains("fsck"));
    let status = agent.runtime.block_on(agent.engine.volumes()).remove(0);
    assert!(status.fault.unwrap().contains("not trusted"), "operators see it");
    assert_eq!(world.calls().len(), calls, "rke was not started");
    agent.close();
    goes_on(&mut world, &ca, "after the volume was looked at and the agent started again");
}
