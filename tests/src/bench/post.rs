//! `POST` of a cluster until the durable `202`.

use std::fs::File;
use std::io::Write;

use tokio::time::Instant;

use super::Samples;
use crate::house::rest::Ask;
use crate::house::{Programs, World, specs};

const REQUESTS: usize = 1_000;
const CLUSTERS: &str = "/v1/environments/bench/clusters";

pub(super) async fn run(programs: &Programs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut world = World::quiet(programs.clone()).await?;
    // Nobody takes the work: what is measured is acceptance.
    world.agent.process.stop().await?;
    let mut connection = world.client.connect().await?;
    let (mut posts, mut gets, mut syncs) = (Samples::default(), Samples::default(), Samples::default());
    let mut file = File::create(world.path().join("sync"))?;
    for i in 0..REQUESTS {
        let body = specs::single(&format!("c{i}"), "192.0.2.11");
        let begun = Instant::now();
        connection.send(Ask::new(http::Method::POST, CLUSTERS).json(&body)).await?.expect(202)?;
        posts.add(begun.elapsed());
        let begun = Instant::now();
        connection.send(Ask::new(http::Method::GET, "/healthz")).await?.expect(200)?;
        gets.add(begun.elapsed());
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        syncs.add(begun.elapsed());
    }
    writeln!(out, "POST answered 202 (durable)            {posts}   target p50 1.5, p99 8")?;
    writeln!(out, "  beside: GET /healthz                 {gets}")?;
    writeln!(out, "  beside: write 4 KiB and fdatasync    {syncs}")?;
    world.controller.process.stop().await
}
