//! Where a reader's bytes come from: the ring itself, or a private copy of it. The two differ only
//! here.

use super::block::block_of;
use super::copy::{BlockCopy, Stall};
use super::frame::CommitWord;
use super::ring::Ring;
use crate::sync::Ordering;

/// A ring to read from.
#[derive(Debug)]
pub(crate) struct Source {
    ring: Ring,
    /// `None`: in place.
    copy: Option<BlockCopy>,
    /// Loom's atomics have no bytes to lend, so there a frame that is read in place is taken from
    /// the ring by plain reads first: a missing edge shows as a race.
    #[cfg(loom)]
    frame: BlockCopy,
}

impl Source {
    /// The ring's own bytes.
    ///
    /// # Safety
    /// As for [`super::reader::Reader::in_place`].
    pub(crate) unsafe fn in_place(ring: Ring) -> Source {
        Source {
            ring,
            copy: None,
            #[cfg(loom)]
            frame: BlockCopy::new(),
        }
    }

    /// Validated copies.
    pub(crate) fn copied(ring: Ring) -> Source {
        Source {
            ring,
            copy: Some(BlockCopy::new()),
            #[cfg(loom)]
            frame: BlockCopy::new(),
        }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Reading goes on at `position`, inside a block that was entered.
    pub(crate) fn restart(&mut self, position: u64) {
        if let Some(copy) = &mut self.copy {
            copy.restart(position);
        }
    }

    /// The committed word at `position`; fetches what was committed since, where copies are made.
    #[inline]
    pub(crate) fn fetch(&mut self, position: u64) -> Result<Option<CommitWord>, Stall> {
        let word = self.word(position);
        if let (None, Some(copy)) = (word, &mut self.copy) {
            return Ok(if copy.refill(&self.ring, position)? { copy.word(position) } else { None });
        }
        #[cfg(loom)]
        if let Some(word) = word {
            self.take_frame(position, word);
        }
        Ok(word)
    }

    /// Takes the frame at `position` from the ring where it is read in place; its word was
    /// returned.
    #[cfg(loom)]
    pub(crate) fn take_frame(&mut self, position: u64, word: CommitWord) {
        if self.copy.is_none() {
            self.frame.take_frame(&self.ring, position, word);
        }
    }

    /// The committed word at `position`, as far as that can be had without copying.
    #[inline]
    pub(crate) fn word(&self, position: u64) -> Option<CommitWord> {
        match &self.copy {
            Some(copy) => copy.word(position),
            None => {
                // Edge `commit`: with the word all of the frame is there.
                let word = CommitWord(self.ring.load(position, Ordering::Acquire));
                word.is_committed().then_some(word)
            }
        }
    }

    /// Whether nothing was committed at `position`, which lies inside a block that was entered and
    /// that nobody has taken since.
    #[inline(always)]
    pub(crate) fn is_drained(&self, position: u64) -> bool {
        let is_empty = !CommitWord(self.ring.load(position, Ordering::Relaxed)).is_committed();
        let Some(copy) = &self.copy else { return is_empty };
        is_empty && copy.word(position).is_none() && self.ring.still(block_of(position))
    }

    /// A word of a frame whose commit word was returned.
    #[inline]
    pub(crate) fn load(&self, position: u64) -> u64 {
        match &self.copy {
            Some(copy) => copy.load(position),
            None => self.ring.load(position, Ordering::Relaxed),
        }
    }

    /// Bytes of a frame whose commit word was returned.
    #[inline]
    pub(crate) fn bytes(&self, position: u64, length: u64) -> &[u8] {
        match &self.copy {
            Some(copy) => copy.bytes(position, length),
            #[cfg(loom)]
            None => self.frame.bytes(position, length),
            // SAFETY: the frame was committed before (edge `commit`), so its bytes were written
            // before this; and by the contract of `in_place` nobody overwrites them for as long as
            // the reader has not moved on, which takes the `&mut` that this borrow excludes.
            #[cfg(not(loom))]
            None => unsafe { self.ring.bytes(position, length) },
        }
    }
}
