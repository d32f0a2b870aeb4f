//! The writing end of a log in a ring: the only code that stores into ring memory. What happens
//! for every message is in `append`; everything else happens once a block.

use zerocopy::{Immutable, IntoBytes};

use super::block::{
    BLOCK_BYTES, BLOCK_CAPACITY_BYTES, BLOCK_HEADER_BYTES, BlockHeader, CLEAR_AHEAD_BYTES, LogId,
    block_end, block_of, is_edge,
};
use super::frame::{
    COMMIT_WORD, CommitWord, GAP_BYTES, GAP_OFFSET_MAX, HEADER_BYTES, Kind, LINE_BYTES,
    PAYLOAD_WORD, TICK_BYTES_MAX, TIMESTAMP_WORD, TRAIN_PREFIX_BYTES, span,
};
use super::gate::{Blocked, Gate};
use super::memory::{WORD_BYTES, Words};
use super::pages;
use super::ring::{Lines, Ring};
use super::store::By;
use super::wake::Wake;
use crate::sync::Ordering;

/// Largest payload of a message that is one frame, and of a claim: 65,392 bytes.
pub(crate) const FRAME_PAYLOAD_BYTES_MAX: u64 = BLOCK_CAPACITY_BYTES - HEADER_BYTES;

/// How far ahead the line is that is asked for after each commit: stores become visible in order,
/// so the zeroing of a line that is still in a reader's cache would hold up the commit behind it.
const PREFETCH_AHEAD_BYTES: u64 = 2 * CLEAR_AHEAD_BYTES;

/// From this many offsets on a gap starts a new block, so that the 32 bits of the offset in two
/// neighbouring commit words tell which comes first.
const GAP_NEW_BLOCK: u64 = 1 << 31;

/// Where a log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    /// Position of the next frame; a block's start when that block is not entered yet.
    pub(crate) position: u64,
    /// Offset of the next message.
    pub(crate) offset: u64,
    /// Highest timestamp so far.
    pub(crate) timestamp_max_ns: u64,
    /// Payload bytes so far.
    pub(crate) payload_bytes: u64,
}

/// The writer of one log.
#[derive(Debug)]
pub(crate) struct Writer {
    ring: Ring,
    gate: Gate,
    wake: Option<Wake>,
    log_id: LogId,
    epoch: u64,
    position: u64,
    block_end: u64,
    /// Where a frame may end without a further look: the block's end, or 0 while a claim is open.
    room_end: u64,
    /// End of a claim that was handed out and not committed; 0 = none.
    dirty: u64,
    /// Whether a dead publisher's train is open, whose abort needs the next block.
    train_open: bool,
    offset: u64,
    timestamp_max_ns: u64,
    payload_bytes: u64,
}

impl Writer {
    /// Goes on with a log where `resume` says. All line starts from there to the block's end are
    /// zero: a fresh ring's are, and taking over makes them so.
    pub(crate) fn new(
        ring: Ring,
        gate: Gate,
        wake: Option<Wake>,
        log_id: LogId,
        epoch: u64,
        resume: Resume,
    ) -> Writer {
        let Resume { position, offset, timestamp_max_ns, payload_bytes } = resume;
        let block_end = if is_edge(position) { position } else { block_end(position) };
        Writer {
            ring,
            gate,
            wake,
            log_id,
            epoch,
            position,
            block_end,
            room_end: block_end,
            dirty: 0,
            train_open: false,
            offset,
            timestamp_max_ns,
            payload_bytes,
        }
    }

    /// Offset that the next message gets.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Epoch of this writer.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Largest message in bytes.
    pub(crate) fn message_bytes_max(&self) -> u64 {
        self.ring.message_bytes_max()
    }

    /// The shared pages.
    #[cfg(not(loom))]
    pub(crate) fn pages(&self) -> &pages::Pages {
        self.gate.pages()
    }

    /// The subscribers' gate.
    pub(crate) fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }

    /// Whether a message of `length` bytes goes into the block that is being written. Otherwise
    /// there is more to be looked at.
    #[inline(always)]
    pub(crate) fn has_room(&self, length: u64) -> bool {
        self.position + span(length) <= self.room_end
    }

    /// Appends one message. The caller has checked its length.
    pub(crate) fn try_publish<T>(&mut self, timestamp_ns: u64, payload: &T) -> Result<u64, Blocked>
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        match self.publish_here(timestamp_ns, payload) {
            Some(offset) => Ok(offset),
            None => self.publish_slow(timestamp_ns, payload.as_bytes(), 0),
        }
    }

    /// Appends one message if it goes into the block that is being written: what happens for
    /// nearly every message, and all of it. Otherwise there is more to be looked at.
    #[inline(always)]
    pub(crate) fn publish_here<T>(&mut self, timestamp_ns: u64, payload: &T) -> Option<u64>
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        let bytes = payload.as_bytes();
        if !self.has_room(bytes.len() as u64) {
            return None;
        }
        self.append(timestamp_ns, bytes, Kind::Message, 0);
        Some(self.take_offset())
    }

    /// Appends one message with flags. The caller has checked its length.
    #[cfg(not(loom))]
    pub(crate) fn try_publish_flagged(
        &mut self,
        timestamp_ns: u64,
        bytes: &[u8],
        flags: u8,
    ) -> Result<u64, Blocked> {
        self.publish_slow(timestamp_ns, bytes, flags)
    }

    /// Appends the first messages of a batch; all of those that fit into one block become visible
    /// at once. Returns how many were appended, at least one unless the batch is empty.
    pub(crate) fn try_publish_batch<T>(&mut self, batch: &[(u64, &T)]) -> Result<usize, Blocked>
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        let Some((timestamp_ns, payload)) = batch.first() else { return Ok(0) };
        let first = payload.as_bytes();
        if !self.has_room(first.len() as u64) {
            self.publish_slow(*timestamp_ns, first, 0)?;
            return Ok(1);
        }
        // Two loops, in which the way is a constant.
        Ok(match By::of_memory() {
            By::Pair => self.append_batch(batch, By::Pair),
            By::Word => self.append_batch(batch, By::Word),
        })
    }

    /// Appends as many messages of a batch as fit into the block; its first one does.
    #[inline(always)]
    fn append_batch<T>(&mut self, batch: &[(u64, &T)], by: By) -> usize
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        // The first frame's commit word is stored last: until then no reader gets past it.
        let mut head_word = None;
        // In locals, which the stores into the ring cannot change as far as the compiler knows.
        let (lines, head, block_end) = (self.ring.lines(), self.position, self.block_end);
        let (mut timestamp_max_ns, mut payload_bytes) = (self.timestamp_max_ns, self.payload_bytes);
        let (mut room, mut offset) = (lines.frame(head, block_end - head), self.offset);
        for (timestamp_ns, payload) in batch {
            let bytes = payload.as_bytes();
            let length = bytes.len() as u64;
            let Some((frame, behind)) = room.split(span(length) / WORD_BYTES) else { break };
            fill(frame, bytes, by);
            frame.store(TIMESTAMP_WORD, *timestamp_ns, Ordering::Relaxed);
            let word = CommitWord::new(offset, length, Kind::Message, 0);
            if offset == self.offset {
                head_word = Some(word);
            } else {
                frame.store(COMMIT_WORD, word.0, Ordering::Relaxed);
            }
            timestamp_max_ns = timestamp_max_ns.max(*timestamp_ns);
            payload_bytes += length;
            offset += 1;
            room = behind;
        }
        let position = block_end - room.len() * WORD_BYTES;
        clear_next(lines, head, position, block_end);
        let head_word = head_word.expect("the first message fits");
        self.commit(lines.frame(head, LINE_BYTES), head_word);
        clear_ahead(lines, head, position, block_end);
        let count = offset - self.offset;
        (self.position, self.offset) = (position, offset);
        (self.timestamp_max_ns, self.payload_bytes) = (timestamp_max_ns, payload_bytes);
        count as usize
    }

    /// Appends a gap frame for the offsets from the next one to `to`, both included.
    pub(crate) fn try_publish_gap(
        &mut self,
        timestamp_ns: u64,
        to: u64,
        cause: u64,
    ) -> Result<(), Blocked> {
        debug_assert!(to >= self.offset && to < GAP_OFFSET_MAX);
        self.tidy_up()?;
        if to - self.offset >= GAP_NEW_BLOCK - 1 || span(GAP_BYTES) > self.block_end - self.position
        {
            self.next_block()?;
        }
        let gap = [self.offset, to, cause].map(u64::to_le_bytes);
        self.append(timestamp_ns, gap.as_bytes(), Kind::Gap, 0);
        self.offset = to + 1;
        Ok(())
    }

    /// Appends a control frame, which takes no offset.
    pub(crate) fn try_publish_control(
        &mut self,
        timestamp_ns: u64,
        payload: &[u8],
    ) -> Result<(), Blocked> {
        self.frame_room(payload.len() as u64)?;
        self.append(timestamp_ns, payload, Kind::Control, 0);
        Ok(())
    }

    /// Makes room for a frame of `length` bytes to be filled by `put`. The caller has checked its
    /// length.
    pub(crate) fn try_claim(&mut self, length: u64) -> Result<(), Blocked> {
        self.frame_room(length)?;
        (self.dirty, self.room_end) = (self.position + span(length), 0);
        Ok(())
    }

    /// Writes `bytes` at `at` bytes from the start of the claimed payload.
    #[inline(always)]
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        let start = self.position + HEADER_BYTES + at;
        debug_assert!(start + bytes.len() as u64 <= self.dirty);
        self.ring.lines().patch_bytes(start, bytes);
    }

    /// Commits the claim of `length` bytes.
    pub(crate) fn commit_claim(&mut self, timestamp_ns: u64, length: u64) -> u64 {
        debug_assert_eq!(self.dirty, self.position + span(length));
        (self.dirty, self.room_end) = (0, self.block_end);
        self.commit_frame(timestamp_ns, length, Kind::Message, 0);
        self.take_offset()
    }

    /// Writes and commits a frame that fits into the block.
    #[inline(always)]
    fn append(&mut self, timestamp_ns: u64, bytes: &[u8], kind: Kind, flags: u8) {
        let length = bytes.len() as u64;
        fill(self.ring.lines().frame(self.position, span(length)), bytes, By::Word);
        self.commit_frame(timestamp_ns, length, kind, flags);
    }

    /// Commits a frame whose payload is in place.
    #[inline(always)]
    fn commit_frame(&mut self, timestamp_ns: u64, length: u64, kind: Kind, flags: u8) {
        let (lines, at) = (self.ring.lines(), self.position);
        let end = at + span(length);
        debug_assert!(end <= self.block_end);
        let frame = lines.frame(at, span(length));
        frame.store(TIMESTAMP_WORD, timestamp_ns, Ordering::Relaxed);
        clear_next(lines, at, end, self.block_end);
        self.commit(frame, CommitWord::new(self.offset, length, kind, flags));
        clear_ahead(lines, at, end, self.block_end);
        lines.prefetch_for_write(end + PREFETCH_AHEAD_BYTES);
        // Nobody waits for these, so they come last.
        self.position = end;
        self.timestamp_max_ns = self.timestamp_max_ns.max(timestamp_ns);
        if kind.carries_payload() {
            self.payload_bytes += length;
        }
    }

    /// Edge `commit`: pairs with the acquire load of the commit word by every reader. All of the
    /// frame, and the zero where the next one starts, come before.
    #[inline(always)]
    fn commit(&self, frame: Words<'_>, word: CommitWord) {
        frame.store(COMMIT_WORD, word.0, Ordering::Release);
        if let Some(wake) = &self.wake {
            wake.notify();
        }
    }

    #[inline(always)]
    fn take_offset(&mut self) -> u64 {
        self.offset += 1;
        self.offset - 1
    }

    /// Invariant 2: nothing that a claim left behind can be taken for a frame. The claim's own
    /// commit word is still zero.
    fn undo_claim(&mut self) {
        if self.dirty != 0 {
            self.ring.lines().clear(self.position + LINE_BYTES, self.dirty);
            (self.dirty, self.room_end) = (0, self.block_end);
        }
    }

    /// Sees to what must not lie before the next frame: comes first wherever a frame does not just
    /// go into the block that is being written.
    fn tidy_up(&mut self) -> Result<(), Blocked> {
        self.undo_claim();
        self.close_train()
    }

    #[cold]
    #[inline(never)]
    fn publish_slow(&mut self, timestamp_ns: u64, bytes: &[u8], flags: u8) -> Result<u64, Blocked> {
        if span(bytes.len() as u64) > BLOCK_CAPACITY_BYTES {
            self.tidy_up()?;
            self.publish_train(timestamp_ns, bytes, flags)?;
        } else {
            self.frame_room(bytes.len() as u64)?;
            self.append(timestamp_ns, bytes, Kind::Message, flags);
        }
        Ok(self.take_offset())
    }

    /// Makes sure that a frame of `length` bytes fits into the block.
    fn frame_room(&mut self, length: u64) -> Result<(), Blocked> {
        debug_assert!(length <= FRAME_PAYLOAD_BYTES_MAX);
        self.tidy_up()?;
        if span(length) > self.block_end - self.position {
            self.next_block()?;
        }
        Ok(())
    }

    /// Reserves and enters the next block, for frames that start there.
    fn next_block(&mut self) -> Result<(), Blocked> {
        self.gate.reserve(self.block_end + BLOCK_BYTES, self.block_end)?;
        self.enter(BLOCK_HEADER_BYTES);
        Ok(())
    }

    /// Enters the next block, which is reserved. `first_message` is where a frame that starts a
    /// message will lie, in bytes from the block's start; 0 = nowhere.
    fn enter(&mut self, first_message: u64) {
        if self.position < self.block_end {
            let length = self.block_end - self.position - HEADER_BYTES;
            let frame = self.ring.lines().frame(self.position, LINE_BYTES);
            frame.store(TIMESTAMP_WORD, 0, Ordering::Relaxed);
            let word = CommitWord::new(self.offset, length, Kind::Padding, 0);
            self.commit(frame, word);
            self.position = self.block_end;
        }
        let start = self.block_end;
        let number = block_of(start);
        let bytes = pages::publisher::bytes_before(number);
        // Whoever counts with a later value finds the numbers of the blocks before this one.
        self.gate.pages().publisher.store(bytes, self.payload_bytes, Ordering::Release);
        self.position = start + BLOCK_HEADER_BYTES;
        self.block_end = start + BLOCK_BYTES;
        self.room_end = self.block_end;
        let header = BlockHeader {
            first_offset: self.offset,
            timestamp_max_ns: self.timestamp_max_ns,
            epoch: self.epoch,
            first_message: first_message as u32,
        };
        self.ring.enter(number, self.log_id, header, self.position + CLEAR_AHEAD_BYTES);
    }

    /// Appends a message that does not fit into one frame as a train of fragments: the first has
    /// the rest of this block, all others the next blocks. No block is entered before all of them
    /// are known to be free.
    fn publish_train(&mut self, timestamp_ns: u64, bytes: &[u8], flags: u8) -> Result<(), Blocked> {
        let total = TRAIN_PREFIX_BYTES + bytes.len() as u64;
        let room = (self.block_end - self.position).saturating_sub(HEADER_BYTES);
        let blocks = (total - room).div_ceil(FRAME_PAYLOAD_BYTES_MAX);
        self.gate.reserve(self.block_end + blocks * BLOCK_BYTES, self.block_end)?;
        if room == 0 {
            self.enter(BLOCK_HEADER_BYTES);
        }
        let room = self.block_end - self.position - HEADER_BYTES;
        let (part, mut rest) = bytes.split_at((room - TRAIN_PREFIX_BYTES) as usize);
        let frame = self.ring.lines().frame(self.position, self.block_end - self.position);
        frame.store(PAYLOAD_WORD, bytes.len() as u64, Ordering::Relaxed);
        frame.store_bytes(PAYLOAD_WORD + TRAIN_PREFIX_BYTES / WORD_BYTES, part);
        self.commit_frame(timestamp_ns, room, Kind::First, flags);
        self.payload_bytes -= TRAIN_PREFIX_BYTES;
        while !rest.is_empty() {
            let length = (rest.len() as u64).min(FRAME_PAYLOAD_BYTES_MAX);
            let behind = BLOCK_HEADER_BYTES + span(length);
            let is_last = length == rest.len() as u64;
            self.enter(if is_last && behind < BLOCK_BYTES { behind } else { 0 });
            let (part, behind) = rest.split_at(length as usize);
            let kind = if is_last { Kind::Last } else { Kind::Middle };
            self.append(timestamp_ns, part, kind, flags);
            rest = behind;
        }
        Ok(())
    }

    /// Closes the train that a dead publisher left open: invariant 8. `reach` is where the train
    /// would have ended in this block, or the block's end. Where that needs the next block, it is
    /// done before the next frame, as that block may not be free yet.
    pub(crate) fn abort_train(&mut self, reach: u64) {
        if self.position == self.block_end {
            // So there is no room here, and whatever comes next tidies up.
            self.train_open = true;
        } else {
            let length = reach - self.position - HEADER_BYTES;
            self.commit_frame(0, length, Kind::Abort, 0);
        }
    }

    /// Closes the train that [`Writer::abort_train`] left open.
    pub(crate) fn close_train(&mut self) -> Result<(), Blocked> {
        if self.train_open {
            self.gate.reserve(self.block_end + BLOCK_BYTES, self.block_end)?;
            self.enter(BLOCK_HEADER_BYTES + LINE_BYTES);
            // As long as one that finds the block's header there and reaches to its first message.
            self.commit_frame(0, TICK_BYTES_MAX, Kind::Abort, 0);
            self.train_open = false;
        }
        Ok(())
    }

    /// Zeroes the line starts from `position` to the block's end: what a dead publisher wrote and
    /// did not commit. Nothing may be committed before.
    pub(crate) fn clear_debris(&mut self) {
        self.ring.lines().clear(self.position, self.block_end);
    }
}

/// Writes a payload into its frame: what goes into the frame's first line comes last. Readers look
/// there all the time, so it would be taken away while the rest is written, and have to come back
/// for the commit. (The first fragment of a train fills its block; there it makes no difference.)
#[inline(always)]
fn fill(frame: Words<'_>, bytes: &[u8], by: By) {
    let first = bytes.len().min(TICK_BYTES_MAX as usize);
    let (first, behind) = bytes.split_at(first);
    if !behind.is_empty() {
        frame.store_bytes_by(by, LINE_BYTES / WORD_BYTES, behind);
    }
    frame.store_bytes_by(by, PAYLOAD_WORD, first);
}

/// Invariant 1, before the commit of what lies in `[at, end)`: where the next frame will start is
/// zero, as far as that is in this block. It is already unless this takes more than D, since lines
/// up to D behind `at` are.
#[inline(always)]
fn clear_next(lines: Lines<'_>, at: u64, end: u64, block_end: u64) {
    if end - at >= CLEAR_AHEAD_BYTES {
        lines.clear(end, block_end.min(end + LINE_BYTES));
    }
}

/// Invariant 1, after that commit: zeroes the line starts up to D behind `end`, but for the first,
/// which is zero and looked at by readers from now on. Nobody waits for the others; lines that a
/// reader may hold still would have kept the commit waiting.
#[inline(always)]
fn clear_ahead(lines: Lines<'_>, at: u64, end: u64, block_end: u64) {
    let from = (end + LINE_BYTES).max(at + CLEAR_AHEAD_BYTES);
    lines.clear(from, block_end.min(end + CLEAR_AHEAD_BYTES));
}
