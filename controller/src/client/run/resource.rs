//! `resource`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::Session;
use super::watch::{self, Wish};
use crate::client::args::resource::{Delete, Get, Holder, List, One, Put, ResourceCommand};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;
use crate::client::show::RESOURCE;

/// Far more than a manifest may have; the controller names its own bound.
const MOST_BYTES: u64 = 1024 * 1024;

pub(super) async fn run(session: &Session, command: ResourceCommand) -> Result<Exit, Fault> {
    match command {
        ResourceCommand::List(wish) => list(session, wish).await,
        ResourceCommand::Get(wish) => get(session, wish).await,
        ResourceCommand::Put(wish) => put(session, wish).await,
        ResourceCommand::Delete(wish) => delete(session, wish).await,
    }
}

async fn list(session: &Session, wish: List) -> Result<Exit, Fault> {
    let items = session.api.unpaged(&holder(session, &wish.holder)?).await?;
    session.printer.list(&RESOURCE, &items).map(|()| Exit::Done)
}

async fn get(session: &Session, wish: Get) -> Result<Exit, Fault> {
    let resource = session.api.get(&path(session, &wish.one)?).await?;
    if wish.manifest {
        let manifest =
            resource["manifest"].as_str().ok_or_else(|| Fault::Odd("the resource has no manifest".into()))?;
        return session.console.print(manifest).map(|()| Exit::Done);
    }
    session.printer.one(&RESOURCE, &resource).map(|()| Exit::Done)
}

async fn put(session: &Session, wish: Put) -> Result<Exit, Fault> {
    let (path, manifest) = (path(session, &wish.one)?, manifest(&wish.file)?);
    let seen = match wish.revision {
        Some(revision) => revision,
        None => revision(session, &path).await?,
    };
    let mut body = json!({"manifest": manifest});
    if let Some(mode) = wish.mode {
        body["mode"] = json!(mode.as_str());
    }
    let ask = Ask::change(Method::PUT, path, Some(body));
    let ask = if seen == 0 { ask.header(header::IF_NONE_MATCH, "*") } else { if_match(ask, seen) };
    let answer = session.api.send(&ask).await?;
    changed(session, &wish.one, &answer, wish.waiting.wait, "kept").await
}

async fn delete(session: &Session, wish: Delete) -> Result<Exit, Fault> {
    let ask = Ask::change(Method::DELETE, path(session, &wish.one)?, None);
    let ask = wish.revision.map_or_else(|| ask.clone(), |revision| if_match(ask.clone(), revision));
    let answer = session.api.send(&ask).await?;
    if answer.is_null() {
        let document = json!({"name": wish.one.name.to_string()});
        let sentence = format!("{} is gone.", wish.one.name);
        return session.printer.said(&sentence, &RESOURCE, &document).map(|()| Exit::Done);
    }
    changed(session, &wish.one, &answer, wish.waiting.wait, "withdrawn").await
}

/// Says what became of a change, or watches the operation that brings it into the cluster.
async fn changed(
    session: &Session,
    one: &One,
    answer: &Value,
    wait: Option<Duration>,
    outcome: &str,
) -> Result<Exit, Fault> {
    let operation = answer["operation"].as_str().and_then(|at| at.rsplit('/').next());
    if let (Some(id), Some(limit)) = (operation, wait) {
        return watch::to_its_end(session, id.parse().map_err(Fault::Odd)?, Some(limit), Wish::Success).await;
    }
    let more = operation.map_or_else(String::new, |id| format!(" Watch it: cratekube operation watch {id}"));
    session.printer.said(&format!("{} is {outcome}.{more}", one.name), &RESOURCE, &answer["resource"])?;
    Ok(Exit::Done)
}

/// The revision that there is now; 0 when there is none.
async fn revision(session: &Session, path: &str) -> Result<u64, Fault> {
    match session.api.get(path).await {
        Ok(resource) => resource["revision"].as_u64().ok_or_else(|| Fault::Odd("the resource has no revision".into())),
        Err(Fault::Refused(problem)) if problem.status == StatusCode::NOT_FOUND => Ok(0),
        Err(fault) => Err(fault),
    }
}

fn if_match(ask: Ask, revision: u64) -> Ask {
    ask.header(header::IF_MATCH, &format!("\"{revision}\""))
}

/// The manifest in a file, or from standard input for `-`. What it means is judged by the controller.
fn manifest(from: &Path) -> Result<String, Fault> {
    let shown = if from == Path::new("-") { "standard input".to_owned() } else { from.display().to_string() };
    let fault = |error| Fault::local(format!("read {shown}"), error);
    let source: Box<dyn Read> =
        if from == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(from).map_err(fault)?) };
    let mut text = String::new();
    source.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(fault)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(Fault::usage(format!("{shown} has more than {MOST_BYTES} bytes"), "Split the manifest."));
    }
    Ok(text)
}

fn holder(session: &Session, holder: &Holder) -> Result<String, Fault> {
    let environment = session.environment(&holder.place)?;
    Ok(match &holder.cluster {
        Some(cluster) => format!("/v1/environments/{environment}/clusters/{cluster}/resources"),
        None => format!("/v1/environments/{environment}/resources"),
    })
}

fn path(session: &Session, one: &One) -> Result<String, Fault> {
    Ok(format!("{}/{}", holder(session, &one.holder)?, one.name))
}
