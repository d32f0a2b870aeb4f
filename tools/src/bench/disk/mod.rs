//! `tickcast bench journal` and `tickcast bench replay`: what the journal makes of a disk, beside
//! bare loops that do the same to the same disk. Each comparison is a file; which there are is said
//! in
//! [`journal`] and [`replay`].
//!
//! As with latencies only ratios count: blocks of both run next to each other. The files take some
//! 3 GiB at most, and are removed.
pub(super) mod cold;
pub(super) mod cost;
mod direct;
pub(super) mod durable;
mod far_core;
mod fio;
mod format;
mod goals;
mod pace;
mod place;
mod recorded;
mod recording;
mod report;
pub(super) mod seek;
mod trial;
pub(super) mod warm;
pub(super) mod writing;

use anyhow::Result;

use self::cost::Publishers;
use self::durable::Always;
use self::far_core::Crew;
use self::place::Place;
use self::recorded::Recorded;
pub(crate) use self::report::Report;
use self::writing::Journals;
use tickcast_harness::clock::Clock;
use tickcast_harness::cores::{self, Cores};
use tickcast_harness::interrupt::Interrupt;
use tickcast_harness::temporary::TemporaryBus;
use tickcast_harness::{Options, Takes};

/// The rings that a publisher floods: so small that what the journal is to write is still in a
/// cache.
const RING_BYTES: u64 = 8 << 20;

const SUBSCRIBERS: (&str, &str) = ("subscribers", "fanout has them");
const IN_PROCESS: (&str, &str) =
    ("in-process", "the journal is always a thread of the publisher's");
const IPC: (&str, &str) = ("ipc", IN_PROCESS.1);
const PEERS: (&str, &str) = ("peers", "the peers have no journal");

/// What `bench journal` takes.
pub(crate) const JOURNAL: Takes = Takes {
    benchmark: "journal",
    refused: &[
        SUBSCRIBERS,
        IN_PROCESS,
        IPC,
        ("mode", "the publisher waits for the journal, and for the one reader beside it"),
        PEERS,
    ],
    several_payloads: true,
};

/// What `bench replay` takes.
pub(crate) const REPLAY: Takes = Takes {
    benchmark: "replay",
    refused: &[
        SUBSCRIBERS,
        IN_PROCESS,
        IPC,
        ("mode", "a replay reads files, and can neither be waited for nor overrun"),
        PEERS,
    ],
    several_payloads: false,
};

/// Measures what a journal writes and what it costs. Each payload is written; costs, and how long
/// it takes until a message is durable, are of the first.
///
/// # Errors
/// When a contender fails, or the user wants an end.
pub(crate) fn journal(options: &Options, interrupt: &Interrupt) -> Result<Report> {
    let setup = Setup::new(options, interrupt)?;
    let mut crew = Crew::default();
    let journals = Journals::begin(&setup, &mut crew)?;
    let publishers = Publishers::begin(&setup, &mut crew, options)?;
    let always = Always::begin(&setup, &mut crew, options.first_payload())?;
    let far = crew.start(setup.cores)?;
    // Not before: the journals' own threads are to run wherever there is room.
    cores::pin(setup.cores.near)?;
    let time = options.duration() / 10;
    let found = vec![
        journals.run(&setup, &far, options.payloads(), time * 4)?,
        publishers.run(&setup, &far, time * 3)?,
        always.run(&setup, &far, time * 3)?,
    ];
    Ok(Report::new("the journal, beside bare writes to the same disk", &setup, found))
}

/// Measures replays.
///
/// # Errors
/// When a contender fails, or the user wants an end.
pub(crate) fn replay(options: &Options, interrupt: &Interrupt) -> Result<Report> {
    let setup = Setup::new(options, interrupt)?;
    let recorded = Recorded::record(&setup, options)?;
    let time = options.duration() / 10;
    // Not pinned: a replay that goes as fast as possible has two threads.
    let mut found = vec![
        warm::run(&setup, &recorded, time * 3)?,
        cold::run(&setup, &recorded, time * 3)?,
        seek::run(&setup, options.duration())?,
    ];
    cores::pin(setup.cores.near)?;
    found.push(pace::run(&setup, &recorded, time * 4)?);
    Ok(Report::new("replays, beside bare reads from the same disk", &setup, found))
}

/// Such as "200 k/s".
fn per_s(rate: u64) -> String {
    match rate as f64 {
        rate if rate >= 1e6 => format!("{} M/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{} k/s", rate / 1e3),
        rate => format!("{rate}/s"),
    }
}

/// What every run needs.
struct Setup {
    interrupt: Interrupt,
    cores: Cores,
    clock: Clock,
    place: Place,
    bus: TemporaryBus,
}

impl Setup {
    fn new(options: &Options, interrupt: &Interrupt) -> Result<Self> {
        let interrupt = interrupt.clone();
        let (cores, clock) = (Cores::choose(&options.cores)?, Clock::calibrate()?);
        let (place, bus) = (Place::create(options.dir())?, TemporaryBus::create()?);
        Ok(Self { interrupt, cores, clock, place, bus })
    }
}
