//! Users: each asks for clusters and for their removal, again and again until it is answered, and
//! then watches. What they may ask for is one line each in [`Ask`].

mod rotation;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use cratekube_common::domain::id::{AgentId, OperationId};
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::{Answer, Call, Caller};
use super::chance::Chance;
use super::house::House;
use super::model::is_over;
use crate::house::specs;

/// The environment that everything is in.
pub const ENVIRONMENT: &str = "sim";
/// Waits between two looks at an operation.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Waits before something is asked again that was not answered.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(4));
/// Operations that are asked for, one after the other, until one does what is wanted.
const TRIES: usize = 4;
/// One operation in so many is cancelled.
const CANCELLED: usize = 6;
/// Looks at an operation before it is cancelled, at most.
const LOOKS: usize = 8;

/// Something that a user can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A cluster of this name, on the host with this address.
    Provision(String, String),
    /// Its removal.
    Remove(String),
    /// The same again that an operation did not do.
    Retry(OperationId),
    /// That lost or damaged state is brought back.
    Recover(String),
    /// That a cluster is provisioned again.
    Again(String),
    /// That an agent is forgotten, and that what it runs is given up with `true`.
    Forget(AgentId, bool),
    /// A token for an agent of this name to join with.
    Join(String),
    /// The end of an operation.
    Cancel(OperationId),
    /// That the run is given up which holds the cluster of this name.
    ForceUnlock(String),
    /// That an agent is given nothing more.
    Cordon(AgentId),
    /// That an agent is emptied.
    Drain(AgentId),
    /// That an agent is given work again.
    Uncordon(AgentId),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provision(name, _) => write!(f, "provision {name}"),
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Retry(operation) => write!(f, "retry {operation}"),
            Self::Recover(name) => write!(f, "recover-state {name}"),
            Self::Again(name) => write!(f, "provision {name} again"),
            Self::Forget(agent, force) => write!(f, "forget {agent}{}", if *force { " by force" } else { "" }),
            Self::Join(name) => write!(f, "let {name} join"),
            Self::Cancel(operation) => write!(f, "cancel {operation}"),
            Self::ForceUnlock(name) => write!(f, "force-unlock {name}"),
            Self::Cordon(agent) => write!(f, "cordon {agent}"),
            Self::Drain(agent) => write!(f, "drain {agent}"),
            Self::Uncordon(agent) => write!(f, "uncordon {agent}"),
        }
    }
}

impl Ask {
    fn call(&self) -> Call {
        let clusters = format!("/v1/environments/{ENVIRONMENT}/clusters");
        let post = |path: String| Call::new(Method::POST, &path);
        let reason = json!({"reason": "simulated"}).to_string();
        match self {
            Self::Provision(name, address) => post(clusters).body(specs::single(name, address).to_string()),
            Self::Remove(name) => Call::new(Method::DELETE, &format!("{clusters}/{name}")).body(reason),
            Self::Retry(operation) => post(format!("/v1/operations/{operation}/retry")),
            Self::Recover(name) => post(format!("{clusters}/{name}/recover-state")).body(reason),
            Self::Again(name) => post(format!("{clusters}/{name}/provision")),
            Self::Forget(agent, force) => {
                let body = json!({"reason": "simulated", "force": force});
                post(format!("/v1/admin/agents/{agent}/forget")).body(body.to_string())
            }
            Self::Join(name) => {
                let body = json!({"agent": name, "lifetime": "24h"});
                post("/v1/admin/join-tokens".to_owned()).body(body.to_string())
            }
            Self::Cancel(operation) => post(format!("/v1/operations/{operation}/cancel")),
            Self::ForceUnlock(name) => post(format!("{clusters}/{name}/force-unlock")).body(reason),
            Self::Cordon(agent) => post(format!("/v1/admin/agents/{agent}/cordon")).body(reason),
            Self::Drain(agent) => post(format!("/v1/admin/agents/{agent}/drain")).body(reason),
            Self::Uncordon(agent) => post(format!("/v1/admin/agents/{agent}/uncordon")).body(reason),
        }
    }

    /// True when an operation comes of it that was not there before.
    fn makes_operation(&self) -> bool {
        matches!(self, Self::Provision(..) | Self::Remove(_) | Self::Retry(_) | Self::Recover(_) | Self::Again(_))
    }

    /// The cluster that it is about; nothing for others.
    fn cluster(&self) -> &str {
        match self {
            Self::Provision(name, _) | Self::Remove(name) | Self::Recover(name) | Self::Again(name) => name,
            _ => "",
        }
    }

    /// True when it may be refused because of what happened meanwhile.
    fn may_be_too_late(&self) -> bool {
        !matches!(self, Self::Provision(..) | Self::Remove(_))
    }
}

/// A user who looks after some clusters at the same time.
pub async fn user(house: Rc<House>, name: String, clusters: Vec<String>) -> turmoil::Result {
    let lives = clusters.into_iter().enumerate().map(|(n, cluster)| {
        let chance = Chance::of(house.seed, &format!("{name}/{cluster}"));
        User::new(&house, format!("{name}-{n}"), chance).looks_after(cluster)
    });
    join_all(lives).await;
    Ok(())
}

/// An administrator: cordons and drains agents, gives up runs, and leaves everything open at the end.
pub async fn admin(house: Rc<House>) -> turmoil::Result {
    let chance = Chance::of(house.seed, "admin");
    let mut admin = User::new(&house, "admin".to_owned(), chance);
    let (busy, sharp) = (Duration::from_secs(*admin.chance.pick(&[4, 20, 60])), *admin.chance.pick(&[1, 2, 5]));
    while !admin.house.is_ending() {
        admin.pause((busy / 4, busy)).await;
        if admin.chance.one_in(sharp) {
            let names = admin.house.clusters.clone();
            let name = admin.chance.pick(&names).clone();
            admin.ask(&Ask::ForceUnlock(name)).await;
            continue;
        }
        let agents = admin.agents().await;
        if agents.is_empty() {
            continue;
        }
        if admin.chance.one_in(5) && admin.house.has_everybody() {
            rotation::rotates(&mut admin).await;
            continue;
        }
        let agent = *admin.chance.pick(&agents);
        if admin.chance.one_in(4) {
            admin.forgets(agent).await;
            continue;
        }
        let ask = if admin.chance.one_in(2) { Ask::Cordon(agent) } else { Ask::Drain(agent) };
        admin.ask(&ask).await;
        admin.pause((Duration::from_secs(2), Duration::from_secs(20))).await;
        admin.ask(&Ask::Uncordon(agent)).await;
    }
    Ok(())
}

struct User {
    house: Rc<House>,
    name: String,
    token: String,
    caller: Caller,
    chance: Chance,
    asked: u32,
    /// Class of the failure that was seen last.
    class: String,
}

impl User {
    fn new(house: &Rc<House>, name: String, chance: Chance) -> Self {
        let caller = Caller::new(house.trust.clone());
        Self { house: Rc::clone(house), name, token: String::new(), caller, chance, asked: 0, class: String::new() }
    }

    /// Builds a cluster and removes it again, until the world is to end.
    async fn looks_after(mut self, cluster: String) {
        self.pause((Duration::ZERO, Duration::from_secs(20))).await;
        while !self.house.is_ending() {
            let address = format!("192.0.2.{}", 1 + self.chance.below(200));
            self.has_done(Ask::Provision(cluster.clone(), address)).await;
            self.pause((Duration::ZERO, Duration::from_secs(20))).await;
            if self.has_done(Ask::Remove(cluster.clone())).await != "succeeded" {
                return;
            }
        }
    }

    /// Has something done; asks again for what was not, now and then. The state it ended in.
    async fn has_done(&mut self, ask: Ask) -> String {
        let cluster = ask.cluster().to_owned();
        let mut ask = ask;
        let mut ended = String::new();
        for _ in 0..TRIES {
            let Some(operation) = self.ask(&ask).await else { return ended };
            ended = self.watch(operation).await;
            if ended == "succeeded" || self.house.is_ending() || self.chance.one_in(3) {
                return ended;
            }
            if self.class == "state" && self.recovers(&cluster).await {
                return ended;
            }
            ask = Ask::Retry(operation);
            self.pause(LOOK).await;
        }
        ended
    }

    /// Brings a cluster's state back and provisions it again; true when it is built then.
    async fn recovers(&mut self, cluster: &str) -> bool {
        for ask in [Ask::Recover(cluster.to_owned()), Ask::Again(cluster.to_owned())] {
            let Some(operation) = self.ask(&ask).await else { return false };
            if self.watch(operation).await != "succeeded" {
                return false;
            }
        }
        self.house.model.note(format!("{cluster} came back"));
        true
    }

    /// Asks until there is an answer; the operation, or nothing when it is refused.
    async fn ask(&mut self, ask: &Ask) -> Option<OperationId> {
        self.asked += 1;
        let key = format!("{}-{}", self.name, self.asked);
        self.house.model.asks(&key, ask);
        loop {
            let Some(answer) = self.send(ask.call().header("idempotency-key", &key)).await else {
                self.pause(AGAIN).await;
                continue;
            };
            match answer.status {
                StatusCode::ACCEPTED => return self.accepted(&key, ask, &answer),
                StatusCode::OK => return None,
                StatusCode::CONFLICT | StatusCode::NOT_FOUND if ask.may_be_too_late() => {
                    self.house.model.note(format!("{key} ({ask}) is too late: {}", answer.text()));
                    return None;
                }
                status if passes(status) => self.pause(AGAIN).await,
                status => {
                    self.house.model.broken(format!("{key} ({ask}) was refused: {status} {}", answer.text()));
                    return None;
                }
            }
        }
    }

    fn accepted(&self, key: &str, ask: &Ask, answer: &Answer) -> Option<OperationId> {
        let Some(id) = answer.location.rsplit('/').next().and_then(|id| id.parse().ok()) else {
            self.house.model.broken(format!("{key} was accepted without an operation: {:?}", answer.location));
            return None;
        };
        match ask {
            ask if ask.makes_operation() => self.house.model.accepted(key, id),
            _ => self.house.model.intervened(id, ask),
        }
        Some(id)
    }

    /// Watches an operation to its end; the state that it ends in.
    async fn watch(&mut self, operation: OperationId) -> String {
        let path = format!("/v1/operations/{operation}");
        let cancel_after = self.chance.one_in(CANCELLED).then(|| self.chance.below(LOOKS));
        for looks in 0.. {
            if cancel_after == Some(looks) {
                self.ask(&Ask::Cancel(operation)).await;
            }
            let answer = self.send(Call::new(Method::GET, &path)).await;
            match answer.as_ref().map(|answer| answer.status) {
                Some(StatusCode::OK) => {
                    let document = answer.map(|answer| answer.json()).unwrap_or_default();
                    let word = |of: &Value| of.as_str().unwrap_or_default().to_owned();
                    let state = word(&document["state"]);
                    self.class = word(&document["failure"]["class"]);
                    self.house.model.told(operation, &state);
                    if is_over(&state) {
                        return state;
                    }
                }
                Some(status) if !passes(status) => {
                    self.house.model.broken(format!("{operation} was accepted and cannot be looked at: {status}"));
                    return String::new();
                }
                _ => {}
            }
            self.pause(LOOK).await;
        }
        String::new()
    }

    /// Sends a call; nothing when it is not answered. A token that is not accepted is exchanged.
    async fn send(&mut self, call: Call) -> Option<Answer> {
        if self.token.is_empty() {
            self.token = self.house.token(&self.name);
        }
        let answer = self.caller.send(call, &self.token).await.ok();
        if answer.as_ref().is_some_and(|answer| answer.status == StatusCode::UNAUTHORIZED) {
            self.token.clear();
        }
        answer
    }

    /// Forgets an agent, if it is away; then it is let in anew, for its bastion was not gone after all.
    async fn forgets(&mut self, agent: AgentId) {
        let Some(name) = self.name_of_live(agent).await else { return };
        let force = self.chance.one_in(3);
        if force {
            let clusters = self.house.clusters.iter().cloned();
            self.house.model.facts().forced.extend(clusters);
        }
        let ask = Ask::Forget(agent, force);
        self.house.model.note(format!("admin asks: {ask}"));
        let done = loop {
            match self.send(ask.call()).await.map(|answer| answer.status) {
                Some(StatusCode::OK) => break true,
                Some(status) if !passes(status) => break false,
                _ => self.pause(AGAIN).await,
            }
        };
        if !done {
            return self.house.model.note(format!("{ask} is refused"));
        }
        self.house.model.note(format!("{name} is forgotten, and may join anew"));
        self.lets_join(&name).await;
    }

    /// Lets an agent in anew whose name is free.
    async fn lets_join(&mut self, name: &str) {
        let join = Ask::Join(name.to_owned());
        let token = loop {
            let answer = self.send(join.call()).await.filter(|answer| answer.status == StatusCode::CREATED);
            let token = answer.and_then(|answer| answer.json()["token"].as_str()?.parse().ok());
            if let Some(token) = token {
                break token;
            }
            self.pause(AGAIN).await;
        };
        self.house.joins_again(name, token);
    }

    /// The name of an agent that was not forgotten before: another one may have it then.
    async fn name_of_live(&mut self, agent: AgentId) -> Option<String> {
        let answer = self.send(Call::new(Method::GET, &format!("/v1/admin/agents/{agent}"))).await?;
        let document = answer.json();
        document["name"].as_str().filter(|_| document["state"] != "revoked").map(str::to_owned)
    }

    /// The agents there are; none when that cannot be found out now.
    async fn agents(&mut self) -> Vec<AgentId> {
        let Some(answer) = self.send(Call::new(Method::GET, "/v1/admin/agents")).await else { return Vec::new() };
        let document = answer.json();
        let items = document["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|agent| agent["id"].as_str()?.parse().ok()).collect()
    }

    async fn pause(&mut self, (least, most): (Duration, Duration)) {
        tokio::time::sleep(self.chance.between(least, most)).await;
    }
}

/// True for answers that may be others when it is asked again.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}
