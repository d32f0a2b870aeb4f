//! One comparison on a disk: blocks of its contenders are interleaved, judged round by round, and
//! summed up. Other than for latencies there are no regimes: each round has its own yardstick.
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use tickcast_harness::Curve;
use tickcast_harness::goal::{Goal, Outcome};
use tickcast_harness::interrupt::Interrupt;
use tickcast_harness::page::Chapter;
use tickcast_harness::plot::{Bar, Role};
use tickcast_harness::table::table;
use tickcast_harness::verdict::{self, Judged, Row};

/// Nobody is faster than the bare loop, but for noise.
const RATIO_MAX: f64 = 1.0 / 0.97;

/// What the names begin with of those that others are set against.
const YARDSTICKS: [&str; 3] = ["bare", "fio", "reader"];

/// What is compared.
pub(super) struct Trial {
    pub(super) title: &'static str,
    pub(super) contenders: Vec<String>,
    pub(super) columns: &'static [&'static str],
    /// The column that is drawn.
    pub(super) drawn: &'static str,
    /// Of contenders that take part.
    pub(super) goals: &'static [Goal],
    /// Contenders whose first figure is their share of a limit.
    pub(super) limited: &'static [&'static str],
    /// What to know about it.
    pub(super) notes: Vec<String>,
    /// What an invalid block is said to do.
    pub(super) fault: &'static str,
}

/// What it found.
#[derive(Serialize)]
pub(super) struct Found {
    title: &'static str,
    notes: Vec<String>,
    contenders: Vec<String>,
    columns: &'static [&'static str],
    #[serde(skip)]
    drawn: &'static str,
    rows: Vec<Row>,
    pub(super) goals: Vec<Outcome>,
    /// Distributions of times over all blocks.
    pub(super) curves: Vec<Curve>,
    /// Contenders that seem to beat the limit.
    doubtful: Vec<String>,
    #[serde(skip)]
    fault: &'static str,
    rounds: Vec<Vec<Judged>>,
}

impl Trial {
    /// Runs rounds for `duration` after a first one that only warms up. `block` measures contender
    /// number so and so; each round begins with another one.
    ///
    /// # Errors
    /// When a block fails, or the user wants an end.
    pub(super) fn run<B>(
        self,
        duration: Duration,
        interrupt: &Interrupt,
        mut block: impl FnMut(usize) -> Result<B>,
        mut judge: impl FnMut(&[B]) -> Vec<Judged>,
    ) -> Result<Found> {
        let contenders = self.contenders.len();
        let mut rounds = Vec::new();
        let mut start = None;
        for first in 0.. {
            let mut blocks: Vec<Option<B>> = (0..contenders).map(|_| None).collect();
            for at in (0..contenders).map(|next| (first + next) % contenders) {
                interrupt.check()?;
                blocks[at] = Some(block(at)?);
            }
            let blocks: Vec<B> = blocks.into_iter().flatten().collect();
            match start {
                None => start = Some(Instant::now()),
                Some(start) => {
                    rounds.push(judge(&blocks));
                    if start.elapsed() >= duration {
                        break;
                    }
                }
            }
        }
        Ok(self.sum_up(rounds))
    }

    /// What is known without a round: why there is none.
    pub(super) fn skip(mut self, why: String) -> Found {
        self.notes.push(why);
        self.sum_up(Vec::new())
    }

    fn sum_up(self, rounds: Vec<Vec<Judged>>) -> Found {
        let Self { title, contenders, columns, drawn, goals, limited, notes, fault } = self;
        let judged: Vec<&[Judged]> = rounds.iter().map(|round| &round[..]).collect();
        let names: Vec<&str> = contenders.iter().map(String::as_str).collect();
        let rows = verdict::rows(&judged, &names, columns.len());
        let goals = goals.iter().filter(|goal| names.contains(&goal.figure.0));
        let goals = goals.map(|goal| goal.judge(&rows)).collect();
        let beats = |row: &&Row| {
            let ratio = row.figures.first().copied().flatten();
            limited.contains(&row.name.as_str())
                && ratio.is_some_and(|ratio| ratio.median > RATIO_MAX)
        };
        let doubtful = rows.iter().filter(beats).map(|row| row.name.clone()).collect();
        let curves = Vec::new();
        Found {
            title,
            notes,
            contenders,
            columns,
            drawn,
            rows,
            goals,
            curves,
            doubtful,
            fault,
            rounds,
        }
    }
}

impl Found {
    /// What is wrong with it.
    pub(super) fn doubts(&self) -> impl Iterator<Item = String> {
        let beats = |name| format!("{name} beats the bare loop by over 3%; find out why");
        self.doubtful.iter().map(beats)
    }

    /// Shows it on a page.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub(super) fn show(&self, chapter: &mut Chapter) -> Result<()> {
        chapter.head(self.title);
        if !self.rounds.is_empty() {
            chapter.bars(self.drawn, &self.bars())?;
            chapter.rows(self.columns, &self.rows);
        }
        chapter.goals(&self.goals);
        self.notes.iter().for_each(|note| chapter.note(note));
        chapter.curves(
            "How long it took",
            "Percentiles over an axis of 1/(1-p): each factor of ten is a nine more.",
            &self.curves,
        )
    }

    fn bars(&self) -> Vec<Bar> {
        let Some(at) = self.columns.iter().position(|column| *column == self.drawn) else {
            return Vec::new();
        };
        let bar = |row: &Row| {
            let is_yardstick = YARDSTICKS.iter().any(|start| row.name.starts_with(start));
            let role = if is_yardstick { Role::Limit } else { Role::Subject };
            Some(Bar { name: row.name.clone(), role, spread: row.figures[at]? })
        };
        self.rows.iter().filter_map(bar).collect()
    }
}

impl Display for Found {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{}", self.title)?;
        self.notes.iter().try_for_each(|note| writeln!(out, "- {note}"))?;
        if !self.rounds.is_empty() {
            table(out, self.columns, &self.rows, self.fault)?;
        }
        self.doubts().try_for_each(|doubt| writeln!(out, "  DOUBTFUL: {doubt}"))?;
        self.goals.iter().try_for_each(|outcome| writeln!(out, "{outcome}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::disk::goals::WARM_GOALS;

    fn trial() -> Trial {
        Trial {
            title: "replay",
            contenders: vec!["bare".to_owned(), "replay".to_owned()],
            columns: &["x bare", "M messages/s"],
            drawn: "M messages/s",
            goals: &WARM_GOALS,
            limited: &["replay"],
            notes: vec!["a note".to_owned()],
            fault: "are wrong",
        }
    }

    fn judge(rates: &[f64]) -> Vec<Judged> {
        let figures = |rate| vec![Some(rate / rates[0]), Some(rate)];
        let judged = |rate: &f64| Judged { valid: true, count: 1, figures: figures(*rate) };
        rates.iter().map(judged).collect()
    }

    #[test]
    fn blocks_are_set_against_the_yardstick_of_their_round_and_the_first_round_is_left_out() {
        let mut blocks = 0;
        let block = |at: usize| {
            blocks += 1;
            Ok(if blocks <= 2 { 77.0 } else { [100.0, 85.0][at] })
        };
        let found = trial().run(Duration::ZERO, &Interrupt::default(), block, judge).unwrap();
        assert_eq!((found.rounds.len(), blocks), (1, 4));
        assert_eq!(found.rows[1].figures[0].unwrap().median, 0.85);
        assert!(found.doubtful.is_empty());
        let text = found.to_string();
        assert!(text.contains("\n- a note\n"), "{text}");
        assert!(text.contains("replay at least 0.80 x bare loop: 0.850, met"), "{text}");
        let bars: Vec<_> = found.bars().into_iter().map(|bar| (bar.name, bar.role)).collect();
        let expected = [("bare".to_owned(), Role::Limit), ("replay".to_owned(), Role::Subject)];
        assert_eq!(bars, expected);
    }

    #[test]
    fn what_beats_the_limit_is_doubtful() {
        let found = trial().sum_up(vec![judge(&[100.0, 104.0]), judge(&[100.0, 105.0])]);
        assert_eq!(found.doubtful, ["replay"]);
        assert!(found.to_string().contains("DOUBTFUL: replay beats"));
    }

    #[test]
    fn goals_of_those_who_do_not_take_part_are_not_told() {
        let mut trial = trial();
        trial.contenders[1] = "replay, 1 KiB".to_owned();
        assert!(trial.sum_up(vec![judge(&[100.0, 104.0])]).goals.is_empty());
    }

    #[test]
    fn what_is_skipped_says_why() {
        let text = trial().skip("there is no room".to_owned()).to_string();
        assert!(text.contains("there is no room"), "{text}");
        assert!(text.contains(": not measured"), "{text}");
    }
}
