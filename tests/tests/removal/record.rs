//! What a cluster knows of the cloud is written down.

use cratekube_common::domain::task::TaskKind::Record;
use serde_json::{Value, json};

use super::support::Built;
use super::world::{fill, step};

#[tokio::test]
async fn everything_that_a_cluster_names_is_recorded_and_a_cloud_that_is_not_asked_makes_it_unverified()
-> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    let outcome = step(&built, Record, &Value::Null).await;
    assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("unverified")));
    assert!(outcome.findings["why"].as_str().unwrap().contains("cloud.enabled"));
    assert_eq!(outcome.warnings.len(), 1);
    let said = &outcome.findings["kubernetes"];
    let balancers: Vec<_> = said["load_balancers"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(balancers, ["default/web", "default/plain", "default/shop"]);
    assert!(said["load_balancers"][0]["hostnames"][0].as_str().unwrap().ends_with(".elb.amazonaws.com"));
    let volume = &said["volumes"][0];
    assert_eq!((&volume["claim"], &volume["reclaim_policy"]), (&json!("default/data"), &json!("Delete")));
    assert!(volume["handle"].as_str().unwrap().starts_with("vol-"));
    assert_eq!(said["nodes"].as_array().unwrap().len(), 2);
    assert!(outcome.findings["cloud"]["unverified"].is_string());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_listed_is_told_and_the_rest_is_recorded() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    built.api.fail("GET", "/api/v1/persistentvolumes", 403, 1);
    let outcome = step(&built, Record, &Value::Null).await;
    assert!(outcome.findings["why"].as_str().unwrap().contains("could not list /api/v1/persistentvolumes"));
    assert_eq!(outcome.findings["kubernetes"]["volumes"], json!([]));
    assert_eq!(outcome.findings["kubernetes"]["load_balancers"].as_array().unwrap().len(), 3);
    Ok(())
}
