//! The topic that benches publish to and read from: a ring of 16 MiB on a bus of its own.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::ops::Deref;
use std::process;

use tickcast::{Bus, Event, Subscriber, Topic};

/// What is published before it is drained: less than half of the ring, so that neither a publisher
/// waits nor a lossy subscriber is overrun.
pub(crate) const TURN_BYTES: usize = 4 << 20;

const RING_BYTES: u64 = 16 << 20;

/// A payload that takes one cache line with its header.
pub(crate) type Words = [u64; 6];

/// A topic whose bus is removed when this is dropped.
pub(crate) struct TemporaryTopic {
    bus: Bus,
    topic: Topic,
}

impl TemporaryTopic {
    /// Makes it.
    pub(crate) fn create() -> TemporaryTopic {
        let bus = Bus::create(&format!("criterion-{}", process::id()))
            .expect("the last one of this process was removed");
        let topic = bus.topic("measured").ring_bytes(RING_BYTES).create();
        let topic = topic.expect("shared memory has room for it");
        TemporaryTopic { bus, topic }
    }
}

impl Deref for TemporaryTopic {
    type Target = Topic;

    fn deref(&self) -> &Topic {
        &self.topic
    }
}

impl Drop for TemporaryTopic {
    fn drop(&mut self) {
        if let Err(error) = Bus::remove(self.bus.name(), true) {
            eprintln!("cannot remove the bus {}: {error}", self.bus.name());
        }
    }
}

/// Reads everything.
pub(crate) fn drain(subscriber: &mut Subscriber) {
    let handler = |event: Event<'_>| {
        if let Event::Notice(notice) = event {
            panic!("{notice}");
        }
    };
    while subscriber.poll(usize::MAX, handler) > 0 {}
}
