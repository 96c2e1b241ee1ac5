//! The audit log as admins read it.

use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::environment::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rest::testing::{Answer, World};
use crate::store::conformance::house::entry;

const AUDIT: &str = "/v1/admin/audit";

async fn get(world: &World, query: &str) -> Answer {
    let token = world.token_of("root", Role::Admin, "*");
    world.ask_as(&token, Method::GET, &format!("{AUDIT}{query}")).send().await
}

async fn lines(world: &World, query: &str) -> Answer {
    let token = world.token_of("root", Role::Admin, "*");
    let ask = world.ask_as(&token, Method::GET, &format!("{AUDIT}{query}"));
    ask.header("accept", "text/html, application/x-ndjson;q=0.9").send().await
}

fn numbers(answer: &Answer) -> Vec<u64> {
    answer.json()["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn hostile_row_78_who_did_what_is_found_with_its_request_and_refusals_are_in_it() {
    let world = World::new().await;
    world.create("web").await;
    let viewer = world.token_of("eve", Role::Viewer, "prod");
    let path = "/v1/environments/prod/clusters/web?reason=x";
    world.ask_as(&viewer, Method::DELETE, path).header("x-request-id", "r-7").send().await;
    let all = get(&world, "").await.json();
    let newest = &all["items"][0];
    assert_eq!(
        (&newest["actor"], &newest["outcome"], &newest["request_id"]),
        (&json!("eve"), &json!("refused"), &json!("r-7"))
    );
    assert_eq!(newest["action"], "DELETE /v1/environments/{env}/clusters/{name}");
    assert_eq!(newest["hash"].as_str().unwrap().len(), 64);
    assert_eq!(all["items"][1]["action"], "cluster.provision");
    assert_eq!(numbers(&get(&world, "?outcome=refused").await), [2]);
    assert_eq!(numbers(&get(&world, "?actor=ann").await), [1]);
    assert_eq!(numbers(&get(&world, "?object=prod/web&action=cluster.provision").await), [1]);
    assert_eq!(numbers(&get(&world, "?since=2099-01-01T00:00:00Z").await), [0; 0]);
    assert_eq!(numbers(&get(&world, "?until=2099-01-01T00:00:00Z&limit=1").await), [2]);
    for bad in ["?outcome=maybe", "?since=yesterday", "?who=ann"] {
        assert_eq!(get(&world, bad).await.problem(), "invalid-parameter", "{bad}");
    }
}

#[tokio::test]
async fn pages_are_bound_to_their_filters() {
    let world = World::new().await;
    for n in 0..3 {
        world.house.store.audit(entry("test", &n.to_string()), world.house.now()).await.unwrap();
    }
    let first = get(&world, "?limit=2&action=test").await;
    assert_eq!(numbers(&first), [3, 2]);
    let next = first.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(numbers(&get(&world, &format!("?limit=2&action=test&cursor={next}")).await), [1]);
    assert_eq!(get(&world, &format!("?limit=2&cursor={next}")).await.problem(), "invalid-cursor");
}

#[tokio::test]
async fn hostile_row_28_a_copy_has_everything_that_matches_and_is_noted_in_the_log_itself() {
    let world = World::new().await;
    for _ in 0..1_200 {
        let hostile =
            AuditEntry { outcome: AuditOutcome::Allowed, detail: "\u{1b}[2J\n{".into(), ..entry("test", "x") };
        world.house.store.audit(hostile, world.house.now()).await.unwrap();
    }
    let copy = lines(&world, "?action=test").await;
    assert_eq!((copy.status, copy.header("content-type")), (StatusCode::OK, "application/x-ndjson"));
    let entries: Vec<Value> = copy.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = entries.iter().map(|entry| entry["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=1_200).rev().collect::<Vec<_>>());
    assert!(!copy.text().contains('\u{1b}'));
    let noted = world.audit().await.pop().unwrap();
    assert_eq!(
        (noted.action.as_str(), noted.actor.as_str(), noted.detail.as_str()),
        ("audit.export", "root", "action test")
    );
    assert_eq!(lines(&world, "?limit=1").await.problem(), "invalid-parameter");
}
