//! A private copy of a block's committed frames: what a reader that can be overrun hands out
//! instead of the ring's own bytes. Frames keep their place in the block, so payloads keep their
//! alignment.

use super::block::{block_end, block_of};
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

/// Copies what was committed in `ring` from `position` on to the same place of `to`, and validates
/// it: invariant 4. Returns the end of what was copied, `position` if nothing was there.
///
/// # Errors
/// [`Stall`]; then nothing of what was copied counts.
pub(crate) fn copy_run(ring: &Ring, position: u64, to: &Ring) -> Result<u64, Stall> {
    let (number, limit) = (block_of(position), block_end(position));
    let (lines, to) = (ring.lines(), to.lines());
    let mut end = position;
    let mut damaged = None;
    while end < limit && end - position < RUN_BYTES_MAX {
        // Edge `commit`.
        let word = CommitWord(lines.load(end, Ordering::Acquire));
        if !word.is_committed() {
            break;
        }
        // Until the check below this may be anything, so only what bounds the copy is looked at;
        // kind and offset are checked when the frame is handed out.
        if end + word.span() > limit {
            damaged = Some(Damaged::new(end, "a frame that reaches past its block's end"));
            break;
        }
        to.store(end, word.0, Ordering::Relaxed);
        lines.copy_words(end + 8, carried_bytes(word) / 8 - 1, to);
        end += word.span();
    }
    if !ring.still(number) {
        return Err(Stall::Overrun);
    }
    match damaged {
        Some(damaged) if end == position => Err(damaged.into()),
        _ => Ok(end),
    }
}

/// Bytes of a frame that say anything, whole words.
#[inline]
fn carried_bytes(word: CommitWord) -> u64 {
    match word.kind() {
        Some(Kind::Padding | Kind::Abort) => HEADER_BYTES,
        _ => (HEADER_BYTES + word.length()).next_multiple_of(8),
    }
}
