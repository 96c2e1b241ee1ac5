//! What is on record of the hosts that a removal has cleaned, or may have, and what is not started because of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::process::Command;

use cratekube_agent::engine::EngineSettings;
use cratekube_agent::run::process;
use cratekube_agent::volume::layout::{ClusterFile, Layout};
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind::{self, Provision, Reconfigure, Remove};
use cratekube_common::runtime::fault::{self, Act, Plan};
use rustix::process::Signal;
use serde_json::json;
use support::{Agent, World, capture, failure, fixtures, refusal};

const UNTOLD: &str = "it is not known which hosts were cleaned by a removal that did not come to its end";

/// A cluster that was built.
fn built() -> (World, fixtures::Ca) {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
    (world, ca)
}

fn record(world: &World) -> ClusterFile {
    serde_json::from_slice(&fs::read(world.cluster_dir().join("cluster.json")).unwrap()).unwrap()
}

/// Builds the cluster again, as far as that is let.
fn again(world: &mut World, ca: &fixtures::Ca) -> RunReport {
    world.behave_well(ca);
    world.play(Provision)
}

fn is_refused(world: &mut World, ca: &fixtures::Ca) {
    let calls = world.calls().len();
    let report = again(world, ca);
    let refused = refusal(&report);
    assert_eq!((refused.class, refused.retryable), (FailureClass::State, false));
    assert!(refused.message.starts_with(UNTOLD), "{refused:?}");
    assert_eq!(world.calls().len(), calls, "rke is not started");
}

/// A removal that waits at its gate, and fails behind it.
fn removal(world: &mut World) -> (Agent, AttemptId) {
    world.behave("echo before; gate; exit 1");
    let (assignment, mut agent) = (world.assignment(Remove), world.agent());
    let attempt = agent.assign(&assignment);
    let mut output = agent.started();
    agent.output(&mut output, 7);
    assert_eq!(Vec::from_iter(record(world).removing), [attempt], "it was put on record before");
    (agent, attempt)
}

#[test]
fn a_removal_whose_end_is_lost_may_have_cleaned_any_host() {
    for host_lost in [true, false] {
        let (mut world, ca) = built();
        let (agent, attempt) = removal(&mut world);
        let said = world.supervisor(attempt);
        agent.crash();
        process::signal_group(said.supervisor, Signal::KILL).unwrap();
        process::signal_group(said.rke.unwrap(), Signal::KILL).unwrap();
        while process::lives(said.supervisor) || process::lives(said.rke.unwrap()) {
            std::thread::yield_now();
        }
        for file in ["run.json", "supervisor.json"].iter().filter(|_| host_lost) {
            let path = world.journal(attempt).dir().join(file);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace(&said.boot_id, "another-boot")).unwrap();
        }
        let mut next = world.agent();
        let report = next.report();
        assert_eq!(failure(&report).class, FailureClass::Interrupted);
        assert_eq!(failure(&report).message.contains("bastion went down"), host_lost);
        next.settle(attempt);
        next.close();
        is_refused(&mut world, &ca);
        // A later one that tells all says nothing of that one.
        world.behave("exit 1");
        assert!(matches!(world.play(Remove).outcome, RunOutcome::Failed(_)), "it is removed again");
        is_refused(&mut world, &ca);
        world.behave(&format!("cat {}; exit 0", capture("B27-remove-force-final").display()));
        assert_eq!(world.play(Remove).outcome, RunOutcome::Succeeded);
    }
}

#[test]
fn hostile_row_61_a_removal_whose_end_cannot_be_put_on_record_may_have_cleaned_any_host() {
    let (mut world, ca) = built();
    let (mut agent, attempt) = removal(&mut world);
    let plan =
        fault::install(Plan::at(Act::BROKEN, 1, &world.cluster_dir().join(".cluster.json").display().to_string()));
    world.open_gate();
    assert!(matches!(agent.report().outcome, RunOutcome::Failed(_)));
    assert_eq!(plan.struck(), 1);
    drop(plan);
    agent.settle(attempt);
    agent.close();
    is_refused(&mut world, &ca);
}

#[test]
fn a_removal_of_whose_output_something_was_left_out_may_have_cleaned_any_host() {
    let (mut world, ca) = built();
    world.behave("head -c 9000000 /dev/zero | tr '\\0' '\\n'; exit 1");
    let assignment = world.assignment(Remove);
    let mut agent = world.agent_with(EngineSettings { output_cap: 4 << 20, ..world.settings() }).unwrap();
    let report = agent.play(assignment);
    assert!(report.warnings.iter().any(|warning| warning.contains("were left out")), "{report:?}");
    agent.close();
    is_refused(&mut world, &ca);
}

#[test]
fn hostile_row_61_a_removal_is_not_started_when_it_cannot_be_put_on_record() {
    for (act, part) in [(Act::BROKEN, ".cluster.json"), (Act::FULL, ".cluster.json"), (Act::FULL, "run.json")] {
        let (mut world, ca) = built();
        let assignment = world.assignment(Remove);
        let place = match part {
            "run.json" => world.journal(assignment.attempt).dir().join(".run.json"),
            part => world.cluster_dir().join(part),
        };
        let mut agent = world.agent();
        let plan = fault::install(Plan::at(act, 1, &place.display().to_string()));
        let report = agent.play(assignment);
        assert_eq!((refusal(&report).class, plan.struck()), (FailureClass::Volume, 1), "{part}");
        drop(plan);
        agent.close();
        assert_eq!(world.calls().len(), 1, "rke is not started");
        assert_eq!(again(&mut world, &ca).outcome, RunOutcome::Succeeded, "nothing was cleaned: {part}");
        assert!(record(&world).removing.is_empty(), "{part}");
    }
}

#[test]
fn a_removal_whose_rke_was_never_started_leaves_nothing_on_record() {
    let (mut world, ca) = built();
    let assignment = world.assignment(Remove);
    let nowhere = Some(world.dir.path().join("nowhere"));
    let mut agent = world.agent_with(EngineSettings { supervisor_exe: nowhere, ..world.settings() }).unwrap();
    assert!(refusal(&agent.play(assignment)).message.contains("the supervisor cannot be started"));
    agent.close();
    assert_eq!(again(&mut world, &ca).outcome, RunOutcome::Succeeded);

    // The agent did not live to journal it.
    let layout = Layout::open(&world.volume).unwrap();
    let cluster = layout.cluster(&"prod".parse().unwrap(), &"blue".parse().unwrap());
    let [stillborn, lost]: [AttemptId; 2] = [world.mint.id(), world.mint.id()];
    cluster.write_record(&ClusterFile { removing: [stillborn, lost].into(), ..record(&world) }).unwrap();
    fs::create_dir_all(cluster.run(stillborn).join("scratch")).unwrap();
    world.agent().close();
    assert!(!cluster.run(stillborn).exists());
    assert_eq!(Vec::from_iter(record(&world).removing), [lost], "of that one there is no journal: it may have run");
    is_refused(&mut world, &ca);
}

#[test]
fn what_was_cleaned_before_anything_was_built_is_forgotten_with_the_first_build() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave("exit 1");
    assert!(matches!(world.play(Provision).outcome, RunOutcome::Failed(_)));
    let (mut agent, attempt) = removal(&mut world);
    process::signal_group(world.supervisor(attempt).supervisor, Signal::KILL).unwrap();
    assert_eq!(failure(&agent.report()).class, FailureClass::Interrupted);
    agent.settle(attempt);
    agent.close();
    assert!(!record(&world).removing.is_empty());
    // It builds, and fails behind that.
    world.behave(&world.success(&ca).replace("exit 0", "exit 1"));
    assert!(matches!(world.play(Provision).outcome, RunOutcome::Failed(_)));
    assert_eq!(again(&mut world, &ca).outcome, RunOutcome::Succeeded, "its own etcd was never cleaned");
}

/// A description with etcd on these hosts.
fn of(hosts: &[&str]) -> ClusterSpec {
    let node = |host: &&str| json!({"address": host, "roles": ["controlplane", "etcd", "worker"]});
    let nodes: Vec<_> = hosts.iter().map(node).collect();
    intake::read(&json!({"kubernetes_version": "v1.20.15-rancher2-1", "nodes": nodes})).unwrap().0
}

/// Runs with a description; `rke` leaves that state, and says this.
fn run(world: &mut World, kind: TaskKind, hosts: &[&str], (state, says): (String, &[&str])) -> RunReport {
    let (left, said) = (world.dir.path().join("left"), world.dir.path().join("said"));
    fs::write(&left, state).unwrap();
    let line = |said: &&str| format!("time=\"2026-11-23T17:00:29Z\" level=info msg=\"{said}\"\n");
    fs::write(&said, says.iter().map(line).collect::<String>()).unwrap();
    let code = i32::from(kind == Remove);
    let keep = format!("cp {} cluster.rkestate; echo 'kind: Config' > kube_config_cluster.yml", left.display());
    world.behave(&format!("{keep}; cat {}; exit {code}", said.display()));
    let mut assignment = world.assignment(kind);
    assignment.spec = of(hosts);
    let mut agent = world.agent();
    let report = agent.play(assignment);
    agent.close();
    report
}

#[test]
fn a_cleaned_member_of_etcd_stays_on_record_until_it_has_left_the_cluster() {
    const DONE: &str = "Finished building Kubernetes cluster successfully";
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    let (three, two) = (["10.0.0.1", "10.0.0.2", "10.0.0.3"], ["10.0.0.1", "10.0.0.2"]);
    let all = || (ca.state(&three), &[DONE][..]);
    assert_eq!(run(&mut world, Provision, &three, all()).outcome, RunOutcome::Succeeded);
    let cleaner = "Starting container [kube-cleaner] on host [10.0.0.3], try #1";
    let failed = run(&mut world, Remove, &three, (ca.state(&three), &[cleaner]));
    assert!(matches!(failed.outcome, RunOutcome::Failed(_)));
    let refused = run(&mut world, Provision, &three, all());
    assert!(refusal(&refused).message.contains("has cleaned 10.0.0.3, of the hosts"), "{refused:?}");
    assert!(refusal(&refused).remedy.starts_with("Take 10.0.0.3 out of the description"), "{refused:?}");
    // One that does not come to its end leaves it on record.
    let left = "[hosts] Successfully cleaned up host [10.0.0.3]";
    let failed = run(&mut world, Reconfigure, &two, (ca.state(&three), &[]));
    assert!(matches!(failed.outcome, RunOutcome::Failed(_)), "{failed:?}");
    assert_eq!(Vec::from_iter(record(&world).wiped), ["10.0.0.3"]);
    let without = run(&mut world, Reconfigure, &two, (ca.state(&two), &[left, DONE]));
    assert_eq!(without.outcome, RunOutcome::Succeeded);
    assert!(record(&world).wiped.is_empty(), "it has left");
    assert_eq!(run(&mut world, Reconfigure, &three, all()).outcome, RunOutcome::Succeeded, "and comes again");
}

#[test]
fn an_operator_says_that_the_hosts_which_may_have_been_cleaned_are_in_order() {
    let (mut world, ca) = built();
    let config = world.dir.path().join("agent.toml");
    let volume = &world.volume;
    fs::write(&config, format!("[controller]\naddress = \"c:1\"\n[volumes]\npaths = [{volume:?}]\n")).unwrap();
    let forget = |more: &[&str]| {
        let words = ["forget-cleaned", "--environment", "prod", "--cluster", "blue", "--config"];
        let mut agent = Command::new(env!("CARGO_BIN_EXE_cratekube-agent"));
        let done = agent.env_clear().args(words).arg(&config).args(more).output().unwrap();
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    assert_eq!(forget(&[]), (Some(1), "no cleaned host is on record for prod/blue\n".into()));
    let (mut agent, attempt) = removal(&mut world);
    let (code, said) = forget(&["--in-order"]);
    assert!(code == Some(1) && said.contains("another run on this cluster has not ended"), "{said}");
    process::signal_group(world.supervisor(attempt).supervisor, Signal::KILL).unwrap();
    agent.report();
    agent.settle(attempt);
    is_refused_by(&mut world, &mut agent);
    // Beside an agent that runs.
    let found = format!("removal {attempt}, of which it is not known which hosts it has cleaned\n");
    let only_told = "nothing was forgotten: say --in-order once etcd is whole on these hosts\n";
    assert_eq!(forget(&[]), (Some(1), format!("on record: {found}{only_told}")));
    // For a moment a child of another test may have a copy of the lock's descriptor.
    let mut tries = (0..1_000).map(|_| forget(&["--in-order"])).filter(|(_, said)| !said.contains("has not ended"));
    assert_eq!(tries.next(), Some((Some(0), format!("forgot: {found}"))));
    drop(tries);
    world.behave_well(&ca);
    let assignment = world.assignment(Provision);
    assert_eq!(agent.play(assignment).outcome, RunOutcome::Succeeded);
    agent.close();
}

fn is_refused_by(world: &mut World, agent: &mut Agent) {
    let assignment = world.assignment(Provision);
    assert!(refusal(&agent.play(assignment)).remedy.contains("`cratekube-agent forget-cleaned`"));
}
