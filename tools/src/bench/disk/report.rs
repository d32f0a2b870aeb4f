//! What a run on a disk found, as text and as JSON.
use std::fmt::{self, Display, Formatter};
use std::process;

use serde::Serialize;

use super::Setup;
use super::place::Kind;
use super::trial::Found;
use tickcast_harness::cores;
use tickcast_harness::heading::Heading;

/// A whole run: every comparison.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    heading: Heading,
    written_to: Kind,
    trials: Vec<Found>,
}

impl Report {
    pub(super) fn new(title: &'static str, setup: &Setup, trials: Vec<Found>) -> Self {
        let preemptions = cores::preemptions(process::id()).unwrap_or(0);
        let heading = Heading::new(title, setup.cores, setup.clock, preemptions);
        Self { heading, written_to: setup.place.kind, trials }
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.heading)?;
        match self.written_to {
            Kind::Disk => {}
            Kind::NoDirect => writeln!(out, "NO O_DIRECT: bare figures are the page cache's")?,
            Kind::Memory => writeln!(out, "IN MEMORY: no figure is that of a disk")?,
        }
        writeln!(out, "the timing thread was put off its core {} times", self.heading.preemptions)?;
        self.trials.iter().try_for_each(|found| write!(out, "{found}"))?;
        writeln!(
            out,
            "\nmedian over blocks [quartiles]; x: ratio to the yardstick of the same round\n-: \
             withheld, fewer than 10 samples lie beyond it in a block, or there is no such figure"
        )
    }
}
