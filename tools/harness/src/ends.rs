//! The patterns in which a transport is measured, the same for all of them: a pair of links, ping
//! and pong, with a half on either side. Change here what a block of messages is.
use std::any::Any;
use std::mem;

use anyhow::{Result, bail, ensure};

use crate::clock::Clock;
use crate::laps::Laps;
use crate::message::{Payload, Payloads, Words, message, sum, sum_of_message};
use crate::round_trip::{RoundTrip, WARM_UP};
use crate::schedule::Schedule;
use crate::spin::{BlockError, CLOSE, STALL_TIMEOUT, spin_until};
use crate::statistics::Samples;
use crate::task::{Outcome, Task, with_gap};
use crate::transport::{Link, Receiver, Run, Sender, Transport};

/// Most messages that a poll of a stream takes.
const POLL_LIMIT: usize = 256;

/// The half of a contender that runs on the near side, and takes the times.
pub(crate) trait Near {
    /// Does its part of a block.
    ///
    /// # Errors
    /// When the other half makes no progress, or the transport fails.
    fn run(&mut self, task: &Task, count: u64, clock: &Clock) -> Result<Timed>;
}

/// The half that runs on the far side.
pub(crate) trait Far {
    /// Does its part of a block.
    ///
    /// # Errors
    /// When the other half makes no progress, sent something else than it should, or the transport
    /// fails.
    fn run(&mut self, task: &Task, count: u64, clock: &Clock) -> Result<Outcome>;
}

/// What the near side timed in a block.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    /// Of what it waited for.
    pub samples: Samples,
    /// How late messages of a schedule were sent.
    pub lateness: Samples,
    /// When the first message of a schedule was due, and when the last answer came, in ticks.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Messages that found no room at first.
    pub refused: u64,
}

/// The two links of a contender: what the near side sends on, and what it is answered on.
fn links<'a>(run: &'a Run, name: &str, payload: Payload) -> [Link<'a>; 2] {
    let link = |direction| Link { run, name: format!("{name}-{payload}-{direction}"), payload };
    ["ping", "pong"].map(|direction| Link {
        name: link(direction).name.replace(' ', "").to_lowercase(),
        ..link(direction)
    })
}

/// Both ends that a side has.
struct Ends<T: Transport, const W: usize> {
    sender: T::Sender<W>,
    receiver: T::Receiver<W>,
    payloads: Payloads<W>,
    /// The number of the next message of a stream.
    next: u64,
    /// The number of the next round trip.
    asked: u64,
    /// Half of what a ring holds: where no more are on their way, a lossy subscriber misses none.
    unanswered_max: u64,
    laps: Laps,
    lateness: Laps,
}

impl<T: Transport, const W: usize> Ends<T, W> {
    fn new(sender: T::Sender<W>, receiver: T::Receiver<W>, link: &Link<'_>) -> Self {
        Self {
            sender,
            receiver,
            payloads: Payloads::new(),
            next: 0,
            asked: 0,
            unanswered_max: link.capacity() as u64 / 2,
            laps: Laps::default(),
            lateness: Laps::default(),
        }
    }
}

/// A near half, and what is to be kept until the run ends.
pub(crate) type NearHalf = (Box<dyn Near>, Vec<Box<dyn Any>>);

/// The near half of `T`.
///
/// # Errors
/// When `T` cannot be had on this machine.
pub(crate) fn near<T: Transport, const W: usize>(
    run: &Run,
    name: &str,
    payload: Payload,
) -> Result<NearHalf> {
    let [ping, pong] = links(run, name, payload);
    let kept = vec![T::create::<W>(&ping)?, T::create::<W>(&pong)?];
    let (receiver, sender) = (T::receiver::<W>(&pong)?, T::sender::<W>(&ping)?);
    Ok((Box::new(NearEnds(Ends::<T, W>::new(sender, receiver, &ping))), kept))
}

/// The far half of `T`.
///
/// # Errors
/// When the near half is gone.
pub(crate) fn far<T: Transport, const W: usize>(
    run: &Run,
    name: &str,
    payload: Payload,
) -> Result<Box<dyn Far>> {
    let [ping, pong] = links(run, name, payload);
    let (receiver, sender) = (T::receiver::<W>(&ping)?, T::sender::<W>(&pong)?);
    Ok(Box::new(FarEnds(Ends::<T, W>::new(sender, receiver, &ping))))
}

struct NearEnds<T: Transport, const W: usize>(Ends<T, W>);
struct FarEnds<T: Transport, const W: usize>(Ends<T, W>);

/// Looks at every word of a message.
#[inline(always)]
fn check<const W: usize>(message: &Words<W>, expected: u64) -> Result<()> {
    let found = sum(message);
    ensure!(found == expected, BlockError::Corrupt { expected, found });
    Ok(())
}

/// Waits for a message, and does `then` where it is handed out.
#[inline(always)]
fn receive<const W: usize, const GAP: u32>(
    receiver: &mut impl Receiver<W>,
    mut then: impl FnMut(&Words<W>) -> Result<()>,
) -> Result<()> {
    let mut outcome = Ok(());
    spin_until::<GAP>(|| Ok(receiver.poll(1, |message| outcome = then(message))? > 0))?;
    outcome
}

/// Sends messages by the schedule, each of which says when it was due; the far side takes the times.
#[inline(never)]
pub(crate) fn send_when_due<const W: usize>(
    sender: &mut impl Sender<W>,
    schedule: &Schedule<'_>,
    count: u64,
    lateness: &mut Laps,
    timed: &mut Timed,
) -> Result<()> {
    lateness.begin(count);
    timed.first = schedule.due(0);
    for number in 0..count {
        let (due, late) = schedule.wait(number);
        lateness.push(late);
        let message = message(due);
        if !sender.try_send(&message)? {
            timed.refused += 1;
            sender.send(&message)?;
        }
    }
    timed.lateness = lateness.samples(schedule.clock);
    Ok(())
}

impl<T: Transport, const W: usize> RoundTrip for NearEnds<T, W> {
    #[inline(always)]
    fn round_trip<const GAP: u32>(&mut self) -> Result<()> {
        let Ends { sender, receiver, asked, .. } = &mut self.0;
        let number = *asked;
        *asked += 1;
        sender.send(&message(number))?;
        receive::<W, GAP>(receiver, |answer| check(answer, sum_of_message::<W>(number)))
    }
}

impl<T: Transport, const W: usize> Near for NearEnds<T, W> {
    fn run(&mut self, task: &Task, count: u64, clock: &Clock) -> Result<Timed> {
        let mut timed = Timed::default();
        match *task {
            Task::RoundTrips { polling } => with_gap!(polling, GAP => {
                let mut laps = mem::take(&mut self.0.laps);
                timed.samples = self.time::<GAP>(count, clock, &mut laps)?;
                self.0.laps = laps;
            }),
            Task::PacedRoundTrips { period_ticks } => {
                self.0.paced_round_trips(Schedule::new(clock, period_ticks), count, &mut timed)?;
            }
            Task::OneWay { period_ticks } => {
                let Ends { sender, lateness, .. } = &mut self.0;
                let schedule = Schedule::new(clock, period_ticks);
                send_when_due(sender, &schedule, count, lateness, &mut timed)?;
            }
            Task::Stream { batch, .. } => self.0.stream(batch as u64, count)?,
            Task::Hiccups | Task::Offset | Task::Bursts { .. } => bail!("{task:?} has no links"),
        }
        Ok(timed)
    }
}

impl<T: Transport, const W: usize> Ends<T, W> {
    /// Sends by the schedule, and takes answers in between. A message says when it was due, and its
    /// time counts from then: what is late because of those before it has waited, too.
    #[inline(never)]
    fn paced_round_trips(
        &mut self,
        schedule: Schedule<'_>,
        count: u64,
        timed: &mut Timed,
    ) -> Result<()> {
        let Self { sender, receiver, unanswered_max, laps, lateness, .. } = self;
        let clock = schedule.clock;
        laps.begin(count);
        lateness.begin(count);
        let stalled_ticks = clock.ticks(STALL_TIMEOUT.as_nanos() as f64) as u64;
        let (mut sent, mut received, mut is_refused) = (0, 0, false);
        let mut due = schedule.due(0);
        let mut progress = due;
        timed.first = due;
        let mut outcome = Ok(());
        while received < count {
            let now = clock.now();
            if sent < count && now >= due {
                let has_room = sent - received < *unanswered_max;
                if has_room && sender.try_send(&message(due))? {
                    // A message that found no room was ready to be sent before.
                    if !is_refused {
                        lateness.push(now - due);
                    }
                    sent += 1;
                    due = schedule.due(sent);
                    is_refused = false;
                } else if !is_refused {
                    lateness.push(now - due);
                    timed.refused += 1;
                    is_refused = true;
                }
            }
            let polled = receiver.poll(POLL_LIMIT, |answer| {
                laps.push(clock.now().saturating_sub(answer[0]));
                if outcome.is_ok() {
                    outcome = check(answer, sum_of_message::<W>(answer[0]));
                }
            })?;
            received += polled as u64;
            if polled > 0 {
                progress = now;
            } else if now.saturating_sub(progress) > stalled_ticks {
                return Err(BlockError::Stalled.into());
            }
        }
        timed.last = progress;
        timed.samples = laps.samples(clock);
        timed.lateness = lateness.samples(clock);
        outcome
    }

    #[inline(never)]
    fn stream(&mut self, batch: u64, count: u64) -> Result<()> {
        let Self { sender, payloads, next, .. } = self;
        let end = *next + count;
        let mut number = *next;
        if batch == 1 {
            for number in number..end {
                sender.send(payloads.of(number))?;
            }
        } else {
            while number < end {
                let batch = payloads.from(number, batch.min(end - number));
                sender.send_all(batch)?;
                number += batch.len() as u64;
            }
        }
        *next = end;
        Ok(())
    }

    /// Answers messages where they are handed out, as a trading engine does.
    #[inline(never)]
    fn echo<const GAP: u32>(&mut self, count: u64) -> Result<()> {
        let Self { sender, receiver, .. } = self;
        for _ in 0..count {
            receive::<W, GAP>(receiver, |message| {
                check(message, sum_of_message::<W>(message[0]))?;
                sender.send(message)
            })?;
        }
        Ok(())
    }

    /// Takes messages until `count` have come or were lost.
    #[inline(always)]
    fn take(
        &mut self,
        count: u64,
        mut between: impl FnMut(usize, usize),
        mut take: impl FnMut(&Words<W>),
    ) -> Result<u64> {
        let lost = self.receiver.lost();
        let mut taken = 0;
        while taken < count {
            spin_until::<CLOSE>(|| {
                let limit = POLL_LIMIT.min((count - taken) as usize);
                let polled = self.receiver.poll(limit, &mut take)?;
                between(polled, limit);
                taken += polled as u64;
                Ok(polled > 0)
            })?;
        }
        Ok(self.receiver.lost() - lost)
    }
}

impl<T: Transport, const W: usize> Far for FarEnds<T, W> {
    fn run(&mut self, task: &Task, count: u64, clock: &Clock) -> Result<Outcome> {
        let ends = &mut self.0;
        let mut outcome = Outcome::default();
        match *task {
            Task::RoundTrips { polling } => {
                with_gap!(polling, GAP => ends.echo::<GAP>(WARM_UP + count)?);
            }
            Task::PacedRoundTrips { .. } => ends.echo::<CLOSE>(count)?,
            Task::OneWay { .. } => {
                let mut laps = mem::take(&mut ends.laps);
                laps.begin(count);
                let mut negative = 0;
                outcome.lost = ends.take(
                    count,
                    |_, _| {},
                    |message| {
                        let now = clock.now();
                        negative += u64::from(now < message[0]);
                        laps.push(now.saturating_sub(message[0]));
                    },
                )?;
                outcome.negative = negative;
                outcome.last = clock.now();
                outcome.samples = laps.samples(clock);
                ends.laps = laps;
            }
            Task::Stream { waiting, .. } => {
                let (first, mut found) = (ends.next, 0u64);
                let mut waiter = waiting.begin();
                outcome.lost = ends.take(
                    count,
                    |polled, limit| waiter.polled(polled, limit),
                    |message| found = found.wrapping_add(sum(message)),
                )?;
                ends.next += count;
                let expected = Payloads::<W>::sum(first, count);
                ensure!(
                    outcome.lost > 0 || found == expected,
                    BlockError::Corrupt { expected, found }
                );
            }
            Task::Hiccups | Task::Offset | Task::Bursts { .. } => bail!("{task:?} has no links"),
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Source;
    use crate::statistics::Percentile;
    use crate::transport::{Mode, Place};
    use std::collections::VecDeque;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::Duration;

    const STALL_MS: u64 = 20;
    const STALLED_AT: u64 = 1_000;

    /// A queue that answers itself, and keeps everybody waiting once.
    struct Stalling;
    struct End(Arc<Mutex<VecDeque<Words<2>>>>, u64);

    impl Transport for Stalling {
        const NAME: &'static str = "stalling";
        const HOW: &'static str = "";
        const PLACES: &'static [Place] = &[Place::InProcess];
        type Sender<const W: usize> = End;
        type Receiver<const W: usize> = End;

        fn create<const W: usize>(_: &Link<'_>) -> Result<Box<dyn Any>> {
            bail!("not asked for")
        }

        fn sender<const W: usize>(_: &Link<'_>) -> Result<End> {
            bail!("not asked for")
        }

        fn receiver<const W: usize>(_: &Link<'_>) -> Result<End> {
            bail!("not asked for")
        }
    }

    impl<const W: usize> Sender<W> for End {
        fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
            self.0.lock().unwrap().push_back([message[0], message[1]]);
            Ok(true)
        }
    }

    impl<const W: usize> Receiver<W> for End {
        fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
            let mut polled = 0;
            while polled < limit {
                let Some(words) = self.0.lock().unwrap().pop_front() else { break };
                if self.1 == STALLED_AT {
                    thread::sleep(Duration::from_millis(STALL_MS));
                }
                self.1 += 1;
                take(&std::array::from_fn(|at| words[at]));
                polled += 1;
            }
            Ok(polled)
        }
    }

    fn ends() -> Ends<Stalling, 2> {
        let run = Run::new(PathBuf::new(), String::new(), Mode::Reliable);
        let link = Link { run: &run, name: "stalling".to_owned(), payload: Payload::TICK };
        let queue = Arc::default();
        Ends::new(End(Arc::clone(&queue), 0), End(queue, 0), &link)
    }

    /// A stall of 20 ms at 100,000 messages a second makes 2,000 messages late, by 10 ms on
    /// average: of 10,000 messages, a tenth by at least 10 ms. What counts from when a message was
    /// sent would have one late message.
    #[test]
    fn a_stall_shows_in_the_percentiles_undiminished() {
        let clock = Clock::of(Source::Monotonic).unwrap();
        let mut timed = Timed::default();
        let schedule = Schedule::new(&clock, 10_000.0);
        ends().paced_round_trips(schedule, 10_000, &mut timed).unwrap();
        assert_eq!(timed.samples.len(), 10_000);
        let at = |share| Percentile::beyond(share).of(&timed.samples, 1.0).unwrap();
        // Lower bounds: a busy machine only adds to them. A ring's half is on its way at most.
        assert!(at(0.1) >= 9.9e6, "{}", at(0.1));
        assert!(at(0.01) >= 18.9e6, "{}", at(0.01));
        assert!(timed.samples.max_ns() >= STALL_MS * 1_000_000);
        // The generator was kept waiting, too, and says so.
        assert!(timed.lateness.count_beyond(10_000_000) >= 900);
    }
}
