//! Where a reader's bytes come from: the ring itself, a private copy of it, or blocks that were
//! read from files. They differ only here.

use super::block::block_of;
use super::copy::{Stall, copy_run};
use super::frame::{
    COMMIT_WORD, CommitWord, LINE_BYTES, PAYLOAD_WORD, TICK_BYTES_MAX, TIMESTAMP_WORD,
};
use super::memory::{WORD_BYTES, Words};
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

    /// The frame at `position`, whose commit word `word` is what was returned and whose end was
    /// found to lie in the block.
    #[inline(always)]
    pub(crate) fn frame(self, position: u64, word: CommitWord) -> Frame<'a> {
        Frame { words: self.lines.frame(position, word.span()), word }
    }

    /// What lies from the frame at `position` up to `end`, in one block and at most up to
    /// [`Source::end`].
    #[inline(always)]
    pub(crate) fn frames(self, position: u64, end: u64) -> Frames<'a> {
        Frames(self.lines.frame(position, end - position))
    }
}

/// Where frames follow each other in a block, as far as they are committed; borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames<'a>(Words<'a>);

impl<'a> Frames<'a> {
    /// The first one's commit word, which may be anything; `None` at the end.
    #[inline(always)]
    pub(crate) fn word(self) -> Option<CommitWord> {
        // Edge `commit`, in place: with the word all of the frame is there.
        (self.0.len() > 0).then(|| CommitWord(self.0.load(COMMIT_WORD, Ordering::Acquire)))
    }

    /// The first frame, whose commit word `word` is a message's that was returned, and what lies
    /// behind it; `None` where the frame would not end here.
    #[inline(always)]
    pub(crate) fn split(self, word: CommitWord) -> Option<(Frame<'a>, Frames<'a>)> {
        let span = if word.length() <= TICK_BYTES_MAX { LINE_BYTES } else { wide_span(word) };
        let (words, behind) = self.0.split(span / WORD_BYTES)?;
        Some((Frame { words, word }, Frames(behind)))
    }
}

/// Out of line: where a line is all that a frame takes, the place of the next one is predicted by a
/// branch, and its line is fetched before this word has come.
#[cold]
#[inline(never)]
fn wide_span(word: CommitWord) -> u64 {
    word.span()
}

/// A committed frame, borrowed: the words of its span, and the commit word that was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    words: Words<'a>,
    word: CommitWord,
}

impl<'a> Frame<'a> {
    /// Bytes that it takes.
    #[inline(always)]
    pub(crate) fn span(self) -> u64 {
        self.words.len() * WORD_BYTES
    }

    #[inline(always)]
    pub(crate) fn flags(self) -> u8 {
        self.word.flags()
    }

    #[inline(always)]
    pub(crate) fn timestamp_ns(self) -> u64 {
        self.words.load(TIMESTAMP_WORD, Ordering::Relaxed)
    }

    /// The payload, as long as the commit word says, which the span is of.
    #[inline(always)]
    pub(crate) fn payload(self) -> &'a [u8] {
        // SAFETY: in place, the frame was committed before (edge `commit`), so its bytes were
        // written before this; and by the contract of `Source::in_place` nobody overwrites them
        // before a cursor behind them is stored. That takes a `&mut` of the reader's owner, which
        // this borrow excludes: the reader itself moves on inside `each_message`, but no slice gets
        // out of a handler that takes it with any lifetime. A copy, and a buffer, are the source's
        // own, and are written to only by `fetch`, `buffer`, and who has one from
        // `exchange_buffer`; these take `&mut` of the source.
        unsafe { self.words.bytes(PAYLOAD_WORD, self.word.length()) }
    }
}
