//! `audit`.

use http::header;

use super::Session;
use crate::client::args::audit::{AuditCommand, Filter};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;
use crate::client::http::query::with_query;
use crate::client::show::ENTRY;

const AUDIT: &str = "/v1/admin/audit";
/// Media type of a copy of all entries: one a line.
const LINES: &str = "application/x-ndjson";

pub(super) async fn run(session: &Session, command: AuditCommand) -> Result<Exit, Fault> {
    match command {
        AuditCommand::List(wish) => {
            let items = session.api.list(AUDIT, &wish.filter.parameters(), wish.most.items()).await?;
            session.printer.list(&ENTRY, &items).map(|()| Exit::Done)
        }
        AuditCommand::Export(filter) => export(session, &filter).await,
    }
}

/// Copies entries as they come. One that breaks off is not taken for a whole one.
async fn export(session: &Session, filter: &Filter) -> Result<Exit, Fault> {
    let ask = Ask::get(with_query(AUDIT, &filter.parameters())).header(header::ACCEPT, LINES);
    let mut opened = session.api.open(&ask).await?;
    if !opened.header(&header::CONTENT_TYPE).starts_with(LINES) {
        return Err(Fault::Odd("entries were asked for as lines, and something else came".into()));
    }
    loop {
        match opened.piece().await {
            Ok(Some(piece)) => session.console.print_bytes(&piece)?,
            Ok(None) => return Ok(Exit::Done),
            Err(miss) => return Err(session.api.fault(miss)),
        }
    }
}
