//! The machine itself: the hand-off between its cores, its hiccups, and how far its clocks are
//! apart. Both sides serve it as their first contender.
use anyhow::{Result, bail};

use crate::clock::Clock;
use crate::ends::{Far, Near, Timed};
use crate::handoff::HandOff;
use crate::hiccups;
use crate::laps::Laps;
use crate::offset::{Exchange, Offset};
use crate::round_trip::{RoundTrip, WARM_UP};
use crate::task::{Outcome, Task, with_gap};
use crate::transport::{Place, Run};

/// Either half.
pub(crate) struct Bare {
    handoff: HandOff,
    exchange: Exchange,
    laps: Laps,
}

impl Bare {
    /// The near half, for a far side at `place`.
    pub(crate) fn create(run: &Run, place: Place) -> Result<Self> {
        let [handoff, exchange] = paths(run, place);
        Ok(Self::of(HandOff::create(&handoff)?, Exchange::create(&exchange)?))
    }

    /// The far half at `place`.
    pub(crate) fn open(run: &Run, place: Place) -> Result<Self> {
        let [handoff, exchange] = paths(run, place);
        Ok(Self::of(HandOff::open(&handoff)?, Exchange::open(&exchange)?))
    }

    fn of(handoff: HandOff, exchange: Exchange) -> Self {
        Self { handoff, exchange, laps: Laps::default() }
    }

    /// How far the clocks are apart, by `count` exchanges that the far half was ordered to answer.
    pub(crate) fn offset(&self, count: u64, clock: &Clock) -> Result<Offset> {
        self.exchange.ask(count, clock)
    }
}

fn paths(run: &Run, place: Place) -> [std::path::PathBuf; 2] {
    ["hand-off", "offset"].map(|what| run.directory.join(format!("{}.{what}", place.name())))
}

impl Near for Bare {
    fn run(&mut self, task: &Task, count: u64, clock: &Clock) -> Result<Timed> {
        let mut timed = Timed::default();
        match task {
            Task::RoundTrips { polling } => with_gap!(*polling, GAP => {
                timed.samples = self.handoff.time::<GAP>(count, clock, &mut self.laps)?;
            }),
            Task::Hiccups => timed.samples = hiccups::watch(count, clock, &mut self.laps),
            other => bail!("the bare machine does not do {other:?}"),
        }
        Ok(timed)
    }
}

impl Far for Bare {
    fn run(&mut self, task: &Task, count: u64, clock: &Clock) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        match task {
            Task::RoundTrips { polling } => {
                with_gap!(*polling, GAP => self.handoff.answer::<GAP>(WARM_UP + count)?);
            }
            Task::Hiccups => outcome.samples = hiccups::watch(count, clock, &mut self.laps),
            Task::Offset => self.exchange.answer(count, clock)?,
            other => bail!("the bare machine does not do {other:?}"),
        }
        Ok(outcome)
    }
}
