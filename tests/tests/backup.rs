//! A controller is lost, and another one is put in its place from a backup: nothing runs twice, and nothing is
//! lost that a volume knows.

use std::path::Path;

use cratekube_tests::house::aftermath::{CLUSTERS, End};
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use serde_json::{Value, json};

/// The data directory goes, but for the key that is kept elsewhere; the backup takes its place.
async fn put_back(world: &mut World, backup: &str) -> anyhow::Result<String> {
    world.controller.process.kill().await?;
    let data = world.controller.data().to_owned();
    let lost = data.with_file_name("lost");
    std::fs::rename(&data, &lost)?;
    make_private(&data)?;
    std::fs::copy(lost.join("master.key"), data.join("master.key"))?;
    let said = world.controller.command(&["restore", backup]).await?;
    std::fs::remove_dir_all(lost)?;
    Ok(said)
}

fn make_private(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    Ok(std::fs::DirBuilder::new().mode(0o700).create(dir)?)
}

async fn begins_again(world: &mut World) -> anyhow::Result<()> {
    world.controller.restart().await?;
    // Tokens of before count no more.
    assert_eq!(world.client.get(CLUSTERS).await?.status, 401);
    world.client = world.controller.client("tester", &["operator:*", "admin:*"]).await?;
    Ok(())
}

async fn backup(world: &World, name: &str) -> anyhow::Result<String> {
    let file = world.controller.data().with_file_name(name).display().to_string();
    let said = world.controller.command(&["backup", &file]).await?;
    assert!(said.contains("master key"), "it says what else is needed: {said}");
    Ok(file)
}

async fn accept(world: &World, name: &str, n: usize) -> anyhow::Result<String> {
    let accepted = world.client.post(CLUSTERS, &specs::nth(name, n)).await?.expect(202)?;
    Ok(accepted.header("location").to_owned())
}

async fn look(world: &World, name: &str) -> anyhow::Result<Value> {
    Ok(world.client.get(&format!("{CLUSTERS}/{name}")).await?.expect(200)?.json())
}

#[tokio::test]
async fn hostile_row_77_a_controller_that_is_restored_takes_from_the_volume_what_it_does_not_know() -> anyhow::Result<()>
{
    let mut world = World::start(programs!()).await?;
    let built = accept(&world, "built", 1).await?;
    assert_eq!(world.client.ended(&built).await?["state"], "succeeded");
    let gate = world.gate("Building Kubernetes cluster")?;
    let running = accept(&world, "running", 2).await?;
    let passage = gate.reached().await?;
    let backup = backup(&world, "one.tar").await?;

    // Since then: the run ends, the built cluster is removed, and a new one is made.
    drop(passage);
    assert_eq!(world.client.ended(&running).await?["state"], "succeeded");
    let gone = world.client.delete(&format!("{CLUSTERS}/built?reason=test")).await?.expect(202)?;
    assert_eq!(world.client.ended(gone.header("location")).await?["state"], "succeeded");
    let newer = accept(&world, "newer", 3).await?;
    assert_eq!(world.client.ended(&newer).await?["state"], "succeeded");
    let runs = world.rke.runs()?.len();
    let before = look(&world, "running").await?;

    put_back(&mut world, &backup).await?;
    begins_again(&mut world).await?;
    let operation = world.client.ended(&running).await?;
    assert_eq!(world.aftermath("running", &operation).await?, End::Succeeded);
    let after = look(&world, "running").await?;
    for what in ["phase", "generation", "ca_sha256"] {
        assert_eq!(after[what], before[what], "{what}: {after:#}");
    }
    let removed = world.client.ended(gone.header("location")).await?;
    assert_eq!((&removed["kind"], &removed["state"]), (&json!("remove"), &json!("succeeded")), "{removed:#}");
    assert_eq!(look(&world, "built").await?["phase"], "removed");
    let orphans = world.client.get("/v1/admin/orphans").await?.expect(200)?.json();
    let names: Vec<_> = orphans["items"].as_array().unwrap().iter().map(|orphan| &orphan["name"]).collect();
    assert_eq!(names, [&json!("newer")], "{orphans:#}");
    assert!(world.agent.cluster("prod", "newer").join("working/cluster.rkestate").exists(), "it is left alone");
    assert_eq!(world.rke.runs()?.len(), runs, "nothing ran twice");

    // Operations go on, under fences that the volume has not seen.
    let again = world.client.delete(&format!("{CLUSTERS}/running?reason=test")).await?.expect(202)?;
    let removal = world.client.ended(again.header("location")).await?;
    assert_eq!(removal["state"], "succeeded", "{removal:#}");
    let accepted: Value =
        serde_json::from_slice(&std::fs::read(world.agent.cluster("prod", "running").join("fence"))?)?;
    assert!(accepted["fence"].as_u64() > Some(1 << 40), "{accepted:#}");
    let verified = world.controller.command(&["audit", "verify"]).await?;
    assert!(verified.contains("none changed"), "{verified}");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_77_a_run_that_goes_on_through_a_restore_goes_on_and_is_reported_once() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let backup = backup(&world, "empty.tar").await?;
    let refused = world.controller.command(&["backup", &backup]).await.unwrap_err();
    assert!(refused.to_string().contains("is there already"), "{refused}");
    let gate = world.gate("Building Kubernetes cluster")?;
    let waiting = accept(&world, "before", 1).await?;
    let passage = gate.reached().await?;
    let second = self::backup(&world, "two.tar").await?;
    put_back(&mut world, &second).await?;
    begins_again(&mut world).await?;
    world.controller.process.line("agent connected").await?;
    drop(passage);
    let operation = world.client.ended(&waiting).await?;
    assert_eq!((world.aftermath("before", &operation).await?, world.ups("before")?), (End::Succeeded, 1));
    assert_eq!(operation["attempts"].as_array().map(Vec::len), Some(1), "{operation:#}");

    // A backup from before the cluster was asked for: its run is there, the cluster is not.
    put_back(&mut world, &backup).await?;
    begins_again(&mut world).await?;
    world.controller.process.line("was looked through").await?;
    let orphans = world.client.get("/v1/admin/orphans").await?.expect(200)?.json();
    assert_eq!(orphans["items"][0]["name"], "before", "{orphans:#}");
    assert_eq!(world.ups("before")?, 1);
    world.finish().await
}

#[tokio::test]
async fn a_backup_under_load_restored_doubles_nothing() -> anyhow::Result<()> {
    const CLUSTERS_MADE: usize = 12;
    let mut world = World::start(programs!()).await?;
    let mut backup = String::new();
    let mut locations = Vec::new();
    for n in 0..CLUSTERS_MADE {
        locations.push(accept(&world, &format!("c{n}"), n + 1).await?);
        if n == CLUSTERS_MADE / 2 {
            backup = self::backup(&world, "load.tar").await?;
        }
    }
    for location in &locations {
        assert_eq!(world.client.ended(location).await?["state"], "succeeded");
    }
    put_back(&mut world, &backup).await?;
    begins_again(&mut world).await?;
    for (n, location) in locations.iter().enumerate().take(CLUSTERS_MADE / 2 + 1) {
        let operation = world.client.ended(location).await?;
        assert_eq!(operation["state"], "succeeded", "{operation:#}");
        assert_eq!(look(&world, &format!("c{n}")).await?["phase"], "ready");
    }
    let orphans = world.client.get("/v1/admin/orphans?limit=100").await?.expect(200)?.json();
    assert_eq!(orphans["items"].as_array().map(Vec::len), Some(CLUSTERS_MADE / 2 - 1), "{orphans:#}");
    for n in 0..CLUSTERS_MADE {
        assert_eq!(world.ups(&format!("c{n}"))?, 1, "c{n} was built once");
    }
    world.finish().await
}

async fn ca_step(world: &mut World, step: &str, leave_behind: bool) -> anyhow::Result<Value> {
    let mut body = json!({"reason": "story"});
    if leave_behind {
        body["leave_behind"] = json!(true);
    }
    let taken = world.client.post(&format!("/v1/admin/ca/{step}"), &body).await?.expect(200)?.json();
    world.client = world.controller.client("tester", &["operator:*", "admin:*"]).await?;
    Ok(taken)
}

async fn until_nobody_is_behind(world: &World) -> anyhow::Result<()> {
    let behind = async || {
        let ca = world.client.get("/v1/admin/ca").await?.expect(200)?.json();
        anyhow::Ok(ca["behind"].as_array().is_some_and(|agents| !agents.is_empty()))
    };
    tokio::time::timeout(cratekube_tests::house::process::PATIENCE, async {
        while behind().await? {}
        anyhow::Ok(())
    })
    .await?
}

#[tokio::test]
async fn hostile_row_39_a_backup_from_within_a_rotation_of_the_ca_brings_everybody_back_when_its_steps_are_taken_again()
-> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    ca_step(&mut world, "rotate", false).await?;
    let backup = backup(&world, "within.tar").await?;
    until_nobody_is_behind(&world).await?;
    ca_step(&mut world, "switch", false).await?;
    ca_step(&mut world, "finish", false).await?;
    world.agent.process.line("the agent's certificate is renewed").await?;
    let built = accept(&world, "web", 1).await?;
    assert_eq!(world.client.ended(&built).await?["state"], "succeeded");

    put_back(&mut world, &backup).await?;
    world.controller.restart().await?;
    world.client = world.controller.client("tester", &["operator:*", "admin:*"]).await?;
    let ca = world.client.get("/v1/admin/ca").await?.expect(200)?.json();
    assert_eq!((&ca["phase"], &ca["behind"][0]["name"]), (&json!("introduced"), &json!("bastion-1")), "{ca:#}");
    world.agent.process.kill().await?;
    world.agent.restart()?;
    world.agent.process.line("of a CA that this agent does not trust").await?;
    ca_step(&mut world, "switch", true).await?;
    world.agent.process.kill().await?;
    world.agent.restart()?;
    world.agent.process.line("in session with the controller").await?;
    until_nobody_is_behind(&world).await?;
    assert_eq!(ca_step(&mut world, "finish", false).await?["phase"], "none");
    let gone = world.client.delete(&format!("{CLUSTERS}/web?reason=test")).await?;
    assert_eq!(gone.status, 404, "what was made since is known to the volume alone");
    let orphans = world.client.get("/v1/admin/orphans").await?.expect(200)?.json();
    assert_eq!(orphans["items"][0]["name"], "web", "{orphans:#}");
    world.finish().await
}
