//! A disk for tests that does to unflushed writes what a power cut does: each of them is there, or
//! not, or of each of its sectors what it or an earlier write left. Driven by a seed, so that what
//! went wrong can be repeated.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::rc::Rc;

use zerocopy::IntoBytes;

use crate::journal::disk::{Completion, Disk, PAGE_BYTES, Part};
use crate::log::block::BLOCK_BYTES;
use crate::log::memory::WORD_BYTES;

/// What a disk writes as a whole or not at all.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// Numbers that look random and are the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True in one of `count` cases.
    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What goes wrong, and how often: one in so many, 0 = never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) short_write: u64,
    pub(crate) write_error: u64,
    pub(crate) flush_error: u64,
    pub(crate) full: u64,
    /// Bytes of the segment that begins with a block that cannot be read.
    pub(crate) unreadable: Vec<(u64, std::ops::Range<u64>)>,
}

/// The machine that the disk is in. It outlives journals, and power cuts.
pub(crate) struct Machine {
    random: Random,
    pub(crate) faults: Faults,
    segment_blocks: u64,
    inodes: Vec<Inode>,
    /// What is found under which name, as long as there is power, and without it.
    names: BTreeMap<u64, usize>,
    durable_names: BTreeMap<u64, usize>,
    /// With the number that each had. One is used again for a higher number only: what it holds
    /// would be taken for the log's.
    spares: Vec<(u64, usize)>,
    /// Which are kept from other writers.
    locked: BTreeSet<usize>,
    under_way: Vec<UnderWay>,
    preparing: Option<u64>,
    /// Requests and completions so far, and names that were changed.
    pub(crate) steps: u64,
    /// The power is cut at this step.
    pub(crate) cut_at: Option<u64>,
    /// What is written may be something else by then: the publisher does not wait.
    pub(crate) may_change: bool,
    /// Writers before this one are dead: nothing of theirs completes.
    generation: u64,
}

#[derive(Default)]
struct Inode {
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What was written since, in order.
    writes: Vec<Write>,
}

struct Write {
    at: u64,
    bytes: Vec<u8>,
    /// Its completion was returned.
    is_over: bool,
    is_durable: bool,
    /// A flush that was to make it durable failed: no later one does.
    is_doomed: bool,
    request: u64,
}

#[derive(Debug)]
struct UnderWay {
    id: u64,
    inode: usize,
    what: What,
    request: u64,
}

#[derive(Debug)]
enum What {
    Write { parts: Vec<Part> },
    Flush { requests: Vec<u64> },
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("steps", &self.steps)
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}

impl Machine {
    pub(crate) fn new(seed: u64, segment_blocks: u64) -> Rc<RefCell<Machine>> {
        Rc::new(RefCell::new(Machine {
            random: Random(seed),
            faults: Faults::default(),
            segment_blocks,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            spares: Vec::new(),
            locked: BTreeSet::new(),
            under_way: Vec::new(),
            preparing: None,
            steps: 0,
            may_change: false,
            cut_at: None,
            generation: 0,
        }))
    }

    /// Whether the power was cut.
    pub(crate) fn is_off(&self) -> bool {
        self.cut_at.is_some_and(|at| self.steps >= at)
    }

    /// The power is cut, and comes back.
    pub(crate) fn cut_power(&mut self) {
        self.lose();
        let either: Vec<u64> =
            self.names.keys().chain(self.durable_names.keys()).copied().collect();
        for name in either {
            let (is, was) =
                (self.names.get(&name).copied(), self.durable_names.get(&name).copied());
            let kept = if self.random.one_in(2) { is } else { was };
            self.durable_names.remove(&name);
            self.durable_names.extend(kept.map(|inode| (name, inode)));
        }
        // A file that was given another name has one of the two.
        let mut files = BTreeSet::new();
        self.durable_names.retain(|_, inode| files.insert(*inode));
        self.names = self.durable_names.clone();
        self.spares.clear();
        self.cut_at = None;
    }

    /// The process is killed: what was under way is done, or not, or in part.
    pub(crate) fn kill(&mut self) {
        for inode in &mut self.inodes {
            for write in inode.writes.iter_mut().filter(|write| !write.is_over) {
                let sectors = write.bytes.len() as u64 / SECTOR_BYTES;
                let keep = match self.random.below(3) {
                    0 => 0,
                    1 => sectors,
                    _ => self.random.below(sectors),
                };
                write.bytes.truncate((keep * SECTOR_BYTES) as usize);
                write.is_over = true;
            }
        }
        self.forget_writer();
        self.cut_at = None;
    }

    /// The process ends by itself, once everything that is under way is over.
    pub(crate) fn close(&mut self) {
        while !self.under_way.is_empty() {
            self.complete(0);
        }
        self.forget_writer();
    }

    /// Whoever had segments open has them no more.
    pub(crate) fn unlock(&mut self) {
        self.locked.clear();
    }

    fn forget_writer(&mut self) {
        // Who makes a segment ready may have come as far as to its name.
        if let Some(first) = self.preparing.take()
            && self.random.one_in(2)
        {
            let inode = self.fresh(first);
            self.names.insert(first, inode);
        }
        self.under_way.clear();
        self.locked.clear();
        self.generation += 1;
    }

    /// What is not durable is lost or kept: write by write, or sector by sector.
    fn lose(&mut self) {
        self.forget_writer();
        for inode in &mut self.inodes {
            for write in std::mem::take(&mut inode.writes) {
                let fate = if write.is_durable { 0 } else { self.random.below(3) };
                for (index, sector) in write.bytes.chunks(SECTOR_BYTES as usize).enumerate() {
                    let at = write.at as usize + index * SECTOR_BYTES as usize;
                    if fate == 0 || (fate == 1 && self.random.one_in(2)) {
                        inode.durable[at..][..sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }

    /// Flips one bit of what is durable.
    pub(crate) fn flip_bit(&mut self, first: u64, bit: u64) {
        let inode = self.names[&first];
        self.settle(inode);
        self.inodes[inode].durable[(bit / 8) as usize] ^= 1 << (bit % 8);
    }

    /// Cuts a segment's file off.
    pub(crate) fn truncate(&mut self, first: u64, bytes: u64) {
        let inode = self.names[&first];
        self.settle(inode);
        self.inodes[inode].durable[bytes as usize..].fill(0);
    }

    /// The segments' first blocks.
    pub(crate) fn firsts(&self) -> Vec<u64> {
        self.names.keys().copied().collect()
    }

    pub(crate) fn segment_blocks(&self) -> u64 {
        self.segment_blocks
    }

    /// Bytes of the segment that begins with block `first`, as any process reads them.
    pub(crate) fn read(&self, first: u64, at: u64, bytes: u64) -> Vec<u8> {
        self.contents(self.names[&first], at, bytes)
    }

    /// What a reader finds from byte `at` of a file on; zeroes behind its end.
    fn contents(&self, inode: usize, at: u64, bytes: u64) -> Vec<u8> {
        let inode = &self.inodes[inode];
        let (at, bytes) = (at as usize, bytes as usize);
        let durable = &inode.durable[at.min(inode.durable.len())..];
        let mut contents = durable[..bytes.min(durable.len())].to_vec();
        contents.resize(bytes, 0);
        for write in inode.writes.iter().filter(|write| write.is_over) {
            let (from, to) = (write.at as usize, write.at as usize + write.bytes.len());
            let (start, end) = (from.max(at), to.min(at + bytes));
            if start < end {
                contents[start - at..end - at]
                    .copy_from_slice(&write.bytes[start - from..end - from]);
            }
        }
        contents
    }

    fn settle(&mut self, inode: usize) {
        let inode = &mut self.inodes[inode];
        for write in inode.writes.drain(..).filter(|write| write.is_over) {
            inode.durable[write.at as usize..][..write.bytes.len()].copy_from_slice(&write.bytes);
        }
    }

    fn step(&mut self) -> u64 {
        self.steps += 1;
        self.steps
    }

    fn make(&mut self, first: u64) -> io::Result<usize> {
        if self.faults.full != 0 && self.random.one_in(self.faults.full) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let inode = self.fresh(first);
        self.names.insert(first, inode);
        self.durable_names = self.names.clone();
        self.locked.insert(inode);
        Ok(inode)
    }

    /// A file for segment `first`: a new one, or one that was removed, with all that is in it.
    fn fresh(&mut self, first: u64) -> usize {
        self.spares.retain(|(number, _)| *number < first);
        if let Some((_, spare)) = self.spares.pop() {
            self.settle(spare);
            return spare;
        }
        let bytes = (self.segment_blocks * BLOCK_BYTES) as usize;
        self.inodes.push(Inode { durable: vec![0; bytes], writes: Vec::new() });
        self.inodes.len() - 1
    }

    fn complete(&mut self, index: usize) -> Completion {
        let UnderWay { id, inode, what, request } = self.under_way.swap_remove(index);
        let faults = self.faults.clone();
        let mut has_fault = |one_in: u64| one_in != 0 && self.random.one_in(one_in);
        let writes = &mut self.inodes[inode].writes;
        let result = match what {
            What::Write { parts } => {
                let at = writes.iter().position(|write| write.request == request);
                let at = at.expect("a write that is under way");
                let bytes = gather(&parts);
                let is_same = writes[at].bytes == bytes;
                assert!(is_same || self.may_change, "changed while it was written");
                if !is_same {
                    // Each page is as it was at some moment.
                    let pages = bytes.chunks(PAGE_BYTES as usize);
                    let written = writes[at].bytes.chunks_mut(PAGE_BYTES as usize);
                    for (written, page) in written.zip(pages) {
                        if has_fault(2) {
                            written.copy_from_slice(page);
                        }
                    }
                }
                writes[at].is_over = true;
                let pages = writes[at].bytes.len() as u64 / PAGE_BYTES;
                if has_fault(faults.write_error) {
                    // Whatever of it is there, nobody knows.
                    let sectors = writes[at].bytes.len() as u64 / SECTOR_BYTES;
                    let keep = self.random.below(sectors + 1) * SECTOR_BYTES;
                    writes[at].bytes.truncate(keep as usize);
                    Err(io::Error::from_raw_os_error(libc::EIO))
                } else if has_fault(faults.short_write) {
                    let bytes = self.random.below(pages + 1) * PAGE_BYTES;
                    writes[at].bytes.truncate(bytes as usize);
                    Ok(bytes)
                } else {
                    Ok(pages * PAGE_BYTES)
                }
            }
            What::Flush { requests } => {
                let is_bad = has_fault(faults.flush_error);
                for write in writes.iter_mut().filter(|write| requests.contains(&write.request)) {
                    write.is_doomed |= is_bad;
                    write.is_durable |= !write.is_doomed;
                }
                if is_bad { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(0) }
            }
        };
        Completion { id, result }
    }
}

/// One journal's way to the machine's disk.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    machine: Rc<RefCell<Machine>>,
    generation: u64,
    /// What it has opened, and may have closed.
    opened: BTreeSet<usize>,
}

impl FaultyDisk {
    pub(crate) fn new(machine: &Rc<RefCell<Machine>>) -> FaultyDisk {
        let generation = machine.borrow().generation;
        FaultyDisk { machine: machine.clone(), generation, opened: BTreeSet::new() }
    }
}

impl Disk for FaultyDisk {
    type Segment = usize;

    fn segment_blocks(&self) -> u64 {
        self.machine.borrow().segment_blocks
    }

    fn segments(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.machine.borrow().firsts())
    }

    fn open(&mut self, first: u64) -> io::Result<usize> {
        let mut machine = self.machine.borrow_mut();
        let inode = *machine.names.get(&first).ok_or(io::ErrorKind::NotFound)?;
        if !machine.locked.insert(inode) && !self.opened.contains(&inode) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.opened.insert(inode);
        Ok(inode)
    }

    fn read(&mut self, segment: &usize, at: u64, to: &Part) -> io::Result<()> {
        let machine = self.machine.borrow();
        let first =
            machine.names.iter().find(|(_, inode)| *inode == segment).map(|(name, _)| *name);
        let first = first.expect("a segment that has a name");
        let range = at..at + to.bytes;
        let meets = |(name, bad): &(u64, std::ops::Range<u64>)| {
            *name == first && bad.start < range.end && range.start < bad.end
        };
        if machine.faults.unreadable.iter().any(meets) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let bytes = machine.contents(*segment, at, to.bytes);
        to.memory.words().store_bytes(to.at / WORD_BYTES, &bytes);
        Ok(())
    }

    fn remove(&mut self, first: u64) -> io::Result<()> {
        let mut machine = self.machine.borrow_mut();
        machine.step();
        if let Some(inode) = machine.names.remove(&first) {
            machine.spares.push((first, inode));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut machine = self.machine.borrow_mut();
        machine.step();
        if machine.is_off() {
            return Err(is_off());
        }
        machine.durable_names = machine.names.clone();
        Ok(())
    }

    fn prepare(&mut self, first: u64) {
        let mut machine = self.machine.borrow_mut();
        assert!(machine.preparing.is_none(), "one at a time");
        machine.preparing = Some(first);
        machine.step();
    }

    fn prepared(&mut self) -> Option<io::Result<usize>> {
        let mut machine = self.machine.borrow_mut();
        let first = machine.preparing?;
        if machine.is_off() {
            machine.preparing = None;
            return Some(Err(is_off()));
        }
        if !machine.random.one_in(3) {
            return None;
        }
        machine.preparing = None;
        machine.step();
        Some(machine.make(first))
    }

    fn write(&mut self, id: u64, segment: &usize, at: u64, parts: &[Part]) {
        let mut machine = self.machine.borrow_mut();
        assert_eq!(machine.generation, self.generation);
        let bytes = gather(parts);
        let (end, request) = (at + bytes.len() as u64, machine.step());
        assert!(at.is_multiple_of(PAGE_BYTES) && end <= machine.segment_blocks * BLOCK_BYTES);
        for other in machine.inodes[*segment].writes.iter().filter(|write| !write.is_over) {
            let other_end = other.at + other.bytes.len() as u64;
            assert!(other_end <= at || end <= other.at, "two requests about one page");
        }
        let write =
            Write { at, bytes, is_over: false, is_durable: false, is_doomed: false, request };
        machine.inodes[*segment].writes.push(write);
        let what = What::Write { parts: parts.to_vec() };
        machine.under_way.push(UnderWay { id, inode: *segment, what, request });
    }

    fn flush(&mut self, id: u64, segment: &usize) {
        let mut machine = self.machine.borrow_mut();
        let request = machine.step();
        let over = machine.inodes[*segment].writes.iter().filter(|write| write.is_over);
        let requests = over.map(|write| write.request).collect();
        let what = What::Flush { requests };
        machine.under_way.push(UnderWay { id, inode: *segment, what, request });
    }

    fn finish(&mut self) -> io::Result<Completion> {
        loop {
            if let Some(completion) = self.completed() {
                return Ok(completion);
            }
            if self.machine.borrow().is_off() {
                return Err(is_off());
            }
        }
    }

    fn completed(&mut self) -> Option<Completion> {
        let mut machine = self.machine.borrow_mut();
        let count = machine.under_way.len() as u64;
        if machine.is_off() || count == 0 || machine.random.one_in(3) {
            return None;
        }
        let index = machine.random.below(count) as usize;
        machine.step();
        Some(machine.complete(index))
    }
}

fn is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn gather(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        assert!(part.at.is_multiple_of(PAGE_BYTES) && part.bytes.is_multiple_of(PAGE_BYTES));
        let mut words = vec![0_u64; (part.bytes / WORD_BYTES) as usize];
        part.memory.words().load_words(part.at / WORD_BYTES, &mut words);
        bytes.extend_from_slice(words.as_bytes());
    }
    bytes
}
