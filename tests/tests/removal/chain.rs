//! From what a cluster names to an empty cloud: record, sweep, confirm, against moto's server.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../../../agent/tests/cloud/support/world.rs"]
mod cloud;
#[path = "../../../agent/tests/cloud/support/moto.rs"]
mod moto;
#[path = "../../../agent/tests/cloud/support/proxy.rs"]
mod proxy;
#[path = "../../../agent/tests/cloud/support/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cratekube_agent::cloud::steps::{confirm, sweep};
use cratekube_agent::config::CloudSection;
use cratekube_agent::kube::removal::record;
use cratekube_common::domain::removal::SweepFindings;
use cratekube_common::domain::removal::Verdict::{Clean, Unverified};
use cratekube_common::domain::task::TaskKind::{self, Confirm, Record, Sweep};
use cratekube_common::step::StepOutcome;
use serde_json::{Value, json};

use self::cloud::World;
use self::moto::Moto;
use self::proxy::Proxy;
use super::support::{Built, HOST};

/// The host name of a load balancer of the first kind, or of the second.
fn host_name(at: SocketAddr, id: &str) -> String {
    let (version, key) = match id.starts_with("arn:") {
        true => ("2015-12-01", "LoadBalancerArns.member.1"),
        false => ("2012-06-01", "LoadBalancerNames.member.1"),
    };
    let params = [("Action", "DescribeLoadBalancers"), (key, id)];
    let answer = wire::Message::call("elasticloadbalancing", version, &params).exchange(at).unwrap();
    let (_, rest) = answer.body.split_once("<DNSName>").unwrap();
    rest.split('<').next().unwrap().to_owned()
}

/// Lets the cluster name its objects in the cloud.
fn name_all(built: &Built, world: &World, at: SocketAddr) {
    for (name, balancer) in [("web", "classic"), ("net", "balancer")] {
        let host = host_name(at, &world.mine[balancer]);
        built.api.write(HOST, json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "default"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"hostname": host}]}}}));
    }
    let csi = |id: &str| json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": id}});
    let old = |id: &str| json!({"awsElasticBlockStore": {"volumeID": format!("aws://eu-central-1a/{id}")}});
    for (name, spec) in [
        ("p1", csi(&world.mine["volume"])),
        ("p2", csi(&world.mine["volume that is only recorded"])),
        ("p3", old(&world.mine["volume, older tag"])),
    ] {
        built.api.write(
            HOST,
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}),
        );
    }
    let mut node = built.api.read(HOST, "", "nodes", None, HOST).unwrap();
    node["spec"]["providerID"] = json!(format!("aws:///eu-central-1a/{}", world.others["machine of the cluster"]));
    built.api.write(HOST, node);
}

fn settings(built: &Built, aws: SocketAddr) -> CloudSection {
    let keys = built.path("aws");
    std::fs::write(&keys, "[default]\naws_access_key_id = KEY\naws_secret_access_key = SECRET\n").unwrap();
    CloudSection {
        enabled: true,
        region: Some("eu-central-1".into()),
        endpoint: Some(format!("http://{aws}")),
        credentials: Some(keys),
        // What the controller says counts: with this one nobody would wait for the end.
        confirm_pause: Duration::from_secs(24 * 60 * 60),
        patience: Duration::from_secs(5),
        ..CloudSection::default()
    }
}

async fn step(built: &Built, cloud: &CloudSection, kind: TaskKind, asked: Value) -> StepOutcome {
    let mut input = built.input(kind, asked);
    input.settings.cloud = cloud.clone();
    match kind {
        Record => record::run(&input, &built.said).await,
        Sweep => sweep(&input, &built.said).await,
        Confirm => confirm(&input, &built.said).await,
        other => panic!("{other}"),
    }
}

fn read(outcome: &StepOutcome) -> SweepFindings {
    serde_json::from_value(outcome.findings.clone()).unwrap_or_else(|e| panic!("{e}: {outcome:?}"))
}

#[tokio::test]
async fn what_a_cluster_names_is_recorded_swept_and_confirmed_and_nothing_else_is_touched() -> anyhow::Result<()> {
    let Some(moto) = Moto::start("what_a_cluster_names_is_recorded_swept_and_confirmed") else { return Ok(()) };
    let (world, proxy, built) = (World::full(moto.at), Proxy::start(moto.at), Built::plain().await?);
    let (before, cloud) = (world.ids(), settings(&built, proxy.at));
    name_all(&built, &world, moto.at);
    let recorded = step(&built, &cloud, Record, json!({"policy": "delete"})).await;
    assert_eq!((recorded.failure, &recorded.findings["state"]), (None, &json!("done")), "{}", built.said.text());
    let objects = recorded.findings["cloud"]["objects"].as_array().unwrap();
    assert_eq!((objects.len(), &recorded.findings["cloud"]["missing"]), (6, &json!([])));
    assert_eq!(recorded.findings["cloud"]["tag_names"], json!(["prod-web"]), "the machine tells the name");
    let asked = json!({"policy": "delete", "confirm_pause_s": 0, "earlier": {"record": recorded.findings}});
    let swept = step(&built, &cloud, Sweep, asked.clone()).await;
    assert_eq!((read(&swept).verdict, &swept.findings["state"]), (Clean, &json!("done")), "{}", built.said.text());
    let confirmed = step(&built, &cloud, Confirm, asked).await;
    assert_eq!((read(&confirmed).verdict, &confirmed.findings["state"]), (Clean, &json!("done")));
    assert_eq!(&before - &world.ids(), world.doomed(), "exactly what is the cluster's is gone");
    assert_eq!(world.wrongly_touched(&proxy.calls()), None);
    Ok(())
}

#[tokio::test]
async fn a_dead_cluster_is_swept_by_what_was_recorded_before_and_without_that_it_is_never_called_clean()
-> anyhow::Result<()> {
    let Some(moto) = Moto::start("a_dead_cluster_is_swept_by_an_older_record") else { return Ok(()) };
    let (world, proxy, built) = (World::full(moto.at), Proxy::start(moto.at), Built::plain().await?);
    let (before, cloud) = (world.ids(), settings(&built, proxy.at));
    name_all(&built, &world, moto.at);
    let dead = step(&built, &cloud, Record, json!({"skip_kubernetes": true})).await.findings;
    assert_eq!((&dead["state"], &dead["kubernetes"]), (&json!("skipped"), &Value::Null));
    let mut asked = json!({"policy": "delete", "confirm_pause_s": 0, "earlier": {"record": dead}});
    for kind in [Sweep, Confirm] {
        let outcome = step(&built, &cloud, kind, asked.clone()).await;
        assert_eq!((read(&outcome).verdict, &outcome.findings["state"]), (Unverified, &json!("unverified")));
        assert!(outcome.findings["why"].as_str().unwrap().contains("on record"), "{}", outcome.findings["why"]);
        assert_eq!((outcome.failure, outcome.warnings.len()), (None, 1), "the removal goes on, and says so");
    }
    assert_eq!(world.ids(), before, "nothing is deleted without proof");
    // It lives after all, and dies: what it said is on the volume.
    let alive = step(&built, &cloud, Record, Value::Null).await.findings;
    let dead = step(&built, &cloud, Record, json!({"skip_kubernetes": true})).await.findings;
    assert_eq!((&dead["state"], &dead["cloud"]), (&json!("skipped"), &alive["cloud"]));
    asked["earlier"]["record"] = dead;
    for kind in [Sweep, Confirm] {
        assert_eq!(read(&step(&built, &cloud, kind, asked.clone()).await).verdict, Clean, "{}", built.said.text());
    }
    assert_eq!(&before - &world.ids(), world.doomed());
    Ok(())
}

#[tokio::test]
async fn without_keys_no_step_says_that_the_cloud_is_clean() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    super::world::fill(&built.api);
    let cloud = CloudSection::default();
    let record = step(&built, &cloud, Record, Value::Null).await.findings;
    assert_eq!(record["state"], "unverified");
    let asked = json!({"policy": "delete", "confirm_pause_s": 0, "earlier": {"record": record}});
    let states: BTreeSet<String> = [
        step(&built, &cloud, Sweep, asked.clone()).await.findings["state"].to_string(),
        step(&built, &cloud, Confirm, asked).await.findings["verdict"].to_string(),
    ]
    .into();
    assert_eq!(states, ["\"unverified\"".to_owned()].into());
    Ok(())
}
