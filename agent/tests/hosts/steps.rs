//! The same as a run's step, and the operator's command.

use std::fs;
use std::process::{Command, ExitCode};

use cratekube_agent::step::{self, StepInput, StepSettings, input};
use cratekube_common::domain::failure::FailureClass as Class;
use cratekube_common::domain::task::TaskKind;
use cratekube_common::rke::render::SshAccess;
use cratekube_common::step::StepOutcome;
use serde_json::json;
use uuid::Uuid;

use crate::yard::{Host, Yard, spec};

fn told(yard: &Yard, hosts: &[Host], kind: TaskKind, settings: StepSettings) -> StepInput {
    let id = Uuid::from_u128(7);
    StepInput {
        kind,
        environment: "prod".parse().unwrap(),
        name: "web".parse().unwrap(),
        cluster: id.into(),
        operation: id.into(),
        attempt: id.into(),
        spec: spec(hosts),
        working: yard.working(),
        run_dir: yard.dir.path().join("run"),
        settings,
        input: json!({}),
    }
}

fn settings(yard: &Yard) -> StepSettings {
    let key = yard.dir.path().join("id").display().to_string();
    StepSettings { ssh: SshAccess::Key { path: key }, ..StepSettings::default() }
}

/// Does a step, with nothing staged of what it would find: hosts are never started.
fn play(yard: &Yard, told: &StepInput) -> (StepOutcome, String) {
    let run_dir = yard.dir.path().join("run");
    fs::create_dir_all(&run_dir).unwrap();
    input::write(&run_dir.join("scratch"), told).unwrap();
    let mut out = Vec::new();
    assert_eq!(step::main(&run_dir, &mut out), ExitCode::SUCCESS);
    (step::outcome(&run_dir).unwrap().unwrap(), String::from_utf8(out).unwrap())
}

#[test]
fn the_steps_say_what_they_do_and_what_came_of_it() {
    let Some(yard) = Yard::open("the_steps_say_what_they_do") else { return };
    let hosts = [yard.host(2), yard.host(3)];
    assert!(step::can(TaskKind::Preflight) && step::can(TaskKind::CleanHosts));
    let (outcome, said) = play(&yard, &told(&yard, &hosts, TaskKind::Preflight, settings(&yard)));
    let failure = outcome.failure.unwrap();
    assert!(failure.class == Class::Unreachable && failure.retryable, "{failure:?}");
    assert_eq!(outcome.findings["hosts"].as_array().unwrap().len(), 2);
    assert!(
        said.starts_with("==> [1/2] looking at all hosts\n") && said.contains("\n[127.0.1.3] FAILED ssh: port "),
        "{said}"
    );

    let (outcome, said) = play(&yard, &told(&yard, &hosts, TaskKind::CleanHosts, settings(&yard)));
    assert_eq!(outcome.failure, None, "it was never built");
    assert!(said.contains("[127.0.1.2] Nothing"), "{said}");
    let built = json!({"ca_sha256": ["a".repeat(64)]});
    let built = StepInput { input: built, ..told(&yard, &hosts, TaskKind::CleanHosts, settings(&yard)) };
    let (outcome, _) = play(&yard, &built);
    assert!(outcome.failure.unwrap().message.starts_with("2 of 2 hosts are not clean: 127.0.1.2: port"));
    let waived = StepInput { input: json!({"ca_sha256": ["a".repeat(64)], "hosts_terminated": true}), ..built };
    let (outcome, _) = play(&yard, &waived);
    assert_eq!((outcome.failure, &outcome.findings["hosts"][0]["outcome"]), (None, &json!("waived")));
}

#[test]
fn what_is_turned_off_is_said_in_a_warning() {
    let Some(yard) = Yard::open("what_is_turned_off") else { return };
    let hosts = [yard.host(2)];
    let off = StepSettings { preflight: false, clean_hosts: false, ..settings(&yard) };
    for (kind, setting) in [(TaskKind::Preflight, "ssh.preflight"), (TaskKind::CleanHosts, "ssh.clean_hosts")] {
        let (outcome, said) = play(&yard, &told(&yard, &hosts, kind, off.clone()));
        assert_eq!(outcome.failure, None);
        assert!(outcome.warnings[0].contains(setting) && said.contains(setting));
    }
}

#[test]
fn a_key_that_cannot_be_used_fails_the_step_before_any_host_is_asked() {
    let Some(yard) = Yard::open("a_key_that_cannot_be_used") else { return };
    let hosts = [yard.host(2)];
    let locked = yard.key("locked", "ed25519", "a passphrase").display().to_string();
    let settings = StepSettings { ssh: SshAccess::Key { path: locked }, ..StepSettings::default() };
    for kind in [TaskKind::Preflight, TaskKind::CleanHosts] {
        let mut told = told(&yard, &hosts, kind, settings.clone());
        told.input = json!({"ca_sha256": ["a".repeat(64)]});
        let failure = play(&yard, &told).0.failure.unwrap();
        assert!(failure.class == Class::Auth && failure.message.contains("passphrase"), "{failure:?}");
    }
}

#[test]
fn an_operator_makes_the_agent_forget_the_key_of_a_host() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = dir.path().join("volume/clusters/prod/web");
    fs::create_dir_all(&cluster).unwrap();
    let record = json!({"algorithm": "ssh-ed25519", "fingerprint": "SHA256:abc", "since": "2026-11-25T19:00:00Z"});
    let file = json!({"format_version": 1, "hosts": {"10.0.0.12:22": record}});
    fs::write(cluster.join("ssh_hosts.json"), file.to_string()).unwrap();
    let config = dir.path().join("agent.toml");
    let volume = dir.path().join("volume");
    fs::write(&config, format!("[controller]\naddress = \"c:1\"\n[volumes]\npaths = [{volume:?}]\n")).unwrap();
    let forget = |host: &str| {
        let words = ["forget-host-key", "--environment", "prod", "--cluster", "web", "--host", host, "--config"];
        let mut agent = Command::new(env!("CARGO_BIN_EXE_cratekube-agent"));
        let done = agent.env_clear().args(words).arg(&config).output().unwrap();
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    assert_eq!(forget("10.0.0.1"), (Some(1), "no key of 10.0.0.1 is on record for prod/web\n".into()));
    let (code, said) = forget("10.0.0.12");
    assert!(code == Some(0) && said.starts_with("forgot SHA256:abc of 10.0.0.12"), "{said}");
    assert_eq!(forget("10.0.0.12").0, Some(1));
}
