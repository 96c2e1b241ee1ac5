//! The power goes while an agent seals and reports a run: the next agent goes on from what is left.

use std::fs;

use cratekube_agent::port::Engine;
use cratekube_agent::run::process::Awaited;
use cratekube_agent::volume::generations::STATE;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::run::RunOutcome;
use cratekube_common::domain::task::TaskKind::Provision;
use cratekube_common::runtime::fault;

use super::disk::{Disk, all_crashes, materialise};
use super::support::{World, fixtures};

/// Crashes that are played to their end; each is a start of the agent and a run of `rke`.
const PLAYED: usize = 40;

#[test]
fn hostile_row_58_an_agent_that_starts_on_what_a_power_loss_left_tells_the_truth_of_it() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
    let before = fs::read(world.working(STATE)).unwrap();
    // The second run grows the state, and ends while no agent is there.
    let grown = world.dir.path().join("grown");
    fs::write(&grown, ca.state(&["172.30.0.11", "172.30.0.12", "172.30.0.13"])).unwrap();
    world.behave(&format!(
        "echo before; gate; cp {} {STATE}\n{}",
        grown.display(),
        world.success(&ca).replace("cp ", ": ")
    ));
    let (assignment, mut agent) = (world.assignment(Provision), world.agent());
    let attempt = agent.assign(&assignment);
    let mut output = agent.started();
    agent.output(&mut output, 7);
    agent.crash();
    let supervisor = world.supervisor(attempt).supervisor;
    world.open_gate();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if let Some(awaited) = Awaited::of(supervisor).unwrap() {
            awaited.ended().await.unwrap();
        }
    });
    // What the agent does now is recorded.
    let clusters = world.volume.join("clusters");
    let mut disk = Disk::load(&clusters);
    disk.dirty(&world.working(STATE), &before);
    let recorder = fault::record(&clusters);
    let mut agent = world.agent();
    assert_eq!(agent.report().outcome, RunOutcome::Succeeded);
    agent.settle(attempt);
    agent.close();
    let steps = recorder.steps();
    drop(recorder);
    let (all, _) = all_crashes(&disk, &steps, 64);
    let every = all.len().div_ceil(PLAYED);
    assert!(steps.len() > 20 && all.len() > PLAYED, "{} steps, {} crashes", steps.len(), all.len());
    for tree in all.iter().step_by(every) {
        materialise(tree, &clusters);
        go_on(&mut world, &ca);
    }
}

/// The next agent seals what is there, and nothing is run on what is torn.
fn go_on(world: &mut World, ca: &fixtures::Ca) {
    let violated = world.dir.path().join("violated");
    world.behave(&format!("grep -q '}}$' {STATE} || touch {}; {}", violated.display(), world.success(ca)));
    let mut agent = world.agent();
    for held in agent.engine.held_runs() {
        let report = agent.report();
        assert_eq!(report.attempt, held.attempt);
        let sealed = report.generation.expect("it was sealed");
        match &report.outcome {
            RunOutcome::Succeeded => assert!(sealed.good, "{sealed:?}"),
            RunOutcome::Failed(failure) => {
                assert_eq!((failure.class, sealed.good), (FailureClass::State, false), "{failure:?}");
            }
            RunOutcome::Refused(failure) => panic!("{failure:?}"),
        }
        agent.settle(held.attempt);
    }
    agent.close();
    let generations = world.generations();
    for number in generations.numbers().unwrap() {
        assert_eq!(generations.verify(number).unwrap(), None, "generation {number}");
    }
    assert!(generations.numbers().unwrap().starts_with(&[1, 2]));
    let next = world.play(Provision);
    match &next.outcome {
        RunOutcome::Succeeded => {}
        RunOutcome::Refused(failure) => assert_eq!(failure.class, FailureClass::State, "{failure:?}"),
        RunOutcome::Failed(failure) => panic!("{failure:?}"),
    }
    assert!(!violated.exists(), "rke was started on torn state");
}
