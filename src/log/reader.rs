//! The reading end of a log in a ring: from frames to messages. Who may read in place, and what a
//! stall means for a subscriber, is decided by the caller.

use std::cell::Cell;
use std::ops::ControlFlow;

use super::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, block_end, block_of, block_start, is_edge};
use super::copy::Stall;
#[cfg(not(loom))]
use super::frame::jump_of;
use super::frame::{CommitWord, HEADER_BYTES, Kind, span};
use super::ring::Ring;
#[cfg(not(loom))]
use super::segment::BlockBuffer;
use super::source::{self, Source};
use super::train::Train;
use super::walk::{Checked, Damaged, check, check_gap};
use super::writer::FRAME_PAYLOAD_BYTES_MAX;
use crate::sync::Ordering;

/// Something that stands in the log for its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Message(RawMessage<'a>),
    /// Offsets that no message was or will be seen for. `cause` is a gap frame's own, or `None`
    /// where this reader was overrun.
    Lost {
        from: u64,
        to: u64,
        cause: Option<u64>,
    },
    Control {
        payload: &'a [u8],
    },
}

/// A message as the log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawMessage<'a> {
    pub(crate) offset: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) flags: u8,
    pub(crate) payload: &'a [u8],
}

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// Position of a frame, or of a block's start.
    pub(crate) position: u64,
    /// Offset of the next message there; taken from the block's header at a block's start.
    pub(crate) offset: u64,
    /// Offset of the first message to hand out: what lies before is passed over, and what is
    /// missing from there on is reported. `None`: whatever comes first.
    pub(crate) due: Option<u64>,
    /// Whether fragments may come first whose beginning is not there to be seen.
    pub(crate) joining: bool,
}

/// What `consume` will make of position and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Next {
    position: u64,
    offset: u64,
}

/// A reader of one log.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Source,
    /// Position of the next frame; a block's start when that block is not entered yet.
    position: u64,
    offset: u64,
    due: Option<u64>,
    joining: bool,
    /// Epoch of the publisher that entered the block; 0 before the first.
    epoch: u64,
    train: Train,
    /// The gap frame that [`Reader::peek`] found last, as it was checked.
    gap: [u64; 3],
    /// The block that the log goes on with, behind the one that is read.
    #[cfg(not(loom))]
    jump: Option<u64>,
    next: Next,
    /// What a run took, to be settled by the next call.
    taken: Cell<Option<Next>>,
    /// Nothing is handed out from here on.
    limit: u64,
    /// Up to here there is nothing but frames of the block to be looked at: no message is due that
    /// is not the next one, no fragment is kept, no run is unsettled. 0 = `open` is to see.
    open_end: u64,
}

/// How far [`Reader::each_message`] has come, in locals; the reader learns it at the end, also where
/// a handler panics.
struct Progress<'a> {
    next: Next,
    position: &'a mut u64,
    offset: &'a mut u64,
}

impl Drop for Progress<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        (*self.position, *self.offset) = (self.next.position, self.next.offset);
    }
}

/// Why [`Reader::each_message`] came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The limit was reached, or the handler had enough.
    Taken,
    /// Nothing more is committed.
    Drained,
    /// [`Reader::peek`] has to look.
    Unusual,
}

impl Reader {
    /// A reader of the ring's own bytes.
    ///
    /// # Safety
    /// From now on, for as long as the reader lives and as far as it has not moved on, nobody may
    /// overwrite the block of its position or any later one: it is gated by a seat whose cursor is
    /// never stored above [`Reader::position`], on a topic whose slow subscribers are waited for.
    pub(crate) unsafe fn in_place(ring: Ring, start: Start) -> Reader {
        // SAFETY: handed on to the caller.
        Reader::new(unsafe { Source::in_place(ring) }, start)
    }

    /// A reader that may be overrun, and hands out validated copies.
    pub(crate) fn copied(ring: Ring, start: Start) -> Reader {
        Reader::new(Source::copied(ring), start)
    }

    /// A reader of blocks from files, which the caller reads into [`Reader::buffer`] as they are
    /// needed.
    #[cfg(not(loom))]
    pub(crate) fn buffered(buffer: BlockBuffer, start: Start, message_bytes_max: u64) -> Reader {
        let mut reader = Reader::new(Source::buffered(buffer), start);
        reader.train = Train::new(message_bytes_max);
        reader
    }

    /// Goes on in another source, which has the same log.
    #[cfg(not(loom))]
    fn go_on_in(&mut self, mut source: Source) {
        self.close();
        self.settle();
        source.restart(self.position);
        self.source = source;
    }

    /// Goes on in the ring's own bytes.
    ///
    /// # Safety
    /// As for [`Reader::in_place`].
    #[cfg(not(loom))]
    pub(crate) unsafe fn go_on_in_place(&mut self, ring: Ring) {
        // SAFETY: handed on to the caller.
        self.go_on_in(unsafe { Source::in_place(ring) });
    }

    /// Goes on in the ring, by copies.
    #[cfg(not(loom))]
    pub(crate) fn go_on_copied(&mut self, ring: Ring) {
        self.go_on_in(Source::copied(ring));
    }

    /// Goes on in blocks from files, which are to be loaded.
    #[cfg(not(loom))]
    pub(crate) fn go_on_buffered(&mut self, buffer: BlockBuffer) {
        self.go_on_in(Source::buffered(buffer));
    }

    /// Whether it reads blocks from files.
    #[cfg(not(loom))]
    pub(crate) fn is_buffered(&self) -> bool {
        self.source.is_buffered()
    }

    /// What is filled from files.
    #[cfg(not(loom))]
    pub(crate) fn buffer(&mut self) -> Option<&mut BlockBuffer> {
        self.close();
        self.source.buffer()
    }

    /// Goes on with another buffer, which has the block that comes next. Returns the one it had.
    ///
    /// # Panics
    /// When it does not read from files, or is inside a block.
    #[cfg(not(loom))]
    pub(crate) fn exchange_buffer(&mut self, buffer: BlockBuffer) -> BlockBuffer {
        self.close();
        self.settle();
        assert!(is_edge(self.position), "what it is to read next is in the buffer it has");
        self.source.exchange_buffer(buffer).expect("it reads from files")
    }

    /// Hands out nothing that lies at or behind this position.
    #[cfg(not(loom))]
    pub(crate) fn set_limit(&mut self, limit: u64) {
        if limit != self.limit {
            self.close();
            self.limit = limit;
        }
    }

    fn new(mut source: Source, start: Start) -> Reader {
        let Start { position, offset, due, joining } = start;
        let train = Train::new(source.ring().message_bytes_max());
        source.restart(position);
        Reader {
            source,
            position,
            offset,
            due,
            joining,
            epoch: 0,
            train,
            gap: [0; 3],
            #[cfg(not(loom))]
            jump: None,
            next: Next { position, offset },
            taken: Cell::new(None),
            limit: u64::MAX,
            open_end: 0,
        }
    }

    /// Everything before this is done with.
    #[inline(always)]
    pub(crate) fn position(&mut self) -> u64 {
        // While it is open no run is unsettled.
        if self.open_end == 0 {
            self.settle();
        }
        self.position
    }

    /// Offset of the next message, as far as is known.
    #[inline(always)]
    pub(crate) fn offset(&self) -> u64 {
        if self.open_end != 0 {
            return self.offset;
        }
        self.due.unwrap_or_else(|| self.taken.get().map_or(self.offset, |taken| taken.offset))
    }

    /// Epoch of the publisher that entered the block that is read.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Reads nothing any more: goes to where no log ever comes.
    pub(crate) fn retire(&mut self) {
        self.settle();
        self.train.clear();
        self.open_end = 0;
        self.position = block_start(block_of(u64::MAX));
    }

    /// The block that the log goes on with, which has other offsets than are due, if what was read
    /// last says so.
    #[cfg(not(loom))]
    pub(crate) fn take_jump(&mut self) -> Option<u64> {
        self.jump.take()
    }

    /// Goes on from the start of block `number` after an overrun: what is missing up to the first
    /// message that begins there is reported as lost.
    pub(crate) fn restart(&mut self, number: u64) {
        self.due = self.due.or((!self.joining).then_some(self.offset));
        self.joining = true;
        self.train.clear();
        self.open_end = 0;
        self.position = block_start(number);
    }

    /// Lets [`Reader::each_message`] hand out what comes next, if those are plain messages inside
    /// the block, as nearly all are. Returns whether there is one now.
    pub(crate) fn open(&mut self) -> bool {
        let is_usual = self.due.is_none()
            && !self.joining
            && self.train.is_idle()
            && self.taken.get().is_none()
            && !is_edge(self.position);
        let end = self.source.end().min(self.limit);
        self.open_end = if is_usual { block_end(self.position).min(end) } else { 0 };
        self.position < self.open_end
            && self.source.word(self.position).is_some_and(|word| self.is_plain(word))
    }

    /// Nothing is handed out by [`Reader::each_message`] until [`Reader::open`].
    pub(crate) fn close(&mut self) {
        self.open_end = 0;
    }

    #[inline(always)]
    fn is_plain(&self, word: CommitWord) -> bool {
        word.is_message_of(self.offset) && self.position + word.span() <= self.open_end
    }

    /// Hands up to `limit` plain messages to `handler`, as far as this is open and one follows the
    /// other. Returns how many were consumed, and why it ended. `handler` breaks with whether the
    /// message that it was handed last is consumed.
    ///
    /// What `check` asks for is asked here in fewer comparisons.
    #[inline(always)]
    pub(crate) fn each_message(
        &mut self,
        limit: usize,
        mut handler: impl FnMut(RawMessage<'_>) -> ControlFlow<bool>,
    ) -> (usize, End) {
        let (window, open_end) = (self.source.window(), self.open_end);
        let next = Next { position: self.position, offset: self.offset };
        let mut progress =
            Progress { next, position: &mut self.position, offset: &mut self.offset };
        let mut frames = window.frames(next.position, open_end.max(next.position));
        let mut count = 0;
        while count < limit {
            let Next { position, offset } = progress.next;
            let Some(word) = frames.word() else { return (count, End::Unusual) };
            if !word.is_message_of(offset) {
                let end = if word.is_committed() { End::Unusual } else { End::Drained };
                return (count, end);
            }
            let Some((frame, behind)) = frames.split(word) else {
                return (count, End::Unusual);
            };
            let flow = handler(message(offset, frame));
            if flow == ControlFlow::Break(false) {
                return (count, End::Taken);
            }
            progress.next = Next { position: position + frame.span(), offset: offset + 1 };
            frames = behind;
            count += 1;
            if flow.is_break() {
                break;
            }
        }
        (count, End::Taken)
    }

    /// Whether a look at one or two words is enough to tell that `peek` would find nothing and
    /// change nothing.
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        self.taken.get().is_none()
            && self.train.is_idle()
            && !is_edge(self.position)
            && (self.position >= self.limit || self.source.is_drained(self.position))
    }

    /// The next thing in the log, again and again until it is consumed.
    ///
    /// # Errors
    /// [`Stall::Overrun`] when the reader copies and was too slow; the caller restarts it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Option<Frame<'_>>, Stall> {
        self.close();
        self.settle();
        if self.train.is_complete() {
            return Ok(self.assembled());
        }
        loop {
            if self.position >= self.limit || (is_edge(self.position) && !self.enter()?) {
                return Ok(None);
            }
            let Some(word) = self.source.fetch(self.position)? else { return Ok(None) };
            let frame = check(word, self.position, self.offset)?;
            if frame.end > self.limit {
                return Ok(None);
            }
            if frame.kind == Kind::Message && self.due.is_none() {
                self.joining = false;
                self.next = Next { position: frame.end, offset: self.offset + 1 };
                return Ok(Some(Frame::Message(self.message(self.position, self.offset, word))));
            }
            if self.peek_rare(word, frame)? {
                return Ok(self.rare(word, frame.kind));
            }
        }
    }

    /// Everything that is not a plain message that was due. Returns whether there is something to
    /// hand out; otherwise the reader has moved on.
    #[cold]
    fn peek_rare(&mut self, word: CommitWord, frame: Checked) -> Result<bool, Stall> {
        let at = self.position;
        let damaged = |what| Stall::Damaged(Damaged::new(at, what));
        #[cfg(not(loom))]
        if frame.kind == Kind::Control
            && let Some(jump) = jump_of(self.source.window().frame(at, word).payload())
        {
            self.restart(block_of(jump));
            self.position = frame.end;
            self.jump = Some(block_of(jump));
            return Ok(false);
        }
        let mut last = self.offset;
        if frame.kind == Kind::Gap {
            self.gap = [0, 8, 16].map(|word| self.source.window().load(at + HEADER_BYTES + word));
            last = check_gap(at, self.gap, self.offset)?;
        }
        if matches!(frame.kind, Kind::Message | Kind::First | Kind::Gap | Kind::Control) {
            self.joining = false;
            match self.due {
                Some(due) if due < self.offset => {
                    self.next = Next { position: at, offset: self.offset };
                    return Ok(true);
                }
                Some(due) if due > last && frame.kind != Kind::Control => {
                    // Before the start: passed over. Of a train the rest will follow.
                    self.joining = frame.kind == Kind::First;
                    self.offset = if self.joining { last } else { last + 1 };
                    self.position = frame.end;
                    return Ok(false);
                }
                _ => {}
            }
        }
        let payload = || self.source.window().frame(at, word).payload();
        match frame.kind {
            Kind::Message | Kind::Gap => {
                self.next = Next { position: frame.end, offset: last + 1 };
                return Ok(true);
            }
            Kind::Control => {
                self.next = Next { position: frame.end, offset: self.offset };
                return Ok(true);
            }
            Kind::First => {
                let timestamp_ns = self.source.window().load(at + 8);
                self.train.first(timestamp_ns, word.flags(), payload()).map_err(damaged)?;
            }
            Kind::Middle => self.train.add(payload()).map_err(damaged)?,
            Kind::Last => {
                if self.train.last(payload()).map_err(damaged)? {
                    self.next = Next { position: frame.end, offset: self.offset + 1 };
                    return Ok(true);
                }
                if !self.joining {
                    return Err(damaged("a last fragment without a first one"));
                }
                self.offset += 1;
            }
            Kind::Abort => self.train.clear(),
            Kind::Padding => {}
        }
        self.position = frame.end;
        Ok(false)
    }

    /// What `peek_rare` found.
    fn rare(&self, word: CommitWord, kind: Kind) -> Option<Frame<'_>> {
        if self.train.is_complete() {
            return self.assembled();
        }
        if let Some(from) = self.due
            && self.next.position == self.position
        {
            return Some(Frame::Lost { from, to: self.offset - 1, cause: None });
        }
        Some(match kind {
            Kind::Gap => {
                let [from, to, cause] = self.gap;
                let from = self.due.map_or(from, |due| due.max(from));
                Frame::Lost { from, to, cause: Some(cause) }
            }
            Kind::Control => {
                let payload = self.source.window().frame(self.position, word).payload();
                Frame::Control { payload }
            }
            _ => Frame::Message(self.message(self.position, self.offset, word)),
        })
    }

    #[inline(always)]
    fn message(&self, position: u64, offset: u64, word: CommitWord) -> RawMessage<'_> {
        message(offset, self.source.window().frame(position, word))
    }

    fn assembled(&self) -> Option<Frame<'_>> {
        let (timestamp_ns, flags, payload) = self.train.message()?;
        let offset = self.offset;
        Some(Frame::Message(RawMessage { offset, timestamp_ns, flags, payload }))
    }

    /// Goes past what `peek` returned last.
    #[inline]
    pub(crate) fn consume(&mut self) {
        debug_assert_eq!(self.open_end, 0, "to be called behind `peek`");
        self.train.clear();
        if let Some(due) = self.due
            && due <= self.next.offset
        {
            self.due = None;
        }
        self.position = self.next.position;
        self.offset = self.next.offset;
    }

    #[inline(never)]
    fn settle(&mut self) {
        if let Some(next) = self.taken.take() {
            self.next = next;
            self.consume();
        }
    }

    /// The messages from here to the block's end, or to the first frame that is none, or to where
    /// nothing is committed yet. To be called when `peek` has just returned a message.
    #[cfg(not(loom))]
    pub(crate) fn run(&self) -> Run<'_> {
        let next = Next { position: self.position, offset: self.offset };
        Run { single: self.train.is_complete().then_some(self.next), reader: self, next }
    }

    /// Enters the block at whose start the reader stands. False when it is not there yet.
    #[cold]
    fn enter(&mut self) -> Result<bool, Stall> {
        let number = block_of(self.position);
        let ring = self.source.ring();
        // Edge `entry`.
        let Some(header) = ring.header(number) else {
            let there = ring.number(number, Ordering::Acquire);
            if there == number + 1 && ring.header(number).is_none() && ring.still(number) {
                let what = "a block with its number and no header of ours";
                return Err(Damaged::new(self.position, what).into());
            }
            return if there > number + 1 { Err(Stall::Overrun) } else { Ok(false) };
        };
        if self.joining && header.epoch >= self.epoch {
            self.offset = header.first_offset;
        } else if header.first_offset != self.offset || header.epoch < self.epoch {
            return Err(Damaged::new(self.position, "a block that does not follow the last").into());
        }
        #[cfg(not(loom))]
        {
            self.jump = None;
        }
        self.position += BLOCK_HEADER_BYTES;
        self.epoch = header.epoch;
        self.source.restart(self.position);
        Ok(true)
    }
}

#[inline(always)]
fn message(offset: u64, frame: source::Frame<'_>) -> RawMessage<'_> {
    let (timestamp_ns, payload) = (frame.timestamp_ns(), frame.payload());
    RawMessage { offset, timestamp_ns, flags: frame.flags(), payload }
}

/// Most bytes of log that a message of `length` bytes takes, fragments and padding included.
pub(crate) const fn log_bytes(length: u64) -> u64 {
    if length <= FRAME_PAYLOAD_BYTES_MAX {
        return span(length);
    }
    // A train fills blocks but for their headers and those of its fragments.
    (length / FRAME_PAYLOAD_BYTES_MAX + 2) * BLOCK_BYTES
}

/// Messages that are handed out together. What is taken from it is consumed by the reader's next
/// call, which cannot come before all that was taken is out of use.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Run<'a> {
    reader: &'a Reader,
    next: Next,
    /// Set when the one message is a reassembled one.
    single: Option<Next>,
}

#[cfg(not(loom))]
impl<'a> Run<'a> {
    /// How many messages it has from here on that take `bytes_max` of log together, and how much
    /// they take. Takes none.
    pub(crate) fn count_up_to(mut self, bytes_max: u64) -> (u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        while let Some(message) = self.look() {
            let span = log_bytes(message.payload.len() as u64);
            if bytes + span > bytes_max {
                break;
            }
            (count, bytes) = (count + 1, bytes + span);
        }
        (count, bytes)
    }

    /// The next message, and on to the one behind it.
    #[inline]
    fn look(&mut self) -> Option<RawMessage<'a>> {
        let reader = self.reader;
        if reader.train.is_complete() {
            let next = self.single.take()?;
            let (timestamp_ns, flags, payload) = reader.train.message()?;
            let offset = std::mem::replace(&mut self.next, next).offset;
            return Some(RawMessage { offset, timestamp_ns, flags, payload });
        }
        let Next { position, offset } = self.next;
        if is_edge(position) || position >= reader.limit {
            return None;
        }
        let word = reader.source.word(position)?;
        let frame = check(word, position, offset).ok()?;
        if frame.kind != Kind::Message || frame.end > reader.limit {
            return None;
        }
        self.next = Next { position: frame.end, offset: offset + 1 };
        Some(reader.message(position, offset, word))
    }
}

#[cfg(not(loom))]
impl<'a> Iterator for Run<'a> {
    type Item = RawMessage<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawMessage<'a>> {
        let message = self.look()?;
        self.reader.taken.set(Some(self.next));
        Some(message)
    }
}
