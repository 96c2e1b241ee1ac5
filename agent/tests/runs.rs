//! Whole runs: what `rke` did, what is sealed, what is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cratekube_agent::engine::EngineSettings;
use cratekube_agent::port::{Engine, Event};
use cratekube_agent::run::process;
use cratekube_agent::run::scope::Scope;
use cratekube_agent::volume::generations::STATE;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::run::{ExitStatus, RunOutcome, RunReport, RunVerdict, TimeLimit};
use cratekube_common::domain::task::TaskKind::{Provision, Remove};
use support::{World, capture, failure, fixtures, refusal};

#[test]
fn a_provisioned_cluster_is_sealed_with_its_ca_and_its_whole_output() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    let assignment = world.assignment(Provision);
    let mut agent = world.agent();
    let attempt = agent.assign(&assignment);
    let output = agent.started();
    let last = agent.wait(|event| match event {
        Event::Progress { progress, .. } if progress.step == progress.steps => Some(progress),
        _ => None,
    });
    assert_eq!(last.phase, "finished");
    let report = agent.report();
    assert_eq!(report.outcome, RunOutcome::Succeeded, "{:?}", report.warnings);
    assert_eq!(report.exit, Some(ExitStatus::Code(0)));
    let expected = fs::read(capture("B01-up-single-node")).unwrap();
    assert_eq!(fs::read(&output.path).unwrap(), expected);
    assert_eq!(report.output_bytes, expected.len() as u64);
    let length = *output.length.borrow();
    assert!(length.complete && length.bytes == report.output_bytes);
    let sealed = report.generation.clone().unwrap();
    assert_eq!((sealed.number, sealed.good, sealed.ca_sha256.as_ref()), (1, true, Some(&ca.sha256)));
    assert_eq!(sealed.files.len(), 3);
    assert_eq!(world.generations().verify(1).unwrap(), None);
    assert_eq!(report.rke.as_ref().unwrap().version, "v1.2.23");
    assert_eq!(world.calls(), ["up --config cluster.yml"]);
    assert_eq!(agent.engine.held_runs().len(), 1, "held until the report is recorded");
    agent.settle(attempt);
    assert!(agent.engine.held_runs().is_empty());
    agent.close();
    assert!(world.agent().engine.held_runs().is_empty(), "a recorded run is not told again");
}

#[test]
fn hostile_row_70_rke_finds_nothing_of_the_agents_environment_and_no_secret_is_journaled() {
    let mut world = World::new();
    let seen = world.dir.path().join("env");
    world.behave(&format!("env > {}; cat > /dev/null; ulimit -c; umask; exit 1", seen.display()));
    let report = world.play(Provision);
    let env = fs::read_to_string(seen).unwrap();
    let names: Vec<&str> = env.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let allowed = ["PATH", "HOME", "TMPDIR", "LANG", "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
    let journal = world.journal(report.attempt);
    assert_eq!(fs::read_to_string(journal.output()).unwrap(), "0\n0077\n");
    assert!(fs::read_to_string(world.working("cluster.yml")).unwrap().contains("hunter2-canary"));
    for file in ["run.json", "result.json", "supervisor.json", "exit.json"] {
        assert!(!fs::read_to_string(journal.dir().join(file)).unwrap().contains("hunter2"), "{file}");
    }
}

#[test]
fn a_failed_run_is_classified_sealed_and_can_be_tried_again() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave(&format!("cat {}; exit 1", capture("02b-up-wrong-ssh-key").display()));
    let report = world.play(Provision);
    assert_eq!(failure(&report).class, FailureClass::Auth);
    assert!(failure(&report).line.is_some() && !failure(&report).remedy.is_empty());
    let sealed = report.generation.unwrap();
    assert!(!sealed.good && sealed.fault.unwrap().contains("no state file"));
    world.behave_well(&ca);
    let again = world.play(Provision);
    assert_eq!(again.outcome, RunOutcome::Succeeded);
    assert_eq!(again.generation.unwrap().number, 2);
}

#[test]
fn a_first_run_that_tore_its_state_starts_afresh_and_keeps_what_it_put_aside() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave(&format!("printf '{{\"desiredState\":' > {STATE}; kill -9 $$"));
    let torn = world.play(Provision);
    assert_eq!(torn.exit, Some(ExitStatus::Signal(9)));
    assert_eq!(failure(&torn).class, FailureClass::Interrupted);
    world.behave(&format!("test -e {STATE} && exit 9\n{}", world.success(&ca)));
    let again = world.play(Provision);
    assert_eq!(again.outcome, RunOutcome::Succeeded);
    let aside = world.journal(again.attempt).dir().join("aside").join(STATE);
    assert_eq!(fs::read_to_string(aside).unwrap(), "{\"desiredState\":");
}

#[test]
fn hostile_row_60_a_changed_ca_fails_the_run_and_keeps_the_old_generation() {
    let mut world = World::new();
    let (ca, other) = (fixtures::ca("blue"), fixtures::ca("mallory"));
    world.behave_well(&ca);
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
    world.behave_well(&other);
    let report = world.play(Provision);
    assert_eq!(failure(&report).class, FailureClass::State);
    assert!(failure(&report).message.contains("ALARM"), "{:?}", failure(&report));
    let sealed = report.generation.unwrap();
    assert!(!sealed.good);
    assert_eq!(world.generations().newest_good().unwrap().unwrap().number, 1);
    let next = world.play(Provision);
    assert_eq!(refusal(&next).class, FailureClass::State);
    assert!(refusal(&next).remedy.contains("generations/000001/"), "{:?}", refusal(&next));
    assert_eq!(world.calls().len(), 2, "rke was not started again");
}

#[test]
fn a_removal_is_believed_when_every_host_was_cleaned() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    world.play(Provision);
    let seen = world.dir.path().join("seen");
    let remove =
        |name: &str| format!("ls > {}; cat {}; rm -f {STATE}; exit 0", seen.display(), capture(name).display());
    world.behave(&remove("B21c-remove-force-worker-unreachable"));
    let left = world.play(Remove);
    assert_eq!(failure(&left).class, FailureClass::Unreachable, "{:?}", failure(&left));
    assert!(fs::read_to_string(&seen).unwrap().contains(STATE), "it ran on a copy");
    assert!(world.working(STATE).exists(), "the state is still there");
    assert!(!world.journal(left.attempt).dir().join("scratch").exists(), "the copy is gone");
    world.behave(&remove("B27-remove-force-final"));
    let removed = world.play(Remove);
    assert_eq!(removed.outcome, RunOutcome::Succeeded);
    assert!(removed.generation.unwrap().good, "the last generation has the last state");
    assert!(!world.working(STATE).exists() && world.cluster_dir().join("removed.json").exists());
    assert_eq!(world.calls()[1], "remove --force --config cluster.yml");
    assert_eq!(refusal(&world.play(Provision)).message, "this cluster was removed");
    world.cluster = world.mint.id();
    world.behave_well(&fixtures::ca("another"));
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded, "the name is free again");
}

#[test]
fn hostile_row_58_a_cluster_whose_state_is_damaged_is_removed_once_it_is_put_back() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    world.play(Provision);
    let whole = fs::read(world.working(STATE)).unwrap();
    fs::write(world.working(STATE), b"").unwrap();
    world.behave(&format!("grep -q kube-ca {STATE} || exit 9; cat {}", capture("B27-remove-force-final").display()));
    let refused = world.play(Remove);
    assert!(refusal(&refused).message.starts_with("drift"), "{:?}", refusal(&refused));
    fs::write(world.working(STATE), whole).unwrap();
    assert_eq!(world.play(Remove).outcome, RunOutcome::Succeeded);
}

#[test]
fn cancelling_ends_the_run_and_seals_what_it_left() {
    let mut world = World::new();
    world.behave("echo waiting; gate");
    let assignment = world.assignment(Provision);
    let mut agent = world.agent();
    let attempt = agent.assign(&assignment);
    let mut output = agent.started();
    agent.output(&mut output, 8);
    agent.engine.verdict(attempt, RunVerdict::Continue);
    agent.engine.verdict(attempt, RunVerdict::Cancel);
    let report = agent.report();
    assert_eq!(failure(&report).class, FailureClass::Cancelled);
    assert_eq!(report.exit, Some(ExitStatus::Signal(15)));
    assert_eq!(report.generation.unwrap().number, 1);
    agent.close();
}

#[test]
fn hostile_row_67_a_run_that_hangs_and_ignores_term_is_killed_at_its_limit() {
    let mut world = World::new();
    world.behave("trap '' TERM; echo stuck; gate; gate");
    let assignment = world.assignment(Provision);
    let settings = EngineSettings {
        run_timeout: Duration::from_millis(300),
        stop_grace: Duration::from_millis(200),
        ..world.settings()
    };
    let mut agent = world.agent_with(settings).unwrap();
    let report = agent.play(assignment);
    assert_eq!(failure(&report).class, FailureClass::Timeout);
    assert_eq!(report.exit, Some(ExitStatus::Signal(9)));
    agent.close();
}

#[test]
fn hostile_row_66_nothing_that_rke_started_outlives_it() {
    let mut world = World::new();
    let pid = world.dir.path().join("pid");
    world.behave(&format!("sleep 600 & echo $! > {}; exit 1", pid.display()));
    world.play(Provision);
    let pid: i32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert!(process::identify(pid).is_err(), "the orphan still lives");
}

#[test]
fn hostile_row_66_and_67_a_process_that_left_the_group_and_keeps_the_pipe_is_ended_with_the_run() {
    let mut world = World::new();
    let pid = world.dir.path().join("pid");
    world.behave(&format!(
        "setsid sh -c 'echo $$ > {}; exec sleep 600' & echo started; while ! test -s {}; do :; done; exit 1",
        pid.display(),
        pid.display()
    ));
    let report = world.play(Provision);
    let pid: i32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert!(process::identify(pid).is_err(), "it left the group and the session, and is ended all the same");
    assert_eq!(report.exit, Some(ExitStatus::Code(1)));
    assert_eq!(fs::read_to_string(world.journal(report.attempt).output()).unwrap(), "started\n");
}

/// Plays a run that says what the script says, within these limits; the report and how long it took.
fn overdue(script: &str, limits: impl FnOnce(&mut EngineSettings)) -> (World, RunReport) {
    let mut world = World::new();
    world.behave(script);
    let assignment = world.assignment(Provision);
    let mut settings = world.settings();
    settings.stop_grace = Duration::from_millis(200);
    limits(&mut settings);
    let mut agent = world.agent_with(settings).unwrap();
    let report = agent.play(assignment);
    agent.close();
    assert_eq!(failure(&report).class, FailureClass::Timeout, "{:?}", report.outcome);
    (world, report)
}

#[test]
fn hostile_row_67_silence_is_ended_although_a_child_keeps_the_pipe_and_the_phase_is_named() {
    let etcd = "echo 'time=\"2026-11-23T18:00:57Z\" level=info msg=\"[etcd] Building up etcd plane..\"'";
    let script = format!("{etcd}; trap '' TERM; setsid sleep 600 & gate; gate");
    let (world, report) = overdue(&script, |s| s.silence_timeout = Duration::from_millis(300));
    let failure = failure(&report);
    assert_eq!(failure.message, "ended after 300 ms without a word of rke, in phase `etcd`");
    assert!(failure.retryable && failure.remedy.contains("rke.silence_timeout"), "{failure:?}");
    assert_eq!(report.exit, Some(ExitStatus::Signal(9)));
    let exit = world.journal(report.attempt).exit().unwrap().unwrap();
    assert_eq!(exit.reached.map(|r| r.limit), Some(TimeLimit::Silence));
}

#[test]
fn hostile_row_67_a_run_that_talks_for_ever_without_getting_on_is_ended_at_the_limit_of_its_phase() {
    let (_, report) = overdue("while :; do echo again; done", |s| {
        s.phase_timeout = Duration::from_millis(300);
        s.output_cap = 1 << 20;
    });
    assert_eq!(failure(&report).message, "ended after 300 ms, the limit of one phase, before its first phase");
}

#[test]
fn hostile_row_53_a_journal_of_the_first_release_is_still_understood() {
    let mut world = World::new();
    world.behave("exit 1");
    let report = world.play(Provision);
    let journal = world.journal(report.attempt);
    let without = |name: &str, keys: &[&str]| {
        let path = journal.dir().join(name);
        let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for key in keys {
            let (place, key) = key.rsplit_once('/').unwrap_or(("", key));
            assert!(document.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
        fs::write(path, document.to_string()).unwrap();
    };
    without("run.json", &["/command/program", "/command/silence_limit_ms", "/command/phase_limit_ms"]);
    without("supervisor.json", &["cgroup"]);
    without("exit.json", &["reached"]);
    let record = journal.run().unwrap().unwrap();
    assert_eq!(record.command.limits().silence, Duration::from_millis(u64::MAX));
    assert!(journal.supervisor().unwrap().is_some());
    let mut exit = journal.exit().unwrap().unwrap();
    assert_eq!(exit.reached_limit(&record.command), None);
    exit.timed_out = true;
    assert_eq!(exit.reached_limit(&record.command).map(|r| r.limit), Some(TimeLimit::Run));
}

#[test]
fn hostile_row_68_an_rke_that_is_not_allowed_is_refused_and_never_started() {
    let mut world = World::new();
    world.behave("exit 1");
    let assignment = world.assignment(Provision);
    let settings = EngineSettings { allowed_sha256: vec!["00".repeat(32)], ..world.settings() };
    let mut agent = world.agent_with(settings).unwrap();
    let report = agent.play(assignment);
    assert!(agent.runtime.block_on(agent.engine.facts()).rke.is_none(), "nor is it offered");
    agent.close();
    assert!(refusal(&report).message.contains("not in `rke.allowed_sha256`"), "{:?}", refusal(&report));
    assert!(!refusal(&report).retryable && world.calls().is_empty());
}

#[test]
fn hostile_row_68_what_was_swapped_after_the_look_is_not_executed() {
    let mut world = World::new();
    let swapped = world.dir.path().join("swapped");
    // The supervisor is reached by way of a script that swaps rke first.
    let way = world.dir.path().join("way");
    let lines = [
        "#!/bin/sh".to_owned(),
        format!("printf '#!/bin/sh\\ntouch {}\\n' > {}.new", swapped.display(), world.rke().display()),
        format!("chmod 755 {0}.new; mv {0}.new {0}", world.rke().display()),
        format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_cratekube-agent")),
    ];
    fs::write(&way, lines.join("\n")).unwrap();
    fs::set_permissions(&way, fs::Permissions::from_mode(0o755)).unwrap();
    let assignment = world.assignment(Provision);
    let mut agent = world.agent_with(EngineSettings { supervisor_exe: Some(way), ..world.settings() }).unwrap();
    let report = agent.play(assignment);
    agent.close();
    assert!(refusal(&report).message.contains("replaced after its checksum"), "{:?}", refusal(&report));
    assert!(!swapped.exists());
}

/// A stand-in for `systemd-run` that notes what it was asked and then does `then`.
fn systemd_run(world: &World, then: &str) -> Scope {
    let path = world.dir.path().join("systemd-run");
    let noted = world.dir.path().join("scopes");
    fs::write(&path, format!("#!/bin/sh\necho \"$@\" >> {}\n{then}\n", noted.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Scope { systemd_run: path, of_user: false }
}

const INTO_THE_SCOPE: &str = "while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"";

#[test]
fn hostile_row_63_a_supervisor_in_a_scope_is_the_same_process_and_holds_the_lock() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    let scope = systemd_run(&world, INTO_THE_SCOPE);
    let assignment = world.assignment(Provision);
    let mut agent = world.agent_with(EngineSettings { scope: Some(scope), ..world.settings() }).unwrap();
    let report = agent.play(assignment);
    agent.close();
    assert_eq!(report.outcome, RunOutcome::Succeeded);
    let asked = fs::read_to_string(world.dir.path().join("scopes")).unwrap();
    assert!(asked.starts_with("--scope --collect --quiet --unit=cratekube-run-"), "{asked}");
    let run = format!(
        " -- {} supervise {}",
        env!("CARGO_BIN_EXE_cratekube-agent"),
        world.journal(report.attempt).dir().display()
    );
    assert!(asked.contains(&format!("{}.scope", report.attempt)) && asked.trim_end().ends_with(&run), "{asked}");
}

#[test]
fn hostile_row_63_a_scope_that_cannot_be_made_hinders_no_run() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    let scope = systemd_run(&world, "echo 'Failed to connect to bus' >&2; exit 1");
    let assignment = world.assignment(Provision);
    let mut agent = world.agent_with(EngineSettings { scope: Some(scope), ..world.settings() }).unwrap();
    assert_eq!(agent.play(assignment).outcome, RunOutcome::Succeeded);
    agent.close();
    assert_eq!(world.calls().len(), 1);
}

#[test]
fn hostile_row_71_a_flood_without_newlines_is_kept_within_its_bound() {
    let mut world = World::new();
    world.behave("head -c 30000000 /dev/zero | tr '\\0' '\\377'; echo; echo the end; exit 1");
    let assignment = world.assignment(Provision);
    let settings = EngineSettings { output_cap: 4 << 20, ..world.settings() };
    let mut agent = world.agent_with(settings).unwrap();
    let report = agent.play(assignment);
    agent.close();
    assert!(report.output_bytes <= (4 << 20) + 100, "{}", report.output_bytes);
    assert!(report.warnings.iter().any(|w| w.contains("left out")));
    let file = fs::read(world.journal(report.attempt).output()).unwrap();
    assert_eq!(file.len() as u64, report.output_bytes);
    assert!(file.ends_with(b"\xff\nthe end\n"));
}

#[test]
fn what_could_not_be_sealed_is_sealed_before_the_next_run() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    let broken = world.generations().path(1).parent().unwrap().to_owned();
    world.behave(&format!("rm -rf ../generations; touch ../generations; {}", world.success(&ca)));
    let report = world.play(Provision);
    assert_eq!(failure(&report).class, FailureClass::Volume);
    assert_eq!(report.generation, None);
    fs::remove_file(&broken).unwrap();
    world.behave_well(&ca);
    let next = world.play(Provision);
    assert_eq!(next.outcome, RunOutcome::Succeeded);
    assert_eq!(next.generation.unwrap().number, 2, "the first was sealed belatedly");
}
