//! disruptor, the port of the LMAX Disruptor to Rust: a ring of events for threads, one producer
//! and one consumer here.
//!
//! `build_single_producer`, whose producer publishes messages with `try_publish`, and batches at
//! once with `try_batch_publish`; an `EventPoller`, polled by our own thread with `take`, which
//! hands out all events that are there, up to the limit. Its README recommends batches for the best
//! latency and throughput, and says that the poller and threads that the crate manages have
//! comparable performance. Such threads cannot run the loops that everybody runs here. With the
//! wait strategy `BusySpinWithSpinLoopHint` they were a little faster in round trips; with
//! `BusySpin` they were not, and neither was faster in streams. Pollers know no wait strategy: the
//! one that the builder asks for is of no effect here. Events are the payloads themselves, written
//! in place. The number of slots is a power of two: 1.5 MiB of payloads of 48 bytes, 1.75 MiB of
//! 112, 2 MiB of others. A ring of a few messages was slower in streams.
use std::any::Any;

use anyhow::{Result, bail};
use disruptor::{
    BusySpin, EventPoller, MissingFreeSlots, Polling, Producer, SingleConsumerBarrier,
    SingleProducer, SingleProducerBarrier, build_single_producer,
};
use tickcast_harness::message::Words;
use tickcast_harness::spin::{PAUSING, spin_until};
use tickcast_harness::transport::{Link, Place, Receiver, Sender, Transport};

/// The ring.
pub struct Disruptor;

/// Its producer.
pub struct DisruptorSender<const W: usize>(SingleProducer<Words<W>, SingleConsumerBarrier>);

/// Its consumer.
pub struct DisruptorReceiver<const W: usize>(EventPoller<Words<W>, SingleProducerBarrier>);

impl Transport for Disruptor {
    const NAME: &'static str = "disruptor";
    const HOW: &'static str =
        "single producer, try_publish or try_batch_publish; event poller, so no wait strategy";
    const PLACES: &'static [Place] = &[Place::InProcess];

    type Sender<const W: usize> = DisruptorSender<W>;
    type Receiver<const W: usize> = DisruptorReceiver<W>;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        let ring = build_single_producer(slots(link), || [0u64; W], BusySpin);
        let (poller, ring) = ring.new_event_poller();
        link.leave("sender", ring.build());
        link.leave("receiver", poller);
        Ok(Box::new(()))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<DisruptorSender<W>> {
        link.take("sender").map(DisruptorSender)
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<DisruptorReceiver<W>> {
        link.take("receiver").map(DisruptorReceiver)
    }
}

/// As many as the ring's size may be, a power of two.
fn slots(link: &Link<'_>) -> usize {
    1 << link.slots().ilog2()
}

impl<const W: usize> Sender<W> for DisruptorSender<W> {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        Ok(self.0.try_publish(|event| *event = *message).is_ok())
    }

    #[inline]
    fn send_all(&mut self, mut messages: &[Words<W>]) -> Result<()> {
        let mut count = messages.len();
        spin_until::<PAUSING>(|| {
            let (first, rest) = messages.split_at(count);
            let published = self.0.try_batch_publish(count, |events| {
                events.zip(first).for_each(|(event, message)| *event = *message);
            });
            match published {
                Ok(_) => messages = rest,
                // As many as there is room for are published in the next round.
                Err(MissingFreeSlots(missing)) => {
                    count = count.saturating_sub(missing as usize);
                    return Ok(false);
                }
            }
            count = messages.len();
            Ok(messages.is_empty())
        })
    }
}

impl<const W: usize> Receiver<W> for DisruptorReceiver<W> {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        match self.0.take(limit as u64) {
            Ok(mut events) => {
                let events = &mut events;
                let count = events.len();
                events.for_each(&mut take);
                Ok(count)
            }
            Err(Polling::NoEvents) => Ok(0),
            Err(Polling::Shutdown) => bail!("the disruptor's producer is gone"),
        }
    }
}
