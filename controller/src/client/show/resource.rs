//! Managed resources, and how a cluster is.

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

use super::Kind;
use super::cell::{Cell, age, some, text};
use super::sheet::Sheet;

/// Managed resources.
pub(in crate::client) static RESOURCE: Kind = Kind {
    plural: "resources",
    name: "/name",
    columns: &[
        ("NAME", |resource, _| Cell::plain(text(resource, "/name"))),
        ("STATE", |resource, _| state(resource)),
        ("MODE", |resource, _| Cell::plain(text(resource, "/mode"))),
        ("REVISION", |resource, _| Cell::plain(text(resource, "/revision"))),
        ("OBJECTS", |resource, _| Cell::plain(count(resource, "wanted"))),
        ("FAULTS", |resource, _| Cell::plain(count(resource, "faults"))),
        ("BY", |resource, _| Cell::plain(text(resource, "/requested_by"))),
        ("CHANGED", |resource, now| Cell::plain(age(resource, "/updated_at", now))),
    ],
    sheet: resource,
};

/// How a cluster is.
pub(in crate::client) static HEALTH: Kind = Kind { plural: "clusters", name: "/name", columns: &[], sheet: health };

fn state(resource: &Value) -> Cell {
    if resource["withdrawn"] == true {
        Cell::state("withdrawn".to_owned())
    } else {
        Cell::state(text(resource, "/state"))
    }
}

fn count(resource: &Value, list: &str) -> String {
    resource[list].as_array().map_or(0, Vec::len).to_string()
}

/// `Deployment shop/web`.
fn object(object: &Value) -> String {
    let name = text(object, "/name");
    let name = some(object, "/namespace").map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
    format!("{} {name}", text(object, "/kind"))
}

fn resource(resource: &Value, now: Timestamp) -> Sheet {
    let list = |name: &str| resource[name].as_array().cloned().unwrap_or_default();
    let fault = |fault: &Value| {
        let about = if fault["object"].is_null() { "the whole manifest".to_owned() } else { object(&fault["object"]) };
        [about, text(fault, "/reason"), text(fault, "/message")].map(Cell::plain).to_vec()
    };
    Sheet::default()
        .line("Name", Cell::plain(text(resource, "/name")))
        .line("State", state(resource))
        .line("Mode", Cell::plain(text(resource, "/mode")))
        .line("Revision", Cell::plain(text(resource, "/revision")))
        .line("Changed by", Cell::plain(text(resource, "/requested_by")))
        .line("Changed", Cell::plain(age(resource, "/updated_at", now)))
        .line("Checked", Cell::plain(age(resource, "/checked_at", now)))
        .each("Object", list("wanted").iter().map(object))
        .table("Faults", vec!["OBJECT", "REASON", "MESSAGE"], list("faults").iter().map(fault).collect())
}

fn health(health: &Value, now: Timestamp) -> Sheet {
    let list = |name: &str| health[name].as_array().cloned().unwrap_or_default();
    let check = |check: &Value| {
        vec![
            Cell::plain(text(check, "/name")),
            Cell::state(text(check, "/outcome")),
            Cell::plain(text(check, "/detail")),
        ]
    };
    let certificate = |of: &Value| ["/name", "/not_after"].map(|at| Cell::plain(text(of, at))).to_vec();
    let sheet = Sheet::default()
        .line("Name", Cell::plain(text(health, "/name")))
        .line("Phase", Cell::state(text(health, "/phase")))
        .line("Status", Cell::state(text(health, "/status")))
        .line("Checked", Cell::plain(age(health, "/checked_at", now)));
    let stale = (health["stale"] == true).then(|| "too old to go by: cratekube cluster verify".to_owned());
    sheet
        .each("The check is", stale)
        .given("Kubernetes", health, "/kubernetes_version")
        .table("Checks", vec!["CHECK", "OUTCOME", "FOUND"], list("checks").iter().map(check).collect())
        .table("Certificates", vec!["NAME", "ENDS"], list("certificates").iter().map(certificate).collect())
}
