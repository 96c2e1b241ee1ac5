//! Tables: aligned columns, nothing at the ends of lines.

use super::cell::Cell;

/// Columns with their heads.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The table as text, each line ended.
    pub(super) fn render(&self, colour: bool) -> String {
        let head: Vec<_> = self.head.iter().map(|text| Cell::plain(*text)).collect();
        let lines: Vec<_> = [&head].into_iter().chain(&self.rows).collect();
        let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(width_of).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.head.len()).map(width).collect();
        lines.iter().map(|line| render_line(line, &widths, colour)).collect()
    }
}

fn width_of(cell: &Cell) -> usize {
    cell.text.chars().count()
}

fn render_line(cells: &[Cell], widths: &[usize], colour: bool) -> String {
    let mut line = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line.push_str(&cell.painted(colour));
        if i + 1 < cells.len() {
            line.extend(std::iter::repeat_n(' ', width - width_of(cell) + 2));
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen_whatever_the_colours() {
        let row = |name: &str, state: &str| vec![Cell::plain(name), Cell::state(state.to_owned()), Cell::plain("x")];
        let table =
            Table { head: vec!["NAME", "STATE", "X"], rows: vec![row("wéb", "ready"), row("database", "failed")] };
        assert_eq!(table.render(false), "NAME      STATE   X\nwéb       ready   x\ndatabase  failed  x\n");
        let painted = table.render(true);
        let plain = painted.replace("\u{1b}[32m", "").replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
        assert_eq!(plain, table.render(false));
        assert!(painted.contains("\u{1b}[31mfailed\u{1b}[0m  x"), "{painted}");
    }
}
