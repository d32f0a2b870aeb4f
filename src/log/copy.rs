//! A private copy of a block's committed frames: what a reader that can be overrun hands out
//! instead of the ring's own bytes. Frames keep their place in the block, so payloads keep their
//! alignment.

use zerocopy::{FromBytes, IntoBytes};

use super::block::{BLOCK_BYTES, block_end, block_of};
use super::frame::{CommitWord, HEADER_BYTES, Kind};
use super::ring::Ring;
use super::walk::Damaged;
use crate::sync::Ordering;

/// Most bytes that are copied before the first of them is handed out: more would make a reader
/// that is behind wait for the copying, and leave its first-level cache.
const RUN_BYTES_MAX: u64 = 8 * 1024;

/// Why nothing could be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    /// The publisher took the block for a later one.
    Overrun,
    /// There is something that no publisher writes.
    Damaged(Damaged),
}

impl From<Damaged> for Stall {
    fn from(damaged: Damaged) -> Stall {
        Stall::Damaged(damaged)
    }
}

/// The copy. Its storage is aligned to 16 bytes, as frames want it.
#[derive(Debug)]
pub(crate) struct BlockCopy {
    storage: Vec<u128>,
    /// Position up to which frames were copied and validated.
    end: u64,
}

impl BlockCopy {
    /// Room for one block.
    pub(crate) fn new() -> BlockCopy {
        BlockCopy { storage: vec![0; (BLOCK_BYTES / 16) as usize], end: 0 }
    }

    /// Starts anew at `position`, with nothing copied.
    pub(crate) fn restart(&mut self, position: u64) {
        self.end = position;
    }

    /// The commit word of the frame at `position`, if that was copied.
    #[inline]
    pub(crate) fn word(&self, position: u64) -> Option<CommitWord> {
        (position < self.end).then(|| CommitWord(self.load(position)))
    }

    /// The word at `position`.
    #[inline]
    pub(crate) fn load(&self, position: u64) -> u64 {
        let at = (position & (BLOCK_BYTES - 1)) as usize;
        u64::from_ne_bytes(
            self.storage.as_bytes()[at..at + 8].try_into().expect("a word is 8 bytes"),
        )
    }

    /// Bytes of the copy.
    #[inline]
    pub(crate) fn bytes(&self, position: u64, length: u64) -> &[u8] {
        let at = (position & (BLOCK_BYTES - 1)) as usize;
        &self.storage.as_bytes()[at..at + length as usize]
    }

    /// Copies what was committed since, and validates it: invariant 4. `offset` is due at
    /// `position`, from where nothing was copied yet. Returns whether anything was found.
    ///
    /// # Errors
    /// [`Stall`]; then nothing of what was copied counts.
    pub(crate) fn refill(&mut self, ring: &Ring, position: u64) -> Result<bool, Stall> {
        let number = block_of(position);
        let limit = block_end(position);
        let mut end = position;
        let mut damaged = None;
        while end < limit && end - position < RUN_BYTES_MAX {
            // Edge `commit`.
            let word = CommitWord(ring.load(end, Ordering::Acquire));
            if !word.is_committed() {
                break;
            }
            // Until the check below this may be anything, so only what bounds the copy is looked
            // at; kind and offset are checked when the frame is handed out.
            if end + word.span() > limit {
                damaged = Some(Damaged::new(end, "a frame that reaches past its block's end"));
                break;
            }
            self.copy_frame(ring, end, word);
            end += word.span();
        }
        if !ring.still(number) {
            return Err(Stall::Overrun);
        }
        self.end = end;
        match damaged {
            Some(damaged) if end == position => Err(damaged.into()),
            _ => Ok(end > position),
        }
    }

    /// Copies one frame, as far as it carries anything. The caller has checked its end.
    #[inline]
    pub(crate) fn copy_frame(&mut self, ring: &Ring, position: u64, word: CommitWord) {
        ring.load_words(position + 8, self.room(position, word));
    }

    /// Takes one frame as it lies in the ring, where nobody may write to it: see
    /// [`super::memory::Memory::read_words`].
    #[cfg(loom)]
    pub(crate) fn take_frame(&mut self, ring: &Ring, position: u64, word: CommitWord) {
        ring.read_words(position + 8, self.room(position, word));
    }

    /// Puts a frame's commit word into its place, and returns the room for what it carries.
    #[inline]
    fn room(&mut self, position: u64, word: CommitWord) -> &mut [u64] {
        let carried_bytes = match word.kind() {
            Some(Kind::Padding | Kind::Abort) => HEADER_BYTES,
            _ => (HEADER_BYTES + word.length()).next_multiple_of(8),
        };
        let at = (position & (BLOCK_BYTES - 1)) as usize / 8;
        let words =
            <[u64]>::mut_from_bytes(self.storage.as_mut_bytes()).expect("a u128 is two words");
        words[at] = word.0;
        &mut words[at + 1..at + carried_bytes as usize / 8]
    }
}
