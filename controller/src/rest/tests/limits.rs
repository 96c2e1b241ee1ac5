//! Input that is too much, too deep, or not what it says.

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Method, StatusCode};

use crate::rest::Limits;
use crate::rest::testing::{Broken, World, wanted};

const CLUSTERS: &str = "/v1/environments/prod/clusters";

#[tokio::test]
async fn hostile_row_01_names_that_are_paths_or_lookalikes_are_refused_in_path_and_body() {
    let world = World::new().await;
    let long = "a".repeat(256);
    for name in ["..%2f..%2fetc", "..%2f", "a%00b", &long, ".%20", "CON", "%D1%80aypal", "-a", "a_b"] {
        let answer = world.get(&format!("{CLUSTERS}/{name}")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, "validation"),
            "{name}"
        );
        assert_eq!(answer.pointers(), ["name"]);
        let answer = world.get(&format!("/v1/environments/{name}/clusters")).await;
        assert_eq!(answer.pointers(), ["env"], "{name}");
    }
    let invalid = world.get(&format!("{CLUSTERS}/%ff%fe")).await;
    assert_eq!((invalid.status, invalid.problem().as_str()), (StatusCode::BAD_REQUEST, "invalid-request"));
    for name in ["../../etc", "a/b", "a\0b", ".", "раypal", ""] {
        let answer = world.ask(Method::POST, CLUSTERS).json(&wanted(name)).send().await;
        assert_eq!(answer.pointers(), ["/name"], "{name:?}");
    }
}

#[tokio::test]
async fn hostile_row_09_bodies_beyond_the_limit_are_refused_declared_or_not() {
    let world = World::new().await;
    let huge = || stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 16_384])));
    let endless = world.ask(Method::POST, CLUSTERS).raw("application/json", Body::from_stream(huge())).send().await;
    let declared = world.ask(Method::POST, CLUSTERS).header("content-length", "1000000000");
    let declared = declared.raw("application/json", Body::from_stream(huge())).send().await;
    let just = " ".repeat(256 * 1024 + 1);
    let just = world.ask(Method::POST, CLUSTERS).raw("application/json", just).send().await;
    for answer in [endless, declared, just] {
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
        assert_eq!(answer.header("connection"), "close");
    }
    let removal = world.ask(Method::DELETE, &format!("{CLUSTERS}/web"));
    let removal = removal.raw("application/json", Body::from_stream(huge())).send().await;
    assert_eq!(removal.problem(), "body-too-large");
    let bomb = world.ask(Method::POST, CLUSTERS).header("content-encoding", "gzip").json(&wanted("web")).send().await;
    assert_eq!((bomb.status, bomb.problem().as_str()), (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type"));
}

#[tokio::test]
async fn hostile_row_10_json_that_is_deep_huge_doubled_or_something_else_is_refused() {
    let world = World::new().await;
    let send =
        |content_type: &'static str, body: String| world.ask(Method::POST, CLUSTERS).raw(content_type, body).send();
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let in_spec = format!("{{\"name\":\"a\",\"spec\":{deep}}}");
    for bad in [
        deep,
        in_spec,
        "{\"a\":1e400}".into(),
        "{\"a\":1,\"a\":2}".into(),
        "{} {}".into(),
        String::new(),
        "{".into(),
        "\u{feff}{}".into(),
        "NaN".into(),
        "{\"spec\":{\"nodes\":[],\"nodes\":[]}}".into(),
    ] {
        let answer = send("application/json", bad.clone()).await;
        let shown: String = bad.chars().take(40).collect();
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::BAD_REQUEST, "invalid-json"), "{shown}");
    }
    assert_eq!(
        send("application/json", "{\"\u{1b}\":1}".into()).await.status.as_u16(),
        400,
        "a raw escape is not JSON"
    );
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "", "application/jsonx"]
    {
        let answer = send(kind, wanted("web").to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (415, "unsupported-media-type"), "{kind}");
    }
    let none = world.ask(Method::POST, CLUSTERS).send().await;
    assert_eq!(none.status.as_u16(), 415, "no body, no type");
    assert_eq!(send("Application/JSON; charset=UTF-8", wanted("web").to_string()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn hostile_row_75_a_body_that_never_ends_meets_the_deadline_and_others_are_not_kept_out() {
    let world = World::with(Limits { concurrent_requests: 2, ..Limits::default() }).await;
    let slow = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let first = world.ask(Method::POST, CLUSTERS).raw("application/json", slow()).send();
    let second = world.ask(Method::POST, CLUSTERS).raw("application/json", slow()).send();
    let third = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        (world.get(CLUSTERS).await, world.anonymous(Method::GET, "/healthz").send().await)
    };
    let began = tokio::time::Instant::now();
    let (first, second, (third, health)) = tokio::join!(first, second, third);
    assert_eq!((first.problem().as_str(), second.problem().as_str()), ("timeout", "timeout"));
    assert_eq!(began.elapsed(), std::time::Duration::from_secs(30));
    assert_eq!((third.problem().as_str(), third.header("retry-after")), ("overloaded", "2"));
    assert_eq!(health.text(), "ok");
    assert_eq!(world.get(CLUSTERS).await.status, StatusCode::OK, "places come back");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_does_not_hold_an_answer_longer_than_the_deadline_and_the_audit_of_it() {
    let world = World::broken(Broken::Hanging).await;
    let began = tokio::time::Instant::now();
    let refused = world.anonymous(Method::GET, CLUSTERS).send().await;
    assert_eq!(refused.problem(), "unauthorized");
    assert_eq!(began.elapsed(), std::time::Duration::from_secs(5), "the audit is given up");
}
