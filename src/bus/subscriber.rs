//! The subscriber: the reading end of one or several partitions.

use std::mem;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::bus::channel::{Channel, Polled};
use crate::bus::cursors::Cursors;
use crate::bus::merge::Merge;
use crate::bus::message::{Event, Flow, Message, Notice, OwnedMessage};
use crate::bus::subscribe::Order;
use crate::bus::waiting::Waiting;
use crate::fork::Generation;
use crate::journal::CursorError;
use crate::log::seat::Counts;
use crate::log::wake::Wake;
use crate::runtime::{IdleStrategy, Step, inside_agent};
use crate::shm::futex;

/// How often the publishers' lives and the bus's end are looked at while there is nothing.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Occasions to look around between two looks at the clock, which costs as much as some ten polls
/// that find nothing: at least so many, and at most, where they follow each other quickly.
const LOOKS_PER_CLOCK: RangeInclusive<u32> = 32..=128;

/// What quickly means: so long between two looks at the clock.
const CLOCK_SOON: Duration = Duration::from_micros(100);

/// Longest sleep that a publisher is to end: then its life is looked at.
const PROMPT_SLEEP: Duration = Duration::from_millis(100);

/// The reading end of one or several partitions.
///
/// Messages come by [`poll`](Subscriber::poll), [`batch`](Subscriber::batch),
/// [`receive`](Subscriber::receive) or [`messages`](Subscriber::messages), in any mixture. A
/// reliable subscriber of a topic that waits for slow subscribers reads the ring's own bytes;
/// every other one gets copies that were validated first. Either way a message is borrowed until
/// the next call, and nothing is allocated after the start.
///
/// Dropping it lets the publisher go on without it. It is the process's that opened it: a forked
/// child does not have its memory, must not use it, and may drop it.
#[derive(Debug)]
pub struct Subscriber {
    channels: Vec<Channel>,
    /// Where it commits, if it has a name.
    cursors: Option<Cursors>,
    merge: Option<Merge>,
    idle: IdleStrategy,
    /// Channel that is looked at first.
    first: usize,
    /// What the call before handed out and the next one has to see to.
    unsettled: Option<Unsettled>,
    /// Since the clock was looked at last.
    looks: u32,
    looks_per_clock: u32,
    clock: Instant,
    /// The channel that was looked around at last, and when.
    next_look: usize,
    looked_around: Instant,
    /// Words to sleep on: one a channel, set aside here so that sleeping allocates nothing.
    kept: Vec<u32>,
    /// The process that subscribed; its mappings see to it that forks are counted.
    made_in: Generation,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if !self.made_in.is_current() {
            // A forked child: nothing is mapped here where a slot could be given up.
            mem::forget(mem::take(&mut self.channels));
        }
    }
}

impl Subscriber {
    pub(crate) fn new(
        channels: Vec<Channel>,
        cursors: Option<Cursors>,
        order: Order,
        idle: IdleStrategy,
    ) -> Subscriber {
        let merge = match order {
            Order::Arrival => None,
            Order::Timestamp { hold } => Some(Merge::new(hold, channels.len())),
        };
        let kept = Vec::with_capacity(channels.len());
        let now = Instant::now();
        Subscriber {
            channels,
            cursors,
            merge,
            idle,
            first: 0,
            unsettled: None,
            looks: 0,
            looks_per_clock: *LOOKS_PER_CLOCK.start(),
            clock: now,
            next_look: 0,
            looked_around: now,
            kept,
            made_in: Generation::now(),
        }
    }

    /// Hands up to `limit` events to `handler` and returns how many were consumed. Never waits.
    ///
    /// The handler answers with a [`Flow`], or with nothing, which means [`Flow::Next`].
    ///
    /// While nothing comes, every 32nd call looks whether 100 ms have passed, and then whether the
    /// publishers live and the bus is still there: a system call for each partition. After calls
    /// that followed each other within microseconds it is every 128th, however slow they are then.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// use tickcast::Event;
    ///
    /// let mut subscriber = topic.subscribe().open()?;
    /// loop {
    ///     let count = subscriber.poll(256, |event| match event {
    ///         Event::Message(message) => println!("{}", message.offset),
    ///         Event::Notice(notice) => eprintln!("{notice}"),
    ///     });
    ///     if count == 0 {
    ///         std::hint::spin_loop();
    ///     }
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn poll<R: Into<Flow>>(
        &mut self,
        limit: usize,
        mut handler: impl FnMut(Event<'_>) -> R,
    ) -> usize {
        self.settle();
        // One call, so that it becomes part of this.
        loop {
            let (None, [channel]) = (&mut self.merge, &mut self.channels[..]) else {
                return self.poll_several(limit, &mut handler).count;
            };
            let Polled { count, flow } = channel.poll(limit, &mut handler);
            // What is to come again comes again with the next call only.
            let is_idle = count == 0 && limit > 0 && flow == Flow::Next;
            if !is_idle || !self.look_around(false) {
                return count;
            }
        }
    }

    #[inline(never)]
    fn poll_several<R: Into<Flow>>(
        &mut self,
        limit: usize,
        handler: &mut impl FnMut(Event<'_>) -> R,
    ) -> Polled {
        // A partition that always has something must not keep the others' deaths from being told.
        self.look_around(false);
        if self.merge.is_some() {
            self.poll_merged(limit, handler)
        } else {
            self.poll_arrived(limit, handler)
        }
    }

    fn poll_arrived<R: Into<Flow>>(
        &mut self,
        limit: usize,
        handler: &mut impl FnMut(Event<'_>) -> R,
    ) -> Polled {
        let mut total = 0;
        for _ in 0..self.channels.len() {
            let index = self.first;
            self.first = (index + 1) % self.channels.len();
            let Polled { count, flow } = self.channels[index].poll(limit - total, handler);
            total += count;
            if flow == Flow::Retry {
                // What is to come again comes before what the other channels have.
                self.first = index;
            }
            if flow != Flow::Next || total == limit {
                return Polled { count: total, flow };
            }
        }
        Polled { count: total, flow: Flow::Next }
    }

    fn poll_merged<R: Into<Flow>>(
        &mut self,
        limit: usize,
        handler: &mut impl FnMut(Event<'_>) -> R,
    ) -> Polled {
        let mut count = 0;
        while count < limit
            && let Some(index) = self.pick()
        {
            let flow = handler(self.channels[index].event()).into();
            if flow == Flow::Retry {
                return Polled { count, flow };
            }
            self.consume(index);
            count += 1;
            if flow == Flow::Stop {
                return Polled { count, flow };
            }
        }
        Polled { count, flow: Flow::Next }
    }

    /// The messages that can be had together without waiting: up to the end of a block, or of what
    /// is committed. What is not taken from the batch comes again. In order of timestamps a batch
    /// has one message.
    ///
    /// A batch and all that was taken from it borrow the subscriber:
    ///
    /// ```compile_fail,E0499
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// # let mut subscriber = topic.subscribe().open()?;
    /// let first = subscriber.batch()?.next();
    /// subscriber.poll(1, |_| ());
    /// println!("{first:?}"); // would be overwritten by now
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A [`Notice`], if that comes next; it is consumed.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// # let mut subscriber = topic.subscribe().open()?;
    /// for message in subscriber.batch()? {
    ///     println!("{} {:?}", message.offset, message.payload);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch(&mut self) -> Result<Batch<'_>, Notice> {
        self.begin();
        let Some(index) = self.pick().or_else(|| self.pick_after_look(false)) else {
            return Ok(Batch { run: None, left: 0 });
        };
        let notice = match self.channels[index].event() {
            Event::Notice(notice) => Some(notice),
            Event::Message(_) => None,
        };
        if let Some(notice) = notice {
            self.consume(index);
            return Err(notice);
        }
        let left = if self.merge.is_some() { 1 } else { usize::MAX };
        if self.merge.is_some()
            && let Some(timestamp_ns) = self.channels[index].timestamp_ns()
        {
            let messages = self.channels[index].counters.get().messages;
            self.unsettled = Some(Unsettled::Offered { index, timestamp_ns, messages });
        }
        let channel = &self.channels[index];
        Ok(Batch { run: Some(Run { messages: channel.run(), channel }), left })
    }

    /// Waits for the next event, as the idle strategy says; `timeout`: `None` waits for as long as
    /// it takes. Returns `None` when the time is over. The event is consumed by the next call.
    ///
    /// # Errors
    /// [`ReceiveError::InsideAgent`] inside an agent's `poll`, [`ReceiveError::Finished`] when
    /// nothing will ever come.
    pub fn receive(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Event<'_>>, ReceiveError> {
        self.begin();
        let Some(index) = self.wait(timeout)? else { return Ok(None) };
        self.unsettled = Some(Unsettled::Received { index });
        Ok(Some(self.channels[index].event()))
    }

    /// Waits for messages for ever, and hands them out with their bytes copied; a notice is an
    /// `Err` in its place. Ends when nothing more can come from any partition: not when a publisher
    /// goes, as there may be another.
    ///
    /// # Errors
    /// [`ReceiveError::InsideAgent`] inside an agent's `poll`.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// # let mut subscriber = topic.subscribe().open()?;
    /// for message in subscriber.messages()? {
    ///     match message {
    ///         Ok(message) => println!("{} {:?}", message.offset, message.payload),
    ///         Err(notice) => eprintln!("{notice}"),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn messages(&mut self) -> Result<Messages<'_>, ReceiveError> {
        if inside_agent() {
            return Err(ReceiveError::InsideAgent);
        }
        Ok(Messages { subscriber: self })
    }

    /// Whether every partition that is subscribed to has a publisher. A system call each.
    pub fn publisher_alive(&self) -> bool {
        self.channels.iter().all(Channel::publisher_alive)
    }

    /// Whether nothing will ever come: every partition's last notice was handed out.
    pub fn is_finished(&self) -> bool {
        self.channels.iter().all(Channel::is_finished)
    }

    /// What was handed out so far, all partitions together. What [`receive`](Subscriber::receive)
    /// handed out last counts from the next call on.
    pub fn counters(&self) -> SubscriberCounters {
        let mut sum = SubscriberCounters {
            late: self.merge.as_ref().map_or(0, Merge::late),
            ..SubscriberCounters::default()
        };
        for channel in &self.channels {
            let Counts { messages, bytes, lost } = channel.counters.get();
            sum.messages += messages;
            sum.bytes += bytes;
            sum.lost += lost;
        }
        sum
    }

    /// Offset of the next message of each partition, in the order in which they were subscribed
    /// to: where to go on later, by [`StartAt::Offset`](crate::StartAt::Offset). What
    /// [`receive`](Subscriber::receive) handed out last is still the next one until the next call.
    pub fn offsets(&self) -> impl Iterator<Item = (crate::Origin, u64)> + '_ {
        self.channels.iter().map(|channel| (channel.origin(), channel.offset()))
    }

    /// Of each partition the offset of the message that comes first, and of the next to be
    /// published.
    pub(crate) fn joined(&mut self) -> impl Iterator<Item = (crate::Origin, u64, u64)> + '_ {
        self.channels.iter_mut().map(|channel| {
            // Which message comes first may be known only when its block is read.
            channel.ready();
            let first = channel.offset();
            // A publisher that is faster than the look is looked at again.
            let next = loop {
                match channel.published_offset() {
                    Ok(Some(next)) => break next,
                    Ok(None) => std::hint::spin_loop(),
                    // What is damaged is told when the stream comes to it.
                    Err(_) => break first,
                }
            };
            (channel.origin(), first, next.max(first))
        })
    }

    /// Stores how far it has come, under the name that it was
    /// [given](crate::SubscriberBuilder::cursor): after a crash a subscriber of that name goes on
    /// from here. Everything that was handed out counts as done, also what
    /// [`receive`](Subscriber::receive) handed out last; not what a batch offered and was not taken
    /// from it, nor what is held back for its timestamp.
    ///
    /// A cursor never passes what is durable: what was handed out and is not on disk yet comes
    /// again after a crash. Subscribe [durably](crate::SubscriberBuilder::durable) for that not to
    /// be.
    ///
    /// Waits for the disk, and changes nothing where nothing new was handed out.
    ///
    /// # Errors
    /// [`CursorError`]; then the cursor stays where it was committed before, and the next commit
    /// stores this one too.
    pub fn commit(&mut self) -> Result<(), CursorError> {
        if inside_agent() {
            return Err(CursorError::InsideAgent);
        }
        self.settle();
        self.cursors.as_mut().ok_or(CursorError::Unnamed)?.commit(&self.channels)
    }

    /// How many messages can be had together without waiting, as far as `bytes_max` of log hold
    /// them, and how much they take. Consumes none, but a notice that comes first.
    pub(crate) fn available(&mut self, bytes_max: u64) -> Result<(u64, u64), Notice> {
        self.begin();
        let Some(index) = self.pick().or_else(|| self.pick_after_look(false)) else {
            return Ok((0, 0));
        };
        let channel = &mut self.channels[index];
        if let Event::Notice(notice) = channel.event() {
            self.consume(index);
            return Err(notice);
        }
        Ok(channel.run().count_up_to(bytes_max))
    }

    /// What every call but a poll begins with.
    fn begin(&mut self) {
        self.settle();
        if self.channels.len() > 1 {
            // A partition that always has something must not keep the others' deaths from being
            // told.
            self.look_around(false);
        }
    }

    /// Sees to what the call before handed out.
    #[inline(always)]
    fn settle(&mut self) {
        if self.unsettled.is_some() {
            self.settle_now();
        }
    }

    #[inline(never)]
    fn settle_now(&mut self) {
        match self.unsettled.take() {
            None => {}
            Some(Unsettled::Received { index }) => self.consume(index),
            Some(Unsettled::Offered { index, timestamp_ns, messages }) => {
                if self.channels[index].counters.get().messages > messages
                    && let Some(merge) = &mut self.merge
                {
                    merge.consumed(timestamp_ns);
                }
            }
        }
    }

    fn consume(&mut self, index: usize) {
        if let Some(merge) = &mut self.merge
            && let Some(timestamp_ns) = self.channels[index].timestamp_ns()
        {
            merge.consumed(timestamp_ns);
        }
        self.channels[index].consume();
    }

    /// The channel whose event comes next.
    fn pick(&mut self) -> Option<usize> {
        if let Some(merge) = &mut self.merge {
            return merge.pick(&mut self.channels);
        }
        for _ in 0..self.channels.len() {
            let index = self.first;
            self.first = (index + 1) % self.channels.len();
            if self.channels[index].ready() {
                return Some(index);
            }
        }
        None
    }

    fn pick_after_look(&mut self, now: bool) -> Option<usize> {
        if self.look_around(now) { self.pick() } else { None }
    }

    /// Every now and then, or `now`: looks at what is not looked at for each message. Returns
    /// whether there is an event because of it.
    #[inline]
    fn look_around(&mut self, now: bool) -> bool {
        self.looks += 1;
        (now || self.looks >= self.looks_per_clock) && self.look_around_by_clock()
    }

    #[cold]
    fn look_around_by_clock(&mut self) -> bool {
        self.looks = 0;
        let time = Instant::now();
        let is_soon = time - mem::replace(&mut self.clock, time) < CLOCK_SOON;
        let (few, many) = LOOKS_PER_CLOCK.into_inner();
        self.looks_per_clock = if is_soon { (2 * self.looks_per_clock).min(many) } else { few };
        // One after the other, so that many partitions are not a burst of system calls.
        let count = self.channels.len();
        let turn = LOOK_AROUND / count.max(1) as u32;
        let due = ((time - self.looked_around).as_nanos() / turn.as_nanos()).min(count as u128);
        let is_late = due == count as u128;
        self.looked_around = if is_late { time } else { self.looked_around + turn * due as u32 };
        let mut found = false;
        for _ in 0..due {
            self.next_look = (self.next_look + 1) % count;
            found |= self.channels[self.next_look].look_around();
        }
        found
    }

    /// Waits for an event and says whose it is.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<usize>, ReceiveError> {
        if let Some(index) = self.pick() {
            return Ok(Some(index));
        }
        if inside_agent() {
            return Err(ReceiveError::InsideAgent);
        }
        let mut waiting = Waiting::new(self.idle, timeout);
        loop {
            if self.is_finished() {
                return Err(ReceiveError::Finished);
            }
            let Some(step) = waiting.step() else { return Ok(self.pick_after_look(true)) };
            let slept = matches!(step, Step::Sleep(_));
            match step {
                Step::Sleep(bounded) => self.sleep(bounded, waiting.left()),
                step => step.run(),
            }
            if let Some(index) = self.pick().or_else(|| self.pick_after_look(slept)) {
                return Ok(Some(index));
            }
        }
    }

    /// Sleeps: until a publisher wakes us where that works for all channels, else for a bounded
    /// time.
    fn sleep(&mut self, bounded: Duration, left: Option<Duration>) {
        // A message that is held back comes by itself.
        if self.merge.is_some() || !self.channels.iter().all(Channel::is_woken) {
            return Step::Sleep(bounded).run();
        }
        if !Wake::prepare(self.channels.iter().filter_map(Channel::wake), &mut self.kept) {
            return Step::Sleep(bounded).run();
        }
        // Edge `wake`: after the barrier every log is looked at once more.
        if self.channels.iter_mut().any(Channel::ready) {
            return;
        }
        let timeout = left.unwrap_or(PROMPT_SLEEP).min(PROMPT_SLEEP);
        let mut wakes = self.channels.iter().filter_map(Channel::wake).zip(&self.kept);
        if let [kept] = &self.kept[..]
            && let Some((wake, _)) = wakes.next()
        {
            wake.sleep(*kept, timeout);
        } else {
            futex::wait_any(wakes.map(|(wake, kept)| (wake.word(), *kept)), timeout);
        }
    }
}

/// What was handed out and not yet seen to.
#[derive(Debug)]
enum Unsettled {
    /// A channel's event that `receive` handed out, to be consumed.
    Received { index: usize },
    /// A message that a batch in order of timestamps offered; it was taken if its channel has
    /// handed out more than `messages`.
    Offered { index: usize, timestamp_ns: u64, messages: u64 },
}

/// What a subscriber has handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SubscriberCounters {
    /// Messages.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Messages that it was told are lost.
    pub lost: u64,
    /// Messages that came later than they could be held back for; in order of timestamps only.
    pub late: u64,
}

/// Messages that are handed out together; see [`Subscriber::batch`].
pub struct Batch<'a> {
    run: Option<Run<'a>>,
    left: usize,
}

struct Run<'a> {
    messages: crate::log::reader::Run<'a>,
    channel: &'a Channel,
}

impl<'a> Iterator for Batch<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        let run = self.run.as_mut()?;
        self.left = self.left.checked_sub(1)?;
        let message = Message::new(run.channel.origin(), run.messages.next()?);
        run.channel.counters.count(message.payload.len());
        Some(message)
    }
}

/// Messages that own their bytes; see [`Subscriber::messages`].
#[derive(Debug)]
pub struct Messages<'a> {
    subscriber: &'a mut Subscriber,
}

impl Iterator for Messages<'_> {
    type Item = Result<OwnedMessage, Notice>;

    fn next(&mut self) -> Option<Result<OwnedMessage, Notice>> {
        match self.subscriber.receive(None) {
            Ok(Some(Event::Message(message))) => Some(Ok(message.to_owned())),
            Ok(Some(Event::Notice(notice))) => Some(Err(notice)),
            Ok(None) | Err(_) => None,
        }
    }
}

/// Why nothing can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Inside an agent's `poll`.
    #[error("an agent must not wait for messages: use poll and come back")]
    InsideAgent,
    /// Every partition's last notice was handed out.
    #[error("nothing more can come from any partition: subscribe again")]
    Finished,
}
