//! Everybody beside everybody, a line for each: the table of the peers, in Markdown.
use std::fmt::{self, Display, Formatter};

use crate::message::Payload;
use crate::report::{Kind, Labelled, Regime, Report};
use crate::statistics::Spread;
use crate::step::Step;
use crate::summary::{Compared, PeerSummary};
use crate::table::digits;
use crate::transport::Place;

/// The table of the regime with the most rounds.
pub(crate) struct Comparison<'a>(Vec<Line<'a>>);

struct Line<'a> {
    contender: &'static str,
    place: Place,
    payload: Payload,
    /// Percentiles of round trips, in ns.
    round_trip_ns: [Option<f64>; 4],
    messages_per_s: Option<f64>,
    peer: Option<&'a PeerSummary>,
}

const PERCENTILES: [&str; 4] = ["p50 ns", "p99 ns", "p99.9 ns", "p99.99 ns"];

impl<'a> Comparison<'a> {
    /// Nothing where no peer took part, or no round was settled.
    pub(crate) fn of(report: &'a Report) -> Option<Self> {
        let regime = report.regimes.first().filter(|_| !report.summary.peers.is_empty())?;
        let mut lines: Vec<Line<'_>> = Vec::new();
        for step in report.steps.iter().filter(|step| step.crowd.is_none()) {
            let is_there = |line: &Line<'_>| {
                (line.contender, line.place, line.payload)
                    == (step.contender, step.place, step.payload_bytes)
            };
            if !lines.iter().any(is_there) {
                lines.push(Line::of(step, report, regime));
            }
        }
        lines.sort_by_key(|line| line.payload);
        Some(Self(lines))
    }
}

impl<'a> Line<'a> {
    fn of(step: &Labelled, report: &'a Report, regime: &Regime) -> Self {
        let alike = || report.steps.iter().filter(|other| other.is_of(step));
        let round_trips = alike().find(|step| step.step == Step::RoundTrips);
        let rates = alike()
            .filter(|step| Kind::of(step.step) == Kind::Streams)
            .filter_map(|step| regime.median(step, "M messages/s"));
        Self {
            contender: step.contender,
            place: step.place,
            payload: step.payload_bytes,
            round_trip_ns: PERCENTILES.map(|name| regime.median(round_trips?, name)),
            messages_per_s: rates.reduce(f64::max),
            peer: report.summary.peers.iter().map(|(_, peer)| peer).find(|peer| peer.is_of(step)),
        }
    }

    fn name(&self) -> String {
        format!("{}, {}, {}", self.contender, self.place.name(), self.payload)
    }
}

impl Display for Comparison<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "| {:<30} | {:>8} | {:>8} | {:>9} | {:>9} | {:>12} | {:>24} | {:>24} | {:>24} | {:>24} |",
            "",
            "p50 ns",
            "p99 ns",
            "p99.9 ns",
            "p99.99 ns",
            "M messages/s",
            "tickcast at p50",
            "at p99",
            "at p99.9",
            "in messages/s"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
        for line in &self.0 {
            let name = line.name();
            let [p50, p99, p999, p9999] = line.round_trip_ns.map(number);
            let versus = line.peer.map(|peer| &peer.tickcast);
            let [at_p50, at_p99, at_p999, at_rate] = [
                versus.and_then(|versus| versus.p50),
                versus.and_then(|versus| versus.p99),
                versus.and_then(|versus| versus.p999),
                versus.and_then(|versus| versus.messages_per_s),
            ]
            .map(|compared| compared.map_or(String::new(), told));
            writeln!(
                out,
                "| {name:<30} | {p50:>8} | {p99:>8} | {p999:>9} | {p9999:>9} | {:>12} | {at_p50:>24} | \
                 {at_p99:>24} | {at_p999:>24} | {at_rate:>24} |",
                number(line.messages_per_s)
            )?;
        }
        Ok(())
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.*}", digits(value).min(2)))
}

/// Such as "1.44 [1.41 1.45] ahead".
fn told(compared: Compared) -> String {
    let Spread { first_quartile, median, third_quartile, .. } = compared.times_better;
    let digits = digits(median).min(2);
    format!(
        "{median:.digits$} [{first_quartile:.digits$} {third_quartile:.digits$}] {}",
        compared.standing.name()
    )
}
