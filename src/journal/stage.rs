//! What of a block goes to the disk from where: pages of the ring as they are, and private copies
//! of the page with the checkpoint slots and of a page that is not full yet.
//!
//! A block that is written in several steps is added to: a page that was written before is
//! completed from its copy, and the slots are used in turn.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

use zerocopy::IntoBytes;

use crate::journal::disk::{PAGE_BYTES, Part};
use crate::log::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, block_start};
use crate::log::frame::LINE_BYTES;
use crate::log::memory::{Memory, WORD_BYTES};
use crate::log::ring::Ring;
use crate::log::segment::{BlockBuffer, Checkpoint, Line, SLOT_BYTES, SLOTS_AT};
use crate::sync::Ordering;

/// Blocks that can be under way at a time.
pub(crate) const WINDOW_BLOCKS: u64 = 256;

/// A part of a block, and the byte of the block that it begins at.
pub(crate) type Piece = (u64, Part);

/// What a checkpoint says beside the block that it is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) durable: u64,
    pub(crate) sequence: u64,
}

/// The block that is written.
#[derive(Debug, Clone, Copy)]
struct Open {
    number: u64,
    /// Bytes of it that were staged.
    used: u64,
    /// CRC-32C of these without line 1.
    crc: u32,
    line: Line,
    /// The slot that the next checkpoint goes to.
    slot: u64,
    /// Which of the two tail pages has a copy of the page that `used` lies in.
    tail: u64,
}

/// The copies, and how far each block is.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Page 0 of the blocks that are under way, by their number modulo the window.
    heads: Memory,
    tails: Memory,
    open: Option<Open>,
}

impl Stage {
    /// # Errors
    /// When there is no memory left.
    pub(crate) fn new() -> io::Result<Stage> {
        let heads = Memory::pages(WINDOW_BLOCKS * PAGE_BYTES)?;
        let tails = Memory::pages(2 * PAGE_BYTES)?;
        Ok(Stage { heads, tails, open: None })
    }

    /// Goes on with block `number` as it lies in `buffer`, believed up to `checkpoint`.
    pub(crate) fn resume(&mut self, buffer: &BlockBuffer, number: u64, checkpoint: &Checkpoint) {
        let (ring, used) = (buffer.ring(), checkpoint.used_bytes);
        copy(ring, number, 0..used.min(PAGE_BYTES), &self.head(number));
        if used > PAGE_BYTES && !used.is_multiple_of(PAGE_BYTES) {
            copy(ring, number, used - used % PAGE_BYTES..used, &self.tail(0));
        }
        let line = line_of(ring, number);
        let slot = 1 - checkpoint.slot;
        self.open = Some(Open { number, used, crc: checkpoint.crc, line, slot, tail: 0 });
    }

    /// Forgets the block that was begun: it is staged anew from its start.
    pub(crate) fn restart(&mut self) {
        self.open = None;
    }

    /// Whether the block that is written was staged, and can be added to.
    pub(crate) fn is_partly_used(&self, number: u64) -> bool {
        self.open.is_some_and(|open| open.number == number && open.used < BLOCK_BYTES)
    }

    /// The block that was staged last, and the bytes of it.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        self.open.map(|open| (open.number, open.used))
    }

    /// Adds to `pieces` what is to be written for block `number` to hold `used` bytes of the log,
    /// all of which are committed in `ring`, with a checkpoint. As many bytes as before are a
    /// checkpoint alone.
    ///
    /// Nothing that was staged of this block before may still be under way, nor of the one that is
    /// a window behind it.
    pub(crate) fn add(
        &mut self,
        ring: &Ring,
        number: u64,
        used: u64,
        mark: Mark,
        pieces: &mut Vec<Piece>,
    ) {
        let mut open = match self.open {
            Some(open) if open.number == number => open,
            _ => self.begin(ring, number),
        };
        let from = open.used;
        debug_assert!(from <= used && used <= BLOCK_BYTES && used.is_multiple_of(LINE_BYTES));
        open.crc = crc_of(ring, number, from.max(BLOCK_HEADER_BYTES)..used, open.crc);
        open.used = used;

        let head = self.head(number);
        copy(ring, number, from.max(BLOCK_HEADER_BYTES)..used.min(PAGE_BYTES), &head);
        let Mark { durable, sequence } = mark;
        let checkpoint =
            Checkpoint { used_bytes: used, crc: open.crc, durable, sequence, slot: open.slot };
        let at = head.at + SLOTS_AT + open.slot * SLOT_BYTES;
        head.memory.words().store_bytes(at / WORD_BYTES, &checkpoint.encode(&open.line));
        open.slot = 1 - open.slot;
        pieces.push((0, head));

        let mut page = (from / PAGE_BYTES).max(1);
        if from > PAGE_BYTES && !from.is_multiple_of(PAGE_BYTES) && used > from {
            let tail = self.tail(open.tail);
            copy(ring, number, from..used.min((page + 1) * PAGE_BYTES), &tail);
            pieces.push((page * PAGE_BYTES, tail));
            page += 1;
        }
        let full = used / PAGE_BYTES;
        if page < full {
            let (at, bytes) = (page * PAGE_BYTES, (full - page) * PAGE_BYTES);
            let memory = ring.memory().clone();
            let part = Part { memory, at: ring.byte_of(block_start(number) + at), bytes };
            pieces.push((at, part));
            page = full;
        }
        let begun = full * PAGE_BYTES;
        if full == page && used > begun {
            open.tail = 1 - open.tail;
            let tail = self.tail(open.tail);
            zero(&tail);
            copy(ring, number, begun..used, &tail);
            pieces.push((begun, tail));
        }
        self.open = Some(open);
    }

    fn begin(&self, ring: &Ring, number: u64) -> Open {
        let head = self.head(number);
        zero(&head);
        copy(ring, number, 0..LINE_BYTES, &head);
        let line = line_of(ring, number);
        // The copy of the block before may be under way together with that of this one.
        let tail = self.open.map_or(0, |before| before.tail);
        Open { number, used: 0, crc: crc32c::crc32c(&line), line, slot: 0, tail }
    }

    fn head(&self, number: u64) -> Part {
        let at = number % WINDOW_BLOCKS * PAGE_BYTES;
        Part { memory: self.heads.clone(), at, bytes: PAGE_BYTES }
    }

    fn tail(&self, which: u64) -> Part {
        Part { memory: self.tails.clone(), at: which * PAGE_BYTES, bytes: PAGE_BYTES }
    }
}

/// Copies bytes of a block to the page that has them.
fn copy(ring: &Ring, number: u64, range: Range<u64>, page: &Part) {
    if range.is_empty() {
        return;
    }
    let words = (range.end - range.start) / WORD_BYTES;
    let to = (page.at + range.start % PAGE_BYTES) / WORD_BYTES;
    let from = block_start(number) + range.start;
    ring.lines().copy_to(from, words, page.memory.words(), to);
}

fn zero(page: &Part) {
    let words = page.memory.words().part(page.at / WORD_BYTES, page.bytes / WORD_BYTES);
    for index in 0..words.len() {
        words.store(index, 0, Ordering::Relaxed);
    }
}

fn line_of(ring: &Ring, number: u64) -> Line {
    let mut words = [0_u64; (LINE_BYTES / WORD_BYTES) as usize];
    ring.lines().load_words(block_start(number), &mut words);
    words.as_bytes().try_into().expect("a line")
}

/// The CRC goes on over bytes of a block.
fn crc_of(ring: &Ring, number: u64, range: Range<u64>, mut crc: u32) -> u32 {
    // By way of a copy, made of atomic loads: a publisher that goes on without the journal may be
    // overwriting the block. Whether it was is looked at before any of this counts.
    let mut words = [0_u64; (PAGE_BYTES / WORD_BYTES) as usize];
    let mut at = range.start;
    while at < range.end {
        let bytes = (range.end - at).min(PAGE_BYTES);
        let words = &mut words[..(bytes / WORD_BYTES) as usize];
        ring.lines().load_words(block_start(number) + at, words);
        crc = crc32c::crc32c_append(crc, words.as_bytes());
        at += bytes;
    }
    crc
}
