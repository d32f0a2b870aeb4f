//! The bare hand-off, the physical limit of a round trip: one side stores a number, the other
//! answers.
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use super::block::RoundTrip;
use super::peer::Far;
use super::shared::Line;
use super::spin::spin_until;

/// Lines that a hand-off needs: the two words are a pair of lines apart, since hardware fetches
/// neighbouring lines together.
pub(crate) const LINES: usize = 4;

/// Either half of the bare hand-off, polling with `PAUSES` pause instructions in between. The
/// numbers live in shared memory alone, so several of these may take turns on the same lines.
pub(crate) struct HandOff<'a, const PAUSES: u32> {
    ping: &'a AtomicU64,
    pong: &'a AtomicU64,
}

impl<'a, const PAUSES: u32> HandOff<'a, PAUSES> {
    pub(crate) fn new(lines: &'a [Line; LINES]) -> Self {
        Self { ping: &lines[0].words[0], pong: &lines[2].words[0] }
    }
}

impl<const PAUSES: u32> RoundTrip for HandOff<'_, PAUSES> {
    #[inline(always)]
    fn round_trip(&mut self) -> Result<()> {
        let number = self.ping.load(Ordering::Relaxed) + 1;
        // Pairs with the acquire load in `Far::block`.
        self.ping.store(number, Ordering::Release);
        // Pairs with the release store in `Far::block`.
        spin_until::<PAUSES>(|| self.pong.load(Ordering::Acquire) == number)
    }
}

impl<const PAUSES: u32> Far for HandOff<'_, PAUSES> {
    fn block(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let number = self.pong.load(Ordering::Relaxed) + 1;
            // Pairs with the release store of `ping`.
            spin_until::<PAUSES>(|| self.ping.load(Ordering::Acquire) == number)?;
            // Pairs with the acquire load of `pong`.
            self.pong.store(number, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn variants_take_turns_on_the_same_lines() {
        let lines: [Line; LINES] = Default::default();
        let mut near = HandOff::<0>::new(&lines);
        for _ in 0..2 {
            thread::scope(|scope| {
                scope.spawn(|| HandOff::<1>::new(&lines).block(10).unwrap());
                (0..10).for_each(|_| near.round_trip().unwrap());
            });
        }
        assert_eq!(lines[2].words[0].load(Ordering::Relaxed), 20);
    }
}
