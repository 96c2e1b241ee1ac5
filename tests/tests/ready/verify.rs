//! What is wrong with a cluster is found, and named for an operator.

use cratekube_agent::kube::verify;
use cratekube_common::domain::cluster::health::{CheckOutcome, VerifyFindings};
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::task::TaskKind;
use serde_json::{Value, json};

use super::support::{Built, HOST, WORKER};

async fn configured() -> anyhow::Result<Built> {
    let built = Built::plain().await?;
    assert_eq!(built.configure(Value::Null).await.0.failure, None);
    Ok(built)
}

#[tokio::test]
async fn each_fault_fails_its_check_with_a_class_and_a_remedy() -> anyhow::Result<()> {
    let built = configured().await?;
    type Spoil = fn(&Built);
    let faults: [(&str, FailureClass, &str, Spoil); 4] = [
        ("nodes", FailureClass::Worker, "10.0.0.2 is not ready", |b| b.api.set_ready(HOST, WORKER, false)),
        ("etcd", FailureClass::Etcd, "etcd failed", |b| b.api.set_etcd(HOST, false)),
        ("system-workloads", FailureClass::Addon, "deployment kube-system/coredns has 1 of 2 replicas", |b| {
            let path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns/status";
            b.api.ask(
                HOST,
                "x",
                "PATCH",
                "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
                &json!({"spec": {"replicas": 2}}),
            );
            b.api.ask(HOST, "x", "PATCH", path, &json!({"status": {"availableReplicas": 1}}));
        }),
        ("access", FailureClass::Config, "workspace/default can get secrets in workspace", |b| {
            b.api.write(HOST, json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "lazy"},
                "roleRef": {"kind": "ClusterRole", "name": "edit"}, "subjects": [{"kind": "Group", "name": "system:serviceaccounts"}]}));
        }),
    ];
    for (check, class, words, spoil) in faults {
        spoil(&built);
        let (outcome, findings) = built.verify().await;
        let failed = findings.checks.iter().find(|found| found.name == check).unwrap();
        assert_eq!(failed.outcome, CheckOutcome::Failed, "{check}");
        assert!(failed.detail.contains(words), "{failed:?}");
        let failure = outcome.failure.unwrap();
        assert!(!failure.remedy.is_empty() && failure.retryable, "{failure:?}");
        if findings.failed().next().is_some_and(|first| first.name == check) {
            assert_eq!(failure.class, class, "{failure:?}");
        }
        built.api.set_ready(HOST, WORKER, true);
        built.api.set_etcd(HOST, true);
    }
    Ok(())
}

#[tokio::test]
async fn a_version_other_than_asked_and_a_node_too_many_are_found() -> anyhow::Result<()> {
    let mut built = configured().await?;
    built.spec.kubernetes_version = "v1.29.7-rancher1-1".parse().unwrap();
    built.spec.nodes.truncate(1);
    let (outcome, findings) = built.verify().await;
    let details: Vec<_> = findings.failed().map(|check| check.detail.as_str()).collect();
    assert_eq!(details[0], "the API is v1.28.12 instead of v1.29.7");
    assert!(details[1].contains("10.0.0.2 is in the cluster and not in its description"), "{details:?}");
    assert_eq!(outcome.failure.unwrap().class, FailureClass::ControlPlane);
    Ok(())
}

#[tokio::test]
async fn namespaces_of_users_are_found_where_the_task_names_none() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let access = async |built: &Built| {
        let outcome = verify::run(&built.input(TaskKind::Verify, Value::Null), &built.said).await;
        let findings: VerifyFindings = serde_json::from_value(outcome.findings).expect("findings");
        findings.checks.into_iter().find(|check| check.name == "access").expect("the check")
    };
    assert_eq!(access(&built).await.outcome, CheckOutcome::Skipped, "nothing was configured");
    built.configure(json!({"scope": {"namespaces": ["shop"]}})).await;
    let found = access(&built).await;
    assert!(found.outcome == CheckOutcome::Ok && found.detail.contains("accounts in shop"), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn every_certificate_is_recorded_with_its_end_the_served_one_too() -> anyhow::Result<()> {
    let built = configured().await?;
    let findings = built.verify().await.1;
    let names: Vec<_> = findings.certificates.iter().map(|certificate| certificate.name.as_str()).collect();
    for name in ["api 10.0.0.1", "kubeconfig", "kube-ca", "kube-etcd-10-0-0-1", "kube-node"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let first = findings.first_expiry().unwrap();
    assert!(first.not_after > findings.checked_at, "{first:?}");
    Ok(())
}

#[tokio::test]
async fn a_fault_that_passes_while_it_is_waited_for_is_none() -> anyhow::Result<()> {
    let built = configured().await?;
    built.api.fail("GET", "/api/v1/nodes", 503, 1);
    let (outcome, findings) = built.verify().await;
    assert_eq!(outcome.failure, None, "{findings:?}");
    assert!(built.said.text().contains("waiting: nodes: the API does not answer"), "{}", built.said.text());
    assert!(built.said.waited().contains("nodes: the API does not answer"), "{}", built.said.waited());
    Ok(())
}
