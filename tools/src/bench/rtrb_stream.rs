//! The rival in throughput: `rtrb` moving 64-byte items one by one between two pinned threads.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context, Result, anyhow};
use rtrb::{Consumer, Producer, RingBuffer};

use super::block::Publish;
use super::cores;
use super::peer::Counterpart;
use super::spin::{BlockError, spin_until};
use super::stream::{self, Payloads};

type Item = [u64; 8];

/// The producing half; its items are numbered from 0.
pub(crate) struct RtrbProducer {
    ring: Producer<Item>,
    next: u64,
}

impl Publish for RtrbProducer {
    fn publish(&mut self, messages: u64) -> Result<()> {
        let payloads = Payloads::new();
        for number in self.next..self.next + messages {
            // One place that pushes: an item that is carried about costs more than the ring.
            let item: Item = *payloads.of(number);
            while self.ring.push(item).is_err() {
                spin_until::<1>(|| !self.ring.is_full())?;
            }
        }
        self.next += messages;
        Ok(())
    }
}

/// The near side's hold on the consuming thread. The thread sleeps between blocks and ends when
/// this is dropped.
pub(crate) struct RtrbConsumer {
    blocks: Sender<u64>,
    shared: Arc<Progress>,
    begun: u64,
}

/// How many blocks the consuming thread has begun, and finished.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    finished: AtomicU64,
}

/// Makes a ring, and a thread on `core` that consumes it, with `PAUSES` pause instructions after
/// an empty poll.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn start<const PAUSES: u32>(core: usize) -> Result<(RtrbProducer, RtrbConsumer)> {
    let (producer, consumer) = RingBuffer::new(stream::SLOTS);
    let (blocks, orders) = mpsc::channel();
    let shared = Arc::new(Progress::default());
    let progress = Arc::clone(&shared);
    thread::Builder::new()
        .name("rtrb-consumer".to_owned())
        .spawn(move || {
            let run =
                cores::pin(core).and_then(|()| consume::<PAUSES>(consumer, &orders, &progress));
            // The near side sees it by the missing progress.
            if let Err(error) = run {
                eprintln!("rtrb consumer: {error:#}");
            }
        })
        .context("cannot start the consuming thread")?;
    Ok((RtrbProducer { ring: producer, next: 0 }, RtrbConsumer { blocks, shared, begun: 0 }))
}

fn consume<const PAUSES: u32>(
    mut ring: Consumer<Item>,
    orders: &Receiver<u64>,
    progress: &Progress,
) -> Result<()> {
    let mut first = 0;
    while let Ok(count) = orders.recv() {
        progress.begun.fetch_add(1, Ordering::Release);
        let mut found = 0u64;
        for _ in 0..count {
            let item = loop {
                if let Ok(item) = ring.pop() {
                    break item;
                }
                spin_until::<PAUSES>(|| !ring.is_empty())?;
            };
            found = item.into_iter().fold(found, u64::wrapping_add);
        }
        let expected = Payloads::<8>::checksum(first, count);
        if found != expected {
            return Err(BlockError::Corrupt { expected, found }.into());
        }
        first += count;
        progress.finished.fetch_add(1, Ordering::Release);
    }
    Ok(())
}

impl Counterpart for RtrbConsumer {
    fn start(&mut self, count: u64) -> Result<()> {
        self.begun += 1;
        self.blocks.send(count).map_err(|_| anyhow!("the consuming thread has ended"))?;
        spin_until::<1>(|| self.shared.begun.load(Ordering::Acquire) == self.begun)
            .context("the consuming thread did not begin its block")
    }

    fn finish(&mut self) -> Result<()> {
        spin_until::<1>(|| self.shared.finished.load(Ordering::Acquire) == self.begun)
            .context("the consuming thread did not finish its block")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cores::Cores;

    #[test]
    fn blocks_arrive_whole() {
        let cores = Cores::choose().unwrap();
        let (mut producer, mut consumer) = start::<1>(cores.far).unwrap();
        for messages in [1, 3 * stream::SLOTS as u64 + 7, 5] {
            consumer.start(messages).unwrap();
            producer.publish(messages).unwrap();
            consumer.finish().unwrap();
        }
    }
}
