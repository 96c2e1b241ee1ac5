//! Steps: work that is not `rke`'s, under the same supervisor, with the same journal and output.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::time::Duration;

use cratekube_agent::port::Engine;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::query::{Query, QueryKind};
use cratekube_common::domain::removal::OrphanFindings;
use cratekube_common::domain::run::{ExitStatus, RunOutcome};
use cratekube_common::domain::task::TaskKind::{
    self, CleanHosts, Confirm, Freeze, Provision, Record, Release, Remove, Sweep, Tombstone,
};
use serde_json::{Value, json};
use support::{Agent, World, capture, fixtures, refusal};

#[test]
fn a_step_is_a_run_that_leaves_the_state_alone_and_no_secret_behind() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    world.play(Provision);
    let (state, calls) = (fs::read(world.working("cluster.rkestate")).unwrap(), world.calls().len());
    let report = world.play(Tombstone);
    // What came of it is what it says itself, not how it exited.
    assert_eq!(report.exit, Some(ExitStatus::Code(0)));
    let RunOutcome::Failed(failure) = &report.outcome else { panic!("{report:?}") };
    assert!(failure.message.contains("does not say that this cluster was removed"), "{failure:?}");
    assert_eq!((report.generation, report.rke), (None, None));
    assert_eq!(fs::read(world.working("cluster.rkestate")).unwrap(), state);
    assert_eq!(world.calls().len(), calls, "rke is not started for it");
    let journal = world.journal(report.attempt);
    let output = fs::read_to_string(journal.output()).unwrap();
    assert_eq!((output.len() as u64, output.contains("not laid to rest")), (report.output_bytes, true));
    for entry in fs::read_dir(journal.dir()).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.ends_with("scratch"), "its input, with the spec's secrets, is gone");
        assert!(!fs::read_to_string(&path).unwrap().contains("hunter2"), "{}", path.display());
    }
}

/// Plays a task of a removal with an agent, with the findings of those before it.
fn play(world: &mut World, agent: &mut Agent, kind: TaskKind, earlier: &mut Value) -> Value {
    let mut assignment = world.assignment(kind);
    let asked = json!({"policy": "delete", "hosts_terminated": true, "ca_sha256": "a".repeat(64), "undelete_days": 7,
        "confirm_pause_s": 0, "skip_kubernetes": true, "earlier": earlier});
    assignment.input.merge(&asked);
    let report = agent.play(assignment);
    assert_eq!(report.outcome, RunOutcome::Succeeded, "{kind}");
    let findings = report.findings.unwrap_or_default();
    earlier[kind.as_str()] = findings.clone();
    findings
}

fn remove_well(world: &World) {
    world.behave(&format!("cat {}; exit 0", capture("B27-remove-force-final").display()));
}

#[test]
fn every_piece_of_a_removal_is_done_on_the_volume_also_when_working_is_gone() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    world.play(Provision);
    remove_well(&world);
    let (mut agent, mut earlier) = (world.agent(), json!({}));
    let mut states = Vec::new();
    for kind in [Freeze, Record, Release, Remove, CleanHosts, Sweep, Confirm, Tombstone] {
        let findings = play(&mut world, &mut agent, kind, &mut earlier);
        states.push((kind, findings["state"].as_str().unwrap_or("none").to_owned()));
        if kind == Remove {
            assert!(!world.cluster_dir().join("working").exists());
        }
    }
    let expected = ["skipped", "skipped", "skipped", "none", "skipped", "unverified", "unverified", "done"];
    assert_eq!(states.iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>(), expected, "{states:?}");
    let laid = &earlier["tombstone"];
    let last = world.generations().newest().unwrap().unwrap();
    assert_eq!((&laid["generation"], &laid["files"]), (&json!(last.number), &json!(last.files)));
    assert_eq!((&laid["undelete_days"], laid["sha256"].as_str().map(str::len)), (&json!(7), Some(64)));
    assert!(laid["shred_after"].as_str().unwrap().ends_with('Z'));
    // Fence and directory are the cluster's still: what is older, or another cluster's, is refused.
    let stale = cratekube_common::domain::attempt::Fence(2);
    let late = cratekube_common::domain::run::Assignment { fence: stale, ..world.assignment(Sweep) };
    assert!(refusal(&agent.play(late)).message.contains("is stale"));
    agent.close();
}

#[test]
fn each_step_has_the_limit_of_its_kind_and_rke_those_of_its_runs_unless_it_has_one_too() {
    const NEVER: Duration = Duration::from_millis(u64::MAX);
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let mut settings = world.settings();
    settings.limits = settings.limits.with(Release, minutes(7)).with(Remove, minutes(9));
    let mut agent = world.agent_with(settings).unwrap();
    let mut limits = |world: &mut World, kind| {
        let report = agent.play(world.assignment(kind));
        let limits = world.journal(report.attempt).run().unwrap().unwrap().command.limits();
        (limits.run, limits.silence, limits.phase)
    };
    assert_eq!(limits(&mut world, Provision), (minutes(120), minutes(20), minutes(45)));
    assert_eq!(limits(&mut world, Freeze), (minutes(15), NEVER, NEVER));
    assert_eq!(limits(&mut world, Release), (minutes(7), NEVER, NEVER));
    remove_well(&world);
    assert_eq!(limits(&mut world, Remove), (minutes(9), minutes(20), minutes(45)));
    assert_eq!(limits(&mut world, Sweep), (minutes(120), NEVER, NEVER));
    agent.close();
}

#[test]
fn a_removal_that_failed_after_rke_is_tried_again_from_its_start_and_rke_is_not_started() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    world.play(Provision);
    remove_well(&world);
    let (mut agent, mut earlier) = (world.agent(), json!({}));
    play(&mut world, &mut agent, Remove, &mut earlier);
    let (calls, sealed) = (world.calls().len(), world.generations().numbers().unwrap());
    let again = agent.play(world.assignment(Remove));
    assert_eq!((&again.outcome, &again.generation), (&RunOutcome::Succeeded, &None));
    assert!(again.warnings[0].contains("was removed from its hosts before"));
    assert_eq!((world.calls().len(), world.generations().numbers().unwrap()), (calls, sealed), "nothing is done");
    let output = fs::read(world.journal(again.attempt).output()).unwrap();
    assert_eq!(output.len() as u64, again.output_bytes);
    for kind in [Freeze, Record, Release, CleanHosts, Sweep, Confirm, Tombstone] {
        play(&mut world, &mut agent, kind, &mut earlier);
    }
    assert_eq!(refusal(&agent.play(world.assignment(Provision))).class, FailureClass::State);
    agent.close();
}

#[test]
fn a_tombstone_says_when_what_it_keeps_is_damaged_and_an_agent_that_dies_leaves_it_to_the_next() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    world.play(Provision);
    remove_well(&world);
    world.play(Remove);
    let last = world.generations().newest().unwrap().unwrap().number;
    let state = world.generations().path(last).join("cluster.rkestate");
    let whole = fs::read(&state).unwrap();
    fs::write(&state, b"rot").unwrap();
    let mut agent = world.agent();
    let assignment = world.assignment(Tombstone);
    agent.assign(&assignment);
    agent.started();
    agent.crash();
    let mut agent = world.agent();
    let damaged = agent.report();
    let findings = damaged.findings.unwrap();
    assert_eq!((damaged.attempt, &findings["state"]), (assignment.attempt, &json!("unverified")));
    assert!(damaged.warnings[0].contains("damaged"), "{:?}", damaged.warnings);
    agent.settle(damaged.attempt);
    fs::write(&state, whole).unwrap();
    let laid = agent.play(world.assignment(Tombstone));
    assert_eq!(laid.findings.unwrap()["state"], "done");
    agent.close();
}

#[test]
fn a_scan_for_orphans_is_answered_and_says_when_the_cloud_cannot_be_looked_at() {
    let world = World::new();
    let agent = world.agent();
    assert!(agent.engine.answers().contains(&QueryKind::OrphanScan));
    let ask = |input: Value| {
        let (id, kind, patience) = (world.mint.id(), QueryKind::OrphanScan, std::time::Duration::from_secs(60));
        agent.runtime.block_on(agent.engine.ask(Query { id, kind, about: None, input, patience }))
    };
    for input in [json!({"living": ["prod-web"], "removed": []}), Value::Null] {
        let found: OrphanFindings = serde_json::from_str(ask(input).unwrap().expose()).unwrap();
        assert!(found.unverified.unwrap().contains("cloud.enabled") && found.groups.is_empty());
    }
    assert_eq!(ask(json!({"living": 7})).unwrap_err().class, FailureClass::Internal);
    agent.close();
}

#[test]
fn what_is_kept_of_a_removed_cluster_is_shredded_by_the_agent_when_its_window_is_over_and_not_before() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    world.play(Provision);
    remove_well(&world);
    let mut agent = world.agent();
    for (kind, days) in [(Remove, 0), (Tombstone, 0)] {
        let mut assignment = world.assignment(kind);
        assignment.input.merge(&json!({"undelete_days": days}));
        assert_eq!(agent.play(assignment).outcome, RunOutcome::Succeeded);
    }
    agent.close();
    assert!(world.generations().newest().unwrap().is_some(), "nothing is shredded by the step itself");
    let agent = world.agent();
    let away = world.volume.join("removed").join(world.cluster.to_string());
    let is_over = || {
        agent.runtime.block_on(tokio::task::yield_now());
        std::thread::yield_now();
        let note = fs::read(away.join("shredded.json")).unwrap_or_default();
        serde_json::from_slice(&note).is_ok_and(|note: Value| note["ended_at"].is_string())
    };
    assert!((0..5_000_000).any(|_| is_over()));
    assert!(!away.join("generations").exists() && !away.join("runs").exists() && !world.cluster_dir().exists());
    agent.close();
    world.cluster = world.mint.id();
    world.behave_well(&fixtures::ca("another"));
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded, "the name is free");
}
