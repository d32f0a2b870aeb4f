//! What a page shows of a run: which tables, and what is drawn over what. Add a plot here.
use std::collections::BTreeMap;

use anyhow::Result;

use crate::deliver::Delivery;
use crate::message::Payload;
use crate::page::{Cell, Chapter, ns, number, plain};
use crate::plot::{Axes, Line, Role, draw};
use crate::report::{Curve, CurveKind, Kind, Labelled, Regime, Report};
use crate::step::{ACHIEVED_SHARE_MIN, Step};
use crate::summary::{Compared, PeerSummary, Percentiles, Summary};
use crate::table::cell;

/// The rate of a step that is of one kind.
type RateOf = fn(&Step) -> Option<f64>;

impl Delivery for Report {
    fn chapters(&self) -> Result<Vec<Chapter>> {
        let mut chapter = Chapter::new(&self.heading);
        self.warnings(&mut chapter);
        self.summary.show(&mut chapter);
        if let Some(regime) = self.regimes.first() {
            regime.plots(&self.steps, &mut chapter)?;
        }
        self.regimes.iter().for_each(|regime| regime.tables(&mut chapter));
        let (min_ns, max_ns) = (self.offset.min_ns, self.offset.max_ns);
        chapter.fact("clocks of the cores", format!("apart by {min_ns:.0} to {max_ns:.0} ns"));
        self.how.iter().for_each(|how| chapter.fact(how.name, how.how));
        Ok(vec![chapter])
    }

    fn curves(&self) -> Vec<&Curve> {
        let all = self.regimes.first().map_or(&[][..], |regime| &regime.curves);
        // The sort is stable: the first one of tickcast comes before what it is set against.
        let mut curves: Vec<&Curve> = all.iter().collect();
        curves.sort_by_key(|curve| curve.is_reference());
        curves
    }
}

impl Report {
    fn warnings(&self, chapter: &mut Chapter) {
        let Summary { invalid_because, oversubscribed, .. } = &self.summary;
        chapter.warn_invalid(invalid_because, *oversubscribed);
        self.left_out.iter().for_each(|why| chapter.warn(why));
        if self.blocks_unsettled > 0 {
            chapter.note(&format!(
                "{} of {} blocks are left out: the host was at work around them.",
                self.blocks_unsettled,
                self.rounds.len() * self.steps.len()
            ));
        }
    }
}

impl Curve {
    fn is_reference(&self) -> bool {
        matches!(self.kind, CurveKind::HandOff | CurveKind::Hiccups)
    }
}

fn millions(value: Option<f64>) -> String {
    number(value.map(|value| value / 1e6))
}

impl Summary {
    fn show(&self, chapter: &mut Chapter) {
        chapter.head("In short");
        chapter.note(&format!(
            "Medians over {} rounds in the state of the host that had the most, with {} of \
             payload. Only ratios to the bare hand-off of the same round mean anything elsewhere.",
            self.rounds, self.payload_bytes
        ));
        let row = |name: &str, what: &Percentiles, rate: String| {
            let figures = [what.p50, what.p99, what.p999].map(number).map(Cell::from);
            [name.into()].into_iter().chain(figures).chain([rate.into()]).collect()
        };
        let lines = format!("{} lines", millions(self.raw_lines_per_s));
        chapter.table(
            &["", "p50", "p99", "p99.9", "M messages/s"],
            &[
                row("bare hand-off, ns", &self.handoff_round_trip_ns, lines),
                row("tickcast, round trip, ns", &self.round_trip_ns, millions(self.messages_per_s)),
                row("tickcast / bare hand-off", &self.ratio, String::new()),
            ],
        );
        if self.peers.is_empty() {
            return;
        }
        chapter.note(
            "By how many times tickcast is better than each peer in the same rounds, with \
             quartiles; equal where the middle half of the rounds lies on both sides of 1.",
        );
        let rows: Vec<Vec<Cell>> = self.peers.iter().map(|(name, peer)| peer.row(name)).collect();
        chapter.table(&["", "p50", "p99", "p99.9", "messages/s"], &rows);
        chapter.goals(&self.goals);
    }
}

impl PeerSummary {
    fn row(&self, name: &str) -> Vec<Cell> {
        let versus = &self.tickcast;
        let compared = |compared: Option<Compared>| match compared {
            None => "-".into(),
            Some(Compared { times_better, standing }) => {
                let text = format!("{} {}", cell(times_better, true), standing.name());
                Cell::of_class(text, standing.name())
            }
        };
        let figures = [versus.p50, versus.p99, versus.p999, versus.messages_per_s].map(compared);
        // The name of one that takes part in several ways has the place already.
        let name = match name == self.contender {
            true => format!("{name}, {}", self.place.name()),
            false => name.to_owned(),
        };
        [name.into()].into_iter().chain(figures).collect()
    }
}

impl Regime {
    fn tables(&self, chapter: &mut Chapter) {
        let handoff_ns = number(self.handoff_ns.p50.map(|spread| spread.median));
        chapter.head(&format!("{} rounds with the bare hand-off at {handoff_ns} ns", self.rounds));
        for section in &self.sections {
            chapter.note(section.kind.title());
            chapter.rows(&section.columns, &section.rows);
            chapter.goals(&section.goals);
        }
    }

    fn plots(&self, steps: &[Labelled], chapter: &mut Chapter) -> Result<()> {
        let curves = |wanted: fn(CurveKind) -> bool| {
            self.curves.iter().filter(move |curve| curve.is_reference() || wanted(curve.kind))
        };
        chapter.curves(
            "Round trips, timed one by one",
            "Percentiles over an axis of 1/(1-p): each factor of ten is a nine more. The bare \
             hand-off is what the machine can do; hiccups are what it does to any program.",
            curves(|kind| kind == CurveKind::RoundTrips),
        )?;
        chapter.curves(
            "An open loop",
            "Times count from when a message was due. Rates are part of the names.",
            curves(|kind| matches!(kind, CurveKind::PacedRoundTrips | CurveKind::OneWay)),
        )?;
        chapter.plot(
            "Latency over rate",
            "Medians over blocks. Where a line leaves its level, the rate is too much.",
            self.over_rate(steps)?,
        );
        chapter.plot(
            "Throughput over payload",
            "The faster of one by one and in batches.",
            self.over_payload(steps)?,
        );
        chapter.plot(
            "What subscribers cost the publisher",
            "In bursts that fit the ring; waiting for room does not count.",
            self.fan_out(steps)?,
        );
        chapter.plot(
            "When messages reach subscribers",
            "One thread polls all of them; from when a message was due until its handler runs.",
            self.fan_out_latency(steps)?,
        );
        Ok(())
    }

    /// The medians of a column, by step, of the tables of this kind.
    fn column<'a>(
        &'a self,
        steps: &'a [Labelled],
        kind: Kind,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Labelled, f64)> + 'a {
        let of = move |step: &'a Labelled| Some((step, self.median(step, name)?));
        steps.iter().filter(move |step| Kind::of(step.step) == kind).filter_map(of)
    }

    /// The rates that were too much are crossed out: one of each kind, with which its sweep ended.
    fn over_rate(&self, steps: &[Labelled]) -> Result<Option<String>> {
        let mut lines = Vec::new();
        let open_loops = |percentile| {
            self.column(steps, Kind::OpenLoop, percentile).filter(|(step, _)| step.crowd.is_none())
        };
        let round_trips: RateOf = |step| match step {
            Step::PacedRoundTrips { rate } => Some(*rate as f64),
            _ => None,
        };
        let one_way: RateOf = |step| match step {
            Step::OneWay { rate } => Some(*rate as f64),
            _ => None,
        };
        let kinds: [(&str, RateOf); 2] = [("round trip", round_trips), ("one way", one_way)];
        for (percentile, name) in [("p50 ns", "p50"), ("p99 ns", "p99"), ("p99.9 ns", "p99.9")] {
            for (kind, rate) in kinds {
                let points = || {
                    open_loops(percentile)
                        .filter_map(|(step, ns)| Some((step, (rate(&step.step)?, ns))))
                };
                let is_too_much = |step: &Labelled, rate: f64| {
                    let achieved = self.median(step, "k achieved/s");
                    achieved.is_some_and(|achieved| achieved * 1e3 < ACHIEVED_SHARE_MIN * rate)
                };
                let crossed = points().filter(|(step, point)| is_too_much(step, point.0));
                let crossed = crossed.map(|(_, point)| point).collect();
                let name = format!("{kind}, {name}");
                let line = line(name, points().map(|(_, point)| point).collect());
                lines.push(Line { crossed, ..line });
            }
        }
        if lines.iter().all(|line| line.points.len() < 2) {
            return Ok(None);
        }
        let axes = Axes {
            x: "messages a second",
            y: "time",
            x_label: &|rate| match rate {
                rate if rate >= 1e6 => format!("{} M", plain(rate / 1e6)),
                rate => format!("{} k", plain(rate / 1e3)),
            },
            y_label: &ns,
            cross: "not kept up",
        };
        draw(&axes, &lines)
    }

    /// A line for each contender.
    fn over_payload(&self, steps: &[Labelled]) -> Result<Option<String>> {
        let mut names: Vec<String> = Vec::new();
        let mut best: BTreeMap<(usize, Payload), f64> = BTreeMap::new();
        for (step, rate) in self.column(steps, Kind::Streams, "M messages/s") {
            let name = format!("{}, {}", step.contender, step.place.name());
            let at = names.iter().position(|own| *own == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            let fastest = best.entry((at, step.payload_bytes)).or_default();
            *fastest = fastest.max(rate);
        }
        let line = |(at, name): (usize, &String)| {
            let own = best.iter().filter(|((of, _), _)| *of == at);
            let points = own.map(|((_, payload), rate)| (payload.bytes() as f64, *rate)).collect();
            let role = if name.starts_with("bare") { Role::Limit } else { Role::Subject };
            Line { role, ..line(name, points) }
        };
        let lines: Vec<Line> = names.iter().enumerate().map(line).collect();
        if lines.iter().all(|line| line.points.len() < 2) {
            return Ok(None);
        }
        let axes = Axes {
            x: "payload",
            y: "million messages a second",
            x_label: &|bytes| match bytes {
                bytes if bytes >= 1024.0 => format!("{} KiB", plain(bytes / 1024.0)),
                bytes => format!("{} B", plain(bytes)),
            },
            y_label: &plain,
            cross: "",
        };
        draw(&axes, &lines)
    }

    fn fan_out(&self, steps: &[Labelled]) -> Result<Option<String>> {
        let lines = over_subscribers(self.column(steps, Kind::FanOut, "ns a message"), "");
        draw(&subscribers("cost of a message"), &lines)
    }

    fn fan_out_latency(&self, steps: &[Labelled]) -> Result<Option<String>> {
        let mut lines = Vec::new();
        for (column_name, suffix) in [("p50 ns", ", p50"), ("p99 ns", ", p99")] {
            let found = self.column(steps, Kind::OpenLoop, column_name);
            lines.extend(over_subscribers(found, suffix));
        }
        draw(&subscribers("time"), &lines)
    }
}

fn subscribers(y: &str) -> Axes<'_> {
    Axes { x: "subscribers", y, x_label: &plain, y_label: &ns, cross: "" }
}

fn line(name: impl Into<String>, mut points: Vec<(f64, f64)>) -> Line {
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    Line { name: name.into(), role: Role::Subject, points, crossed: Vec::new() }
}

/// A line for each kind of subscriber that is not beside others.
fn over_subscribers<'a>(
    found: impl Iterator<Item = (&'a Labelled, f64)>,
    suffix: &str,
) -> Vec<Line> {
    let mut kinds: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (step, value) in found {
        let Some(crowd) = step.crowd.as_ref().filter(|crowd| crowd.beside.is_none()) else {
            continue;
        };
        let kind = format!("{}{suffix}", crowd.mode.name());
        kinds.entry(kind).or_default().push((crowd.fast as f64, value));
    }
    kinds.into_iter().map(|(kind, points)| line(kind, points)).collect()
}
