//! One subscriber at work, the same in a thread and in a child process: change here what a
//! subscriber does with each message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tickcast::runtime::{Idle, IdleStrategy, clock};
use tickcast::{Event, StartAt, Subscriber, Topic};

use super::latency::Latencies;
use super::received::{Outcome, Received};

/// Events between two looks at the clock, at most.
const POLL_LIMIT: usize = 4096;

/// When the end is known and nothing comes for this long, nothing will.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How many messages will have been played in the end, once that is known.
#[derive(Debug)]
pub(super) struct End(AtomicU64);

const UNKNOWN: u64 = u64::MAX;

impl End {
    pub(super) const fn unknown() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }

    /// Tells the subscriber to finish after `messages`.
    pub(super) fn tell(&self, messages: u64) {
        // Nothing but the number is passed on.
        self.0.store(messages, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|messages| *messages != UNKNOWN)
    }
}

/// A subscriber that has everything it needs.
pub(super) struct Subscription {
    subscriber: Subscriber,
    latencies: Latencies,
    idle: IdleStrategy,
    /// Messages that are paced, whose latency counts; the flood follows.
    paced: u64,
}

impl Subscription {
    /// Subscribes reliably, from the first message on.
    ///
    /// # Errors
    /// When the topic cannot be subscribed to.
    pub(super) fn open(topic: &Topic, idle: IdleStrategy, paced: u64) -> Result<Self> {
        let subscriber = topic.subscribe().reliable().start_at(StartAt::Earliest).open();
        let subscriber = subscriber.context("cannot subscribe")?;
        Ok(Self { subscriber, latencies: Latencies::default(), idle, paced })
    }

    /// Receives until the end.
    pub(super) fn run(self, end: &End) -> Outcome {
        let Self { mut subscriber, mut latencies, idle, paced } = self;
        let mut idle = Idle::new(idle);
        let mut received = Received::default();
        let mut last_ns = 0;
        let mut quiet_since: Option<Instant> = None;
        loop {
            let count = subscriber.poll(POLL_LIMIT, |event| {
                if let Event::Message(message) = &event
                    && message.offset < paced
                {
                    // Before anything is done with it.
                    let latency_ns = clock::now_ns().saturating_sub(message.timestamp_ns);
                    latencies.record(latency_ns);
                }
                received.take(&event);
            });
            if count > 0 {
                last_ns = clock::now_ns();
                quiet_since = None;
            } else if let Some(end) = end.get() {
                let stalled =
                    quiet_since.get_or_insert_with(Instant::now).elapsed() > STALL_TIMEOUT;
                if received.next_offset() >= end || stalled || subscriber.is_finished() {
                    return received.outcome(latencies.distribution(), last_ns);
                }
            }
            idle.idle(count);
        }
    }
}
