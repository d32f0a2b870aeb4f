//! Where a reader's bytes come from: the ring itself, a private copy of it, or blocks that were
//! read from files. They differ only here.

use super::block::block_of;
use super::copy::{Stall, copy_run};
use super::frame::{CommitWord, HEADER_BYTES};
use super::ring::{Lines, Ring};
#[cfg(not(loom))]
use super::segment::BlockBuffer;
use crate::sync::Ordering;

/// A ring to read from.
#[derive(Debug)]
pub(crate) struct Source {
    ring: Ring,
    /// Where the bytes are that are read: the ring itself, or a block of one's own.
    read: Ring,
    /// Position up to which frames were copied and validated; all that there may be, in place.
    end: u64,
    /// Who fills `ring`, where that is nobody else's.
    #[cfg(not(loom))]
    buffer: Option<BlockBuffer>,
}

/// No frame ends there: what is read in place needs no copying.
const IN_PLACE: u64 = u64::MAX;

impl Source {
    /// The ring's own bytes.
    ///
    /// # Safety
    /// As for [`super::reader::Reader::in_place`].
    pub(crate) unsafe fn in_place(ring: Ring) -> Source {
        Source {
            read: ring.clone(),
            ring,
            end: IN_PLACE,
            #[cfg(not(loom))]
            buffer: None,
        }
    }

    /// Blocks that are read from files into `buffer`.
    #[cfg(not(loom))]
    pub(crate) fn buffered(buffer: BlockBuffer) -> Source {
        // Read in place: what is in the buffer changes only by `Source::buffer`, and once it was
        // given away by `Source::exchange_buffer`. Both take `&mut`, and so never come while
        // something that was read is borrowed.
        let ring = buffer.ring().clone();
        Source { read: ring.clone(), ring, end: IN_PLACE, buffer: Some(buffer) }
    }

    /// Whether it has blocks that are read from files.
    #[cfg(not(loom))]
    pub(crate) fn is_buffered(&self) -> bool {
        self.buffer.is_some()
    }

    /// What is filled from files.
    #[cfg(not(loom))]
    pub(crate) fn buffer(&mut self) -> Option<&mut BlockBuffer> {
        self.buffer.as_mut()
    }

    /// Goes on with another buffer, in place of the one that it has and that is returned.
    #[cfg(not(loom))]
    pub(crate) fn exchange_buffer(&mut self, buffer: BlockBuffer) -> Option<BlockBuffer> {
        self.ring = buffer.ring().clone();
        self.read = self.ring.clone();
        self.buffer.replace(buffer)
    }

    /// Validated copies.
    pub(crate) fn copied(ring: Ring) -> Source {
        Source {
            ring,
            read: Ring::single_block(),
            end: 0,
            #[cfg(not(loom))]
            buffer: None,
        }
    }

    /// The ring.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What can be read without [`Source::fetch`], borrowed.
    #[inline(always)]
    pub(crate) fn window(&self) -> Window<'_> {
        Window { lines: self.read.lines() }
    }

    /// Position from which on nothing can be read without [`Source::fetch`].
    #[inline(always)]
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    fn is_in_place(&self) -> bool {
        self.end == IN_PLACE
    }

    /// Reading goes on at `position`, inside a block that was entered.
    pub(crate) fn restart(&mut self, position: u64) {
        if !self.is_in_place() {
            self.end = position;
        }
    }

    /// The committed word at `position`; copies what was committed since, where copies are made.
    #[inline]
    pub(crate) fn fetch(&mut self, position: u64) -> Result<Option<CommitWord>, Stall> {
        if position >= self.end {
            self.end = copy_run(&self.ring, position, &self.read)?;
        }
        Ok(self.word(position))
    }

    /// The committed word at `position`, as far as that can be had without copying.
    #[inline]
    pub(crate) fn word(&self, position: u64) -> Option<CommitWord> {
        if position >= self.end {
            return None;
        }
        self.window().word(position)
    }

    /// Whether nothing was committed at `position`, which lies inside a block that was entered and
    /// that nobody has taken since.
    #[inline]
    pub(crate) fn is_drained(&self, position: u64) -> bool {
        let word = self.ring.lines().load(position, Ordering::Relaxed);
        if CommitWord(word).is_committed() || self.is_in_place() {
            return !CommitWord(word).is_committed();
        }
        position >= self.end && self.ring.still(block_of(position))
    }
}

/// What a source has to be read, borrowed; in a local variable it stays in registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    lines: Lines<'a>,
}

impl<'a> Window<'a> {
    /// The committed word at `position`, which is below [`Source::end`].
    #[inline(always)]
    pub(crate) fn word(self, position: u64) -> Option<CommitWord> {
        // Edge `commit`, in place: with the word all of the frame is there.
        let word = CommitWord(self.lines.load(position, Ordering::Acquire));
        word.is_committed().then_some(word)
    }

    /// A word of a frame whose commit word was returned.
    #[inline(always)]
    pub(crate) fn load(self, position: u64) -> u64 {
        self.lines.load(position, Ordering::Relaxed)
    }

    /// The payload of the frame at `position`, whose commit word `word` is what was returned and
    /// whose end was found to lie in the block.
    #[inline(always)]
    pub(crate) fn payload(self, position: u64, word: CommitWord) -> &'a [u8] {
        // SAFETY: in place, the frame was committed before (edge `commit`), so its bytes were
        // written before this; and by the contract of `Source::in_place` nobody overwrites them
        // before a cursor behind them is stored. That takes a `&mut` of the reader's owner, which
        // this borrow excludes: the reader itself moves on inside `each_message`, but no slice gets
        // out of a handler that takes it with any lifetime. A copy, and a buffer, are the source's
        // own, and are written to only by `fetch`, `buffer`, and who has one from
        // `exchange_buffer`; these take `&mut` of the source.
        unsafe { self.lines.bytes(position + HEADER_BYTES, word.length()) }
    }
}
