//! `tickcast bench all`: the harness's benchmarks in one run, and those of the journal before it.
use std::fmt::{self, Display, Formatter};
use std::panic::resume_unwind;
use std::thread;

use anyhow::Result;
use serde::Serialize;
use tickcast_harness::benchmarks::Benchmark;
use tickcast_harness::deliver::Delivery;
use tickcast_harness::interrupt::{Interrupt, Interrupted};
use tickcast_harness::page::Chapter;
use tickcast_harness::{self as harness, Curve, Options};
use tickcast_peers::CATALOGUE;

use super::disk::{self, journal, replay};

/// The share of the time that each part with a disk has.
const DISK_SHARE: f64 = 0.2;

/// What all of them found.
#[derive(Serialize)]
pub(crate) struct All {
    #[serde(flatten)]
    bus: harness::Report,
    journal: Part,
    replay: Part,
}

/// A part with a disk.
#[derive(Serialize)]
#[serde(untagged)]
enum Part {
    Measured(Box<disk::Report>),
    /// What does not go here is no reason to lose the rest.
    LeftOut {
        left_out: String,
    },
}

/// Measures all.
///
/// # Errors
/// When a side of the bus fails, or the user wants an end.
pub(crate) fn all(options: &Options, interrupt: &Interrupt) -> Result<All> {
    let part = options.part(DISK_SHARE).with_one_payload();
    let journal = Part::run("journal", || journal(&part, interrupt))?;
    let replay = Part::run("replay", || replay(&part, interrupt))?;
    let part = options.part(1.0 - 2.0 * DISK_SHARE);
    let bus = Benchmark::All.run(&part, CATALOGUE, interrupt)?;
    Ok(All { bus, journal, replay })
}

impl Part {
    fn run(name: &str, run: impl FnOnce() -> Result<disk::Report> + Send) -> Result<Self> {
        // A thread of its own: this one stays free to run on any core.
        let report = thread::scope(|scope| scope.spawn(run).join());
        match report.unwrap_or_else(|panic| resume_unwind(panic)) {
            Ok(report) => Ok(Self::Measured(Box::new(report))),
            Err(error) if error.is::<Interrupted>() => Err(error),
            Err(error) => Ok(Self::LeftOut { left_out: format!("{name} is left out: {error:#}") }),
        }
    }
}

impl All {
    fn parts(&self) -> [&Part; 2] {
        [&self.journal, &self.replay]
    }
}

impl Delivery for All {
    fn chapters(&self) -> Result<Vec<Chapter>> {
        let mut chapters = self.bus.chapters()?;
        for part in self.parts() {
            match part {
                Part::Measured(report) => chapters.extend(report.chapters()?),
                Part::LeftOut { left_out } => {
                    chapters.iter_mut().take(1).for_each(|chapter| chapter.warn(left_out));
                }
            }
        }
        Ok(chapters)
    }

    fn curves(&self) -> Vec<&Curve> {
        let mut curves = self.bus.curves();
        for part in self.parts() {
            if let Part::Measured(report) = part {
                curves.extend(report.curves());
            }
        }
        curves
    }
}

impl Display for All {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.bus)?;
        self.parts().into_iter().try_for_each(|part| match part {
            Part::Measured(report) => write!(out, "\n{report}"),
            Part::LeftOut { left_out } => writeln!(out, "\n{left_out}"),
        })
    }
}
