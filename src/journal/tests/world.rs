//! A log with its publisher, and the machine that its journal is written on.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use crate::journal::disk::faulty::{FaultyDisk, Machine, Random};
use crate::journal::disk::{Disk, Part};
use crate::journal::recovery::{Recovered, RecoveryError, recover};
use crate::journal::restore::close;
use crate::journal::retention::is_beginning;
use crate::journal::start::{StartError, start};
use crate::journal::status::JournalState;
use crate::journal::writer::{Fault, SyncPolicy, Writer as Journal};
use crate::log::block::{BLOCK_BYTES, LogId, block_start};
use crate::log::gate::Gate;
use crate::log::kill;
use crate::log::memory::{Memory, WORD_BYTES};
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

/// The same while the disk is left alone, so that it is asked again after a few steps.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) const POLICIES: [SyncPolicy; 3] =
    [SyncPolicy::None, SyncPolicy::Interval(Duration::from_millis(2)), SyncPolicy::Always];

pub(super) struct World {
    pub(super) machine: Rc<RefCell<Machine>>,
    pub(super) random: Random,
    pub(super) ring: Ring,
    pub(super) pages: Pages,
    cursors: Memory,
    pub(super) publisher: Writer,
    pub(super) journal: Option<Journal<FaultyDisk>>,
    pub(super) policy: SyncPolicy,
    /// The publisher dies in one of so many messages; 0 = never.
    pub(super) deaths: u64,
    /// Whether few messages come at a time, so that blocks are written in many steps.
    pub(super) is_slow: bool,
    /// Whether the publisher may go on without the journal.
    pub(super) overruns: bool,
    /// What the journal lacks then, as it said when it went on: offsets, in order.
    pub(super) missing: Vec<Range<u64>>,
    /// Whether segments are removed once all of them is durable.
    pub(super) recycles: bool,
    now: Duration,
    /// What the journal promised so far.
    acknowledged: u64,
}

impl World {
    pub(super) fn new(seed: u64, segment_blocks: u64, policy: SyncPolicy) -> World {
        let ring = Ring::new(Memory::heap(RING_BYTES));
        let pages = Pages::heap();
        let cursors = Memory::heap(SLOTS as u64 * PAGE_BYTES);
        let publisher = new_publisher(&ring, &pages, &cursors);
        World {
            machine: Machine::new(seed, segment_blocks),
            random: Random(!seed),
            ring,
            pages,
            cursors,
            publisher,
            journal: None,
            policy,
            deaths: 0,
            is_slow: false,
            overruns: false,
            missing: Vec::new(),
            recycles: false,
            now: Duration::ZERO,
            acknowledged: 0,
        }
    }

    /// Starts a journal, or goes on with one.
    pub(super) fn start(&mut self) -> Result<(), StartError> {
        let before = self.page(pages::journal::MISSING_END);
        let end = self.overruns.then(|| self.end());
        let disk = FaultyDisk::new(&self.machine);
        let (journal, _) = start(disk, self.ring.clone(), &self.pages, LOG_ID, self.policy)?;
        self.journal = Some(journal);
        if let Some(end) = end.filter(|_| self.page(pages::journal::MISSING_END) > before) {
            // What it came to before it was left behind once more was not told yet.
            self.missing.pop_if(|last| last.start == end);
            self.missing.push(end..self.page(pages::journal::MISSING_END));
        }
        self.assert_nothing_remains();
        Ok(())
    }

    /// Fails where anything is there behind the end of a journal that has just begun, or in a
    /// segment that goes on in the next one.
    fn assert_nothing_remains(&self) {
        let end = self.page(pages::journal::WRITTEN).div_ceil(BLOCK_BYTES);
        let machine = self.machine.borrow();
        let blocks = machine.segment_blocks();
        let buffer = BlockBuffer::new(1).expect("memory");
        let firsts = machine.firsts();
        for (index, first) in firsts.iter().enumerate() {
            let next = firsts.get(index + 1).map_or(u64::MAX, |next| next + 1);
            for number in next.min(end.max(*first))..first + blocks {
                let bytes = machine.read(*first, block_start(number - first), PAGE_BYTES);
                let (memory, at) = buffer.place(number);
                memory.words().store_bytes(at / WORD_BYTES, &bytes);
                assert_eq!(buffer.checkpoints(number, LOG_ID), [None; 2], "block {number}");
            }
        }
    }

    /// The ring is gone, as it is after a power cut, and made anew where the journal ends; another
    /// journal goes on with it.
    pub(super) fn begin_anew(&mut self) -> Result<(), StartError> {
        self.acknowledged = self.acknowledged();
        self.journal = None;
        let (beginning, _) = close(&mut FaultyDisk::new(&self.machine), LOG_ID)?;
        self.machine.borrow_mut().unlock();
        self.ring = Ring::new(Memory::heap(RING_BYTES));
        self.pages = Pages::heap();
        self.cursors = Memory::heap(SLOTS as u64 * PAGE_BYTES);
        let set = |field, value| self.pages.publisher.store(field, value, Ordering::Relaxed);
        set(pages::publisher::BASE, beginning.position);
        set(pages::publisher::BASE_OFFSET, beginning.offset);
        set(pages::publisher::BASE_TIMESTAMP_MAX_NS, beginning.timestamp_max_ns);
        set(pages::publisher::RESERVED, beginning.position);
        set(pages::publisher::EPOCH, beginning.epoch);
        self.publisher = new_publisher(&self.ring, &self.pages, &self.cursors);
        self.start()
    }

    /// The journal's process is killed, and another one goes on, until step `stop_at` of the
    /// machine if that comes so soon. What was acknowledged is there.
    pub(super) fn kill(&mut self, stop_at: Option<u64>) {
        self.journal = None;
        self.machine.borrow_mut().kill();
        let end = self.end();
        assert!(end >= self.durable_offset(), "{end}");
        self.machine.borrow_mut().cut_at = stop_at;
        self.go_on();
    }

    /// The journal ends by itself, and is started anew.
    pub(super) fn restart(&mut self) {
        self.close();
        self.go_on();
    }

    /// Starts a journal behind another one, and again where the disk refuses.
    fn go_on(&mut self) {
        while let Err(error) = self.start() {
            assert!(matches!(error, StartError::Recovery(RecoveryError::Io { .. })), "{error}");
            if self.machine.borrow().is_off() {
                return;
            }
            self.close();
        }
    }

    /// The journal ends by itself.
    pub(super) fn close(&mut self) {
        self.journal = None;
        self.machine.borrow_mut().close();
    }

    /// Publishes some messages, as far as nobody is in the way.
    pub(super) fn publish(&mut self, count: u64) {
        for _ in 0..count {
            let offset = self.publisher.offset();
            let (timestamp_ns, payload) = (timestamp_ns(offset), payload(offset));
            let publish =
                |publisher: &mut Writer| publisher.try_publish(timestamp_ns, &payload[..]);
            if self.deaths != 0 && self.random.one_in(self.deaths) {
                // Short messages take few stores, those of several blocks thousands.
                let most = if self.random.one_in(2) { 40 } else { 15_000 };
                let stores = self.random.below(most);
                kill::after(stores, || publish(&mut self.publisher));
                self.publisher = new_publisher(&self.ring, &self.pages, &self.cursors);
            } else if let Err(blocked) = publish(&mut self.publisher) {
                if !self.overruns || !self.random.one_in(5) {
                    return;
                }
                self.publisher.gate().evict(blocked);
            }
        }
    }

    pub(super) fn poll(&mut self) -> Result<usize, Fault> {
        self.now += match self.state() {
            JournalState::Failing => PAUSE,
            // So long at times that whatever waits is due.
            _ if self.random.one_in(30) => Duration::from_millis(self.random.below(150)),
            _ => STEP,
        };
        let work = self.journal.as_mut().expect("it was started").poll(self.now);
        let durable = self.durable_offset();
        assert!(
            durable >= self.acknowledged,
            "it only grows: {durable} {:?} {:?} {:?}",
            self.policy,
            self.acknowledged,
            self.missing
        );
        self.acknowledged = durable;
        work
    }

    /// A step of a run that goes on until the power is cut, or `end` was published.
    pub(super) fn step(&mut self, end: u64) -> Result<(), Fault> {
        if self.publisher.offset() < end && self.random.one_in(3) {
            let count = match self.random.below(4) {
                _ if self.is_slow => self.random.below(4),
                // A few rings.
                _ if self.overruns && self.random.one_in(10) => 5_000,
                0 => 400,
                _ => self.random.below(20),
            };
            self.publish(count.min(end - self.publisher.offset()));
        }
        self.poll()?;
        if self.recycles {
            self.recycle();
        }
        Ok(())
    }

    /// Removes the oldest segment, if no recovery needs it.
    fn recycle(&mut self) {
        let firsts = self.machine.borrow().firsts();
        if let [first, next, ..] = firsts[..]
            && is_beginning(next, self.told())
        {
            let mut disk = FaultyDisk::new(&self.machine);
            disk.remove(first).expect("it is there");
            // Refused only once the power is off.
            let _ = disk.sync();
        }
    }

    /// Up to where the files say by themselves that everything is on disk, as the journal tells
    /// whoever removes segments.
    pub(super) fn told(&self) -> u64 {
        self.page(pages::journal::TOLD)
    }

    /// Fails unless the files say by themselves, after a power cut, what the journal told before
    /// it, and unless everything that was `acknowledged` is there, also without the segments that
    /// may go.
    pub(super) fn check_without_what_may_go(&self, told: u64, acknowledged: u64) {
        let says = self.try_recover().expect("it can be recovered").durable.position;
        assert!(says >= told, "{says} of {told}");
        let firsts = self.machine.borrow().firsts();
        for pair in firsts.windows(2).take_while(|pair| is_beginning(pair[1], told)) {
            FaultyDisk::new(&self.machine).remove(pair[0]).expect("it is there");
        }
        let there = self.check();
        assert!(there >= acknowledged, "without what may go: {there} of {acknowledged}");
    }

    /// Polls until everything is on disk, or the power goes.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        self.journal.as_mut().expect("it was started").settle();
        for _ in 0..1_000_000 {
            // The first look finds what was published since the last.
            self.poll()?;
            let is_settled = self.journal.as_ref().is_some_and(Journal::is_settled);
            if is_settled || self.machine.borrow().is_off() {
                return Ok(());
            }
        }
        panic!("it never settles: {:?}", self.journal);
    }

    /// What the journal promised to be on disk.
    pub(super) fn durable_offset(&self) -> u64 {
        self.pages.journal.load(pages::journal::DURABLE_OFFSET, Ordering::Acquire)
    }

    /// What any journal so far promised, whatever its pages were.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.max(self.durable_offset())
    }

    pub(super) fn state(&self) -> JournalState {
        JournalState::from_code(self.page(pages::journal::STATE))
    }

    /// A word of the journal's page.
    pub(super) fn page(&self, field: u64) -> u64 {
        self.pages.journal.load(field, Ordering::Relaxed)
    }

    /// Fails when the publisher went on without the journal, if only once.
    pub(super) fn assert_never_evicted(&self) {
        let evictions = self.pages.publisher.load(pages::publisher::EVICTIONS, Ordering::Relaxed);
        assert_eq!(evictions, 0);
    }

    pub(super) fn try_recover(&self) -> Result<Recovered<usize>, RecoveryError> {
        let recovered = recover(&mut FaultyDisk::new(&self.machine), LOG_ID);
        self.machine.borrow_mut().unlock();
        recovered
    }

    /// Offset at which the journal ends.
    fn end(&self) -> u64 {
        let recovered = self.try_recover().expect("it can be recovered");
        recovered.last.map_or(0, |last| last.end().offset)
    }

    /// Fails unless what is on disk is a part of what was published, from its beginning on unless
    /// segments were removed, and returns the offset at which it ends.
    pub(super) fn check(&self) -> u64 {
        let recovered = self.try_recover().expect("it can be recovered");
        let Some(last) = &recovered.last else { return 0 };
        let end = last.end();
        assert!(end.offset <= self.publisher.offset());
        // A quarter of it is the longest message that its reader takes.
        let blocks = (last.number + 1).next_power_of_two().max(64);
        let mut buffer = BlockBuffer::new(blocks).expect("memory");
        let mut disk = FaultyDisk::new(&self.machine);
        let segments: Vec<_> = disk.segments().expect("names").into_iter().rev().collect();
        let oldest = segments.last().copied().expect("there is a segment");
        for number in oldest..=last.number {
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
        let from =
            Start { position: block_start(oldest), offset: 0, due: None, joining: oldest > 0 };
        let mut reader = Reader::copied(buffer.ring().clone(), from);
        let mut due = (oldest == 0).then_some(0);
        loop {
            match reader.peek().expect("nobody writes to it") {
                Some(Frame::Message(message)) => {
                    let offset = due.unwrap_or(message.offset);
                    assert_eq!(
                        (message.offset, message.timestamp_ns),
                        (offset, timestamp_ns(offset))
                    );
                    assert!(message.payload == payload(offset), "message {offset}");
                    due = Some(offset + 1);
                }
                Some(frame) => panic!("{frame:?}"),
                None => break,
            }
            reader.consume();
        }
        assert_eq!(due.unwrap_or(end.offset), end.offset);
        end.offset
    }
}

/// A publisher, after the one before it if there was one.
fn new_publisher(ring: &Ring, pages: &Pages, cursors: &Memory) -> Writer {
    let reserved = pages.publisher.load(pages::publisher::RESERVED, Ordering::Acquire);
    let gate = Gate::new(pages.clone(), cursors.clone(), RING_BYTES, reserved);
    take_over(ring.clone(), gate, None, LOG_ID).expect("a sound log")
}

pub(super) fn timestamp_ns(offset: u64) -> u64 {
    offset * 3
}

/// What message `offset` says: short ones, some of several pages, and few of several blocks.
pub(super) fn payload(offset: u64) -> Vec<u8> {
    let mut random = Random(offset);
    let bytes = match random.below(200) {
        0 => random.below(100_000),
        1..10 => random.below(6_000),
        _ => random.below(120),
    };
    (0..bytes).map(|at| (at + offset) as u8).collect()
}
