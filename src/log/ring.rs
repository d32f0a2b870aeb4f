//! The ring: the newest part of a log, in memory. Maps positions to words; knows nothing of who
//! writes or reads.

use super::block::{
    BLOCK_BYTES, BLOCK_MAGIC, BlockHeader, LogId, block_of, block_start, field, is_edge,
};
use super::frame::{LINE_BYTES, OFFSET_MAX};
use super::memory::{Memory, WORD_BYTES, Words};
use crate::sync::{Ordering, fence};

/// Blocks in the smallest ring: one that is written, one that is read, and room between them.
pub(crate) const BLOCKS_MIN: u64 = 4;

/// The words of a log, its size a power of two.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    memory: Memory,
    mask: u64,
}

impl Ring {
    /// # Panics
    /// When the memory's size is not a power of two of at least [`BLOCKS_MIN`] blocks: whoever
    /// opens a file checks that first.
    pub(crate) fn new(memory: Memory) -> Ring {
        let bytes = memory.bytes_len();
        assert!(bytes.is_power_of_two() && bytes >= BLOCKS_MIN * BLOCK_BYTES);
        Ring { memory, mask: bytes - 1 }
    }

    /// A block's place by itself, zeroed, on the heap: for a private copy of whatever block.
    pub(crate) fn single_block() -> Ring {
        Ring { memory: Memory::heap(BLOCK_BYTES), mask: BLOCK_BYTES - 1 }
    }

    /// `blocks` places for blocks, a power of two: fewer than a ring that is written to needs.
    #[cfg(not(loom))]
    pub(crate) fn of_blocks(memory: Memory) -> Ring {
        let bytes = memory.bytes_len();
        assert!(bytes.is_power_of_two() && bytes >= BLOCK_BYTES);
        Ring { memory, mask: bytes - 1 }
    }

    /// The memory that the words lie in.
    #[cfg(not(loom))]
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The byte of the memory at which `position` lies.
    #[cfg(not(loom))]
    pub(crate) fn byte_of(&self, position: u64) -> u64 {
        position & self.mask
    }

    /// Size in bytes.
    #[inline(always)]
    pub(crate) fn bytes_len(&self) -> u64 {
        self.mask + 1
    }

    /// Number of blocks.
    pub(crate) fn blocks(&self) -> u64 {
        block_of(self.bytes_len())
    }

    /// Largest message in bytes: a quarter of the ring, and what the commit word can state.
    pub(crate) fn message_bytes_max(&self) -> u64 {
        (self.bytes_len() / 4).min(super::frame::LENGTH_MAX)
    }

    /// The lines, by position.
    #[inline(always)]
    pub(crate) fn lines(&self) -> Lines<'_> {
        Lines { words: self.memory.words(), mask: self.mask }
    }

    /// The number + 1 in the place where block `number` lies or will lie.
    ///
    /// With acquire this is where a reader meets the publisher's entry: edge `entry` pairs it with
    /// the release store in [`Ring::enter`].
    #[inline(always)]
    pub(crate) fn number(&self, number: u64, ordering: Ordering) -> u64 {
        self.lines().load(block_start(number) + field::NUMBER, ordering)
    }

    /// Takes the place of block `number` for it: edge `entry`.
    pub(crate) fn enter(&self, number: u64, log_id: LogId, header: BlockHeader, clear_to: u64) {
        let (start, lines) = (block_start(number), self.lines());
        debug_assert!(is_edge(start));
        // Edge `eviction`: a reader who sees this zero and fences sees the mark stored before it.
        lines.store(start + field::NUMBER, 0, Ordering::Release);
        // Edge `overrun`: whoever has read any word that is stored below finds, after its acquire
        // fence in `still`, that the number is no longer the one it expects.
        fence(Ordering::Release);
        lines.store(start + field::MAGIC, BLOCK_MAGIC, Ordering::Relaxed);
        lines.store(start + field::LOG_ID, log_id.0[0], Ordering::Relaxed);
        lines.store(start + field::LOG_ID + 8, log_id.0[1], Ordering::Relaxed);
        lines.store(start + field::FIRST_OFFSET, header.first_offset, Ordering::Relaxed);
        lines.store(start + field::TIMESTAMP_MAX_NS, header.timestamp_max_ns, Ordering::Relaxed);
        lines.store(start + field::EPOCH, header.epoch, Ordering::Relaxed);
        let place = u64::from(header.first_message);
        lines.store(start + field::PLACE_AND_FLAGS, place, Ordering::Relaxed);
        // Line 1 is the segment's; a ring keeps it zero, so that pages go to disk as they are.
        // Behind it the frames begin.
        lines.clear(start + LINE_BYTES, clear_to);
        lines.store(start + field::NUMBER, number + 1, Ordering::Release);
    }

    /// The log that the ring's first place was entered for, if ever.
    #[cfg(not(loom))]
    pub(crate) fn first_log_id(&self) -> Option<LogId> {
        let word = |at| self.lines().load(at, Ordering::Relaxed);
        (word(field::MAGIC) != 0).then(|| LogId([word(field::LOG_ID), word(field::LOG_ID + 8)]))
    }

    /// Whether block `number` is still in its place after relaxed loads from it: edge `overrun`.
    #[inline(always)]
    pub(crate) fn still(&self, number: u64) -> bool {
        // Pairs with the release fence in `enter`: if one of the loads before this fence saw a
        // store from behind that fence, the load below sees the zero, or a later number.
        fence(Ordering::Acquire);
        self.number(number, Ordering::Relaxed) == number + 1
    }

    /// The header of block `number`, or none when the block is not there (not yet, no longer, or
    /// with a header that no publisher wrote).
    pub(crate) fn header(&self, number: u64) -> Option<BlockHeader> {
        if self.number(number, Ordering::Acquire) != number + 1 {
            return None;
        }
        let (start, lines) = (block_start(number), self.lines());
        let magic = lines.load(start + field::MAGIC, Ordering::Relaxed);
        let header = BlockHeader {
            first_offset: lines.load(start + field::FIRST_OFFSET, Ordering::Relaxed),
            timestamp_max_ns: lines.load(start + field::TIMESTAMP_MAX_NS, Ordering::Relaxed),
            epoch: lines.load(start + field::EPOCH, Ordering::Relaxed),
            first_message: lines.load(start + field::PLACE_AND_FLAGS, Ordering::Relaxed) as u32,
        };
        (self.still(number) && magic == BLOCK_MAGIC && header.first_offset <= OFFSET_MAX)
            .then_some(header)
    }
}

/// A ring's words by position, borrowed: everything that is done to ring memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a> {
    words: Words<'a>,
    mask: u64,
}

impl<'a> Lines<'a> {
    #[inline(always)]
    fn index(self, position: u64) -> u64 {
        debug_assert!(position.is_multiple_of(WORD_BYTES));
        let index = (position & self.mask) / WORD_BYTES;
        // SAFETY: `mask` is the memory's size in bytes - 1 (see `Ring::new` and `single_block`;
        // neither ever changes), so what is masked with it lies in the memory. Said here, the check
        // that every access makes is left out of the hot path.
        unsafe { std::hint::assert_unchecked(index < self.words.len()) };
        index
    }

    #[inline(always)]
    pub(crate) fn load(self, position: u64, ordering: Ordering) -> u64 {
        self.words.load(self.index(position), ordering)
    }

    #[inline(always)]
    pub(crate) fn store(self, position: u64, value: u64, ordering: Ordering) {
        self.words.store(self.index(position), value, ordering);
    }

    /// The words of a frame at `position` that takes `span` bytes.
    #[inline(always)]
    pub(crate) fn frame(self, position: u64, span: u64) -> Words<'a> {
        self.words.part(self.index(position), span / WORD_BYTES)
    }

    /// Writes bytes at any position: see [`Words::patch_bytes`].
    #[inline(always)]
    pub(crate) fn patch_bytes(self, position: u64, bytes: &[u8]) {
        self.words.patch_bytes(position & self.mask, bytes);
    }

    #[inline(always)]
    pub(crate) fn load_words(self, position: u64, to: &mut [u64]) {
        self.words.load_words(self.index(position), to);
    }

    /// Copies `count` words from `position` on to the same position of `to`.
    #[inline(always)]
    pub(crate) fn copy_words(self, position: u64, count: u64, to: Lines<'_>) {
        self.words.copy_words(self.index(position), count, to.words, to.index(position));
    }

    /// Copies `count` words from `position` on to `to`, from its word `to_index` on.
    #[cfg(not(loom))]
    pub(crate) fn copy_to(self, position: u64, count: u64, to: Words<'_>, to_index: u64) {
        self.words.copy_words(self.index(position), count, to, to_index);
    }

    /// Bytes in place.
    ///
    /// # Safety
    /// As for [`Words::bytes`]: nobody may write to them while the slice lives.
    #[inline(always)]
    pub(crate) unsafe fn bytes(self, position: u64, length: u64) -> &'a [u8] {
        // SAFETY: handed on to the caller.
        unsafe { self.words.bytes(self.index(position), length) }
    }

    #[inline(always)]
    pub(crate) fn prefetch_for_write(self, position: u64) {
        self.words.prefetch_for_write(self.index(position));
    }

    /// Zeroes the line starts in `[from, to)`.
    #[inline(always)]
    pub(crate) fn clear(self, from: u64, to: u64) {
        let mut at = from;
        while at < to {
            self.store(at, 0, Ordering::Relaxed);
            at += LINE_BYTES;
        }
    }
}
