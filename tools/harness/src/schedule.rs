//! When the messages of an open loop are due: at a set rate, whatever became of those before.
use crate::clock::Clock;

/// A schedule that begins a moment after it was made.
pub(crate) struct Schedule<'a> {
    pub(crate) clock: &'a Clock,
    start: u64,
    period_ticks: f64,
}

impl<'a> Schedule<'a> {
    /// Begins in 2 us, so that the first message is not late.
    pub(crate) fn new(clock: &'a Clock, period_ticks: f64) -> Self {
        let start = clock.now() + clock.ticks(2_000.0) as u64;
        Self { clock, start, period_ticks }
    }

    /// When message `number` is to be sent, in ticks.
    #[inline(always)]
    pub(crate) fn due(&self, number: u64) -> u64 {
        self.start + (number as f64 * self.period_ticks) as u64
    }

    /// Waits until message `number` is due; tells when that was, and by how many ticks it is late.
    #[inline(always)]
    pub(crate) fn wait(&self, number: u64) -> (u64, u64) {
        let due = self.due(number);
        let mut now = self.clock.now();
        while now < due {
            now = self.clock.now();
        }
        (due, now - due)
    }
}
