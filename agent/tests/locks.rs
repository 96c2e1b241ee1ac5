//! Three locks keep two runs off one cluster: the index in the controller's store, the fence and the lock
//! file on the volume. Each alone must hold when the other two are broken. Here the index is broken by
//! sending assignments that no store would give out; that the index holds alone is shown with the store
//! (`the_lock_of_a_cluster_holds_whoever_forgets_to_look`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::run::RunOutcome;
use cratekube_common::domain::task::TaskKind::Provision;
use support::{Agent, World, fixtures, refusal};

/// A run that is on, and another agent that serves the same volume: as on a disk that two hosts have
/// attached, each opened it before the run began, and neither sees the other's lock on it.
fn shared_volume(world: &mut World) -> (Agent, Agent) {
    let then = world.success(&fixtures::ca("blue"));
    world.behave(&format!("echo before; gate; {then}"));
    let mut first = world.agent();
    fs::remove_file(world.volume.join("volume.lock")).unwrap();
    let second = world.agent();
    first.assign(&world.assignment(Provision));
    let mut output = first.started();
    first.output(&mut output, 7);
    assert_eq!(world.calls().len(), 1);
    (first, second)
}

/// Lets the run end; then the next one may start.
fn goes_on_afterwards(world: &mut World, mut first: Agent, mut second: Agent) {
    world.open_gate();
    let report = first.report();
    assert_eq!(report.outcome, RunOutcome::Succeeded);
    first.settle(report.attempt);
    world.behave_well(&fixtures::ca("blue"));
    let next = world.assignment(Provision);
    second.assign(&next);
    assert_eq!(second.report().attempt, next.attempt);
    assert_eq!(world.calls().len(), 2, "one rke after the other");
}

#[test]
fn hostile_row_55_the_fence_alone_keeps_a_second_run_off_a_cluster() {
    let mut world = World::new();
    let (first, mut second) = shared_volume(&mut world);
    fs::remove_file(world.cluster_dir().join("lock")).unwrap();
    second.assign(&world.assignment(Provision));
    let newer = second.report();
    assert!(refusal(&newer).message.contains("under fence 1 and has not ended"), "{}", refusal(&newer).message);
    second.settle(newer.attempt);
    let mut older = world.assignment(Provision);
    older.fence = Fence(1);
    second.assign(&older);
    let older = second.report();
    assert!(refusal(&older).message.contains("fence 1 is stale"), "{}", refusal(&older).message);
    second.settle(older.attempt);
    assert_eq!(world.calls().len(), 1);
    goes_on_afterwards(&mut world, first, second);
}

#[test]
fn hostile_row_55_the_lock_file_alone_keeps_a_second_run_off_a_cluster() {
    let mut world = World::new();
    let (first, mut second) = shared_volume(&mut world);
    fs::remove_file(world.cluster_dir().join("fence")).unwrap();
    second.assign(&world.assignment(Provision));
    let refused = second.report();
    assert!(refusal(&refused).message.contains("it holds"), "{}", refusal(&refused).message);
    second.settle(refused.attempt);
    assert_eq!(world.calls().len(), 1);
    goes_on_afterwards(&mut world, first, second);
}
