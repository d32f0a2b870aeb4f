//! rtrb, a ring for one producer and one consumer between threads, by value.
//!
//! Its documentation (module `chunks`) has an interface for several items at once, which reads in
//! place and moves each index once: all reads and all batches go through that. Single messages are
//! pushed, as in its benchmark `push_pop`. Popping one by one was slower in streams, and as fast in
//! round trips. The ring has slots for 2 MiB of payloads; one of a few messages was slower.
use std::any::Any;

use anyhow::Result;
use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, RingBuffer};
use tickcast_harness::message::Words;
use tickcast_harness::spin::{PAUSING, spin_until};
use tickcast_harness::transport::{Link, Place, Receiver, Sender, Transport};

/// The ring.
pub struct Rtrb;

/// Its producer.
pub struct RtrbSender<const W: usize>(Producer<Words<W>>);

/// Its consumer.
pub struct RtrbReceiver<const W: usize>(Consumer<Words<W>>);

impl Transport for Rtrb {
    const NAME: &'static str = "rtrb";
    const HOW: &'static str = "push, or chunks of a batch; chunks are read in place";
    const PLACES: &'static [Place] = &[Place::InProcess];

    type Sender<const W: usize> = RtrbSender<W>;
    type Receiver<const W: usize> = RtrbReceiver<W>;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        let (producer, consumer) = RingBuffer::<Words<W>>::new(link.slots());
        link.leave("sender", producer);
        link.leave("receiver", consumer);
        Ok(Box::new(()))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<RtrbSender<W>> {
        link.take("sender").map(RtrbSender)
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<RtrbReceiver<W>> {
        link.take("receiver").map(RtrbReceiver)
    }
}

impl<const W: usize> Sender<W> for RtrbSender<W> {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        Ok(self.0.push(*message).is_ok())
    }

    #[inline]
    fn send_all(&mut self, mut messages: &[Words<W>]) -> Result<()> {
        spin_until::<PAUSING>(|| {
            // All that are left, or as many as there is room for.
            let room = match self.0.write_chunk_uninit(messages.len()) {
                Ok(chunk) => {
                    chunk.fill_from_iter(messages.iter().copied());
                    return Ok(true);
                }
                Err(ChunkError::TooFewSlots(room)) => room,
            };
            let (first, rest) = messages.split_at(room);
            self.0.write_chunk_uninit(room)?.fill_from_iter(first.iter().copied());
            messages = rest;
            Ok(false)
        })
    }
}

impl<const W: usize> Receiver<W> for RtrbReceiver<W> {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        let count = self.0.slots().min(limit);
        if count > 0 {
            let chunk = self.0.read_chunk(count)?;
            let (first, second) = chunk.as_slices();
            first.iter().for_each(&mut take);
            second.iter().for_each(&mut take);
            chunk.commit_all();
        }
        Ok(count)
    }
}
