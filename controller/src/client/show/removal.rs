//! What a removal would do, what it left, and what nobody removed.

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

use super::Kind;
use super::cell::{Cell, text};
use super::sheet::Sheet;

/// What a removal would do.
pub(in crate::client) static PREVIEW: Kind =
    Kind { plural: "previews", name: "/cluster/name", columns: &[], sheet: preview };

/// What a removal left.
pub(in crate::client) static RESIDUE: Kind =
    Kind { plural: "reports", name: "/report/operation", columns: &[], sheet: residue };

/// A look for orphans.
pub(in crate::client) static SCAN: Kind = Kind {
    plural: "scans",
    name: "/id",
    columns: &[
        ("ID", |scan, _| Cell::plain(text(scan, "/id"))),
        ("BEGUN", |scan, _| Cell::plain(text(scan, "/begun_at"))),
        ("ENDED", |scan, _| Cell::plain(text(scan, "/ended_at"))),
    ],
    sheet: |scan, _| {
        Sheet::default()
            .line("Scan", Cell::plain(text(scan, "/id")))
            .line("Begun", Cell::plain(text(scan, "/begun_at")))
    },
};

/// Orphans, by the cluster that they were made for.
pub(in crate::client) static ORPHANS: Kind = Kind {
    plural: "orphans that the last scan saw",
    name: "/name",
    columns: &[
        ("CLUSTER", |group, _| Cell::plain(text(group, "/name"))),
        ("WHY", |group, _| Cell::plain(text(group, "/reason"))),
        ("OBJECTS", |group, _| Cell::plain(text(group, "/count"))),
        ("OLDEST", |group, _| Cell::plain(format!("{} d", text(group, "/age_days")))),
        ("USD A MONTH", |group, _| Cell::plain(dollars(&group["monthly_cents"]))),
        ("SEEN BY", |group, _| Cell::plain(text(group, "/agent"))),
    ],
    sheet: |_, _| Sheet::default(),
};

fn preview(preview: &Value, _: Timestamp) -> Sheet {
    let refused = preview["refused_because"].as_array().into_iter().flatten();
    let list = |pointer: &str| {
        let items = preview.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    Sheet::default()
        .line(
            "Cluster",
            Cell::plain(format!("{}/{}", text(preview, "/cluster/environment"), text(preview, "/cluster/name"))),
        )
        .line("Data", Cell::plain(text(preview, "/data_policy")))
        .line("Steps", Cell::plain(list("/steps")))
        .line("Hosts", Cell::plain(list("/hosts")))
        .each("Refused now", refused.map(|why| text(why, "")))
        .given("Unverified", preview, "/unverified")
        .line("USD a month", Cell::plain(costs(&preview["monthly_cents_freed"], &preview["monthly_cents_kept"])))
        .given("Prices", preview, "/prices")
        .table("Objects in the cloud", OBJECT_HEAD.to_vec(), objects(&preview["cloud"]["entries"]))
}

fn costs(freed: &Value, kept: &Value) -> String {
    if freed.is_null() { "not known".to_owned() } else { format!("{} saved, {} kept", dollars(freed), dollars(kept)) }
}

fn residue(residue: &Value, _: Timestamp) -> Sheet {
    let report = &residue["report"];
    let because = report["because"].as_array().into_iter().flatten();
    let tally = &report["cloud"]["tally"];
    let step = |step: &Value| {
        vec![
            Cell::plain(text(step, "/step")),
            Cell::state(text(step, "/state")),
            Cell::plain(text(step, "/outcome")),
            Cell::plain(text(step, "/why")),
        ]
    };
    let host = |host: &Value| {
        vec![
            Cell::plain(text(host, "/address")),
            Cell::plain(text(host, "/outcome")),
            Cell::plain(text(host, "/detail")),
        ]
    };
    let rows =
        |list: &Value, row: &dyn Fn(&Value) -> Vec<Cell>| list.as_array().into_iter().flatten().map(row).collect();
    let sums = || {
        let of = |name: &str| dollars(&tally[name]);
        let (freed, left, kept) = (of("monthly_cents_freed"), of("monthly_cents_left"), of("monthly_cents_kept"));
        format!("{freed} freed, {left} left, {kept} kept")
    };
    Sheet::default()
        .line("Removal", Cell::plain(text(report, "/operation")))
        .line("Cluster", Cell::plain(format!("{}/{}", text(report, "/environment"), text(report, "/cluster"))))
        .line("Verdict", Cell::state(text(report, "/verdict")))
        .each("Because", because.map(|why| text(why, "")))
        .given("Data", report, "/data_policy")
        .each("USD a month", Some(tally).filter(|tally| tally.is_object()).map(|_| sums()))
        .given("Prices", report, "/cloud/prices")
        .given("Abandoned by", report, "/abandoned/by")
        .given("Reason", report, "/abandoned/reason")
        .given("State kept until", report, "/tombstone/shred_after")
        .table("Steps", vec!["STEP", "STATE", "OUTCOME", "WHY"], rows(&report["steps"], &step))
        .table("Hosts", vec!["HOST", "OUTCOME", "DETAIL"], rows(&report["hosts"], &host))
        .table("Objects in the cloud", OBJECT_HEAD.to_vec(), objects(&report["cloud"]["objects"]))
}

const OBJECT_HEAD: [&str; 6] = ["KIND", "ID", "NAME", "FATE", "USD A MONTH", "WHY"];

fn objects(entries: &Value) -> Vec<Vec<Cell>> {
    let row = |entry: &Value| {
        vec![
            Cell::plain(text(entry, "/kind")),
            Cell::plain(text(entry, "/id")),
            Cell::plain(text(entry, "/name")),
            Cell::plain(text(entry, "/fate")),
            Cell::plain(dollars(&entry["monthly_cents"])),
            Cell::plain(text(entry, "/why")),
        ]
    };
    entries.as_array().into_iter().flatten().map(row).collect()
}

fn dollars(cents: &Value) -> String {
    cents.as_u64().map_or_else(|| "-".to_owned(), |cents| format!("{}.{:02}", cents / 100, cents % 100))
}
