//! `volume` and `summary`.

use super::Session;
use crate::client::args::Format;
use crate::client::args::volume::VolumeCommand;
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::show::{FINDING, VOLUME};

const VOLUMES: &str = "/v1/admin/volumes";
const SUMMARY: &str = "/v1/admin/summary";

pub(super) async fn run(session: &Session, command: VolumeCommand) -> Result<Exit, Fault> {
    match command {
        VolumeCommand::List(wish) => {
            let items = session.api.list(VOLUMES, &[], wish.most.items()).await?;
            session.printer.list(&VOLUME, &items)?;
        }
        VolumeCommand::Get(one) => {
            let volume = session.api.get(&format!("{VOLUMES}/{}", one.volume)).await?;
            session.printer.one(&VOLUME, &volume)?;
        }
    }
    Ok(Exit::Done)
}

/// What needs somebody.
pub(super) async fn summary(session: &Session) -> Result<Exit, Fault> {
    let summary = session.api.get(SUMMARY).await?;
    if matches!(session.printer.format, Format::Json | Format::Yaml) {
        return session.printer.document(&summary).map(|()| Exit::Done);
    }
    let items = summary["items"].as_array().cloned().unwrap_or_default();
    if session.printer.format == Format::Table {
        if summary["gathering"] == true {
            session.console.note("The controller was just started: agents may not be back yet.");
        }
        if summary["complete"] == false {
            session.console.note("There is more than was looked at.");
        }
        if items.is_empty() {
            return session.console.print("Nothing needs you.\n").map(|()| Exit::Done);
        }
    }
    session.printer.list(&FINDING, &items).map(|()| Exit::Done)
}
