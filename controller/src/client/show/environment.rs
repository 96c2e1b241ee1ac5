//! Environments.

use super::Kind;
use super::cell::{Cell, text};
use super::sheet::Sheet;

/// Environments.
pub(in crate::client) static ENVIRONMENT: Kind = Kind {
    plural: "environments that you may see",
    name: "/name",
    columns: &[
        ("NAME", |environment, _| Cell::plain(text(environment, "/name"))),
        ("CLUSTERS", |environment, _| Cell::plain(text(environment, "/clusters"))),
        ("YOUR ROLE", |environment, _| Cell::plain(text(environment, "/role"))),
    ],
    sheet: |environment, _| Sheet::default().line("Name", Cell::plain(text(environment, "/name"))),
};
