//! Rows as text.
use std::fmt::{self, Formatter};

use crate::statistics::Spread;
use crate::verdict::Row;

/// The rows, a figure in each of `columns`: ratios with their quartiles, others by their median.
/// Invalid blocks are those that `fault`.
///
/// # Errors
/// When `out` takes no more.
pub fn table(out: &mut Formatter<'_>, columns: &[&str], rows: &[Row], fault: &str) -> fmt::Result {
    let names = rows.iter().map(|row| row.name.chars().count());
    let name_width = names.max().unwrap_or(0).max(24);
    let width = |column: &str| if is_ratio(column) { 20 } else { 10 }.max(column.len());
    let any_invalid = rows.iter().any(|row| row.blocks_invalid > 0);
    write!(out, "{:<name_width$} {:>6}", "", "blocks")?;
    if any_invalid {
        write!(out, " {:>7}", "invalid")?;
    }
    write!(out, " {:>11}", "n")?;
    for column in columns {
        write!(out, "  {column:>width$}", width = width(column))?;
    }
    writeln!(out)?;
    for row in rows {
        let Row { name, blocks_valid, blocks_invalid, count, figures } = row;
        write!(out, "{name:<name_width$} {blocks_valid:>6}")?;
        if any_invalid {
            write!(out, " {blocks_invalid:>7}")?;
        }
        write!(out, " {count:>11}")?;
        for (column, figure) in columns.iter().zip(figures) {
            let cell = figure.map_or("-".to_owned(), |spread| cell(spread, is_ratio(column)));
            write!(out, "  {cell:>width$}", width = width(column))?;
        }
        writeln!(out)?;
        if blocks_invalid > blocks_valid {
            writeln!(out, "  DOUBTFUL: most blocks of {name} {fault}; find out why")?;
        }
    }
    Ok(())
}

/// Whether a column has ratios: "x other", "one / other".
pub(crate) fn is_ratio(column: &str) -> bool {
    column.starts_with("x ") || column.contains(" / ")
}

/// The median, and the quartiles of a ratio, with three or four digits that matter.
pub(crate) fn cell(spread: Spread, with_quartiles: bool) -> String {
    let Spread { first_quartile, median, third_quartile, .. } = spread;
    let digits = digits(median);
    if with_quartiles {
        format!("{median:.digits$} [{first_quartile:.digits$} {third_quartile:.digits$}]")
    } else {
        format!("{median:.digits$}")
    }
}

/// How many digits behind the point matter.
pub(crate) fn digits(value: f64) -> usize {
    match value.abs() {
        value if value < 10.0 => 3,
        value if value < 1000.0 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_quartiles_and_others_do_not() {
        let spread = Spread::of(vec![1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(cell(spread, true), "3.000 [2.000 4.000]");
        assert_eq!(cell(spread, false), "3.000");
        assert_eq!(cell(Spread::of(vec![123.45]).unwrap(), false), "123.5");
        assert_eq!(cell(Spread::of(vec![12345.6]).unwrap(), false), "12346");
        assert!(is_ratio("x rtrb") && is_ratio("p50 / bare") && !is_ratio("p50 ns"));
    }
}
