//! A step that is killed anywhere is done again.

use std::path::Path;
use std::process::Stdio;

use cratekube_agent::step::{self, input};
use cratekube_common::domain::cluster::resource::{ConfigureFindings, ResourceState};
use cratekube_common::domain::task::TaskKind;
use cratekube_tests::programs;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::support::{Built, config_map, resource};

fn start(run_dir: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(programs!().agent);
    command.env_clear().arg("step").arg(run_dir).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    Ok(command.spawn()?)
}

/// Everything of the cluster that is not a counter or a time.
fn picture(built: &Built) -> Vec<Value> {
    let mut all = Vec::new();
    for (group, plural) in
        [("", "namespaces"), ("", "serviceaccounts"), ("", "configmaps"), ("rbac.authorization.k8s.io", "rolebindings")]
    {
        for mut object in built.api.list(super::support::HOST, group, plural) {
            for field in ["resourceVersion", "uid", "creationTimestamp"] {
                object["metadata"][field] = Value::Null;
            }
            all.push(object);
        }
    }
    all
}

#[tokio::test]
async fn a_configure_that_is_killed_at_any_request_is_finished_by_the_next() -> anyhow::Result<()> {
    let manifest = format!("{}---\n{}", config_map("a", "1"), config_map("b", "1"));
    let wanted = json!({"resources": [resource("web", "sync", &manifest, &json!([]))]});
    let whole = Built::plain().await?;
    whole.configure(wanted.clone()).await;
    for path in [
        "/namespaces/workspace?",
        "/serviceaccounts/cratekube-edit?",
        "/rolebindings/cratekube-admin?",
        "/configmaps/a?",
        "/configmaps/b?",
    ] {
        let built = Built::plain().await?;
        let run_dir = built.path("run");
        std::fs::create_dir(&run_dir)?;
        input::write(&run_dir.join("scratch"), &built.input(TaskKind::Configure, wanted.clone()))?;
        let hold = built.api.hold("PATCH", path);
        let mut killed = start(&run_dir)?;
        hold.reached().await;
        killed.kill().await?;
        drop(hold);
        assert_eq!(step::outcome(&run_dir)?, None, "{path}");
        assert!(start(&run_dir)?.wait().await?.success());
        let outcome = step::outcome(&run_dir)?.expect("an outcome");
        let findings: ConfigureFindings = serde_json::from_value(outcome.findings)?;
        assert_eq!((outcome.failure, findings.resources[0].state), (None, ResourceState::Applied), "{path}");
        assert_eq!(picture(&built), picture(&whole), "{path}");
    }
    Ok(())
}
