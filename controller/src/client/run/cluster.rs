//! `cluster`.

use cratekube_common::domain::name::EnvironmentName;
use http::Method;
use serde_json::{Value, json};

use super::watch::{Wish, accepted};
use super::{Session, access, upkeep};
use crate::client::args::InEnvironment;
use crate::client::args::cluster::{ClusterCommand, Create, Delete, ForceUnlock, Generations, List, One, RecoverState};
use crate::client::document;
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;
use crate::client::http::query::with_query;
use crate::client::show::{CLUSTER, GENERATION, PREVIEW};

pub(super) async fn run(session: &Session, command: ClusterCommand) -> Result<Exit, Fault> {
    match command {
        ClusterCommand::Create(wish) => create(session, wish).await,
        ClusterCommand::List(wish) => list(session, wish).await,
        ClusterCommand::Get(one) => {
            let cluster = session.api.get(&path(session, &one)?).await?;
            session.printer.one(&CLUSTER, &cluster).map(|()| Exit::Done)
        }
        ClusterCommand::Delete(wish) => delete(session, wish).await,
        ClusterCommand::Generations(wish) => generations(session, wish).await,
        ClusterCommand::ForceUnlock(wish) => force_unlock(session, wish).await,
        ClusterCommand::Kubeconfig(wish) => access::kubeconfig(session, wish).await,
        ClusterCommand::RecoverState(wish) => recover_state(session, wish).await,
        ClusterCommand::Health(one) => upkeep::health(session, &one).await,
        ClusterCommand::Verify(wish) => upkeep::verify(session, wish).await,
        ClusterCommand::RotateCertificates(wish) => upkeep::rotate(session, wish).await,
    }
}

async fn create(session: &Session, wish: Create) -> Result<Exit, Fault> {
    let mut document = document::read(&wish.file)?;
    let environment = whereto(session, &mut document, &wish.place)?;
    let ask = session.api.keyed(Method::POST, &clusters(&environment), Some(document));
    accepted(session, &ask, wish.waiting.wait, Wish::Success).await
}

/// The environment of a description, which is not part of what is sent: it is in the path.
fn whereto(session: &Session, document: &mut Value, place: &InEnvironment) -> Result<EnvironmentName, Fault> {
    let inside = document.as_object_mut().and_then(|document| document.remove("environment"));
    let Some(inside) = inside else { return session.environment(place) };
    let fault = |why: &str| Fault::usage(format!("/environment: {why}"), "Correct the description.");
    let inside: EnvironmentName =
        inside.as_str().ok_or_else(|| fault("must be a name"))?.parse().map_err(|why: String| fault(&why))?;
    match &place.environment {
        Some(given) if *given != inside => {
            let message = format!("the description is for {inside}, the command line for {given}");
            Err(Fault::usage(message, "Name one environment, in one place."))
        }
        _ => Ok(inside),
    }
}

async fn list(session: &Session, wish: List) -> Result<Exit, Fault> {
    let environments = if wish.all_environments {
        let seen = session.api.environments().await?;
        seen.iter().filter_map(|e| e["name"].as_str()?.parse().ok()).collect()
    } else {
        vec![session.environment(&wish.place)?]
    };
    let removed = wish.removed.then_some("true");
    let mut items = Vec::new();
    for environment in &environments {
        items.extend(
            session.api.list(&clusters(environment), &[("include_removed", removed)], wish.most.items()).await?,
        );
    }
    items.truncate(wish.most.items().unwrap_or(usize::MAX));
    session.printer.list(&CLUSTER, &items).map(|()| Exit::Done)
}

async fn delete(session: &Session, wish: Delete) -> Result<Exit, Fault> {
    let flag = |on: bool| on.then_some("true");
    let query = [
        ("reason", wish.reason.as_deref().filter(|_| !wish.dry_run)),
        ("data_policy", Some(wish.data_policy.as_str())),
        ("hosts_terminated", flag(wish.hosts_terminated)),
        ("dry_run", flag(wish.dry_run)),
    ];
    let path = with_query(&path(session, &wish.one)?, &query);
    if wish.dry_run {
        let preview = session.api.send(&Ask::change(Method::DELETE, path, None).harmless()).await?;
        return session.printer.one(&PREVIEW, &preview).map(|()| Exit::Done);
    }
    let ask = session.api.keyed(Method::DELETE, &path, None);
    accepted(session, &ask, wish.waiting.wait, Wish::Success).await
}

async fn generations(session: &Session, wish: Generations) -> Result<Exit, Fault> {
    let path = format!("{}/generations", path(session, &wish.one)?);
    let items = session.api.list(&path, &[], wish.most.items()).await?;
    session.printer.list(&GENERATION, &items).map(|()| Exit::Done)
}

async fn force_unlock(session: &Session, wish: ForceUnlock) -> Result<Exit, Fault> {
    let path = format!("{}/force-unlock", path(session, &wish.one)?);
    let ask = Ask::change(Method::POST, path, Some(json!({"reason": wish.because.reason})));
    let answer = session.api.send(&ask).await?;
    let cluster = &answer["cluster"];
    let sentence = format!("{} is unlocked; the operation that held it has failed.", wish.one.name);
    session.printer.said(&sentence, &CLUSTER, cluster).map(|()| Exit::Done)
}

async fn recover_state(session: &Session, wish: RecoverState) -> Result<Exit, Fault> {
    let path = format!("{}/recover-state", path(session, &wish.one)?);
    let mut body = json!({"reason": wish.because.reason});
    if let Some(generation) = wish.generation {
        body["generation"] = json!(generation);
    }
    let ask = session.api.keyed(Method::POST, &path, Some(body));
    accepted(session, &ask, wish.waiting.wait, Wish::Success).await
}

fn clusters(environment: &EnvironmentName) -> String {
    format!("/v1/environments/{environment}/clusters")
}

/// Where a cluster is.
pub(super) fn path(session: &Session, one: &One) -> Result<String, Fault> {
    Ok(format!("{}/{}", clusters(&session.environment(&one.place)?), one.name))
}
