//! `tickcast bench`: what the bus costs beside the bare hand-off and the bare stream of this
//! machine.
//!
//! An absolute latency means little on a host that moves its virtual cores about, so all figures
//! are ratios of blocks that ran next to each other. [`lineup`] is the place to add a contender.
mod bare;
mod block;
mod bus_round_trip;
mod bus_stream;
mod cores;
mod disk;
mod fanout;
mod goal;
mod handoff;
mod heading;
mod lineup;
mod peer;
mod report;
mod rounds;
mod rtrb_stream;
mod shared;
mod spin;
mod statistics;
mod stream;
mod temporary_bus;
mod verdict;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use block::Clock;
use cores::Cores;
use fanout::{FANOUT_COLUMNS, judge_fanout};
use goal::{FANOUT_GOALS, FASTEST_ON_BUS, FLOW_GOALS, LATENCY_GOALS};
use heading::Heading;
use lineup::{BUS_ROUND_TRIPPERS, Child, Layout, NearOnBus, fan_outs};
use report::{Report, Subject};
use rounds::{Yardstick, interleave};
use shared::Shared;
use temporary_bus::TemporaryBus;
use verdict::{FLOW_COLUMNS, LATENCY_COLUMNS, judge_flow, judge_latency};

use crate::interrupt::Interrupt;
pub(crate) use bare::bare_handoff;
pub(crate) use cores::pin;
pub(crate) use disk::{journal, replay};
pub(crate) use peer::PEER_COMMAND;
pub(crate) use statistics::Percentile;

/// Round trips in a block: enough for a 99.9th percentile, about 1 ms when the cores are near.
const BLOCK_SAMPLES: u64 = 10_000;
/// Round trips that tell the regime around blocks of a stream.
const REGIME_SAMPLES: u64 = 2_000;
/// Messages in a block of a stream: about 3 ms for the fastest.
const BLOCK_MESSAGES: u64 = 1 << 20;
/// Messages in a block of a fan-out: 64 subscribers take some 50 ms for it.
const FAN_OUT_MESSAGES: u64 = 1 << 18;
/// Both sides on one core take turns by the scheduler, some hundred times slower.
const OVERSUBSCRIBED_SHARE: u64 = 50;

/// How long to measure, and where to write every block.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) duration: Duration,
    pub(crate) json: Option<PathBuf>,
}

/// Measures round trips, prints the report.
///
/// # Errors
/// When a side fails, the user wants an end, or the report cannot be written.
pub(crate) fn latency(options: &Options) -> Result<()> {
    let setup = Setup::new()?;
    let layout = Layout::of(&setup.shared)?;
    let on_bus = NearOnBus::create(&setup.bus)?;
    let child = setup.child(&layout)?;
    let samples = setup.scaled(BLOCK_SAMPLES);
    let clock = setup.clock;
    let mut yardstick = Yardstick { variants: layout.handoffs(&child), samples, clock };
    let mut contenders = layout.round_trippers(&child, on_bus.round_trip);
    let rounds =
        interleave(options.duration, &setup.interrupt, &mut yardstick, contenders.len(), |at| {
            contenders[at].block(samples, &clock)
        })?;
    let summaries = [FASTEST_ON_BUS, "closing hand-off"];
    let names = contenders.iter().map(|contender| contender.name).chain(summaries);
    let subject = Subject {
        heading: setup.heading("round trips, timed one by one", &child)?,
        contenders: names.collect(),
        columns: &LATENCY_COLUMNS,
        goals: &LATENCY_GOALS,
    };
    let judge = |round: &_| judge_latency(round, BUS_ROUND_TRIPPERS);
    deliver(&Report::new(subject, rounds, judge), options)
}

/// Measures streams, prints the report.
///
/// # Errors
/// When a side fails, the user wants an end, or the report cannot be written.
pub(crate) fn throughput(options: &Options) -> Result<()> {
    let setup = Setup::new()?;
    let layout = Layout::of(&setup.shared)?;
    let on_bus = NearOnBus::create(&setup.bus)?;
    let child = setup.child(&layout)?;
    let (messages, samples) = (setup.scaled(BLOCK_MESSAGES), setup.scaled(REGIME_SAMPLES));
    let clock = setup.clock;
    let mut yardstick = Yardstick { variants: layout.handoffs(&child), samples, clock };
    let (parts, mut contenders): (Vec<_>, Vec<_>) =
        layout.streamers(&child, setup.cores.far, on_bus.streams)?.into_iter().unzip();
    let rounds =
        interleave(options.duration, &setup.interrupt, &mut yardstick, contenders.len(), |at| {
            contenders[at].block(messages)
        })?;
    let subject = Subject {
        heading: setup.heading(
            "streams of messages with 48 bytes of payload (rtrb: items of 64 bytes)",
            &child,
        )?,
        contenders: contenders.iter().map(|contender| contender.name).collect(),
        columns: &FLOW_COLUMNS,
        goals: &FLOW_GOALS,
    };
    deliver(&Report::new(subject, rounds, |round| judge_flow(round, &parts)), options)
}

/// Measures what subscribers cost a publisher, prints the report.
///
/// # Errors
/// When a side fails, the user wants an end, or the report cannot be written.
pub(crate) fn fanout(options: &Options) -> Result<()> {
    let setup = Setup::new()?;
    let layout = Layout::of(&setup.shared)?;
    let on_bus = NearOnBus::create(&setup.bus)?;
    let child = setup.child(&layout)?;
    let (messages, samples) = (setup.scaled(FAN_OUT_MESSAGES), setup.scaled(REGIME_SAMPLES));
    let clock = setup.clock;
    let mut yardstick = Yardstick { variants: layout.handoffs(&child), samples, clock };
    let mut contenders = fan_outs(&child, on_bus.fan_outs);
    let rounds =
        interleave(options.duration, &setup.interrupt, &mut yardstick, contenders.len(), |at| {
            contenders[at].block(messages)
        })?;
    let subject = Subject {
        heading: setup.heading(
            "the publisher's cost of a message with 48 bytes of payload, by subscribers that one \
                thread polls; waiting for them does not count",
            &child,
        )?,
        contenders: contenders.iter().map(|contender| contender.name).collect(),
        columns: &FANOUT_COLUMNS,
        goals: &FANOUT_GOALS,
    };
    deliver(&Report::new(subject, rounds, judge_fanout), options)
}

/// Plays the far side; what [`PEER_COMMAND`] runs, with a core and the path of the shared lines.
///
/// # Errors
/// When a block fails. The end of the near side is not an error.
pub(crate) fn play_far_side(core: usize, shared: &Path) -> Result<()> {
    cores::pin(core)?;
    let shared = Shared::open(shared)?;
    let layout = Layout::of(&shared)?;
    let bus = temporary_bus::open_parents()?;
    peer::serve(io::stdin().lock(), layout.control, &mut layout.far_halves(&bus)?)
}

/// What every run needs.
struct Setup {
    interrupt: Interrupt,
    cores: Cores,
    clock: Clock,
    shared: Shared,
    bus: TemporaryBus,
}

impl Setup {
    fn new() -> Result<Self> {
        // First: from here on an interrupt leaves time to remove the bus.
        let interrupt = Interrupt::install()?;
        let cores = Cores::choose()?;
        cores::pin(cores.near)?;
        let clock = Clock::measure()?;
        let shared = Shared::create(Layout::LINES)?;
        Ok(Self { interrupt, cores, clock, shared, bus: TemporaryBus::create()? })
    }

    fn child<'a>(&'a self, layout: &Layout<'a>) -> Result<Child<'a>> {
        Child::start(self.cores.far, &self.shared.path(), layout)
    }

    /// What stands above a report that is made now, after the blocks.
    fn heading(&self, title: &'static str, child: &Child<'_>) -> Result<Heading> {
        // Of either side, since it was started.
        let preemptions = cores::preemptions(process::id())? + cores::preemptions(child.pid())?;
        Ok(Heading::new(title, self.cores, self.clock, preemptions))
    }

    fn scaled(&self, count: u64) -> u64 {
        if self.cores.oversubscribed() { count / OVERSUBSCRIBED_SHARE } else { count }
    }
}

fn deliver(report: &(impl Display + Serialize), options: &Options) -> Result<()> {
    write!(io::stdout().lock(), "{report}").context("cannot print the report")?;
    let Some(path) = &options.json else { return Ok(()) };
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut file = BufWriter::new(file);
    serde_json::to_writer(&mut file, report)
        .map_err(io::Error::from)
        .and_then(|()| file.flush())
        .with_context(|| format!("cannot write {}", path.display()))
}
