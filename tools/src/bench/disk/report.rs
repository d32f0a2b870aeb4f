//! What a run on a disk found, as text and as JSON.
use std::env;
use std::fmt::{self, Display, Formatter};
use std::process;

use serde::Serialize;

use super::Setup;
use super::place::Kind;
use super::trial::Found;
use crate::bench::block::Clock;
use crate::bench::cores::{self, Cores};
use crate::bench::report::Machine;

/// A whole run: every comparison.
#[derive(Serialize)]
pub(super) struct Report {
    title: &'static str,
    command: Vec<String>,
    machine: Machine,
    cores: Cores,
    /// Both sides shared one core, so that times tell about the scheduler.
    oversubscribed: bool,
    clock: Clock,
    /// How often the timing thread was put off its core; many of these are the kernel's own, which
    /// flushes on some core.
    preemptions: u64,
    written_to: Kind,
    trials: Vec<Found>,
}

impl Report {
    pub(super) fn new(title: &'static str, setup: &Setup, trials: Vec<Found>) -> Self {
        Self {
            title,
            command: env::args().collect(),
            machine: Machine::this(),
            cores: setup.cores,
            oversubscribed: setup.cores.oversubscribed(),
            clock: setup.clock,
            preemptions: cores::preemptions(process::id()).unwrap_or(0),
            written_to: setup.place.kind,
            trials,
        }
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.title)?;
        writeln!(out, "{}", self.machine)?;
        let Cores { near, far } = self.cores;
        writeln!(out, "timed on core {near}, the other side on core {far}")?;
        if self.oversubscribed {
            writeln!(out, "OVERSUBSCRIBED: both share one core, so times are the scheduler's")?;
        }
        match self.written_to {
            Kind::Disk => {}
            Kind::NoDirect => writeln!(out, "NO O_DIRECT: bare figures are the page cache's")?,
            Kind::Memory => writeln!(out, "IN MEMORY: no figure is that of a disk")?,
        }
        writeln!(out, "the timing thread was put off its core {} times", self.preemptions)?;
        self.trials.iter().try_for_each(|found| write!(out, "{found}"))?;
        writeln!(
            out,
            "\nmedian over blocks [quartiles]; x: ratio to the yardstick of the same round\n-: \
             withheld, fewer than 10 samples lie beyond it in a block, or there is no such figure"
        )
    }
}
