//! Rows of `hostile.md` that need the whole house: what is planted must be found nowhere, floods must
//! not grow memory, and what a run prints must not reach a reader as anything but text.

use cratekube_tests::house::rest::Ask;
use cratekube_tests::house::search::files_with;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fault::{Fault, Kind};
use data_encoding::BASE64;
use http::Method;
use serde_json::json;

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const CANARY: &str = "canary-7f3a-never-to-be-seen";

#[tokio::test]
async fn hostile_row_07_a_registry_password_is_found_nowhere_but_in_cluster_yml() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let mut body = specs::single("web", "192.0.2.11");
    body["spec"]["private_registries"] = json!([{"url": "registry.example", "user": "u", "password": CANARY}]);
    let accepted = world.client.post(CLUSTERS, &body).await?.expect(202)?;
    assert!(!accepted.text().contains(CANARY) && accepted.text().contains("***"), "{}", accepted.text());
    let location = accepted.header("location").to_owned();
    assert_eq!(world.client.ended(&location).await?["state"], "succeeded");
    let documents = [
        format!("{CLUSTERS}/web"),
        format!("{CLUSTERS}/web/generations"),
        location.clone(),
        format!("{location}/output"),
        "/v1/operations".into(),
        "/v1/admin/agents".into(),
    ];
    for document in documents {
        let answer = world.client.get(&document).await?.expect(200)?;
        assert!(!answer.text().contains(CANARY), "{document}");
    }
    assert!(files_with(world.controller.data(), CANARY)?.is_empty(), "at rest on the controller");
    // RKE needs it in cluster.yml and keeps it in its state; nothing else on the volume may have it.
    let allowed = ["cluster.yml", "cluster.rkestate"];
    let stray: Vec<_> = files_with(world.agent.volume(), CANARY)?
        .into_iter()
        .filter(|path| !allowed.iter().any(|name| path.ends_with(name)))
        .collect();
    assert!(stray.is_empty(), "{stray:?}");
    let yml = std::fs::read_to_string(world.agent.cluster("prod", "web").join("working/cluster.yml"))?;
    assert!(yml.contains(CANARY), "the password arrived where it is needed");
    for line in world.controller.process.printed().iter().chain(&world.agent.process.printed()) {
        assert!(!line.contains(CANARY), "{line}");
    }
    world.finish().await
}

/// What a run prints that nobody may see, and the pieces by which it would be recognised.
struct Leaks {
    text: String,
    needles: Vec<String>,
}

/// Enough of it that reads, chunks and answers end in the middle of every sort, at many places.
fn leaks() -> Leaks {
    let encoded = BASE64.encode(format!("robot:{CANARY}").as_bytes());
    let key: Vec<String> = (0..4).map(|n| BASE64.encode(format!("private-{n}").repeat(5).as_bytes())).collect();
    let token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ";
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYcanarykey";
    let lines = [
        format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----", key.join("\n")),
        format!("msg=\"-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----\\n\"", key.join("\\n")),
        format!("cannot log in to registry.example as robot with {CANARY}"),
        format!("msg=\"{{\\\"auths\\\":{{\\\"registry.example\\\":{{\\\"auth\\\":\\\"{encoded}\\\"}}}}}}\""),
        format!("    client-key-data: {}\n    token: {token}", BASE64.encode(key.concat().as_bytes())),
        format!("aws_access_key_id=AKIACANARYCANARY1234 aws_secret_access_key={secret}"),
    ];
    let mut text = String::new();
    for n in 0..4_000 {
        text.extend([".".repeat(n % 89).as_str(), "\n", &lines[n % lines.len()], "\n"]);
    }
    let fatal =
        format!("time=\"2026-11-23T17:02:00Z\" level=fatal msg=\"login with {CANARY} and {token} was refused\"");
    text.push_str(&fatal);
    let mut needles = vec![CANARY.to_owned(), encoded, "CANARYCANARY1234".into(), secret.into()];
    needles.extend(key.iter().flat_map(|line| line.as_bytes().chunks(16)).map(|p| String::from_utf8_lossy(p).into()));
    needles.extend(token.split('.').skip(1).map(str::to_owned));
    Leaks { text, needles }
}

#[tokio::test]
async fn hostile_row_72_what_rke_prints_of_keys_tokens_and_passwords_is_found_nowhere() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let Leaks { text, needles } = leaks();
    let length = text.len() as u64;
    world.rke.fault(Fault::new(Kind::ExtraLine { text, after: None }).times(1))?;
    world.rke.fault(Fault::new(Kind::ExitCode { code: 1, after: None }).times(1))?;
    let mut body = specs::single("web", "192.0.2.11");
    body["spec"]["private_registries"] = json!([{"url": "registry.example", "user": "robot", "password": CANARY}]);
    let accepted = world.client.post(CLUSTERS, &body).await?.expect(202)?;
    let location = accepted.header("location").to_owned();
    let operation = world.client.ended(&location).await?;
    assert_eq!(operation["state"], "failed", "{operation:#}");
    let line = operation["failure"]["line"].as_str().unwrap_or_default();
    assert!(line.starts_with("login with *****") && line.ends_with(" was refused"), "{operation:#}");
    assert!(operation["output_bytes"].as_u64() > Some(length), "masked, not left out");
    let mut seen = vec![("events", followed(&world, &location).await?)];
    for document in [location.as_str(), "/v1/operations", &format!("{location}/output"), &format!("{CLUSTERS}/web")] {
        seen.push(("document", world.client.get(document).await?.expect(200)?.text()));
    }
    seen.push(("log", [world.controller.process.printed(), world.agent.process.printed()].concat().join("\n")));
    for needle in &needles {
        let shown: Vec<&str> = seen.iter().filter(|(_, text)| text.contains(needle)).map(|(name, _)| *name).collect();
        assert!(shown.is_empty(), "{needle} is in {shown:?}");
        assert!(files_with(world.controller.data(), needle)?.is_empty(), "{needle} is on the controller");
        let stray = files_with(world.agent.volume(), needle)?;
        let given = |path: &std::path::PathBuf| path.ends_with("cluster.yml") || path.ends_with("cluster.rkestate");
        assert!(stray.iter().all(given), "{needle} is in {stray:?}");
    }
    let run = std::fs::read_dir(world.agent.cluster("prod", "web").join("runs"))?.next();
    let run = run.ok_or_else(|| anyhow::anyhow!("no run"))??.path();
    let output = world.client.get(&format!("{location}/output")).await?.expect(200)?;
    assert!(output.body == std::fs::read(run.join("output.log"))?, "what was masked stays as it is, at its offset");
    world.finish().await
}

/// All output of an operation, as its events tell it.
async fn followed(world: &World, location: &str) -> anyhow::Result<String> {
    let mut events = world.client.events(&format!("{location}/output?follow=true"), None).await?;
    let mut shown = String::new();
    while let Some(event) = events.next().await? {
        if event.event == "output" {
            let data: serde_json::Value = serde_json::from_str(&event.data)?;
            shown.push_str(data["text"].as_str().unwrap_or_default());
        }
    }
    Ok(shown)
}

#[tokio::test]
async fn hostile_row_03_yaml_is_not_taken_in_at_all() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
    let ask = Ask::new(Method::POST, CLUSTERS).raw("application/yaml", laughs);
    let refused = world.client.send(ask).await?.expect(415)?;
    assert_eq!(refused.header("content-type"), "application/problem+json");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_08_and_70_rke_is_started_with_fixed_words_and_a_clean_environment() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    for name in ["--config=x", "-h", "a\nb", "a b"] {
        world.client.post(CLUSTERS, &specs::single(name, "192.0.2.11")).await?.expect(422)?;
    }
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    assert_eq!(world.client.ended(accepted.header("location")).await?["state"], "succeeded");
    let runs = world.rke.runs()?;
    let up = runs.iter().find(|run| run.command == "up").ok_or_else(|| anyhow::anyhow!("rke never ran"))?;
    assert_eq!(up.argv[1..], ["up", "--config", "cluster.yml"], "never --trace, nothing of the user's");
    let allowed = ["HOME", "LANG", "PATH", "TMPDIR"];
    assert!(up.environment.iter().all(|name| allowed.contains(&name.as_str())), "{:?}", up.environment);
    world.finish().await
}

#[tokio::test]
async fn hostile_row_09_a_body_that_is_too_large_is_refused_without_being_read() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let huge = vec![b' '; 8 * 1024 * 1024];
    let ask = Ask::new(Method::POST, CLUSTERS).raw("application/json", huge);
    // The connection may be closed before all of it is sent; that is a refusal too.
    if let Ok(answer) = world.client.send(ask).await {
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    world.client.get("/v1/environments").await?.expect(200)?;
    world.finish().await
}

#[tokio::test]
async fn hostile_row_13_what_a_run_prints_cannot_forge_events_or_drive_a_terminal() -> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let text =
        "evil\r\n\r\nevent: end\ndata: {\"state\":\"succeeded\"}\n\n\u{1b}]8;;http://x\u{7}\u{1b}[2J\u{202e}tfel";
    world.rke.fault(Fault::new(Kind::ExtraLine { text: text.into(), after: None }).times(1))?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let path = format!("{}/output?follow=true", accepted.header("location"));
    let mut events = world.client.events(&path, None).await?;
    let (mut shown, mut ends) = (String::new(), 0);
    while let Some(event) = events.next().await? {
        assert!(event.data.bytes().all(|b| b >= 0x20), "{event:?}");
        assert!(!event.data.contains('\u{202e}'), "{event:?}");
        match event.event.as_str() {
            "output" => {
                let data: serde_json::Value = serde_json::from_str(&event.data)?;
                shown.push_str(data["text"].as_str().unwrap_or_default());
            }
            "end" => ends += 1,
            _ => {}
        }
    }
    assert_eq!(ends, 1, "the forged end is text");
    assert!(shown.contains("event: end"), "and the text is there");
    assert!(!shown.contains('\u{1b}'), "a client that prints it is not driven");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_71_a_flood_without_newlines_is_stored_whole_and_the_run_succeeds() -> anyhow::Result<()> {
    const BYTES: u64 = 32 * 1024 * 1024;
    let mut world = World::start(programs!()).await?;
    let flood = Kind::Flood { bytes: BYTES, line_length: 0, invalid_utf8: true, bytes_per_second: None, after: None };
    world.rke.fault(Fault::new(flood).times(1))?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let location = accepted.header("location").to_owned();
    let operation = world.client.ended(&location).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    let output = world.client.get(&format!("{location}/output")).await?.expect(200)?;
    assert!(output.body.len() as u64 > BYTES);
    let runs = world.agent.cluster("prod", "web").join("runs");
    let run = std::fs::read_dir(runs)?.next().ok_or_else(|| anyhow::anyhow!("no run"))??.path();
    assert!(output.body == std::fs::read(run.join("output.log"))?, "every byte, in order");
    world.finish().await
}
