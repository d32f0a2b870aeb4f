//! The log in files: blocks as they lie in the ring, with two checkpoint slots in line 1 of the
//! header. Change the slots here, and what makes a block believed.
//!
//! A slot, little-endian; the first lies at byte 64 of the block, the second at byte 96:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | used bytes of the block, from its start; a multiple of 64 |
//! | 4 | 4 | CRC-32C of the used bytes without line 1 |
//! | 8 | 8 | durable position: every byte of the log before it was on disk when this was written |
//! | 16 | 8 | sequence: higher is newer, in all the log |
//! | 24 | 4 | 0 |
//! | 28 | 4 | CRC-32C of line 0 and the 28 bytes before |
//!
//! A slot whose own CRC does not hold says nothing. A block counts up to the used bytes of its
//! newest slot whose CRC over them holds; what lies behind is not part of the log. The two slots
//! lie in one sector of 512 bytes, which a disk writes as a whole or not at all.

use std::io;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::block::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockHeader, LogId, block_end, block_start, field,
};
use super::frame::{CommitWord, HEADER_BYTES, LINE_BYTES};
use super::memory::{Memory, WORD_BYTES};
use super::ring::Ring;
use crate::sync::Ordering;

/// Where the slots lie, from the block's start.
pub(crate) const SLOTS_AT: u64 = LINE_BYTES;

/// Bytes of a slot.
pub(crate) const SLOT_BYTES: u64 = 32;

const _: () = assert!(SLOTS_AT + 2 * SLOT_BYTES == BLOCK_HEADER_BYTES);

/// Highest position that is believed, so that counting on from it never overflows.
const POSITION_MAX: u64 = 1 << 62;

/// Line 0 of a block's header.
pub(crate) type Line = [u8; LINE_BYTES as usize];

/// What a slot says, once its own CRC holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) used_bytes: u64,
    pub(crate) crc: u32,
    pub(crate) durable: u64,
    pub(crate) sequence: u64,
    /// Which of the two slots it is in: 0 or 1.
    pub(crate) slot: u64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Slot {
    used_bytes: u32,
    crc: u32,
    durable: u64,
    sequence: u64,
    reserved: u32,
    own_crc: u32,
}

const _: () = assert!(size_of::<Slot>() as u64 == SLOT_BYTES);

impl Checkpoint {
    /// The slot's bytes, in a block whose header's line 0 is `line`.
    pub(crate) fn encode(&self, line: &Line) -> [u8; SLOT_BYTES as usize] {
        let mut slot = Slot {
            used_bytes: self.used_bytes as u32,
            crc: self.crc,
            durable: self.durable,
            sequence: self.sequence,
            reserved: 0,
            own_crc: 0,
        };
        slot.own_crc = own_crc(line, slot.as_bytes());
        zerocopy::transmute!(slot)
    }

    /// Reads slot `slot`; `None` when this is no slot of a block whose header's line 0 is `line`.
    pub(crate) fn decode(bytes: &[u8], line: &Line, slot: u64) -> Option<Checkpoint> {
        let found = Slot::read_from_bytes(bytes).ok()?;
        let used_bytes = u64::from(found.used_bytes);
        let is_possible = found.own_crc == own_crc(line, bytes)
            && (BLOCK_HEADER_BYTES..=BLOCK_BYTES).contains(&used_bytes)
            && used_bytes.is_multiple_of(LINE_BYTES)
            && found.durable.is_multiple_of(LINE_BYTES)
            && found.durable <= POSITION_MAX;
        is_possible.then_some(Checkpoint {
            used_bytes,
            crc: found.crc,
            durable: found.durable,
            sequence: found.sequence,
            slot,
        })
    }
}

fn own_crc(line: &Line, slot: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(line), &slot[..SLOT_BYTES as usize - 4])
}

/// What a block in a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The place was never written for this block of this log, or its header is lost.
    Absent,
    /// It is there.
    Sound(Sound),
    /// It is there, and neither slot's CRC holds.
    Damaged,
}

/// A block that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sound {
    pub(crate) header: BlockHeader,
    /// Of the slot that holds.
    pub(crate) checkpoint: Checkpoint,
    /// A newer slot says more, and its CRC does not hold: nothing of the log follows this block,
    /// unless it is damaged.
    pub(crate) is_cut: bool,
}

/// Places for some blocks, that nobody else has: filled from files, and read as a ring is.
#[derive(Debug)]
pub(crate) struct BlockBuffer {
    ring: Ring,
}

impl BlockBuffer {
    /// Places for `blocks` blocks, a power of two.
    ///
    /// # Errors
    /// When there is no memory left.
    pub(crate) fn new(blocks: u64) -> io::Result<BlockBuffer> {
        let memory = Memory::pages(blocks * BLOCK_BYTES)?;
        Ok(BlockBuffer { ring: Ring::of_blocks(memory) })
    }

    /// `count` buffers with places for `blocks` blocks each, a power of two, in one piece of
    /// memory.
    ///
    /// # Errors
    /// When there is no memory left.
    pub(crate) fn several(count: u64, blocks: u64) -> io::Result<Vec<BlockBuffer>> {
        let bytes = blocks * BLOCK_BYTES;
        let memory = Memory::pages(count * bytes)?;
        let parts = (0..count).map(|index| memory.part(index * bytes, bytes));
        Ok(parts.map(|part| BlockBuffer { ring: Ring::of_blocks(part) }).collect())
    }

    /// The places as a ring. Only this buffer stores into it, in [`BlockBuffer::examine`] and
    /// whoever fills [`BlockBuffer::place`].
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// How many blocks, `number` the first of them, have places that follow one another.
    pub(crate) fn blocks_behind(&self, number: u64) -> u64 {
        let blocks = self.ring.blocks();
        blocks - number % blocks
    }

    /// Where block `number` is to be read to: the memory, and the byte in it.
    pub(crate) fn place(&self, number: u64) -> (&Memory, u64) {
        (self.ring.memory(), self.ring.byte_of(block_start(number)))
    }

    /// Whether what was read into the place of block `number` can be believed. What lies behind its
    /// used bytes is made unreadable, and all of it where it cannot.
    pub(crate) fn examine(&mut self, number: u64, log_id: LogId) -> Verdict {
        let verdict = self.judge(number, log_id);
        let (start, lines) = (block_start(number), self.ring.lines());
        match verdict {
            Verdict::Sound(Sound { checkpoint, .. }) => {
                lines.clear(start + checkpoint.used_bytes, start + BLOCK_BYTES);
            }
            _ => self.forget(number),
        }
        verdict
    }

    /// Makes what lies behind `position` in its block unreadable: a block that was read again while
    /// it was being written, and cannot be believed.
    pub(crate) fn clear_behind(&mut self, position: u64) {
        self.ring.lines().clear(position, block_end(position));
    }

    /// Writes a frame at `position`: its words behind the header are `payload`.
    pub(crate) fn append(&mut self, position: u64, word: CommitWord, payload: &[u64]) {
        let lines = self.ring.lines();
        lines.store(position + WORD_BYTES, 0, Ordering::Relaxed);
        for (at, word) in payload.iter().enumerate() {
            let at = position + HEADER_BYTES + at as u64 * WORD_BYTES;
            lines.store(at, *word, Ordering::Relaxed);
        }
        lines.store(position, word.0, Ordering::Relaxed);
    }

    /// Makes the place of block `number` one where no block is.
    pub(crate) fn forget(&mut self, number: u64) {
        self.ring.lines().store(block_start(number) + field::NUMBER, 0, Ordering::Relaxed);
    }

    /// Makes all places ones where no block is.
    pub(crate) fn forget_all(&mut self) {
        (0..self.ring.blocks()).for_each(|number| self.forget(number));
    }

    /// The slots of the block in the place of block `number`, the newer first: what they say of the
    /// log holds whether or not the block does.
    pub(crate) fn checkpoints(&self, number: u64, log_id: LogId) -> [Option<Checkpoint>; 2] {
        if !self.is_there(number, log_id) {
            return [None; 2];
        }
        let bytes = self.bytes(number, BLOCK_HEADER_BYTES);
        let (line, slots) = bytes.split_at(SLOTS_AT as usize);
        let line: &Line = line.try_into().expect("a line");
        let (first, second) = slots.split_at(SLOT_BYTES as usize);
        let mut found =
            [(first, 0), (second, 1)].map(|(bytes, slot)| Checkpoint::decode(bytes, line, slot));
        found.sort_by_key(|slot| std::cmp::Reverse(slot.map(|slot| slot.sequence)));
        found
    }

    fn is_there(&self, number: u64, log_id: LogId) -> bool {
        let start = block_start(number);
        let word = |at| self.ring.lines().load(start + at, Ordering::Relaxed);
        word(field::MAGIC) == BLOCK_MAGIC
            && word(field::NUMBER) == number + 1
            && [word(field::LOG_ID), word(field::LOG_ID + WORD_BYTES)] == log_id.0
    }

    fn judge(&self, number: u64, log_id: LogId) -> Verdict {
        if !self.is_there(number, log_id) {
            return Verdict::Absent;
        }
        let slots = self.checkpoints(number, log_id);
        let holds = |slot: &Checkpoint| {
            let bytes = self.bytes(number, slot.used_bytes);
            let crc = crc32c::crc32c(&bytes[..SLOTS_AT as usize]);
            crc32c::crc32c_append(crc, &bytes[BLOCK_HEADER_BYTES as usize..]) == slot.crc
        };
        let found = slots.iter().position(|slot| slot.as_ref().is_some_and(holds));
        let Some((at, header)) = found.zip(self.ring.header(number)) else {
            return Verdict::Damaged;
        };
        let checkpoint = slots[at].expect("it was found");
        Verdict::Sound(Sound { header, checkpoint, is_cut: at > 0 })
    }

    fn bytes(&self, number: u64, bytes: u64) -> &[u8] {
        // SAFETY: the memory is this buffer's own, or the part of it that no other buffer has. It
        // is written to by whoever reads a file into `place`, which is over before that call
        // returns, and by the methods that take `&mut`; the slice borrows this.
        unsafe { self.ring.lines().bytes(block_start(number), bytes) }
    }
}
