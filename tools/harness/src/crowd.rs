//! Many subscribers of one topic: what they cost the publisher, and how late each gets a message.
//! One thread of the far side polls them all.
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tickcast::runtime::{Idle, IdleStrategy};
use tickcast::{Event, NoticeKind, StartAt, Subscriber, Topic};

use crate::bus::{self, BusSender, passed_over};
use crate::clock::Clock;
use crate::ends::{Far, Near, Timed, send_when_due};
use crate::laps::Laps;
use crate::message::{Payload, Payloads, Words, sum, sum_of_message};
use crate::schedule::Schedule;
use crate::shared::{self, Line};
use crate::spin::{BlockError, CLOSE, PAUSING, spin_until};
use crate::task::{Outcome, Task};
use crate::transport::{Mode, RING_BYTES, Run, Sender};
use crate::with_words;

/// Most messages that one subscriber is handed before the next one's turn.
const POLL_LIMIT: usize = 256;
/// How often a slow subscriber polls, and how many messages it takes then.
const SLOW_EVERY: Duration = Duration::from_millis(1);
const SLOW_LIMIT: usize = 16;

/// The subscribers of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crowd {
    /// Different for each crowd of a run.
    pub(crate) topic: String,
    pub(crate) payload: Payload,
    pub(crate) mode: Mode,
    /// How many are fast: they are polled all the time.
    pub(crate) fast: usize,
    /// A lossy one beside them.
    pub(crate) beside: Option<Beside>,
}

/// A subscriber that is not like the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Beside {
    /// It never polls.
    Stalled,
    /// It takes a few messages each millisecond.
    Slow,
    /// It joins in the middle of a block, at the oldest message in the ring.
    Late,
}

impl Crowd {
    /// Makes the topic and the publishing half.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn near(&self, run: &Run) -> Result<Box<dyn Near>> {
        let publisher = bus::create_topic(run, &self.topic)?.publisher(0);
        let publisher = publisher.with_context(|| format!("cannot publish to {}", self.topic))?;
        let progress = Progress::of(shared::create(&self.progress(run), Progress::LINES)?);
        let sender = BusSender(publisher);
        Ok(with_words!(self.payload, W => {
            let (payloads, lateness) = (Payloads::new(), Laps::default());
            Box::new(Stage::<W> { sender, progress, payloads, next: 0, lateness })
        }))
    }

    /// How many messages its ring holds.
    pub(crate) fn capacity(&self) -> usize {
        self.payload.capacity(RING_BYTES)
    }

    /// Such as "8 reliable", or "4 lossy + 1 slow".
    pub(crate) fn describe(&self) -> String {
        let mode = self.mode.name();
        let beside = match self.beside {
            None => "",
            Some(Beside::Stalled) => " + 1 stalled",
            Some(Beside::Slow) => " + 1 slow",
            Some(Beside::Late) => " + 1 late",
        };
        format!("{} {mode}{beside}", self.fast)
    }

    fn progress(&self, run: &Run) -> PathBuf {
        run.directory.join(format!("{}.progress", self.topic))
    }
}

/// How far both halves have come.
#[derive(Clone, Copy)]
struct Progress {
    /// Messages that every fast subscriber has taken.
    taken: &'static AtomicU64,
    /// Messages of all bursts so far.
    published: &'static AtomicU64,
}

impl Progress {
    const LINES: usize = 2;

    fn of(lines: &'static [Line]) -> Self {
        let [taken, published] = [0, 1].map(|line: usize| &lines[line].words[0]);
        Self { taken, published }
    }
}

/// The publishing half.
struct Stage<const W: usize> {
    sender: BusSender,
    progress: Progress,
    /// Of bursts: what is timed is publishing, not the making of messages.
    payloads: Payloads<W>,
    next: u64,
    lateness: Laps,
}

impl<const W: usize> Stage<W> {
    /// Publishes a burst, and waits until all have taken it: so it finds an empty ring, and is
    /// timed without the crowd's own speed.
    fn burst(&mut self, messages: u64, clock: &Clock, timed: &mut Timed) -> Result<()> {
        let Self { sender, payloads, next, .. } = self;
        let mut waited_ns = 0;
        let start = clock.now();
        for number in *next..*next + messages {
            let message = payloads.of(number);
            if !sender.try_send(message)? {
                let full = clock.now();
                sender.send(message)?;
                waited_ns += clock.ns_since(full);
                timed.refused += 1;
            }
        }
        timed.samples.record(clock.ns_since(start).saturating_sub(waited_ns));
        *next += messages;
        // Pairs with the acquire load in `Audience::await_burst`.
        self.progress.published.store(self.next, Ordering::Release);
        self.wait()
    }

    fn wait(&self) -> Result<()> {
        // Pairs with the release store in `Audience::take`.
        spin_until::<PAUSING>(|| Ok(self.progress.taken.load(Ordering::Acquire) >= self.next))
    }
}

impl<const W: usize> Near for Stage<W> {
    fn run(&mut self, task: &Task, count: u64, clock: &Clock) -> Result<Timed> {
        let mut timed = Timed::default();
        match *task {
            Task::Bursts { messages, .. } => {
                (0..count).try_for_each(|_| self.burst(messages, clock, &mut timed))?;
            }
            Task::OneWay { period_ticks } => {
                let schedule = Schedule::new(clock, period_ticks);
                let Self { sender, lateness, .. } = self;
                send_when_due::<W>(sender, &schedule, count, lateness, &mut timed)?;
                self.next += count;
                self.wait()?;
            }
            other => bail!("a crowd does not do {other:?}"),
        }
        Ok(timed)
    }
}

/// The subscribing half.
pub(crate) struct Audience<const W: usize> {
    topic: Topic,
    fast: Vec<Place>,
    /// Of each of them.
    laps: Vec<Laps>,
    progress: Progress,
    beside: Option<Beside>,
    /// The one that is not like the others; a late one only in the middle of a block.
    other: Option<Subscriber>,
}

/// A subscriber, and how many messages it has taken or lost.
struct Place {
    subscriber: Subscriber,
    next: u64,
    lost: u64,
}

impl Crowd {
    /// The subscribers.
    ///
    /// # Errors
    /// When the other half is gone.
    pub(crate) fn far(&self, run: &Run) -> Result<Box<dyn Far>> {
        let topic = bus::open_topic(run, &self.topic)?;
        let open = |_| {
            let subscriber = bus::subscribe(&topic, self.mode, StartAt::Live)?;
            Ok(Place { subscriber, next: 0, lost: 0 })
        };
        let fast: Result<Vec<Place>> = (0..self.fast).map(open).collect();
        let (fast, beside) = (fast?, self.beside);
        let progress = Progress::of(shared::open(&self.progress(run))?);
        let is_there = matches!(beside, Some(Beside::Stalled | Beside::Slow));
        let other =
            is_there.then(|| bus::subscribe(&topic, Mode::Lossy, StartAt::Live)).transpose()?;
        Ok(with_words!(self.payload, W => {
            let laps = fast.iter().map(|_| Laps::default()).collect();
            Box::new(Audience::<W> { topic, fast, laps, progress, beside, other })
        }))
    }
}

impl<const W: usize> Audience<W> {
    /// Takes `count` messages with each fast subscriber, and lets the other one do what it does.
    fn take(&mut self, count: u64, mut time: impl FnMut(usize, &Words<W>)) -> Result<()> {
        let end = self.progress.taken.load(Ordering::Relaxed) + count;
        let middle = end - count / 2;
        let mut idle = Idle::new(IdleStrategy::SpinPause);
        let mut polled_at = Instant::now();
        loop {
            let behind = self.fast.iter().map(|place| place.next).min().unwrap_or(end);
            // Pairs with the acquire load in `Stage::wait`.
            self.progress.taken.store(behind, Ordering::Release);
            if behind >= end {
                break;
            }
            spin_until::<CLOSE>(|| {
                let mut polled = 0;
                for (at, place) in self.fast.iter_mut().enumerate() {
                    polled += place.poll(|words| time(at, words))?;
                }
                idle.polled(polled, POLL_LIMIT * self.fast.len());
                Ok(polled > 0)
            })?;
            match self.beside {
                None | Some(Beside::Stalled) => {}
                Some(Beside::Slow) if polled_at.elapsed() < SLOW_EVERY => {}
                Some(Beside::Slow) => {
                    polled_at = Instant::now();
                    self.poll_other(SLOW_LIMIT);
                }
                Some(Beside::Late) if behind < middle => {}
                Some(Beside::Late) => {
                    if self.other.is_none() {
                        let late = bus::subscribe(&self.topic, Mode::Lossy, StartAt::Earliest)?;
                        self.other = Some(late);
                    }
                    self.poll_other(POLL_LIMIT);
                }
            }
        }
        if self.beside == Some(Beside::Late) {
            self.other = None;
        }
        Ok(())
    }

    /// Waits until the next burst is published, and touches nothing of the bus meanwhile.
    fn await_burst(&self, messages: u64) -> Result<()> {
        let Progress { taken, published } = self.progress;
        let end = taken.load(Ordering::Relaxed) + messages;
        // Pairs with the release store in `Stage::burst`.
        spin_until::<PAUSING>(|| Ok(published.load(Ordering::Acquire) >= end))
    }

    fn poll_other(&mut self, limit: usize) {
        if let Some(other) = &mut self.other {
            other.poll(limit, |event| {
                std::hint::black_box(&event);
            });
        }
    }
}

impl Place {
    /// Takes what came, and what it is told to have lost.
    fn poll<const W: usize>(&mut self, mut time: impl FnMut(&Words<W>)) -> Result<usize> {
        let Self { subscriber, next, lost } = self;
        let mut outcome = Ok(());
        let polled = subscriber.poll(POLL_LIMIT, |event| match event {
            Event::Message(message) => match message.read::<Words<W>>() {
                Ok(words) => {
                    time(words);
                    if sum(words) != sum_of_message::<W>(words[0]) {
                        let (expected, found) = (sum_of_message::<W>(words[0]), sum(words));
                        outcome = Err(BlockError::Corrupt { expected, found }.into());
                    }
                    *next += 1;
                }
                Err(error) => outcome = Err(error.into()),
            },
            Event::Notice(notice) => match notice.kind {
                NoticeKind::Lost { from, to, .. } => {
                    *next += to + 1 - from;
                    *lost += to + 1 - from;
                }
                _ => outcome = passed_over(notice),
            },
        });
        outcome.map(|()| polled)
    }
}

impl<const W: usize> Far for Audience<W> {
    fn run(&mut self, task: &Task, count: u64, clock: &Clock) -> Result<Outcome> {
        let lost = |fast: &[Place]| fast.iter().map(|place| place.lost).sum::<u64>();
        let before = lost(&self.fast);
        let (mut each, mut last, mut negative) = (Vec::new(), 0, 0);
        match *task {
            Task::Bursts { messages, afterwards: false } => {
                self.take(count * messages, |_, _| {})?
            }
            Task::Bursts { messages, afterwards: true } => {
                for _ in 0..count {
                    self.await_burst(messages)?;
                    self.take(messages, |_, _| {})?;
                }
            }
            Task::OneWay { .. } => {
                let mut laps = mem::take(&mut self.laps);
                laps.iter_mut().for_each(|laps| laps.begin(count));
                self.take(count, |at, words| {
                    let now = clock.now();
                    negative += u64::from(now < words[0]);
                    laps[at].push(now.saturating_sub(words[0]));
                })?;
                last = clock.now();
                each = laps.iter().map(|laps| laps.samples(clock)).collect();
                self.laps = laps;
            }
            other => bail!("a crowd does not do {other:?}"),
        }
        ensure!(!self.fast.is_empty(), "there is nobody in the crowd");
        let lost = lost(&self.fast) - before;
        Ok(Outcome { each, last, lost, negative, ..Outcome::default() })
    }
}
