//! The block: 64 KiB of log behind a 128-byte header; the unit of everything slow. Change its
//! layout here.
//!
//! Line 0 of the header, written by the publisher on entering the block:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic and version |
//! | 8 | 16 | log id |
//! | 24 | 8 | block number + 1; 0 while the block is being entered |
//! | 32 | 8 | offset of the first frame |
//! | 40 | 8 | highest timestamp before this block, ns |
//! | 48 | 8 | epoch of the publisher that entered it |
//! | 56 | 4 | place of the first frame that starts a message; 0 = none |
//! | 60 | 4 | flags |
//!
//! Line 1 holds the checkpoint slots of a segment; in a ring it is zero.

use super::frame::LINE_BYTES;

/// Base-2 logarithm of the block size. A model checks blocks of three lines behind a header of one:
/// loom keeps a history for every word, and what is modelled is the block's edge, not its size, and
/// a line that is not yet zeroed when the block is entered.
#[cfg(not(loom))]
pub(crate) const BLOCK_SHIFT: u32 = 16;
#[cfg(loom)]
pub(crate) const BLOCK_SHIFT: u32 = 8;

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: u64 = 1 << BLOCK_SHIFT;

/// Bytes of a block before its first frame. A model has no segments, and so no line 1.
#[cfg(not(loom))]
pub(crate) const BLOCK_HEADER_BYTES: u64 = 2 * LINE_BYTES;
#[cfg(loom)]
pub(crate) const BLOCK_HEADER_BYTES: u64 = LINE_BYTES;

/// Bytes of a block that hold frames.
pub(crate) const BLOCK_CAPACITY_BYTES: u64 = BLOCK_BYTES - BLOCK_HEADER_BYTES;

/// How far ahead of the committed frames the line starts are zero (D in the design).
#[cfg(not(loom))]
pub(crate) const CLEAR_AHEAD_BYTES: u64 = 1024;
#[cfg(loom)]
pub(crate) const CLEAR_AHEAD_BYTES: u64 = 2 * LINE_BYTES;

/// `TICKBLK` and the version of frame and block layout.
pub(crate) const BLOCK_MAGIC: u64 = u64::from_le_bytes(*b"TICKBLK\x01");

/// Where the fields of header line 0 lie, in bytes from the block's start.
pub(crate) mod field {
    pub(crate) const MAGIC: u64 = 0;
    pub(crate) const LOG_ID: u64 = 8;
    pub(crate) const NUMBER: u64 = 24;
    pub(crate) const FIRST_OFFSET: u64 = 32;
    pub(crate) const TIMESTAMP_MAX_NS: u64 = 40;
    pub(crate) const EPOCH: u64 = 48;
    pub(crate) const PLACE_AND_FLAGS: u64 = 56;
}

const _: () = {
    assert!(BLOCK_HEADER_BYTES.is_multiple_of(LINE_BYTES));
    assert!(field::PLACE_AND_FLAGS + 8 == LINE_BYTES);
    assert!(CLEAR_AHEAD_BYTES <= BLOCK_CAPACITY_BYTES);
    assert!(CLEAR_AHEAD_BYTES.is_multiple_of(LINE_BYTES));
};

/// The identity of one log: what tells two logs of the same name apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogId(pub(crate) [u64; 2]);

/// What a block's header says, apart from its number, which the reader checked already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) first_offset: u64,
    pub(crate) timestamp_max_ns: u64,
    pub(crate) epoch: u64,
    /// Bytes from the block's start to the first frame that starts a message; 0 = none does.
    pub(crate) first_message: u32,
}

/// Number of the block that holds `position`.
#[inline(always)]
pub(crate) const fn block_of(position: u64) -> u64 {
    position >> BLOCK_SHIFT
}

/// Position where block `number` starts.
#[inline(always)]
pub(crate) const fn block_start(number: u64) -> u64 {
    number << BLOCK_SHIFT
}

/// Whether `position` is a block's start: no frame lies there, so it means "before entering".
#[inline(always)]
pub(crate) const fn is_edge(position: u64) -> bool {
    position & (BLOCK_BYTES - 1) == 0
}

/// Position where the block of `position`, which lies inside one, ends.
#[inline(always)]
pub(crate) const fn block_end(position: u64) -> u64 {
    (position | (BLOCK_BYTES - 1)) + 1
}
