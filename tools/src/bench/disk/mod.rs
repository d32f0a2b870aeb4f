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

use std::path::Path;

use anyhow::Result;

use self::cost::Publishers;
use self::durable::Always;
use self::far_core::Crew;
use self::place::Place;
use self::recorded::Recorded;
use self::report::Report;
use self::writing::Journals;
use tickcast_harness::clock::Clock;
use tickcast_harness::cores::{self, Cores};
use tickcast_harness::interrupt::Interrupt;
use tickcast_harness::temporary::TemporaryBus;

use super::{Options, deliver};

/// The rings that a publisher floods: so small that what the journal is to write is still in a
/// cache.
const RING_BYTES: u64 = 8 << 20;

/// Measures what a journal writes and what it costs, prints the report.
///
/// # Errors
/// When a contender fails, the user wants an end, or the report cannot be written.
pub(crate) fn journal(options: &Options, dir: &Path) -> Result<()> {
    let setup = Setup::new(dir)?;
    let mut crew = Crew::default();
    let journals = Journals::begin(&setup, &mut crew)?;
    let publishers = Publishers::begin(&setup, &mut crew)?;
    let always = Always::begin(&setup, &mut crew)?;
    let far = crew.start(setup.cores)?;
    // Not before: the journals' own threads are to run wherever there is room.
    cores::pin(setup.cores.near)?;
    let time = options.duration / 10;
    let found = vec![
        journals.run(&setup, &far, time * 4)?,
        publishers.run(&setup, &far, time * 3)?,
        always.run(&setup, &far, time * 3)?,
    ];
    let title = "the journal, beside bare writes to the same disk";
    deliver(&Report::new(title, &setup, found), options)
}

/// Measures replays, prints the report.
///
/// # Errors
/// When a contender fails, the user wants an end, or the report cannot be written.
pub(crate) fn replay(options: &Options, dir: &Path) -> Result<()> {
    let setup = Setup::new(dir)?;
    let recorded = Recorded::record(&setup, options.duration)?;
    let time = options.duration / 10;
    // Not pinned: a replay that goes as fast as possible has two threads.
    let mut found = vec![
        warm::run(&setup, &recorded, time * 3)?,
        cold::run(&setup, &recorded, time * 3)?,
        seek::run(&setup, options.duration)?,
    ];
    cores::pin(setup.cores.near)?;
    found.push(pace::run(&setup, &recorded, time * 4)?);
    let title = "replays, beside bare reads from the same disk";
    deliver(&Report::new(title, &setup, found), options)
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
    fn new(dir: &Path) -> Result<Self> {
        // First: from here on an interrupt leaves time to remove the files and the bus.
        let interrupt = Interrupt::install()?;
        let (cores, clock) = (Cores::choose(&[])?, Clock::calibrate()?);
        let (place, bus) = (Place::create(dir)?, TemporaryBus::create()?);
        Ok(Self { interrupt, cores, clock, place, bus })
    }
}
