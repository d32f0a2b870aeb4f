//! Segment files with holes, which a reader goes over from one block that is there to the next.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use zerocopy::IntoBytes;

use super::world::LOG_ID;
use crate::journal::blocks::Blocks;
use crate::journal::disk::faulty::Random;
use crate::journal::disk::{PAGE_BYTES, segment_name};
use crate::log::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, block_start};
use crate::log::memory::WORD_BYTES;
use crate::log::segment::{BlockBuffer, Checkpoint, Line, SLOTS_AT};
use crate::shm::dir::Dir;

const SEGMENT_BLOCKS: u64 = 8;

/// The first page of block `number`, with nothing in it that is not its header.
fn page_of(number: u64) -> Vec<u8> {
    let buffer = BlockBuffer::new(1).expect("memory");
    let header = BlockHeader {
        first_offset: number,
        timestamp_max_ns: 0,
        epoch: 1,
        first_message: BLOCK_HEADER_BYTES as u32,
    };
    buffer.ring().enter(number, LOG_ID, header, block_start(number + 1));
    let mut words = [0_u64; (PAGE_BYTES / WORD_BYTES) as usize];
    buffer.ring().lines().load_words(block_start(number), &mut words);
    let mut page = words.as_bytes().to_vec();
    let checkpoint =
        Checkpoint { used_bytes: BLOCK_HEADER_BYTES, crc: 0, durable: 0, sequence: 1, slot: 0 };
    let (line, rest) = page.split_at_mut(SLOTS_AT as usize);
    let line: &Line = (&*line).try_into().expect("a line");
    let slot = checkpoint.encode(line);
    rest[..slot.len()].copy_from_slice(&slot);
    page
}

/// What is written to the place of a block.
#[derive(Clone, Copy)]
enum Place {
    Hole,
    /// What is of another number, as a file that is used again has.
    Stale,
    Block,
}

/// Makes the file of a segment, all of whose places were written once if it `is_used_again`.
/// Returns the blocks in it.
fn make(dir: &Dir, first: u64, is_used_again: bool, random: &mut Random) -> Vec<u64> {
    let file = File::create(dir.path().join(segment_name(first))).expect("a file");
    // One that is longer than a segment is one all the same.
    let room = SEGMENT_BLOCKS + random.below(2);
    file.set_len(room * BLOCK_BYTES).expect("room");
    let mut blocks = Vec::new();
    let most = random.below(3);
    for index in 0..room {
        let place = match random.below(4) {
            at if at < most => Place::Block,
            _ if is_used_again || random.one_in(8) => Place::Stale,
            _ => Place::Hole,
        };
        let number = first + index;
        let page = match place {
            Place::Hole => continue,
            Place::Stale => page_of(number + SEGMENT_BLOCKS),
            Place::Block => page_of(number),
        };
        file.write_all_at(&page, index * BLOCK_BYTES).expect("written");
        if matches!(place, Place::Block) && index < SEGMENT_BLOCKS {
            blocks.push(number);
        }
    }
    blocks
}

/// One that lies in an older segment, where a newer one that has room for it does not have it, is
/// there too.
#[test]
fn the_next_block_that_is_there_is_found_over_all_holes() {
    let mut random = Random(1);
    for _ in 0..200 {
        let place = tempfile::tempdir().expect("a directory");
        let path = fs::canonicalize(place.path()).expect("a path");
        let dir = Dir::open(&path).expect("a directory");
        let mut there = Vec::new();
        let mut first = random.below(3);
        for _ in 0..1 + random.below(5) {
            let is_used_again = random.one_in(5);
            there.extend(make(&dir, first, is_used_again, &mut random));
            // Most begin where the one before ends, others within it, or far behind.
            first += match random.below(5) {
                0 | 1 => SEGMENT_BLOCKS,
                2 | 3 => 1 + random.below(SEGMENT_BLOCKS),
                _ => SEGMENT_BLOCKS + random.below(1_000),
            };
        }
        let mut blocks = Blocks::open(dir, LOG_ID, SEGMENT_BLOCKS).expect("readable");
        for number in 0..blocks.end() + 2 {
            let next = there.iter().copied().filter(|there| *there > number).min();
            let found = blocks.next_behind(number).expect("readable");
            assert_eq!(found, next, "behind {number} of {there:?}, in {:?}", blocks.places());
        }
    }
}
