//! Streams over the bus: published one by one or in batches, read in place or in validated copies.
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use tickcast::runtime::{Idle, IdleStrategy};
use tickcast::{Bus, Event, Publisher, SlowSubscriber, Subscriber};

use super::block::Publish;
use super::peer::Far;
use super::spin::{BlockError, spin_until};
use super::stream::{checksum, message};
use super::temporary_bus::{TemporaryBus, Words, passed_over, sum};

/// Messages that are handed to `publish_batch` at once: what a feed's packet holds.
const BATCH: usize = 16;

/// A topic for streams.
pub(crate) struct StreamTopic {
    name: &'static str,
    slow: SlowSubscriber,
}

/// Its subscriber is waited for, so it reads in place.
pub(crate) const IN_PLACE: StreamTopic =
    StreamTopic { name: "in-place", slow: SlowSubscriber::Wait };
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
    pub(crate) fn reader(&self, bus: &Bus) -> Result<BusReader> {
        let subscriber = bus.open_topic(self.name)?.subscribe().reliable().open();
        let subscriber =
            subscriber.with_context(|| format!("cannot subscribe to {}", self.name))?;
        Ok(BusReader { subscriber, next: 0 })
    }
}

/// The payloads that are published again and again: as those of a feed's packets they lie in memory,
/// and are not made in registers on the way.
struct Payloads(Vec<Words>);

impl Payloads {
    /// How many differ: 24 KiB.
    const COUNT: u64 = 512;

    fn new() -> Self {
        Self((0..Self::COUNT).map(message).collect())
    }

    /// The payload of message `number`.
    #[inline(always)]
    fn of(&self, number: u64) -> &Words {
        &self.0[(number % Self::COUNT) as usize]
    }

    /// The sum of all words of the messages from `first` on.
    fn checksum(first: u64, count: u64) -> u64 {
        let all = checksum::<6>(0, Self::COUNT);
        let before = |end: u64| {
            let rest = checksum::<6>(0, end % Self::COUNT);
            (end / Self::COUNT).wrapping_mul(all).wrapping_add(rest)
        };
        before(first + count).wrapping_sub(before(first))
    }
}

/// Publishes one by one.
pub(crate) struct OneByOne(pub(crate) Rc<RefCell<Publisher>>);

impl Publish for OneByOne {
    fn publish(&mut self, messages: u64) -> Result<()> {
        let payloads = Payloads::new();
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
        let payloads = Payloads::new();
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

/// The reading half. It idles by `SpinPause`, as the library advises for a core of one's own.
pub(crate) struct BusReader {
    subscriber: Subscriber,
    next: u64,
}

impl Far for BusReader {
    fn block(&mut self, count: u64) -> Result<()> {
        let first = self.next;
        let end = first + count;
        let mut idle = Idle::new(IdleStrategy::SpinPause);
        let (mut found, mut taken) = (0u64, 0);
        let mut failure: Option<Error> = None;
        while self.next < end {
            spin_until::<0>(|| {
                let left = (end - self.next) as usize;
                let polled = self.subscriber.poll(left, |event| match event {
                    Event::Message(message) => match message.read::<Words>() {
                        Ok(words) => {
                            found = found.wrapping_add(sum(words));
                            taken += 1;
                        }
                        Err(error) => failure = Some(error.into()),
                    },
                    Event::Notice(notice) => failure = passed_over(notice).err(),
                });
                idle.idle(polled);
                polled > 0
            })?;
            failure.take().map_or(Ok(()), Err)?;
            self.next = first + taken;
        }
        let expected = Payloads::checksum(first, count);
        ensure!(found == expected, BlockError::Corrupt { expected, found });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_run_is_the_sum_of_its_payloads() {
        let payloads = Payloads::new();
        for (first, count) in [(0, 0), (0, 1), (510, 5), (1023, 2048), (77, 512)] {
            let sums = (first..first + count).map(|number| sum(payloads.of(number)));
            assert_eq!(Payloads::checksum(first, count), sums.fold(0, u64::wrapping_add));
        }
    }
}
