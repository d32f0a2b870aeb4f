//! Finding blocks in rings of every phase, and what their headers say.

use proptest::prelude::*;

use super::super::block::{BLOCK_BYTES, block_start};
use super::super::seek;
use super::super::walk;
use super::super::writer::FRAME_PAYLOAD_BYTES_MAX;
use super::harness::*;

#[test]
fn every_offset_is_found_in_rings_of_every_phase() {
    let log = Log::new(8 * BLOCK_BYTES);
    let mut writer = log.writer();
    let mut starts = Vec::new();
    for offset in 0..150 {
        // Trains, blocks that hold one message, blocks that hold many.
        let length = [100, 30_000, 64, 100_000, 65_392, 9000][offset as usize % 6];
        publish(&mut writer, length);
        let tail = log.tail();
        starts.push(tail.resume.position);
        let reserved = log.reserved();
        let newest = seek::newest(&log.ring, 0, reserved).expect("sound").expect("entered");
        assert_eq!(block_start(newest + 1), starts.last().unwrap().next_multiple_of(BLOCK_BYTES));
        let earliest = seek::earliest(&log.ring, reserved).expect("entered");
        assert_eq!(earliest, (newest + 1).saturating_sub(8));
        let mut first_kept = None;
        for wanted in 0..=offset {
            let number = seek::by_offset(&log.ring, earliest, newest, wanted);
            assert!((earliest..=newest).contains(&number));
            let header = log.ring.header(number).expect("it is there");
            assert!(number == earliest || header.first_offset < wanted);
            if let Some(later) = log.ring.header(number + 1) {
                assert!(later.first_offset >= wanted, "a later block would do for {wanted}");
            }
            let start = super::super::reader::Start {
                position: block_start(number),
                offset: 0,
                due: Some(wanted),
                joining: true,
            };
            match next(&mut log.copied(start)) {
                Ok(Some(Seen::Message { offset: found, .. })) => {
                    assert_eq!(found, wanted);
                    first_kept.get_or_insert(wanted);
                }
                Ok(Some(Seen::Lost { from, to, cause: None })) => {
                    assert_eq!(from, wanted);
                    assert!(first_kept.is_none() && to <= offset);
                }
                // All that is left of the log's end is the rest of a train.
                other => panic!("{other:?} instead of message {wanted}"),
            }
        }
        assert!(first_kept.is_some());
    }
}

#[test]
fn the_newest_block_is_found_below_all_that_one_message_can_reserve() {
    for blocks in [4, 8, 32, 256] {
        let log = Log::new(blocks * BLOCK_BYTES);
        let mut writer = log.writer();
        log.seat(0).join(0).expect("nothing is reserved");
        for _ in 0..blocks {
            publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX);
        }
        let length = writer.message_bytes_max();
        assert!(writer.try_publish(0, &vec![0_u8; length as usize][..]).is_err());
        assert!(log.reserved() >= 2 * BLOCK_BYTES + blocks * BLOCK_BYTES);
        assert_eq!(log.newest(), blocks - 1);
        assert_eq!(log.writer().offset(), blocks);
    }
}

#[test]
fn blocks_that_were_overwritten_meanwhile_are_not_found() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    for _ in 0..11 {
        publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX);
    }
    // The range that someone looked up long ago.
    for low in 0..11 {
        for wanted in 0..11 {
            let number = seek::by_offset(&log.ring, low, 10, wanted);
            assert_eq!(number, wanted.saturating_sub(1).max(7).max(low));
        }
    }
    assert_eq!(seek::by_offset(&log.ring, 0, 6, 3), 7, "all of the range is gone");
    assert!(walk::tail(&log.ring, 6).expect("sound").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The last block whose maximum before it is below `t` is where a seek by time starts.
    #[test]
    fn no_message_at_or_after_a_time_lies_before_the_block_that_the_maxima_point_to(
        frames in prop::collection::vec((0u64..1000, 0u64..40_000, 0u8..20), 1..40),
        restart in 0usize..40,
    ) {
        let log = Log::new(RING_BYTES);
        let mut writer = log.writer();
        let mut maximum = 0;
        let mut written = Vec::new();
        for (at, (timestamp_ns, length, what)) in frames.into_iter().enumerate() {
            let length = if what == 0 { length + RING_BYTES / 5 } else { length };
            match what {
                1 => writer.try_publish_gap(timestamp_ns, writer.offset() + 5, 0),
                2 => writer.try_publish_control(timestamp_ns, b"runs"),
                _ => writer.try_publish(timestamp_ns, &vec![0u8; length as usize][..]).map(|_| ()),
            }.expect("nobody is in the way");
            written.push((log.tail().resume.position, timestamp_ns));
            maximum = maximum.max(timestamp_ns);
            prop_assert_eq!(log.tail().resume.timestamp_max_ns, maximum);
            if at == restart {
                drop(writer);
                writer = log.writer();
            }
        }
        let newest = log.newest();
        let maxima: Vec<_> = (newest.saturating_sub(3)..=newest)
            .map(|number| (number, log.ring.header(number).expect("there").timestamp_max_ns))
            .collect();
        prop_assert!(maxima.is_sorted_by_key(|(_, maximum)| *maximum));
        for (number, maximum) in maxima {
            // Exactly the highest of all frames that ended before this block, or of the train
            // that reaches into it.
            let before = written.iter().filter(|(end, _)| *end <= block_start(number));
            let highest = before.map(|(_, timestamp_ns)| *timestamp_ns).max().unwrap_or(0);
            let over = written.iter().find(|(end, _)| *end > block_start(number));
            let with_train = highest.max(over.map_or(0, |(_, timestamp_ns)| *timestamp_ns));
            prop_assert!(maximum == highest || maximum == with_train);
        }
    }
}
