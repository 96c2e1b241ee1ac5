//! The CA and its rotation.

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

use super::Kind;
use super::cell::{Cell, age, text};
use super::sheet::Sheet;

/// The CA.
pub(in crate::client) static CA: Kind = Kind {
    plural: "CAs",
    name: "/roots/0/sha256",
    columns: &[("SHA-256", |ca, _| Cell::plain(text(ca, "/roots/0/sha256")))],
    sheet: ca,
};

fn ca(ca: &Value, now: Timestamp) -> Sheet {
    let yes = |on: &Value| Cell::plain(if *on == true { "yes" } else { "no" });
    let root = |root: &Value| {
        vec![
            Cell::plain(text(root, "/sha256")),
            Cell::plain(text(root, "/key_algorithm")),
            Cell::plain(text(root, "/expires_at")),
            yes(&root["stays"]),
            yes(&root["shown"]),
        ]
    };
    let behind = |agent: &Value| {
        let online = if agent["online"] == true { "online" } else { "offline" };
        vec![
            Cell::plain(text(agent, "/name")),
            Cell::state(text(agent, "/state")),
            Cell::state(online.to_owned()),
            Cell::plain(age(agent, "/last_seen_at", now)),
        ]
    };
    let (roots, agents) = (ca["roots"].as_array(), ca["behind"].as_array());
    let sheet = Sheet::default().line("Rotation", Cell::state(text(ca, "/phase")));
    let sheet = if ca["rolled_back"] == true { sheet.line("Rolled back", yes(&Value::Bool(true))) } else { sheet };
    sheet
        .given("Begun", ca, "/begun_at")
        .given("Last step", ca, "/changed_at")
        .table("CAs", vec!["SHA-256", "KEY", "ENDS", "STAYS", "SHOWN"], roots.into_iter().flatten().map(root).collect())
        .table(
            "Agents behind",
            vec!["NAME", "STATE", "LINK", "SEEN"],
            agents.into_iter().flatten().map(behind).collect(),
        )
}
