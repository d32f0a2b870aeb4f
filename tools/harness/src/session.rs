//! A run: the clock, the cores, both sides, and all that takes part. Blocks are measured here.
use std::any::Any;
use std::process;

use anyhow::{Context, Result};

use crate::bare::Bare;
use crate::catalogue::{self, Entry};
use crate::clock::Clock;
use crate::cores::{self, Cores};
use crate::crowd::Crowd;
use crate::ends::{Near, Timed};
use crate::far_side::{Contender, FarSide, Spec};
use crate::interrupt::Interrupt;
use crate::message::Payload;
use crate::offset::Offset;
use crate::spin::BlockError;
use crate::task::{Order, Outcome, Task};
use crate::temporary::{TemporaryBus, TemporaryDirectory};
use crate::transport::{Mode, Place, Run};

/// Exchanges that tell how far the clocks are apart.
const EXCHANGES: u64 = 2_000;

/// Who takes part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entrant {
    /// Of a transport, or what the crowd is.
    pub(crate) name: &'static str,
    pub(crate) payload: Payload,
    pub(crate) place: Place,
    pub(crate) crowd: Option<Crowd>,
}

impl Entrant {
    pub(crate) fn transport(name: &'static str, payload: Payload, place: Place) -> Self {
        Self { name, payload, place, crowd: None }
    }
}

/// What a block yields.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) timed: Timed,
    pub(crate) outcome: Outcome,
    /// From before the first message was sent until all were taken, by the near side's clock.
    pub(crate) duration_ns: u64,
}

/// A run that is going on.
pub(crate) struct Session {
    pub(crate) interrupt: Interrupt,
    pub(crate) cores: Cores,
    pub(crate) clock: Clock,
    pub(crate) entrants: Vec<Entrant>,
    /// The near half of each entrant, with its place in `sides` and its number there.
    halves: Vec<(Box<dyn Near>, usize, usize)>,
    bare: Bare,
    sides: Vec<FarSide>,
    _kept: Vec<Box<dyn Any>>,
    // Last: removed when everything that uses them is closed.
    _bus: TemporaryBus,
    _directory: TemporaryDirectory,
}

/// What a session is made of.
pub(crate) struct Setting<'a> {
    pub(crate) interrupt: &'a Interrupt,
    /// Where the far side is if nobody takes part.
    pub(crate) place: Place,
    pub(crate) cores: &'a [usize],
    pub(crate) mode: Mode,
    pub(crate) catalogue: &'static [Entry],
}

impl Session {
    /// Makes both halves of all `entrants`. Those that cannot be had on this machine are left out,
    /// and named with the reason.
    ///
    /// # Errors
    /// When the machine does not allow a run at all.
    pub(crate) fn start(
        setting: &Setting<'_>,
        entrants: Vec<Entrant>,
    ) -> Result<(Self, Vec<String>)> {
        let interrupt = setting.interrupt.clone();
        let cores = Cores::choose(setting.cores)?;
        let (bus, directory) = (TemporaryBus::create()?, TemporaryDirectory::create()?);
        let run = Run::new(directory.path().to_owned(), bus.name().to_owned(), setting.mode);
        let mut places: Vec<Place> = entrants.iter().map(|entrant| entrant.place).collect();
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            places.push(setting.place);
        }
        // Whatever the contenders start on their own is not to run on this core alone.
        let mut contenders: Vec<Vec<Contender>> = vec![Vec::new(); places.len()];
        let (mut halves, mut kept, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        let mut taking_part = Vec::new();
        for entrant in entrants {
            let side = places.iter().position(|place| *place == entrant.place).unwrap_or(0);
            match near(&entrant, &run, setting.catalogue) {
                Ok((contender, half, keep)) => {
                    contenders[side].push(contender);
                    halves.push((half, side, contenders[side].len()));
                    kept.extend(keep);
                    taking_part.push(entrant);
                }
                Err(error) => left_out.push(format!(
                    "{}, {}, {}: left out: {error:#}",
                    entrant.name,
                    entrant.place.name(),
                    entrant.payload
                )),
            }
        }
        cores::pin(cores.near)?;
        let clock = Clock::calibrate()?;
        let bare: Result<Vec<Bare>> = places.iter().map(|&at| Bare::create(&run, at)).collect();
        let mut sides = Vec::new();
        for (&place, contenders) in places.iter().zip(contenders) {
            let spec = Spec {
                place,
                core: cores.far,
                clock,
                directory: run.directory.clone(),
                bus: run.bus.clone(),
                mode: run.mode,
                contenders,
            };
            sides.push(FarSide::start(spec, &run, setting.catalogue)?);
        }
        // Of the last place: another process, where there is one.
        let bare = bare?.pop().context("no side")?;
        let session = Self {
            interrupt,
            cores,
            clock,
            entrants: taking_part,
            halves,
            bare,
            sides,
            _kept: kept,
            _bus: bus,
            _directory: directory,
        };
        Ok((session, left_out))
    }

    /// Measures a block of the bare machine.
    ///
    /// # Errors
    /// When a side fails.
    pub(crate) fn bare_block(&mut self, task: Task, count: u64) -> Result<Measured> {
        let side = self.sides.last_mut().context("no side")?;
        let order = Order { contender: 0, task, count };
        block(&mut self.bare, side, &order, &self.clock).context("the bare machine")
    }

    /// Measures a block of an entrant.
    ///
    /// # Errors
    /// When a side fails.
    pub(crate) fn block(&mut self, entrant: usize, task: Task, count: u64) -> Result<Measured> {
        let (near, side, contender) = &mut self.halves[entrant];
        let order = Order { contender: *contender, task, count };
        let measured = block(near.as_mut(), &mut self.sides[*side], &order, &self.clock);
        measured.with_context(|| self.entrants[entrant].name)
    }

    /// How far the clocks of the two cores are apart.
    ///
    /// # Errors
    /// When a side fails.
    pub(crate) fn offset(&mut self) -> Result<Offset> {
        let side = self.sides.last_mut().context("no side")?;
        side.begin(&Order { contender: 0, task: Task::Offset, count: EXCHANGES })?;
        let offset = self.bare.offset(EXCHANGES, &self.clock)?;
        side.finish()?;
        side.outcome()?;
        Ok(offset)
    }

    /// How often a side had to leave its core to another program so far.
    ///
    /// # Errors
    /// When the far side is gone.
    pub(crate) fn preemptions(&self) -> Result<u64> {
        let mut preemptions = cores::preemptions(process::id())?;
        for pid in self.sides.iter().filter_map(FarSide::pid) {
            preemptions += cores::preemptions(pid)?;
        }
        Ok(preemptions)
    }
}

type Half = (Contender, Box<dyn Near>, Vec<Box<dyn Any>>);

fn near(entrant: &Entrant, run: &Run, catalogue: &[Entry]) -> Result<Half> {
    if let Some(crowd) = &entrant.crowd {
        return Ok((Contender::Crowd(crowd.clone()), crowd.near(run)?, Vec::new()));
    }
    let entry = catalogue::find(catalogue, entrant.name)?;
    let name = format!("{}-{}", entrant.name, entrant.place.name());
    let (half, kept) = entry.near(run, &name, entrant.payload)?;
    let contender =
        Contender::Transport { entry: entry.name.to_owned(), name, payload: entrant.payload };
    Ok((contender, half, kept))
}

fn block(
    near: &mut dyn Near,
    side: &mut FarSide,
    order: &Order,
    clock: &Clock,
) -> Result<Measured> {
    side.begin(order)?;
    let start = clock.now();
    let timed = near.run(&order.task, order.count, clock).and_then(|timed| {
        side.finish()?;
        Ok((timed, clock.ns_since(start)))
    });
    match timed {
        Ok((timed, duration_ns)) => Ok(Measured { timed, outcome: side.outcome()?, duration_ns }),
        // Who only saw that nothing came knows less than the other side.
        Err(error) if matches!(error.downcast_ref(), Some(BlockError::Stalled)) => {
            Err(side.outcome().err().unwrap_or(error))
        }
        Err(error) => Err(error),
    }
}
