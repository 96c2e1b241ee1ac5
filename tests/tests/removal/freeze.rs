//! Nothing new is created; what is dead is left alone.

use cratekube_agent::kube::removal::{freeze, record};
use cratekube_agent::step::StepInput;
use cratekube_common::domain::task::TaskKind::{Configure, Freeze, Record, Release};
use cratekube_tests::rehearsal::fleet::HostFault;
use serde_json::{Value, json};

use super::support::{Built, HOST, WORKER};
use super::world::{CLAIMS, INGRESSES, SERVICES, ask, claim, fill, ingress, names, service, step};

fn autoscaler(image: &str, name: &str) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn versions(built: &Built) -> Vec<Value> {
    let kinds = [
        ("", "resourcequotas"),
        ("apps", "deployments"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ];
    let objects = kinds.iter().flat_map(|(group, plural)| built.api.list(HOST, group, plural));
    objects.map(|object| object["metadata"]["resourceVersion"].clone()).collect()
}

#[tokio::test]
async fn a_frozen_cluster_makes_nothing_new_in_the_cloud_and_what_is_there_can_still_be_let_go() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    built.api.write(HOST, autoscaler("registry.k8s.io/autoscaling/cluster-autoscaler:v1.28.0", "scaler"));
    built.api.write(HOST, autoscaler("rancher/coredns", "other"));
    let outcome = step(&built, Freeze, &Value::Null).await;
    assert_eq!((outcome.failure, outcome.warnings), (None, vec![]), "{}", built.said.text());
    let findings = outcome.findings;
    assert_eq!(findings["state"], "done");
    assert_eq!(findings["denied"]["by_policies"].as_array().map(Vec::len), Some(2));
    assert_eq!(findings["scaled_down"], json!([{"kind": "Deployment", "name": "kube-system/scaler", "replicas": 2}]));
    let replicas = |name: &str| {
        built.api.read(HOST, "apps", "deployments", Some("kube-system"), name).unwrap()["spec"]["replicas"].clone()
    };
    assert_eq!((replicas("scaler"), replicas("other")), (json!(0), json!(2)));
    built.api.write(HOST, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}}));
    for namespace in ["default", "kube-system", "late"] {
        for (path, mut object) in
            [(SERVICES, service("new", "LoadBalancer")), (CLAIMS, claim("new")), (INGRESSES, ingress("new", "alb"))]
        {
            object["metadata"]["namespace"] = json!(namespace);
            let path = path.replace("default", namespace);
            let code = ask(&built.api, "POST", &path, &object);
            assert!(matches!(code, 403 | 422), "{path}: {code}");
        }
    }
    let balanced = json!({"spec": {"type": "LoadBalancer"}});
    assert!(matches!(ask(&built.api, "PATCH", &format!("{SERVICES}/inner"), &balanced), 403 | 422));
    // Whoever deletes load balancers changes their Services, and an ordinary Service is nobody's business.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(ask(&built.api, "PATCH", &format!("{SERVICES}/web"), &label), 200);
    assert_eq!(ask(&built.api, "POST", SERVICES, &service("new", "ClusterIP")), 201);
    assert_eq!(names(&built.api, "", "persistentvolumeclaims"), ["data", "spare"], "what was tried is not there");
    let before = versions(&built);
    let again = step(&built, Freeze, &Value::Null).await.findings;
    let late = json!(findings["denied"]["by_quotas_in_namespaces"].as_u64().unwrap() + 1);
    assert_eq!((&again["scaled_down"], &again["denied"]["by_quotas_in_namespaces"]), (&findings["scaled_down"], &late));
    assert_eq!(versions(&built).len(), before.len() + 1, "only the new namespace is new");
    assert!(before.iter().all(|version| versions(&built).contains(version)), "doing it again changes nothing");
    Ok(())
}

#[tokio::test]
async fn an_api_that_answers_and_takes_nothing_does_not_hold_a_removal_up_to_its_limit() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.api.fail("PATCH", "/resourcequotas/", 500, 10_000);
    let mut input = built.input(Freeze, Value::Null);
    input.settings.limit = Some(std::time::Duration::from_secs(12));
    let outcome = freeze::run(&input, &built.said).await;
    assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("unverified")), "{}", built.said.text());
    let warnings = outcome.warnings.join("; ");
    assert!(warnings.contains("within 6 s, half of the step's limit (`steps.freeze`)"), "{warnings}");
    // What the cluster knows is asked for as long, and the removal goes on.
    built.api.fail("GET", "/api/v1/persistentvolumes", 500, 10_000);
    let input = StepInput { kind: Record, ..input };
    let outcome = record::run(&input, &built.said).await;
    assert_eq!(outcome.failure, None, "{}", built.said.text());
    let warnings = outcome.warnings.join("; ");
    assert!(warnings.contains("half of the step's limit (`steps.record`)"), "{warnings}");
    Ok(())
}

#[tokio::test]
async fn where_there_are_no_admission_policies_quotas_do_it_and_what_is_not_denied_is_told() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    built.api.fail("GET", "/apis/admissionregistration.k8s.io/", 404, 2);
    let outcome = step(&built, Freeze, &Value::Null).await;
    assert_eq!(outcome.findings["state"], "done", "{}", built.said.text());
    assert_eq!(outcome.findings["denied"]["by_policies"], json!([]));
    assert_eq!(ask(&built.api, "POST", SERVICES, &service("new", "LoadBalancer")), 403);
    let open = Built::plain().await?;
    open.api.fail("GET", "/apis/admissionregistration.k8s.io/", 404, 2);
    open.api.fail("PATCH", "/kube-system/resourcequotas", 403, 1);
    let outcome = step(&open, Freeze, &Value::Null).await;
    assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("unverified")));
    assert!(outcome.findings["why"].as_str().unwrap().contains("deny in namespace kube-system"));
    assert_eq!(outcome.warnings.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_is_dead_or_another_one_is_skipped_with_the_reason_and_never_touched() -> anyhow::Result<()> {
    let (built, other) = (Built::plain().await?, Built::plain().await?);
    let skipped = async |built: &Built, asked: Value, words: &str| {
        for kind in [Freeze, Record, Release] {
            let outcome = step(built, kind, &asked).await;
            assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("skipped")), "{kind}");
            let why = outcome.findings["why"].as_str().unwrap();
            assert!(why.contains(words) && outcome.warnings[0].contains(why), "{kind}: {why}");
        }
    };
    skipped(&built, json!({"skip_kubernetes": true}), "left alone").await;
    skipped(&built, json!({"ca_sha256": "a".repeat(64)}), "another CA").await;
    skipped(&built, json!({"ca_sha256": ["a".repeat(64)]}), "another CA").await;
    assert_eq!(built.api.requests(), [], "nobody was asked");
    let config = built.working().join("kube_config_cluster.yml");
    let own = std::fs::read(&config)?;
    std::fs::copy(other.working().join("kube_config_cluster.yml"), &config)?;
    skipped(&built, Value::Null, "does not answer as it should").await;
    assert_eq!(built.api.requests(), []);
    std::fs::write(&config, own)?;
    built.rke.host(HOST).unreachable(HostFault::Blackhole)?;
    skipped(&built, Value::Null, "does not answer as it should").await;
    assert!(built.said.waited().contains("the cluster's API does not answer as it should"), "{}", built.said.waited());
    std::fs::remove_file(&config)?;
    skipped(&built, Value::Null, "cannot be read").await;
    Ok(())
}

#[tokio::test]
async fn a_control_plane_that_is_gone_does_not_make_a_cluster_dead_that_has_another() -> anyhow::Result<()> {
    let roles = json!(["controlplane", "etcd"]);
    let second = "10.0.0.3";
    let nodes = json!([{"address": HOST, "roles": roles}, {"address": second, "roles": roles},
        {"address": WORKER, "roles": ["worker"]}]);
    let built = Built::with(json!({"nodes": nodes})).await?;
    built.rke.host(HOST).unreachable(HostFault::Blackhole)?;
    let outcome = step(&built, Freeze, &Value::Null).await;
    assert_eq!((outcome.failure, &outcome.findings["state"]), (None, &json!("done")), "{}", built.said.text());
    assert!(built.api.requests().iter().all(|request| request.address == second));
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_stays_after_all_is_thawed_when_it_is_configured() -> anyhow::Result<()> {
    let built = Built::plain().await?;
    fill(&built.api);
    built.api.write(HOST, autoscaler("registry.k8s.io/autoscaling/cluster-autoscaler:v1.28.0", "scaler"));
    let frozen = step(&built, Freeze, &Value::Null).await;
    assert_eq!(frozen.findings["state"], "done", "{}", built.said.text());
    assert!(matches!(ask(&built.api, "POST", CLAIMS, &claim("new")), 403 | 422));
    let configured = step(&built, Configure, &Value::Null).await;
    assert_eq!(configured.failure, None, "{}", built.said.text());
    let scaler = built.api.read(HOST, "apps", "deployments", Some("kube-system"), "scaler").unwrap();
    assert_eq!(scaler["spec"]["replicas"], 2);
    assert_eq!(scaler["metadata"]["annotations"].get("cratekube.io/replicas-before-removal"), None);
    for (path, object) in
        [(SERVICES, service("new", "LoadBalancer")), (CLAIMS, claim("new")), (INGRESSES, ingress("new", "alb"))]
    {
        assert_eq!(ask(&built.api, "POST", path, &object), 201, "{path}");
    }
    assert_eq!(names(&built.api, "", "resourcequotas"), Vec::<String>::new());
    let before = versions(&built);
    step(&built, Configure, &Value::Null).await;
    assert!(before.iter().all(|version| versions(&built).contains(version)), "once");
    Ok(())
}
