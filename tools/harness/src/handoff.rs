//! The bare hand-off, the physical limit of a round trip: one side stores a number, the other
//! answers.
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::round_trip::RoundTrip;
use crate::shared::{self, Line};
use crate::spin::spin_until;

/// Pairs of words that take turns. With a single pair, hand-offs took 90 to 120 ns in one run, each
/// for seconds, while what goes over many lines took the same all the time: most likely by where
/// the line's slice of the last-level cache lies, seen from the two cores.
const PAIRS: usize = 64;
/// Lines of a pair: its two words are a pair of lines apart, since hardware fetches neighbouring
/// lines together.
const PAIR_LINES: usize = 4;

/// Either half of the bare hand-off. Every hand-off has a number, from 1; it is in shared memory
/// alone, but for which pair is next.
pub(crate) struct HandOff {
    pairs: &'static [Line],
    next: u64,
}

impl HandOff {
    /// Makes the lines, and the half that asks.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Self { pairs: shared::create(path, PAIRS * PAIR_LINES)?, next: 1 })
    }

    /// The half that answers.
    ///
    /// # Errors
    /// When the other half is gone.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { pairs: shared::open(path)?, next: 1 })
    }

    /// The next number, and its words: ping and pong.
    #[inline(always)]
    fn advance(&mut self) -> (u64, &'static AtomicU64, &'static AtomicU64) {
        let number = self.next;
        self.next += 1;
        let first = number as usize % PAIRS * PAIR_LINES;
        let pair = &self.pairs[first..first + PAIR_LINES];
        (number, &pair[0].words[0], &pair[2].words[0])
    }

    /// Answers `count` numbers.
    ///
    /// # Errors
    /// When one does not come for seconds.
    pub(crate) fn answer<const GAP: u32>(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let (number, ping, pong) = self.advance();
            // Pairs with the release store of `ping`.
            spin_until::<GAP>(|| Ok(ping.load(Ordering::Acquire) == number))?;
            // Pairs with the acquire load of `pong`.
            pong.store(number, Ordering::Release);
        }
        Ok(())
    }
}

impl RoundTrip for HandOff {
    #[inline(always)]
    fn round_trip<const GAP: u32>(&mut self) -> Result<()> {
        let (number, ping, pong) = self.advance();
        // Pairs with the acquire load in `answer`.
        ping.store(number, Ordering::Release);
        // Pairs with the release store in `answer`.
        spin_until::<GAP>(|| Ok(pong.load(Ordering::Acquire) == number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spin::{CLOSE, PAUSING};
    use std::thread;

    #[test]
    fn blocks_follow_each_other_with_and_without_pause() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hand-off");
        let mut near = HandOff::create(&path).unwrap();
        let mut far = HandOff::open(&path).unwrap();
        for _ in 0..2 {
            thread::scope(|scope| {
                scope.spawn(|| far.answer::<PAUSING>(50).unwrap());
                (0..50).for_each(|_| near.round_trip::<CLOSE>().unwrap());
            });
        }
        // The last of 100 numbers went over the pair in place 100 - 64.
        assert_eq!(near.pairs[36 * PAIR_LINES + 2].words[0].load(Ordering::Relaxed), 100);
    }
}
