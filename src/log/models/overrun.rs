//! Reading without holding the writer back: edges `overrun` and `eviction`. What is handed out is
//! whole; what was overwritten meanwhile is noticed, and told from an eviction.

use loom::thread;

use super::{Log, Outcomes, explore, publish_tick, publish_wide, take};
use crate::log::block::is_edge;
use crate::log::copy::Stall;
use crate::log::reader::Reader;
use crate::log::ring::BLOCKS_MIN;
use crate::log::walk;
use crate::log::writer::Writer;

/// A full ring of two messages a block.
fn full(log: &Log) -> Writer {
    let mut writer = log.writer(None);
    for _ in 0..BLOCKS_MIN {
        publish_tick(&mut writer).expect("the ring has room");
        publish_wide(&mut writer, 0).expect("the ring has room");
    }
    writer
}

/// Reads message `due`, which was published, from a reader that may be overrun. At a block's edge
/// it may find nothing, while the place is being taken for a later block: then there will be an
/// overrun.
fn take_or_overrun(seen: &Outcomes, reader: &mut Reader, due: u64) -> &'static str {
    let was_edge = is_edge(reader.position());
    let outcome = match take(reader) {
        Ok(Some((offset, _))) => {
            assert_eq!(offset, due);
            "whole"
        }
        Ok(None) if was_edge => "nothing",
        Err(Stall::Overrun) => "overrun",
        other => panic!("message {due} was there: {other:?}"),
    };
    seen.saw(outcome);
    outcome
}

#[test]
fn a_copy_is_whole_or_an_overrun() {
    explore(&["whole", "overrun"], |seen| {
        let log = Log::new();
        let mut writer = full(&log);
        let mut reader = log.copied(0, 0);
        take(&mut reader).expect("it is there").expect("it is there");
        // As if only the first message had been there to be copied.
        let mut reader = log.copied(reader.position(), 1);
        let writing = thread::spawn(move || {
            for _ in 0..2 {
                publish_tick(&mut writer).expect("nobody gates");
            }
        });
        take_or_overrun(seen, &mut reader, 1);
        writing.join().expect("the writer does not panic");
    });
}

#[test]
fn a_block_is_entered_and_copied_whole_or_overrun() {
    explore(&["whole", "nothing", "overrun"], |seen| {
        let log = Log::new();
        let mut writer = full(&log);
        let mut reader = log.copied(0, 0);
        let writing = thread::spawn(move || {
            publish_wide(&mut writer, 1).expect("nobody gates");
        });
        let outcome = take_or_overrun(seen, &mut reader, 0);
        if outcome == "whole" {
            take_or_overrun(seen, &mut reader, 1);
        }
        writing.join().expect("the writer does not panic");
        if outcome == "nothing" {
            assert_eq!(take(&mut reader), Err(Stall::Overrun));
        }
    });
}

#[test]
fn a_header_is_of_one_block() {
    explore(&["old", "none"], |seen| {
        let log = Log::new();
        let mut writer = full(&log);
        let ring = log.ring.clone();
        let writing = thread::spawn(move || {
            publish_tick(&mut writer).expect("nobody gates");
        });
        match ring.header(0) {
            Some(header) => {
                assert_eq!((header.first_offset, header.timestamp_max_ns), (0, 0));
                seen.saw("old");
            }
            None => seen.saw("none"),
        }
        writing.join().expect("the writer does not panic");
    });
}

#[test]
fn a_walk_is_of_one_block() {
    explore(&["whole", "overrun"], |seen| {
        let log = Log::new();
        let mut writer = full(&log);
        let ring = log.ring.clone();
        let writing = thread::spawn(move || {
            publish_wide(&mut writer, 1).expect("nobody gates");
        });
        match walk::tail(&ring, 0).expect("nothing is damaged") {
            Some(tail) => {
                assert_eq!(tail.resume.offset, 2);
                assert_eq!(tail.resume.timestamp_max_ns, 1);
                seen.saw("whole");
            }
            None => seen.saw("overrun"),
        }
        writing.join().expect("the writer does not panic");
    });
}

#[test]
fn a_slow_reader_learns_that_it_was_evicted() {
    explore(&["whole", "nothing", "overrun"], |seen| {
        let log = Log::new();
        let mut seat = log.seat(0);
        seat.join(0).expect("nothing was reserved yet");
        let mut writer = full(&log);
        let mut reader = log.copied(0, 0);
        let writing = thread::spawn(move || {
            let blocked = publish_tick(&mut writer).expect_err("the reader gates");
            writer.gate().evict(blocked);
            publish_tick(&mut writer).expect("nobody gates any more");
        });
        if take_or_overrun(seen, &mut reader, 0) == "overrun" {
            assert!(seat.is_evicted(), "an overrun that nobody is told the cause of");
        }
        writing.join().expect("the writer does not panic");
        assert!(seat.is_evicted());
    });
}

#[test]
fn a_reader_whose_cursor_was_overwritten_learns_that_it_was_evicted() {
    explore(&["whole", "nothing", "overrun"], |seen| {
        let log = Log::new();
        let mut seat = log.seat(0);
        seat.join(0).expect("nothing was reserved yet");
        let mut writer = full(&log);
        let mut reader = log.copied(0, 0);
        // Past the head, so the writer evicts it while it looks, without another fence.
        seat.store(1 << 40, 0);
        let writing = thread::spawn(move || {
            publish_tick(&mut writer).expect("nobody gates any more");
        });
        if take_or_overrun(seen, &mut reader, 0) == "overrun" {
            assert!(seat.is_evicted(), "an overrun that nobody is told the cause of");
        }
        writing.join().expect("the writer does not panic");
        assert!(seat.is_evicted());
    });
}
