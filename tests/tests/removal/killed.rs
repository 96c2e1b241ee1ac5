//! A step that is killed in any call is done again, and the end is the same.

use std::path::Path;
use std::process::Stdio;

use cratekube_agent::step::{self, input};
use cratekube_common::domain::task::TaskKind::{self, Freeze, Record, Release};
use cratekube_common::step::StepOutcome;
use cratekube_tests::programs;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::support::{Built, HOST};
use super::world::{fill, names};

const POLICIES: &str = "admissionregistration.k8s.io";

fn start(run_dir: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(programs!().agent);
    command.env_clear().arg("step").arg(run_dir).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    Ok(command.spawn()?)
}

/// What the cluster is filled with, and nothing that freezes it.
fn reset(built: &Built) {
    for (group, plural) in [
        ("", "resourcequotas"),
        (POLICIES, "validatingadmissionpolicies"),
        (POLICIES, "validatingadmissionpolicybindings"),
        ("", "services"),
        ("networking.k8s.io", "ingresses"),
        ("", "persistentvolumeclaims"),
        ("", "persistentvolumes"),
        ("", "pods"),
    ] {
        for object in built.api.list(HOST, group, plural) {
            let metadata = &object["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            built.api.erase(HOST, group, plural, metadata["namespace"].as_str(), name);
        }
    }
    fill(&built.api);
}

/// What is there that a step may have changed, without counters and times.
fn picture(built: &Built) -> Vec<Value> {
    let kinds = [
        ("", "resourcequotas"),
        (POLICIES, "validatingadmissionpolicies"),
        (POLICIES, "validatingadmissionpolicybindings"),
    ];
    let frozen = kinds.iter().flat_map(|(group, plural)| built.api.list(HOST, group, plural));
    let specs = frozen.map(|object| json!([object["metadata"]["name"], object["spec"]]));
    let left = [("", "services"), ("networking.k8s.io", "ingresses"), ("", "persistentvolumeclaims"), ("", "pods")];
    let left = left.iter().map(|(group, plural)| json!(names(&built.api, group, plural)));
    let volumes = built.api.list(HOST, "", "persistentvolumes");
    let volumes = volumes.iter().map(|volume| volume["spec"]["persistentVolumeReclaimPolicy"].clone());
    specs.chain(left).chain(volumes).collect()
}

/// Kills a step in its n-th call and does it again; none when there were not as many calls.
async fn die(
    built: &Built,
    kind: TaskKind,
    asked: &Value,
    nth: u32,
    answered: bool,
) -> anyhow::Result<Option<StepOutcome>> {
    reset(built);
    let run_dir = tempfile::tempdir()?;
    input::write(&run_dir.path().join("scratch"), &built.input(kind, asked.clone()))?;
    let hold = built.api.hold_nth(nth, answered);
    let mut running = start(run_dir.path())?;
    let died = tokio::select! {
        () = hold.reached() => true,
        ended = running.wait() => { assert!(ended?.success()); false }
    };
    if died {
        running.kill().await?;
    }
    drop(hold);
    built.api.spare();
    if died {
        assert_eq!(step::outcome(run_dir.path())?, None, "{kind}, {nth}");
        assert!(start(run_dir.path())?.wait().await?.success());
    }
    let outcome = step::outcome(run_dir.path())?.expect("an outcome");
    Ok(died.then_some(outcome))
}

#[tokio::test]
async fn a_step_that_is_killed_in_any_call_is_done_again_and_the_end_is_the_same() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let mut survived = 0;
    for (kind, policy) in [(Freeze, "delete"), (Record, "delete"), (Release, "delete"), (Release, "retain")] {
        reset(&built);
        let record = super::world::step(&built, Record, &Value::Null).await.findings;
        let asked = json!({"policy": policy, "earlier": {"record": record}});
        let whole = super::world::step(&built, kind, &asked).await.findings;
        let expected = picture(&built);
        for answered in [false, true] {
            for nth in 1.. {
                let Some(outcome) = die(&built, kind, &asked, nth, answered).await? else { break };
                survived += 1;
                assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &whole["state"]), "{kind}, {nth}");
                assert_eq!(picture(&built), expected, "{kind}, {policy}, {nth}, answered: {answered}");
                for part in ["services", "ingresses", "claims"] {
                    assert_eq!(outcome.findings["deleted"][part], whole["deleted"][part], "{kind}, {nth}");
                }
            }
        }
    }
    println!("figures: {survived} crash points of freeze, record and release survived");
    assert!(survived > 60, "{survived}");
    Ok(())
}
