//! What holds objects in the cloud goes, in order; data stay where they are to; what hangs is named.

use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::task::TaskKind::{Record, Release};
use serde_json::{Value, json};

use super::support::{Built, HOST};
use super::world::{fill, names, step};

const CLEANUP: &str = "service.kubernetes.io/load-balancer-cleanup";

fn gone(outcome: &Value) -> Value {
    json!([outcome["deleted"]["services"], outcome["deleted"]["ingresses"], outcome["deleted"]["claims"]])
}

fn all_names() -> Value {
    json!([["default/web"], ["default/plain", "default/shop"], ["default/data", "default/spare"]])
}

/// Places of requests of a method whose path has a part.
fn places(built: &Built, method: &str, part: &str) -> Vec<usize> {
    let seen = built.api.requests();
    let is = |(_, one): &(usize, &cratekube_tests::cluster_api::Seen)| one.method == method && one.path.contains(part);
    seen.iter().enumerate().filter(is).map(|(place, _)| place).collect()
}

#[tokio::test]
async fn everything_goes_in_order_with_its_volumes_and_the_pods_that_hold_them() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    let outcome = step(&built, Release, &json!({"policy": "delete"})).await;
    assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("done")), "{}", built.said.text());
    assert_eq!(gone(&outcome.findings), all_names());
    assert_eq!(outcome.findings["deleted"]["pods"], 1);
    for (group, plural) in
        [("networking.k8s.io", "ingresses"), ("", "persistentvolumeclaims"), ("", "persistentvolumes"), ("", "pods")]
    {
        assert_eq!(names(&built.api, group, plural), Vec::<String>::new(), "{plural}");
    }
    assert_eq!(names(&built.api, "", "services"), ["inner"]);
    let last = |part: &str| *places(&built, "DELETE", part).last().unwrap();
    let first = |part: &str| places(&built, "DELETE", part)[0];
    assert!(last("/services/") < first("/ingresses/") && last("/ingresses/") < first("/persistentvolumeclaims/"));
    assert!(places(&built, "PATCH", "/persistentvolumes").is_empty(), "nothing is kept");
    Ok(())
}

#[tokio::test]
async fn volumes_that_are_to_stay_are_kept_before_the_first_claim_is_deleted() -> anyhow::Result<()> {
    for policy in ["retain", "snapshot"] {
        let built = Built::plain().await?;
        fill(&built.api);
        let recorded = step(&built, Record, &Value::Null).await.findings;
        let asked = json!({"policy": policy, "earlier": {"record": recorded}});
        let outcome = step(&built, Release, &asked).await;
        assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("done")), "{}", built.said.text());
        let volumes = built.api.list(HOST, "", "persistentvolumes");
        assert!(volumes.len() == 2 && names(&built.api, "", "persistentvolumeclaims").is_empty());
        assert!(volumes.iter().all(|volume| volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"));
        let kept = places(&built, "PATCH", "/persistentvolumes/");
        assert!(kept.len() == 2 && kept[1] < places(&built, "DELETE", "/persistentvolumeclaims/")[0]);
        let kept: Vec<_> =
            outcome.findings["kept"].as_array().unwrap().iter().map(|kept| kept["claim"].clone()).collect();
        assert_eq!(kept, ["default/data", "default/spare"], "{policy}");
        // Once more, with nothing left: what is gone is still told.
        let again = step(&built, Release, &asked).await.findings;
        assert_eq!((&again["state"], gone(&again)), (&json!("done"), all_names()));
    }
    // Where nothing is said data are kept.
    let built = Built::plain().await?;
    fill(&built.api);
    step(&built, Release, &Value::Null).await;
    assert_eq!(names(&built.api, "", "persistentvolumes").len(), 2);
    Ok(())
}

#[tokio::test]
async fn no_claim_is_deleted_while_a_volume_that_is_to_stay_would_go_with_it() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    built.api.fail("PATCH", "/persistentvolumes/", 403, 99);
    let outcome = step(&built, Release, &json!({"policy": "retain"})).await;
    let failure = outcome.failure.unwrap();
    assert!(failure.message.contains("so that no claim is deleted"), "{}", failure.message);
    assert!(places(&built, "DELETE", "/persistentvolumeclaims/").is_empty());
    assert_eq!(names(&built.api, "", "persistentvolumes").len(), 2);
    built.api.spare();
    assert_eq!(step(&built, Release, &json!({"policy": "retain"})).await.failure, None, "a retry goes on");
    Ok(())
}

#[tokio::test]
async fn a_load_balancer_that_nobody_deletes_is_a_named_blocker_and_a_retry_goes_on() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    built.api.hold_finalizer(HOST, CLEANUP);
    let outcome = step(&built, Release, &json!({"policy": "delete"})).await;
    let failure = outcome.failure.unwrap();
    assert_eq!((failure.class, failure.retryable), (FailureClass::Cloud, true));
    let named = format!("Service default/web (finalizer {CLEANUP}; being deleted for ");
    assert!(failure.message.contains(&named), "{}", failure.message);
    assert!(built.said.waited().contains(&named), "it is named while it is waited for: {}", built.said.waited());
    let blocker = &outcome.findings["blockers"][0];
    assert_eq!((&blocker["costs"], &blocker["finalizers"]), (&json!(true), &json!([CLEANUP])));
    assert!(blocker["age_s"].is_u64());
    assert_eq!(outcome.findings["state"], "unverified");
    assert_eq!(names(&built.api, "", "persistentvolumeclaims"), Vec::<String>::new(), "the rest is released");
    built.api.erase(HOST, "", "services", Some("default"), "web");
    let again = step(&built, Release, &json!({"policy": "delete"})).await;
    assert_eq!((again.failure, &again.findings["state"]), (None, &json!("done")));
    Ok(())
}

#[tokio::test]
async fn a_volume_that_nobody_deletes_is_named_and_what_costs_nothing_is_only_a_warning() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    built.api.hold_finalizer(HOST, "external-provisioner.volume.kubernetes.io/finalizer");
    let outcome = step(&built, Release, &json!({"policy": "delete"})).await;
    assert!(outcome.failure.unwrap().message.contains("PersistentVolume pvc-"), "{}", built.said.text());
    assert!(built.said.waited().contains("PersistentVolume pvc-"), "{}", built.said.waited());
    let built = Built::plain().await?;
    fill(&built.api);
    let path = "/api/v1/namespaces/default/persistentvolumeclaims/spare";
    let finalizer = json!({"metadata": {"finalizers": ["acme.example/backup"]}});
    assert_eq!(super::world::ask(&built.api, "PATCH", path, &finalizer), 200);
    let outcome = step(&built, Release, &json!({"policy": "retain"})).await;
    assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("unverified")));
    let warning = outcome.warnings.iter().find(|warning| warning.contains("acme.example/backup"));
    assert!(warning.is_some_and(|words| words.contains("default/spare")), "{:?}", outcome.warnings);
    assert_eq!(outcome.findings["deleted"]["claims"], json!(["default/data"]));
    Ok(())
}

#[tokio::test]
async fn an_api_that_goes_away_in_the_middle_is_unverified_and_no_failure() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    built.api.fail("GET", "/api/v1/persistentvolumeclaims", 401, 99);
    let outcome = step(&built, Release, &json!({"policy": "delete"})).await;
    assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("unverified")));
    assert!(outcome.findings["why"].as_str().unwrap().contains("the API went away"));
    assert_eq!(outcome.findings["deleted"], Value::Null, "nobody knows what is gone");
    assert_eq!(outcome.warnings.len(), 1);
    Ok(())
}
