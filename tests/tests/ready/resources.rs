//! Managed resources: conflicts, parts that fail, what is removed and what never.

use cratekube_common::domain::cluster::resource::{ResourceState, ResourceStatus};
use serde_json::{Value, json};

use super::support::{Built, HOST, config_map, resource};

async fn apply(built: &Built, mode: &str, manifest: &str, previous: &Value) -> ResourceStatus {
    let (outcome, mut findings) =
        built.configure(json!({"resources": [resource("web", mode, manifest, previous)]})).await;
    assert_eq!(outcome.failure, None, "a manifest does not make a cluster unfit");
    findings.resources.remove(0)
}

fn refs(status: &ResourceStatus) -> Value {
    json!(status.objects)
}

fn names(status: &ResourceStatus) -> Vec<String> {
    status.objects.iter().map(|object| object.name.clone()).collect()
}

#[tokio::test]
async fn a_field_of_another_manager_is_left_to_it_and_it_is_named() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    apply(&built, "upsert", &config_map("a", "ours"), &json!([])).await;
    let path = "/api/v1/namespaces/workspace/configmaps/a";
    built.api.ask(HOST, "kubectl-edit", "PATCH", path, &json!({"data": {"key": "theirs"}}));
    let status = apply(&built, "upsert", &config_map("a", "ours"), &json!([])).await;
    assert_eq!((status.state, status.faults[0].reason.as_str()), (ResourceState::Failed, "Conflict"));
    assert!(status.faults[0].message.contains("conflict with \"kubectl-edit\" using v1: .data.key"), "{status:?}");
    assert_eq!(built.read("configmaps", "a").unwrap()["data"]["key"], "theirs");
    Ok(())
}

#[tokio::test]
async fn what_can_be_applied_is_and_the_rest_is_told_in_the_apis_words_until_it_is_mended() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let bad = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: front}\nspec: {replicas: 1}\n";
    let status = apply(&built, "sync", &format!("{}---\n{bad}", config_map("a", "1")), &json!([])).await;
    assert_eq!((status.state, names(&status)), (ResourceState::Failed, vec!["a".to_owned()]));
    assert_eq!(status.faults[0].reason, "Invalid");
    assert_eq!(status.faults[0].message, "Deployment.apps \"front\" is invalid: spec.selector: Required value");
    let good = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: front}\nspec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}}}\n";
    let status = apply(&built, "sync", &format!("{}---\n{good}", config_map("a", "1")), &refs(&status)).await;
    assert_eq!((status.state, status.objects.len()), (ResourceState::Applied, 2));
    Ok(())
}

#[tokio::test]
async fn sync_removes_what_left_the_manifest_and_upsert_does_not() -> anyhow::Result<()> {
    for (mode, stays) in [("sync", false), ("upsert", true)] {
        let built = Built::plain().await?;
        let both = format!("{}---\n{}", config_map("a", "1"), config_map("b", "1"));
        let first = apply(&built, mode, &both, &json!([])).await;
        let second = apply(&built, mode, &config_map("a", "2"), &refs(&first)).await;
        assert_eq!(second.state, ResourceState::Applied);
        assert_eq!((built.read("configmaps", "b").is_some(), names(&second)), (stays, vec!["a".to_owned()]), "{mode}");
        let removed = json!({"remove": [{"name": "web", "mode": mode, "objects": refs(&second)}]});
        let (_, findings) = built.configure(removed).await;
        assert_eq!(findings.removed[0].objects, []);
        assert_eq!(built.read("configmaps", "a").is_some(), stays, "{mode}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_removed_before_the_new_is_there_nor_what_another_made_under_an_old_name() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let first =
        apply(&built, "sync", &format!("{}---\n{}", config_map("a", "1"), config_map("b", "1")), &json!([])).await;
    let broken = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {}\n";
    let second = apply(&built, "sync", broken, &refs(&first)).await;
    assert_eq!(second.state, ResourceState::Failed);
    assert!(built.read("configmaps", "a").is_some());
    assert_eq!(names(&second), ["a", "b"], "they are still the resource's");
    built.api.erase(HOST, "", "configmaps", Some("workspace"), "b");
    built.api.write(HOST, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "workspace"}, "data": {"key": "theirs"}}));
    let third = apply(&built, "sync", &config_map("c", "1"), &refs(&second)).await;
    assert_eq!((third.state, names(&third)), (ResourceState::Applied, vec!["c".to_owned()]));
    assert!(built.read("configmaps", "a").is_none());
    assert_eq!(built.read("configmaps", "b").unwrap()["data"]["key"], "theirs");
    Ok(())
}

#[tokio::test]
async fn objects_that_nobody_was_told_of_are_found_by_their_label() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    apply(&built, "sync", &format!("{}---\n{}", config_map("a", "1"), config_map("b", "1")), &json!([])).await;
    // As after a run that was killed before it could report: nothing is known of `b`.
    let status = apply(&built, "sync", &config_map("a", "1"), &json!([])).await;
    assert_eq!((status.state, built.read("configmaps", "b")), (ResourceState::Applied, None));
    Ok(())
}

#[tokio::test]
async fn what_waits_for_a_finalizer_is_told_and_taken_away_when_it_can_be() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.api.hold_finalizer(HOST, "service.kubernetes.io/load-balancer-cleanup");
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: lb}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n";
    let status = apply(&built, "sync", service, &json!([])).await;
    let remove = json!({"remove": [{"name": "web", "mode": "sync", "objects": refs(&status)}], "must_apply": true});
    let (outcome, findings) = built.configure(remove.clone()).await;
    assert_eq!(findings.removed[0].faults[0].reason, "Terminating");
    assert!(findings.removed[0].faults[0].message.contains("load-balancer-cleanup"));
    assert!(outcome.failure.unwrap().retryable);
    built.api.ask(
        HOST,
        "cloud",
        "PATCH",
        "/api/v1/namespaces/workspace/services/lb",
        &json!({"metadata": {"finalizers": null}}),
    );
    let (outcome, findings) = built.configure(remove).await;
    assert_eq!((outcome.failure, findings.removed[0].objects.as_slice()), (None, [].as_slice()));
    Ok(())
}

const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.acme.example}\nspec:\n  group: acme.example\n  scope: SCOPE\n  names: {plural: widgets, kind: Widget}\n  versions: [{name: v1, served: true, storage: true}]\n";
const WIDGET: &str = "apiVersion: acme.example/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 1}\n";

#[tokio::test]
async fn an_object_may_come_before_the_definition_of_its_kind() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let manifest = format!("{WIDGET}---\n{}", DEFINITION.replace("SCOPE", "Namespaced"));
    let scope = json!({"namespaces": ["workspace"], "cluster_scoped": true});
    let input = json!({"scope": scope, "resources": [resource("web", "sync", &manifest, &json!([]))]});
    let (_, findings) = built.configure(input).await;
    assert_eq!(findings.resources[0].state, ResourceState::Applied, "{findings:?}");
    assert!(built.api.read(HOST, "acme.example", "widgets", Some("workspace"), "w").is_some());
    Ok(())
}

#[tokio::test]
async fn the_cluster_knows_which_kinds_are_cluster_scoped_and_the_rule_holds_for_them_too() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let definition: Value = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.acme.example"}, "spec": {"group": "acme.example", "scope": "Cluster",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true}]}});
    built.api.write(HOST, definition);
    built.api.definitions_take(HOST, 0);
    let status = apply(&built, "upsert", WIDGET, &json!([])).await;
    assert_eq!((status.state, status.faults[0].reason.as_str()), (ResourceState::Failed, "cluster-scoped"));
    assert!(built.api.list(HOST, "acme.example", "widgets").is_empty());
    Ok(())
}

#[tokio::test]
async fn an_object_belongs_to_one_resource_only() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let of = |name: &str, value: &str| resource(name, "sync", &config_map("a", value), &json!([]));
    let (outcome, findings) =
        built.configure(json!({"resources": [of("one", "1"), of("two", "2")], "must_apply": true})).await;
    assert_eq!(findings.resources[1].faults[0].reason, "object-taken");
    assert_eq!(built.read("configmaps", "a").unwrap()["data"]["key"], "1");
    let failure = outcome.failure.unwrap();
    assert!(failure.message.contains("managed resource two is failed") && !failure.retryable, "{failure:?}");
    // In a later run, too, where the other resource is not sent.
    let (_, findings) = built.configure(json!({"resources": [of("two", "2")]})).await;
    assert!(findings.resources[0].faults[0].message.contains("managed resource one"), "{findings:?}");
    Ok(())
}

#[tokio::test]
async fn hostile_row_04_the_agent_refuses_what_the_controller_should_have_refused() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let elsewhere = config_map("a", "1").replace("name: a", "name: a\n  namespace: kube-system");
    for (manifest, rule) in [
        (elsewhere.as_str(), "namespace-not-allowed"),
        ("a: &x 1\n", "yaml-anchor"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", "cluster-scoped"),
    ] {
        let status = apply(&built, "upsert", manifest, &json!([])).await;
        assert_eq!((status.state, status.faults[0].reason.as_str()), (ResourceState::Failed, rule));
    }
    assert!(built.api.read(HOST, "", "configmaps", Some("kube-system"), "a").is_none());
    Ok(())
}

#[tokio::test]
async fn hostile_row_72_no_value_of_a_manifest_is_ever_said() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: canary-value}\n";
    let broken = format!("{secret}data: {{password: 7, canary: &canary-value x}}\n");
    for manifest in [secret, &broken] {
        let (outcome, _) =
            built.configure(json!({"resources": [resource("web", "upsert", manifest, &json!([]))]})).await;
        let told = format!("{outcome:?} {}", built.said.text());
        assert!(!told.contains("canary-value"), "{told}");
    }
    assert!(built.read("secrets", "s").is_some());
    Ok(())
}
