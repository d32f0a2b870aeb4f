//! Which of several channels comes next.

use std::time::{Duration, Instant};

use crate::bus::channel::Channel;

/// Hands out by timestamp, as far as holding back for a bounded time allows.
#[derive(Debug)]
pub(crate) struct Merge {
    hold: Duration,
    /// When each channel's next message was first seen.
    seen: Vec<Option<Instant>>,
    last_timestamp_ns: u64,
    late: u64,
}

impl Merge {
    pub(crate) fn new(hold: Duration, channels: usize) -> Merge {
        Merge { hold, seen: vec![None; channels], last_timestamp_ns: 0, late: 0 }
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
        if is_one_empty {
            let now = Instant::now();
            if now - *self.seen[index].get_or_insert(now) < self.hold {
                return None;
            }
        }
        Some(index)
    }

    /// The event of channel `index` was consumed; its timestamp if it was a message.
    pub(crate) fn consumed(&mut self, index: usize, timestamp_ns: Option<u64>) {
        self.seen[index] = None;
        if let Some(timestamp_ns) = timestamp_ns {
            self.late += u64::from(timestamp_ns < self.last_timestamp_ns);
            self.last_timestamp_ns = self.last_timestamp_ns.max(timestamp_ns);
        }
    }
}
