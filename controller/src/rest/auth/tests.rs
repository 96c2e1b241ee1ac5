//! From an API key to a token and to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use cratekube_common::domain::environment::{Grant, Role};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::auth::Tokens;
use crate::edge::Peer;
use crate::rest::testing::{Answer, Broken, World};
use crate::service::revocations::Refresh;

const TOKEN: &str = "/v1/auth/token";
const KEYS: &str = "/v1/admin/api-keys";
const REVOCATIONS: &str = "/v1/admin/revocations";

fn wanted_key(subject: &str) -> Value {
    json!({"name": "pipeline", "subject": subject, "grants": [{"role": "operator", "environments": "prod"}]})
}

async fn admin(world: &World, method: Method, path: &str, body: Option<Value>) -> Answer {
    let token = world.token_of("root", Role::Admin, "*");
    let ask = world.ask_as(&token, method, path);
    match body {
        Some(body) => ask.json(&body).send().await,
        None => ask.send().await,
    }
}

/// Makes a key; answers its text and its id.
async fn key(world: &World, subject: &str) -> (String, String) {
    let made = admin(world, Method::POST, KEYS, Some(wanted_key(subject))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let made = made.json();
    (made["api_key"].as_str().unwrap().to_owned(), made["key"]["id"].as_str().unwrap().to_owned())
}

async fn exchange(world: &World, key: &str) -> Answer {
    world.anonymous(Method::POST, TOKEN).json(&json!({"api_key": key})).send().await
}

async fn token(world: &World, key: &str) -> String {
    let answer = exchange(world, key).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["token"].as_str().unwrap().to_owned()
}

async fn whoami(world: &World, token: &str) -> Answer {
    world.ask_as(token, Method::GET, "/v1/auth/whoami").send().await
}

async fn revoke(world: &World, body: Value) -> Answer {
    admin(world, Method::POST, REVOCATIONS, Some(body)).await
}

#[tokio::test]
async fn a_key_is_shown_once_exchanged_for_a_token_and_its_use_is_seen() {
    let world = World::new().await;
    let (text, id) = key(&world, "ann").await;
    assert!(text.starts_with("ckk1_") && text.len() == 56, "{text}");
    let answer = exchange(&world, &text).await.json();
    assert_eq!(answer["token_type"], "Bearer");
    let me = whoami(&world, answer["token"].as_str().unwrap()).await.json();
    assert_eq!((&me["subject"], &me["api_key"], &me["expires_at"]), (&json!("ann"), &json!(id), &answer["expires_at"]));
    assert_eq!(me["grants"], json!([{"role": "operator", "environments": "prod"}]));
    let listed = admin(&world, Method::GET, KEYS, None).await;
    assert!(!listed.text().contains(&text[14..]), "the secret is not kept");
    let listed = &listed.json()["items"][0];
    assert_eq!((&listed["prefix"], &listed["created_by"]), (&json!(text[..13]), &json!("root")));
    assert!(listed["last_used_at"].is_string() && listed["revoked_at"].is_null(), "{listed}");
    let audit = world.audit().await;
    let made = audit.iter().find(|entry| entry.action == "api-key.create").unwrap();
    assert!(made.detail.contains("for ann with operator:prod"), "{}", made.detail);
    let used = audit.last().unwrap();
    assert_eq!((used.action.as_str(), used.actor.as_str(), &used.object), ("token.exchange", "ann", &id));
    assert_eq!(used.detail, format!("token {}", me["token_id"].as_str().unwrap()));
}

#[tokio::test]
async fn a_token_lives_as_long_as_asked_and_never_longer_than_allowed() {
    let world = World::new().await;
    let (text, _) = key(&world, "ann").await;
    let ask = |body: Value| world.anonymous(Method::POST, TOKEN).json(&body).send();
    let lives = async |body| {
        let answer = ask(body).await.json();
        let expires_at: cratekube_common::domain::time::Timestamp =
            answer["expires_at"].as_str().unwrap().parse().unwrap();
        expires_at.since(world.house.now()).as_secs()
    };
    assert_eq!(lives(json!({"api_key": text})).await, 300);
    assert_eq!(lives(json!({"api_key": text, "lifetime": "90s"})).await, 90);
    for (body, pointers) in [
        (json!({"api_key": text, "lifetime": "301s"}), vec!["/lifetime"]),
        (json!({"api_key": text, "lifetime": "0s"}), vec!["/lifetime"]),
        (json!({"api_key": text, "lifetime": 60}), vec!["/lifetime"]),
        (json!({"lifetime": "60s"}), vec!["/api_key"]),
        (json!({"api_key": 1, "subject": "root"}), vec!["/api_key", "/subject"]),
        (json!([]), vec![""]),
    ] {
        let answer = ask(body.clone()).await;
        assert_eq!(
            (answer.problem().as_str(), answer.pointers()),
            ("validation", pointers.iter().map(|p| (*p).to_owned()).collect()),
            "{body}"
        );
    }
    let large = "x".repeat(5_000);
    assert_eq!(ask(json!({"api_key": large})).await.problem(), "body-too-large");
}

#[tokio::test]
async fn hostile_row_25_every_bad_key_gets_the_same_answer_and_its_own_reason_in_the_audit() {
    let world = World::new().await;
    let (revoked, id) = key(&world, "ann").await;
    let (good, _) = key(&world, "ann").await;
    admin(&world, Method::DELETE, &format!("{KEYS}/{id}"), None).await;
    let wrong = format!("{}{}", &good[..13], "a".repeat(43));
    let unknown = format!("ckk1_{}", "0".repeat(51));
    let (mut answers, mut reasons) = (BTreeSet::new(), BTreeSet::new());
    let mut attempt = async |text: &str| {
        let ask = world.anonymous(Method::POST, TOKEN).header("x-request-id", "same");
        let answer = ask.json(&json!({"api_key": text})).send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNAUTHORIZED, "invalid-api-key"));
        answers.insert(answer.text());
        let noted = world.audit().await.pop().unwrap();
        assert_eq!(noted.actor, "anonymous");
        assert!(!format!("{noted:?}").contains(&text[13.min(text.len())..]) || text.is_empty(), "{noted:?}");
        reasons.insert(noted.detail);
        world.house.clock.advance(Duration::from_secs(1));
    };
    for text in ["nonsense-that-is-no-key", &revoked, &wrong, &unknown] {
        attempt(text).await;
    }
    world.house.clock.advance(Duration::from_secs(90 * 86_400));
    attempt(&good).await;
    assert_eq!((answers.len(), reasons.len()), (1, 5), "{answers:?} {reasons:?}");
}

/// A request that comes from an address.
async fn attempt_from(world: &World, address: &str, forwarded_for: &str) -> Answer {
    let peer = Peer {
        address: format!("{address}:4711").parse().unwrap(),
        certificates: Arc::new([]),
        retire: tokio_util::sync::CancellationToken::new(),
    };
    let router = world.router.clone().layer(axum::Extension(peer));
    let request = Request::post(TOKEN).header("content-type", "application/json");
    let request = request.header("x-forwarded-for", forwarded_for);
    let body = json!({"api_key": "guess"}).to_string();
    Answer::of(router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()).await
}

#[tokio::test]
async fn hostile_row_25_guessing_is_slowed_down_by_address_and_for_all() {
    let world = World::new().await;
    for _ in 0..10 {
        assert_eq!(attempt_from(&world, "192.0.2.7", "198.51.100.1").await.problem(), "invalid-api-key");
    }
    let slowed = attempt_from(&world, "192.0.2.7", "198.51.100.2").await;
    assert_eq!((slowed.status, slowed.problem().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too-many-attempts"));
    assert_eq!(slowed.header("retry-after"), "1", "and a header from a stranger changes nothing");
    world.house.clock.advance(Duration::from_secs(1));
    assert_eq!(attempt_from(&world, "192.0.2.7", "").await.status, StatusCode::UNAUTHORIZED);
    for n in 0..20 {
        let behind_proxy = attempt_from(&world, "10.0.0.1", &format!("203.0.113.9, 198.51.100.{n}")).await;
        assert_eq!(behind_proxy.status, StatusCode::UNAUTHORIZED, "who comes through a trusted proxy is told apart");
    }
    assert_eq!(world.audit().await.last().unwrap().origin, "198.51.100.1", "the last that was recorded in this second");
    let mut statuses = BTreeSet::new();
    for n in 0..100 {
        statuses.insert(attempt_from(&world, &format!("198.18.0.{n}"), "").await.status.as_u16());
    }
    assert_eq!(statuses, [401, 429].into(), "all together are slowed down too");
    let recorded = world.audit().await.len();
    assert!(recorded <= 12, "{recorded} entries for a hundred refusals in two seconds");
}

#[tokio::test]
async fn hostile_row_18_an_api_key_is_accepted_nowhere_but_where_it_is_exchanged() {
    let world = World::new().await;
    let (text, _) = key(&world, "ann").await;
    let answer = world.ask_as(&text, Method::GET, "/v1/environments").send().await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNAUTHORIZED, "unauthorized"));
    let noted = world.audit().await.pop().unwrap();
    assert!(noted.detail.contains("an API key was sent as a token"), "{}", noted.detail);
    assert!(!format!("{noted:?}").contains(&text[13..]));
}

#[tokio::test]
async fn hostile_row_19_20_tokens_of_other_issuers_audiences_and_lifetimes_look_alike_from_outside() {
    let world = World::new().await;
    let forge = |issuer, audience, lifetime_s| {
        let (clock, keys) = (world.house.clock.clone(), [world.key.clone()]);
        let forger = Tokens::new(&keys, issuer, audience, Duration::from_secs(lifetime_s), clock);
        forger.issue("ann", &[], Duration::from_secs(lifetime_s), "1").unwrap()
    };
    let expired = forge("cratekube", "cratekube-rest", 60);
    world.house.clock.advance(Duration::from_secs(66));
    let forged = [
        expired,
        forge("cratekube-b", "cratekube-rest", 60),
        forge("cratekube", "cratekube-agents", 60),
        forge("cratekube", "cratekube-rest", 301),
    ];
    let (mut answers, mut reasons) = (BTreeSet::new(), BTreeSet::new());
    for token in &forged {
        let ask = world.ask_as(token, Method::GET, "/v1/environments").header("x-request-id", "same");
        answers.insert(ask.send().await.text());
        reasons.insert(world.audit().await.pop().unwrap().detail);
        world.house.clock.advance(Duration::from_secs(1));
    }
    assert_eq!((answers.len(), reasons.len()), (1, 4), "{reasons:?}");
}

#[tokio::test]
async fn hostile_row_24_a_revocation_ends_what_it_names_at_the_next_request() {
    let world = World::new().await;
    let (anns, anns_id) = key(&world, "ann").await;
    let (bobs, _) = key(&world, "bob").await;
    let (one, two, bob) = (token(&world, &anns).await, token(&world, &anns).await, token(&world, &bobs).await);
    let ok = async |token: &str| whoami(&world, token).await.status == StatusCode::OK;
    assert!(ok(&one).await && ok(&two).await && ok(&bob).await);
    let jti = whoami(&world, &one).await.json()["token_id"].as_str().unwrap().to_owned();
    let made = revoke(&world, json!({"kind": "token", "value": jti, "reason": "pasted into a chat"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    assert!(!ok(&one).await && ok(&two).await);
    let noted = world.audit().await.into_iter().rfind(|entry| entry.action == "token.revoke").unwrap();
    assert_eq!((noted.object, noted.detail.as_str()), (format!("token {jti}"), "pasted into a chat"));
    assert_eq!(admin(&world, Method::DELETE, &format!("{KEYS}/{anns_id}"), None).await.status, StatusCode::NO_CONTENT);
    assert!(!ok(&two).await && ok(&bob).await, "tokens end with the key they were made from");
    assert_eq!(admin(&world, Method::DELETE, &format!("{KEYS}/{anns_id}"), None).await.problem(), "not-found");
    revoke(&world, json!({"kind": "subject", "value": "bob", "reason": "left"})).await;
    assert!(!ok(&bob).await);
    assert_eq!(exchange(&world, &bobs).await.problem(), "invalid-api-key", "a subject's keys end too");
    world.house.clock.advance(Duration::from_millis(10));
    let (again, _) = key(&world, "bob").await;
    let again = token(&world, &again).await;
    assert!(ok(&again).await, "bob may come back, in the same second");
    world.house.clock.advance(Duration::from_secs(2));
    revoke(&world, json!({"kind": "before", "reason": "a laptop was stolen"})).await;
    assert!(!ok(&again).await);
    let listed = admin(&world, Method::GET, REVOCATIONS, None).await.json();
    let kinds: Vec<_> = listed["items"].as_array().unwrap().iter().map(|r| r["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["before", "subject", "api-key", "token"]);
}

#[tokio::test]
async fn hostile_row_24_revocations_are_known_after_a_restart_and_to_others() {
    let world = World::new().await;
    let mine = world.token_of("ann", Role::Viewer, "*");
    revoke(&world, json!({"kind": "subject", "value": "ann", "reason": "left"})).await;
    let keys = [world.key.clone()];
    let lifetime = Duration::from_secs(300);
    let other = Tokens::new(&keys, "cratekube", "cratekube-rest", lifetime, world.house.clock.clone());
    let other = Arc::new(other);
    assert!(other.verify(&mine).is_ok(), "it has not looked yet");
    let refresh = Refresh::new(world.house.store.clone(), other.clone(), world.house.clock.clone());
    assert_eq!(refresh.look().await.unwrap(), 1);
    assert!(other.verify(&mine).is_err());
    assert_eq!(refresh.look().await.unwrap(), 0, "what was seen is not read again");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_24_open_streams_and_waits_are_cut_when_their_token_is_revoked() {
    let world = World::new().await;
    let id = world.create("web").await;
    let mine = world.token_of("ann", Role::Operator, "prod");
    let follow = world.ask_as(&mine, Method::GET, &format!("/v1/operations/{id}/output?follow=true")).send();
    let wait = world.ask_as(&mine, Method::GET, &format!("/v1/operations/{id}?wait=60s")).send();
    let began = tokio::time::Instant::now();
    let cut = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        revoke(&world, json!({"kind": "subject", "value": "ann", "reason": "left"})).await
    };
    let (follow, wait, _) = tokio::join!(follow, wait, cut);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert!(
        follow.text().contains("event: closing\ndata: {\"reason\":\"the token was revoked\"}"),
        "{}",
        follow.text()
    );
    assert_eq!((wait.status, wait.problem().as_str()), (StatusCode::UNAUTHORIZED, "unauthorized"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.watch.watched(), 0, "no watch is left behind");
}

#[tokio::test]
async fn logging_out_ends_ones_own_token_and_no_other() {
    let world = World::new().await;
    let (text, _) = key(&world, "ann").await;
    let (one, two) = (token(&world, &text).await, token(&world, &text).await);
    let out = world.ask_as(&one, Method::POST, "/v1/auth/logout").send().await;
    assert_eq!((out.status, out.text().as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(whoami(&world, &one).await.problem(), "unauthorized");
    assert_eq!(whoami(&world, &two).await.status, StatusCode::OK);
    let noted = world.audit().await.into_iter().rfind(|entry| entry.action == "token.logout").unwrap();
    assert_eq!(noted.actor, "ann");
}

#[tokio::test]
async fn keys_and_revocations_that_are_none_are_refused_with_all_their_mistakes() {
    let world = World::new().await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = wanted_key("ann");
        change(&mut body);
        body
    };
    let grant = json!({"role": "viewer", "environments": "*"});
    for (body, pointers) in [
        (json!({}), vec!["/name", "/subject", "/grants"]),
        (with(&|b| b["grants"] = json!([])), vec!["/grants"]),
        (with(&|b| b["grants"] = json!(vec![grant.clone(); 33])), vec!["/grants"]),
        (with(&|b| b["grants"][0]["role"] = json!("root")), vec!["/grants/0/role"]),
        (
            with(&|b| b["grants"][0] = json!({"environments": "a*b", "x": 1})),
            vec!["/grants/0/role", "/grants/0/environments", "/grants/0/x"],
        ),
        (with(&|b| b["subject"] = json!("anonymous")), vec!["/subject"]),
        (with(&|b| (b["name"], b["subject"]) = (json!(" "), json!("a\u{1b}"))), vec!["/name", "/subject"]),
        (with(&|b| b["lifetime"] = json!("366d")), vec!["/lifetime"]),
        (with(&|b| b["lifetime"] = json!("0s")), vec!["/lifetime"]),
        (with(&|b| b["expires_at"] = json!("never")), vec!["/expires_at"]),
    ] {
        let answer = admin(&world, Method::POST, KEYS, Some(body.clone())).await;
        assert_eq!(
            (answer.problem().as_str(), answer.pointers()),
            ("validation", pointers.iter().map(|p| (*p).to_owned()).collect()),
            "{body}"
        );
    }
    for (body, pointers) in [
        (json!({}), vec!["/kind", "/reason"]),
        (json!({"kind": "token", "reason": "x"}), vec!["/value"]),
        (json!({"kind": "subject", "value": "ann"}), vec!["/reason"]),
        (json!({"kind": "everyone", "value": "ann", "reason": "x"}), vec!["/kind"]),
        (json!({"kind": "api-key", "value": "1", "reason": "x"}), vec!["/kind"]),
        (json!({"kind": "before", "value": "2099-01-01T00:00:00Z", "reason": "x"}), vec!["/value"]),
        (json!({"kind": "before", "value": "yesterday", "reason": "x", "y": 1}), vec!["/value", "/y"]),
    ] {
        let answer = revoke(&world, body.clone()).await;
        assert_eq!(
            (answer.problem().as_str(), answer.pointers()),
            ("validation", pointers.iter().map(|p| (*p).to_owned()).collect()),
            "{body}"
        );
    }
    let nothing = admin(&world, Method::GET, REVOCATIONS, None).await.json();
    assert!(nothing["items"].as_array().unwrap().is_empty());
    assert_eq!(admin(&world, Method::DELETE, &format!("{KEYS}/nope"), None).await.problem(), "not-found");
}

#[tokio::test]
async fn keys_and_revocations_are_listed_in_pages() {
    let world = World::new().await;
    for subject in ["ann", "bob", "cid"] {
        key(&world, subject).await;
        revoke(&world, json!({"kind": "token", "value": subject, "reason": "x"})).await;
    }
    for (path, field) in [(KEYS, "subject"), (REVOCATIONS, "value")] {
        let first = admin(&world, Method::GET, &format!("{path}?limit=2"), None).await.json();
        let next = format!("{path}?limit=2&cursor={}", first["next"].as_str().unwrap());
        let second = admin(&world, Method::GET, &next, None).await.json();
        let seen =
            [&first["items"][0], &first["items"][1], &second["items"][0]].map(|item| item[field].as_str().unwrap());
        assert_eq!((seen, second.get("next")), (["cid", "bob", "ann"], None));
        let other = if path == KEYS { REVOCATIONS } else { KEYS };
        let moved = format!("{other}?cursor={}", first["next"].as_str().unwrap());
        assert_eq!(admin(&world, Method::GET, &moved, None).await.problem(), "invalid-cursor");
    }
}

#[tokio::test]
async fn hostile_row_27_nothing_but_a_bearer_header_lets_anyone_in_and_no_origin_is_welcome() {
    let world = World::new().await;
    let good = world.token(Role::Admin, "*");
    for (name, value) in [
        ("cookie", format!("token={good}; Authorization=Bearer {good}")),
        ("x-authorization", format!("Bearer {good}")),
    ] {
        let ask = world.anonymous(Method::GET, "/v1/environments").header(name, &value);
        assert_eq!(ask.header("origin", "https://evil.example").send().await.problem(), "unauthorized", "{name}");
    }
    for parameter in ["token", "access_token", "authorization"] {
        let path = format!("/v1/environments?{parameter}={good}");
        assert_eq!(world.anonymous(Method::GET, &path).send().await.problem(), "unauthorized");
    }
    let preflight = world.anonymous(Method::OPTIONS, "/v1/environments").header("origin", "https://evil.example");
    let preflight = preflight.header("access-control-request-method", "GET").send().await;
    let ours = world.ask_as(&good, Method::GET, "/v1/environments").header("origin", "https://evil.example");
    let ours = ours.send().await;
    assert_eq!(ours.status, StatusCode::OK);
    for answer in [preflight, ours] {
        let allows = answer.headers.keys().find(|name| name.as_str().starts_with("access-control"));
        assert_eq!(allows, None);
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_taken_for_a_bad_key() {
    let world = World::broken(Broken::Unavailable).await;
    let answer = exchange(&world, &format!("ckk1_{}", "0".repeat(51))).await;
    assert_eq!(answer.problem(), "store-unavailable");
}

#[tokio::test]
async fn the_largest_key_makes_a_token_that_is_accepted() {
    let world = World::new().await;
    let long = format!("{}*", "e".repeat(62));
    let grants = vec![Grant { role: Role::Operator, environments: long.parse().unwrap() }; 32];
    let body = json!({"name": "n".repeat(100), "subject": "s".repeat(255), "grants": grants});
    let made = admin(&world, Method::POST, KEYS, Some(body)).await;
    let text = made.json()["api_key"].as_str().unwrap().to_owned();
    assert_eq!(whoami(&world, &token(&world, &text).await).await.status, StatusCode::OK);
}
