//! Streams over the bus: published one by one or in batches, read in place or in validated copies.
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use tickcast::runtime::{Idle, IdleStrategy};
use tickcast::{Bus, Event, Publisher, SlowSubscriber, Subscriber, TypeError};

use super::block::Publish;
use super::peer::Far;
use super::spin::{BlockError, spin_until};
use super::stream::{Payloads, checksum};
use super::temporary_bus::{TemporaryBus, Words, passed_over, sum};

/// Messages that are handed to `publish_batch` at once: what a feed's packet holds.
const BATCH: usize = 16;

/// Messages that a poll takes at most.
const POLL_LIMIT: usize = 256;

/// A topic for streams.
pub(crate) struct StreamTopic {
    name: &'static str,
    slow: SlowSubscriber,
}

/// Its subscriber is waited for, so it reads in place.
pub(crate) const IN_PLACE: StreamTopic =
    StreamTopic { name: "in-place", slow: SlowSubscriber::Wait };
/// The same, for a reader that never pauses.
pub(crate) const IN_PLACE_SPINNING: StreamTopic =
    StreamTopic { name: "in-place-spinning", slow: SlowSubscriber::Wait };
/// Its subscriber is waited for, but not for ever: it reads copies as a lossy one does, and loses
/// nothing in a run.
pub(crate) const COPIED: StreamTopic =
    StreamTopic { name: "copied", slow: SlowSubscriber::EvictAfter(Duration::from_secs(60)) };

impl StreamTopic {
    /// Makes it, and its publisher.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn publisher(&self, bus: &TemporaryBus) -> Result<Rc<RefCell<Publisher>>> {
        let topic = bus.create_topic_with(self.name, self.slow)?;
        let publisher = topic.publisher(0);
        let publisher = publisher.with_context(|| format!("cannot publish to {}", self.name))?;
        Ok(Rc::new(RefCell::new(publisher)))
    }

    /// Its reader.
    ///
    /// # Errors
    /// When the other half is gone.
    pub(crate) fn reader(&self, bus: &Bus, idle: IdleStrategy) -> Result<BusReader> {
        let subscriber = bus.open_topic(self.name)?.subscribe().reliable().open();
        let subscriber =
            subscriber.with_context(|| format!("cannot subscribe to {}", self.name))?;
        Ok(BusReader { subscriber, idle, next: 0 })
    }
}

/// Publishes one by one.
pub(crate) struct OneByOne(pub(crate) Rc<RefCell<Publisher>>);

impl Publish for OneByOne {
    fn publish(&mut self, messages: u64) -> Result<()> {
        let payloads = Payloads::<6>::new();
        let mut publisher = self.0.borrow_mut();
        let first = publisher.next_offset();
        for number in first..first + messages {
            publisher.publish(number, payloads.of(number))?;
        }
        Ok(())
    }
}

/// Publishes in batches.
pub(crate) struct InBatches(pub(crate) Rc<RefCell<Publisher>>);

impl Publish for InBatches {
    fn publish(&mut self, messages: u64) -> Result<()> {
        let payloads = Payloads::<6>::new();
        let mut publisher = self.0.borrow_mut();
        let first = publisher.next_offset();
        let end = first + messages;
        for number in (first..end).step_by(BATCH) {
            let batch: [(u64, &Words); BATCH] =
                std::array::from_fn(|at| (number + at as u64, payloads.of(number + at as u64)));
            publisher.publish_batch(&batch[..BATCH.min((end - number) as usize)])?;
        }
        Ok(())
    }
}

/// The reading half.
pub(crate) struct BusReader {
    subscriber: Subscriber,
    idle: IdleStrategy,
    next: u64,
}

impl Far for BusReader {
    fn block(&mut self, count: u64) -> Result<()> {
        let first = self.next;
        let end = first + count;
        let mut idle = Idle::new(self.idle);
        // In locals, as a handler that one would write has it: they stay in registers.
        let (mut found, mut next) = (0u64, first);
        let mut failure: Option<Error> = None;
        while next < end {
            spin_until::<0>(|| {
                let limit = POLL_LIMIT.min((end - next) as usize);
                let polled = self.subscriber.poll(limit, |event| match event {
                    Event::Message(message) => match message.read::<Words>() {
                        Ok(words) => {
                            found = found.wrapping_add(sum(words)).wrapping_add(message.offset);
                            next += 1;
                        }
                        Err(error) => failure = Some(of_other_type(error)),
                    },
                    Event::Notice(notice) => {
                        if let Err(error) = passed_over(notice) {
                            failure = Some(error);
                        }
                    }
                });
                idle.polled(polled, limit);
                polled > 0
            })?;
            failure.take().map_or(Ok(()), Err)?;
        }
        self.next = next;
        // Payloads come again and again, so the offsets count as well.
        let expected =
            Payloads::<6>::checksum(first, count).wrapping_add(checksum::<1>(first, count));
        ensure!(found == expected, BlockError::Corrupt { expected, found });
        Ok(())
    }
}

/// Out of the way of what is expected, so that the handler becomes part of the poll.
#[cold]
#[inline(never)]
fn of_other_type(error: TypeError) -> Error {
    error.into()
}
