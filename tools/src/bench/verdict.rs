//! Blocks are set against their yardstick here, and summed up regime by regime.
use std::ops::Range;

use serde::Serialize;

use super::block::{Flow, Latency};
use super::goal::{Goal, Outcome};
use super::lineup::Part;
use super::rounds::Round;
use super::statistics::{self, Spread};

/// Nobody is faster than the physical limit: a ratio of times below this means that the yardstick
/// is wrong, and what was measured against it means nothing.
const RATIO_MIN: f64 = 0.97;

/// One block, judged: its figures in the order of the report's columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Judged {
    /// Whether it kept to the limit, which nobody can beat.
    pub(crate) valid: bool,
    /// Round trips or messages.
    pub(crate) count: u64,
    /// Nothing where a percentile was withheld.
    pub(crate) figures: Vec<Option<f64>>,
}

/// What the figures of a latency block are.
pub(crate) const LATENCY_COLUMNS: [&str; 5] =
    ["p50 / bare", "p99 / bare", "p50 ns", "p99 ns", "p99.9 ns"];

/// Judges the contenders of a round, then the fastest of `variants` among them, by the rule that
/// picks the hand-off's, and last the closing hand-off.
pub(crate) fn judge_latency(round: &Round<Latency>, variants: Range<usize>) -> Vec<Judged> {
    let judge = |block: &Latency| {
        let p50 = block.p50_ns.map(|p50_ns| p50_ns / round.handoff_ns);
        let p99 = block.p99_ns.zip(round.opening.p99_ns).map(|(own_ns, bare_ns)| own_ns / bare_ns);
        Judged {
            valid: p50.is_some_and(|ratio| ratio >= RATIO_MIN),
            count: block.samples,
            figures: vec![p50, p99, block.p50_ns, block.p99_ns, block.p99_9_ns],
        }
    };
    let p50 = |block: &Latency| block.p50_ns.unwrap_or(f64::INFINITY);
    let fastest =
        round.blocks[variants].iter().min_by(|one, other| p50(one).total_cmp(&p50(other)));
    round.blocks.iter().chain(fastest).chain([&round.closing]).map(judge).collect()
}

/// What the figures of a throughput block are.
pub(crate) const FLOW_COLUMNS: [&str; 4] =
    ["x rtrb", "x rtrb, batching", "x bare stream", "M messages/s"];

/// Judges the contenders of a round against the fastest limit and the fastest rivals in it.
pub(crate) fn judge_flow(round: &Round<Flow>, parts: &[Option<Part>]) -> Vec<Judged> {
    let fastest = |wanted: Part| {
        let played = parts.iter().zip(&round.blocks).filter(|(part, _)| **part == Some(wanted));
        played.map(|(_, block)| block.messages_per_s()).reduce(f64::max)
    };
    let limit = fastest(Part::Limit);
    let (rival, batching) = (fastest(Part::Rival), fastest(Part::BatchingRival));
    let judge = |block: &Flow| {
        let rate = block.messages_per_s();
        let times = |other: Option<f64>| other.map(|other| rate / other);
        Judged {
            valid: times(limit).is_none_or(|of_limit| of_limit <= 1.0 / RATIO_MIN),
            count: block.messages,
            figures: vec![times(rival), times(batching), times(limit), Some(rate / 1e6)],
        }
    };
    round.blocks.iter().map(judge).collect()
}

/// What one regime showed.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Regime {
    /// The medians of its bare hand-offs, in ns.
    pub(crate) handoff_ns: Spread,
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Outcome>,
}

/// One contender in one regime.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) blocks_valid: usize,
    pub(crate) blocks_invalid: usize,
    /// Round trips or messages in the valid blocks.
    pub(crate) count: u64,
    /// The spread of each column over the valid blocks that have it.
    pub(crate) figures: Vec<Option<Spread>>,
}

/// Sums up what each contender showed in `rounds`, which are in the order of `names`.
pub(crate) fn rows(rounds: &[&[Judged]], names: &[&'static str], columns: usize) -> Vec<Row> {
    let row = |(at, name): (usize, &&'static str)| {
        let all: Vec<&Judged> = rounds.iter().map(|round| &round[at]).collect();
        let valid: Vec<&Judged> = all.iter().copied().filter(|block| block.valid).collect();
        let figure = |column: usize| {
            Spread::of(valid.iter().filter_map(|block| block.figures[column]).collect())
        };
        Row {
            name,
            blocks_valid: valid.len(),
            blocks_invalid: all.len() - valid.len(),
            count: valid.iter().map(|block| block.count).sum(),
            figures: (0..columns).map(figure).collect(),
        }
    };
    names.iter().enumerate().map(row).collect()
}

/// Sums up settled rounds: the hand-off of each, and its judged blocks in the order of `names`.
pub(crate) fn summarise(
    rounds: &[(f64, &[Judged])],
    names: &[&'static str],
    columns: usize,
    goals: &[Goal],
) -> Vec<Regime> {
    let handoffs_ns: Vec<f64> = rounds.iter().map(|round| round.0).collect();
    let regime = |members: Vec<usize>| {
        let rounds: Vec<&[Judged]> = members.iter().map(|&round| rounds[round].1).collect();
        let rows = rows(&rounds, names, columns);
        let handoff_ns = Spread::of(members.iter().map(|&round| handoffs_ns[round]).collect())?;
        let goals = goals.iter().map(|goal| goal.judge(&rows)).collect();
        Some(Regime { handoff_ns, rows, goals })
    };
    statistics::regimes(&handoffs_ns).into_iter().filter_map(regime).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(p50_ns: f64, p99_ns: Option<f64>) -> Latency {
        Latency { samples: 1000, p50_ns: Some(p50_ns), p99_ns, p99_9_ns: None }
    }

    fn latency_round(opening: Latency, blocks: Vec<Latency>) -> Round<Latency> {
        Round { opening, handoff_ns: opening.p50_ns.unwrap(), blocks, closing: opening }
    }

    #[test]
    fn latencies_are_told_as_ratios_to_the_opening_hand_off() {
        let opening = latency(100.0, Some(200.0));
        let blocks = vec![latency(110.0, Some(300.0)), latency(150.0, None)];
        let judged = judge_latency(&latency_round(opening, blocks), 0..2);
        let own = vec![Some(1.1), Some(1.5), Some(110.0), Some(300.0), None];
        assert_eq!(judged[0], Judged { valid: true, count: 1000, figures: own });
        assert_eq!(judged[1].figures[..2], [Some(1.5), None]);
        assert_eq!(judged[2], judged[0], "the fastest follows the contenders");
        assert_eq!(judged[3].figures[..2], [Some(1.0), Some(1.0)], "the closing hand-off is last");
    }

    #[test]
    fn who_beats_the_limit_is_invalid() {
        let blocks = vec![latency(96.0, None), latency(97.0, None)];
        let judged = judge_latency(&latency_round(latency(100.0, None), blocks), 0..2);
        assert_eq!([judged[0].valid, judged[1].valid], [false, true]);

        let flow = |duration_ns| Flow { messages: 1000, duration_ns };
        let round = Round {
            opening: latency(100.0, None),
            handoff_ns: 100.0,
            blocks: vec![flow(128.0), flow(160.0), flow(512.0), flow(640.0), flow(120.0)],
            closing: latency(100.0, None),
        };
        let parts = [Part::Limit, Part::Limit, Part::Rival, Part::Rival];
        let parts: Vec<_> = parts.into_iter().map(Some).chain([None]).collect();
        let judged = judge_flow(&round, &parts);
        assert_eq!(judged[1].figures[0], Some(3.2), "against the faster rival");
        assert_eq!(judged[2].figures[2], Some(0.25), "against the faster limit");
        assert_eq!(judged.iter().filter(|block| !block.valid).count(), 1);
        assert!(!judged[4].valid);
    }

    #[test]
    fn summaries_count_what_they_leave_out_and_keep_regimes_apart() {
        let judged = |figure, valid| vec![Judged { valid, count: 10, figures: vec![figure] }];
        let blocks = [
            judged(Some(1.0), true),
            judged(Some(2.0), true),
            judged(Some(0.5), false),
            judged(None, true),
            judged(Some(9.0), true),
        ];
        let rounds: Vec<(f64, &[Judged])> = [100.0, 101.0, 102.0, 103.0, 490.0]
            .into_iter()
            .zip(blocks.iter().map(|b| &b[..]))
            .collect();
        let regimes = summarise(&rounds, &["one"], 1, &[]);
        assert_eq!(regimes.len(), 2);
        let row = &regimes[0].rows[0];
        assert_eq!((row.blocks_valid, row.blocks_invalid, row.count), (3, 1, 30));
        assert_eq!(row.figures[0].unwrap().median, 1.5);
        assert_eq!(regimes[1].handoff_ns.median, 490.0);
        assert_eq!(regimes[1].rows[0].figures[0].unwrap().median, 9.0);
    }
}
