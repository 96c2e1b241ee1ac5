//! Users: each asks for clusters and for their removal, again and again until it is answered, and
//! then watches. What they may ask for is one line each in [`Ask`].

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use cratekube_common::domain::id::OperationId;
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use super::call::{Answer, Call};
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
/// Tries to remove a cluster at most.
const REMOVALS: usize = 3;

/// Something that a user can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A cluster of this name, on the host with this address.
    Provision(String, String),
    /// Its removal.
    Remove(String),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provision(name, _) => write!(f, "provision {name}"),
            Self::Remove(name) => write!(f, "remove {name}"),
        }
    }
}

impl Ask {
    fn call(&self) -> Call {
        let clusters = format!("/v1/environments/{ENVIRONMENT}/clusters");
        match self {
            Self::Provision(name, address) => {
                Call::new(Method::POST, &clusters).body(specs::single(name, address).to_string())
            }
            Self::Remove(name) => Call::new(Method::DELETE, &format!("{clusters}/{name}"))
                .body(json!({"reason": "simulated"}).to_string()),
        }
    }
}

/// A user who looks after some clusters at the same time.
pub async fn user(house: Rc<House>, name: String, clusters: Vec<String>) -> turmoil::Result {
    let lives = clusters.into_iter().enumerate().map(|(n, cluster)| {
        let chance = Chance::of(house.seed, &format!("{name}/{cluster}"));
        let user =
            User { house: Rc::clone(&house), name: format!("{name}-{n}"), token: String::new(), chance, asked: 0 };
        user.looks_after(cluster)
    });
    join_all(lives).await;
    Ok(())
}

struct User {
    house: Rc<House>,
    name: String,
    token: String,
    chance: Chance,
    asked: u32,
}

impl User {
    /// Builds a cluster and removes it again, until the world is to end.
    async fn looks_after(mut self, cluster: String) {
        self.pause((Duration::ZERO, Duration::from_secs(20))).await;
        while !self.house.is_ending() {
            let address = format!("192.0.2.{}", 1 + self.chance.below(200));
            let Some(operation) = self.ask(&Ask::Provision(cluster.clone(), address)).await else { return };
            self.watch(operation).await;
            self.pause((Duration::ZERO, Duration::from_secs(20))).await;
            if !self.removes(&cluster).await {
                return;
            }
        }
    }

    /// Has a cluster removed; false when that does not succeed.
    async fn removes(&mut self, cluster: &str) -> bool {
        for _ in 0..REMOVALS {
            let Some(operation) = self.ask(&Ask::Remove(cluster.to_owned())).await else { return false };
            if self.watch(operation).await == "succeeded" {
                return true;
            }
            if self.house.is_ending() {
                return false;
            }
        }
        false
    }

    /// Asks until there is an answer; the operation, or nothing when it is refused.
    async fn ask(&mut self, ask: &Ask) -> Option<OperationId> {
        self.asked += 1;
        let key = format!("{}-{}", self.name, self.asked);
        self.house.model.asks(&key, ask);
        loop {
            let answer = self.send(ask.call().header("idempotency-key", &key)).await;
            match answer.as_ref().map(|answer| answer.status) {
                Some(StatusCode::ACCEPTED) => {
                    let location = answer.as_ref().map(|a| a.location.clone()).unwrap_or_default();
                    let id = location.rsplit('/').next().and_then(|id| id.parse().ok());
                    match id {
                        Some(id) => self.house.model.accepted(&key, id),
                        None => {
                            self.house.model.broken(format!("{key} was accepted without an operation: {location:?}"))
                        }
                    }
                    return id;
                }
                Some(status) if !passes(status) => {
                    let body = answer.map(|answer| answer.text()).unwrap_or_default();
                    self.house.model.broken(format!("{key} ({ask}) was refused: {status} {body}"));
                    return None;
                }
                _ => self.pause(AGAIN).await,
            }
        }
    }

    /// Watches an operation to its end; the state that it ends in.
    async fn watch(&mut self, operation: OperationId) -> String {
        let path = format!("/v1/operations/{operation}");
        loop {
            let answer = self.send(Call::new(Method::GET, &path)).await;
            match answer.as_ref().map(|answer| answer.status) {
                Some(StatusCode::OK) => {
                    let state = answer.map(|answer| answer.json()["state"].as_str().unwrap_or_default().to_owned());
                    let state = state.unwrap_or_default();
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
    }

    /// Sends a call; nothing when it is not answered. A token that is not accepted is exchanged.
    async fn send(&mut self, call: Call) -> Option<Answer> {
        if self.token.is_empty() {
            self.token = self.house.token(&self.name);
        }
        let answer = call.send(&self.house.trust, &self.token).await.ok();
        if answer.as_ref().is_some_and(|answer| answer.status == StatusCode::UNAUTHORIZED) {
            self.token.clear();
        }
        answer
    }

    async fn pause(&mut self, (least, most): (Duration, Duration)) {
        tokio::time::sleep(self.chance.between(least, most)).await;
    }
}

/// True for answers that may be others when it is asked again.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}
