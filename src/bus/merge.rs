//! Which of several channels comes next, in order of timestamps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bus::channel::Channel;

/// How finely it is known when messages arrived that are held back: a message is held back for the
/// time that the user set, and at most one part of this many longer.
const PARTS: u32 = 16;

/// More are never needed: after this many the oldest is due.
const SAMPLES_MAX: usize = PARTS as usize + 1;

/// Hands out by timestamp, as far as holding back for a bounded time allows.
///
/// While some channel has nothing, the others' messages wait. When they arrived is known from
/// samples: at some instant, everything below some offset was there.
#[derive(Debug)]
pub(crate) struct Merge {
    hold: Duration,
    /// Samples of each channel, oldest first.
    samples: Vec<VecDeque<Sample>>,
    last_timestamp_ns: u64,
    late: u64,
}

/// Every message below `offset` had arrived at `at`.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    offset: u64,
}

impl Merge {
    pub(crate) fn new(hold: Duration, channels: usize) -> Merge {
        // Set aside here, so that holding back allocates nothing.
        let samples = (0..channels).map(|_| VecDeque::with_capacity(SAMPLES_MAX)).collect();
        Merge { hold, samples, last_timestamp_ns: 0, late: 0 }
    }

    /// Messages that came later than they could be held back for.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    /// The channel whose event comes next; `None` while there is none, or one is held back.
    pub(crate) fn pick(&mut self, channels: &mut [Channel]) -> Option<usize> {
        let mut earliest: Option<(u64, usize)> = None;
        let mut is_one_empty = false;
        for (index, channel) in channels.iter_mut().enumerate() {
            if !channel.ready() {
                is_one_empty |= !channel.is_finished();
                continue;
            }
            // A notice stands at its place in its partition, and waits for nobody.
            let Some(timestamp_ns) = channel.timestamp_ns() else { return Some(index) };
            if earliest.is_none_or(|(earliest, _)| timestamp_ns < earliest) {
                earliest = Some((timestamp_ns, index));
            }
        }
        let (_, index) = earliest?;
        if is_one_empty && !self.has_waited(channels, index, Instant::now()) {
            return None;
        }
        Some(index)
    }

    /// Whether the message that comes next from channel `index` was held back for long enough.
    fn has_waited(&mut self, channels: &[Channel], index: usize, now: Instant) -> bool {
        for (samples, channel) in self.samples.iter_mut().zip(channels) {
            let next = channel.offset();
            while samples.front().is_some_and(|sample| sample.offset <= next) {
                samples.pop_front();
            }
            let is_due = samples.back().is_none_or(|last| now - last.at >= self.hold / PARTS);
            if is_due
                && samples.len() < SAMPLES_MAX
                && let Ok(Some(offset)) = channel.published_offset()
                && offset > next
            {
                samples.push_back(Sample { at: now, offset });
            }
        }
        self.samples[index].front().is_some_and(|sample| now - sample.at >= self.hold)
    }

    /// A message of this timestamp was consumed.
    pub(crate) fn consumed(&mut self, timestamp_ns: u64) {
        self.late += u64::from(timestamp_ns < self.last_timestamp_ns);
        self.last_timestamp_ns = self.last_timestamp_ns.max(timestamp_ns);
    }
}
