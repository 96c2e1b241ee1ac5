//! `cluster health`, `verify` and `rotate-certificates`.

use http::Method;
use serde_json::json;

use super::Session;
use super::cluster::path;
use super::watch::{Wish, accepted};
use crate::client::args::cluster::{One, Rotate, Verify};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::show::HEALTH;

pub(super) async fn health(session: &Session, one: &One) -> Result<Exit, Fault> {
    let health = session.api.get(&format!("{}/health", path(session, one)?)).await?;
    session.printer.one(&HEALTH, &health).map(|()| Exit::Done)
}

pub(super) async fn verify(session: &Session, wish: Verify) -> Result<Exit, Fault> {
    let path = format!("{}/verify", path(session, &wish.one)?);
    let ask = session.api.keyed(Method::POST, &path, None);
    accepted(session, &ask, wish.waiting.wait, Wish::Success).await
}

pub(super) async fn rotate(session: &Session, wish: Rotate) -> Result<Exit, Fault> {
    let path = format!("{}/rotate-certificates", path(session, &wish.one)?);
    let mut body = json!({"ca": wish.ca});
    if !wish.services.is_empty() {
        body["services"] = json!(wish.services);
    }
    if let Some(reason) = wish.reason {
        body["reason"] = json!(reason);
    }
    let ask = session.api.keyed(Method::POST, &path, Some(body));
    accepted(session, &ask, wish.waiting.wait, Wish::Success).await
}
