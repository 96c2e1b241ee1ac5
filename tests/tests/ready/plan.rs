//! A plan tells what its hosts are like: through real processes, with a real sshd.

use cratekube_tests::house::sshd::Sshd;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use serde_json::{Value, json};

const PLAN: &str = "/v1/environments/prod/clusters/web/plan";

async fn preflight(world: &World, path: &str, body: &Value) -> anyhow::Result<(Value, Value)> {
    let mut plan = world.client.post(path, body).await?.expect(200)?.json();
    Ok((plan["preflight"].take(), plan["digest"].take()))
}

/// The agent with preflight on, and a key that a host lets in.
async fn with_preflight(world: &mut World, sshd: &Sshd) -> anyhow::Result<()> {
    let config = world.agent.config().to_owned();
    let text = std::fs::read_to_string(&config)?.replace("preflight = false", "preflight = true");
    std::fs::write(&config, text)?;
    std::fs::copy(sshd.key(), config.with_file_name("id_ed25519"))?;
    world.agent.process.stop().await?;
    world.agent.restart()?;
    world.agent.process.line("in session with the controller").await?;
    Ok(())
}

#[tokio::test]
async fn a_plan_shows_what_the_agent_finds_on_the_hosts_and_is_answered_without_an_agent_too() -> anyhow::Result<()> {
    let Some(mut sshd) = Sshd::start("a_plan_shows_what_the_agent_finds").await? else { return Ok(()) };
    let mut world = World::start(programs!()).await?;
    let accepted = world.client.post("/v1/environments/prod/clusters", &specs::single("web", "192.0.2.11")).await?;
    assert_eq!(world.client.ended(accepted.expect(202)?.header("location")).await?["state"], "succeeded");
    let mut moved = json!({"spec": specs::single("web", &sshd.host)["spec"]});
    moved["spec"]["nodes"][0]["port"] = json!(sshd.port);
    moved["spec"]["nodes"][0]["user"] = json!(sshd.user);

    let (off, digest) = preflight(&world, PLAN, &moved).await?;
    assert_eq!(off["state"], "unavailable", "{off:#}");
    assert!(off["why"].as_str().unwrap_or_default().contains("preflight is off"), "{off:#}");

    with_preflight(&mut world, &sshd).await?;
    let (found, same) = preflight(&world, PLAN, &moved).await?;
    let host = &found["hosts"][0];
    assert_eq!((&host["address"], &same), (&json!(sshd.host), &digest), "{found:#}");
    let names: Vec<_> = host["checks"].as_array().into_iter().flatten().map(|check| &check["name"]).collect();
    assert_eq!((&host["checks"][0]["name"], &host["checks"][0]["result"]), (&json!("ssh"), &json!("ok")), "{found:#}");
    for looked_at in ["docker", "disk_etcd", "clock", "ports", "leftovers"] {
        assert!(names.contains(&&json!(looked_at)), "{found:#}");
    }
    let known = world.agent.cluster("prod", "web").join("ssh_hosts.json");
    assert!(!known.exists(), "a plan puts no host key on record");

    sshd.process.stop().await?;
    let (refused, same) = preflight(&world, PLAN, &moved).await?;
    assert_eq!((&refused["state"], &refused["failure"]["class"]), (&json!("failed"), &json!("unreachable")));
    let words = refused["hosts"][0]["checks"][0]["detail"].as_str().unwrap_or_default();
    assert!(words.contains("refuses connections") && same == digest, "{refused:#}");

    world.agent.process.stop().await?;
    let (away, same) = preflight(&world, PLAN, &moved).await?;
    assert_eq!((&away["state"], &same), (&json!("unavailable"), &digest), "{away:#}");
    assert!(away["why"].as_str().unwrap_or_default().contains("agent bastion-1"), "{away:#}");
    assert_eq!(preflight(&world, &format!("{PLAN}?preflight=false"), &moved).await?.0["state"], "not run");
    world.agent.restart()?;
    world.agent.process.line("in session with the controller").await?;
    world.finish().await
}
