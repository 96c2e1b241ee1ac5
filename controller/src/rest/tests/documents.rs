//! What people and programs read when something is wrong, and the API's description: snapshots.

use cratekube_common::domain::environment::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rest::testing::{Broken, World, wanted};
use crate::rest::{Kind, openapi};

const CLUSTERS: &str = "/v1/environments/prod/clusters";

#[tokio::test]
async fn problem_documents_read_well() {
    let world = World::new().await;
    world.create("web").await;
    let mut shown: Vec<Value> = Vec::new();
    let body = json!({"name": "-web", "spec": {"nodes": [], "x": 1}});
    for ask in [
        world.anonymous(Method::GET, CLUSTERS),
        world.ask_as(&world.token(Role::Viewer, "prod"), Method::DELETE, &format!("{CLUSTERS}/web")),
        world.ask(Method::GET, "/v1/environments/other/clusters"),
        world.ask(Method::GET, "/nowhere"),
        world.ask(Method::PATCH, CLUSTERS),
        world.ask(Method::GET, &format!("{CLUSTERS}?limit=x")),
        world.ask(Method::GET, &format!("{CLUSTERS}?cursor=x")),
        world.ask(Method::GET, "/v1/environments/CON/clusters"),
        world.ask(Method::POST, CLUSTERS).json(&body),
        world.ask(Method::POST, CLUSTERS).json(&wanted("web")),
        world.ask(Method::POST, CLUSTERS).raw("application/json", "{\"name\":1,\"name\":2}"),
        world.ask(Method::POST, CLUSTERS).raw("text/yaml", "name: web"),
    ] {
        let answer = ask.header("x-request-id", "r-1").send().await;
        answer.problem();
        shown.push(answer.json());
    }
    insta::assert_json_snapshot!("problems", shown);
}

#[tokio::test]
async fn the_table_of_problems_is_stable() {
    let table: Vec<String> = Kind::ALL
        .iter()
        .map(|k| format!("{:<24} {} {:<5} {}", k.slug(), k.status().as_u16(), k.retryable(), k.title()))
        .collect();
    insta::assert_snapshot!("kinds", table.join("\n"));
    let world = World::new().await;
    for kind in Kind::ALL {
        let answer = world.anonymous(Method::GET, &format!("/problems/{}", kind.slug())).send().await;
        assert_eq!(answer.json()["title"], kind.title());
        // A 503 or 429 says when to come back; nothing else promises that it helps by itself.
        assert!(!matches!(kind.status().as_u16(), 429 | 503) || kind.retryable(), "{kind:?}");
    }
}

#[tokio::test]
async fn the_description_is_openapi_3_1_and_names_every_route_and_schema() {
    let world = World::new().await;
    let document = world.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut listed = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{method} {path}");
            let open = operation["security"] == json!([{}]);
            listed.push(format!("{method} {path}{}", if open { " (open)" } else { "" }));
        }
    }
    let schemas: Vec<_> = document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    insta::assert_json_snapshot!("description", json!({"routes": listed, "schemas": schemas}));
    let text = document.to_string();
    for (at, _) in text.match_indices("#/components/schemas/") {
        let name: String = text[at + 21..].chars().take_while(|c| *c != '"').collect();
        assert!(schemas.contains(&name), "{name} is referred to and not there");
    }
    assert!(openapi::description().to_json().is_ok());
}

#[tokio::test(start_paused = true)]
async fn faults_of_ours_say_when_to_come_back_and_nothing_else() {
    for (how, status, slug) in [
        (Broken::Unavailable, 503, "store-unavailable"),
        (Broken::Damaged, 500, "internal"),
        (Broken::Panicking, 500, "internal"),
        (Broken::Hanging, 503, "timeout"),
    ] {
        let world = World::broken(how).await;
        let answer = world.get(CLUSTERS).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (status, slug));
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        assert_eq!(answer.header("retry-after").is_empty(), status == 500);
    }
}

#[tokio::test]
async fn readiness_names_its_checks_and_health_is_only_being_alive() {
    let world = World::new().await;
    let ready = world.anonymous(Method::GET, "/readyz").send().await;
    assert_eq!(ready.json(), json!({"ready": true, "checks": [{"name": "store", "ok": true}]}));
    world.house.clock.advance(std::time::Duration::from_secs(1));
    world.shutdown.cancel();
    assert_eq!(world.anonymous(Method::GET, "/readyz").send().await.problem(), "not-ready");
    let world = World::broken(Broken::Unavailable).await;
    let not = world.anonymous(Method::GET, "/readyz").send().await;
    assert_eq!((not.status, not.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not-ready"));
    let checks = not.json()["checks"].clone();
    assert_eq!((&checks[0]["name"], &checks[0]["ok"]), (&json!("store"), &json!(false)));
    assert!(checks[0]["message"].as_str().unwrap().contains("disk is full"), "it tells what is wrong: {checks}");
    assert!(!not.text().contains("secret"), "{}", not.text());
    assert_eq!(world.anonymous(Method::GET, "/healthz").send().await.text(), "ok");
}

#[tokio::test]
async fn hostile_row_14_every_answer_carries_the_security_headers_and_an_id() {
    let world = World::new().await;
    world.create("web").await;
    for (path, id) in [
        (CLUSTERS, "mine-1.a_b"),
        ("/nowhere", "x"),
        ("/healthz", ""),
        (CLUSTERS, "has space"),
        (CLUSTERS, "<script>"),
        (CLUSTERS, &"x".repeat(65)),
    ] {
        let answer = world.ask(Method::GET, path).header("x-request-id", id).send().await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert!(answer.headers.get("access-control-allow-origin").is_none());
        let sane = ["mine-1.a_b", "x"].contains(&id);
        assert_eq!(answer.header("x-request-id") == id, sane, "{id:?}");
        assert!(!answer.header("x-request-id").is_empty());
    }
}
