//! How busy each agent of a core is: counters written by the core, read by anyone.
#![forbid(unsafe_code)]

use crate::sync::{AtomicU64, Ordering};

/// What one agent has done so far; see [`CoreHandle::duty_cycles`](super::CoreHandle::duty_cycles).
///
/// Only polls that did work are timed, so that an idle core, which must react at once, does not
/// read the clock more often than it must. An agent that wants a poll to be seen returns more
/// than 0 from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DutyCycle {
    /// The agent's name.
    pub agent: String,
    /// How often it was polled.
    pub polls: u64,
    /// How many of these polls did work.
    pub busy_polls: u64,
    /// Time spent in polls that did work, in nanoseconds.
    pub busy_ns: u64,
    /// The longest of them, in nanoseconds.
    pub max_ns: u64,
}

/// One agent's counters, on a cache line of their own: a core that counts must not slow down
/// whoever owns the neighbouring memory.
///
/// There is one writer, the core's thread, so plain loads and stores suffice where several
/// writers would need read-modify-writes. All are relaxed: a counter publishes nothing but itself.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Counters {
    polls: AtomicU64,
    busy_polls: AtomicU64,
    busy_ns: AtomicU64,
    max_ns: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Counters>() == 64);

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            polls: AtomicU64::new(0),
            busy_polls: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        }
    }

    /// Counts a poll that found nothing. Called by the core's thread only.
    #[inline]
    pub(super) fn count_empty(&self) {
        add(&self.polls, 1);
    }

    /// Counts a poll that did work for `took_ns`. Called by the core's thread only.
    #[inline]
    pub(super) fn count_busy(&self, took_ns: u64) {
        add(&self.polls, 1);
        add(&self.busy_polls, 1);
        add(&self.busy_ns, took_ns);
        if took_ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.store(took_ns, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self, agent: &str) -> DutyCycle {
        DutyCycle {
            agent: agent.to_owned(),
            polls: self.polls.load(Ordering::Relaxed),
            busy_polls: self.busy_polls.load(Ordering::Relaxed),
            busy_ns: self.busy_ns.load(Ordering::Relaxed),
            max_ns: self.max_ns.load(Ordering::Relaxed),
        }
    }
}

#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_busy_polls_are_told_apart() {
        let counters = Counters::new();
        counters.count_empty();
        counters.count_busy(30);
        counters.count_busy(50);
        counters.count_busy(40);
        let expected = DutyCycle {
            agent: "feed".to_owned(),
            polls: 4,
            busy_polls: 3,
            busy_ns: 120,
            max_ns: 50,
        };
        assert_eq!(counters.read("feed"), expected);
    }
}
