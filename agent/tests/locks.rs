//! Three locks keep two runs off one cluster: the index in the controller's store, the fence and the lock
//! file on the volume. Each alone must hold when the other two are broken. Here the index is broken by
//! sending assignments that no store would give out; that the index holds alone is shown with the store
//! (`the_lock_of_a_cluster_holds_whoever_forgets_to_look`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::task::TaskKind::Provision;
use support::{Agent, World, fixtures, refusal};

/// A run that is on, and another agent that serves the same volume: as on a disk that two hosts have
/// attached, each opened it before the run began, and neither sees the other's hold on it.
fn shared_volume(world: &mut World) -> (Agent, Agent) {
    let then = world.success(&fixtures::ca("blue"));
    world.behave(&format!("echo before; gate; {then}"));
    let second = world.agent();
    let owner = fs::read(world.volume.join("owner.json")).unwrap();
    break_lock_of(&world.volume);
    let mut first = world.agent();
    first.assign(&world.assignment(Provision));
    let mut output = first.started();
    first.output(&mut output, 7);
    assert_eq!(world.calls().len(), 1);
    fs::write(world.volume.join("owner.json"), owner).unwrap();
    (first, second)
}

/// Makes the lock on the volume useless, and the volume one that cannot be told from a copy.
fn break_lock_of(volume: &Path) {
    fs::remove_file(volume.join("volume.lock")).unwrap();
    let path = volume.join("volume.json");
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file.as_object_mut().unwrap().remove("origin");
    fs::write(path, file.to_string()).unwrap();
}

/// Lets the run end, which belongs to its supervisor: nothing ran beside it.
fn ends_alone(world: &World, agents: (Agent, Agent)) {
    assert_eq!(world.calls().len(), 1);
    agents.0.crash();
    agents.1.crash();
    world.open_gate();
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
    ends_alone(&world, (first, second));
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
    ends_alone(&world, (first, second));
}
