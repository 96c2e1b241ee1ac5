//! A cluster is changed: weighed before, watched while, verified after. Through real processes.

use cratekube_tests::house::rest::{Answer, Ask};
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fleet::HostFault;
use http::Method;
use serde_json::{Value, json};

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const WEB: &str = "/v1/environments/prod/clusters/web";
const FIRST: &str = "192.0.2.11";
const WORKER: &str = "192.0.2.12";

async fn provision(world: &World, body: &Value) -> anyhow::Result<()> {
    let accepted = world.client.post(CLUSTERS, body).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    anyhow::ensure!(operation["state"] == "succeeded", "{operation:#}");
    Ok(())
}

/// The spec of a description of a new cluster, as a change is sent.
fn spec_of(mut body: Value) -> Value {
    json!({"spec": body["spec"].take()})
}

async fn put(world: &World, query: &str, body: &Value) -> anyhow::Result<Answer> {
    let etag = world.client.get(WEB).await?.expect(200)?.header("etag").to_owned();
    let path = format!("{WEB}{query}");
    world.client.send(Ask::new(Method::PUT, &path).header("if-match", &etag).json(body)).await
}

async fn changed(world: &World, query: &str, body: &Value) -> anyhow::Result<Value> {
    let accepted = put(world, query, body).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await
}

async fn cluster(world: &World) -> anyhow::Result<Value> {
    Ok(world.client.get(WEB).await?.expect(200)?.json())
}

fn runs_kubelet(world: &World, address: &str) -> bool {
    world.rke.host(address).look().runs("kubelet")
}

#[tokio::test]
async fn a_worker_is_planned_added_and_taken_away_again() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    provision(&world, &specs::single("web", FIRST)).await?;
    let larger = spec_of(specs::with_worker("web", FIRST, WORKER));

    let plan = world.client.post(&format!("{WEB}/plan"), &larger).await?.expect(200)?.json();
    assert_eq!((&plan["class"], &plan["preflight"]["state"]), (&"safe".into(), &"unavailable".into()), "{plan:#}");
    assert_eq!(plan["rke"]["rehearsal"], true, "{plan:#}");
    assert!(plan["diff"].as_str().unwrap().contains(&format!("+  - address: \"{WORKER}\"")), "{plan:#}");
    assert!(!runs_kubelet(&world, WORKER), "a plan does nothing");

    let query = format!("?plan_digest={}", plan["digest"].as_str().unwrap());
    let operation = changed(&world, &query, &larger).await?;
    assert_eq!(
        (&operation["kind"], &operation["state"]),
        (&"reconfigure".into(), &"succeeded".into()),
        "{operation:#}"
    );
    assert_eq!(operation["progress"]["phase"], "finished", "{operation:#}");
    let now = cluster(&world).await?;
    assert_eq!(
        (&now["phase"], &now["revision"], &now["generation"]),
        (&"ready".into(), &2.into(), &2.into()),
        "{now:#}"
    );
    assert!(runs_kubelet(&world, WORKER));

    let stale = put(&world, &query, &larger).await?;
    assert_eq!(stale.json()["type"], "/problems/plan-changed", "{}", stale.text());
    let same = put(&world, "", &larger).await?.expect(200)?;
    assert_eq!(same.header("etag"), "\"2\"", "nothing to do");

    let smaller = spec_of(specs::single("web", FIRST));
    let refused = put(&world, "", &smaller).await?.expect(422)?.json();
    assert_eq!(refused["type"], "/problems/consent-required", "{refused:#}");
    let operation = changed(&world, "?allow=disruptive", &smaller).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert!(!runs_kubelet(&world, WORKER), "the host that left is clean");

    let revisions = world.client.get(&format!("{WEB}/revisions")).await?.expect(200)?.json();
    let verified: Vec<_> =
        revisions["items"].as_array().unwrap().iter().map(|r| (&r["revision"], r["verified_at"].is_string())).collect();
    assert_eq!(verified, [(&json!(3), true), (&json!(2), true), (&json!(1), true)], "{revisions:#}");
    let ups = world.rke.runs()?.iter().filter(|run| run.command == "up").count();
    assert_eq!(ups, 3);
    world.finish().await
}

#[tokio::test]
async fn kubernetes_is_upgraded_one_minor_version_at_a_time() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let at = |version: &str| {
        let mut body = specs::single("web", FIRST);
        body["spec"]["kubernetes_version"] = json!(version);
        body
    };
    provision(&world, &at("v1.26.15-rancher1-1")).await?;
    for impossible in ["v1.28.12-rancher1-1", "v1.20.15-rancher2-1"] {
        let refused = put(&world, "?allow=loses_data", &spec_of(at(impossible))).await?.expect(422)?.json();
        assert_eq!(refused["type"], "/problems/impossible-change", "{refused:#}");
        assert_eq!(refused["errors"][0]["pointer"], "/spec/kubernetes_version");
    }
    assert_eq!(cluster(&world).await?["revision"], 1, "nothing was recorded");
    for next in ["v1.27.16-rancher1-1", "v1.28.12-rancher1-1"] {
        let operation = changed(&world, "?allow=disruptive", &spec_of(at(next))).await?;
        assert_eq!(operation["state"], "succeeded", "{operation:#}");
        let yml = std::fs::read_to_string(world.agent.cluster("prod", "web").join("working/cluster.yml"))?;
        assert!(yml.contains(next), "{yml}");
    }
    world.finish().await
}

#[tokio::test]
async fn what_cannot_be_changed_and_what_was_not_looked_at_is_refused() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    provision(&world, &specs::with_worker("web", FIRST, WORKER)).await?;
    let mut other = spec_of(specs::with_worker("web", FIRST, WORKER));
    other["spec"]["network"] = json!({"plugin": "calico", "pod_cidr": "10.99.0.0/16", "service_cidr": "10.98.0.0/16"});
    other["spec"]["nodes"][0] = json!({"address": "192.0.2.19", "roles": ["controlplane", "etcd", "worker"]});
    let plan = world.client.post(&format!("{WEB}/plan"), &other).await?.expect(200)?.json();
    assert_eq!(plan["class"], "impossible", "{plan:#}");
    let refused = put(&world, "?allow=disruptive,loses_data", &other).await?.expect(422)?.json();
    let pointers: Vec<_> =
        refused["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    let expected =
        ["/spec/nodes", "/spec/nodes", "/spec/network/plugin", "/spec/network/pod_cidr", "/spec/network/service_cidr"];
    assert_eq!(pointers, expected);
    let good = spec_of(specs::single("web", FIRST));
    let path = format!("{WEB}?allow=disruptive");
    world.client.send(Ask::new(Method::PUT, &path).json(&good)).await?.expect(428)?;
    world.client.send(Ask::new(Method::PUT, &path).header("if-match", "\"9\"").json(&good)).await?.expect(412)?;
    assert_eq!(world.rke.runs()?.iter().filter(|run| run.command == "up").count(), 1);
    assert_eq!(cluster(&world).await?["phase"], "ready");
    world.finish().await
}

#[tokio::test]
async fn a_change_that_fails_degrades_the_cluster_and_is_retried_by_name() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    provision(&world, &specs::single("web", FIRST)).await?;
    world.rke.host(WORKER).unreachable(HostFault::WrongKey)?;
    let larger = spec_of(specs::with_worker("web", FIRST, WORKER));
    let accepted = put(&world, "", &larger).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(
        (&operation["state"], &operation["failure"]["class"]),
        (&"failed".into(), &"auth".into()),
        "{operation:#}"
    );
    let degraded = cluster(&world).await?;
    assert_eq!((&degraded["phase"], &degraded["revision"]), (&"degraded".into(), &2.into()), "{degraded:#}");
    assert_eq!(degraded["spec"]["nodes"].as_array().unwrap().len(), 2, "what was asked for is on record");
    world.rke.host(WORKER).reachable()?;
    let retry = format!("{}/retry", accepted.header("location"));
    let again = world.client.send(Ask::new(Method::POST, &retry)).await?.expect(202)?;
    let operation = world.client.ended(again.header("location")).await?;
    assert_eq!(
        (&operation["kind"], &operation["state"]),
        (&"reconfigure".into(), &"succeeded".into()),
        "{operation:#}"
    );
    assert_eq!(cluster(&world).await?["phase"], "ready");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_69_a_worker_that_could_not_be_cleaned_is_named() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    provision(&world, &specs::with_worker("web", FIRST, WORKER)).await?;
    world.rke.host(WORKER).unreachable(HostFault::NoRoute)?;
    let operation = changed(&world, "?allow=disruptive", &spec_of(specs::single("web", FIRST))).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert!(
        operation["warnings"].to_string().contains(&format!("{WORKER} left the cluster without being cleaned")),
        "{operation:#}"
    );
    let conditions = cluster(&world).await?["conditions"].to_string();
    assert!(conditions.contains(WORKER), "it is said of the cluster, too: {conditions}");
    assert!(runs_kubelet(&world, WORKER), "and it is true");
    world.finish().await
}

#[tokio::test]
async fn hostile_row_69_a_worker_that_rke_lost_from_its_state_is_not_believed_to_be_gone() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    provision(&world, &specs::with_worker("web", FIRST, WORKER)).await?;
    // A run that cannot reach the worker drops it from rke's state, and fails.
    world.rke.host(WORKER).unreachable(HostFault::NoRoute)?;
    let mut labelled = spec_of(specs::with_worker("web", FIRST, WORKER));
    labelled["spec"]["nodes"][0]["labels"] = json!({"a": "b"});
    assert_eq!(changed(&world, "", &labelled).await?["state"], "failed");
    // Now it is taken out of the description. rke says that all is well.
    world.rke.host(WORKER).reachable()?;
    let smaller = spec_of(specs::single("web", FIRST));
    let operation = changed(&world, "?allow=disruptive", &smaller).await?;
    assert_eq!(
        (&operation["state"], &operation["failure"]["class"]),
        (&"failed".into(), &"state".into()),
        "{operation:#}"
    );
    assert!(operation["failure"]["message"].as_str().unwrap().contains(WORKER), "{operation:#}");
    assert!(runs_kubelet(&world, WORKER), "it runs on");
    // As the remedy says: put it back, and take it away again.
    let operation = changed(&world, "", &labelled).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    let operation = changed(&world, "?allow=disruptive", &smaller).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert!(!runs_kubelet(&world, WORKER));
    world.finish().await
}

#[tokio::test]
async fn a_description_that_was_wrong_is_mended_and_the_cluster_is_built_after_all() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    world.rke.host("192.0.2.66").unreachable(HostFault::NoRoute)?;
    let accepted = world.client.post(CLUSTERS, &specs::single("web", "192.0.2.66")).await?.expect(202)?;
    assert_eq!(world.client.ended(accepted.header("location")).await?["state"], "failed");
    let mended = spec_of(specs::single("web", FIRST));
    let plan = world.client.post(&format!("{WEB}/plan"), &mended).await?.expect(200)?.json();
    let query = format!("?allow=disruptive,loses_data&plan_digest={}", plan["digest"].as_str().unwrap());
    let answer = put(&world, &query, &mended).await?;
    assert_eq!(answer.status, 202, "{} {plan:#}", answer.text());
    let operation = world.client.ended(answer.header("location")).await?;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(cluster(&world).await?["phase"], "ready");
    world.finish().await
}
