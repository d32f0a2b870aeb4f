//! A log on the heap, its readers, and payloads that show where they came from.

use std::fmt;

use super::super::block::{
    BLOCK_BYTES, BLOCK_CAPACITY_BYTES, BLOCK_HEADER_BYTES, CLEAR_AHEAD_BYTES, LogId, block_end,
    block_start,
};
use super::super::copy::Stall;
use super::super::frame::{CommitWord, HEADER_BYTES, Kind, LINE_BYTES, TRAIN_PREFIX_BYTES, span};
use super::super::gate::Gate;
use super::super::memory::Memory;
use super::super::pages::{self, PAGE_BYTES, Pages, SLOTS};
use super::super::reader::{Frame, Reader, Start};
use super::super::ring::Ring;
use super::super::seat::Seat;
use super::super::seek;
use super::super::takeover;
use super::super::walk::{self, Damaged, Tail};
use super::super::writer::{FRAME_PAYLOAD_BYTES_MAX, Writer};
use crate::sync::Ordering;

/// The smallest ring.
pub(super) const RING_BYTES: u64 = 4 * BLOCK_BYTES;

pub(super) const LOG_ID: LogId = LogId([1, 2]);

/// The memory of a log.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) memory: Memory,
    pub(super) ring: Ring,
    pub(super) pages: Pages,
    pub(super) cursors: Memory,
}

impl Log {
    pub(super) fn new(ring_bytes: u64) -> Log {
        let memory = Memory::heap(ring_bytes);
        Log {
            ring: Ring::new(memory.clone()),
            memory,
            pages: Pages::heap(),
            cursors: Memory::heap(SLOTS as u64 * PAGE_BYTES),
        }
    }

    /// A ring that looks as if frames stood everywhere, but in no block.
    pub(super) fn dirty(ring_bytes: u64) -> Log {
        let log = Log::new(ring_bytes);
        for at in 0..ring_bytes / 8 {
            if at % (BLOCK_BYTES / 8) < BLOCK_HEADER_BYTES / 8 {
                continue;
            }
            let word = CommitWord::new(at / 8 % 16, 0, Kind::Message, 0).0;
            log.memory.store(at, word, Ordering::Relaxed);
        }
        log
    }

    pub(super) fn reserved(&self) -> u64 {
        self.pages.publisher.load(pages::publisher::RESERVED, Ordering::Acquire)
    }

    pub(super) fn take_over(&self) -> Result<Writer, Damaged> {
        let ring_bytes = self.ring.bytes_len();
        let gate = Gate::new(self.pages.clone(), self.cursors.clone(), ring_bytes, self.reserved());
        takeover::take_over(self.ring.clone(), gate, None, LOG_ID)
    }

    /// The next publisher, where no subscriber is in its way.
    pub(super) fn writer(&self) -> Writer {
        let mut writer = self.take_over().expect("the log is sound");
        writer.close_train().expect("nobody is in the way");
        writer
    }

    pub(super) fn seat(&self, slot: usize) -> Seat {
        let page = self.cursors.part(slot as u64 * PAGE_BYTES, PAGE_BYTES);
        Seat::new(self.pages.clone(), page, slot, self.ring.bytes_len())
    }

    pub(super) fn newest(&self) -> u64 {
        seek::newest(&self.ring, 0, self.reserved()).expect("sound").expect("a block was entered")
    }

    pub(super) fn tail(&self) -> Tail {
        walk::tail(&self.ring, self.newest()).expect("sound").expect("nobody overwrites it")
    }

    /// Start at the oldest block.
    pub(super) fn earliest(&self, due: Option<u64>) -> Start {
        let number = seek::earliest(&self.ring, self.reserved()).unwrap_or(0);
        Start { position: block_start(number), offset: 0, due, joining: true }
    }

    /// Start behind the last frame.
    pub(super) fn live(&self) -> Start {
        let Tail { resume, train_open } = self.tail();
        let (position, offset) = (resume.position, resume.offset);
        Start { position, offset, due: None, joining: train_open }
    }

    /// A reader in place. Tests that overwrite what it reads do so between its calls only.
    pub(super) fn in_place(&self, start: Start) -> Reader {
        // SAFETY: the writer is called by the same thread, never while a frame is borrowed from
        // the reader, and the tests give the reader a seat.
        unsafe { Reader::in_place(self.ring.clone(), start) }
    }

    pub(super) fn copied(&self, start: Start) -> Reader {
        Reader::copied(self.ring.clone(), start)
    }

    /// All words of the log but the cursors, to come back to.
    pub(super) fn snapshot(&self) -> Vec<Vec<u64>> {
        self.memories()
            .map(|memory| {
                let mut words = vec![0; memory.bytes_len() as usize / 8];
                memory.words().load_words(0, &mut words);
                words
            })
            .into()
    }

    pub(super) fn restore(&self, snapshot: &[Vec<u64>]) {
        for (memory, words) in self.memories().into_iter().zip(snapshot) {
            for (at, word) in words.iter().enumerate() {
                memory.word(at as u64).store(*word, Ordering::Relaxed);
            }
        }
    }

    fn memories(&self) -> [&Memory; 3] {
        [&self.memory, &self.pages.publisher, &self.pages.control]
    }

    /// Invariant 1, for a log whose frames end at `end`.
    pub(super) fn assert_cleared(&self, end: u64) {
        if end.is_multiple_of(BLOCK_BYTES) {
            return;
        }
        let to = (end + CLEAR_AHEAD_BYTES).min(block_end(end));
        for at in (end..to).step_by(LINE_BYTES as usize) {
            let word = self.ring.lines().load(at, Ordering::Relaxed);
            assert_eq!(word, 0, "line {at} behind frames that end at {end}");
        }
    }
}

/// Every header that names a place inside its block names one where a frame starts.
pub(super) fn assert_places(log: &Log) {
    for number in log.newest().saturating_sub(log.ring.blocks() - 1)..log.newest() {
        let place = u64::from(log.ring.header(number).expect("it is kept").first_message);
        if place > BLOCK_HEADER_BYTES {
            let word = log.ring.lines().load(block_start(number) + place, Ordering::Relaxed);
            assert!(CommitWord(word).is_committed(), "no frame at {place} of block {number}");
        }
    }
}

/// Where the writer's next frame lies, computed by the format's rules alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout {
    pub(super) end: u64,
    block_end: u64,
}

impl Layout {
    /// Bytes that are left in the block.
    pub(super) fn room(&self) -> u64 {
        self.block_end - self.end
    }

    /// A message of `length` bytes follows.
    pub(super) fn add(&mut self, length: u64) {
        if span(length) <= self.room() {
            self.end += span(length);
        } else if span(length) <= BLOCK_CAPACITY_BYTES {
            self.next();
            self.end += span(length);
        } else {
            let mut rest = TRAIN_PREFIX_BYTES + length;
            while rest > 0 {
                if self.room() == 0 {
                    self.next();
                }
                let part = rest.min(self.room() - HEADER_BYTES);
                self.end += span(part);
                rest -= part;
            }
        }
    }

    fn next(&mut self) {
        self.end = self.block_end + BLOCK_HEADER_BYTES;
        self.block_end += BLOCK_BYTES;
    }

    /// Length of a message that leaves `room` bytes of its block, the next one if need be.
    pub(super) fn filler(&self, room: u64) -> Option<u64> {
        let here = self.room().checked_sub(room).filter(|bytes| *bytes > 0);
        match here {
            Some(bytes) => Some(bytes - HEADER_BYTES),
            None if room < BLOCK_CAPACITY_BYTES => Some(FRAME_PAYLOAD_BYTES_MAX - room),
            None => None,
        }
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// A length that is a function of the offset.
pub(super) fn length_of(offset: u64, bytes_max: u64) -> u64 {
    mix(offset) % (bytes_max + 1)
}

/// The payload of message `offset`. Where its words may come to lie at the start of a line they
/// look like the frame of the message after it.
pub(super) fn payload(offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length as usize + 8);
    let frame = CommitWord::new(offset.wrapping_add(1), 40, Kind::Message, 0).0;
    for at in 0..length.div_ceil(8) {
        let looks_like_a_frame = at % 2 == 1 || at % 8 == 6;
        let word = if looks_like_a_frame { frame } else { mix(offset << 20 ^ at) };
        bytes.extend(word.to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes
}

/// A frame that outlives its reader's next call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Message { offset: u64, timestamp_ns: u64, payload: Bytes },
    Lost { from: u64, to: u64, cause: Option<u64> },
    Control(Bytes),
}

/// A payload, shown by its length.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes {:02x?}", self.0.len(), &self.0[..self.0.len().min(8)])
    }
}

impl From<Frame<'_>> for Seen {
    fn from(frame: Frame<'_>) -> Seen {
        match frame {
            Frame::Message(message) => Seen::Message {
                offset: message.offset,
                timestamp_ns: message.timestamp_ns,
                payload: Bytes(message.payload.to_vec()),
            },
            Frame::Lost { from, to, cause } => Seen::Lost { from, to, cause },
            Frame::Control { payload } => Seen::Control(Bytes(payload.to_vec())),
        }
    }
}

/// What message `offset` of `length` bytes must look like; its timestamp is its offset.
pub(super) fn message(offset: u64, length: u64) -> Seen {
    Seen::Message { offset, timestamp_ns: offset, payload: Bytes(payload(offset, length)) }
}

/// The next thing that the reader has, consumed.
pub(super) fn next(reader: &mut Reader) -> Result<Option<Seen>, Stall> {
    let seen = reader.peek()?.map(Seen::from);
    if seen.is_some() {
        reader.consume();
    }
    Ok(seen)
}

/// All that the reader has.
pub(super) fn drain(reader: &mut Reader) -> Result<Vec<Seen>, Stall> {
    let mut all = Vec::new();
    while let Some(seen) = next(reader)? {
        all.push(seen);
    }
    Ok(all)
}

/// Publishes the next message with `length` bytes; nobody is in the way.
pub(super) fn publish(writer: &mut Writer, length: u64) -> u64 {
    let offset = writer.offset();
    let bytes = payload(offset, length);
    let published = writer.try_publish(offset, &bytes[..]);
    assert_eq!(published, Ok(offset));
    offset
}
