//! What a run on a disk found, as text, as JSON and as a page.
use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use serde::Serialize;

use super::Setup;
use super::place::Kind;
use super::trial::Found;
use tickcast_harness::clock::Clock;
use tickcast_harness::cores;
use tickcast_harness::deliver::Delivery;
use tickcast_harness::goal::Outcome;
use tickcast_harness::heading::Heading;
use tickcast_harness::page::Chapter;
use tickcast_harness::{Curve, CurveKind};

/// A whole run: every comparison.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    heading: Heading,
    summary: Summary,
    written_to: Kind,
    trials: Vec<Found>,
}

/// A run in a few figures.
#[derive(Serialize)]
struct Summary {
    /// Whether the figures count.
    valid: bool,
    invalid_because: Vec<String>,
    oversubscribed: bool,
    goals: Vec<Outcome>,
}

impl Report {
    pub(super) fn new(title: &'static str, setup: &Setup, trials: Vec<Found>) -> Self {
        let preemptions = cores::preemptions().unwrap_or(0);
        let heading = Heading::new(title, setup.cores, setup.clock, preemptions);
        let written_to = setup.place.kind;
        let summary = Summary::of(&heading, written_to, &trials);
        Self { heading, summary, written_to, trials }
    }
}

impl Summary {
    fn of(heading: &Heading, written_to: Kind, trials: &[Found]) -> Self {
        let mut invalid_because = Vec::new();
        if heading.oversubscribed {
            invalid_because.push("both sides share one core".to_owned());
        }
        if !Clock::is_steady(heading.drift_ppm) {
            invalid_because.push("the clock's rate moved during the run".to_owned());
        }
        invalid_because.extend(written_to.fault().map(str::to_owned));
        invalid_because.extend(trials.iter().flat_map(Found::doubts));
        Self {
            valid: invalid_because.is_empty(),
            invalid_because,
            oversubscribed: heading.oversubscribed,
            goals: trials.iter().flat_map(|found| found.goals.iter().cloned()).collect(),
        }
    }
}

impl Kind {
    /// Why figures are not those of a disk.
    fn fault(self) -> Option<&'static str> {
        match self {
            Self::Disk => None,
            Self::NoDirect => Some("there is no O_DIRECT, so bare figures are the page cache's"),
            Self::Memory => Some("the files are in memory, so no figure is that of a disk"),
        }
    }
}

impl Delivery for Report {
    fn chapters(&self) -> Result<Vec<Chapter>> {
        let mut chapter = Chapter::new(&self.heading);
        let Summary { invalid_because, oversubscribed, .. } = &self.summary;
        chapter.warn_invalid(invalid_because, *oversubscribed);
        self.trials.iter().try_for_each(|found| found.show(&mut chapter))?;
        Ok(vec![chapter])
    }

    fn curves(&self) -> Vec<&Curve> {
        let mut curves: Vec<&Curve> = self.trials.iter().flat_map(|found| &found.curves).collect();
        // The sort is stable: of the journal's, the first one comes first.
        curves.sort_by_key(|curve| curve.kind() == CurveKind::BareDisk);
        curves
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.heading)?;
        writeln!(out, "the timing thread was put off its core {} times", self.heading.preemptions)?;
        self.trials.iter().try_for_each(|found| write!(out, "{found}"))?;
        for why in &self.summary.invalid_because {
            writeln!(out, "\nINVALID: {why}")?;
        }
        writeln!(
            out,
            "\nmedian over blocks [quartiles]; x: ratio to the yardstick of the same round\n-: \
             withheld, fewer than 10 samples lie beyond it in a block, or there is no such figure"
        )
    }
}
