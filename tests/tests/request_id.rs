//! One id goes with a request all the way: answer, operation, audit, both logs, and the run's own file.

use cratekube_tests::house::rest::Ask;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use http::Method;
use serde_json::Value;

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const ID: &str = "canary-request-4711";

#[tokio::test]
async fn a_request_is_found_by_its_id_from_the_api_to_the_run() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let body = specs::single("web", "192.0.2.11");
    let ask = Ask::new(Method::POST, CLUSTERS).json(&body).header("x-request-id", ID);
    let accepted = world.client.send(ask).await?.expect(202)?;
    assert_eq!(accepted.header("x-request-id"), ID);
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!((&operation["state"], &operation["request_id"]), (&"succeeded".into(), &ID.into()), "{operation:#}");
    let audit = world.client.get("/v1/admin/audit?action=cluster.provision").await?.expect(200)?.json();
    let entries = audit["items"].as_array().cloned().unwrap_or_default();
    assert!(entries.iter().any(|entry| entry["request_id"] == ID), "{audit:#}");
    let told = |lines: Vec<String>, what: &str| lines.iter().any(|line| line.contains(ID) && line.contains(what));
    assert!(told(world.controller.process.printed(), "request answered"));
    assert!(told(world.controller.process.printed(), "task assigned"));
    assert!(told(world.agent.process.printed(), "took an assignment"));
    assert!(told(world.agent.process.printed(), "a run is over"));
    let runs = world.agent.runs("prod", "web")?;
    assert!(!runs.is_empty());
    for run in runs {
        let record: Value = serde_json::from_slice(&std::fs::read(run.join("run.json"))?)?;
        assert_eq!(record["request_id"], ID, "{record:#}");
    }
    world.finish().await
}

#[tokio::test]
async fn an_id_that_is_not_as_ids_are_is_replaced_and_a_trace_is_taken() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    for (header, value, expected) in [
        ("x-request-id", "a b", None),
        ("x-request-id", "../../etc/passwd", None),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        ),
        ("traceparent", "00-zz", None),
    ] {
        let answer = world.client.send(Ask::new(Method::GET, CLUSTERS).header(header, value)).await?.expect(200)?;
        let given = answer.header("x-request-id").to_owned();
        match expected {
            Some(id) => assert_eq!(given, id),
            None => assert!(given != value && given.parse::<uuid::Uuid>().is_ok(), "{header}: {value} became {given}"),
        }
    }
    world.finish().await
}
