//! A report as one page of HTML that refers to nothing outside itself.
use std::collections::BTreeMap;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::plot::{Axes, Line, Role, draw};
use crate::report::{Curve, CurveKind, Kind, Labelled, Regime, Report, Section};
use crate::statistics::Spread;
use crate::step::Step;
use crate::summary::{Compared, PeerSummary, Percentiles};
use crate::table::cell;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0.2em } h2 { font-size: 1.2em; margin-top: 2em }
svg { width: 100%; height: auto; border: 1px solid #ddd }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.7em 0 }
td, th { padding: 0.15em 0.7em; text-align: right; border-bottom: 1px solid #e4e4e4;
  white-space: nowrap }
td:first-child, th:first-child { text-align: left }
.note { color: #666; font-size: 0.9em }
.warning { background: #fff1e0; border-left: 4px solid #d55e00; padding: 0.4em 0.8em }
.met, .ahead { color: #00724f } .missed, .behind { color: #b04400 }
code { background: #f4f4f4; padding: 0.1em 0.3em }
";

/// The page.
///
/// # Errors
/// When a plot cannot be drawn.
pub(crate) fn page(report: &Report) -> Result<String> {
    let title = format!("tickcast: {}", report.heading.title);
    let plots = match report.regimes.first() {
        Some(regime) => plots(report, regime)?,
        None => Vec::new(),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p.note { code { (report.heading.command.join(" ")) } }
                (warnings(report))
                (summary(report))
                @for (heading, note, plot) in &plots {
                    h2 { (heading) }
                    p.note { (note) }
                    (PreEscaped(plot))
                }
                @for regime in &report.regimes { (tables(regime)) }
                (machine(report))
            }
        }
    };
    Ok(page.into_string())
}

fn warnings(report: &Report) -> Markup {
    html! {
        @for why in &report.summary.invalid_because {
            p.warning { "Not valid: " (why) "." }
        }
        @if report.summary.oversubscribed {
            p.warning { "Oversubscribed: both sides share one core, so times are the scheduler's." }
        }
        @for why in &report.left_out { p.warning { (why) } }
        @if report.rounds_unsettled > 0 {
            p.note {
                (report.rounds_unsettled) " of " (report.rounds.len())
                " rounds are left out: the host changed its state within them."
            }
        }
    }
}

fn number(value: Option<f64>) -> String {
    value.and_then(|value| Spread::of(vec![value])).map_or("-".to_owned(), |one| cell(one, false))
}

fn millions(value: Option<f64>) -> String {
    number(value.map(|value| value / 1e6))
}

fn summary(report: &Report) -> Markup {
    let own = &report.summary;
    let row = |name: &str, what: &Percentiles, rate: String| {
        html! {
            tr {
                td { (name) }
                td { (number(what.p50)) } td { (number(what.p99)) } td { (number(what.p999)) }
                td { (rate) }
            }
        }
    };
    html! {
        h2 { "In short" }
        p.note {
            "Medians over " (own.rounds) " rounds in the state of the host that had the most, with "
            (own.payload_bytes) " of payload. Only ratios to the bare hand-off of the same round "
            "mean anything elsewhere."
        }
        div.wide {
            table {
                tr { th {} th { "p50" } th { "p99" } th { "p99.9" } th { "M messages/s" } }
                (row("bare hand-off, ns", &own.handoff_round_trip_ns, millions(own.raw_lines_per_s)
                    + " lines"))
                (row("tickcast, round trip, ns", &own.round_trip_ns, millions(own.messages_per_s)))
                (row("tickcast / bare hand-off", &own.ratio, String::new()))
            }
        }
        @if !own.peers.is_empty() { (peers(&own.peers)) }
    }
}

fn peers(peers: &[(String, PeerSummary)]) -> Markup {
    let compared = |compared: Option<Compared>| {
        html! {
            @match compared {
                None => td { "-" },
                Some(compared) => td class=(compared.standing.name()) {
                    (cell(compared.times_better, true)) " " (compared.standing.name())
                },
            }
        }
    };
    html! {
        p.note {
            "By how many times tickcast is better than each peer in the same rounds, with quartiles; "
            "equal where the middle half of the rounds lies on both sides of 1."
        }
        div.wide {
            table {
                tr { th {} th { "p50" } th { "p99" } th { "p99.9" } th { "messages/s" } }
                @for (name, peer) in peers {
                    tr {
                        td { (name) ", " (peer.place.name()) }
                        (compared(peer.tickcast.p50)) (compared(peer.tickcast.p99))
                        (compared(peer.tickcast.p999)) (compared(peer.tickcast.messages_per_s))
                    }
                }
            }
        }
    }
}

type Plot = (&'static str, &'static str, String);

fn plots(report: &Report, regime: &Regime) -> Result<Vec<Plot>> {
    let steps = &report.steps;
    let all = [
        (
            "Round trips, timed one by one",
            "Percentiles over an axis of 1/(1-p): each factor of ten is a nine more. The bare \
             hand-off is what the machine can do; hiccups are what it does to any program.",
            curves(regime, |kind| kind == CurveKind::RoundTrips)?,
        ),
        (
            "An open loop",
            "Times count from when a message was due. Rates are part of the names.",
            curves(regime, |kind| matches!(kind, CurveKind::PacedRoundTrips | CurveKind::OneWay))?,
        ),
        (
            "Latency over rate",
            "Medians over blocks. Where a line leaves its level, the rate is too much.",
            over_rate(steps, regime)?,
        ),
        (
            "Throughput over payload",
            "The faster of one by one and in batches.",
            over_payload(steps, regime)?,
        ),
        (
            "What subscribers cost the publisher",
            "In bursts that fit the ring; waiting for room does not count.",
            fan_out(steps, regime)?,
        ),
        (
            "When messages reach subscribers",
            "One thread polls all of them; from when a message was due until its handler runs.",
            fan_out_latency(steps, regime)?,
        ),
    ];
    let drawn = all.into_iter().filter_map(|(title, note, plot)| Some((title, note, plot?)));
    Ok(drawn.collect())
}

fn ns(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} ms", value / 1e6),
        value if value >= 1e3 => format!("{} us", value / 1e3),
        value => format!("{value} ns"),
    }
}

fn curves(regime: &Regime, wanted: impl Fn(CurveKind) -> bool) -> Result<Option<String>> {
    let line = |curve: &Curve| Line {
        name: curve.name.clone(),
        role: match curve.kind {
            CurveKind::HandOff => Role::Limit,
            CurveKind::Hiccups => Role::Background,
            _ => Role::Subject,
        },
        points: curve.beyond_ns.iter().map(|&(share, ns)| (1.0 / share, ns)).collect(),
    };
    // The first ones: more of them cannot be told apart.
    let subjects: Vec<&Curve> =
        regime.curves.iter().filter(|curve| wanted(curve.kind)).take(10).collect();
    if subjects.is_empty() {
        return Ok(None);
    }
    let is_reference =
        |curve: &&Curve| matches!(curve.kind, CurveKind::HandOff | CurveKind::Hiccups);
    let lines: Vec<Line> =
        regime.curves.iter().filter(is_reference).chain(subjects).map(line).collect();
    let axes = Axes {
        x: "percentile",
        y: "time",
        x_label: &|inverse| match inverse {
            inverse if inverse < 1.5 => "0 %".to_owned(),
            inverse => {
                let percent = 100.0 * (1.0 - 1.0 / inverse);
                let text = format!("{percent:.6}");
                format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
            }
        },
        y_label: &ns,
    };
    draw(&axes, &lines)
}

/// The medians of a column, by step, of the tables of this kind.
fn column<'a>(
    steps: &'a [Labelled],
    regime: &'a Regime,
    kind: Kind,
    name: &'a str,
) -> impl Iterator<Item = (&'a Labelled, f64)> + 'a {
    let of = move |step: &'a Labelled| Some((step, regime.median(step, name)?));
    steps.iter().filter(move |step| Kind::of(step.step) == kind).filter_map(of)
}

fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Line {
    let mut points = points;
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    Line { name: name.into(), role: Role::Subject, points }
}

fn over_rate(steps: &[Labelled], regime: &Regime) -> Result<Option<String>> {
    let mut lines = Vec::new();
    for (percentile, name) in [("p50 ns", "p50"), ("p99 ns", "p99"), ("p99.9 ns", "p99.9")] {
        let all = || {
            column(steps, regime, Kind::OpenLoop, percentile)
                .filter(|(step, _)| step.crowd.is_none())
        };
        let paced = all().filter_map(|(step, ns)| match step.step {
            Step::PacedRoundTrips { rate } => Some((rate as f64, ns)),
            _ => None,
        });
        let one_way = all().filter_map(|(step, ns)| match step.step {
            Step::OneWay { rate } => Some((rate as f64, ns)),
            _ => None,
        });
        lines.push(line(format!("round trip, {name}"), paced.collect()));
        lines.push(line(format!("one way, {name}"), one_way.collect()));
    }
    if lines.iter().all(|line| line.points.len() < 2) {
        return Ok(None);
    }
    let axes = Axes {
        x: "messages a second",
        y: "time",
        x_label: &|rate| match rate {
            rate if rate >= 1e6 => format!("{} M", rate / 1e6),
            rate => format!("{} k", rate / 1e3),
        },
        y_label: &ns,
    };
    draw(&axes, &lines)
}

fn over_payload(steps: &[Labelled], regime: &Regime) -> Result<Option<String>> {
    let mut best: BTreeMap<String, BTreeMap<usize, f64>> = BTreeMap::new();
    for (step, rate) in column(steps, regime, Kind::Streams, "M messages/s") {
        let name = format!("{}, {}", step.contender, step.place.name());
        let fastest = best.entry(name).or_default().entry(step.payload_bytes.bytes()).or_default();
        *fastest = fastest.max(rate);
    }
    if best.values().all(|rates| rates.len() < 2) {
        return Ok(None);
    }
    let of = |(name, rates): (String, BTreeMap<usize, f64>)| Line {
        role: if name.starts_with("bare") { Role::Limit } else { Role::Subject },
        ..line(name, rates.into_iter().map(|(bytes, rate)| (bytes as f64, rate)).collect())
    };
    let axes = Axes {
        x: "bytes of payload",
        y: "million messages a second",
        x_label: &|bytes| format!("{bytes}"),
        y_label: &|rate| format!("{rate}"),
    };
    draw(&axes, &best.into_iter().map(of).collect::<Vec<_>>())
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

fn fan_out(steps: &[Labelled], regime: &Regime) -> Result<Option<String>> {
    let lines = over_subscribers(column(steps, regime, Kind::FanOut, "ns a message"), "");
    let axes = Axes {
        x: "subscribers",
        y: "cost of a message",
        x_label: &|number| format!("{number}"),
        y_label: &ns,
    };
    draw(&axes, &lines)
}

fn fan_out_latency(steps: &[Labelled], regime: &Regime) -> Result<Option<String>> {
    let mut lines = Vec::new();
    for (column_name, suffix) in [("p50 ns", ", p50"), ("p99 ns", ", p99")] {
        let found = column(steps, regime, Kind::OpenLoop, column_name);
        lines.extend(over_subscribers(found, suffix));
    }
    let axes =
        Axes { x: "subscribers", y: "time", x_label: &|number| format!("{number}"), y_label: &ns };
    draw(&axes, &lines)
}

fn tables(regime: &Regime) -> Markup {
    html! {
        h2 {
            (regime.rounds) " rounds with the bare hand-off at "
            (number(regime.handoff_ns.p50.map(|spread| spread.median))) " ns"
        }
        @for Section { kind, columns, rows, goals } in &regime.sections {
            p.note { (kind.title()) }
            div.wide {
                table {
                    tr {
                        th {} th { "blocks" } th { "n" }
                        @for column in columns { th { (column) } }
                    }
                    @for row in rows {
                        tr {
                            td { (row.name) }
                            td {
                                (row.blocks_valid)
                                @if row.blocks_invalid > 0 {
                                    " (" (row.blocks_invalid) " invalid)"
                                }
                            }
                            td { (row.count) }
                            @for figure in &row.figures {
                                td { (figure.map_or("-".to_owned(), |spread| cell(spread, false))) }
                            }
                        }
                    }
                }
            }
            @for outcome in goals {
                p class=(if outcome.met == Some(true) { "met" } else { "missed" }) {
                    (outcome.to_string())
                }
            }
        }
    }
}

fn machine(report: &Report) -> Markup {
    let heading = &report.heading;
    let machine = &heading.machine;
    let rows = [
        ("version", heading.version.to_owned()),
        ("processor", machine.processor.clone()),
        ("cores", machine.cores.to_string()),
        ("caches", machine.caches.clone()),
        ("kernel", machine.kernel.clone()),
        ("hypervisor", machine.hypervisor.clone()),
        ("clock source of the kernel", machine.clock_source.clone()),
        ("isolated cores", machine.isolated_cores.clone()),
        ("tickless cores", machine.tickless_cores.clone()),
        ("governor", machine.governor.clone()),
        (
            "sides",
            format!("near on core {}, far on core {}", heading.cores.near, heading.cores.far),
        ),
        ("clock of the benchmark", heading.about_clock()),
        (
            "clocks of the cores",
            format!("apart by {:.0} to {:.0} ns", report.offset.min_ns, report.offset.max_ns),
        ),
        ("put off a core", format!("{} times", heading.preemptions)),
    ];
    html! {
        h2 { "The machine and the run" }
        table {
            @for (name, value) in &rows { tr { td { (name) } td style="text-align:left" { (value) } } }
            @for how in &report.how {
                tr { td { (how.name) } td style="text-align:left" { (how.how) } }
            }
        }
    }
}
