//! Agents.

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

use super::Kind;
use super::cell::{Cell, age, size, text};
use super::sheet::Sheet;

/// Agents.
pub(in crate::client) static AGENT: Kind = Kind {
    plural: "agents",
    name: "/name",
    columns: &[
        ("NAME", |agent, _| Cell::plain(text(agent, "/name"))),
        ("STATE", |agent, _| state(agent)),
        ("LINK", |agent, _| link(agent)),
        ("SLOTS", |agent, _| Cell::plain(slots(agent))),
        ("RUNNING", |agent, _| Cell::plain(agent["running"].as_array().map_or(0, Vec::len).to_string())),
        ("ENVIRONMENTS", |agent, _| Cell::plain(text(agent, "/environments"))),
        ("VERSION", |agent, _| Cell::plain(text(agent, "/version"))),
        ("SEEN", |agent, now| Cell::plain(age(agent, "/last_seen_at", now))),
        ("ID", |agent, _| Cell::plain(text(agent, "/id"))),
    ],
    sheet: agent,
};

fn state(agent: &Value) -> Cell {
    let state = if agent["banned"] == true { "banned".to_owned() } else { text(agent, "/state") };
    match (state.as_str(), agent["drained"] == true) {
        ("draining", true) => Cell::plain("drained"),
        _ => Cell::state(state),
    }
}

fn link(agent: &Value) -> Cell {
    Cell::state(if agent["online"] == true { "online" } else { "offline" }.to_owned())
}

/// Free of all.
fn slots(agent: &Value) -> String {
    format!("{}/{}", text(agent, "/free_slots"), text(agent, "/slots"))
}

fn agent(agent: &Value, now: Timestamp) -> Sheet {
    let volumes = agent["volumes"].as_array().into_iter().flatten();
    let volume = |volume: &Value| {
        let free = format!("{} of {}", size(volume, "/free_bytes"), size(volume, "/total_bytes"));
        ["/path", "/id"]
            .map(|pointer| Cell::plain(text(volume, pointer)))
            .into_iter()
            .chain([Cell::plain(free), Cell::plain(text(volume, "/fault"))])
            .collect()
    };
    let running = agent["running"].as_array().into_iter().flatten();
    let happened = agent["history"].as_array().into_iter().flatten();
    let event = |event: &Value| {
        let cluster = format!("{}/{}", text(event, "/environment"), text(event, "/cluster"));
        let cluster = if event["cluster"].is_string() { cluster } else { "-".to_owned() };
        let cells = [age(event, "/at", now), text(event, "/kind"), cluster, text(event, "/operation")];
        cells.into_iter().map(Cell::plain).collect()
    };
    let rehearsal = if agent["rke"]["rehearsal"] == true { " (rehearsal)" } else { "" };
    Sheet::default()
        .line("Name", Cell::plain(text(agent, "/name")))
        .line("State", state(agent))
        .line("Link", link(agent))
        .line("Last seen", Cell::plain(age(agent, "/last_seen_at", now) + " ago"))
        .line("Environments", Cell::plain(text(agent, "/environments")))
        .line("Free slots", Cell::plain(slots(agent)))
        .given("Load", agent, "/load")
        .given("Clock skew (ms)", agent, "/clock_skew_ms")
        .given("Hostname", agent, "/hostname")
        .given("Address", agent, "/address")
        .given("Version", agent, "/version")
        .line("rke", Cell::plain(text(agent, "/rke/version") + rehearsal))
        .given("Kubernetes", agent, "/kubernetes_versions")
        .given("Certificate ends", agent, "/certificate/expires_at")
        .given("Certificate serial", agent, "/certificate/serial")
        .line("Enrolled", Cell::plain(text(agent, "/enrolled_at")))
        .each("Running", running.map(|attempt| text(attempt, "")))
        .line("Id", Cell::plain(text(agent, "/id")))
        .table("Volumes", vec!["PATH", "ID", "FREE", "FAULT"], volumes.map(volume).collect())
        .table("History", vec!["AGO", "WHAT", "CLUSTER", "OPERATION"], happened.map(event).collect())
}
