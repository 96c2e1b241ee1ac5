//! `operation`.

use cratekube_common::domain::id::OperationId;
use http::Method;
use serde_json::json;

use super::watch::{self, Wish, accepted};
use super::{Session, output};
use crate::client::args::operation::{List, OperationCommand};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;
use crate::client::show::{OPERATION, RESIDUE};

pub(super) async fn run(session: &Session, command: OperationCommand) -> Result<Exit, Fault> {
    match command {
        OperationCommand::List(wish) => list(session, wish).await,
        OperationCommand::Get(one) => {
            let operation = session.api.get(&path(one.id)).await?;
            session.printer.one(&OPERATION, &operation).map(|()| Exit::Done)
        }
        OperationCommand::Watch(wish) => watch::to_its_end(session, wish.one.id, wish.limit, Wish::Success).await,
        OperationCommand::Output(wish) if wish.follow => output::follow(session, wish.one.id).await,
        OperationCommand::Output(wish) => output::whole(session, wish.one.id).await,
        OperationCommand::Cancel(wish) => {
            // The API promises that asking twice changes nothing.
            let ask = Ask::change(Method::POST, format!("{}/cancel", path(wish.one.id)), None).harmless();
            accepted(session, &ask, wish.waiting.wait, Wish::Cancelled).await
        }
        OperationCommand::Retry(wish) => {
            let ask = session.api.keyed(Method::POST, &format!("{}/retry", path(wish.one.id)), None);
            accepted(session, &ask, wish.waiting.wait, Wish::Success).await
        }
        OperationCommand::Abandon(wish) => {
            let body = json!({"reason": wish.because.reason});
            let ask = Ask::change(Method::POST, format!("{}/abandon", path(wish.one.id)), Some(body));
            let answer = session.api.send(&ask).await?;
            let sentence = "The removal is abandoned; what is left of its cluster stays.";
            session.printer.said(sentence, &OPERATION, &answer["operation"]).map(|()| Exit::Done)
        }
        OperationCommand::Residue(one) => {
            let residue = session.api.get(&format!("{}/residue", path(one.id))).await?;
            session.printer.one(&RESIDUE, &residue).map(|()| Exit::Done)
        }
    }
}

pub(super) fn path(operation: OperationId) -> String {
    format!("/v1/operations/{operation}")
}

async fn list(session: &Session, wish: List) -> Result<Exit, Fault> {
    let (environment, cluster) = (wish.environment.map(String::from), wish.cluster.map(String::from));
    let filters =
        [("environment", environment.as_deref()), ("cluster", cluster.as_deref()), ("state", wish.state.as_deref())];
    let items = session.api.list("/v1/operations", &filters, wish.most.items()).await?;
    session.printer.list(&OPERATION, &items).map(|()| Exit::Done)
}
