//! Where times are kept while a block runs. To count them in a histogram there and then makes the
//! next round trip of the bare hand-off a third slower; to store a word next to the last one does
//! not.
use crate::clock::Clock;
use crate::statistics::Samples;

/// Times of one block, in the order in which they were taken.
#[derive(Debug, Default)]
pub(crate) struct Laps(Vec<u64>);

impl Laps {
    /// Makes room for `count` times, and touches it: no page is to be made while the block runs.
    pub(crate) fn begin(&mut self, count: u64) {
        if self.0.capacity() < count as usize {
            self.0.resize(count as usize, 0);
        }
        self.0.clear();
    }

    /// Keeps a time.
    #[inline(always)]
    pub(crate) fn push(&mut self, ticks: u64) {
        // There is room, so this never allocates; and if not, it is only slow.
        self.0.push(ticks);
    }

    /// All of them, counted.
    pub(crate) fn samples(&self, clock: &Clock) -> Samples {
        let mut samples = Samples::default();
        self.0.iter().for_each(|&ticks| samples.record(clock.ns(ticks)));
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Source;

    #[test]
    fn a_block_begins_empty_and_counts_all() {
        let clock = Clock::of(Source::Monotonic).unwrap();
        let mut laps = Laps::default();
        for count in [3, 5, 2] {
            laps.begin(count);
            (0..count).for_each(|at| laps.push(100 + at));
            let samples = laps.samples(&clock);
            assert_eq!((samples.len(), samples.max_ns()), (count, 99 + count));
        }
    }
}
