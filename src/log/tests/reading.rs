//! Readers that lose something, and runs.

use super::super::block::block_start;
use super::super::copy::Stall;
use super::super::reader::Frame;
use super::super::writer::FRAME_PAYLOAD_BYTES_MAX;
use super::harness::*;

/// A log whose block 5 starts with a control frame, and a reader that stood in block 0.
fn overrun_before_a_control_frame() -> (Log, super::super::reader::Reader) {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    publish(&mut writer, 10);
    let mut reader = log.copied(log.earliest(None));
    assert_eq!(next(&mut reader), Ok(Some(message(0, 10))));
    for _ in 0..5 {
        publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX);
    }
    writer.try_publish_control(0, b"runs").expect("nobody is in the way");
    publish(&mut writer, 20);
    (log, reader)
}

#[test]
fn a_loss_is_reported_before_a_control_frame() {
    let (log, mut reader) = overrun_before_a_control_frame();
    assert_eq!(next(&mut reader), Err(Stall::Overrun));
    let number = log.newest();
    reader.restart(number);
    let lost = Seen::Lost { from: 1, to: 5, cause: None };
    let rest = vec![lost, Seen::Control(Bytes(b"runs".to_vec())), message(6, 20)];
    assert_eq!(drain(&mut reader), Ok(rest));
}

#[test]
fn a_second_overrun_joins_its_loss_to_the_first() {
    let (log, mut reader) = overrun_before_a_control_frame();
    let mut writer = log.writer();
    assert_eq!(next(&mut reader), Err(Stall::Overrun));
    reader.restart(log.newest() - 1);
    assert!(matches!(reader.peek(), Ok(Some(Frame::Lost { from: 1, to: 4, .. }))));
    for _ in 0..5 {
        publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX);
    }
    reader.restart(log.newest());
    let lost = Seen::Lost { from: 1, to: 10, cause: None };
    assert_eq!(drain(&mut reader), Ok(vec![lost, message(11, FRAME_PAYLOAD_BYTES_MAX)]));
}

#[test]
fn a_reader_that_has_seen_a_control_frame_is_told_of_every_loss_after_it() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    writer.try_publish_control(0, b"runs").expect("nobody is in the way");
    let mut reader = log.copied(log.earliest(None));
    assert_eq!(next(&mut reader), Ok(Some(Seen::Control(Bytes(b"runs".to_vec())))));
    for _ in 0..6 {
        publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX);
    }
    assert_eq!(next(&mut reader), Err(Stall::Overrun));
    reader.restart(log.newest());
    assert_eq!(next(&mut reader), Ok(Some(Seen::Lost { from: 0, to: 4, cause: None })));
}

#[test]
fn an_offset_inside_a_gap_names_the_rest_of_the_gap() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    writer.try_publish_gap(0, 9, 2).expect("nobody is in the way");
    publish(&mut writer, 1);
    for (due, from) in [(0, 0), (4, 4), (9, 9)] {
        let mut reader = log.copied(log.earliest(Some(due)));
        assert_eq!(next(&mut reader), Ok(Some(Seen::Lost { from, to: 9, cause: Some(2) })));
        assert_eq!(next(&mut reader), Ok(Some(message(10, 1))));
    }
    let mut reader = log.copied(log.earliest(Some(10)));
    assert_eq!(next(&mut reader), Ok(Some(message(10, 1))));
}

#[test]
fn what_a_run_did_not_take_comes_again() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    for offset in 0..20 {
        publish(&mut writer, length_of(offset, 200));
    }
    publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX + 10);
    publish(&mut writer, 5);
    for mut reader in [log.in_place(log.earliest(None)), log.copied(log.earliest(None))] {
        let mut due = 0;
        for take in [0, 3, 1, 0, 16, 0, 1, 1] {
            assert!(matches!(reader.peek(), Ok(Some(Frame::Message(_)))));
            let taken: Vec<_> = reader.run().take(take).map(|message| message.offset).collect();
            assert_eq!(taken, (due..due + take as u64).collect::<Vec<_>>());
            due += take as u64;
            assert_eq!(reader.offset(), due);
        }
        assert_eq!(next(&mut reader), Ok(None));
        // The train is a run of its own; asked for more than that it ends.
        let mut reader = log.copied(log.earliest(Some(20)));
        assert!(matches!(reader.peek(), Ok(Some(Frame::Message(_)))));
        assert_eq!(reader.run().map(|message| message.offset).collect::<Vec<_>>(), [20]);
        assert!(matches!(reader.peek(), Ok(Some(Frame::Message(_)))));
        assert_eq!(reader.run().map(|message| message.offset).collect::<Vec<_>>(), [21]);
        assert!(matches!(reader.peek(), Ok(None)));
    }
}

#[test]
fn a_reader_waits_at_the_edge_of_a_block_that_is_not_entered() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    for _ in 0..9 {
        publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX);
    }
    let start = log.live();
    assert_eq!(start.position, block_start(9));
    let mut readers = [log.in_place(start), log.copied(start)];
    for reader in &mut readers {
        assert_eq!(next(reader), Ok(None));
    }
    publish(&mut writer, 70);
    for reader in &mut readers {
        assert_eq!(next(reader), Ok(Some(message(9, 70))));
    }
}
