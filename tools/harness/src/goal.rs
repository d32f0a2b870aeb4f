//! Bounds on what was found, and whether they were kept.
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::verdict::Row;

/// A bound on a figure.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// What became of a goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// What was to be.
    pub goal: String,
    /// Nothing where no valid block told the figure. Of a goal about all peers, by how many times
    /// tickcast is better than the best of them.
    pub figure: Option<f64>,
    /// Whether it was.
    pub met: Option<bool>,
    /// Of a goal about all peers: those for whose sake it was missed, or not measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because_of: Vec<String>,
}

impl Outcome {
    /// Sets `figure` against a bound; `who` and `yardstick` say of what it is the ratio.
    pub fn new(who: &str, bound: Bound, yardstick: &str, figure: Option<f64>) -> Self {
        let goal = format!("{who} {bound} x {yardstick}");
        let met = figure.map(|figure| bound.admits(figure));
        Self { goal, figure, met, because_of: Vec::new() }
    }
}

/// The name of a row and the number of a column.
type Place = (&'static str, usize);

/// A bound on the median of a figure of a table.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    who: &'static str,
    bound: Bound,
    yardstick: &'static str,
    /// Which figure it is about.
    pub figure: Place,
}

impl Goal {
    /// `who` keeps to a bound on its ratio to `yardstick`.
    pub const fn new(
        who: &'static str,
        bound: Bound,
        yardstick: &'static str,
        figure: Place,
    ) -> Self {
        Self { who, bound, yardstick, figure }
    }

    /// Judges the rows of a table.
    pub fn judge(&self, rows: &[Row]) -> Outcome {
        let (name, column) = self.figure;
        let row = rows.iter().find(|row| row.name == name);
        let spread = row.and_then(|row| row.figures.get(column).copied().flatten());
        Outcome::new(self.who, self.bound, self.yardstick, spread.map(|spread| spread.median))
    }
}

impl Bound {
    fn admits(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }
}

impl Display for Bound {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(out, "at most {bound:.2}"),
            Self::AtLeast(bound) => write!(out, "at least {bound:.2}"),
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { goal, figure, met, because_of } = self;
        let names = because_of.join("; ");
        write!(out, "goal: {goal}: ")?;
        match (figure, met) {
            (Some(figure), Some(true)) => write!(out, "{figure:.3}, met"),
            (Some(figure), _) if names.is_empty() => write!(out, "{figure:.3}, missed"),
            (Some(_), _) => write!(out, "{names}, missed"),
            (None, _) if names.is_empty() => write!(out, "not measured"),
            (None, _) => write!(out, "not measured: {names}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Spread;

    const GOAL: Goal = Goal::new("bus p50", Bound::AtMost(1.1), "bare hand-off", ("bus", 1));

    fn row(name: &str, figures: &[Option<f64>]) -> Row {
        let figures = figures.iter().map(|figure| Spread::of(vec![(*figure)?])).collect();
        Row { name: name.to_owned(), blocks_valid: 1, blocks_invalid: 0, count: 1, figures }
    }

    #[test]
    fn a_figure_at_the_bound_keeps_it() {
        for (figure, expected) in [(1.1, "1.100, met"), (1.101, "1.101, missed")] {
            let rows = [row("other", &[Some(9.0), None]), row("bus", &[None, Some(figure)])];
            let told = GOAL.judge(&rows).to_string();
            assert_eq!(told, format!("goal: bus p50 at most 1.10 x bare hand-off: {expected}"));
        }
        assert_eq!(Outcome::new("a", Bound::AtLeast(3.0), "b", Some(3.0)).met, Some(true));
        assert_eq!(Outcome::new("a", Bound::AtLeast(3.0), "b", Some(2.9)).met, Some(false));
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        for rows in [&[][..], &[row("bus", &[None, None])], &[row("bus", &[])]] {
            let outcome = GOAL.judge(rows);
            assert_eq!((outcome.figure, outcome.met), (None, None));
            assert!(outcome.to_string().ends_with(": not measured"), "{outcome}");
        }
    }
}
