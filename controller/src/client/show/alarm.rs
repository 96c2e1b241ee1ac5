//! Alarms, and the keys that sign tokens.

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

use super::Kind;
use super::cell::{Cell, age, text};
use super::sheet::Sheet;

/// Alarms.
pub(in crate::client) static ALARM: Kind = Kind {
    plural: "alarms",
    name: "/number",
    columns: &[
        ("NUMBER", |alarm, _| Cell::plain(text(alarm, "/number"))),
        ("STATE", |alarm, _| state(alarm)),
        ("KIND", |alarm, _| Cell::plain(text(alarm, "/kind"))),
        ("ABOUT", |alarm, _| Cell::plain(text(alarm, "/object"))),
        ("TIMES", |alarm, _| Cell::plain(text(alarm, "/count"))),
        ("LAST", |alarm, now| Cell::plain(age(alarm, "/last_at", now))),
        ("DETAIL", |alarm, _| Cell::plain(text(alarm, "/detail"))),
        ("REMEDY", |alarm, _| Cell::plain(text(alarm, "/remedy"))),
    ],
    sheet: alarm,
};

/// Keys that sign tokens.
pub(in crate::client) static SIGNING_KEY: Kind = Kind {
    plural: "keys",
    name: "/kid",
    columns: &[
        ("KEY", |key, _| Cell::plain(text(key, "/kid"))),
        ("SIGNS", |key, _| Cell::plain(if key["signs"] == true { "yes" } else { "no" })),
        ("ENDS", |key, _| Cell::plain(text(key, "/ends_at"))),
    ],
    sheet: |key, _| Sheet::default().line("Key", Cell::plain(text(key, "/kid"))),
};

fn state(alarm: &Value) -> Cell {
    Cell::state(if alarm["open"] == true { "open" } else { "acknowledged" }.to_owned())
}

fn alarm(alarm: &Value, now: Timestamp) -> Sheet {
    Sheet::default()
        .line("Number", Cell::plain(text(alarm, "/number")))
        .line("State", state(alarm))
        .line("Kind", Cell::plain(text(alarm, "/kind")))
        .line("About", Cell::plain(text(alarm, "/object")))
        .line("Detail", Cell::plain(text(alarm, "/detail")))
        .line("What to do", Cell::plain(text(alarm, "/remedy")))
        .line("Last", Cell::plain(age(alarm, "/last_at", now)))
        .given("Seen to by", alarm, "/acknowledged/by")
        .given("Reason", alarm, "/acknowledged/reason")
}
