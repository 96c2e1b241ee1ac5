//! Kubeconfigs for users.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use cratekube_agent::kube::issue::issue;
use cratekube_common::domain::cluster::access::{AccessRole, IssuedKubeconfig, KubeconfigRequest};
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::runtime::clock;
use cratekube_common::yaml;
use serde_json::Value;

use super::support::{Built, HOST};

async fn ask(built: &Built, role: AccessRole, namespace: &str) -> Result<IssuedKubeconfig, Failure> {
    let request = KubeconfigRequest { role, namespace: namespace.into(), ttl: Duration::from_secs(3_600) };
    issue(&built.working(), &built.settings(), &request, "prod-blue", None).await
}

fn token(issued: &IssuedKubeconfig) -> String {
    let file = yaml::read(issued.kubeconfig.expose()).unwrap().remove(0).value;
    file["users"][0]["user"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_role_does_in_its_namespace_what_it_should_and_nothing_elsewhere() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.configure(Value::Null).await;
    let may = |token: &str, path: &str| built.api.ask_with(HOST, token, "GET", path).unwrap().0 == 200;
    for (role, secrets) in [(AccessRole::View, false), (AccessRole::Edit, true), (AccessRole::Admin, true)] {
        let token = token(&ask(&built, role, "workspace").await.unwrap());
        assert!(may(&token, "/api/v1/namespaces/workspace/pods"), "{role}");
        assert_eq!(may(&token, "/api/v1/namespaces/workspace/secrets"), secrets, "{role}");
        assert!(!may(&token, "/api/v1/namespaces/kube-system/pods") && !may(&token, "/api/v1/nodes"), "{role}");
    }
    Ok(())
}

#[tokio::test]
async fn it_ends_when_it_was_asked_to_and_with_its_account() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.configure(Value::Null).await;
    let issued = ask(&built, AccessRole::View, "workspace").await.unwrap();
    let left = issued.expires_at.since(clock::system().now());
    assert!(left <= Duration::from_secs(3_600) && left > Duration::from_secs(3_000), "{left:?}");
    assert!(!format!("{issued:?}").contains(&token(&issued)));
    built.api.erase(HOST, "", "serviceaccounts", Some("workspace"), "cratekube-view");
    assert_eq!(built.api.ask_with(HOST, &token(&issued), "GET", "/api/v1/namespaces/workspace/pods").unwrap().0, 401);
    Ok(())
}

#[tokio::test]
async fn an_administrators_is_rkes_own_and_lives_as_long_as_its_certificate() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let issued = ask(&built, AccessRole::ClusterAdmin, "").await.unwrap();
    let file = std::fs::read_to_string(built.working().join("kube_config_cluster.yml"))?;
    assert_eq!(issued.kubeconfig.expose(), file);
    assert!(issued.expires_at.since(clock::system().now()) > Duration::from_secs(9 * 365 * 24 * 3_600));
    assert_eq!(built.api.requests(), [], "the cluster is not asked");
    Ok(())
}

#[tokio::test]
async fn a_kubeconfig_of_another_ca_than_the_one_on_record_is_not_given_out() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let request = KubeconfigRequest { role: AccessRole::ClusterAdmin, namespace: String::new(), ttl: Duration::ZERO };
    let state = std::fs::read_to_string(built.working().join("cluster.rkestate"))?;
    let known = cratekube_common::rke::state::inspect(state.as_bytes())?.ca_sha256;
    let given = async |ca: &str| issue(&built.working(), &built.settings(), &request, "prod-blue", Some(ca)).await;
    assert!(given(&known).await.is_ok());
    assert_eq!(given(&"0".repeat(64)).await.unwrap_err().class, FailureClass::State);
    Ok(())
}

#[tokio::test]
async fn a_namespace_without_accounts_and_a_cluster_that_is_away_are_told_apart() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let failure = ask(&built, AccessRole::View, "workspace").await.unwrap_err();
    assert_eq!((failure.class, failure.retryable), (FailureClass::Config, false), "{failure:?}");
    std::fs::remove_file(built.working().join("kube_config_cluster.yml"))?;
    let failure = ask(&built, AccessRole::View, "workspace").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::State);
    Ok(())
}
