//! Entering a block that readers hold: edge `leave`. The writer overwrites nothing before the
//! reader is done with it.

use loom::thread;

use super::{Log, explore, publish_tick, publish_wide, take};
use crate::log::reader::Reader;
use crate::log::ring::BLOCKS_MIN;
use crate::log::seat::Seat;
use crate::log::writer::Writer;

/// A full ring, and a reader at the last message of its oldest block.
fn full() -> (Writer, Reader, Seat) {
    let log = Log::new();
    let mut writer = log.writer(None);
    let mut seat = log.seat(0);
    seat.join(0).expect("nothing was reserved yet");
    for _ in 0..BLOCKS_MIN {
        publish_wide(&mut writer, 0).expect("the ring has room");
        publish_tick(&mut writer).expect("the ring has room");
    }
    let mut reader = log.in_place(0, 0);
    take(&mut reader).expect("message 0 is there").expect("message 0 is there");
    (writer, reader, seat)
}

/// Publishes into the block that the reader has to leave and, where that works, the next one.
fn write(writer: &mut Writer) -> &'static str {
    for wrote in ["blocked", "one block"] {
        if let Err(blocked) = publish_wide(writer, 0) {
            assert_eq!((blocked.slot, blocked.generation), (0, 1));
            return wrote;
        }
    }
    "two blocks"
}

#[test]
fn the_writer_waits_for_a_cursor() {
    explore(&["blocked", "one block", "two blocks"], |seen| {
        let (mut writer, mut reader, seat) = full();
        let writing = thread::spawn(move || {
            let mut wrote = write(&mut writer);
            if wrote == "blocked" {
                wrote = write(&mut writer);
            }
            wrote
        });
        for due in 1..4 {
            let (offset, _) = take(&mut reader).expect("it gates").expect("it was published");
            assert_eq!(offset, due);
            if due % 2 == 1 {
                seat.store(reader.position(), reader.offset());
            }
        }
        seen.saw(writing.join().expect("the writer does not panic"));
    });
}

#[test]
fn the_writer_waits_for_a_reader_that_leaves() {
    explore(&["blocked", "two blocks"], |seen| {
        let (mut writer, mut reader, mut seat) = full();
        let writing = thread::spawn(move || write(&mut writer));
        let (offset, _) = take(&mut reader).expect("it gates").expect("it was published");
        assert_eq!(offset, 1);
        seat.leave();
        seen.saw(writing.join().expect("the writer does not panic"));
    });
}
