//! Bytes that are made to deceive, and random ones.

use std::collections::BTreeMap;

use crate::attempt::{FILES, Originals, RING_BYTES, Trier, sound_bus};
use crate::common::{self, Random};

const BLOCK_BYTES: u64 = 64 << 10;

/// Byte of the publisher page where the end of the reserved blocks stands.
const RESERVED: u64 = 8 * 8;

/// The commit word of a frame.
fn commit_word(offset: u64, length: u64, kind: u64) -> u64 {
    offset.wrapping_add(1) & 0xffff_ffff | (length & 0xff_ffff) << 32 | (kind & 0xf) << 56
}

/// Places in the files that mean something, and what a liar would write there.
fn craft(random: &mut Random, files: &mut [Vec<u8>]) -> String {
    let pick = |random: &mut Random, from: &[u64]| from[random.below(from.len() as u64) as usize];
    let wild = [
        0,
        1,
        2,
        63,
        64,
        65,
        1 << 16,
        (1 << 16) - 64,
        1 << 18,
        1 << 32,
        1 << 62,
        1 << 63,
        u64::MAX,
    ];
    let reserved = u64::from_le_bytes(files[2][64..72].try_into().expect("a word"));
    let near = reserved.wrapping_add(BLOCK_BYTES.wrapping_mul(random.below(9).wrapping_sub(4)));
    let any = random.next();
    let value = match random.below(4) {
        0 => pick(random, &wild),
        1 => any,
        2 => near,
        _ => near / BLOCK_BYTES + random.below(3),
    };
    let mut put = |file: usize, at: u64, value: u64| {
        files[file][at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
        format!("{} at {at}: {value:#x}", FILES[file])
    };
    let block = random.below(RING_BYTES / BLOCK_BYTES) * BLOCK_BYTES;
    match random.below(8) {
        // A header's field, or the first bytes of its block.
        0 | 1 => put(1, block + 8 * random.below(8), value),
        // A frame that was or was not one.
        2 | 3 => {
            let at = block + 128 + 64 * random.below(1022);
            let offset = 2000 + random.below(1000);
            let length = match random.below(3) {
                0 => random.below(200),
                1 => random.below(70_000),
                _ => any,
            };
            put(1, at, commit_word(offset, length, random.below(16)))
        }
        // The first frame of a block, with the offset that is due.
        4 => {
            let first = &files[1][block as usize + 32..block as usize + 40];
            let offset = u64::from_le_bytes(first.try_into().expect("a word"));
            let word = commit_word(
                offset,
                pick(random, &[0, 7, 24, 48, 65_392, 65_393, any]),
                1 + any % 8,
            );
            put_word(files, block + 128, word)
        }
        5 => put(2, RESERVED, value),
        6 => put(2, 24 + 8 * random.below(93), value),
        _ => {
            if random.below(2) == 0 {
                put(3, 64 * (1 + random.below(2)), value)
            } else {
                put(4, 4096 * random.below(6) + 8 * random.below(7), value)
            }
        }
    }
}

fn put_word(files: &mut [Vec<u8>], at: u64, word: u64) -> String {
    files[1][at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
    format!("0.log at {at}: {word:#x}")
}
#[test]
fn crafted_bytes_are_told_or_harmless() {
    let mut random = Random(common::seed());
    let bus = sound_bus();
    let mut trier = Trier::new();
    let mut outcomes = BTreeMap::<String, u32>::new();
    for topic in ["t", "evict"] {
        let originals = Originals::of(&bus, topic);
        for _ in 0..250 {
            let mut files = originals.bytes();
            let changes: Vec<_> =
                (0..1 + random.below(4)).map(|_| craft(&mut random, &mut files)).collect();
            originals.replace(&files);
            let said = trier.try_everything(&bus, topic, false, &changes.join(", "));
            for said in said.split(", ").filter(|said| said.starts_with("damaged")) {
                *outcomes.entry(said.to_owned()).or_default() += 1;
            }
        }
        originals.restore();
    }
    println!("{outcomes:#?}");
    assert!(!outcomes.is_empty(), "no damage was ever found");
}

#[test]
fn random_bytes_are_told_or_harmless() {
    let mut random = Random(common::seed());
    let bus = sound_bus();
    let originals = Originals::of(&bus, "t");
    let mut trier = Trier::new();
    for round in 0..60 {
        let mut files = originals.bytes();
        let file = round % FILES.len();
        // All of it, or what lies behind the magic and the id.
        let start = [0, 40][round / FILES.len() % 2];
        for chunk in files[file][start..].chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
        originals.replace(&files);
        let said = trier.try_everything(&bus, "t", false, FILES[file]);
        if FILES[file] == "topic" && start == 0 {
            assert!(said.contains("does not belong"), "{said}");
        }
    }
}

/// Cases that would make a reader go round and round.
#[test]
fn blocks_that_contradict_the_reservation_end_no_reader_in_a_loop() {
    let bus = sound_bus();
    for topic in ["t", "evict"] {
        let originals = Originals::of(&bus, topic);
        let word = |bytes: &[u8], at: u64| {
            u64::from_le_bytes(bytes[at as usize..at as usize + 8].try_into().expect("a word"))
        };
        let mut trier = Trier::new();
        for back in 0..4 {
            for ahead in [1, 2, 3, 4, 5, 6, 7, 8, 11, 12] {
                let mut files = originals.bytes();
                let newest = word(&files[2], RESERVED) / BLOCK_BYTES - 1;
                let number = newest - back + ahead;
                // A block from the future, in its proper place.
                let at = number % 4 * BLOCK_BYTES;
                files[1][at as usize + 24..at as usize + 32]
                    .copy_from_slice(&(number + 1).to_le_bytes());
                originals.replace(&files);
                let what = format!("block {number} where {newest} is the newest");
                trier.try_everything(&bus, topic, false, &what);
            }
        }
        originals.restore();
    }
}
