//! What a run found, as text and as JSON.
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::block::Clock;
use super::goal::Goal;
use super::heading::Heading;
use super::rounds::Round;
use super::statistics::Spread;
use super::verdict::{Judged, Regime, Row, summarise};

/// Regimes with less than one round in so many are left to the JSON.
const RARE: usize = 20;

/// A whole run: every block, and the summary.
#[derive(Serialize)]
pub(crate) struct Report<B> {
    #[serde(flatten)]
    heading: Heading,
    contenders: Vec<&'static str>,
    columns: &'static [&'static str],
    summary: Summary,
    rounds: Vec<JudgedRound<B>>,
}

#[derive(Serialize)]
struct Summary {
    regimes: Vec<Regime>,
    /// Rounds left out because the host changed regime in the midst of them.
    rounds_unsettled: usize,
}

#[derive(Serialize)]
struct JudgedRound<B> {
    settled: bool,
    judged: Vec<Judged>,
    #[serde(flatten)]
    round: Round<B>,
}

/// What a report is about, besides its rounds.
pub(crate) struct Subject {
    pub(crate) heading: Heading,
    pub(crate) contenders: Vec<&'static str>,
    pub(crate) columns: &'static [&'static str],
    pub(crate) goals: &'static [Goal],
}

impl<B> Report<B> {
    /// Judges and sums up `rounds`.
    pub(crate) fn new(
        subject: Subject,
        rounds: Vec<Round<B>>,
        judge: impl Fn(&Round<B>) -> Vec<Judged>,
    ) -> Self {
        let rounds: Vec<JudgedRound<B>> = rounds
            .into_iter()
            .map(|round| JudgedRound { settled: round.settled(), judged: judge(&round), round })
            .collect();
        let settled: Vec<(f64, &[Judged])> = rounds
            .iter()
            .filter(|round| round.settled)
            .map(|round| (round.round.handoff_ns, &round.judged[..]))
            .collect();
        let summary = Summary {
            regimes: summarise(&settled, &subject.contenders, subject.columns.len(), subject.goals),
            rounds_unsettled: rounds.len() - settled.len(),
        };
        let Subject { heading, contenders, columns, .. } = subject;
        Self { heading, contenders, columns, summary, rounds }
    }
}

impl<B> Display for Report<B> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.heading)?;
        let Clock { cost_ns, tick_ns } = self.heading.clock;
        writeln!(
            out,
            "the clock costs {cost_ns:.1} ns a sample (subtracted) and ticks every {tick_ns} ns"
        )?;
        writeln!(
            out,
            "a side was put off its core {} times in {} rounds",
            self.heading.preemptions,
            self.rounds.len()
        )?;
        let shown = |regime: &&Regime| regime.handoff_ns.blocks * RARE >= self.rounds.len();
        for regime in self.summary.regimes.iter().filter(shown) {
            let Spread { blocks, median, min, max, .. } = regime.handoff_ns;
            writeln!(
                out,
                "\n{blocks} rounds in which the bare hand-off took {median:.1} ns at the median \
                 ({min:.1} to {max:.1})"
            )?;
            table(out, self.columns, &regime.rows, "beat the limit")?;
            regime.goals.iter().try_for_each(|outcome| writeln!(out, "{outcome}"))?;
        }
        let rare = self.summary.regimes.iter().filter(|regime| !shown(regime));
        let hidden: usize = rare.map(|regime| regime.handoff_ns.blocks).sum();
        if hidden > 0 {
            writeln!(out, "\n{hidden} rounds in rare regimes of the host are in the JSON only")?;
        }
        let unsettled = self.summary.rounds_unsettled;
        if unsettled > 0 {
            writeln!(out, "\n{unsettled} rounds left out: the host changed regime within them")?;
        }
        writeln!(
            out,
            "\nmedian over blocks [quartiles]; invalid: faster than the bare limit by over 3%, left \
             out\n-: withheld, fewer than 10 samples lie beyond it in a block"
        )
    }
}

/// The rows, a figure in each of `columns`. Invalid blocks are those that `fault`.
pub(crate) fn table(
    out: &mut Formatter<'_>,
    columns: &[&str],
    rows: &[Row],
    fault: &str,
) -> fmt::Result {
    write!(out, "{:<24} {:>6} {:>7} {:>11}", "", "blocks", "invalid", "n")?;
    for column in columns {
        write!(out, " {column:>23}")?;
    }
    writeln!(out)?;
    for row in rows {
        let Row { name, blocks_valid, blocks_invalid, count, figures } = row;
        write!(out, "{name:<24} {blocks_valid:>6} {blocks_invalid:>7} {count:>11}")?;
        for figure in figures {
            write!(out, " {:>23}", figure.map_or("-".to_owned(), cell))?;
        }
        writeln!(out)?;
        if blocks_invalid > blocks_valid {
            writeln!(out, "  DOUBTFUL: most blocks of {name} {fault}; find out why")?;
        }
    }
    Ok(())
}

/// The median and the quartiles, with three or four digits that matter.
fn cell(spread: Spread) -> String {
    let digits = match spread.median {
        median if median < 10.0 => 3,
        median if median < 1000.0 => 1,
        _ => 0,
    };
    let Spread { first_quartile, median, third_quartile, .. } = spread;
    format!("{median:.digits$} [{first_quartile:.digits$} {third_quartile:.digits$}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::block::Latency;
    use crate::bench::cores::Cores;
    use crate::bench::goal::{FASTEST_ON_BUS, LATENCY_GOALS};
    use crate::bench::verdict::{LATENCY_COLUMNS, judge_latency};

    fn report(cores: Cores) -> Report<Latency> {
        let latency = |p50_ns, p99_ns| Latency {
            samples: 1000,
            p50_ns: Some(p50_ns),
            p99_ns: Some(p99_ns),
            p99_9_ns: None,
        };
        let round = |bare_ns, own_ns, closing_ns| Round {
            opening: latency(bare_ns, 2.0 * bare_ns),
            handoff_ns: bare_ns,
            blocks: vec![latency(own_ns, 3.0 * bare_ns)],
            closing: latency(closing_ns, 2.0 * bare_ns),
        };
        let subject = Subject {
            heading: Heading::new("round trips", cores, Clock { cost_ns: 20.0, tick_ns: 1.0 }, 7),
            contenders: vec!["bus", FASTEST_ON_BUS, "closing hand-off"],
            columns: &LATENCY_COLUMNS,
            goals: &LATENCY_GOALS,
        };
        let rounds = vec![
            round(100.0, 110.0, 100.0),
            round(100.0, 90.0, 101.0),
            round(480.0, 600.0, 480.0),
            round(100.0, 480.0, 480.0),
        ];
        Report::new(subject, rounds, |round| judge_latency(round, 0..1))
    }

    #[test]
    fn the_text_tells_ratios_regimes_and_what_was_left_out() {
        let text = report(Cores { near: 0, far: 1 }).to_string();
        assert!(text.contains("2 rounds in which the bare hand-off took 100.0 ns"), "{text}");
        assert!(text.contains("1 rounds in which the bare hand-off took 480.0 ns"), "{text}");
        assert!(text.contains("1.100 [1.100 1.100]"), "{text}");
        assert!(text.contains("1.250 [1.250 1.250]"), "{text}");
        assert!(text.contains("1 rounds left out"), "{text}");
        let goal = "goal: bus p50 at most 1.10 x bare hand-off";
        assert!(text.contains(&format!("{goal}: 1.100, met")), "{text}");
        assert!(text.contains(&format!("{goal}: 1.250, missed")), "{text}");
        assert!(!text.contains("OVERSUBSCRIBED"), "{text}");
        let text = report(Cores { near: 3, far: 3 }).to_string();
        assert!(text.contains("OVERSUBSCRIBED"), "{text}");
    }

    #[test]
    fn the_json_holds_every_block_and_the_summary() {
        let json = serde_json::to_value(report(Cores { near: 0, far: 1 })).unwrap();
        assert_eq!(json["rounds"].as_array().unwrap().len(), 4);
        assert_eq!(json["rounds"][1]["blocks"][0]["p50_ns"], 90.0);
        assert_eq!(json["rounds"][1]["judged"][0]["valid"], false);
        assert_eq!(json["rounds"][3]["settled"], false);
        assert_eq!(json["summary"]["rounds_unsettled"], 1);
        assert_eq!(json["summary"]["regimes"][0]["rows"][0]["blocks_invalid"], 1);
        assert_eq!(json["summary"]["regimes"][1]["goals"][0]["met"], false);
    }
}
