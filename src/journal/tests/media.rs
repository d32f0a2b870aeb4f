//! A medium that fails: bits that flip, ranges that cannot be read, files that are cut off.
//! Whatever it is, recovery finds a true beginning of the log, and tells what is missing, or names
//! the place.

use std::time::Duration;

use zerocopy::IntoBytes;

use super::world::World;
use crate::journal::disk::PAGE_BYTES;
use crate::journal::recovery::{Recovered, RecoveryError};
use crate::journal::tap::Place;
use crate::journal::writer::SyncPolicy;
use crate::log::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, block_of, block_start};
use crate::log::pages::journal::WRITTEN;
use crate::log::walk::Tail;

const SEGMENT_BLOCKS: u64 = 2;

/// Blocks of a journal that are full.
const BLOCKS: u64 = 2;

/// Bytes of a header's lines.
const HEADER_BITS: u64 = BLOCK_HEADER_BYTES * 8;

/// A journal of some blocks that the ring still holds.
struct Journal {
    world: World,
    end: Place,
    /// Up to where the checkpoints say that everything is durable.
    durable: u64,
}

impl Journal {
    /// One that was closed.
    fn closed() -> Journal {
        let mut world = World::new(3, SEGMENT_BLOCKS, SyncPolicy::Always);
        world.start().expect("nothing is there yet");
        while block_of(world.page(WRITTEN)) < BLOCKS {
            world.publish(1);
            world.poll().expect("a disk that works");
        }
        world.publish(70);
        world.settle().expect("a disk that works");
        world.close();
        Journal::new(world)
    }

    /// One that was killed before it was ever flushed.
    fn killed() -> Journal {
        let hour = Duration::from_secs(3600);
        let mut world = World::new(3, SEGMENT_BLOCKS, SyncPolicy::Interval(hour));
        world.start().expect("nothing is there yet");
        while block_of(world.page(WRITTEN)) < BLOCKS {
            let is_begun = world.ring.header(BLOCKS).is_some();
            world.publish(if is_begun { 0 } else { 7 });
            world.poll().expect("a disk that works");
        }
        world.close();
        Journal::new(world)
    }

    fn new(world: World) -> Journal {
        let recovered = world.try_recover().expect("sound");
        assert_eq!(recovered.cut, None);
        let end = recovered.last.as_ref().expect("there are blocks").end();
        let durable = recovered.durable.position;
        assert!(end.position <= world.ring.bytes_len());
        println!("{end:?}, durable up to {durable}");
        Journal { world, end, durable }
    }

    /// Fails unless it is a true beginning of the log that recovery believes, and everything where
    /// nothing was cut. Returns its end.
    fn check(&self, recovered: &Recovered<usize>) -> Place {
        let Some(last) = &recovered.last else { return Place::default() };
        let (end, ring) = (last.end(), &self.world.ring);
        assert!(end.position <= self.end.position);
        let header = ring.header(last.number).expect("the ring has it");
        let mut tail = Tail::at_block(last.number, &header);
        tail.advance(ring.lines(), end.position, |_, _| true).expect("sound");
        assert_eq!((tail.resume.position, tail.resume.offset), (end.position, end.offset));
        let start = block_start(last.number);
        for line in (start..end.position).step_by(64).filter(|line| *line != start + 64) {
            let (mut is, mut was) = ([0_u64; 8], [0_u64; 8]);
            recovered.buffer.ring().lines().load_words(line, &mut is);
            ring.lines().load_words(line, &mut was);
            assert_eq!(is.as_bytes(), was.as_bytes(), "at {line}");
        }
        end
    }

    /// Recovers with block `number` damaged; only its header, if only that is.
    fn recover_damaged(&self, number: u64, is_header: bool) {
        match self.world.try_recover() {
            Err(RecoveryError::Damaged { position, durable, .. }) => {
                assert_eq!(position, block_start(number));
                // A header that no power cut leaves so, before others, is told wherever it is.
                assert!((position < durable || is_header) && durable <= self.durable);
            }
            Err(error) => panic!("{error}"),
            Ok(recovered) => {
                let end = self.check(&recovered);
                if end != self.end {
                    assert!(end.position <= block_start(number + 1));
                    let cut = recovered.cut.expect("it is told");
                    assert_eq!(cut.from, end);
                    assert!(cut.to > end.position);
                    // What is durable is cut only where nothing is left that says so.
                    assert!(end.position >= self.durable || is_header);
                }
            }
        }
    }

    fn firsts(&self) -> Vec<u64> {
        self.world.machine.borrow().firsts()
    }

    /// The blocks of a segment.
    fn blocks(first: u64) -> impl Iterator<Item = u64> {
        first..first + SEGMENT_BLOCKS
    }

    fn flip_bits(&self) {
        for first in self.firsts() {
            let flip = |bit| self.world.machine.borrow_mut().flip_bit(first, bit);
            for number in Self::blocks(first) {
                let start = block_start(number - first) * 8;
                let headers = start..start + HEADER_BITS;
                let others = (start + HEADER_BITS..start + BLOCK_BYTES * 8).step_by(193);
                for bit in headers.clone().chain(others) {
                    flip(bit);
                    self.recover_damaged(number, headers.contains(&bit));
                    flip(bit);
                }
            }
        }
    }

    fn refuse_to_read(&self) {
        for first in self.firsts() {
            for page in (0..block_start(SEGMENT_BLOCKS)).step_by(PAGE_BYTES as usize) {
                let bad = vec![(first, page..page + 1)];
                self.world.machine.borrow_mut().faults.unreadable = bad;
                match self.world.try_recover() {
                    Err(RecoveryError::Io { position, .. }) => {
                        assert_eq!(position, block_start(first + block_of(page)));
                    }
                    Err(error) => panic!("{error}"),
                    Ok(recovered) => assert_eq!(self.check(&recovered), self.end),
                }
            }
        }
        self.world.machine.borrow_mut().faults.unreadable.clear();
    }

    /// Cuts a segment off at one place after another, from its end on.
    fn truncate(&self, first: u64, places: impl Iterator<Item = u64>) {
        for bytes in places {
            self.world.machine.borrow_mut().truncate(first, bytes);
            match self.world.try_recover() {
                Err(RecoveryError::Damaged { position, .. }) => {
                    assert_eq!(position, block_start(first + block_of(bytes)), "cut at {bytes}");
                }
                Err(error) => panic!("{error}"),
                Ok(recovered) => {
                    // What is durable is missing only where the header of the last block is, which
                    // says so.
                    let end = self.check(&recovered);
                    let header = block_start(block_of(self.end.position - 1) - first);
                    let is_there = bytes >= header + BLOCK_HEADER_BYTES;
                    assert!(end.position >= self.durable || !is_there, "cut at {bytes}");
                }
            }
        }
    }

    /// The segments with anything in them.
    fn used(&self) -> Vec<u64> {
        let is_used = |first: &u64| block_start(*first) < self.end.position;
        self.firsts().into_iter().filter(is_used).collect()
    }
}

/// Cuts the last segment of a journal off at every `step`th byte, and the others at every page.
fn truncate_all(journal: fn() -> Journal, step: usize) {
    let first = journal();
    let mut segments = first.used();
    let last = segments.pop().expect("there is one");
    let used = first.end.position - block_start(last);
    first.truncate(last, (0..=used as usize).rev().step_by(step).map(|at| at as u64));
    for segment in segments {
        let pages = block_start(SEGMENT_BLOCKS) / PAGE_BYTES;
        journal().truncate(segment, (0..pages).rev().map(|page| page * PAGE_BYTES));
    }
}

#[test]
fn a_flipped_bit_is_found_where_it_matters() {
    Journal::closed().flip_bits();
    Journal::killed().flip_bits();
}

#[test]
fn what_cannot_be_read_is_named() {
    Journal::closed().refuse_to_read();
    Journal::killed().refuse_to_read();
}

#[test]
fn a_file_that_is_cut_off_is_a_beginning_or_an_error() {
    truncate_all(Journal::closed, 1);
    truncate_all(Journal::killed, 61);
}
