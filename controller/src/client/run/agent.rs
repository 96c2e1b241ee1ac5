//! `agent`.

use cratekube_common::domain::id::AgentId;
use http::Method;
use serde_json::{Value, json};

use super::Session;
use crate::client::args::Format;
use crate::client::args::agent::{AgentCommand, Barred, Changed, Forget, JoinToken, One};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;
use crate::client::show::AGENT;

const AGENTS: &str = "/v1/admin/agents";
/// What happened to an agent last: so much is shown with it.
const HISTORY: usize = 20;

pub(super) async fn run(session: &Session, command: AgentCommand) -> Result<Exit, Fault> {
    match command {
        AgentCommand::List(wish) => {
            let items = session.api.list(AGENTS, &[], wish.most.items()).await?;
            session.printer.list(&AGENT, &items)?;
        }
        AgentCommand::Get(one) => {
            let path = format!("{AGENTS}/{}", id(session, &one).await?);
            let mut agent = session.api.get(&path).await?;
            agent["history"] = session.api.list(&format!("{path}/history"), &[], Some(HISTORY)).await?.into();
            session.printer.one(&AGENT, &agent)?;
        }
        AgentCommand::Cordon(wish) => change(session, wish, "cordon", "is given nothing new").await?,
        AgentCommand::Uncordon(wish) => change(session, wish, "uncordon", "is given work again").await?,
        AgentCommand::Drain(wish) => {
            change(session, wish, "drain", "is given nothing new and ends what it runs").await?;
        }
        AgentCommand::Revoke(wish) => bar(session, wish, "revoke", "is locked out until it enrolls again").await?,
        AgentCommand::Ban(wish) => bar(session, wish, "ban", "is locked out for good").await?,
        AgentCommand::Unban(wish) => bar(session, wish, "unban", "may enroll again").await?,
        AgentCommand::Forget(wish) => forget(session, wish).await?,
        AgentCommand::JoinToken(wish) => join_token(session, wish).await?,
    }
    Ok(Exit::Done)
}

async fn change(session: &Session, wish: Changed, verb: &str, outcome: &str) -> Result<(), Fault> {
    let body = wish.reason.map(|reason| json!({"reason": reason}));
    act(session, &wish.one, verb, body, outcome).await
}

async fn bar(session: &Session, wish: Barred, verb: &str, outcome: &str) -> Result<(), Fault> {
    act(session, &wish.one, verb, Some(json!({"reason": wish.because.reason})), outcome).await
}

async fn act(session: &Session, one: &One, verb: &str, body: Option<Value>, outcome: &str) -> Result<(), Fault> {
    let path = format!("{AGENTS}/{}/{verb}", id(session, one).await?);
    let agent = session.api.send(&Ask::change(Method::POST, path, body)).await?;
    session.printer.said(&format!("{} {outcome}.", one.agent), &AGENT, &agent)
}

async fn forget(session: &Session, wish: Forget) -> Result<(), Fault> {
    let path = format!("{AGENTS}/{}/forget", id(session, &wish.one).await?);
    let body = json!({"reason": wish.because.reason, "force": wish.force});
    let given_up = session.api.send(&Ask::change(Method::POST, path, Some(body))).await?;
    match session.printer.format {
        Format::Json | Format::Yaml => return session.printer.document(&given_up),
        Format::Table => session.console.print(&format!("{} is forgotten.\n", wish.one.agent))?,
        Format::Name => session.console.print(&format!("{}\n", wish.one.agent))?,
    }
    for operation in given_up["operations"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        session.console.note(&format!("given up with it: {}", operation.rsplit('/').next().unwrap_or(operation)));
    }
    Ok(())
}

async fn join_token(session: &Session, wish: JoinToken) -> Result<(), Fault> {
    let mut body = json!({"environments": wish.environments.to_string(), "lifetime": wish.lifetime});
    if let Some(agent) = wish.agent {
        body["agent"] = json!(agent);
    }
    if let Some(volume) = wish.volume {
        body["volume"] = json!(volume);
    }
    let made = session.api.send(&Ask::change(Method::POST, "/v1/admin/join-tokens", Some(body))).await?;
    if matches!(session.printer.format, Format::Json | Format::Yaml) {
        return session.printer.document(&made);
    }
    let token = made["token"].as_str().ok_or_else(|| Fault::Odd("a join token was made and is not there".into()))?;
    session.console.note(&format!("It can be used once, until {}.", made["expires_at"].as_str().unwrap_or("it ends")));
    session.console.print(&format!("{token}\n"))
}

/// The id of an agent that is named by its id or its name.
async fn id(session: &Session, one: &One) -> Result<AgentId, Fault> {
    if let Ok(id) = one.agent.parse() {
        return Ok(id);
    }
    let agents = session.api.list(AGENTS, &[], None).await?;
    let named: Vec<_> = agents.iter().filter(|agent| agent["name"] == one.agent.as_str()).collect();
    // A name may have been used by agents that are locked out since.
    let present: Vec<_> = named.iter().copied().filter(|agent| agent["state"] != "revoked").collect();
    let candidates = if present.is_empty() { named } else { present };
    let ids: Vec<_> = candidates.iter().filter_map(|agent| agent["id"].as_str()).collect();
    match ids.as_slice() {
        [id] => id.parse().map_err(Fault::Odd),
        [] => Err(Fault::Absent(format!("there is no agent {:?}", one.agent))),
        several => {
            let message = format!("{} agents have the name {:?}: {}", several.len(), one.agent, several.join(", "));
            Err(Fault::usage(message, "Name the one you mean by its id."))
        }
    }
}
