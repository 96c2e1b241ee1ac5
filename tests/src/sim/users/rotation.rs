//! An administrator who rotates the CA, whatever goes wrong meanwhile: to its end or back, with patience for those
//! that are away or without.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{AGAIN, Call, LOOK, User, passes};

const CA: &str = "/v1/admin/ca";
/// How often a step is asked for again that agents are not ready for.
const PATIENCE: usize = 12;
/// Between two steps.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));

/// What came of a step.
enum Step {
    Taken,
    /// It was another's turn: it was taken before, and the answer was lost.
    Passed,
    /// These agents are not ready for it.
    Behind(Vec<String>),
}

/// Rotates the CA once.
pub(super) async fn rotates(admin: &mut User) {
    if !matches!(step(admin, "rotate", false).await, Step::Taken | Step::Passed) {
        return;
    }
    let back = admin.chance.one_in(3);
    admin.pause(PAUSE).await;
    if back && admin.chance.one_in(2) {
        ready(admin, "switch").await;
        admin.pause(PAUSE).await;
    }
    ready(admin, if back { "roll-back" } else { "switch" }).await;
    admin.pause(PAUSE).await;
    let left = ready(admin, "finish").await;
    admin.house.model.note(format!("the CA was {}", if back { "rolled back" } else { "rotated" }));
    for name in left {
        if !is_out(admin, &name).await {
            continue;
        }
        admin.house.model.note(format!("{name} was left behind by it, and may join anew"));
        admin.lets_join(&name).await;
    }
}

/// Whether an agent was revoked with the rotation: one that came at the last moment was not.
async fn is_out(admin: &mut User, name: &str) -> bool {
    loop {
        let listed = admin.send(Call::new(Method::GET, "/v1/admin/agents")).await;
        if let Some(listed) = listed.filter(|answer| answer.status == StatusCode::OK) {
            let document = listed.json();
            let theirs = document["items"].as_array().into_iter().flatten().filter(|agent| agent["name"] == name);
            return theirs.into_iter().all(|agent| agent["state"] == "revoked");
        }
        admin.pause(AGAIN).await;
    }
}

/// Takes a step: waits for who is behind, for some time or not at all. Answers who was left behind.
async fn ready(admin: &mut User, name: &str) -> Vec<String> {
    let patience = if admin.chance.one_in(3) { 0 } else { PATIENCE };
    let mut behind = Vec::new();
    for tries in 0.. {
        match step(admin, name, tries > patience).await {
            Step::Taken | Step::Passed => return if tries > patience { behind } else { Vec::new() },
            Step::Behind(names) => behind = names,
        }
        admin.pause(LOOK).await;
    }
    behind
}

async fn step(admin: &mut User, name: &str, leave_behind: bool) -> Step {
    let mut body = json!({"reason": "simulated"});
    if leave_behind && name != "roll-back" {
        body["leave_behind"] = json!(true);
    }
    admin.house.model.note(format!("admin asks: CA {name}{}", if leave_behind { ", whoever is behind" } else { "" }));
    loop {
        let call = Call::new(Method::POST, &format!("{CA}/{name}")).body(body.to_string());
        let Some(answer) = admin.send(call).await else {
            admin.pause(AGAIN).await;
            continue;
        };
        match answer.status {
            StatusCode::OK => return Step::Taken,
            StatusCode::CONFLICT => {
                let document = answer.json();
                if document["type"] == "/problems/ca-rotation-step" {
                    return Step::Passed;
                }
                let name = |agent: &Value| agent["name"].as_str().map(str::to_owned);
                return Step::Behind(document["behind"].as_array().into_iter().flatten().filter_map(name).collect());
            }
            status if passes(status) => admin.pause(AGAIN).await,
            status => {
                admin.house.model.broken(format!("the CA's {name} was refused: {status} {}", answer.text()));
                return Step::Passed;
            }
        }
    }
}
