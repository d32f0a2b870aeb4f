//! Messages that do not fit into one block.

use super::super::block::{BLOCK_BYTES, BLOCK_CAPACITY_BYTES, BLOCK_HEADER_BYTES, block_start};
use super::super::frame::{HEADER_BYTES, TRAIN_PREFIX_BYTES};
use super::super::writer::FRAME_PAYLOAD_BYTES_MAX;
use super::harness::*;

#[test]
fn trains_start_at_every_kind_of_place_and_come_back_whole() {
    for ring_bytes in [RING_BYTES, 16 * BLOCK_BYTES] {
        let log = Log::dirty(ring_bytes);
        let mut writer = log.writer();
        let mut layout = Layout::default();
        let mut readers = [log.in_place(log.earliest(None)), log.copied(log.earliest(None))];
        let rooms = [0, 64, 128, 192, 1024, 1088, 32_768, BLOCK_CAPACITY_BYTES - 64];
        for room in rooms {
            let first = if room == 0 { FRAME_PAYLOAD_BYTES_MAX } else { room - HEADER_BYTES };
            let fills = (0..4).map(|blocks| {
                (first + blocks * FRAME_PAYLOAD_BYTES_MAX).saturating_sub(TRAIN_PREFIX_BYTES)
            });
            let lengths = fills
                .flat_map(|exact| [exact.saturating_sub(1), exact, exact + 1, exact + 49])
                .chain([FRAME_PAYLOAD_BYTES_MAX + 1, writer.message_bytes_max()])
                .filter(|length| {
                    (FRAME_PAYLOAD_BYTES_MAX + 1..=writer.message_bytes_max()).contains(length)
                });
            for length in lengths.collect::<Vec<_>>() {
                let filler = layout.filler(room).expect("a smaller room than a block");
                for length in [filler, length, 10] {
                    let offset = publish(&mut writer, length);
                    layout.add(length);
                    log.assert_cleared(layout.end);
                    for reader in &mut readers {
                        // Retried, it is the same again.
                        let seen = reader.peek().expect("sound").map(Seen::from);
                        assert_eq!(seen, Some(message(offset, length)));
                        assert_eq!(next(reader), Ok(seen));
                        assert_eq!(next(reader), Ok(None));
                        assert_eq!(reader.position(), layout.end);
                    }
                    assert_eq!(log.tail().resume.position, layout.end);
                    assert!(!log.tail().train_open);
                }
            }
        }
    }
}

#[test]
fn headers_say_where_the_first_message_starts() {
    let log = Log::new(16 * BLOCK_BYTES);
    let mut writer = log.writer();
    publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX - 64);
    // Fragments: 40 bytes in block 0, all of block 1, 100 bytes in block 2.
    publish(&mut writer, 40 + FRAME_PAYLOAD_BYTES_MAX + 100);
    // Fragments: all that is left of block 2, all of block 3 and nothing behind.
    let room = BLOCK_CAPACITY_BYTES - 128;
    let first = room - HEADER_BYTES - TRAIN_PREFIX_BYTES;
    publish(&mut writer, first + FRAME_PAYLOAD_BYTES_MAX);
    publish(&mut writer, 1);
    let headers: Vec<_> = (0..5)
        .map(|number| log.ring.header(number).expect("it was entered"))
        .map(|header| (header.first_offset, u64::from(header.first_message)))
        .collect();
    let edge = BLOCK_HEADER_BYTES;
    assert_eq!(headers, [(0, edge), (1, 0), (1, edge + 128), (2, 0), (3, edge)]);
}

#[test]
fn a_reader_that_joins_inside_a_train_starts_with_the_next_message() {
    let log = Log::new(16 * BLOCK_BYTES);
    let mut writer = log.writer();
    publish(&mut writer, 10);
    publish(&mut writer, 3 * FRAME_PAYLOAD_BYTES_MAX);
    publish(&mut writer, 20);
    for number in 1..=3 {
        let mut start = log.earliest(None);
        start.position = block_start(number);
        for mut reader in [log.in_place(start), log.copied(start)] {
            assert_eq!(drain(&mut reader), Ok(vec![message(2, 20)]), "from block {number}");
        }
        start.due = Some(1);
        let lost = Seen::Lost { from: 1, to: 1, cause: None };
        assert_eq!(drain(&mut log.copied(start)), Ok(vec![lost, message(2, 20)]));
    }
}

#[test]
fn a_train_before_the_offset_that_is_wanted_is_passed_over() {
    let log = Log::new(16 * BLOCK_BYTES);
    let mut writer = log.writer();
    for length in [10, 2 * FRAME_PAYLOAD_BYTES_MAX, 20, 30] {
        publish(&mut writer, length);
    }
    for joining in [true, false] {
        let start = super::super::reader::Start { joining, ..log.earliest(Some(2)) };
        for mut reader in [log.in_place(start), log.copied(start)] {
            assert_eq!(drain(&mut reader), Ok(vec![message(2, 20), message(3, 30)]));
        }
    }
}
