//! A log with its publisher, and the machine that its journal is written on.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::journal::disk::faulty::{FaultyDisk, Machine, Random};
use crate::journal::disk::{Disk, Part};
use crate::journal::recovery::{Recovered, recover};
use crate::journal::start::{StartError, start};
use crate::journal::writer::{Fault, SyncPolicy, Writer as Journal};
use crate::log::block::{BLOCK_BYTES, LogId, block_start};
use crate::log::gate::Gate;
use crate::log::memory::Memory;
use crate::log::pages::{self, PAGE_BYTES, Pages, SLOTS};
use crate::log::reader::{Frame, Reader, Start};
use crate::log::ring::Ring;
use crate::log::segment::{BlockBuffer, Verdict};
use crate::log::takeover::take_over;
use crate::log::writer::Writer;
use crate::sync::Ordering;

pub(super) const LOG_ID: LogId = LogId([3, 4]);

const RING_BYTES: u64 = 8 * BLOCK_BYTES;

/// How much time passes between two steps.
const STEP: Duration = Duration::from_micros(100);

pub(super) struct World {
    pub(super) machine: Rc<RefCell<Machine>>,
    pub(super) random: Random,
    ring: Ring,
    pub(super) pages: Pages,
    pub(super) publisher: Writer,
    pub(super) journal: Option<Journal<FaultyDisk>>,
    policy: SyncPolicy,
    now: Duration,
}

impl World {
    pub(super) fn new(seed: u64, segment_blocks: u64, policy: SyncPolicy) -> World {
        let ring = Ring::new(Memory::heap(RING_BYTES));
        let pages = Pages::heap();
        let cursors = Memory::heap(SLOTS as u64 * PAGE_BYTES);
        let gate = Gate::new(pages.clone(), cursors, RING_BYTES, 0);
        let publisher = take_over(ring.clone(), gate, None, LOG_ID).expect("a sound log");
        World {
            machine: Machine::new(seed, segment_blocks),
            random: Random(!seed),
            ring,
            pages,
            publisher,
            journal: None,
            policy,
            now: Duration::ZERO,
        }
    }

    /// Starts a journal, or goes on with one.
    pub(super) fn start(&mut self) -> Result<(), StartError> {
        let disk = FaultyDisk::new(&self.machine);
        let (journal, _) = start(disk, self.ring.clone(), &self.pages, LOG_ID, self.policy)?;
        self.journal = Some(journal);
        Ok(())
    }

    /// Publishes some messages, as far as nobody is in the way.
    pub(super) fn publish(&mut self, count: u64) {
        for _ in 0..count {
            let offset = self.publisher.offset();
            if self.publisher.try_publish(timestamp_ns(offset), &payload(offset)[..]).is_err() {
                return;
            }
        }
    }

    pub(super) fn poll(&mut self) -> Result<usize, Fault> {
        self.now += STEP;
        self.journal.as_mut().expect("it was started").poll(self.now)
    }

    /// A step of a run that goes on until the power is cut, or `end` was published.
    pub(super) fn step(&mut self, end: u64) -> Result<(), Fault> {
        if self.publisher.offset() < end && self.random.one_in(3) {
            let count = if self.random.one_in(4) { 400 } else { self.random.below(20) };
            self.publish(count.min(end - self.publisher.offset()));
        }
        self.poll().map(drop)
    }

    /// Polls until everything is on disk, or the power goes.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        self.journal.as_mut().expect("it was started").settle();
        for _ in 0..1_000_000 {
            let is_settled = self.journal.as_ref().is_some_and(Journal::is_settled);
            if is_settled || self.machine.borrow().is_off() {
                return Ok(());
            }
            self.poll()?;
        }
        panic!("it never settles: {:?}", self.journal);
    }

    /// What the journal promised to be on disk.
    pub(super) fn durable_offset(&self) -> u64 {
        self.pages.journal.load(pages::journal::DURABLE_OFFSET, Ordering::Acquire)
    }

    pub(super) fn recover(&self) -> Recovered<usize> {
        recover(&mut FaultyDisk::new(&self.machine), LOG_ID).expect("it can be recovered")
    }

    /// Fails unless what is on disk is a prefix of what was published, and returns its length.
    pub(super) fn check(&self) -> u64 {
        let recovered = self.recover();
        self.machine.borrow_mut().unlock();
        let Some(last) = &recovered.last else { return 0 };
        let end = last.end();
        assert!(end.offset <= self.publisher.offset());
        // A quarter of it is the longest message that its reader takes.
        let blocks = (last.number + 1).next_power_of_two().max(64);
        let mut buffer = BlockBuffer::new(blocks).expect("memory");
        let mut disk = FaultyDisk::new(&self.machine);
        let segments: Vec<_> = disk.segments().expect("names").into_iter().rev().collect();
        for number in 0..=last.number {
            // The newest segment that has it.
            let found = segments.iter().any(|first| {
                if number < *first || number >= first + disk.segment_blocks() {
                    return false;
                }
                let (memory, at) = buffer.place(number);
                let part = Part { memory: memory.clone(), at, bytes: BLOCK_BYTES };
                let segment = disk.open(*first).expect("nobody else has it");
                disk.read(&segment, block_start(number - first), &part).expect("it can be read");
                self.machine.borrow_mut().unlock();
                matches!(buffer.examine(number, LOG_ID), Verdict::Sound(_))
            });
            assert!(found, "block {number} of {} is not there", last.number);
        }
        let from = Start { position: 0, offset: 0, due: None, joining: false };
        let mut reader = Reader::copied(buffer.ring().clone(), from);
        let mut offset = 0;
        loop {
            match reader.peek().expect("nobody writes to it") {
                Some(Frame::Message(message)) => {
                    assert_eq!(
                        (message.offset, message.timestamp_ns),
                        (offset, timestamp_ns(offset))
                    );
                    assert_eq!(message.payload, payload(offset), "message {offset}");
                    offset += 1;
                }
                Some(frame) => panic!("{frame:?}"),
                None => break,
            }
            reader.consume();
        }
        assert_eq!(offset, end.offset);
        offset
    }
}

fn timestamp_ns(offset: u64) -> u64 {
    offset * 3
}

/// What message `offset` says: short ones, some of several pages, and few of several blocks.
fn payload(offset: u64) -> Vec<u8> {
    let mut random = Random(offset);
    let bytes = match random.below(200) {
        0 => random.below(100_000),
        1..10 => random.below(6_000),
        _ => random.below(120),
    };
    (0..bytes).map(|at| (at + offset) as u8).collect()
}
