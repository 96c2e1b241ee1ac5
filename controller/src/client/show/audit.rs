//! Entries of the audit log.

use super::Kind;
use super::cell::{Cell, text};
use super::sheet::Sheet;

/// Entries.
pub(in crate::client) static ENTRY: Kind = Kind {
    plural: "entries",
    name: "/number",
    columns: &[
        ("NUMBER", |entry, _| Cell::plain(text(entry, "/number"))),
        ("AT", |entry, _| Cell::plain(text(entry, "/at"))),
        ("ACTOR", |entry, _| Cell::plain(text(entry, "/actor"))),
        ("FROM", |entry, _| Cell::plain(text(entry, "/origin"))),
        ("ACTION", |entry, _| Cell::plain(text(entry, "/action"))),
        ("OBJECT", |entry, _| Cell::plain(text(entry, "/object"))),
        ("OUTCOME", |entry, _| Cell::state(text(entry, "/outcome"))),
        ("DETAIL", |entry, _| Cell::plain(text(entry, "/detail"))),
    ],
    sheet: |entry, _| Sheet::default().line("Number", Cell::plain(text(entry, "/number"))),
};
