//! What stands above every report: what was run, on what, and by which clock.
use std::env;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::clock::{Clock, Source};
use crate::cores::Cores;
use crate::machine::Machine;

/// What was run.
#[derive(Debug, Serialize)]
pub struct Heading {
    /// In a few words.
    pub title: String,
    /// Of the harness.
    pub version: &'static str,
    /// The whole command line.
    pub command: Vec<String>,
    /// On what.
    pub machine: Machine,
    /// Where the two sides ran.
    pub cores: Cores,
    /// Both sides shared one core, so that times tell about the scheduler.
    pub oversubscribed: bool,
    /// By which clock.
    pub clock: Clock,
    /// By how much its rate moved during the run.
    pub drift_ppm: f64,
    /// How often a side was put off its core; many of these mean that other programs wanted it, or
    /// the kernel itself, which flushes files on some core.
    pub preemptions: u64,
}

impl Heading {
    /// The heading of a run that ends now.
    pub fn new(title: &str, cores: Cores, clock: Clock, preemptions: u64) -> Self {
        Self {
            title: title.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            command: env::args().collect(),
            machine: Machine::this(),
            cores,
            oversubscribed: cores.oversubscribed(),
            clock,
            drift_ppm: clock.drift_ppm(),
            preemptions,
        }
    }

    /// How the clock is, in a sentence.
    pub fn about_clock(&self) -> String {
        let Clock { source, ns_per_tick, cost_ns, step_ns, .. } = self.clock;
        let source = match source {
            Source::Tsc => format!("the time-stamp counter, at {:.3} GHz", 1.0 / ns_per_tick),
            Source::Monotonic => "CLOCK_MONOTONIC, as the processor has no invariant time-stamp \
                                  counter"
                .to_owned(),
        };
        let (drift, steady) = (self.drift_ppm, Clock::is_steady(self.drift_ppm));
        let steady = if steady { "" } else { ": NOT STEADY, no time counts" };
        format!(
            "{source}; a reading costs {cost_ns:.1} ns (subtracted), in steps of {step_ns} ns; its \
             rate moved by {drift:.1} ppm{steady}"
        )
    }
}

impl Display for Heading {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.title)?;
        let Machine { processor, kernel, cores, hypervisor, isolated_cores, governor, .. } =
            &self.machine;
        writeln!(
            out,
            "{processor}, {cores} cores, Linux {kernel}, hypervisor: {hypervisor}, isolated cores: \
             {isolated_cores}, governor: {governor}"
        )?;
        let Cores { near, far } = self.cores;
        writeln!(out, "near side, which takes the times, on core {near}, far side on core {far}")?;
        writeln!(out, "clock: {}", self.about_clock())?;
        if self.oversubscribed {
            writeln!(
                out,
                "OVERSUBSCRIBED: both sides share one core, so times are the scheduler's"
            )?;
        }
        Ok(())
    }
}
