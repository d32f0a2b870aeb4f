//! Columns for people: what `ls` and `stat` print without `--json`.

use std::io::{self, Write};

/// Rows of cells under a heading.
pub(crate) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
    /// So many first columns start at the left; the others, which are numbers, end at the right.
    names: usize,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(crate) fn new(headings: [&str; COLUMNS], names: usize) -> Self {
        Self { rows: vec![headings.map(str::to_owned)], names }
    }

    pub(crate) fn push(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    /// Writes the rows, each behind `indent`.
    ///
    /// # Errors
    /// When `out` fails.
    pub(crate) fn write(&self, out: &mut impl Write, indent: &str) -> io::Result<()> {
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let separator = if column == 0 { indent } else { "  " };
                line += separator;
                if column < self.names {
                    line += &format!("{cell:<width$}");
                } else {
                    line += &format!("{cell:>width$}");
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A number that there may not be.
pub(crate) fn or_dash(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}
