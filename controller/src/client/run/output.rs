//! `operation output`: all there is, byte for byte, or followed to the end.

use cratekube_common::domain::id::OperationId;
use cratekube_common::visible::{visible, whole_characters};
use http::{StatusCode, header};

use super::Session;
use super::operation::path;
use super::watch::{Followed, detached, until_detached};
use crate::client::console::{Console, report};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::follow::{Following, News};
use crate::client::http::exchange::{Ask, Miss, Opened};
use crate::client::show::failure;

/// Prints what there is now. A connection that breaks is taken up where it broke.
pub(super) async fn whole(session: &Session, id: OperationId) -> Result<Exit, Fault> {
    let path = format!("{}/output", path(id));
    let mut opened = session.api.open(&Ask::get(&path)).await?;
    let end: u64 =
        opened.header(&header::CONTENT_LENGTH).parse().map_err(|_| Fault::Odd("output has no length".into()))?;
    let (mut pen, mut patience) = (Pen::new(&session.console), session.api.patience());
    loop {
        let before = pen.taken;
        let miss = match copy(&mut opened, &mut pen).await? {
            Ok(()) if pen.taken >= end => break,
            Ok(()) => Miss::Lost("the output ended before its length".into()),
            Err(miss) => miss,
        };
        if pen.taken > before {
            patience.renew();
        }
        tokio::time::sleep(patience.next(None).ok_or_else(|| session.api.fault(miss))?).await;
        let range = format!("bytes={}-{}", pen.taken, end - 1);
        opened = session.api.open(&Ask::get(&path).header(header::RANGE, &range)).await?;
        if opened.status != StatusCode::PARTIAL_CONTENT {
            return Err(Fault::Odd("a part of the output was asked for, and all of it came".into()));
        }
    }
    pen.end().map(|()| Exit::Done)
}

async fn copy(opened: &mut Opened, pen: &mut Pen<'_>) -> Result<Result<(), Miss>, Fault> {
    loop {
        match opened.piece().await {
            Ok(Some(piece)) => pen.write(&piece)?,
            Ok(None) => return Ok(Ok(())),
            Err(miss) => return Ok(Err(miss)),
        }
    }
}

/// Prints output until the operation has ended; the exit code tells its outcome.
pub(super) async fn follow(session: &Session, id: OperationId) -> Result<Exit, Fault> {
    let mut following = Following::from(&session.api, id, 0);
    let followed = until_detached(async {
        loop {
            match following.next().await? {
                News::Output(text) => session.console.print(&text)?,
                News::Progress(_) => {}
                News::End(operation) => return Ok(operation),
            }
        }
    });
    match followed.await? {
        Followed::Detached => Ok(detached(session, id)),
        Followed::Ended(operation) => {
            let exit = Exit::of_operation(operation["state"].as_str().unwrap_or_default());
            if exit != Exit::Done {
                session.console.note(&report(&failure(&operation)));
            }
            Ok(exit)
        }
    }
}

/// Writes output: as it is, or harmless where a terminal would obey it.
struct Pen<'a> {
    console: &'a Console,
    taken: u64,
    /// The beginning of a character whose end has not come.
    rest: Vec<u8>,
}

impl<'a> Pen<'a> {
    fn new(console: &'a Console) -> Self {
        Self { console, taken: 0, rest: Vec::new() }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Fault> {
        self.taken += piece.len() as u64;
        if !self.console.out_is_terminal {
            return self.console.print_bytes(piece);
        }
        self.rest.extend_from_slice(piece);
        let whole = whole_characters(&self.rest);
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        self.console.print(&visible(&String::from_utf8_lossy(&text)))
    }

    fn end(self) -> Result<(), Fault> {
        self.console.print(&visible(&String::from_utf8_lossy(&self.rest)))
    }
}
