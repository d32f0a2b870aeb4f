//! Committing and reading: invariant 1 and edges `commit` and `entry`. A reader that polls ahead
//! of the writer finds whole messages or nothing, never the words of an older lap.

use loom::thread;

use super::{Log, Outcomes, explore, publish_tick, publish_wide, take};
use crate::log::reader::Reader;
use crate::log::walk::{self, Tail};

/// A lap of two-line messages with a decoy where the second message of the next lap's block will
/// be; then the writer goes on and the reader follows it.
fn model(seen: &Outcomes, reader: fn(&Log, u64, u64) -> Reader) {
    let log = Log::new();
    let mut writer = log.writer(None);
    for block in 0..4 {
        publish_wide(&mut writer, 2 * block + 5).expect("nobody gates");
    }
    let mut reader = reader(&log, log.ring.bytes_len(), 4);
    let writing = thread::spawn(move || {
        for _ in 0..2 {
            publish_tick(&mut writer).expect("nobody gates");
        }
    });
    let mut count = 0;
    for _ in 0..3 {
        if let Some((offset, _)) = take(&mut reader).expect("nothing is overrun or damaged") {
            assert_eq!(offset, 4 + count);
            count += 1;
        }
    }
    seen.saw(["nothing", "one", "both"][count as usize]);
    writing.join().expect("the writer does not panic");
    while let Some((offset, _)) = take(&mut reader).expect("nothing is overrun or damaged") {
        assert_eq!(offset, 4 + count);
        count += 1;
    }
    assert_eq!(count, 2, "a message is missing");
}

#[test]
fn in_place_a_reader_sees_a_whole_message_or_none() {
    explore(&["nothing", "one", "both"], |seen| model(seen, Log::in_place));
}

#[test]
fn copied_a_reader_sees_a_whole_message_or_none() {
    explore(&["nothing", "one", "both"], |seen| model(seen, Log::copied));
}

#[test]
fn a_walk_sees_all_of_what_it_counts() {
    explore(&["nothing", "one", "both"], |seen| {
        let log = Log::new();
        let mut writer = log.writer(None);
        for block in 0..4 {
            publish_wide(&mut writer, 2 * block + 5).expect("nobody gates");
        }
        let writing = thread::spawn(move || {
            for _ in 0..2 {
                publish_tick(&mut writer).expect("nobody gates");
            }
        });
        let tail = walk::tail(&log.ring, 4).expect("nothing is damaged");
        writing.join().expect("the writer does not panic");
        let Some(Tail { resume, .. }) = tail else { return seen.saw("nothing") };
        // The highest timestamp is the last message's, which is its offset.
        assert_eq!(resume.timestamp_max_ns, resume.offset - 1);
        match resume.offset - 4 {
            0 => {}
            count => seen.saw(["one", "both"][count as usize - 1]),
        }
    });
}
