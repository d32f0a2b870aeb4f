//! Bytes that no publisher writes: an error or nothing, whoever reads them.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::super::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BLOCK_MAGIC, block_start, field};
use super::super::frame::{CommitWord, Kind};
use super::super::reader::{Reader, Start};
use super::super::{pages, seek, walk};
use super::harness::*;
use crate::sync::Ordering;

const BLOCKS: u64 = RING_BYTES / BLOCK_BYTES;

/// Reads on, over overruns and past errors, and must come to an end.
fn exhaust(log: &Log, mut reader: Reader) {
    let mut restarts = 0;
    for step in 0.. {
        // No frame is shorter than a line, no loss or message comes twice.
        assert!(step < 4 * RING_BYTES / 64, "the reader does not come to an end");
        if step % 2 == 0 && reader.open() {
            let mut sum = 0;
            let (taken, _) = reader.each_message(3, |message| {
                sum += message.payload.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                ControlFlow::Continue(())
            });
            std::hint::black_box(sum);
            assert!(taken > 0, "open, and nothing there");
        }
        match reader.peek() {
            Ok(Some(_)) => {
                let _ = reader.run().take(3).map(|message| message.payload.len()).sum::<usize>();
                let _ = reader.peek().map(|frame| frame.map(Seen::from));
                reader.consume();
            }
            Ok(None) | Err(_) if restarts == BLOCKS => break,
            Ok(None) | Err(_) => {
                reader.restart(seek::earliest(&log.ring, log.reserved()).unwrap_or(0) + restarts);
                restarts += 1;
            }
        }
    }
}

/// Everyone who reads a log reads this one.
fn read_all_ways(log: &Log) {
    let reserved = log.reserved();
    let _ = seek::newest(&log.ring, 0, reserved);
    let earliest = seek::earliest(&log.ring, reserved).unwrap_or(0);
    for offset in [0, 7, u64::MAX] {
        let number = seek::by_offset(&log.ring, earliest, earliest + BLOCKS - 1, offset);
        assert!((earliest..=earliest + BLOCKS).contains(&number));
    }
    for number in earliest..earliest + BLOCKS {
        let mut visits = 0;
        let _ = walk::walk(&log.ring, number, |_, _| {
            visits += 1;
            true
        });
        assert!(visits <= BLOCK_BYTES / 64);
    }
    for due in [None, Some(0), Some(9), Some(u64::MAX)] {
        for joining in [false, true] {
            let start = Start { joining, ..log.earliest(due) };
            exhaust(log, log.copied(start));
            exhaust(log, log.in_place(start));
        }
    }
    if let Ok(mut writer) = log.take_over()
        && writer.offset() < u64::MAX - 4
    {
        for length in [10, 70_000, 10] {
            let bytes = payload(writer.offset(), length.min(writer.message_bytes_max()));
            let _ = writer.try_publish(0, &bytes[..]);
        }
    }
    let _ = log.take_over();
}

/// Gives the blocks the numbers `first..` and a header that is right so far.
fn number_blocks(log: &Log, first: u64, first_offset: u64, first_message: u64) {
    for number in first..first + BLOCKS {
        let start = block_start(number);
        log.ring.lines().store(start + field::MAGIC, BLOCK_MAGIC, Ordering::Relaxed);
        log.ring.lines().store(start + field::NUMBER, number + 1, Ordering::Relaxed);
        log.ring.lines().store(start + field::FIRST_OFFSET, first_offset, Ordering::Relaxed);
        log.ring.lines().store(start + field::PLACE_AND_FLAGS, first_message, Ordering::Relaxed);
    }
    let reserved = block_start(first + BLOCKS);
    log.pages.publisher.store(pages::publisher::RESERVED, reserved, Ordering::Relaxed);
}

fn offsets() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..20, Just((1 << 32) - 2), u64::MAX - 3..=u64::MAX, any::<u64>()]
}

/// A commit word, sometimes right.
fn words() -> impl Strategy<Value = (u64, u64, u64)> {
    let lengths = prop_oneof![0u64..200, 60_000u64..70_000, 0u64..1 << 24, Just(24)];
    // Behind it, where a train has its total and a gap its range: small, wild, or the range.
    let behind = prop_oneof![0u64..200_000, any::<u64>(), Just(u64::MAX)];
    (lengths, 0u64..16, behind)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn random_words_are_no_log(
        seed: u64, reserved in prop_oneof![any::<u64>(), (0u64..1 << 47).prop_map(|n| n << 16)],
    ) {
        let log = Log::new(RING_BYTES);
        let mut word = seed | 1;
        for at in 0..RING_BYTES / 8 {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(seed);
            log.memory.store(at, word ^ word >> 29, Ordering::Relaxed);
        }
        for at in 0..pages::publisher::WORDS {
            log.pages.publisher.store(at, u64::MAX - at, Ordering::Relaxed);
        }
        log.pages.publisher.store(pages::publisher::RESERVED, reserved, Ordering::Relaxed);
        for at in 0..log.cursors.bytes_len() / 512 {
            log.cursors.store(at * 64, word.rotate_left(at as u32), Ordering::Relaxed);
        }
        read_all_ways(&log);
        number_blocks(&log, 5, word, seed);
        read_all_ways(&log);
    }

    #[test]
    fn crafted_frames_behind_sound_headers_are_errors_or_nothing(
        first in 0u64..9,
        offset in offsets(),
        place in prop_oneof![0u64..300, Just(128), Just(192), Just(65_536), any::<u64>()],
        frames in prop::collection::vec((words(), any::<bool>(), 0u8..20), 1..60),
    ) {
        let log = Log::new(RING_BYTES);
        number_blocks(&log, first, offset, place);
        let mut frames = frames.into_iter();
        for number in first..first + BLOCKS {
            let (mut at, mut due) = (block_start(number) + BLOCK_HEADER_BYTES, offset);
            while at < block_start(number + 1)
                && let Some(((length, kind, behind), right, odd)) = frames.next()
            {
                let kind = if right { 1 + kind % 8 } else { kind };
                let base = CommitWord::new(if odd == 0 { due.wrapping_add(kind) } else { due }, length, Kind::Message, 0).0;
                let word = CommitWord(base & !(0xf << 56) | kind << 56);
                log.ring.lines().store(at, word.0, Ordering::Relaxed);
                let range = if odd % 3 == 0 { [behind; 3] } else { [due, behind, 0] };
                if at + 40 <= block_start(number + 1) {
                    for (index, word) in range.into_iter().enumerate() {
                        log.ring.lines().store(at + 16 + index as u64 * 8, word, Ordering::Relaxed);
                    }
                }
                match kind {
                    1 | 4 => due = due.wrapping_add(1),
                    7 => due = behind.wrapping_add(1),
                    _ => {}
                }
                at += word.span();
            }
        }
        read_all_ways(&log);
    }
}

/// A log of one block with these frames: word and what lies behind it.
fn crafted(offset: u64, frames: &[(CommitWord, [u64; 3])]) -> Log {
    let log = Log::new(RING_BYTES);
    number_blocks(&log, 0, offset, BLOCK_HEADER_BYTES);
    let mut at = BLOCK_HEADER_BYTES;
    for (word, behind) in frames {
        log.ring.lines().store(at, word.0, Ordering::Relaxed);
        for (index, word) in behind.iter().enumerate() {
            log.ring.lines().store(at + 16 + index as u64 * 8, *word, Ordering::Relaxed);
        }
        at += word.span();
    }
    log
}

#[test]
fn each_impossible_frame_is_named_as_damage() {
    let word = |length, kind| CommitWord::new(5, length, kind, 0);
    let message = word(40, Kind::Message);
    let kinds = [0, 9, 15].map(|kind| CommitWord(message.0 & !(0xf << 56) | kind << 56));
    // From which offset on, the frame, what lies behind it.
    let mut cases = kinds.map(|word| (5, word, [0; 3])).to_vec();
    cases.extend([
        (5, word(65_393, Kind::Message), [0; 3]),
        (5, word((1 << 24) - 1, Kind::Padding), [0; 3]),
        (6, message, [0; 3]),
        (5 + (1 << 31), message, [0; 3]),
        (5, word(7, Kind::First), [0; 3]),
        (5, word(16, Kind::Gap), [5, 6, 0]),
        (5, word(24, Kind::Gap), [4, 6, 0]),
        (5, word(24, Kind::Gap), [5, 4, 0]),
        (5, word(24, Kind::Gap), [5, u64::MAX, 0]),
    ]);
    for (offset, word, behind) in cases {
        let log = crafted(offset, &[(word, behind)]);
        let what = format!("{word:x?} where {offset} is due");
        assert!(walk::tail(&log.ring, 0).is_err(), "walk: {what}");
        assert!(drain(&mut log.copied(log.earliest(None))).is_err(), "copied: {what}");
        assert!(drain(&mut log.in_place(log.earliest(None))).is_err(), "in place: {what}");
        read_all_ways(&log);
    }
}

#[test]
fn trains_whose_lengths_do_not_add_up_are_damage() {
    let first = CommitWord::new(5, 48, Kind::First, 0);
    let last = CommitWord::new(5, 30, Kind::Last, 0);
    for (total, is_sound) in [(70, true), (69, false), (71, false), (u64::MAX, false), (3, false)] {
        let log = crafted(5, &[(first, [total, 0, 0]), (last, [0; 3])]);
        assert_eq!(drain(&mut log.copied(log.earliest(None))).is_ok(), is_sound);
        assert_eq!(drain(&mut log.in_place(log.earliest(None))).is_ok(), is_sound);
    }
    let log = crafted(5, &[(last, [0; 3])]);
    let start = Start { joining: false, offset: 5, ..log.earliest(None) };
    assert!(drain(&mut log.copied(start)).is_err(), "a last fragment without a first one");
}

#[test]
fn an_abort_ends_at_a_line_whatever_the_header_says() {
    for place in (0..=400).chain(65_400..=65_700).chain([u64::from(u32::MAX)]) {
        let log = Log::new(RING_BYTES);
        number_blocks(&log, 0, 5, place);
        let mut writer = log.writer();
        publish(&mut writer, 9);
        let mut start = log.earliest(None);
        start.position = block_start(3);
        let seen = drain(&mut log.copied(start));
        assert_eq!(seen, Ok(vec![message(5, 9)]), "with the first message at {place}");
    }
}
