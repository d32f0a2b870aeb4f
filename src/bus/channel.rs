//! One partition as a subscriber has it: the log's lane, and everything around it that is told to
//! the user.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::bus::catch_up::CatchUp;
use crate::bus::liveness::Liveness;
use crate::bus::message::{Event, Flow, LossCause, Message, Notice, NoticeKind, Origin};
use crate::log::copy::Stall;
use crate::log::lane::{Lane, Stop};
use crate::log::memory::Memory;
use crate::log::pages::{self, Pages};
use crate::log::reader::{End, Frame, Run};
use crate::log::seat::Counts;
use crate::log::wake::Wake;
use crate::log::walk::Damaged;
use crate::shm::lock::Lock;
use crate::sync::Ordering;

/// Where messages come from, and what keeps them there.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) lane: Lane,
    /// Of the lane's slot, where it has one.
    pub(crate) lock: Option<Lock>,
    /// The journal's files, where it may begin before what the ring holds.
    pub(crate) catch_up: Option<CatchUp>,
}

/// A subscriber's end of one partition.
#[derive(Debug)]
pub(crate) struct Channel {
    // Dropped first: it gives up its slot before the lock says that the slot is free.
    lane: Lane,
    lock: Option<Lock>,
    /// The journal's files, where it began before what the ring held.
    catch_up: Option<CatchUp>,
    origin: Origin,
    control: Memory,
    publisher: Memory,
    liveness: Liveness,
    /// Where the topic wakes sleepers and this process may ask for it.
    wake: Option<Wake>,
    /// Handed out before anything else.
    pending: Option<NoticeKind>,
    /// Nothing more comes.
    is_finished: bool,
    /// The journal page, where only what is on disk is handed out.
    durable: Option<Memory>,
    pub(crate) counters: Counters,
    _living: Arc<Lock>,
}

/// What was handed out, counted: also through the shared borrows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Counters(Cell<Counts>);

impl Counters {
    pub(crate) fn get(&self) -> Counts {
        self.0.get()
    }

    #[inline(always)]
    pub(crate) fn count(&self, payload_bytes: usize) {
        self.begin().count(payload_bytes);
    }

    /// Counts what is handed out from now on.
    #[inline(always)]
    fn begin(&self) -> Counting<'_> {
        Counting { counters: self, messages: 0, bytes: 0 }
    }

    fn count_lost(&self, count: u64) {
        let counts = self.0.get();
        self.0.set(Counts { lost: counts.lost + count, ..counts });
    }
}

/// Messages that were handed out one behind the other, in locals; counted at the end, also where a
/// handler panics.
struct Counting<'a> {
    counters: &'a Counters,
    messages: u64,
    bytes: u64,
}

impl Counting<'_> {
    #[inline(always)]
    fn count(&mut self, payload_bytes: usize) {
        self.messages += 1;
        self.bytes += payload_bytes as u64;
    }
}

impl Drop for Counting<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let Counts { messages, bytes, lost } = self.counters.get();
        let (messages, bytes) = (messages + self.messages, bytes + self.bytes);
        self.counters.0.set(Counts { messages, bytes, lost });
    }
}

/// What came where no plain message did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unusual {
    /// Nothing.
    Nothing,
    /// Plain messages again.
    Plain,
    /// An event that was handed out, and the handler's answer.
    Event(Flow),
}

/// How a channel's poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Polled {
    /// Events that were consumed.
    pub(crate) count: usize,
    /// What the handler answered last, or `Next` where nothing more was to be had.
    pub(crate) flow: Flow,
}

impl Channel {
    pub(crate) fn new(
        Ends { lane, lock, catch_up }: Ends,
        origin: Origin,
        pages: &Pages,
        liveness: Liveness,
        wants_wake: bool,
        living: Arc<Lock>,
    ) -> Channel {
        let control = pages.control.clone();
        let wake = (wants_wake && control.is_writable()).then(|| Wake::new(control.clone()));
        Channel {
            lane,
            lock,
            catch_up,
            origin,
            control,
            publisher: pages.publisher.clone(),
            liveness,
            wake,
            pending: None,
            is_finished: false,
            durable: None,
            counters: Counters::default(),
            _living: living,
        }
    }

    /// Hands out what is on disk alone.
    pub(crate) fn only_durable(mut self, journal: Memory) -> Channel {
        self.durable = Some(journal);
        self.look_at_disk();
        self
    }

    /// Looks how much is on disk, where that matters.
    #[inline(always)]
    fn look_at_disk(&mut self) {
        if let Some(journal) = &self.durable {
            let limit = journal.load(pages::journal::DURABLE, Ordering::Acquire);
            self.lane.reader.set_limit(limit);
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Whether there is a publisher. One system call.
    pub(crate) fn publisher_alive(&self) -> bool {
        self.liveness.is_alive()
    }

    /// Offset of the next message.
    pub(crate) fn offset(&self) -> u64 {
        self.lane.reader.offset()
    }

    /// Epoch of the publisher that entered the block that is read; 0 before the first.
    pub(crate) fn epoch(&self) -> u64 {
        self.lane.reader.epoch()
    }

    /// Offset behind the last message that is published now; `None` when the publisher is faster
    /// than the look.
    pub(crate) fn published_offset(&self) -> Result<Option<u64>, Damaged> {
        self.lane.published_offset()
    }

    /// Hands out up to `limit` events.
    #[inline(always)]
    pub(crate) fn poll<R: Into<Flow>>(
        &mut self,
        limit: usize,
        handler: &mut impl FnMut(Event<'_>) -> R,
    ) -> Polled {
        self.look_at_disk();
        let mut count = 0;
        let mut flow = Flow::Next;
        loop {
            let mut handed_out = self.counters.begin();
            let origin = self.origin;
            let (taken, end) = self.lane.reader.each_message(limit - count, |raw| {
                let payload_bytes = raw.payload.len();
                flow = handler(Event::Message(Message::new(origin, raw))).into();
                if flow == Flow::Retry {
                    return ControlFlow::Break(false);
                }
                handed_out.count(payload_bytes);
                if flow == Flow::Next {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(true)
                }
            });
            drop(handed_out);
            count += taken;
            match end {
                End::Taken => break,
                End::Drained if !self.lane.is_in_files() => {
                    if count == 0 && self.lane.has_moved() {
                        self.sync();
                    }
                    break;
                }
                End::Drained | End::Unusual => match self.hand_out(handler) {
                    Unusual::Nothing => break,
                    Unusual::Plain => {}
                    Unusual::Event(answer) => {
                        flow = answer;
                        if flow != Flow::Retry {
                            count += 1;
                        }
                        if flow != Flow::Next {
                            break;
                        }
                    }
                },
            }
        }
        if count > 0 {
            // Stores to a line of its own, so that what others see of this subscriber is exact;
            // nothing is looked at that a publisher writes, which would keep the answer waiting.
            self.lane.store(self.counters.get());
        }
        Polled { count, flow }
    }

    /// Hands out what comes next, unless those are plain messages. Out of the way of these, so that
    /// the handler becomes part of the loop over them.
    #[inline(never)]
    fn hand_out<R: Into<Flow>>(&mut self, handler: &mut impl FnMut(Event<'_>) -> R) -> Unusual {
        let is_quiet = self.pending.is_none() && !self.is_finished;
        let is_idle = is_quiet && !self.lane.is_in_files() && self.lane.is_idle();
        if is_idle || !self.ready() {
            self.open();
            return Unusual::Nothing;
        }
        if self.open() {
            return Unusual::Plain;
        }
        let flow = handler(self.event()).into();
        if flow != Flow::Retry {
            self.consume();
            if self.lane.has_left_block() {
                self.sync();
            }
        }
        self.open();
        Unusual::Event(flow)
    }

    /// Lets plain messages be handed out without a further look. Returns whether there is one now.
    fn open(&mut self) -> bool {
        self.pending.is_none() && !self.is_finished && self.lane.reader.open()
    }

    /// Has `kind` handed out before anything else.
    fn tell(&mut self, kind: NoticeKind) {
        let is_final = self.pending.is_some_and(|pending| pending.is_final());
        debug_assert!(!is_final || kind.is_final(), "{kind:?} after {:?}", self.pending);
        self.liveness.told(kind);
        self.lane.reader.close();
        self.pending = Some(kind);
    }

    /// Whether there is an event.
    pub(crate) fn ready(&mut self) -> bool {
        self.look_at_disk();
        if self.lane.has_left_block() {
            self.sync();
        }
        loop {
            if self.pending.is_some() {
                return true;
            }
            if self.is_finished {
                return false;
            }
            match self.lane.reader.peek() {
                Ok(Some(Frame::Control { .. })) => self.lane.reader.consume(),
                Ok(Some(_)) => {
                    // It may be in the next block already, behind the padding of the last one.
                    if self.lane.has_left_block() {
                        self.sync();
                    }
                    // A successor that publishes at once leaves no time in which nothing comes.
                    if self.pending.is_none()
                        && let Some(change) = self.liveness.met(self.lane.reader.epoch())
                    {
                        self.tell(change);
                    }
                    return true;
                }
                Ok(None) => {
                    if self.go_on_from_files() {
                        continue;
                    }
                    if !self.lane.has_moved() {
                        return false;
                    }
                    self.sync();
                }
                Err(stall) => {
                    if !self.recover(stall) && self.pending.is_none() {
                        return false;
                    }
                }
            }
        }
    }

    /// The timestamp of the message that comes next; `None` when a notice does. To be called when
    /// [`Channel::ready`] has just returned true.
    pub(crate) fn timestamp_ns(&mut self) -> Option<u64> {
        match self.event() {
            Event::Message(message) => Some(message.timestamp_ns),
            Event::Notice(_) => None,
        }
    }

    /// The event that comes next. To be called when [`Channel::ready`] has just returned true.
    pub(crate) fn event(&mut self) -> Event<'_> {
        let origin = self.origin;
        if let Some(kind) = self.pending {
            return Event::Notice(Notice { kind, origin });
        }
        let position = self.lane.reader.position();
        match self.lane.reader.peek() {
            Ok(Some(Frame::Message(raw))) => Event::Message(Message::new(origin, raw)),
            Ok(Some(Frame::Lost { from, to, cause })) => {
                Event::Notice(Notice { kind: lost(from, to, cause), origin })
            }
            // It changed since: nobody but a writer that is none of ours does that.
            _ => {
                let damaged = Damaged::new(position, "a frame that changes after it was committed");
                Event::Notice(Notice { kind: NoticeKind::Damaged(damaged), origin })
            }
        }
    }

    /// Goes past the event that comes next.
    pub(crate) fn consume(&mut self) {
        match self.event() {
            Event::Message(message) => {
                let payload_bytes = message.payload.len();
                self.counters.count(payload_bytes);
                self.lane.reader.consume();
            }
            Event::Notice(Notice { kind, .. }) => match (self.pending.take(), kind) {
                (None, NoticeKind::Lost { from, to, .. }) => self.consume_lost(from, to),
                // There may be a new publisher already, which is told before its messages.
                (_, NoticeKind::PublisherGone) => {
                    let met = self.liveness.met(self.lane.reader.epoch());
                    if let Some(change) = met.or_else(|| self.liveness.change()) {
                        self.tell(change);
                    }
                }
                _ if kind.is_final() => {
                    self.is_finished = true;
                    self.give_up();
                }
                _ => {}
            },
        }
    }

    /// The messages that can be handed out together. To be called when the next event is a message.
    pub(crate) fn run(&self) -> Run<'_> {
        self.lane.reader.run()
    }

    /// Looks at what is not looked at for each message: the bus's end, the publisher's death or
    /// return. To be called when there is no event. Returns whether there is one now.
    pub(crate) fn look_around(&mut self) -> bool {
        if self.is_finished || self.ready() {
            return !self.is_finished;
        }
        if !self.lane.is_in_files()
            && self.lane.is_overrun_at_edge()
            && (self.recover(Stall::Overrun) || self.pending.is_some())
        {
            return self.ready();
        }
        let is_closed = self.control.load(pages::control::CLOSED, Ordering::Acquire) != 0;
        let change = if is_closed { Some(NoticeKind::Closed) } else { self.liveness.change() };
        let Some(change) = change else { return false };
        // What was published between the last look at the log and this comes first.
        if matches!(change, NoticeKind::PublisherBack { .. }) || !self.ready() {
            self.tell(change);
        }
        true
    }

    /// Where this channel can be woken, if anywhere.
    pub(crate) fn wake(&self) -> Option<&Wake> {
        self.wake.as_ref()
    }

    /// Whether there is a publisher that wakes it, or nothing to be woken for.
    pub(crate) fn is_woken(&self) -> bool {
        let wakes = || self.publisher.load(pages::publisher::BARRIER, Ordering::Acquire) == 1;
        self.is_finished || (self.wake.is_some() && wakes())
    }

    fn consume_lost(&mut self, from: u64, to: u64) {
        self.counters.count_lost((to - from).saturating_add(1));
        self.lane.reader.consume();
    }

    /// Stores the cursor and the counters, and looks whether the publisher still waits for them.
    fn sync(&mut self) {
        if let Err(stop) = self.lane.sync(self.counters.get()) {
            self.stop(stop);
        }
    }

    /// Lets a lane that reads files go on. False when it reads none, or when there is no more.
    fn go_on_from_files(&mut self) -> bool {
        let Some(catch_up) = &mut self.catch_up else { return false };
        if !self.lane.is_in_files() {
            return false;
        }
        catch_up.go_on(&mut self.lane).unwrap_or_else(|stop| {
            self.stop(stop);
            true
        })
    }

    /// Whether reading goes on.
    #[cold]
    fn recover(&mut self, stall: Stall) -> bool {
        let recovered = match &self.catch_up {
            Some(catch_up) if stall == Stall::Overrun && self.lock.is_none() => {
                catch_up.go_back(&mut self.lane).map(|()| true)
            }
            _ => self.lane.recover(stall),
        };
        match recovered {
            Ok(has_restarted) => has_restarted,
            Err(stop) => {
                self.stop(stop);
                false
            }
        }
    }

    /// A living process must not hold a publisher up with a channel that it reads no more.
    fn give_up(&mut self) {
        self.lane.give_up();
        self.lock = None;
    }

    fn stop(&mut self, stop: Stop) {
        if self.is_finished {
            // It was told already.
            return;
        }
        self.give_up();
        self.tell(match stop {
            Stop::Evicted => NoticeKind::Evicted,
            Stop::Damaged(damaged) => NoticeKind::Damaged(damaged),
        });
    }
}

fn lost(from: u64, to: u64, cause: Option<u64>) -> NoticeKind {
    NoticeKind::Lost { from, to, cause: LossCause::from_code(cause) }
}
