//! The quickstart: controller and agent on loopback, enrolled, with a first cluster, in one command.
//!
//! It uses the product's own programs and REST API, as a user would. Where there is no real `rke` (or
//! no host for it was named) the rehearsal stands in, and that is said loudly.

mod place;
mod show;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::house::process::output;
use crate::house::specs;
use crate::house::{Client, rest::Ask};
use place::Place;

const USAGE: &str = "\
Usage: deploy/quickstart [stop] [--once] [--dir DIR] [--node ADDRESS … --ssh-key FILE [--user NAME] [--kubernetes VERSION]]

  (nothing)      start controller and agent on loopback, provision a cluster, leave it running
  stop           stop what a quickstart left running
  --once         provision, show, remove, stop: for CI
  --dir DIR      where to keep everything (default: quickstart.run, beside the programs)
  --node ADDRESS a real host for the real `rke` on the PATH; the first becomes the control plane
  --ssh-key FILE the key for these hosts
";
/// Environment and cluster that the quickstart makes.
const CLUSTERS: &str = "/v1/environments/demo/clusters";
const NAME: &str = "first";

/// What was asked for on the command line.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    stop: bool,
    once: bool,
    dir: Option<PathBuf>,
    nodes: Vec<String>,
    ssh_key: Option<PathBuf>,
    user: Option<String>,
    kubernetes: Option<String>,
}

/// Runs the quickstart.
#[must_use]
pub fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let wish = match Wish::read(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(fault) => {
            let _nobody_reads = writeln!(std::io::stderr(), "quickstart: {fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(wish, &mut out)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = writeln!(std::io::stderr(), "quickstart: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Wish {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wish = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "stop" => wish.stop = true,
                "--once" => wish.once = true,
                "--dir" => wish.dir = Some(value()?.into()),
                "--node" => wish.nodes.push(value()?),
                "--ssh-key" => wish.ssh_key = Some(value()?.into()),
                "--user" => wish.user = Some(value()?),
                "--kubernetes" => wish.kubernetes = Some(value()?),
                _ => return Err(format!("{arg:?} is not known")),
            }
        }
        if !wish.nodes.is_empty() && wish.ssh_key.is_none() {
            return Err("--node needs --ssh-key".into());
        }
        Ok(wish)
    }
}

async fn run(wish: Wish, out: &mut impl Write) -> anyhow::Result<()> {
    let place = Place::at(wish.dir.clone())?;
    if wish.stop {
        return place.stop(out);
    }
    place.prepare()?;
    let done = perform(&wish, &place, out).await;
    if wish.once || done.is_err() {
        place.stop(out)?;
    }
    done
}

async fn perform(wish: &Wish, place: &Place, out: &mut impl Write) -> anyhow::Result<()> {
    let rke = place.choose_rke(wish, out)?;
    writeln!(out, "1. starting the controller …")?;
    place.start_controller().await?;
    writeln!(out, "2. enrolling and starting an agent …")?;
    place.start_agent(&rke, wish.ssh_key.as_deref()).await?;
    let grants = ["token", "issue", "--subject", "quickstart", "--grant", "operator:*", "--grant", "admin:*"];
    let token = output(place.controller(&grants)).await?;
    let client = Client::new(place.rest()?, &place.ca()?, Some(token.clone()))?;
    demonstrate(wish, place, &client, &token, out).await
}

async fn demonstrate(
    wish: &Wish,
    place: &Place,
    client: &Client,
    token: &str,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    writeln!(out, "3. asking for a cluster: POST {CLUSTERS}")?;
    let accepted = client.post(CLUSTERS, &description(wish)).await?.expect(202)?;
    let operation = follow(client, accepted.header("location"), out).await?;
    if operation["state"] != "succeeded" {
        bail!("the cluster was not provisioned: {}", show::failure(&operation));
    }
    let cluster = client.get(&format!("{CLUSTERS}/{NAME}")).await?.expect(200)?.json();
    let generations = client.get(&format!("{CLUSTERS}/{NAME}/generations")).await?.expect(200)?.json();
    show::cluster(&cluster, &generations, out)?;
    if wish.once {
        writeln!(out, "\n4. removing it again: DELETE {CLUSTERS}/{NAME}")?;
        let path = format!("{CLUSTERS}/{NAME}?reason=quickstart");
        let removed = client.send(Ask::new(http::Method::DELETE, &path)).await?.expect(202)?;
        let operation = follow(client, removed.header("location"), out).await?;
        if operation["state"] != "succeeded" {
            bail!("the cluster was not removed: {}", show::failure(&operation));
        }
        return Ok(());
    }
    show::next_steps(place, token, out)
}

/// Shows phases as they come; answers the operation when it has ended.
async fn follow(client: &Client, location: &str, out: &mut impl Write) -> anyhow::Result<Value> {
    let mut events = client.events(&format!("{location}/output?follow=true"), None).await?;
    let mut phases = show::Phases::default();
    while let Some(event) = events.next().await? {
        match event.event.as_str() {
            "progress" => phases.step(&serde_json::from_str(&event.data)?, out)?,
            "end" => break,
            _ => {}
        }
    }
    phases.end(out)?;
    client.ended(location).await.context("the operation does not end")
}

fn description(wish: &Wish) -> Value {
    let version = wish.kubernetes.as_deref().unwrap_or(specs::VERSION);
    let addresses =
        if wish.nodes.is_empty() { vec!["192.0.2.11".to_owned(), "192.0.2.12".to_owned()] } else { wish.nodes.clone() };
    let node = |(i, address): (usize, &String)| {
        let roles = if i == 0 { json!(["controlplane", "etcd", "worker"]) } else { json!(["worker"]) };
        json!({"address": address, "roles": roles})
    };
    let nodes: Vec<_> = addresses.iter().enumerate().map(node).collect();
    let mut spec = json!({"kubernetes_version": version, "nodes": nodes});
    if let Some(user) = &wish.user {
        spec["ssh_user"] = json!(user);
    }
    json!({"name": NAME, "spec": spec})
}
