//! More than one controller on one data directory, and a controller that stands still.

use cratekube_tests::house::aftermath::{CLUSTERS, End};
use cratekube_tests::house::rest::Ask;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use http::Method;
use rustix::process::Signal;
use serde_json::json;

#[tokio::test]
async fn hostile_row_46_of_two_controllers_that_start_at_once_one_serves_and_the_other_says_why() -> anyhow::Result<()>
{
    let mut world = World::start(programs!()).await?;
    world.controller.process.kill().await?;
    let mut both = [world.controller.launch()?, world.controller.launch()?];
    // Whichever comes second ends by itself; the other gets ready.
    let (first, second) = both.split_at_mut(1);
    let (loser, winner) = tokio::select! {
        ended = first[0].ended() => (ended?, &second[0]),
        ended = second[0].ended() => (ended?, &first[0]),
    };
    assert!(!loser.success());
    winner.line("controller ready").await?;
    let [a, b] = both;
    let (said, winner) = if a.pid().is_none() { (a.printed(), b) } else { (b.printed(), a) };
    assert!(said.iter().any(|line| line.contains("in use by another controller")), "{said:?}");
    world.controller.process = winner;

    // Ten times the same request is one task, and one run.
    let ask = || Ask::new(Method::POST, CLUSTERS).json(&specs::nth("web", 1)).header("idempotency-key", "once");
    let mut locations = Vec::new();
    for _ in 0..10 {
        locations.push(world.client.send(ask()).await?.expect(202)?.header("location").to_owned());
    }
    assert!(locations.iter().all(|location| *location == locations[0]), "{locations:?}");
    let operation = world.client.ended(&locations[0]).await?;
    assert_eq!((world.aftermath("web", &operation).await?, world.ups("web")?), (End::Succeeded, 1));
    world.finish().await
}

#[tokio::test]
async fn hostile_row_47_a_controller_that_stands_still_longer_than_its_leases_judges_nobody_and_applies_each_report_once()
-> anyhow::Result<()> {
    let mut world = World::start(programs!()).await?;
    let (mut locations, mut passages) = (Vec::new(), Vec::new());
    for (n, name) in ["ends", "goes-on"].into_iter().enumerate() {
        world.rke.no_faults()?;
        let gate = world.gate("Building Kubernetes cluster")?;
        let accepted = world.client.post(CLUSTERS, &specs::nth(name, n + 1)).await?.expect(202)?;
        passages.push(gate.reached().await?);
        locations.push(accepted.header("location").to_owned());
    }
    world.controller.process.signal(Signal::STOP)?;
    // One run ends while nobody listens.
    drop(passages.remove(0));
    // It holds what it has: nobody takes its place.
    let mut other = world.controller.launch()?;
    other.line("in use by another controller").await?;
    assert!(!other.ended().await?.success());
    // Its agents have given their connections up, which takes them longer than a lease lasts.
    world.agent.process.line("not connected with the controller").await?;
    world.controller.process.signal(Signal::CONT)?;
    world.controller.process.line("this controller stood still").await?;
    drop(passages);
    for (name, location) in ["ends", "goes-on"].into_iter().zip(&locations) {
        let operation = world.client.ended(location).await?;
        assert_eq!(world.aftermath(name, &operation).await?, End::Succeeded);
        assert_eq!(operation["attempts"].as_array().map(Vec::len), Some(1), "{operation:#}");
        let generations = world.client.get(&format!("{CLUSTERS}/{name}/generations")).await?.json();
        assert_eq!(generations["items"].as_array().map(Vec::len), Some(1), "applied once: {generations:#}");
    }
    let events = world.client.get("/v1/events?kind=attempt.unknown").await?.expect(200)?.json();
    assert_eq!(events["items"], json!([]), "nobody was judged");
    let judged = world.controller.process.printed().into_iter().find(|line| line.contains("lease ran out"));
    assert_eq!(judged, None);
    world.finish().await
}
