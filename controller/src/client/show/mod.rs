//! Results as people or programs read them: a table or a sheet, the API's document as JSON or YAML, or
//! names alone.
//!
//! Documents are read with forbearance: a field that is not there is `-`, one that is not known is
//! left to JSON and YAML. Text is made harmless before it goes into a table.

mod agent;
mod alarm;
mod audit;
mod ca;
mod cell;
mod cluster;
mod environment;
mod operation;
mod removal;
mod resource;
mod sheet;
mod table;
mod volume;

pub(super) use agent::AGENT;
pub(super) use alarm::{ALARM, SIGNING_KEY};
pub(super) use audit::ENTRY;
pub(super) use ca::CA;
pub(super) use cluster::{CLUSTER, GENERATION};
pub(super) use environment::ENVIRONMENT;
pub(super) use operation::{OPERATION, cluster_of, failure};
pub(super) use removal::{ORPHANS, PREVIEW, RESIDUE, SCAN};
pub(super) use resource::{HEALTH, RESOURCE};
pub(super) use volume::{FINDING, VOLUME};

use cratekube_common::domain::time::Timestamp;
use serde_json::{Value, json};

use super::args::Format;
use super::console::Console;
use super::fault::Fault;
use cell::{Cell, text};
use sheet::Sheet;
use table::Table;

/// How one kind of thing is shown.
pub(super) struct Kind {
    /// The plural, for `there are no …`.
    plural: &'static str,
    /// Where in a document its name or id is: what other commands take.
    name: &'static str,
    /// Columns of a list.
    columns: &'static [Column],
    /// One of them, by itself.
    sheet: fn(&Value, Timestamp) -> Sheet,
}

/// A column: its head, and its cell for a document at a time.
type Column = (&'static str, fn(&Value, Timestamp) -> Cell);

/// Prints results.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    /// Where to.
    pub(super) console: Console,
    /// How.
    pub(super) format: Format,
    /// When: ages are told.
    pub(super) now: Timestamp,
}

impl Printer {
    /// Prints a list.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(super) fn list(&self, kind: &Kind, items: &[Value]) -> Result<(), Fault> {
        match self.format {
            Format::Name => {
                self.console.print(&items.iter().map(|item| text(item, kind.name) + "\n").collect::<String>())
            }
            Format::Json | Format::Yaml => self.document(&json!({"items": items})),
            Format::Table if items.is_empty() => {
                self.console.note(&format!("There are no {}.", kind.plural));
                Ok(())
            }
            Format::Table => {
                let head = kind.columns.iter().map(|(head, _)| *head).collect();
                let row = |item| kind.columns.iter().map(|(_, cell)| cell(item, self.now)).collect();
                let table = Table { head, rows: items.iter().map(row).collect() };
                self.console.print(&table.render(self.console.colour))
            }
        }
    }

    /// Prints one of its kind.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(super) fn one(&self, kind: &Kind, document: &Value) -> Result<(), Fault> {
        match self.format {
            Format::Name => self.console.print(&(text(document, kind.name) + "\n")),
            Format::Json | Format::Yaml => self.document(document),
            Format::Table => self.console.print(&(kind.sheet)(document, self.now).render(self.console.colour)),
        }
    }

    /// Prints a sentence for people; for programs, the document or the name that it is about.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(super) fn said(&self, sentence: &str, kind: &Kind, document: &Value) -> Result<(), Fault> {
        match self.format {
            Format::Table => self.console.print(&format!("{sentence}\n")),
            Format::Json | Format::Yaml | Format::Name => self.one(kind, document),
        }
    }

    /// Prints what programs read; people are told elsewhere.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(super) fn programs_only(&self, kind: &Kind, document: &Value) -> Result<(), Fault> {
        if self.format == Format::Table { Ok(()) } else { self.one(kind, document) }
    }

    /// Prints a document as it is.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(super) fn document(&self, document: &Value) -> Result<(), Fault> {
        let written = if self.format == Format::Yaml {
            serde_saphyr::to_string(document).map_err(|error| error.to_string())
        } else {
            serde_json::to_string_pretty(document).map(|text| text + "\n").map_err(|error| error.to_string())
        };
        self.console.print(&written.map_err(Fault::Odd)?)
    }
}
