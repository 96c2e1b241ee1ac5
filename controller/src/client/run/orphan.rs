//! `orphan`.

use http::Method;
use serde_json::{Value, json};

use super::Session;
use crate::client::args::Most;
use crate::client::args::orphan::{OrphanCommand, Scan};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;
use crate::client::show::{ORPHANS, SCAN};

pub(super) async fn run(session: &Session, command: OrphanCommand) -> Result<Exit, Fault> {
    match command {
        OrphanCommand::Scan(wish) => scan(session, wish).await,
        OrphanCommand::List(most) => list(session, &most).await,
    }
}

async fn scan(session: &Session, wish: Scan) -> Result<Exit, Fault> {
    let body = wish.agent.map(|agent| json!({"agent": agent}));
    let begun = session.api.send(&Ask::change(Method::POST, "/v1/admin/orphan-scans".to_owned(), body)).await?;
    let sentence = "The agents look at the cloud; `cratekube orphan list` shows what they found.";
    session.printer.said(sentence, &SCAN, &begun).map(|()| Exit::Done)
}

async fn list(session: &Session, most: &Most) -> Result<Exit, Fault> {
    let orphans = session.api.get("/v1/admin/orphans").await?;
    let scan = &orphans["cloud"];
    for result in scan["results"].as_array().into_iter().flatten() {
        let unseen = result["fault"].as_str().or(result["findings"]["unverified"].as_str());
        if let (Some(why), Some(name)) = (unseen, result["name"].as_str()) {
            session.console.note(&format!("{name} could not look at everything: {why}"));
        }
    }
    let mut items: Vec<Value> = Vec::new();
    for result in scan["results"].as_array().into_iter().flatten() {
        for group in result["findings"]["groups"].as_array().into_iter().flatten() {
            let mut group = group.clone();
            group["agent"] = result["name"].clone();
            items.push(group);
        }
    }
    items.truncate(most.items().unwrap_or(usize::MAX));
    session.printer.list(&ORPHANS, &items).map(|()| Exit::Done)
}
