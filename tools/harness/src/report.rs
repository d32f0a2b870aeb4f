//! What a run found: judged block by block, grouped by the state that the host was in, summed up.
use serde::Serialize;

use crate::clock::Clock;
use crate::crowd::Crowd;
use crate::goal::{Bound, Outcome};
use crate::heading::Heading;
use crate::hiccups::Hiccups;
use crate::message::Payload;
use crate::offset::Offset;
use crate::rounds::{Handoff, Round, Verdict};
use crate::session::Entrant;
use crate::statistics::{Percentile, Samples, Spread, regimes};
use crate::step::{Each, Found, Planned, Step, Times};
use crate::summary::Summary;
use crate::transport::{Mode, Place};
use crate::verdict::{BLOCKS_MIN, Judged, Row, row, rows};

/// What a reliable subscriber may add to the publisher's cost.
const RELIABLE_SHARE_MAX: f64 = 0.02;

/// A whole run.
#[derive(Serialize)]
pub struct Report {
    /// What was run, and on what.
    #[serde(flatten)]
    pub heading: Heading,
    /// How far the clocks of the two cores are apart.
    pub(crate) offset: Offset,
    /// How each contender was used.
    pub(crate) how: Vec<How>,
    /// Who could not be had here, and why.
    pub(crate) left_out: Vec<String>,
    pub(crate) summary: Summary,
    /// The states of the host, by its bare hand-off; that with the most rounds first.
    pub(crate) regimes: Vec<Regime>,
    /// Blocks left out because the host was at work around them.
    pub(crate) blocks_unsettled: usize,
    /// What the blocks of each round are of, in this order.
    pub(crate) steps: Vec<Labelled>,
    pub(crate) rounds: Vec<Round>,
}

/// How a contender was used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct How {
    pub(crate) name: &'static str,
    pub(crate) how: &'static str,
}

/// A step with its row's name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Labelled {
    pub(crate) row: String,
    pub(crate) contender: &'static str,
    pub(crate) place: Place,
    pub(crate) payload_bytes: Payload,
    /// Of a fan-out.
    pub(crate) crowd: Option<Crowd>,
    pub(crate) step: Step,
    /// Whether it is one of a sweep of rates.
    pub(crate) sweeps: bool,
}

/// What one regime showed.
#[derive(Debug, Serialize)]
pub(crate) struct Regime {
    pub(crate) rounds: usize,
    pub(crate) handoff_ns: HandOff,
    /// What each of the two cores was kept from.
    pub(crate) hiccups: [Hiccups; 2],
    pub(crate) sections: Vec<Section>,
    pub(crate) curves: Vec<Curve>,
}

/// The percentiles of bare hand-offs, and how they spread over blocks.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct HandOff {
    pub(crate) p50: Option<Spread>,
    pub(crate) p99: Option<Spread>,
    pub(crate) p999: Option<Spread>,
}

/// One table.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) kind: Kind,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Outcome>,
}

/// What a table is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    RoundTrips,
    OpenLoop,
    Streams,
    FanOut,
}

/// A distribution over all blocks of a regime, or of a comparison.
#[derive(Debug, Serialize)]
pub struct Curve {
    pub(crate) name: String,
    pub(crate) kind: CurveKind,
    pub(crate) samples: u64,
    /// The share of samples that took longer, and how long that is, as far as samples support it.
    /// Of hiccups, the share of all moments.
    pub(crate) beyond_ns: Vec<(f64, f64)>,
    /// What is to be subtracted from each sample of `whole`.
    #[serde(skip)]
    pub(crate) cost_ns: f64,
    #[serde(skip)]
    pub(crate) whole: Samples,
}

/// What a curve is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CurveKind {
    /// The bare hand-off.
    HandOff,
    /// What a core was kept from.
    Hiccups,
    /// Round trips one by one.
    RoundTrips,
    /// Round trips by a schedule.
    PacedRoundTrips,
    /// Messages by a schedule.
    OneWay,
    /// What a disk does without tickcast.
    BareDisk,
    /// What the journal does.
    Journal,
}

impl Kind {
    pub(crate) fn of(step: Step) -> Self {
        match step {
            Step::RoundTrips => Self::RoundTrips,
            Step::PacedRoundTrips { .. } | Step::OneWay { .. } => Self::OpenLoop,
            Step::Stream { .. } => Self::Streams,
            Step::Bursts { .. } => Self::FanOut,
        }
    }

    /// What stands above its table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::RoundTrips => "round trips, timed one by one",
            Self::OpenLoop => {
                "an open loop: times count from when a message was due, whatever kept it"
            }
            Self::Streams => "streams: as many messages as possible in one direction",
            Self::FanOut => {
                "the publisher's cost in bursts that fit the ring; waiting for room does not count"
            }
        }
    }

    pub(crate) fn columns(self, with_peers: bool, with_crowds: bool) -> Vec<&'static str> {
        let mut columns: Vec<&str> = match self {
            Self::RoundTrips => vec![
                "p50 / bare",
                "p99 / bare",
                "p99.9 / bare",
                "p50 ns",
                "p99 ns",
                "p99.9 ns",
                "p99.99 ns",
            ],
            Self::OpenLoop => vec![
                "p50 / bare",
                "p50 ns",
                "p99 ns",
                "p99.9 ns",
                "p99.99 ns",
                "k achieved/s",
                "late %",
                "refused",
                "lost",
            ],
            Self::Streams => vec!["x bare stream", "M messages/s", "MB/s", "lost %"],
            Self::FanOut => {
                vec!["x one subscriber", "% per further one", "ns a message", "full waits"]
            }
        };
        if with_peers {
            match self {
                Self::RoundTrips => {
                    columns.splice(3..3, ["p50 / tickcast", "p99 / tickcast", "p99.9 / tickcast"]);
                }
                Self::Streams => columns.insert(1, "x tickcast"),
                Self::OpenLoop | Self::FanOut => {}
            }
        }
        if with_crowds && self == Self::OpenLoop {
            columns.extend(["last one's p50", "last one's p99"]);
        }
        columns
    }
}

/// What a report is made from.
pub(crate) struct Ran {
    pub(crate) heading: Heading,
    pub(crate) offset: Offset,
    pub(crate) how: Vec<How>,
    pub(crate) left_out: Vec<String>,
    pub(crate) entrants: Vec<Entrant>,
    pub(crate) plan: Vec<Planned>,
    pub(crate) rounds: Vec<Round>,
}

impl Report {
    /// Judges and sums up.
    pub(crate) fn new(ran: Ran) -> Self {
        let Ran { heading, offset, how, left_out, entrants, plan, rounds } = ran;
        let steps = label(&entrants, &plan);
        let handoffs_ns: Vec<f64> = rounds.iter().map(Round::handoff_ns).collect();
        let groups = regimes(&handoffs_ns);
        let of = |group: &Vec<usize>| {
            let rounds: Vec<&Round> = group.iter().map(|&at| &rounds[at]).collect();
            Regime::of(&steps, &rounds, &heading.clock)
        };
        let mut regimes: Vec<Regime> = groups.iter().map(of).collect();
        // The sort is stable: of equals, the faster one comes first.
        regimes.sort_by_key(|regime| std::cmp::Reverse(regime.rounds));
        let main: Vec<&Round> = groups
            .iter()
            .rev()
            .max_by_key(|group| group.len())
            .map(|group| group.iter().map(|&at| &rounds[at]).collect())
            .unwrap_or_default();
        let summary = Summary::of(&heading, offset, &steps, &main);
        let blocks = rounds.iter().flat_map(|round| &round.blocks);
        let blocks_unsettled = blocks.filter(|block| block.verdict == Verdict::Unsettled).count();
        Self { heading, offset, how, left_out, summary, regimes, blocks_unsettled, steps, rounds }
    }
}

/// Names the rows: whatever all have in common is left out.
fn label(entrants: &[Entrant], plan: &[Planned]) -> Vec<Labelled> {
    let of_plan = || plan.iter().map(|planned| &entrants[planned.entrant]);
    let first = of_plan().next();
    let several_payloads =
        of_plan().any(|entrant| first.is_some_and(|first| first.payload != entrant.payload));
    let several_places =
        of_plan().any(|entrant| first.is_some_and(|first| first.place != entrant.place));
    let label = |planned: &Planned| {
        let entrant = &entrants[planned.entrant];
        let mut row = match &entrant.crowd {
            None => entrant.name.to_owned(),
            Some(crowd) => crowd.describe(),
        };
        if several_places {
            row = format!("{row}, {}", entrant.place.name());
        }
        if several_payloads {
            row = format!("{row}, {}", entrant.payload);
        }
        let per_s = |rate: u64| match rate {
            rate if rate >= 1_000_000 => format!("{} M/s", rate as f64 / 1e6),
            rate => format!("{} k/s", rate as f64 / 1e3),
        };
        row = match planned.step {
            Step::RoundTrips | Step::Bursts { afterwards: false, .. } => row,
            Step::Bursts { afterwards: true, .. } => format!("{row}, polled afterwards"),
            Step::Stream { in_batches: false } => row,
            Step::Stream { in_batches: true } => format!("{row}, in batches"),
            Step::PacedRoundTrips { rate } => format!("{row}, round trip, {}", per_s(rate)),
            Step::OneWay { rate } => format!("{row}, one way, {}", per_s(rate)),
        };
        Labelled {
            row,
            contender: entrant.name,
            place: entrant.place,
            payload_bytes: entrant.payload,
            crowd: entrant.crowd.clone(),
            step: planned.step,
            sweeps: planned.sweeps,
        }
    };
    plan.iter().map(label).collect()
}

impl Regime {
    fn of(steps: &[Labelled], rounds: &[&Round], clock: &Clock) -> Self {
        let spread = |of: fn(&Times) -> Option<f64>| {
            let handoffs = rounds.iter().flat_map(|round| &round.handoffs);
            Spread::of(handoffs.filter_map(of).collect())
        };
        let handoff_ns = HandOff {
            p50: spread(|times| times.p50_ns),
            p99: spread(|times| times.p99_ns),
            p999: spread(|times| times.p999_ns),
        };
        let mut hiccups: [Hiccups; 2] = Default::default();
        for round in rounds {
            hiccups.iter_mut().zip(&round.hiccups).for_each(|(all, of_round)| all.add(of_round));
        }
        let curves = curves(steps, rounds, &hiccups, clock);
        let mut kinds: Vec<Kind> = steps.iter().map(|step| Kind::of(step.step)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let section = |kind| Section::of(kind, steps, rounds, &curves);
        let sections = kinds.into_iter().map(section).collect();
        Self { rounds: rounds.len(), handoff_ns, hiccups, sections, curves }
    }
}

impl Regime {
    /// The median of a column of a step's row.
    pub(crate) fn median(&self, step: &Labelled, column: &str) -> Option<f64> {
        let kind = Kind::of(step.step);
        let section = self.sections.iter().find(|section| section.kind == kind)?;
        let at = section.columns.iter().position(|&own| own == column)?;
        let row = section.rows.iter().find(|row| row.name == step.row)?;
        Some(row.figures[at]?.median)
    }
}

impl Section {
    fn of(kind: Kind, steps: &[Labelled], rounds: &[&Round], curves: &[Curve]) -> Self {
        let members: Vec<usize> =
            (0..steps.len()).filter(|&at| Kind::of(steps[at].step) == kind).collect();
        let with_peers = members.iter().any(|&at| steps[at].is_peer());
        let with_crowds = members.iter().any(|&at| steps[at].crowd.is_some());
        let columns = kind.columns(with_peers, with_crowds);
        let names: Vec<&str> = members.iter().map(|&at| steps[at].row.as_str()).collect();
        let judged: Vec<Vec<Judged>> = rounds
            .iter()
            .map(|round| {
                let judge = |&at: &usize| {
                    let figures = figures(steps, round, at, with_peers);
                    let valid = round.counted(at).is_some();
                    Judged { valid, count: round.blocks[at].found.count(), figures }
                };
                members.iter().map(judge).collect()
            })
            .collect();
        let judged: Vec<&[Judged]> = judged.iter().map(Vec::as_slice).collect();
        let mut rows = rows(&judged, &names, columns.len());
        if kind == Kind::RoundTrips {
            // A ratio that is not about 1, and widely spread, says that the yardstick does not
            // repeat: so all of them count.
            let again: Vec<Judged> = rounds
                .iter()
                .flat_map(|round| round.handoffs.windows(2))
                .map(|pair| {
                    let figures =
                        figures_of_times(&pair[1], &Handoff::of(&pair[0]), None, with_peers);
                    Judged { valid: true, count: pair[1].samples, figures }
                })
                .collect();
            rows.push(row(
                "bare hand-off, again",
                &again.iter().collect::<Vec<_>>(),
                columns.len(),
            ));
        }
        if let Some(column) = columns.iter().position(|&column| column == "p99.99 ns") {
            for row in &mut rows {
                let curve = curves.iter().find(|curve| curve.name == row.name);
                let p9999_ns = curve.and_then(|curve| curve.ns_beyond(0.0001));
                row.figures[column] = p9999_ns.and_then(|ns| Spread::of(vec![ns]));
            }
        }
        let goals = goals(kind, steps, &rows, &columns);
        Self { kind, columns, rows, goals }
    }
}

impl Labelled {
    pub(crate) fn is_tickcast(&self) -> bool {
        self.contender == "tickcast"
    }

    pub(crate) fn is_bare(&self) -> bool {
        self.contender == "bare stream"
    }

    /// Whether it is this contender, in whatever way.
    fn is_called(&self, name: &str) -> bool {
        self.contender.split(' ').next() == Some(name)
    }

    /// Whether it is compared with tickcast.
    pub(crate) fn is_peer(&self) -> bool {
        !self.is_tickcast() && !self.is_bare() && self.crowd.is_none()
    }
}

impl Labelled {
    /// Whether it is what a stream is set against: the bare one of its payload, at its place.
    pub(crate) fn is_yardstick_of(&self, stream: &Self) -> bool {
        self.is_bare() && (self.place, self.payload_bytes) == (stream.place, stream.payload_bytes)
    }

    /// Whether tickcast's step is the one that a step is compared with: with the same payload, and
    /// at the same place if it was run there, too.
    pub(crate) fn is_set_against(&self, other: &Self, steps: &[Self]) -> bool {
        let is_own = |step: &Self, place: Place| {
            step.is_tickcast()
                && step.crowd.is_none()
                && step.payload_bytes == other.payload_bytes
                && step.place == place
        };
        let is_at_same = steps.iter().any(|step| is_own(step, other.place));
        let place = if is_at_same { other.place } else { self.place };
        is_own(self, place)
    }
}

/// The times of tickcast's round trips that those of `step` are set against, in this round.
pub(crate) fn own_times<'a>(
    steps: &[Labelled],
    round: &'a Round,
    step: &Labelled,
) -> Option<&'a Times> {
    (0..steps.len()).find_map(|at| match (steps[at].step, &round.counted(at)?.found) {
        (Step::RoundTrips, Found::Times(times)) if steps[at].is_set_against(step, steps) => {
            Some(times)
        }
        _ => None,
    })
}

/// The highest rate of the streams of `who`, in this round.
pub(crate) fn best_rate(
    steps: &[Labelled],
    round: &Round,
    who: impl Fn(&Labelled) -> bool,
) -> Option<f64> {
    let rates = (0..steps.len()).filter_map(|at| match &round.counted(at)?.found {
        Found::Flow(flow) if who(&steps[at]) => Some(flow.messages_per_s()),
        _ => None,
    });
    rates.reduce(f64::max)
}

/// The figures of the block of step `at`, in the order of its table's columns.
fn figures(steps: &[Labelled], round: &Round, at: usize, with_peers: bool) -> Vec<Option<f64>> {
    let step = &steps[at];
    let handoff = &round.blocks[at].yardstick();
    match &round.blocks[at].found {
        Found::Times(times) => {
            let own = own_times(steps, round, step);
            figures_of_times(times, handoff, own, with_peers)
        }
        Found::OpenLoop(found) => {
            let times = &found.times;
            // One way is half of a round trip.
            let part = if matches!(step.step, Step::OneWay { .. }) { 0.5 } else { 1.0 };
            let p50 = times.p50_ns.zip(handoff.p50_ns);
            let last =
                |of: fn(&Each) -> Option<f64>| found.each.iter().filter_map(of).reduce(f64::max);
            let mut figures = vec![
                p50.map(|(own_ns, bare_ns)| own_ns / (part * bare_ns)),
                times.p50_ns,
                times.p99_ns,
                times.p999_ns,
                None,
                Some(found.achieved_per_s / 1e3),
                Some(found.late_share * 100.0),
                Some(found.refused as f64),
                Some(found.lost as f64),
            ];
            if steps.iter().any(|step| step.crowd.is_some()) {
                figures.extend([last(|each| each.p50_ns), last(|each| each.p99_ns)]);
            }
            figures
        }
        Found::Flow(flow) => {
            let rate = flow.messages_per_s();
            let payload = step.payload_bytes;
            let bare = best_rate(steps, round, |bare| bare.is_yardstick_of(step));
            let own = best_rate(steps, round, |own| own.is_set_against(step, steps));
            let bytes_per_s = rate * payload.bytes() as f64;
            let sent = (flow.messages + flow.lost) as f64;
            let mut figures = vec![
                bare.map(|bare| rate / bare),
                Some(rate / 1e6),
                Some(bytes_per_s / 1e6),
                Some(flow.lost as f64 / sent * 100.0),
            ];
            if with_peers {
                figures.insert(1, own.map(|own| rate / own));
            }
            figures
        }
        Found::Cost(cost) => {
            let one_ns = single_cost(steps, round, at);
            let ratio = one_ns.map(|one_ns| cost.ns_per_message / one_ns);
            let further = step.crowd.as_ref().map_or(0, |crowd| crowd.fast - 1) as f64;
            let growth = ratio.filter(|_| further > 0.0);
            vec![
                ratio,
                growth.map(|ratio| (ratio - 1.0) * 100.0 / further),
                Some(cost.ns_per_message),
                Some(cost.full_waits as f64),
            ]
        }
    }
}

fn figures_of_times(
    times: &Times,
    handoff: &Handoff,
    own: Option<&Times>,
    with_peers: bool,
) -> Vec<Option<f64>> {
    let over = |all: [Option<f64>; 3]| {
        let pairs = times.percentiles_ns().into_iter().zip(all);
        pairs.map(|(one, other)| Some(one? / other?)).collect::<Vec<_>>()
    };
    let mut figures = over(handoff.percentiles_ns());
    if with_peers {
        figures.extend(own.map_or(vec![None; 3], |own| over(own.percentiles_ns())));
    }
    figures.extend(times.percentiles_ns());
    figures.push(None);
    figures
}

/// What publishing costs with one subscriber of the mode of those of step `at`.
fn single_cost(steps: &[Labelled], round: &Round, at: usize) -> Option<f64> {
    let (mode, step) = (steps[at].crowd.as_ref()?.mode, steps[at].step);
    (0..steps.len()).find_map(|at| match (&steps[at].crowd, &round.counted(at)?.found) {
        (Some(crowd), Found::Cost(cost))
            if crowd.fast == 1
                && crowd.mode == mode
                && crowd.beside.is_none()
                && steps[at].step == step =>
        {
            Some(cost.ns_per_message)
        }
        _ => None,
    })
}

/// The goals that a table can tell about, for ticks between two processes.
fn goals(kind: Kind, steps: &[Labelled], rows: &[Row], columns: &[&str]) -> Vec<Outcome> {
    let is_tick = |step: &&Labelled| step.payload_bytes == Payload::TICK;
    let is_enough = |row: &Row| row.blocks_valid >= BLOCKS_MIN;
    // Of a peer that takes part in several ways, the one between two processes that is the best.
    let figures = |contender: &str, column: &str| {
        let column = columns.iter().position(|&own| own == column);
        let of = steps.iter().filter(is_tick).filter(|step| {
            step.is_called(contender) && step.place == Place::Ipc && Kind::of(step.step) == kind
        });
        let median = |step: &Labelled| {
            let row = rows.iter().find(|row| row.name == step.row && is_enough(row))?;
            Some(row.figures[column?]?.median)
        };
        of.filter_map(median).collect::<Vec<f64>>()
    };
    let least = |contender, column| figures(contender, column).into_iter().reduce(f64::min);
    let most = |contender, column| figures(contender, column).into_iter().reduce(f64::max);
    let takes_part = |contender: &str| steps.iter().any(|step| step.is_called(contender));
    let mut goals = Vec::new();
    match kind {
        Kind::RoundTrips if takes_part("tickcast") => {
            let bound = Bound::AtMost(1.05);
            let ratio = least("tickcast", "p50 / bare");
            goals.push(Outcome::new("tickcast p50", bound, "bare hand-off", ratio));
            for (peer, bound) in [("aeron", 1.5), ("iceoryx2", 4.0)] {
                if takes_part(peer) {
                    let who = format!("{peer} p50");
                    let ratio = least(peer, "p50 / tickcast");
                    goals.push(Outcome::new(&who, Bound::AtLeast(bound), "tickcast", ratio));
                }
            }
        }
        Kind::Streams if takes_part("tickcast") => {
            // A yardstick that is beaten is none.
            let ratio = most("tickcast", "x bare stream").filter(|&ratio| ratio <= 1.0);
            goals.push(Outcome::new("tickcast", Bound::AtLeast(0.7), "bare stream", ratio));
            if takes_part("aeron") {
                let ratio = most("aeron", "x tickcast").map(|ratio| 1.0 / ratio);
                goals.push(Outcome::new("tickcast", Bound::AtLeast(6.0), "aeron", ratio));
            }
        }
        Kind::FanOut => {
            for (mode, later) in [
                (Mode::Lossy, false),
                (Mode::Lossy, true),
                (Mode::Reliable, false),
                (Mode::Reliable, true),
            ] {
                let alike = steps.iter().filter_map(|step| match (step.step, &step.crowd) {
                    (Step::Bursts { afterwards, .. }, Some(crowd))
                        if afterwards == later && crowd.mode == mode && crowd.beside.is_none() =>
                    {
                        Some((step, crowd.fast))
                    }
                    _ => None,
                });
                let row = |step: &Labelled| {
                    rows.iter().find(|row| row.name == step.row && is_enough(row))
                };
                let one = alike.clone().find(|&(_, fast)| fast == 1);
                let most = alike.filter(|&(_, fast)| fast > 1).max_by_key(|&(_, fast)| fast);
                let at = columns.iter().position(|&own| own == "x one subscriber");
                let (Some((one, _)), Some((most, fast)), Some(at)) = (one, most, at) else {
                    continue;
                };
                let bound = match mode {
                    // Not more than blocks of one subscriber differ.
                    Mode::Lossy => 1.05,
                    Mode::Reliable => 1.0 + RELIABLE_SHARE_MAX * (fast - 1) as f64,
                };
                let figure = row(most).and_then(|row| Some(row.figures[at]?.median));
                goals.push(Outcome::new(&most.row, Bound::AtMost(bound), &one.row, figure));
            }
        }
        Kind::RoundTrips | Kind::Streams | Kind::OpenLoop => {}
    }
    goals
}

impl Curve {
    /// The distribution of all of these times, which `clock` took.
    pub fn of(name: String, kind: CurveKind, whole: Samples, clock: &Clock) -> Self {
        // As of the percentiles of `Times`.
        let cost_ns = match kind {
            CurveKind::Hiccups | CurveKind::PacedRoundTrips | CurveKind::OneWay => 0.0,
            CurveKind::HandOff
            | CurveKind::RoundTrips
            | CurveKind::BareDisk
            | CurveKind::Journal => clock.cost_ns,
        };
        let ns = |share| {
            let ns: f64 = Percentile::beyond(share).of(&whole, clock.step_ns)?;
            Some((share, (ns - cost_ns).max(0.0)))
        };
        let beyond_ns = shares().filter_map(ns).collect();
        Self { name, kind, samples: whole.len(), beyond_ns, cost_ns, whole }
    }

    fn of_hiccups(name: String, hiccups: &Hiccups) -> Self {
        let ns = |share| Some((share, hiccups.ns_beyond(share)?));
        Self {
            name,
            kind: CurveKind::Hiccups,
            samples: hiccups.gaps.len(),
            beyond_ns: shares().filter_map(ns).collect(),
            cost_ns: 0.0,
            whole: hiccups.gaps.clone(),
        }
    }

    /// What it is of.
    pub fn kind(&self) -> CurveKind {
        self.kind
    }

    /// The time that this share of samples exceeds.
    pub(crate) fn ns_beyond(&self, share: f64) -> Option<f64> {
        let near = |&&(own, _): &&(f64, f64)| (own / share - 1.0).abs() < 0.01;
        self.beyond_ns.iter().find(near).map(|&(_, ns)| ns)
    }
}

/// Those at which a curve is told, from all to one in ten million: twenty to a factor of ten.
fn shares() -> impl Iterator<Item = f64> {
    (0..=140).map(|at| 10f64.powf(-f64::from(at) / 20.0))
}

fn curves(
    steps: &[Labelled],
    rounds: &[&Round],
    hiccups: &[Hiccups; 2],
    clock: &Clock,
) -> Vec<Curve> {
    let mut whole = Samples::default();
    let handoffs = rounds.iter().flat_map(|round| &round.handoffs);
    handoffs.for_each(|times| whole.add(&times.whole));
    let name = "bare hand-off".to_owned();
    let mut curves = vec![Curve::of(name, CurveKind::HandOff, whole, clock)];
    for (side, hiccups) in ["near", "far"].iter().zip(hiccups) {
        curves.push(Curve::of_hiccups(format!("hiccups of the {side} core"), hiccups));
    }
    for (at, step) in steps.iter().enumerate() {
        let kind = match step.step {
            Step::RoundTrips => CurveKind::RoundTrips,
            Step::PacedRoundTrips { .. } => CurveKind::PacedRoundTrips,
            Step::OneWay { .. } => CurveKind::OneWay,
            Step::Stream { .. } | Step::Bursts { .. } => continue,
        };
        let mut whole = Samples::default();
        for block in rounds.iter().filter_map(|round| round.counted(at)) {
            match &block.found {
                Found::Times(times) => whole.add(&times.whole),
                Found::OpenLoop(found) => whole.add(&found.times.whole),
                Found::Flow(_) | Found::Cost(_) => {}
            }
        }
        curves.push(Curve::of(step.row.clone(), kind, whole, clock));
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(contender: &'static str, place: Place, payload_bytes: Payload) -> Labelled {
        let step = Step::Stream { in_batches: true };
        Labelled {
            row: String::new(),
            contender,
            place,
            payload_bytes,
            crowd: None,
            step,
            sweeps: false,
        }
    }

    #[test]
    fn a_stream_is_set_against_the_bare_one_at_its_place() {
        let (tick, large) = (Payload::TICK, Payload::LARGE);
        let bare = stream("bare stream", Place::InProcess, tick);
        assert!(bare.is_yardstick_of(&stream("rtrb", Place::InProcess, tick)));
        assert!(!bare.is_yardstick_of(&stream("rtrb", Place::Ipc, tick)));
        assert!(!bare.is_yardstick_of(&stream("rtrb", Place::InProcess, large)));
        assert!(!stream("rtrb", Place::InProcess, tick).is_yardstick_of(&bare));
    }

    #[test]
    fn goals_are_told_of_enough_blocks_and_of_a_yardstick_that_is_not_beaten() {
        let steps =
            [Labelled { row: "row".to_owned(), ..stream("tickcast", Place::Ipc, Payload::TICK) }];
        for (ratio, blocks, met) in [
            (0.5, BLOCKS_MIN, Some(false)),
            (0.7, BLOCKS_MIN, Some(true)),
            (0.7, BLOCKS_MIN - 1, None),
            (1.2, BLOCKS_MIN, None),
        ] {
            let judged = Judged { valid: true, count: 1, figures: vec![Some(ratio)] };
            let rows = [row("row", &vec![&judged; blocks], 1)];
            let outcomes = goals(Kind::Streams, &steps, &rows, &["x bare stream"]);
            assert_eq!((outcomes[0].figure, outcomes[0].met), (met.map(|_| ratio), met));
        }
    }
}
