//! Loading blocks before a reader comes to them, by threads of their own: they read and check while
//! the reader's thread hands out. There are several, so that the disk always has something to read.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::fork::{self, Generation};
use crate::journal::blocks::Blocks;
use crate::log::segment::BlockBuffer;

/// Blocks that are loaded together.
const LOAD_BLOCKS: u64 = 16;

/// Threads of a reader.
const THREADS: usize = 4;

/// Buffers of so many blocks: one is read, and the others are filled, or wait to be read.
const BUFFERS: u64 = 6;

/// What is loaded ahead of one reader.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    /// `None` only while it is dropped.
    orders: Option<SyncSender<Order>>,
    /// What was asked for, in order: the first block, and where it comes.
    under_way: VecDeque<(u64, Receiver<Loaded>)>,
    /// Buffers that nothing was asked for with.
    free: Vec<BlockBuffer>,
    /// The block that is asked for next.
    next: u64,
    /// Where segments end: what is asked for goes up to there.
    blocks: Blocks,
    reads: u64,
    threads: Vec<JoinHandle<()>>,
    made_in: Generation,
}

/// What is to be loaded.
#[derive(Debug)]
struct Order {
    number: u64,
    count: u64,
    buffer: BlockBuffer,
    loaded: SyncSender<Loaded>,
}

/// What was loaded.
#[derive(Debug)]
struct Loaded {
    buffer: BlockBuffer,
    /// How many blocks can be believed, of those that were asked for.
    sound: u64,
    /// How often a file was read from.
    reads: u64,
}

impl ReadAhead {
    /// Begins with block `number` of `blocks`.
    ///
    /// # Errors
    /// When there is no memory left, or no thread can be had.
    pub(crate) fn start(blocks: &Blocks, number: u64) -> io::Result<ReadAhead> {
        fork::watch()?;
        let made_in = Generation::now();
        let free = BlockBuffer::several(BUFFERS, LOAD_BLOCKS)?;
        let (orders, wanted) = sync_channel(free.len());
        let mut ahead = ReadAhead {
            orders: Some(orders),
            under_way: VecDeque::with_capacity(free.len()),
            free,
            next: number,
            blocks: blocks.try_clone()?,
            reads: 0,
            threads: Vec::new(),
            made_in,
        };
        let wanted = Arc::new(Mutex::new(wanted));
        for _ in 0..THREADS {
            let (blocks, wanted) = (blocks.try_clone()?, wanted.clone());
            let thread = thread::Builder::new().name("tickcast-ahead".into());
            ahead.threads.push(thread.spawn(move || work(blocks, &wanted))?);
        }
        ahead.ask();
        Ok(ahead)
    }

    /// Hands over the blocks from `number` on, at least that one, in exchange for a buffer that is
    /// no longer read. False where they were not asked for, or cannot be believed.
    pub(crate) fn exchange(
        &mut self,
        number: u64,
        exchange: impl FnOnce(BlockBuffer) -> BlockBuffer,
    ) -> bool {
        while let Some((first, loaded)) = self.under_way.pop_front() {
            // A forked child does not have the threads.
            if !self.made_in.is_current() {
                return false;
            }
            let Ok(Loaded { buffer, sound, reads }) = loaded.recv() else { return false };
            self.reads += reads;
            if first == number && sound > 0 {
                let before = exchange(buffer);
                if before.ring().blocks() == LOAD_BLOCKS {
                    self.free.push(before);
                }
                self.ask();
                return true;
            }
            self.free.push(buffer);
        }
        false
    }

    /// Goes on with block `number`, once nothing that was asked for before has come in order.
    pub(crate) fn go_on(&mut self, number: u64) {
        if self.under_way.is_empty() {
            self.next = number;
            self.ask();
        }
    }

    /// How often the threads have read from a file.
    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }

    fn ask(&mut self) {
        while let (Some(orders), Some(buffer)) = (&self.orders, self.free.pop()) {
            let number = self.next;
            // What cannot be told is left to who comes to it.
            let count = self.blocks.room(number, buffer.blocks_behind(number)).unwrap_or(0);
            if count == 0 {
                self.free.push(buffer);
                break;
            }
            self.next += count;
            let (loaded, receiver) = sync_channel(1);
            self.under_way.push_back((number, receiver));
            // If the threads have ended, nothing is received either.
            let _ = orders.send(Order { number, count, buffer, loaded });
        }
    }
}

fn work(mut blocks: Blocks, wanted: &Mutex<Receiver<Order>>) {
    let next = || wanted.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(Order { number, count, mut buffer, loaded }) = next() {
        let before = blocks.reads();
        // It may have later blocks than these, which nobody came to.
        buffer.forget_all();
        // What cannot be read or believed is looked at again by who comes to it.
        let sound = blocks.load(number, count, &mut buffer).map_or(0, |(sound, _)| sound);
        let reads = blocks.reads() - before;
        // Who asked for it may have gone.
        let _ = loaded.send(Loaded { buffer, sound, reads });
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        drop(self.orders.take());
        for thread in self.threads.drain(..) {
            if self.made_in.is_current() {
                let _ = thread.join();
            } else {
                // A forked child does not have it.
                mem::forget(thread);
            }
        }
    }
}
