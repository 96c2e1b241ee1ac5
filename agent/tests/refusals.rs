//! What keeps `rke` from being started, and what is told then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use cratekube_agent::engine::{EngineSettings, OpenError};
use cratekube_agent::port::Engine;
use cratekube_agent::volume::generations::STATE;
use cratekube_agent::volume::layout::Layout;
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::generation::KnownState;
use cratekube_common::domain::run::RunOutcome;
use cratekube_common::domain::task::TaskKind::{Provision, Remove};
use support::{World, capture, fixtures, refusal};

fn ready() -> World {
    let mut world = World::new();
    world.behave_well(&fixtures::ca("blue"));
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
    world
}

#[test]
fn hostile_row_58_rke_never_starts_on_torn_empty_missing_or_changed_state() {
    let mut world = ready();
    let whole = fs::read(world.working(STATE)).unwrap();
    let changed = String::from_utf8(whole.clone()).unwrap().replace("172.30.0.11", "172.30.0.99");
    for (what, content) in [("torn", &whole[..whole.len() / 2]), ("empty", b""), ("changed", changed.as_bytes())] {
        fs::write(world.working(STATE), content).unwrap();
        let report = world.play(Provision);
        assert_eq!(refusal(&report).class, FailureClass::State, "{what}");
        assert!(refusal(&report).message.starts_with("drift"), "{what}: {}", refusal(&report).message);
        assert_eq!(fs::read(world.working(STATE)).unwrap(), content, "nothing was touched");
    }
    fs::remove_file(world.working(STATE)).unwrap();
    assert!(refusal(&world.play(Provision)).message.contains("cluster.rkestate is missing"));
    assert_eq!(world.calls().len(), 1);
    fs::write(world.working(STATE), whole).unwrap();
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded, "the sealed state put back is accepted");
}

#[test]
fn hostile_row_58_state_torn_by_a_run_is_refused_until_a_good_generation_is_put_back() {
    let mut world = ready();
    world.behave(&format!(": > {STATE}; exit 1"));
    let torn = world.play(Provision);
    assert!(!torn.generation.unwrap().good);
    world.behave_well(&fixtures::ca("never minted"));
    let refused = world.play(Provision);
    assert!(refusal(&refused).message.starts_with("torn state"), "{}", refusal(&refused).message);
    for file in [STATE, "kube_config_cluster.yml"] {
        fs::copy(world.generations().path(1).join(file), world.working(file)).unwrap();
    }
    world.behave("exit 1");
    assert!(matches!(world.play(Provision).outcome, RunOutcome::Failed(_)), "rke is started again");
}

#[test]
fn a_cluster_whose_etcd_was_cleaned_away_is_not_built_again_and_one_that_was_torn_down_only_is() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
    let all = fs::read_to_string(capture("B21c-remove-force-worker-unreachable")).unwrap();
    let (before, _) = all.split_once("[hosts] Cleaning up host").unwrap();
    let said = world.dir.path().join("said");
    let fails = |world: &mut World, output: &str| {
        fs::write(&said, output).unwrap();
        world.behave(&format!("cat {}; exit 1", said.display()));
        assert!(matches!(world.play(Remove).outcome, RunOutcome::Failed(_)));
        world.behave_well(&ca);
        world.play(Provision)
    };
    assert_eq!(fails(&mut world, &before[..before.rfind('\n').unwrap() + 1]).outcome, RunOutcome::Succeeded);
    let refused = fails(&mut world, &all);
    let refusal = refusal(&refused);
    let told = "has cleaned 1 of 2 hosts of the cluster's etcd (172.30.0.11), not 172.30.0.12: `rke up` would build";
    assert!(refusal.message.contains(told) && !refusal.retryable, "{refusal:?}");
    assert!(refusal.remedy.starts_with("To keep the data, first save a snapshot of a member"), "{refusal:?}");
    assert!(refusal.remedy.contains("Then remove the cluster (again"), "{refusal:?}");
    world.behave(&format!("cat {}; exit 0", capture("B27-remove-force-final").display()));
    assert_eq!(world.play(Remove).outcome, RunOutcome::Succeeded);
}

#[test]
fn hostile_row_59_a_volume_older_than_the_record_is_refused() {
    let mut world = ready();
    let mut assignment = world.assignment(Provision);
    assignment.known = Some(KnownState { generation: 9, state_sha256: None, ca_sha256: None });
    let mut agent = world.agent();
    let report = agent.play(assignment);
    assert!(refusal(&report).message.starts_with("state_regressed"));
    agent.close();
}

#[test]
fn hostile_row_02_a_planted_link_is_refused_as_unsafe() {
    let mut world = World::new();
    world.behave("exit 0");
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, world.volume.join("clusters/prod")).unwrap();
    let report = world.play(Provision);
    assert_eq!(refusal(&report).class, FailureClass::Volume);
    assert!(refusal(&report).message.starts_with("unsafe-volume"));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn hostile_row_43_an_older_fence_is_refused() {
    let mut world = ready();
    let mut stale = world.assignment(Provision);
    stale.fence = Fence(0);
    let mut agent = world.agent();
    let report = agent.play(stale);
    assert!(refusal(&report).message.contains("stale"), "{}", refusal(&report).message);
    agent.close();
    assert_eq!(world.calls().len(), 1);
}

#[test]
fn hostile_row_50_a_lock_that_is_held_is_refused() {
    let mut world = ready();
    let layout = Layout::open(&world.volume).unwrap();
    let lock = layout.cluster(&"prod".parse().unwrap(), &"blue".parse().unwrap()).lock().unwrap();
    let report = world.play(Provision);
    assert!(refusal(&report).message.contains("has not ended") && refusal(&report).retryable);
    // For a moment a child of another test may have a copy of the descriptor: what it has is let go, too.
    lock.unlock().unwrap();
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
}

#[test]
fn hostile_row_55_a_second_agent_on_the_volume_is_refused() {
    let world = World::new();
    let agent = world.agent();
    assert!(agent.runtime.block_on(agent.engine.volumes())[0].fault.is_none());
    let refused = world.agent_with(world.settings()).err().unwrap();
    assert!(matches!(refused, OpenError::NoneServed(_)) && refused.to_string().contains("another agent"));
    agent.close();
    world.agent().close();
}

#[test]
fn hostile_row_57_a_volume_without_space_starts_nothing() {
    let mut world = World::new();
    let assignment = world.assignment(Provision);
    let mut agent = world.agent_with(EngineSettings { min_free_bytes: u64::MAX, ..world.settings() }).unwrap();
    let report = agent.play(assignment);
    assert_eq!(refusal(&report).class, FailureClass::Volume);
    assert!(refusal(&report).retryable);
    agent.close();
}

#[test]
fn an_rke_that_is_not_there_is_told_with_a_remedy() {
    let mut world = World::new();
    fs::remove_file(world.rke()).unwrap();
    let report = world.play(Provision);
    assert_eq!(refusal(&report).class, FailureClass::Internal);
    assert!(refusal(&report).remedy.contains("Install rke"));
}

#[test]
fn another_clusters_directory_is_not_taken() {
    let mut world = ready();
    world.cluster = world.mint.id();
    assert_eq!(refusal(&world.play(Provision)).class, FailureClass::State);
    assert_eq!(world.calls().len(), 1);
}

#[test]
fn what_cannot_be_taken_is_declined() {
    let mut world = World::new();
    world.behave("echo waiting; gate");
    let (first, mut second, mut third) =
        (world.assignment(Provision), world.assignment(Provision), world.assignment(Provision));
    let mut agent = world.agent_with(EngineSettings { slots: 2, ..world.settings() }).unwrap();
    agent.assign(&first);
    agent.started();
    assert_eq!(agent.engine.free_slots(), 1);
    agent.assign(&first);
    agent.assign(&second);
    assert!(agent.declined().contains("another run on this cluster"));
    (second.cluster, second.name) = (world.mint.id(), "green".parse().unwrap());
    agent.assign(&second);
    agent.started();
    (third.cluster, third.name) = (world.mint.id(), "red".parse().unwrap());
    agent.assign(&third);
    assert!(agent.declined().contains("no slot"));
    third.volume = world.mint.id();
    agent.assign(&third);
    assert!(agent.declined().contains("is not served"));
    for attempt in [first.attempt, second.attempt] {
        agent.engine.verdict(attempt, cratekube_common::domain::run::RunVerdict::Cancel);
        agent.report();
    }
    assert_eq!(agent.engine.free_slots(), 2);
    agent.close();
}
