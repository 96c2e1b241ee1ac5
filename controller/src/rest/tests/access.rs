//! Who may do what: every route × role × own or other environment. The table and the router and the
//! API's description must name the same routes.

use std::collections::BTreeSet;
use std::sync::Arc;

use cratekube_common::domain::audit::AuditOutcome;
use cratekube_common::domain::environment::Role;
use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::edge::Peer;
use crate::rest::openapi;
use crate::rest::router;
use crate::rest::testing::{Answer, World};

use super::routes::{Needs, Row, TABLE};

/// Methods and paths that the router answers, as it says itself.
async fn routed(world: &World) -> BTreeSet<(String, String)> {
    let token = world.token(Role::Admin, "*");
    let mut found = BTreeSet::new();
    for (path, _) in router::open().into_iter().chain(router::guarded()) {
        let answer = world.ask_as(&token, Method::TRACE, &filled(path, "x")).send().await;
        assert_eq!(answer.problem(), "method-not-allowed", "{path}");
        for method in answer.header("allow").split(',').filter(|method| *method != "HEAD") {
            found.insert((method.to_owned(), path.to_owned()));
        }
    }
    found
}

fn filled(path: &str, operation: &str) -> String {
    let kind = path.replace("{kind}", "validation").replace("{env}", "prod").replace("{name}", "web");
    kind.replace("{id}", operation).replace("{resource}", "page")
}

#[tokio::test]
async fn every_route_is_in_the_table_and_in_the_description() {
    let routed = routed(&World::new().await).await;
    let table: BTreeSet<_> = TABLE.iter().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
    assert_eq!(routed, table);
    let description = openapi::description();
    let mut described = BTreeSet::new();
    for (path, item) in &description.paths.paths {
        let methods = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("DELETE", &item.delete),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
        ];
        described.extend(methods.iter().filter(|(_, o)| o.is_some()).map(|(m, _)| ((*m).to_owned(), path.clone())));
    }
    assert_eq!(routed, described);
}

async fn try_route(world: &World, operation: &str, token: Option<&str>, row: &Row) -> Answer {
    let method: Method = row.method.parse().unwrap();
    let path = filled(row.path, operation);
    let ask = match token.and_then(|text| text.split_once(' ')) {
        Some((role, environments)) => world.ask_as(&world.token(role.parse().unwrap(), environments), method, &path),
        None => world.anonymous(method, &path),
    };
    // Another revision: whoever may change it is told so, and it is there for the next.
    let ask = ask.header("if-match", "\"999\"");
    if row.sends.is_empty() { ask.send().await } else { ask.raw("application/json", row.sends).send().await }
}

fn expected(needs: Needs, caller: Option<(Role, &str)>) -> Option<StatusCode> {
    let Some((role, environments)) = caller else {
        return (needs != Needs::Nothing).then_some(StatusCode::UNAUTHORIZED);
    };
    let own = environments == "*" || environments == "prod" || environments == "pr*";
    match needs {
        Needs::Nothing | Needs::Token => None,
        Needs::In(_) if !own => Some(StatusCode::NOT_FOUND),
        Needs::In(needed) => (role < needed).then_some(StatusCode::FORBIDDEN),
        Needs::AdminEverywhere => (role < Role::Admin || environments != "*").then_some(StatusCode::FORBIDDEN),
    }
}

#[tokio::test]
async fn hostile_row_22_23_every_route_is_closed_to_all_but_those_who_may() {
    let world = World::new().await;
    let operation = world.ready("web").await.task.operation.to_string();
    for row in TABLE {
        for role in [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)] {
            for environments in ["*", "prod", "pr*", "dev", "prod2"] {
                let caller = role.map(|role| (role, environments));
                let token = caller.map(|(role, environments)| format!("{role} {environments}"));
                world.house.clock.advance(std::time::Duration::from_secs(1));
                let before = world.audit().await.len();
                let answer = try_route(&world, &operation, token.as_deref(), row).await;
                let case = format!("{} {} by {token:?}: {} {}", row.method, row.path, answer.status, answer.text());
                let mut audit = world.audit().await.split_off(before);
                audit.retain(|entry| entry.outcome == AuditOutcome::Refused);
                let Some(status) = expected(row.needs, caller) else {
                    assert_eq!(answer.status.as_u16(), row.answers, "{case}");
                    assert!(audit.is_empty(), "{case}");
                    continue;
                };
                assert_eq!(answer.status, status, "{case}");
                assert_eq!(audit.len(), 1, "a refusal is recorded once: {case}");
                assert_eq!(audit[0].action, format!("{} {}", row.method, row.path));
                assert_eq!(audit[0].actor, if role.is_some() { "ann" } else { "anonymous" });
            }
        }
    }
}

#[tokio::test]
async fn hostile_row_22_what_exists_elsewhere_looks_like_what_does_not_exist() {
    let world = World::new().await;
    let id = world.create("web").await;
    let elsewhere =
        world.ask_as(&world.token(Role::Operator, "dev"), Method::GET, &format!("/v1/operations/{id}")).send().await;
    let none = world.get("/v1/operations/00000000-0000-0000-0000-000000000000").await;
    let strip = |answer: &Answer| {
        let mut document = answer.json();
        for varying in ["request_id", "instance"] {
            document[varying].take();
        }
        document
    };
    assert_eq!(strip(&elsewhere), strip(&none));
}

#[tokio::test]
async fn hostile_row_19_every_bad_token_gets_the_same_answer_and_its_own_reason_in_the_audit() {
    let world = World::new().await;
    let good = world.token(Role::Viewer, "*");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let values =
        [format!("Bearer {forged}"), "Bearer x".into(), format!("Basic {good}"), "Bearer".into(), String::new()];
    let (mut answers, mut reasons) = (BTreeSet::new(), BTreeSet::new());
    for value in &values {
        let ask = world.anonymous(Method::GET, "/v1/environments").header("authorization", value);
        let answer = ask.header("x-request-id", "same").send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNAUTHORIZED, "unauthorized"), "{value}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        answers.insert(answer.text());
        reasons.extend(world.audit().await.pop().map(|entry| entry.detail));
        world.house.clock.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
}

#[tokio::test]
async fn hostile_row_25_a_flood_of_bad_tokens_does_not_flood_the_audit() {
    let world = World::new().await;
    for _ in 0..200 {
        world.anonymous(Method::GET, "/v1/environments").send().await;
    }
    assert_eq!(world.audit().await.len(), 3);
    world.house.clock.advance(std::time::Duration::from_secs(1));
    world.anonymous(Method::GET, "/v1/environments").send().await;
    assert_eq!(world.audit().await[3].detail, "no token was sent (197 more before this were not recorded)");
}

#[tokio::test]
async fn the_audit_names_the_address_of_the_connection_and_believes_no_header_about_it() {
    let world = World::new().await;
    let peer = Peer {
        address: "192.0.2.7:4711".parse().unwrap(),
        certificates: Arc::new([]),
        retire: CancellationToken::new(),
    };
    let router = world.router.clone().layer(axum::Extension(peer));
    let request = http::Request::get("/v1/environments").header("x-forwarded-for", "10.9.9.9");
    router.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(world.audit().await[0].origin, "192.0.2.7");
}
