//! Work that was accepted: said, or watched to its end. Ctrl-C ends the watching, never the work.

use std::time::Duration;

use cratekube_common::domain::id::OperationId;
use serde_json::{Value, json};

use super::Session;
use super::operation::path;
use crate::client::console::report;
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::follow::{Following, News};
use crate::client::http::exchange::Ask;
use crate::client::problem::mistake;
use crate::client::screen::Screen;
use crate::client::show::{OPERATION, cluster_of, failure};

/// Which end of an operation is the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// That it succeeds.
    Success,
    /// That it is cancelled.
    Cancelled,
}

/// What came of following.
pub(super) enum Followed<T> {
    /// The end was seen.
    Ended(T),
    /// Somebody pressed Ctrl-C.
    Detached,
}

/// Asks for work; says that it was accepted, or watches it.
pub(super) async fn accepted(session: &Session, ask: &Ask, wait: Option<Duration>, wish: Wish) -> Result<Exit, Fault> {
    let answer = session.api.send(ask).await?;
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        let (place, what) = mistake(warning);
        session.console.note(&format!("warning: {place}: {what}"));
    }
    let operation = &answer["operation"];
    let id = id_of(operation)?;
    if let Some(limit) = wait {
        return to_its_end(session, id, Some(limit), wish).await;
    }
    let name = title(operation);
    let sentence = match wish {
        Wish::Success => format!("The {name} is accepted. Watch it: cratekube operation watch {id}"),
        Wish::Cancelled if operation["state"] == "cancelled" => format!("The {name} is cancelled."),
        Wish::Cancelled => format!("The {name} is being cancelled. Watch it: cratekube operation watch {id}"),
    };
    session.printer.said(&sentence, &OPERATION, operation).map(|()| Exit::Done)
}

/// Watches an operation until it has ended, and tells its outcome.
pub(super) async fn to_its_end(
    session: &Session,
    id: OperationId,
    limit: Option<Duration>,
    wish: Wish,
) -> Result<Exit, Fault> {
    let now = session.api.get(&path(id)).await?;
    if is_over(&now) {
        return told(session, &now, wish);
    }
    let offset = now["output_bytes"].as_u64().unwrap_or(0);
    let mut following = Following::from(&session.api, id, offset);
    let mut screen = Screen::new(&session.console, &title(&now));
    screen.show(&as_progress(&now));
    let watching = async {
        loop {
            match following.next().await? {
                News::Output(_) => {}
                News::Progress(progress) => screen.show(&progress),
                News::End(_) => return Ok(()),
            }
        }
    };
    let limited = async {
        match limit {
            None => watching.await,
            Some(limit) => tokio::time::timeout(limit, watching).await.unwrap_or_else(|_| Err(too_late(id, limit))),
        }
    };
    let followed = until_detached(limited).await?;
    screen.end();
    match followed {
        // The event has no attempts; a program that reads the outcome wants them.
        Followed::Ended(()) => told(session, &session.api.get(&path(id)).await?, wish),
        Followed::Detached => Ok(detached(session, id)),
    }
}

/// Waits for something, or for Ctrl-C.
pub(super) async fn until_detached<T>(wait: impl Future<Output = Result<T, Fault>>) -> Result<Followed<T>, Fault> {
    tokio::select! {
        ended = wait => ended.map(Followed::Ended),
        pressed = tokio::signal::ctrl_c() => match pressed {
            Ok(()) => Ok(Followed::Detached),
            Err(error) => Err(Fault::local("listen for Ctrl-C", error)),
        },
    }
}

/// Says how to go on watching.
pub(super) fn detached(session: &Session, id: OperationId) -> Exit {
    session.console.note(&format!("Detached; the operation goes on. Watch it again: cratekube operation watch {id}"));
    Exit::Detached
}

/// Tells the outcome of an operation that has ended.
pub(super) fn told(session: &Session, operation: &Value, wish: Wish) -> Result<Exit, Fault> {
    let state = operation["state"].as_str().unwrap_or_default();
    let exit = match (wish, Exit::of_operation(state)) {
        (Wish::Success, exit) => exit,
        (Wish::Cancelled, Exit::Cancelled) => Exit::Done,
        (Wish::Cancelled, _) => Exit::Failed,
    };
    let name = title(operation);
    match (exit, wish) {
        (Exit::Done, Wish::Success) => {
            session.printer.said(&format!("The {name} succeeded."), &OPERATION, operation)?;
        }
        (Exit::Done, Wish::Cancelled) => {
            session.printer.said(&format!("The {name} is cancelled."), &OPERATION, operation)?;
        }
        (_, Wish::Cancelled) => {
            session.printer.programs_only(&OPERATION, operation)?;
            let lines = [format!("the {name} had {state} before it could be cancelled")];
            session.console.note(&report(&lines));
        }
        (_, Wish::Success) => {
            session.printer.programs_only(&OPERATION, operation)?;
            session.console.note(&report(&failure(operation)));
        }
    }
    Ok(exit)
}

/// Whether an operation has ended.
pub(super) fn is_over(operation: &Value) -> bool {
    !matches!(operation["state"].as_str(), Some("queued" | "running" | "cancelling"))
}

/// `provision of prod/web`.
fn title(operation: &Value) -> String {
    format!("{} of {}", operation["kind"].as_str().unwrap_or("operation"), cluster_of(operation))
}

fn id_of(operation: &Value) -> Result<OperationId, Fault> {
    let id = operation["id"].as_str().and_then(|id| id.parse().ok());
    id.ok_or_else(|| Fault::Odd("an operation has no id".into()))
}

/// An operation, as its events tell of it.
fn as_progress(operation: &Value) -> Value {
    let progress = &operation["progress"];
    json!({
        "state": operation["state"], "waiting_for": operation["waiting_for"],
        "phase": progress["phase"], "step": progress["step"], "steps": progress["steps"],
    })
}

fn too_late(id: OperationId, limit: Duration) -> Fault {
    Fault::TooLate(format!(
        "the operation has not ended within {} s; it goes on\nwatch it again: cratekube operation watch {id}",
        limit.as_secs()
    ))
}
