//! A run: the clock, the cores, both sides, and all that takes part. Blocks are measured here.
use std::any::Any;

use anyhow::{Context, Result, anyhow};
use thiserror::Error;

use crate::BUILT_IN;
use crate::bare::Bare;
use crate::catalogue::{self, Entry};
use crate::clock::Clock;
use crate::cores::{self, Cores};
use crate::crowd::Crowd;
use crate::ends::{Near, Timed};
use crate::far_side::{Contender, FarSide, Spec};
use crate::interrupt::Interrupt;
use crate::left_out::LeftOut;
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

    /// What is told of a peer that is left out.
    ///
    /// # Errors
    /// When it is no peer, but what the run is about.
    fn leave_out(&self, subject: Option<&str>, error: anyhow::Error) -> Result<LeftOut> {
        let is_built_in = BUILT_IN.iter().any(|entry| entry.name == self.name);
        if is_built_in || subject == Some(self.name) {
            let Self { name, place, payload, .. } = self;
            return Err(error.context(format!("{name}, {}, {payload}", place.name())));
        }
        Ok(LeftOut { who: self.clone(), why: format!("{error:#}") })
    }
}

/// A peer that failed in a block. The run goes on without it.
#[derive(Debug, Error)]
#[error("{}", .left_out.why)]
pub(crate) struct Failed {
    pub(crate) entrant: usize,
    pub(crate) left_out: LeftOut,
}

/// What a block yields.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) timed: Timed,
    pub(crate) outcome: Outcome,
    /// From before the first message was sent until all were taken, by the near side's clock.
    pub(crate) duration_ns: u64,
    /// How often a side had to leave its core to another program.
    pub(crate) preemptions: u64,
}

/// A run that is going on.
pub(crate) struct Session {
    pub(crate) interrupt: Interrupt,
    pub(crate) cores: Cores,
    pub(crate) clock: Clock,
    pub(crate) entrants: Vec<Entrant>,
    /// Who could not be had, or failed, and why.
    pub(crate) left_out: Vec<LeftOut>,
    /// How often a side had to leave its core to another program within a block so far.
    pub(crate) preemptions: u64,
    /// Of each entrant.
    halves: Vec<Half>,
    subject: Option<&'static str>,
    run: Run,
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
    /// A peer that the run is about, so that there is none without it.
    pub(crate) subject: Option<&'static str>,
}

impl Session {
    /// Makes both halves of all `entrants`. Those that cannot be had on this machine are left out.
    ///
    /// # Errors
    /// When the machine does not allow a run at all.
    pub(crate) fn start(setting: &Setting<'_>, entrants: Vec<Entrant>) -> Result<Self> {
        let (interrupt, subject) = (setting.interrupt.clone(), setting.subject);
        let cores = Cores::choose(setting.cores)?;
        let (bus, directory) = (TemporaryBus::create()?, TemporaryDirectory::create()?);
        let run = Run::new(directory.path().to_owned(), bus.name().to_owned(), setting.mode);
        let run = run.on(cores);
        let mut places: Vec<Place> = entrants.iter().map(|entrant| entrant.place).collect();
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            places.push(setting.place);
        }
        // Whatever the contenders start on their own is not to run on this core alone.
        let mut contenders: Vec<Vec<Contender>> = vec![Vec::new(); places.len()];
        let mut kept = Vec::new();
        let mut left_out = Vec::new();
        let mut halves: Vec<(Entrant, Half)> = Vec::new();
        for entrant in entrants {
            let side = places.iter().position(|place| *place == entrant.place).unwrap_or(0);
            match near(&entrant, &run, setting.catalogue) {
                Ok((contender, near, keep)) => {
                    contenders[side].push(contender);
                    kept.extend(keep);
                    let number = contenders[side].len();
                    let entry = match entrant.crowd {
                        None => Some(catalogue::find(setting.catalogue, entrant.name)?),
                        Some(_) => None,
                    };
                    halves.push((entrant, Half { near, side, number, entry }));
                }
                Err(error) => left_out.push(entrant.leave_out(subject, error)?),
            }
        }
        cores::pin(cores.near)?;
        let clock = Clock::calibrate()?;
        let bare: Result<Vec<Bare>> = places.iter().map(|&at| Bare::create(&run, at)).collect();
        let mut sides = Vec::new();
        for (side, (&place, contenders)) in places.iter().zip(contenders).enumerate() {
            let spec = Spec {
                place,
                core: cores.far,
                clock,
                directory: run.directory.clone(),
                bus: run.bus.clone(),
                mode: run.mode,
                contenders,
            };
            let (far, failures) = FarSide::start(spec, &run, setting.catalogue)?;
            sides.push(far);
            for (number, why) in failures {
                let is_it =
                    |(_, half): &(Entrant, Half)| (half.side, half.number) == (side, number);
                if let Some(at) = halves.iter().position(is_it) {
                    let (entrant, _) = halves.remove(at);
                    left_out.push(entrant.leave_out(subject, anyhow!("the far side: {why}"))?);
                }
            }
        }
        let (entrants, halves) = halves.into_iter().unzip();
        // Of the last place: another process, where there is one.
        let bare = bare?.pop().context("no side")?;
        Ok(Self {
            interrupt,
            cores,
            clock,
            entrants,
            left_out,
            preemptions: 0,
            halves,
            subject,
            run,
            bare,
            sides,
            _kept: kept,
            _bus: bus,
            _directory: directory,
        })
    }

    /// Measures a block of the bare machine.
    ///
    /// # Errors
    /// When a side fails.
    pub(crate) fn bare_block(&mut self, task: Task, count: u64) -> Result<Measured> {
        let side = self.sides.last_mut().context("no side")?;
        let order = Order { contender: 0, task, count };
        let measured = block(&mut self.bare, side, &order, &self.clock);
        let measured = measured.and_then(|measured| measured).context("the bare machine")?;
        self.preemptions += measured.preemptions;
        Ok(measured)
    }

    /// Measures a block of an entrant.
    ///
    /// # Errors
    /// [`Failed`] when it is a peer that fails, and both sides are ready for the next block; or when
    /// a side is lost, or something fails that is no peer.
    pub(crate) fn block(&mut self, entrant: usize, task: Task, count: u64) -> Result<Measured> {
        let Half { near, side, number, entry } = &mut self.halves[entrant];
        let order = Order { contender: *number, task, count };
        let measured = match entry.map_or(Ok(()), |entry| entry.wake(&self.run)) {
            Ok(()) => block(near.as_mut(), &mut self.sides[*side], &order, &self.clock)
                .with_context(|| self.entrants[entrant].name)?,
            Err(error) => Err(error),
        };
        let rested = entry.map_or(Ok(()), |entry| entry.rest(&self.run));
        match measured.and_then(|measured| rested.map(|()| measured)) {
            Ok(measured) => {
                self.preemptions += measured.preemptions;
                Ok(measured)
            }
            Err(error) => {
                let left_out = self.entrants[entrant].leave_out(self.subject, error)?;
                Err(Failed { entrant, left_out }.into())
            }
        }
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
        side.outcome()??;
        Ok(offset)
    }
}

/// The near half of an entrant.
struct Half {
    near: Box<dyn Near>,
    /// Its place in `sides`, and its number there.
    side: usize,
    number: usize,
    /// Of a transport.
    entry: Option<&'static Entry>,
}

type Made = (Contender, Box<dyn Near>, Vec<Box<dyn Any>>);

fn near(entrant: &Entrant, run: &Run, catalogue: &[Entry]) -> Result<Made> {
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

/// What both halves make of a block. Where one of them fails, both sides are ready for the next one.
///
/// # Errors
/// When the far side is lost.
fn block(
    near: &mut dyn Near,
    side: &mut FarSide,
    order: &Order,
    clock: &Clock,
) -> Result<Result<Measured>> {
    let before = cores::preemptions()?;
    side.begin(order)?;
    let start = clock.now();
    let timed = near.run(&order.task, order.count, clock).and_then(|timed| {
        side.finish()?;
        Ok((timed, clock.ns_since(start)))
    });
    let outcome = side.outcome()?;
    let preemptions = cores::preemptions()? - before;
    Ok(match (timed, outcome) {
        (Ok((timed, duration_ns)), Ok(outcome)) => {
            let preemptions = preemptions + outcome.preemptions;
            Ok(Measured { timed, outcome, duration_ns, preemptions })
        }
        // Who only saw that nothing came knows less than the other side.
        (Err(near), Err(far)) if matches!(near.downcast_ref(), Some(BlockError::Stalled)) => {
            Err(far)
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    })
}
