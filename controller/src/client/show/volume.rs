//! State volumes, and what needs somebody.

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

use super::Kind;
use super::cell::{Cell, age, size, text};
use super::sheet::Sheet;

/// State volumes.
pub(in crate::client) static VOLUME: Kind = Kind {
    plural: "volumes",
    name: "/id",
    columns: &[
        ("ID", |volume, _| Cell::plain(text(volume, "/id"))),
        ("AGENT", |volume, _| Cell::plain(text(volume, "/agent/name"))),
        ("LINK", |volume, _| link(volume)),
        ("CLUSTERS", |volume, _| Cell::plain(text(volume, "/clusters"))),
        ("FREE", |volume, _| Cell::plain(size(volume, "/free_bytes"))),
        ("OF", |volume, _| Cell::plain(size(volume, "/total_bytes"))),
        ("SCRUBBED", |volume, now| Cell::plain(age(volume, "/scrub/ended_at", now))),
        ("FAULT", |volume, _| Cell::plain(fault(volume))),
    ],
    sheet: volume,
};

/// What needs somebody.
pub(in crate::client) static FINDING: Kind = Kind {
    plural: "findings",
    name: "/subject/name",
    columns: &[
        ("SEVERITY", |finding, _| Cell::state(text(finding, "/severity"))),
        ("SINCE", |finding, now| Cell::plain(age(finding, "/since", now))),
        ("WHAT", |finding, _| Cell::plain(text(finding, "/subject/kind"))),
        ("NAME", |finding, _| Cell::plain(text(finding, "/subject/name"))),
        ("MESSAGE", |finding, _| Cell::plain(text(finding, "/message"))),
        ("REMEDY", |finding, _| Cell::plain(text(finding, "/remedy"))),
    ],
    sheet: |finding, _| Sheet::default().line("Message", Cell::plain(text(finding, "/message"))),
};

fn link(volume: &Value) -> Cell {
    Cell::state(if volume["agent"]["online"] == true { "online" } else { "offline" }.to_owned())
}

fn fault(volume: &Value) -> String {
    let rot = volume["scrub"]["faults"].as_array().map_or(0, Vec::len);
    match (volume["fault"].as_str(), volume["below_reserve"] == true, rot) {
        (Some(_), _, _) => text(volume, "/fault"),
        (None, true, _) => "less space than its reserve".to_owned(),
        (None, false, 0) => text(volume, "/fault"),
        (None, false, rot) => format!("{rot} found by the last scrub"),
    }
}

fn volume(volume: &Value, now: Timestamp) -> Sheet {
    let clusters = volume["items"].as_array().into_iter().flatten();
    let row = |cluster: &Value| {
        let cells = ["/environment", "/name"].map(|pointer| Cell::plain(text(cluster, pointer)));
        cells
            .into_iter()
            .chain([Cell::state(text(cluster, "/phase")), Cell::plain(text(cluster, "/generation"))])
            .collect()
    };
    let rot = volume["scrub"]["faults"].as_array().into_iter().flatten();
    Sheet::default()
        .line("Id", Cell::plain(text(volume, "/id")))
        .given("Agent", volume, "/agent/name")
        .line("Link", link(volume))
        .given("Path", volume, "/path")
        .line("Free", Cell::plain(format!("{} of {}", size(volume, "/free_bytes"), size(volume, "/total_bytes"))))
        .line("Reserve", Cell::plain(size(volume, "/reserve_bytes")))
        .given("Fault", volume, "/fault")
        .line("Scrubbed", Cell::plain(age(volume, "/scrub/ended_at", now)))
        .given("Generations read", volume, "/scrub/checked")
        .each("Found", rot.map(|found| text(found, "")))
        .table("Clusters", vec!["ENVIRONMENT", "NAME", "PHASE", "GENERATION"], clusters.map(row).collect())
}
