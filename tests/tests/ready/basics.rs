//! Namespaces, accounts, hardening; waiting; what is passing.

use cratekube_common::domain::cluster::health::CheckOutcome;
use cratekube_common::domain::failure::FailureClass;
use serde_json::{Value, json};

use super::support::{Built, HOST, WORKER, config_map, resource};

#[tokio::test]
async fn a_new_cluster_is_configured_and_then_verified() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let (outcome, findings) = built.configure(json!({"scope": {"namespaces": ["workspace", "shop"]}})).await;
    assert_eq!(outcome.failure, None);
    assert_eq!(findings.namespaces, ["shop", "workspace"]);
    for account in ["cratekube-view", "cratekube-edit", "cratekube-admin"] {
        assert_eq!(built.read("serviceaccounts", account).unwrap()["automountServiceAccountToken"], false);
    }
    let owners = built.read("serviceaccounts", "cratekube-view").unwrap()["metadata"]["managedFields"].clone();
    assert_eq!((owners[0]["manager"].as_str(), owners[0]["operation"].as_str()), (Some("cratekube"), Some("Apply")));
    let (outcome, findings) = built.verify().await;
    assert_eq!(outcome.failure, None, "{findings:#?}");
    assert_eq!(findings.kubernetes_version.as_deref(), Some("v1.28.12"));
    let names: Vec<_> = findings.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["api", "version", "nodes", "etcd", "system-workloads", "access", "certificates"]);
    assert!(built.api.requests().iter().all(|request| request.user == "kube-admin"));
    Ok(())
}

#[tokio::test]
async fn configuring_again_changes_nothing_and_takes_its_own_back() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.configure(Value::Null).await;
    let versions = |built: &Built| -> Vec<Value> {
        built
            .api
            .list(HOST, "rbac.authorization.k8s.io", "rolebindings")
            .iter()
            .map(|b| b["metadata"]["resourceVersion"].clone())
            .collect()
    };
    let before = versions(&built);
    built.configure(Value::Null).await;
    assert_eq!(versions(&built), before);
    let path = "/api/v1/namespaces/workspace/serviceaccounts/cratekube-view";
    let changed = built.api.ask(HOST, "somebody", "PATCH", path, &json!({"automountServiceAccountToken": true}));
    assert_eq!(changed.unwrap().0, 200);
    assert_eq!(built.configure(Value::Null).await.0.failure, None);
    assert_eq!(built.read("serviceaccounts", "cratekube-view").unwrap()["automountServiceAccountToken"], false);
    Ok(())
}

#[tokio::test]
async fn faults_of_the_api_that_pass_are_waited_out() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.api.fail("GET", "/readyz", 500, 1);
    built.api.fail("PATCH", "/rolebindings", 503, 2);
    built.api.fail("PATCH", "/serviceaccounts", 409, 1);
    built.api.fail("PATCH", "/configmaps/a", 429, 1);
    let resources = json!({"resources": [resource("web", "upsert", &config_map("a", "1"), &json!([]))]});
    let (outcome, findings) = built.configure(resources).await;
    assert_eq!((outcome.failure, findings.resources[0].faults.as_slice()), (None, [].as_slice()));
    assert!(built.read("configmaps", "a").is_some());
    assert!(built.said.text().contains("waiting: the API does not answer: "), "{}", built.said.text());
    Ok(())
}

#[tokio::test]
async fn a_node_that_does_not_come_is_named_while_it_is_waited_for_and_in_the_failure() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.api.set_ready(HOST, WORKER, false);
    let (outcome, findings) =
        built.configure(json!({"resources": [resource("web", "upsert", &config_map("a", "1"), &json!([]))]})).await;
    let failure = outcome.failure.unwrap();
    assert_eq!((failure.class, failure.retryable), (FailureClass::Worker, true));
    assert!(failure.message.contains("10.0.0.2 is not ready: Kubelet stopped posting node status"), "{failure:?}");
    assert!(built.said.text().contains("waiting: 10.0.0.2 is not ready"), "{}", built.said.text());
    assert!(built.said.waited().contains("10.0.0.2 is not ready"), "{}", built.said.waited());
    assert_eq!(findings.resources[0].state.as_str(), "pending", "it was not reached");
    Ok(())
}

#[tokio::test]
async fn a_control_plane_that_does_not_answer_is_a_failure_with_what_to_look_at() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.rke.host(HOST).unreachable(cratekube_tests::rehearsal::fleet::HostFault::Blackhole)?;
    let failure = built.configure(Value::Null).await.0.failure.unwrap();
    assert_eq!((failure.class, failure.retryable), (FailureClass::Unreachable, true));
    assert!(failure.remedy.contains("6443"), "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn another_cluster_at_the_address_is_never_talked_to() -> anyhow::Result<()> {
    let (built, other) = (Built::plain().await?, Built::plain().await?);
    std::fs::copy(other.working().join("kube_config_cluster.yml"), built.working().join("kube_config_cluster.yml"))?;
    let failure = built.configure(Value::Null).await.0.failure.unwrap();
    assert_eq!((failure.class, failure.retryable), (FailureClass::State, false), "{failure:?}");
    assert_eq!(built.api.requests(), []);
    Ok(())
}

#[tokio::test]
async fn a_hardened_cluster_is_hardened_in_every_namespace_and_that_is_proven() -> anyhow::Result<()> {
    let built = Built::with(json!({"profile": "cis"})).await?;
    assert_eq!(built.configure(Value::Null).await.0.failure, None);
    let (outcome, findings) = built.verify().await;
    assert_eq!(outcome.failure, None, "{findings:#?}");
    let evidence = |name: &str| findings.checks.iter().find(|check| check.name == name).unwrap().detail.clone();
    assert!(evidence("cis-pod-security").contains("violates PodSecurity \"restricted:latest\": privileged"));
    assert_eq!(
        evidence("cis-secrets-encryption"),
        "deployed with services.kube-api.secrets_encryption_config.enabled: true"
    );
    assert!(evidence("cis-network-policies").starts_with("all 6 namespaces"), "{}", evidence("cis-network-policies"));
    built.api.write(HOST, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}}));
    let failure = built.verify().await.0.failure.unwrap();
    assert!(failure.message.contains("pods get a token of the default account in: late"), "{failure:?}");
    assert_eq!(built.configure(Value::Null).await.0.failure, None);
    assert_eq!(built.verify().await.0.failure, None);
    Ok(())
}

#[tokio::test]
async fn a_hardened_cluster_that_answers_strangers_is_found_with_what_it_told_them() -> anyhow::Result<()> {
    let built = Built::with(json!({"profile": "cis"})).await?;
    assert_eq!(built.configure(Value::Null).await.0.failure, None);
    let anonymous = async |built: &Built| {
        let (outcome, findings) = built.verify().await;
        let check = findings.checks.into_iter().find(|check| check.name == "cis-anonymous-access").unwrap();
        (outcome.failure, check.outcome, check.detail)
    };
    let asked = |code: u16| {
        format!(
            "asked without a credential: /api/v1/nodes?limit=1 {code}, /api/v1/secrets?limit=1 {code}, /apis {code}"
        )
    };
    assert_eq!(anonymous(&built).await, (None, CheckOutcome::Ok, asked(401)));
    let strangers = built.api.requests().iter().filter(|request| request.user == "system:anonymous").count();
    assert_eq!(strangers, 3, "nothing was shown: no certificate, no token");
    built.api.let_strangers_in(HOST, true);
    assert_eq!(anonymous(&built).await, (None, CheckOutcome::Ok, asked(403)));
    let granted = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "open"}, "roleRef": {"kind": "ClusterRole", "name": "open"},
        "subjects": [{"kind": "Group", "name": "system:unauthenticated"}]});
    built.api.write(HOST, granted);
    let secrets_only = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "open"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]});
    built.api.write(HOST, secrets_only);
    let (failure, outcome, detail) = anonymous(&built).await;
    assert_eq!(
        (outcome, detail.as_str()),
        (CheckOutcome::Failed, "answered without a credential: /api/v1/secrets?limit=1")
    );
    assert!(failure.unwrap().message.contains("answered without a credential"));
    built.api.let_strangers_in(HOST, false);
    built.api.fail("GET", "/apis", 500, 100);
    let (_, outcome, detail) = anonymous(&built).await;
    assert!(outcome == CheckOutcome::Failed && detail.starts_with("could not be found out: "), "{detail}");
    Ok(())
}
