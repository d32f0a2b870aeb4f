//! The stage alone: blocks that grow in any steps, applied to a file as the pieces say.

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::world::LOG_ID;
use crate::journal::disk::faulty::Random;
use crate::journal::disk::{PAGE_BYTES, Part};
use crate::journal::stage::{Mark, Piece, Stage};
use crate::log::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, block_start};
use crate::log::memory::Memory;
use crate::log::ring::Ring;
use crate::log::segment::{BlockBuffer, Sound, Verdict};
use crate::sync::Ordering;

const LINE_BYTES: u64 = 64;
const BLOCKS: u64 = 4;

/// A ring with blocks from `first` on, full of whatever.
fn ring(first: u64) -> Ring {
    let ring = Ring::new(Memory::heap(BLOCKS * BLOCK_BYTES));
    let mut random = Random(first);
    for number in first..first + BLOCKS {
        let start = block_start(number);
        for at in (start..start + BLOCK_BYTES).step_by(8) {
            ring.lines().store(at, random.next(), Ordering::Relaxed);
        }
        let header = BlockHeader {
            first_offset: number * 1000,
            timestamp_max_ns: number,
            epoch: 1,
            first_message: 128,
        };
        ring.enter(number, LOG_ID, header, 0);
    }
    ring
}

/// `bytes` of the ring from `position` on, without line 1 of their block.
fn bytes_of(ring: &Ring, position: u64, bytes: u64) -> Vec<u8> {
    let mut words = vec![0_u64; (bytes / 8) as usize];
    ring.lines().load_words(position, &mut words);
    words[8..16].fill(0);
    words.as_bytes().to_vec()
}

/// A file of some blocks, which begins with block `first`.
struct File {
    bytes: Vec<u8>,
    first: u64,
}

impl File {
    /// One that was used before.
    fn new(first: u64) -> File {
        let mut random = Random(!first);
        let bytes = (0..BLOCKS * BLOCK_BYTES).map(|_| random.next() as u8).collect();
        File { bytes, first }
    }

    /// Writes what was staged of block `number`.
    fn apply(&mut self, number: u64, pieces: &[Piece]) {
        let start = block_start(number - self.first);
        for (at, part) in pieces {
            assert!(at.is_multiple_of(PAGE_BYTES) && part.bytes.is_multiple_of(PAGE_BYTES));
            assert!(at + part.bytes <= BLOCK_BYTES);
            let mut words = vec![0_u64; (part.bytes / 8) as usize];
            part.memory.words().load_words(part.at / 8, &mut words);
            self.bytes[(start + at) as usize..][..part.bytes as usize]
                .copy_from_slice(words.as_bytes());
        }
    }

    /// Reads block `number`.
    fn load(&self, number: u64) -> (BlockBuffer, Verdict) {
        let mut buffer = BlockBuffer::new(1).expect("memory");
        let (memory, at) = buffer.place(number);
        let Part { memory, at, bytes } = Part { memory: memory.clone(), at, bytes: BLOCK_BYTES };
        let start = block_start(number - self.first) as usize;
        memory.words().store_bytes(at / 8, &self.bytes[start..][..bytes as usize]);
        let verdict = buffer.examine(number, LOG_ID);
        (buffer, verdict)
    }
}

/// What a block grows by.
#[derive(Debug, Clone, Copy)]
enum Growth {
    Lines(u64),
    ToPage,
    ToEnd,
}

/// A step, and whether another journal goes on before it.
fn steps() -> impl Strategy<Value = Vec<(Growth, bool)>> {
    let growth = prop_oneof![
        3 => (0_u64..3).prop_map(Growth::Lines),
        4 => (0_u64..200).prop_map(Growth::Lines),
        1 => (0_u64..1024).prop_map(Growth::Lines),
        1 => Just(Growth::ToPage),
        1 => Just(Growth::ToEnd),
    ];
    prop::collection::vec((growth, prop::bool::weighted(0.1)), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_block_that_grows_in_any_steps_is_the_rings(first in 0_u64..1000, steps in steps()) {
        let (ring, mut file) = (ring(first), File::new(first));
        let mut stage = Stage::new().expect("memory");
        let (mut number, mut used, mut before) = (first, 0, None);
        for (sequence, (growth, resumes)) in (1..).zip(steps) {
            if used == BLOCK_BYTES {
                (number, used, before) = (number + 1, 0, None);
                if number == first + BLOCKS {
                    break;
                }
            }
            if resumes && let Some(checkpoint) = before {
                let (buffer, _) = file.load(number);
                stage = Stage::new().expect("memory");
                stage.resume(&buffer, number, &checkpoint);
            }
            let from: u64 = used;
            used = match growth {
                Growth::Lines(lines) => from + lines * LINE_BYTES,
                Growth::ToPage => from.next_multiple_of(PAGE_BYTES),
                Growth::ToEnd => BLOCK_BYTES,
            };
            used = used.clamp(BLOCK_HEADER_BYTES, BLOCK_BYTES);
            let mark = Mark { durable: block_start(number) + from, sequence };
            let mut pieces = Vec::new();
            stage.add(&ring, number, used, mark, &mut pieces);

            prop_assert_eq!(pieces[0].0, 0);
            for (at, _) in &pieces[1..] {
                prop_assert!(at + PAGE_BYTES > from.max(PAGE_BYTES), "page {at} was complete");
            }
            file.apply(number, &pieces);
            let (buffer, verdict) = file.load(number);
            let Verdict::Sound(Sound { checkpoint, is_cut, .. }) = verdict else {
                return Err(TestCaseError::fail(format!("{verdict:?}")));
            };
            prop_assert!(!is_cut);
            prop_assert_eq!(checkpoint.used_bytes, used);
            prop_assert_eq!(checkpoint.durable, mark.durable);
            prop_assert_eq!(checkpoint.sequence, sequence);
            let start = block_start(number);
            let is = bytes_of(buffer.ring(), start, used);
            prop_assert!(is == bytes_of(&ring, start, used), "other bytes than the ring's");
            // The checkpoint before is as it was.
            prop_assert_eq!(buffer.checkpoints(number, LOG_ID)[1], before);
            before = Some(checkpoint);
        }
    }
}
