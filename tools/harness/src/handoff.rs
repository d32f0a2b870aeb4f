//! The bare hand-off, the physical limit of a round trip: one side stores a number, the other
//! answers.
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::round_trip::RoundTrip;
use crate::shared::{self, Line};
use crate::spin::spin_until;

/// Lines that a hand-off needs: the two words are a pair of lines apart, since hardware fetches
/// neighbouring lines together.
const LINES: usize = 4;

/// Either half of the bare hand-off. The numbers live in shared memory alone.
pub(crate) struct HandOff {
    ping: &'static AtomicU64,
    pong: &'static AtomicU64,
}

impl HandOff {
    /// Makes the lines, and the half that asks.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Self::of(shared::create(path, LINES)?))
    }

    /// The half that answers.
    ///
    /// # Errors
    /// When the other half is gone.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self::of(shared::open(path)?))
    }

    fn of(lines: &'static [Line]) -> Self {
        Self { ping: &lines[0].words[0], pong: &lines[2].words[0] }
    }

    /// Answers `count` numbers.
    ///
    /// # Errors
    /// When one does not come for seconds.
    pub(crate) fn answer<const GAP: u32>(&self, count: u64) -> Result<()> {
        for _ in 0..count {
            let number = self.pong.load(Ordering::Relaxed) + 1;
            // Pairs with the release store of `ping`.
            spin_until::<GAP>(|| Ok(self.ping.load(Ordering::Acquire) == number))?;
            // Pairs with the acquire load of `pong`.
            self.pong.store(number, Ordering::Release);
        }
        Ok(())
    }
}

impl RoundTrip for HandOff {
    #[inline(always)]
    fn round_trip<const GAP: u32>(&mut self) -> Result<()> {
        let number = self.ping.load(Ordering::Relaxed) + 1;
        // Pairs with the acquire load in `answer`.
        self.ping.store(number, Ordering::Release);
        // Pairs with the release store in `answer`.
        spin_until::<GAP>(|| Ok(self.pong.load(Ordering::Acquire) == number))
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
        for _ in 0..2 {
            thread::scope(|scope| {
                scope.spawn(|| HandOff::open(&path).unwrap().answer::<PAUSING>(10).unwrap());
                (0..10).for_each(|_| near.round_trip::<CLOSE>().unwrap());
            });
        }
        assert_eq!(near.pong.load(Ordering::Relaxed), 20);
    }
}
