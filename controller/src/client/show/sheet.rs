//! Sheets: one thing, a line for each of its properties, and tables below.

use serde_json::Value;

use super::cell::{Cell, some};
use super::table::Table;

/// One thing.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    lines: Vec<(&'static str, Cell)>,
    tables: Vec<(&'static str, Table)>,
}

impl Sheet {
    /// With a line.
    pub(super) fn line(mut self, label: &'static str, cell: Cell) -> Self {
        self.lines.push((label, cell));
        self
    }

    /// With a line for what is at a JSON pointer, if there is something.
    pub(super) fn given(self, label: &'static str, document: &Value, pointer: &str) -> Self {
        match some(document, pointer) {
            Some(text) => self.line(label, Cell::plain(text)),
            None => self,
        }
    }

    /// With a line for each part of a list.
    pub(super) fn each(self, label: &'static str, parts: impl IntoIterator<Item = String>) -> Self {
        parts.into_iter().fold(self, |sheet, part| sheet.line(label, Cell::plain(part)))
    }

    /// With a table, unless it is empty.
    pub(super) fn table(mut self, title: &'static str, head: Vec<&'static str>, rows: Vec<Vec<Cell>>) -> Self {
        if !rows.is_empty() {
            self.tables.push((title, Table { head, rows }));
        }
        self
    }

    /// The sheet as text, each line ended.
    pub(super) fn render(&self, colour: bool) -> String {
        let width = self.lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 1;
        let line = |(label, cell): &(&str, Cell)| {
            let label = if label.is_empty() { String::new() } else { format!("{label}:") };
            format!("{label:width$}  {}\n", cell.painted(colour))
        };
        let mut text: String = self.lines.iter().map(line).collect();
        for (title, table) in &self.tables {
            text.push_str(&format!("\n{title}:\n"));
            text.extend(table.render(colour).lines().map(|line| format!("  {line}\n")));
        }
        text
    }
}
