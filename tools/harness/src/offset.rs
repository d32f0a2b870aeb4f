//! How far the clocks of two cores are apart: asked for before any time in one direction is told.
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use serde::Serialize;

use crate::clock::Clock;
use crate::shared::{self, Line};
use crate::spin::{CLOSE, spin_until};

const LINES: usize = 4;

/// What the far core's clock is ahead of the near core's: at least, and at most.
///
/// After the exchange of four time stamps in RFC 5905, with a far side that answers at once: it
/// read its clock between the near side's question and its answer. The closest of many exchanges
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Offset {
    /// It is ahead by this at least.
    pub min_ns: f64,
    /// It is ahead by this at most.
    pub max_ns: f64,
}

impl Offset {
    /// What two exchanges say together, of clocks that go at one rate. Where they contradict each
    /// other, the least is more than the most.
    pub(crate) fn and(self, other: Self) -> Self {
        let (min_ns, max_ns) = (self.min_ns.max(other.min_ns), self.max_ns.min(other.max_ns));
        Self { min_ns, max_ns }
    }

    /// Whether both clocks may agree, to within a step of theirs. If not, no time in one direction
    /// means anything.
    pub(crate) fn is_none(self, clock: &Clock) -> bool {
        self.min_ns <= clock.step_ns
            && self.max_ns >= -clock.step_ns
            && self.min_ns <= self.max_ns + 2.0 * clock.step_ns
    }

    /// How far a time in one direction may be off, either way.
    pub(crate) fn uncertainty_ns(self) -> f64 {
        self.min_ns.abs().max(self.max_ns.abs())
    }
}

/// Either side of the exchange.
pub(crate) struct Exchange {
    question: &'static AtomicU64,
    answer: &'static AtomicU64,
    /// In the answer's line.
    read_at: &'static AtomicU64,
}

impl Exchange {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Self::of(shared::create(path, LINES)?))
    }

    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self::of(shared::open(path)?))
    }

    fn of(lines: &'static [Line]) -> Self {
        let [answer, read_at, ..] = &lines[2].words;
        Self { question: &lines[0].words[0], answer, read_at }
    }

    /// Asks `count` times.
    pub(crate) fn ask(&self, count: u64, clock: &Clock) -> Result<Offset> {
        let mut offset = Offset { min_ns: f64::NEG_INFINITY, max_ns: f64::INFINITY };
        for _ in 0..count {
            let number = self.question.load(Ordering::Relaxed) + 1;
            let asked = clock.now();
            // Pairs with the acquire load in `answer`.
            self.question.store(number, Ordering::Release);
            // Pairs with the release store in `answer`.
            spin_until::<CLOSE>(|| Ok(self.answer.load(Ordering::Acquire) == number))?;
            let answered = clock.now();
            let read_at = self.read_at.load(Ordering::Relaxed);
            let ahead_ns = |of: u64| read_at.wrapping_sub(of) as i64 as f64 * clock.ns_per_tick;
            offset.min_ns = offset.min_ns.max(ahead_ns(answered));
            offset.max_ns = offset.max_ns.min(ahead_ns(asked));
        }
        Ok(offset)
    }

    /// Answers `count` times.
    pub(crate) fn answer(&self, count: u64, clock: &Clock) -> Result<()> {
        for _ in 0..count {
            let number = self.answer.load(Ordering::Relaxed) + 1;
            // Pairs with the release store of the question.
            spin_until::<CLOSE>(|| Ok(self.question.load(Ordering::Acquire) == number))?;
            self.read_at.store(clock.now(), Ordering::Relaxed);
            // Pairs with the acquire load of the answer.
            self.answer.store(number, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Exchanges between two threads whose clocks are `ahead_ticks` apart.
    fn exchange(ahead_ticks: i64) -> (Offset, Clock) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("offset");
        let clock = Clock::calibrate().unwrap();
        let near = Exchange::create(&path).unwrap();
        let offset = thread::scope(|scope| {
            scope.spawn(|| {
                let far = Exchange::open(&path).unwrap();
                for _ in 0..1000 {
                    let number = far.answer.load(Ordering::Relaxed) + 1;
                    spin_until::<CLOSE>(|| Ok(far.question.load(Ordering::Acquire) == number))
                        .unwrap();
                    let now = clock.now().wrapping_add_signed(ahead_ticks);
                    far.read_at.store(now, Ordering::Relaxed);
                    far.answer.store(number, Ordering::Release);
                }
            });
            near.ask(1000, &clock).unwrap()
        });
        (offset, clock)
    }

    #[test]
    fn one_clock_agrees_with_itself() {
        let (offset, clock) = exchange(0);
        assert!(offset.is_none(&clock), "{offset:?}");
    }

    #[test]
    fn two_exchanges_say_more_than_one_or_contradict_each_other() {
        let clock = Clock::of(crate::clock::Source::Monotonic).unwrap();
        let offset = |min_ns, max_ns| Offset { min_ns, max_ns };
        let both = offset(-50.0, 40.0).and(offset(-30.0, 60.0));
        assert_eq!(both, offset(-30.0, 40.0));
        assert!(both.is_none(&clock) && both.uncertainty_ns() == 40.0);
        assert!(!offset(-9e3, -5e3).and(offset(5e3, 9e3)).is_none(&clock));
    }

    #[test]
    fn a_clock_that_is_ahead_or_behind_is_found() {
        for ahead in [1_000_000_000, -1_000_000_000] {
            let (offset, clock) = exchange(ahead);
            assert!(!offset.is_none(&clock), "{offset:?}");
            let ahead_ns = ahead as f64 * clock.ns_per_tick;
            assert!(offset.min_ns <= ahead_ns && ahead_ns <= offset.max_ns, "{offset:?}");
        }
    }
}
