//! A journal that an earlier build wrote is read for as long as the format's version stands: by the
//! library, and by a second reader that knows nothing but `docs/journal.md`.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tickcast::runtime::Agent;
use tickcast::{Bus, Event, LossCause, NoticeKind, Replay};

use common::payload::payload;

/// What the journal holds, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Message { offset: u64, timestamp_ns: u64, payload: Vec<u8> },
    Lost { from: u64, to: u64, cause: u64 },
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/journal-v1")
}

/// What was published when it was made.
fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for offset in 0..2_000_u64 {
        let length = match offset {
            // Fragmented, and as long as a frame can be.
            700 => 65_500,
            701 => 65_392,
            _ => offset * 7 % 200,
        };
        match offset {
            1_000 => entries.push(Entry::Lost { from: 1_000, to: 1_099, cause: 2 }),
            1_001..=1_099 => {}
            _ => entries.push(Entry::Message {
                offset,
                // Time goes back now and then.
                timestamp_ns: 1_700_000_000_000_000_000 + offset * 1_000 - offset % 10 * 2_000,
                payload: payload(1, offset, length as usize),
            }),
        }
    }
    entries
}

/// How the fixture was made. Its version stands, so it is not made again: a new version gets a new
/// one.
#[test]
#[ignore = "writes the fixture"]
fn make() {
    common::root();
    let bus = Bus::create("fixture").expect("a new bus");
    let topic = bus.topic("ticks").ring_bytes(256 << 10).create().expect("a topic");
    let journal = topic.journal(fixture()).segment_bytes(256 << 10);
    let mut journal = journal.open().expect("a journal");
    let mut publisher = topic.publisher(0).expect("the only one");
    for entry in entries() {
        match entry {
            Entry::Message { timestamp_ns, payload, .. } => {
                while publisher.try_publish(timestamp_ns, &payload[..]).is_err() {
                    journal.poll();
                }
            }
            Entry::Lost { to, .. } => {
                while publisher.try_publish_gap(0, to, LossCause::Feed).is_err() {
                    journal.poll();
                }
            }
        }
    }
    journal.close();
    drop((publisher, journal, topic, bus));
    Bus::remove("fixture", true).expect("it is ours");
}

#[test]
fn the_library_reads_what_an_earlier_build_wrote() {
    let mut found = Vec::new();
    let replay = Replay::open(fixture().join("ticks")).expect("a journal");
    let counters = replay.run(|event| {
        found.push(match event {
            Event::Message(message) => Entry::Message {
                offset: message.offset,
                timestamp_ns: message.timestamp_ns,
                payload: message.payload.to_vec(),
            },
            Event::Notice(notice) => {
                let NoticeKind::Lost { from, to, cause } = notice.kind else { panic!("{notice}") };
                assert_eq!(cause, LossCause::Feed);
                Entry::Lost { from, to, cause: 2 }
            }
        });
    });
    assert_eq!(counters.expect("readable").holes, 0);
    assert!(found == entries(), "something else is in it");
}

#[test]
fn a_reader_that_knows_the_description_alone_finds_the_same() {
    assert!(read(&fixture().join("ticks"), 0) == entries(), "something else is in it");
}

// ---- the second reader: see docs/journal.md

const BLOCK_BYTES: usize = 65_536;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// CRC-32C, bit by bit (RFC 3720, appendix B.4; polynomial 0x1edc6f41, reflected).
fn crc32c(parts: &[&[u8]]) -> u32 {
    !parts.iter().copied().flatten().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78))
    })
}

/// The blocks of all segments, by number, as far as their place says which they are.
fn blocks(dir: &Path, partition: u32) -> BTreeMap<u64, Vec<u8>> {
    let journal = fs::read(dir.join("journal")).expect("the journal's own file");
    assert_eq!((&journal[..8], journal.len()), (&b"TICKJRN\x01"[..], 24));
    assert_eq!(u32_at(&journal, 20), crc32c(&[&journal[..20]]));
    let topic = fs::read(dir.join("topic")).expect("the topic's own file");
    let mut id = [u64_at(&topic, 16), u64_at(&topic, 24)];
    id[1] = id[1].wrapping_add(u64::from(partition));
    let mut blocks = BTreeMap::new();
    for entry in fs::read_dir(dir.join(partition.to_string())).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|kind| kind != "segment") {
            continue;
        }
        let first = path.file_stem().and_then(|name| name.to_str()).expect("text");
        let first = u64::from_str_radix(first, 16).expect("a number");
        let bytes = fs::read(&path).expect("a segment");
        assert_eq!(bytes.len() as u64, u64_at(&journal, 8) * BLOCK_BYTES as u64);
        for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let number = first + index as u64;
            let is_there = block.starts_with(b"TICKBLK\x01")
                && [u64_at(block, 8), u64_at(block, 16)] == id
                && u64_at(block, 24) == number + 1;
            if let Some(used) = used(block).filter(|_| is_there) {
                blocks.insert(number, block[..used].to_vec());
            }
        }
    }
    blocks
}

/// The used bytes of a block, by the newest slot that counts and holds.
fn used(block: &[u8]) -> Option<usize> {
    let mut slots: Vec<&[u8]> = [64, 96].map(|at| &block[at..at + 32]).to_vec();
    slots.retain(|slot| u32_at(slot, 28) == crc32c(&[&block[..64], &slot[..28]]));
    slots.sort_by_key(|slot| std::cmp::Reverse(u64_at(slot, 16)));
    slots.into_iter().find_map(|slot| {
        let used = u32_at(slot, 0) as usize;
        let holds = u32_at(slot, 4) == crc32c(&[&block[..64], &block[128..used]]);
        holds.then_some(used)
    })
}

fn read(dir: &Path, partition: u32) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut due, mut train, mut total) = (0, Vec::new(), 0);
    for block in blocks(dir, partition).into_values() {
        assert_eq!(u64_at(&block, 32), due, "a block that does not follow");
        let mut at = 128;
        while at < block.len() {
            let (word, timestamp_ns) = (u64_at(&block, at), u64_at(&block, at + 8));
            assert_eq!(word as u32, (due + 1) as u32);
            let length = (word >> 32 & 0xff_ffff) as usize;
            let payload = &block[at + 16..];
            let message = |payload: Vec<u8>| Entry::Message { offset: due, timestamp_ns, payload };
            let kind = word >> 56 & 0xf;
            match kind {
                1 => entries.push(message(payload[..length].to_vec())),
                2 => {
                    total = u64_at(payload, 0) as usize;
                    train = payload[8..length].to_vec();
                }
                3 => train.extend(&payload[..length]),
                4 => {
                    train.extend(&payload[..length]);
                    assert_eq!(train.len(), total);
                    // The first part has the message's timestamp; all of them were written with it.
                    entries.push(message(std::mem::take(&mut train)));
                }
                7 => {
                    let [from, to, cause] = [0, 8, 16].map(|at| u64_at(payload, at));
                    entries.push(Entry::Lost { from, to, cause });
                    due = to;
                }
                5 | 6 | 8 => {}
                kind => panic!("kind {kind}"),
            }
            due += u64::from(matches!(kind, 1 | 4 | 7));
            at += (16 + length).next_multiple_of(64);
        }
    }
    entries
}
