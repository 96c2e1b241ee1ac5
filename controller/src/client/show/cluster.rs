//! Clusters and the generations of their state.

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

use super::Kind;
use super::cell::{Cell, age, size, text};
use super::sheet::Sheet;

/// Clusters.
pub(in crate::client) static CLUSTER: Kind = Kind {
    plural: "clusters",
    name: "/name",
    columns: &[
        ("ENVIRONMENT", |cluster, _| Cell::plain(text(cluster, "/environment"))),
        ("NAME", |cluster, _| Cell::plain(text(cluster, "/name"))),
        ("PHASE", |cluster, _| Cell::state(text(cluster, "/phase"))),
        ("KUBERNETES", |cluster, _| Cell::plain(text(cluster, "/kubernetes_version"))),
        ("NODES", |cluster, _| Cell::plain(text(cluster, "/nodes"))),
        ("OPERATION", |cluster, _| Cell::plain(text(cluster, "/operation"))),
        ("AGE", |cluster, now| Cell::plain(age(cluster, "/created_at", now))),
    ],
    sheet: cluster,
};

fn cluster(cluster: &Value, now: Timestamp) -> Sheet {
    let conditions = cluster["conditions"].as_array().into_iter().flatten();
    let condition = |condition: &Value| format!("{}: {}", text(condition, "/kind"), text(condition, "/message"));
    let nodes = cluster["spec"]["nodes"].as_array().into_iter().flatten();
    let node = |node: &Value| {
        let labels = node["labels"].as_object().into_iter().flatten();
        let labels: Vec<_> = labels.map(|(key, value)| format!("{key}={}", text(value, ""))).collect();
        vec![
            Cell::plain(text(node, "/address")),
            Cell::plain(text(node, "/roles")),
            Cell::plain(if labels.is_empty() { "-".to_owned() } else { labels.join(", ") }),
        ]
    };
    Sheet::default()
        .line("Name", Cell::plain(text(cluster, "/name")))
        .line("Environment", Cell::plain(text(cluster, "/environment")))
        .line("Phase", Cell::state(text(cluster, "/phase")))
        .line("Kubernetes", Cell::plain(text(cluster, "/kubernetes_version")))
        .given("Operation", cluster, "/operation")
        .given("Failure", cluster, "/failure/message")
        .given("Class", cluster, "/failure/class")
        .given("What to do", cluster, "/failure/remedy")
        .each("Condition", conditions.map(condition))
        .given("Protected", cluster, "/deletion_protection")
        .given("Generation", cluster, "/generation")
        .given("CA (SHA-256)", cluster, "/ca_sha256")
        .given("Volume", cluster, "/volume")
        .line("Revision", Cell::plain(text(cluster, "/revision")))
        .line("Age", Cell::plain(age(cluster, "/created_at", now)))
        .line("Id", Cell::plain(text(cluster, "/id")))
        .table("Nodes", vec!["ADDRESS", "ROLES", "LABELS"], nodes.map(node).collect())
}

/// Generations.
pub(in crate::client) static GENERATION: Kind = Kind {
    plural: "generations",
    name: "/number",
    columns: &[
        ("NUMBER", |generation, _| Cell::plain(text(generation, "/number"))),
        ("STATE", |generation, _| Cell::state(if generation["good"] == true { "good" } else { "broken" }.to_owned())),
        ("FILES", |generation, _| Cell::plain(generation["files"].as_array().map_or(0, Vec::len).to_string())),
        ("BYTES", |generation, _| {
            let files = generation["files"].as_array().into_iter().flatten();
            let bytes: u64 = files.filter_map(|file| file["bytes"].as_u64()).sum();
            Cell::plain(size(&serde_json::json!(bytes), ""))
        }),
        ("SEALED", |generation, _| Cell::plain(text(generation, "/sealed_at"))),
        ("OPERATION", |generation, _| Cell::plain(text(generation, "/operation"))),
        ("FAULT", |generation, _| Cell::plain(text(generation, "/fault"))),
    ],
    sheet: |generation, _| Sheet::default().line("Number", Cell::plain(text(generation, "/number"))),
};
