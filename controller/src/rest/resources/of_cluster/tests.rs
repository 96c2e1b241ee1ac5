//! Managed resources of a cluster over REST, with what agents told of them.

use cratekube_common::domain::cluster::resource::{
    ConfigureFindings, ObjectFault, RemovalStatus, ResourceState, ResourceStatus,
};
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rest::testing::{Agent, Answer, World};
use crate::store::conformance::house::Bastion;

const RESOURCES: &str = "/v1/environments/prod/clusters/web/resources";
const PAGE: &str = "/v1/environments/prod/clusters/web/resources/page";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: canary-secret-42}\n";

fn page(title: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: page}}\ndata: {{title: {title}}}\n")
}

async fn put(world: &World, path: &str, yaml: &str) -> Answer {
    world.ask(Method::PUT, path).raw("application/yaml", yaml.to_owned()).send().await
}

/// An agent is told of the one configuration that waits.
async fn told(world: &World, bastion: Bastion) -> (Agent, Assignment) {
    let mut agent = world.connect(bastion, Vec::new()).await;
    agent.ready().await;
    let assignment = agent.assigned().await;
    assert_eq!(assignment.kind, TaskKind::Configure);
    world.house.start(bastion, &assignment).await;
    (agent, assignment)
}

/// The configuration ends with what was found.
async fn found(world: &World, bastion: Bastion, work: &Assignment, findings: &ConfigureFindings) {
    let report = RunReport {
        findings: Some(serde_json::to_value(findings).unwrap()),
        generation: None,
        rke: None,
        ..world.house.report(work, RunOutcome::Succeeded)
    };
    world.house.settle(bastion, report).await;
}

fn status(sent: &Value, state: ResourceState, faults: Vec<ObjectFault>) -> ResourceStatus {
    let manifest = sent["manifest"].as_str().unwrap();
    ResourceStatus {
        name: sent["name"].as_str().unwrap().parse().unwrap(),
        state,
        digest: cratekube_common::domain::cluster::resource::digest(manifest),
        objects: vec![
            serde_json::from_value(
                json!({"api_version": "v1", "kind": "ConfigMap", "namespace": "workspace", "name": "page"}),
            )
            .unwrap(),
        ],
        faults,
    }
}

#[tokio::test]
async fn a_resource_of_a_ready_cluster_is_brought_in_and_its_state_is_what_the_cluster_said() {
    let world = World::new().await;
    let bastion = world.ready("web").await.bastion;
    let body = json!({"mode": "sync", "manifest": page("hello")});
    let made = world.ask(Method::PUT, PAGE).json(&body).send().await;
    assert_eq!((made.status, made.header("etag")), (StatusCode::ACCEPTED, "\"1\""), "{}", made.text());
    assert_eq!(made.json()["operation"], made.header("location"));
    assert_eq!(made.json()["resource"]["state"], "pending");
    assert_eq!(made.json()["resource"]["wanted"][0]["namespace"], "workspace");
    let operation = world.get(made.header("location")).await.json();
    assert_eq!((&operation["kind"], &operation["requested_by"]), (&json!("configure"), &json!("ann")));
    assert_eq!(world.get("/v1/environments/prod/clusters/web").await.json()["phase"], "ready", "it goes on working");
    let (_agent, work) = told(&world, bastion).await;
    let input = work.input.0.clone();
    assert_eq!((&input["must_apply"], &input["earlier"]), (&json!(true), &json!({})));
    assert_eq!(input["resources"][0]["manifest"], page("hello"));
    assert_eq!(
        (&input["resources"][0]["mode"], &input["scope"]["namespaces"]),
        (&json!("sync"), &json!(["workspace"]))
    );
    let fault = ObjectFault { object: None, reason: "Invalid".into(), message: "spec.x: must not be empty".into() };
    let refused = status(&input["resources"][0], ResourceState::Failed, vec![fault]);
    let findings = ConfigureFindings { resources: vec![refused], ..ConfigureFindings::default() };
    found(&world, bastion, &work, &findings).await;
    let one = world.get(PAGE).await;
    assert_eq!((one.header("etag"), &one.json()["state"]), ("\"1\"", &json!("failed")));
    assert_eq!(one.json()["faults"][0]["message"], "spec.x: must not be empty");
    assert!(one.json()["checked_at"].is_string());
    assert_eq!(one.json()["manifest"], page("hello"), "a manifest without a secret is shown as it was sent");
    // The same once more is not nothing here: it failed.
    let again = world.ask(Method::PUT, PAGE).json(&body).send().await;
    assert_eq!((again.status, again.header("etag")), (StatusCode::ACCEPTED, "\"2\""), "{}", again.text());
    let (_agent, work) = told(&world, bastion).await;
    let input = work.input.0.clone();
    assert_eq!(input["resources"][0]["previous"][0]["name"], "page", "what may be there is known");
    let applied = status(&input["resources"][0], ResourceState::Applied, Vec::new());
    found(&world, bastion, &work, &ConfigureFindings { resources: vec![applied], ..ConfigureFindings::default() })
        .await;
    let list = world.get(RESOURCES).await.json();
    assert_eq!((&list["items"][0]["state"], &list["items"][0]["faults"]), (&json!("applied"), &json!([])));
    let same = world.ask(Method::PUT, PAGE).json(&body).send().await;
    assert_eq!((same.status, same.header("etag")), (StatusCode::OK, "\"2\""), "and now it is nothing");
    let entry = world.audit().await.into_iter().find(|e| e.action == "resource.put").unwrap();
    assert_eq!((entry.object.as_str(), entry.detail.as_str()), ("prod/web/page", "sync, 1 object(s)"));
}

#[tokio::test]
async fn a_resource_is_replaced_and_removed_only_as_it_was_seen() {
    let world = World::new().await;
    let bastion = world.ready("web").await.bastion;
    let absent =
        world.ask(Method::PUT, PAGE).header("if-match", "\"1\"").raw("application/yaml", page("a")).send().await;
    assert_eq!((absent.status, absent.problem().as_str()), (StatusCode::PRECONDITION_FAILED, "resource-changed"));
    put(&world, PAGE, &page("a")).await;
    let retried = put(&world, PAGE, &page("a")).await;
    assert_eq!((retried.status, retried.header("etag")), (StatusCode::OK, "\"1\""), "its answer was lost");
    let blind = put(&world, PAGE, &page("b")).await;
    assert_eq!((blind.status, blind.problem().as_str()), (StatusCode::PRECONDITION_REQUIRED, "if-match-required"));
    assert_eq!(blind.header("etag"), "\"1\"");
    let only_new =
        world.ask(Method::PUT, PAGE).header("if-none-match", "*").raw("application/yaml", page("a")).send().await;
    assert_eq!(only_new.problem(), "resource-changed");
    let busy = world.ask(Method::DELETE, PAGE).header("if-match", "\"7\"").send().await;
    assert_eq!(busy.problem(), "resource-changed");
    let (_agent, work) = told(&world, bastion).await;
    let late = world.ask(Method::PUT, PAGE).header("if-match", "\"1\"").raw("application/yaml", page("b")).send().await;
    assert_eq!(
        (late.status, late.problem().as_str()),
        (StatusCode::CONFLICT, "cluster-busy"),
        "the run cannot take it along"
    );
    let input = work.input.0.clone();
    let applied = status(&input["resources"][0], ResourceState::Applied, Vec::new());
    found(&world, bastion, &work, &ConfigureFindings { resources: vec![applied], ..ConfigureFindings::default() })
        .await;
    let gone = world.ask(Method::DELETE, PAGE).header("if-match", "\"1\"").send().await;
    assert_eq!(gone.status, StatusCode::ACCEPTED, "{}", gone.text());
    assert_eq!((&gone.json()["resource"]["withdrawn"], gone.header("etag")), (&json!(true), "\"2\""));
    let twice = world.ask(Method::DELETE, PAGE).send().await;
    assert_eq!(twice.status, StatusCode::OK, "{}", twice.text());
    let (_agent, work) = told(&world, bastion).await;
    let input = work.input.0.clone();
    assert_eq!((&input["resources"], &input["remove"][0]["name"]), (&json!([]), &json!("page")));
    assert_eq!(input["remove"][0]["objects"][0]["kind"], "ConfigMap");
    let removed = RemovalStatus { name: "page".parse().unwrap(), objects: Vec::new(), faults: Vec::new() };
    found(&world, bastion, &work, &ConfigureFindings { removed: vec![removed], ..ConfigureFindings::default() }).await;
    assert_eq!(world.get(PAGE).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get(RESOURCES).await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_resource_that_the_cluster_never_had_is_gone_at_once() {
    let world = World::new().await;
    world.ready("web").await;
    put(&world, PAGE, &page("a")).await;
    let gone = world.ask(Method::DELETE, PAGE).send().await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text());
    assert_eq!(world.get(PAGE).await.status, StatusCode::NOT_FOUND);
    let missing = world.ask(Method::DELETE, PAGE).send().await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(
        put(&world, "/v1/environments/prod/clusters/none/resources/page", &page("a")).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn hostile_row_07_a_secret_is_sealed_and_never_shown_or_kept_as_it_is() {
    let world = World::new().await;
    world.ready("web").await;
    let made = put(&world, PAGE, SECRET).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.text());
    let shown = [made.text(), world.get(PAGE).await.text(), world.get(RESOURCES).await.text()];
    for text in &shown {
        assert!(!text.contains("canary-secret"), "{text}");
    }
    assert_eq!(world.get(PAGE).await.json()["digest"], Value::Null, "it could be guessed");
    let back = world.get(PAGE).await.json()["manifest"].as_str().unwrap().to_owned();
    assert!(back.contains("***"), "{back}");
    let overwriting =
        world.ask(Method::PUT, PAGE).header("if-match", "\"1\"").raw("application/yaml", back).send().await;
    assert!(overwriting.text().contains("masked-value"), "{}", overwriting.text());
    world.house.store.close().await;
    for file in std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = if file.is_file() { std::fs::read(&file).unwrap() } else { Vec::new() };
        let word = b"canary-secret";
        assert!(!bytes.windows(word.len()).any(|window| window == word), "{}", file.display());
    }
}

#[tokio::test]
async fn hostile_row_03_07_what_no_manifest_may_be_is_refused_by_the_rules_name() {
    let world = World::new().await;
    world.ready("web").await;
    let large = format!("# {}\n{}", "x".repeat(300 * 1024), page("a"));
    for (yaml, rule) in [
        ("a: &a [1]\nb: *a\n".to_owned(), "anchor"),
        ("kind: A\nkind: B\n".to_owned(), "duplicate"),
        (page("a").replace("name: page", "name: page, namespace: kube-system"), "namespace-not-allowed"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n".to_owned(), "cluster-scoped"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n".to_owned(), "object-fields"),
        (String::new(), "manifest-empty"),
        (large, "manifest-size"),
    ] {
        let answer = put(&world, PAGE, &yaml).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, "validation"),
            "{rule}"
        );
        assert!(answer.text().contains(rule), "{rule} is not in {}", answer.text());
    }
    let far_too_large = put(&world, PAGE, &"x".repeat(5 << 20)).await;
    assert_eq!(far_too_large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(far_too_large.text().contains("manifest-size"), "{}", far_too_large.text());
    for (body, pointers) in [
        (json!({}), vec!["/manifest"]),
        (json!({"manifest": 1, "mode": "replace", "x": 1}), vec!["/mode", "/manifest", "/x"]),
        (json!({"manifest": "a: ["}), vec!["/manifest"]),
    ] {
        let answer = world.ask(Method::PUT, PAGE).json(&body).send().await;
        assert_eq!(answer.pointers(), pointers, "{body}: {}", answer.text());
    }
    let odd = world.ask(Method::PUT, PAGE).raw("text/plain", page("a")).send().await;
    assert_eq!(odd.problem(), "unsupported-media-type");
    let named = put(&world, "/v1/environments/prod/clusters/web/resources/..%2f", &page("a")).await;
    assert_eq!(named.problem(), "validation");
    assert_eq!(world.get(RESOURCES).await.json()["items"], json!([]), "none of them was kept");
}
