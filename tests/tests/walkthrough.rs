//! The story of the product: describe a cluster, watch it built, look at what was sealed, remove it.
//! All the way through real processes and sockets.

use cratekube_tests::house::rest::Ask;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use http::Method;

const CLUSTERS: &str = "/v1/environments/prod/clusters";

#[tokio::test]
async fn a_cluster_is_described_built_sealed_and_removed() -> anyhow::Result<()> {
    let world = World::whole(programs!()).await?;
    let client = &world.client;

    let accepted = client.post(CLUSTERS, &specs::with_worker("web", "192.0.2.11", "192.0.2.12")).await?.expect(202)?;
    let location = accepted.header("location").to_owned();
    let operation = client.ended(&location).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    let tasks = operation["tasks"].as_array().unwrap();
    let done: Vec<_> = tasks.iter().map(|t| (t["kind"].as_str().unwrap(), t["state"].as_str().unwrap())).collect();
    let kinds = ["preflight", "provision", "configure", "verify"];
    assert_eq!(done, kinds.map(|kind| (kind, "succeeded")), "{operation:#}");
    let checks = tasks[3]["findings"]["checks"].as_array().unwrap();
    assert!(!checks.is_empty() && checks.iter().all(|check| check["outcome"] == "ok"), "{checks:#?}");

    let cluster = client.get(&format!("{CLUSTERS}/web")).await?.expect(200)?.json();
    assert_eq!(cluster["phase"], "ready", "{cluster:#}");
    assert_eq!(cluster["conditions"][0]["kind"], "rehearsal", "a rehearsal says so in the status");

    let generations = client.get(&format!("{CLUSTERS}/web/generations")).await?.expect(200)?.json();
    let newest = &generations["items"][0];
    assert_eq!(newest["operation"], operation["id"]);
    let folder = world.agent.cluster("prod", "web");
    let sealed = folder.join("generations").join(format!("{:06}", newest["number"].as_u64().unwrap()));
    let mut names = Vec::new();
    for file in newest["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let content = std::fs::read(sealed.join(name))?;
        assert_eq!(content.len() as u64, file["bytes"], "{name}");
        let digest = cratekube_common::runtime::tls::sha256_hex(&content);
        assert_eq!(digest, file["sha256"].as_str().unwrap(), "{name}");
        assert_eq!(content, std::fs::read(folder.join("working").join(name))?, "{name} is what rke left");
        names.push(name.to_owned());
    }
    names.sort();
    assert_eq!(names, ["cluster.rkestate", "cluster.yml", "kube_config_cluster.yml"]);

    let removed = client.delete(&format!("{CLUSTERS}/web?reason=story")).await?.expect(202)?;
    let operation = client.ended(removed.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    let cluster = client.get(&format!("{CLUSTERS}/web")).await?.expect(200)?.json();
    assert_eq!(cluster["phase"], "removed");
    assert!(client.get(CLUSTERS).await?.expect(200)?.json()["items"].as_array().unwrap().is_empty());
    for address in ["192.0.2.11", "192.0.2.12"] {
        let host = world.rke.host(address).look();
        assert!(!host.containers.keys().any(|name| host.runs(name)), "{address} is clean: {host:?}");
    }

    let commands: Vec<_> =
        world.rke.runs()?.into_iter().map(|run| run.command).filter(|c| c == "up" || c == "remove").collect();
    assert_eq!(commands, ["up", "remove"]);
    world.finish().await
}

#[tokio::test]
async fn a_name_can_be_used_again_after_removal_with_a_new_ca() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let mut fingerprints = Vec::new();
    for _ in 0..2 {
        let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
        let operation = world.client.ended(accepted.header("location")).await?;
        assert_eq!(operation["state"], "succeeded", "{operation:#}");
        let cluster = world.client.get(&format!("{CLUSTERS}/web")).await?.expect(200)?.json();
        fingerprints.push(cluster["ca_sha256"].as_str().unwrap().to_owned());
        let removed = world.client.delete(&format!("{CLUSTERS}/web?reason=again")).await?.expect(202)?;
        assert_eq!(world.client.ended(removed.header("location")).await?["state"], "succeeded");
    }
    assert_ne!(fingerprints[0], fingerprints[1]);
    world.finish().await
}

#[tokio::test]
async fn hostile_row_26_the_same_request_twice_makes_one_cluster() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let body = specs::single("web", "192.0.2.11");
    let ask = || Ask::new(Method::POST, CLUSTERS).json(&body).header("idempotency-key", "once");
    let answers = futures::future::try_join_all((0..20).map(|_| world.client.send(ask()))).await?;
    let mut locations: Vec<_> = answers.iter().map(|answer| answer.header("location").to_owned()).collect();
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    locations.dedup();
    assert_eq!(locations.len(), 1, "{locations:?}");
    let other =
        Ask::new(Method::POST, CLUSTERS).json(&specs::single("web2", "192.0.2.12")).header("idempotency-key", "once");
    world.client.send(other).await?.expect(422)?;
    world.client.ended(&locations[0]).await?;
    assert_eq!(world.rke.runs()?.iter().filter(|run| run.command == "up").count(), 1);
    world.finish().await
}

#[tokio::test]
async fn output_is_whole_by_range_and_by_resumed_events() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let client = &world.client;
    let accepted = client.post(CLUSTERS, &specs::single("web", "192.0.2.11")).await?.expect(202)?;
    let location = accepted.header("location").to_owned();

    // Follow, drop the stream after every third piece, resume where it ended.
    let path = format!("{location}/output?follow=true");
    let (mut text, mut last, mut phases, mut ended) = (String::new(), None::<String>, Vec::new(), false);
    while !ended {
        let mut events = client.events(&path, last.as_deref()).await?;
        let mut pieces = 0;
        while pieces < 3 {
            let Some(event) = events.next().await? else { break };
            let data: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
            match event.event.as_str() {
                "output" => {
                    text.push_str(data["text"].as_str().unwrap());
                    last = Some(event.id);
                    pieces += 1;
                }
                "progress" => phases.extend(data["step"].as_u64()),
                "end" => {
                    ended = true;
                    break;
                }
                _ => {}
            }
        }
    }
    let whole = client.get(&format!("{location}/output")).await?.expect(200)?;
    assert_eq!(text, whole.text(), "nothing is missing or doubled");
    assert!(text.contains("Finished building Kubernetes cluster successfully"), "{text}");
    assert!(phases.is_sorted(), "progress only goes forward: {phases:?}");

    let log = std::fs::read(only_run(&world, "prod", "web")?.join("output.log"))?;
    assert_eq!(whole.body, log, "the controller has what the volume has");

    let output = format!("{location}/output");
    let part = Ask::new(Method::GET, &output).header("range", "bytes=100-199");
    let part = client.send(part).await?.expect(206)?;
    assert_eq!(part.body, whole.body[100..200]);
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{}", whole.body.len()));
    let beyond = format!("bytes={}-", whole.body.len() + 1);
    client.send(Ask::new(Method::GET, &output).header("range", &beyond)).await?.expect(416)?;
    world.finish().await
}

/// The folder of a cluster's only run.
fn only_run(world: &World, environment: &str, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let runs = world.agent.cluster(environment, name).join("runs");
    let mut folders = std::fs::read_dir(runs)?.collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(folders.len() == 1, "not one run: {folders:?}");
    Ok(folders.remove(0).path())
}

#[tokio::test]
async fn the_api_tells_of_environments_agents_and_health() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let client = &world.client;
    client.get("/healthz").await?.expect(200)?;
    client.get("/readyz").await?.expect(200)?;
    let openapi = client.get("/openapi.json").await?.expect(200)?.json();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"), "{openapi}");
    let agents = client.get("/v1/admin/agents").await?.expect(200)?.json();
    let agent = &agents["items"][0];
    assert_eq!((agent["name"].as_str(), agent["online"].as_bool()), (Some("bastion-1"), Some(true)), "{agent:#}");
    let one = client.get(&format!("/v1/admin/agents/{}", agent["id"].as_str().unwrap())).await?.expect(200)?.json();
    assert_eq!(one["id"], agent["id"]);

    let viewer = world.controller.client("reader", &["viewer:team-*"]).await?;
    viewer.get("/v1/admin/agents").await?.expect(403)?;
    viewer.get(CLUSTERS).await?.expect(404)?;
    viewer.post("/v1/environments/team-a/clusters", &specs::single("web", "192.0.2.11")).await?.expect(403)?;
    viewer.with_token(None).get("/v1/environments").await?.expect(401)?;
    world.finish().await
}
