//! What the bus is meant to reach, set against what a regime showed: change here the goals.
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::verdict::Row;

/// The row of the bus's fastest variant of each round, which is set against that of the hand-off.
pub(crate) const FASTEST_ON_BUS: &str = "bus, the faster of both";

/// The goals for round trips.
pub(crate) const LATENCY_GOALS: [Goal; 2] = [
    Goal::new("bus p50", Bound::AtMost(1.10), "bare hand-off", (FASTEST_ON_BUS, 0)),
    Goal::new("bus p99", Bound::AtMost(1.30), "bare hand-off", (FASTEST_ON_BUS, 1)),
];

/// The goals for streams.
pub(crate) const FLOW_GOALS: [Goal; 2] = [
    Goal::new("bus, one by one,", Bound::AtLeast(3.0), "rtrb", ("bus", 0)),
    Goal {
        over: Some(("bus", 3)),
        ..Goal::new("bus, in batches,", Bound::Above(1.0), "one by one", ("bus, in batches", 3))
    },
];

/// The goal for fan-out.
pub(crate) const FANOUT_GOALS: [Goal; 1] =
    [Goal::new("64 lossy", Bound::AtMost(1.10), "1 lossy", ("64 lossy", 0))];

/// The goals for writing a journal.
pub(crate) const WRITING_GOALS: [Goal; 2] = [
    Goal::new("journal", Bound::AtLeast(0.9), "bare writes", ("journal", 0)),
    Goal::new("journal, fresh,", Bound::AtLeast(0.9), "bare writes", ("journal, fresh", 0)),
];

/// The goals for what a journal costs the publisher.
pub(crate) const COST_GOALS: [Goal; 2] = [
    Goal::new("journal, 1 M/s,", Bound::AtMost(1.10), "one reader", ("journal, 1 M/s", 0)),
    Goal::new("journal, 200 k/s,", Bound::AtMost(1.10), "one reader", ("journal, 200 k/s", 0)),
];

/// The goals for what is durable at once.
pub(crate) const DURABLE_GOALS: [Goal; 2] = [
    Goal::new("journal p50", Bound::AtMost(1.20), "bare", ("journal", 0)),
    Goal::new("journal, flood,", Bound::AtLeast(100.0), "one by one", ("journal, flood", 3)),
];

/// The goal for replays from the page cache.
pub(crate) const WARM_GOALS: [Goal; 1] =
    [Goal::new("replay", Bound::AtLeast(0.8), "bare loop", ("replay", 0))];

/// The goal for replays from the disk.
pub(crate) const COLD_GOALS: [Goal; 1] =
    [Goal::new("replay", Bound::AtLeast(0.9), "bare reads", ("replay", 0))];

/// The goals for finding a start, for the worst of all.
pub(crate) const SEEK_GOALS: [Goal; 2] = [
    Goal::new("reads by offset", Bound::AtMost(1.0), "2 + log2(blocks)", ("by offset", 0)),
    Goal::new("reads by time", Bound::AtMost(1.0), "2 + log2(blocks)", ("by time", 0)),
];

/// The name of a row and the number of a column.
type Place = (&'static str, usize);

/// A bound on the median of a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    who: &'static str,
    bound: Bound,
    yardstick: &'static str,
    figure: Place,
    /// The figure that it is divided by, where it is no ratio by itself.
    over: Option<Place>,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Above(f64),
}

/// What became of a goal in one regime.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcome {
    goal: String,
    /// Nothing where no valid block told the figure.
    figure: Option<f64>,
    met: Option<bool>,
}

impl Goal {
    const fn new(who: &'static str, bound: Bound, yardstick: &'static str, figure: Place) -> Self {
        Self { who, bound, yardstick, figure, over: None }
    }

    /// Judges the rows of one regime.
    pub(crate) fn judge(&self, rows: &[Row]) -> Outcome {
        let median = |(name, column): Place| {
            let row = rows.iter().find(|row| row.name == name)?;
            Some(row.figures.get(column).copied()??.median)
        };
        let figure = match self.over {
            None => median(self.figure),
            Some(over) => median(self.figure).zip(median(over)).map(|(one, other)| one / other),
        };
        Outcome {
            goal: self.to_string(),
            figure,
            met: figure.map(|figure| self.bound.admits(figure)),
        }
    }
}

impl Bound {
    fn admits(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
            Self::Above(bound) => figure > bound,
        }
    }
}

impl Display for Goal {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (word, bound) = match self.bound {
            Bound::AtMost(bound) => ("at most", bound),
            Bound::AtLeast(bound) => ("at least", bound),
            Bound::Above(bound) => ("more than", bound),
        };
        write!(out, "{} {word} {bound:.2} x {}", self.who, self.yardstick)
    }
}

impl Display for Outcome {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { goal, figure, met } = self;
        write!(out, "goal: {goal}: ")?;
        match (figure, met) {
            (Some(figure), Some(true)) => write!(out, "{figure:.3}, met"),
            (Some(figure), _) => write!(out, "{figure:.3}, missed"),
            (None, _) => write!(out, "not measured"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::disk::cold::COLD_COLUMNS;
    use crate::bench::disk::cost::COST_COLUMNS;
    use crate::bench::disk::durable::DURABLE_COLUMNS;
    use crate::bench::disk::seek::SEEK_COLUMNS;
    use crate::bench::disk::warm::WARM_COLUMNS;
    use crate::bench::disk::writing::WRITING_COLUMNS;
    use crate::bench::fanout::{CROWDS, FANOUT_COLUMNS};
    use crate::bench::statistics::Spread;
    use crate::bench::verdict::{FLOW_COLUMNS, LATENCY_COLUMNS};

    fn row(name: &'static str, figures: &[Option<f64>]) -> Row {
        let figures = figures.iter().map(|figure| Spread::of(vec![(*figure)?])).collect();
        Row { name, blocks_valid: 1, blocks_invalid: 0, count: 1, figures }
    }

    fn told(goals: &[Goal], rows: &[Row]) -> Vec<String> {
        goals.iter().map(|goal| goal.judge(rows).to_string()).collect()
    }

    #[test]
    fn each_goal_is_met_up_to_its_bound_and_not_beyond() {
        let rows = [
            row("bare hand-off", &[Some(1.0), Some(1.0)]),
            row(FASTEST_ON_BUS, &[Some(1.1), Some(1.301)]),
        ];
        assert_eq!(
            told(&LATENCY_GOALS, &rows),
            [
                "goal: bus p50 at most 1.10 x bare hand-off: 1.100, met",
                "goal: bus p99 at most 1.30 x bare hand-off: 1.301, missed",
            ]
        );
        let flow = |one, batches| {
            [
                row("bus", &[Some(one), None, None, Some(10.0)]),
                row("bus, in batches", &[Some(9.0), None, None, Some(batches)]),
            ]
        };
        assert_eq!(
            told(&FLOW_GOALS, &flow(3.0, 10.0)),
            [
                "goal: bus, one by one, at least 3.00 x rtrb: 3.000, met",
                "goal: bus, in batches, more than 1.00 x one by one: 1.000, missed",
            ]
        );
        let told = told(&FLOW_GOALS, &flow(2.99, 12.0));
        assert!(told[0].ends_with("2.990, missed") && told[1].ends_with("1.200, met"), "{told:?}");
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        for rows in [&[][..], &[row("bus", &[None, None])]] {
            let outcome = LATENCY_GOALS[1].judge(rows);
            assert_eq!((outcome.figure, outcome.met), (None, None));
            assert!(outcome.to_string().ends_with(": not measured"), "{outcome}");
        }
    }

    #[test]
    fn the_goals_name_the_columns_that_they_mean() {
        assert_eq!(
            LATENCY_GOALS.map(|goal| LATENCY_COLUMNS[goal.figure.1]),
            ["p50 / bare", "p99 / bare"]
        );
        assert_eq!(FLOW_GOALS.map(|goal| FLOW_COLUMNS[goal.figure.1]), ["x rtrb", "M messages/s"]);
        assert_eq!(FLOW_COLUMNS[FLOW_GOALS[1].over.unwrap().1], "M messages/s");
        let [Goal { figure: (name, column), .. }] = FANOUT_GOALS;
        assert_eq!(FANOUT_COLUMNS[column], "x one subscriber");
        assert!(CROWDS.iter().any(|crowd| crowd.name == name));
        let columns = |goals: &[Goal], columns: &[&'static str]| -> Vec<&'static str> {
            goals.iter().map(|goal| columns[goal.figure.1]).collect()
        };
        assert_eq!(columns(&WRITING_GOALS, &WRITING_COLUMNS), ["x bare"; 2]);
        assert_eq!(columns(&COST_GOALS, &COST_COLUMNS), ["x one reader"; 2]);
        assert_eq!(columns(&DURABLE_GOALS, &DURABLE_COLUMNS), ["x bare", "x one by one"]);
        assert_eq!(columns(&WARM_GOALS, &WARM_COLUMNS), ["x bare"]);
        assert_eq!(columns(&COLD_GOALS, &COLD_COLUMNS), ["x bare"]);
        assert_eq!(columns(&SEEK_GOALS, &SEEK_COLUMNS), ["most / bound"; 2]);
    }
}
