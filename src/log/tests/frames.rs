//! Frames of every length at every kind of place: invariants 1 and 2.

use super::super::block::{BLOCK_CAPACITY_BYTES, CLEAR_AHEAD_BYTES};
use super::super::frame::{HEADER_BYTES, LINE_BYTES, span};
use super::super::reader::Reader;
use super::super::writer::Writer;
use super::harness::*;

struct Bench {
    log: Log,
    writer: Writer,
    layout: Layout,
    readers: [Reader; 2],
}

impl Bench {
    fn new() -> Bench {
        let log = Log::dirty(RING_BYTES);
        let writer = log.writer();
        let readers = [log.in_place(log.earliest(None)), log.copied(log.earliest(None))];
        Bench { log, writer, layout: Layout::default(), readers }
    }

    fn publish(&mut self, length: u64) {
        let offset = publish(&mut self.writer, length);
        self.check(offset, length);
    }

    /// Looks at a message that was just published.
    fn check(&mut self, offset: u64, length: u64) {
        self.layout.add(length);
        self.log.assert_cleared(self.layout.end);
        for reader in &mut self.readers {
            assert_eq!(next(reader), Ok(Some(message(offset, length))));
            assert_eq!(next(reader), Ok(None));
            assert_eq!(reader.position(), self.layout.end);
        }
        assert_eq!(self.log.tail().resume.position, self.layout.end);
    }

    fn leave_room(&mut self, room: u64) {
        let length = self.layout.filler(room).expect("a smaller room than a block");
        self.publish(length);
        assert_eq!(self.layout.room(), room);
    }
}

#[test]
fn every_length_around_the_cleared_distance_is_cleared_behind() {
    let mut bench = Bench::new();
    for length in 0..=2 * CLEAR_AHEAD_BYTES {
        bench.publish(length);
        bench.publish(length % 50);
    }
}

#[test]
fn every_end_near_the_end_of_a_block_is_cleared_behind() {
    let mut bench = Bench::new();
    let lines = CLEAR_AHEAD_BYTES / LINE_BYTES + 3;
    for room in 1..=lines {
        for taken in (1..=room + 1).rev() {
            let longest = taken * LINE_BYTES - HEADER_BYTES;
            for length in [longest, longest.saturating_sub(LINE_BYTES - 1), longest - 9] {
                bench.leave_room(room * LINE_BYTES);
                bench.publish(length);
                bench.publish(0);
            }
        }
    }
}

#[test]
fn a_frame_may_fill_a_block_exactly() {
    let mut bench = Bench::new();
    for length in
        (BLOCK_CAPACITY_BYTES - 3 * LINE_BYTES..=BLOCK_CAPACITY_BYTES - HEADER_BYTES).rev()
    {
        bench.publish(length);
    }
}

#[test]
fn claims_that_are_left_are_never_read() {
    let mut bench = Bench::new();
    let lengths = [0, 48, 49, 112, 500, CLEAR_AHEAD_BYTES, 3000, 20_000, 65_392];
    for room in [64, 128, 1024, 1088, 4096, 30_000 / 64 * 64] {
        for left in lengths {
            for length in lengths {
                bench.leave_room(room);
                let offset = bench.writer.offset();
                for claimed in [left, left / 2] {
                    bench.writer.try_claim(claimed).expect("nobody is in the way");
                    bench.writer.put(0, &payload(offset, claimed));
                    // A claim that does not fit pads the block, whether it is committed or not.
                    if span(claimed) > bench.layout.room() {
                        bench.layout.add(claimed);
                        bench.layout.end -= span(claimed);
                    }
                    for reader in &mut bench.readers {
                        assert_eq!(next(reader), Ok(None));
                    }
                }
                if length % 3 == 0 {
                    bench.writer.try_claim(length).expect("nobody is in the way");
                    let bytes = payload(offset, length);
                    let (front, back) = bytes.split_at(bytes.len() / 3);
                    bench.writer.put(front.len() as u64, back);
                    bench.writer.put(0, front);
                    assert_eq!(bench.writer.commit_claim(offset, length), offset);
                    bench.check(offset, length);
                } else {
                    bench.publish(length);
                }
                bench.publish(10);
            }
        }
    }
}

#[test]
fn a_batch_ends_with_its_block_and_is_cleared_behind() {
    let mut bench = Bench::new();
    for room in [64, 640, 1024, 2048, 8192] {
        for length in [0, 48, 49, 700, 1500, 9000] {
            for left in [None, Some(300)] {
                bench.leave_room(room);
                if let Some(length) = left.filter(|length| span(*length) <= room) {
                    bench.writer.try_claim(length).expect("it fits");
                    bench.writer.put(0, &payload(bench.writer.offset(), length));
                }
                let first = bench.writer.offset();
                let payloads: Vec<_> = (first..first + 9).map(|at| payload(at, length)).collect();
                let batch: Vec<_> = (first..).zip(payloads.iter().map(Vec::as_slice)).collect();
                let fits = room / span(length);
                let count = bench.writer.try_publish_batch(&batch).expect("nobody is in the way");
                if left.is_none() && fits > 0 {
                    assert_eq!(count as u64, fits.min(9));
                }
                assert!(count >= 1);
                for _ in 0..count {
                    bench.layout.add(length);
                }
                bench.log.assert_cleared(bench.layout.end);
                for reader in &mut bench.readers {
                    let expected: Vec<_> =
                        (first..first + count as u64).map(|at| message(at, length)).collect();
                    assert_eq!(drain(reader), Ok(expected));
                    assert_eq!(reader.position(), bench.layout.end);
                }
            }
        }
    }
    assert_eq!(bench.writer.try_publish_batch::<[u8]>(&[]), Ok(0));
}

#[test]
fn gaps_and_control_frames_stand_between_messages() {
    let mut bench = Bench::new();
    for (count, starts_block) in
        [(1, false), (1000, false), ((1 << 31) - 1, false), (1 << 31, true)]
    {
        bench.publish(5);
        let from = bench.writer.offset();
        let to = from + count - 1;
        bench.writer.try_publish_control(7, b"runs").expect("nobody is in the way");
        bench.writer.try_publish_gap(8, to, 3).expect("nobody is in the way");
        bench.layout.add(4);
        if starts_block {
            bench.layout.add(FRAME_BYTES);
            bench.layout.end -= span(FRAME_BYTES);
        }
        bench.layout.add(24);
        bench.log.assert_cleared(bench.layout.end);
        for reader in &mut bench.readers {
            let gap = Seen::Lost { from, to, cause: Some(3) };
            assert_eq!(drain(reader), Ok(vec![Seen::Control(Bytes(b"runs".to_vec())), gap]));
            assert_eq!(reader.position(), bench.layout.end);
        }
        assert_eq!(bench.writer.offset(), to + 1);
    }
}

const FRAME_BYTES: u64 = BLOCK_CAPACITY_BYTES - HEADER_BYTES;
