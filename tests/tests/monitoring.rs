//! Dashboard, alerts and runbook in `deploy`: they ask for what there is, and every alert says what to do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use cratekube_tests::house::scrape::{metrics, place};
use cratekube_tests::house::{Setup, World, specs};
use cratekube_tests::programs;
use serde_json::Value;

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const ON: &str = "[metrics]\nlisten = \"127.0.0.1:0\"";

fn deploy(name: &str) -> anyhow::Result<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Words of a query that look like our metrics.
fn asked_for(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("cratekube_") || word.starts_with("process_")).map(str::to_owned).collect()
}

fn alerts() -> anyhow::Result<Vec<Value>> {
    let document: Value = serde_saphyr::from_str(&deploy("alerts.yml")?)?;
    let groups = document["groups"].as_array().context("no groups")?.clone();
    Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
}

fn panels() -> anyhow::Result<Vec<Value>> {
    let document: Value = serde_json::from_str(&deploy("grafana/cratekube.json")?)?;
    Ok(document["panels"].as_array().context("no panels")?.clone())
}

fn queries(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    targets.iter().filter_map(|target| target["expr"].as_str()).collect()
}

#[tokio::test]
async fn dashboard_and_alerts_ask_for_metrics_that_there_are() -> anyhow::Result<()> {
    let operations = "attempts = 1\nsteps = [\"configure\", \"verify\"]";
    let world = World::with(programs!(), Setup { controller: ON, agent: ON, operations, ..Setup::default() }).await?;
    // What is counted by kinds that there are many of is there once it happened.
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await?;
    world.client.with_token(None).get(CLUSTERS).await?.expect(401)?;
    let controller = metrics(place(&world.controller.process, "controller ready").await?).await?;
    let agent = metrics(place(&world.agent.process, "the agent runs").await?).await?;
    let there: BTreeSet<String> = controller.names().into_iter().chain(agent.names()).collect();
    let (panels, alerts) = (panels()?, alerts()?);
    let of_panels = panels.iter().flat_map(|panel| queries(panel).into_iter().flat_map(asked_for).collect::<Vec<_>>());
    let mut asked: BTreeSet<String> = of_panels.collect();
    asked.extend(alerts.iter().flat_map(|alert| asked_for(alert["expr"].as_str().unwrap_or_default())));
    // Not there before its first scrub, or before anything was sealed.
    let later = [
        "cratekube_agent_volume_scrub_timestamp_seconds",
        "cratekube_agent_volume_scrub_faults",
        "cratekube_controller_generation_oldest_timestamp_seconds",
    ];
    let missing: Vec<_> = asked.difference(&there).filter(|name| !later.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "asked for and not there: {missing:?}");
    let start =
        ["cratekube_controller_start_time_seconds", "cratekube_controller_volumes", "cratekube_controller_store_up"];
    let info_and_process =
        |name: &str| name.starts_with("process_") || name.ends_with("_bucket") || start.contains(&name);
    let families: BTreeSet<&String> = controller.families.keys().chain(agent.families.keys()).collect();
    let shown = |family: &str| asked.iter().any(|name| name.starts_with(family));
    let unseen: Vec<_> = families.iter().filter(|f| !shown(f) && !info_and_process(f)).collect();
    let kept_for_queries = ["cratekube_agent_certificate_renewals", "cratekube_agent_slots"];
    let unseen: Vec<_> = unseen.into_iter().filter(|f| !kept_for_queries.contains(&f.as_str())).collect();
    assert!(unseen.is_empty(), "shown by nothing: {unseen:?}");
    world.finish().await
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do() -> anyhow::Result<()> {
    let runbook = deploy("runbook.md")?;
    let entries: Vec<&str> = runbook.split("\n### ").skip(1).collect();
    let alerts = alerts()?;
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = alert["alert"].as_str().context("an alert without a name")?;
        assert!(names.insert(name), "{name} twice");
        let entry = entries.iter().find(|entry| entry.lines().next() == Some(name));
        let entry = entry.with_context(|| format!("{name} has no entry in the runbook"))?;
        let (means, act) = entry.split_once("**What to do.** ").with_context(|| format!("{name}: what to do"))?;
        let means = means.split_once("**What it means.** ").with_context(|| format!("{name}: what it means"))?.1;
        assert!(means.trim().len() > 60 && act.trim().len() > 60, "{name} says little");
        assert!(["critical", "warning"].contains(&alert["labels"]["severity"].as_str().unwrap_or_default()), "{name}");
        assert!(alert["annotations"]["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        let link = format!("deploy/runbook.md#{}", name.to_ascii_lowercase());
        assert_eq!(alert["annotations"]["runbook"], link.as_str());
    }
    for entry in entries {
        let name = entry.lines().next().unwrap_or_default();
        assert!(names.contains(name), "{name} is in the runbook and no alert");
    }
    Ok(())
}

#[test]
fn the_runbook_names_routes_and_settings_that_there_are() -> anyhow::Result<()> {
    let (runbook, readme) = (deploy("runbook.md")?, deploy("controller.toml")? + &deploy("agent.toml")?);
    let api = serde_json::to_string(&cratekube_controller::rest::openapi::description().paths)?;
    for route in runbook.split('`').filter_map(|code| code.split_once(" /v1/")).map(|(_, path)| path) {
        let path = route.split('?').next().unwrap_or_default();
        assert!(api.contains(&format!("\"/v1/{path}\"")), "/v1/{path} is no route");
    }
    for setting in ["min_free_bytes", "keep_generations", "scrub_interval", "run_timeout", "listen"] {
        assert!(readme.contains(setting) && runbook.contains(setting), "{setting}");
    }
    Ok(())
}

#[test]
fn every_panel_says_what_it_shows() -> anyhow::Result<()> {
    let mut ids = BTreeSet::new();
    for panel in panels()? {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{panel}");
        assert!(!queries(&panel).is_empty(), "{panel}");
        for query in queries(&panel) {
            let balanced = |open: char, close: char| query.matches(open).count() == query.matches(close).count();
            assert!(balanced('(', ')') && balanced('{', '}') && balanced('[', ']'), "{query}");
        }
    }
    Ok(())
}
