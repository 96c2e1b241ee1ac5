//! What controller and agent show to Prometheus: it agrees with what happened, keeps to the conventions,
//! and names nobody.

use cratekube_tests::house::scrape::{get, metrics, place, raw};
use cratekube_tests::house::{Setup, World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fleet::HostFault;

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const ON: &str = "[metrics]\nlisten = \"127.0.0.1:0\"";

async fn world() -> anyhow::Result<World> {
    World::with(programs!(), Setup { controller: ON, agent: ON, ..Setup::default() }).await
}

fn is(value: f64, expected: u32) -> bool {
    (value - f64::from(expected)).abs() < f64::EPSILON
}

#[tokio::test]
async fn counters_agree_with_what_happened() -> anyhow::Result<()> {
    let world = world().await?;
    let address = place(&world.controller.process, "controller ready").await?;
    let client = &world.client;
    let before = metrics(address).await?;
    assert!(is(before.sum("cratekube_controller_agents_online", &[]), 1));
    assert!(is(before.sum("cratekube_controller_clusters", &[]), 0), "every phase is there, with nothing in it");

    let accepted = client.post(CLUSTERS, &specs::single("canary-web", "192.0.2.11")).await?.expect(202)?;
    assert_eq!(client.ended(accepted.header("location")).await?["state"], "succeeded");
    world.rke.host("192.0.2.12").unreachable(HostFault::WrongKey)?;
    let accepted = client.post(CLUSTERS, &specs::single("canary-db", "192.0.2.12")).await?.expect(202)?;
    assert_eq!(client.ended(accepted.header("location")).await?["state"], "failed");
    let output = client.get(&format!("{}/output", accepted.header("location"))).await?.text().len();
    let removed = client.delete(&format!("{CLUSTERS}/canary-web?reason=x")).await?.expect(202)?;
    assert_eq!(client.ended(removed.header("location")).await?["state"], "succeeded");
    client.with_token(None).get(CLUSTERS).await?.expect(401)?;
    client.get("/v1/no-such-route/%22%7D%0Aevil_total%209").await?.expect(404)?;

    let now = metrics(address).await?;
    let ended = |labels: &[(&str, &str)]| now.sum("cratekube_controller_operations_ended_total", labels);
    assert!(is(ended(&[("kind", "provision"), ("outcome", "succeeded"), ("class", "none")]), 1));
    assert!(is(ended(&[("kind", "provision"), ("outcome", "failed"), ("class", "auth")]), 1));
    assert!(is(ended(&[("kind", "remove"), ("outcome", "succeeded")]), 1));
    assert!(is(ended(&[]), 3));
    assert!(is(now.sum("cratekube_controller_operation_duration_seconds_count", &[]), 3));
    assert!(is(now.sum("cratekube_controller_operation_wait_seconds_count", &[]), 3));
    assert!(now.sum("cratekube_controller_attempts_ended_total", &[("end", "exited")]) >= 3.0);
    assert!(is(now.sum("cratekube_controller_clusters", &[("phase", "failed")]), 1));
    assert!(is(now.sum("cratekube_controller_clusters", &[]), 1));
    assert!(is(now.sum("cratekube_controller_operations", &[]), 0));
    assert!(is(now.sum("cratekube_controller_http_problems_total", &[("type", "unauthorized")]), 1));
    assert!(is(now.sum("cratekube_controller_auth_refusals_total", &[("caller", "anonymous")]), 1));
    let route = [("route", "/v1/environments/{env}/clusters"), ("method", "POST"), ("code", "202")];
    assert!(is(now.sum("cratekube_controller_http_requests_total", &route), 2));
    assert!(is(now.sum("cratekube_controller_http_requests_total", &[("route", "(none)"), ("code", "404")]), 1));
    assert!(now.sum("cratekube_controller_output_sent_bytes_total", &[]) >= f64::from(u32::try_from(output)?));
    assert!(now.sum("cratekube_controller_output_received_bytes_total", &[]) > 0.0);
    assert!(now.sum("cratekube_controller_store_commit_duration_seconds_count", &[]) > 5.0);
    assert!(now.sum("cratekube_controller_generation_oldest_timestamp_seconds", &[]) > 1.7e9);
    for certificate in ["ca", "rest", "agents"] {
        let ends =
            now.sum("cratekube_controller_certificate_expiry_timestamp_seconds", &[("certificate", certificate)]);
        assert!(ends > 1.7e9, "{certificate}");
    }
    for value in now.label_values() {
        assert!(!value.contains("canary") && !value.contains("prod") && !value.contains("evil"), "{value} is a label");
        assert!(!value.contains("192.0.2") && value != "tester", "{value} is a label");
    }
    world.finish().await
}

#[tokio::test]
async fn an_agent_shows_its_runs_its_volumes_and_its_session() -> anyhow::Result<()> {
    let mut world = world().await?;
    let address = place(&world.agent.process, "the agent runs").await?;
    let client = &world.client;
    let before = metrics(address).await?;
    assert!(
        is(before.sum("cratekube_agent_connected", &[]), 1) && is(before.sum("cratekube_agent_sessions_total", &[]), 1)
    );
    assert!(is(before.sum("cratekube_agent_slots", &[]), 4) && is(before.sum("cratekube_agent_slots_free", &[]), 4));
    assert!(is(before.sum("cratekube_agent_volume_served", &[]), 1));
    assert!(before.sum("cratekube_agent_volume_free_bytes", &[]) > 0.0);
    assert!(before.sum("cratekube_agent_certificate_expiry_timestamp_seconds", &[]) > 1.7e9);
    assert!(before.sum("process_resident_memory_bytes", &[]) > 1e6);

    world.rke.host("192.0.2.12").unreachable(HostFault::WrongKey)?;
    for (name, host) in [("canary-web", "192.0.2.11"), ("canary-db", "192.0.2.12")] {
        let accepted = client.post(CLUSTERS, &specs::single(name, host)).await?.expect(202)?;
        client.ended(accepted.header("location")).await?;
    }
    let now = metrics(address).await?;
    assert!(is(now.sum("cratekube_agent_runs_ended_total", &[("outcome", "succeeded"), ("class", "none")]), 1));
    assert!(is(now.sum("cratekube_agent_runs_ended_total", &[("outcome", "failed"), ("class", "auth")]), 1));
    assert!(now.sum("cratekube_agent_run_duration_seconds_count", &[]) >= 2.0);
    assert!(now.sum("cratekube_agent_output_sent_bytes_total", &[]) > 0.0);
    assert!(now.label_values().iter().all(|value| !value.contains("canary") && !value.contains("192.0.2")));

    assert_eq!(get(address, "/").await?.0, 404);
    let posted = raw(address, b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.await?.starts_with("HTTP/1.1 405 "));

    world.controller.process.stop().await?;
    world.agent.process.line("not connected with the controller").await?;
    let alone = metrics(address).await?;
    assert!(is(alone.sum("cratekube_agent_connected", &[]), 0), "it tells of itself also when nobody is there");
    assert!(alone.sum("cratekube_agent_connections_failed_total", &[]) >= 1.0);
    world.controller.restart().await?;
    world.finish().await
}

#[tokio::test]
async fn hostile_row_78_metrics_are_on_their_own_listener_and_nowhere_else() -> anyhow::Result<()> {
    let world = world().await?;
    let address = place(&world.controller.process, "controller ready").await?;
    world.client.get("/metrics").await?.expect(404)?;
    world.client.with_token(None).get("/metrics").await?.expect(404)?;
    for path in ["/", "/v1/environments", "/healthz", "/metrics/", "/metrics/../v1/events"] {
        assert_eq!(get(address, path).await?.0, 404, "{path}");
    }
    let posted = raw(address, b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.await?.starts_with("HTTP/1.1 405 "));
    // What is not HTTP/1 gets no further, and harms nobody.
    for odd in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0\n\n"] {
        let answer = raw(address, odd).await;
        assert!(answer.as_ref().map_or(true, |text| !text.contains("200 OK")), "{answer:?}");
    }
    metrics(address).await?;
    let without = World::start(programs!()).await?;
    let line = without.controller.process.line("controller ready").await?;
    assert!(!line.contains("metrics="), "nothing is open that was not asked for: {line}");
    without.finish().await?;
    world.finish().await
}
