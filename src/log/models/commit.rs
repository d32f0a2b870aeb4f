//! Committing and reading: invariant 1 and edges `commit` and `entry`. A reader that polls ahead
//! of the writer finds whole messages or nothing, never the words of an older lap: not in the line
//! that is zeroed before a commit, nor in those that are zeroed behind it.

use loom::thread;

use super::{Log, Outcomes, explore, fill_with_decoys, publish_tick, publish_wide, take};
use crate::log::gate::Blocked;
use crate::log::reader::Reader;
use crate::log::walk::{self, Tail};
use crate::log::writer::Writer;

const OUTCOMES: [&str; 3] = ["nothing", "one", "both"];

/// The first of two messages that are written: where it takes one line, the block's last one is
/// zeroed behind its commit; where it takes D, before.
type First = fn(&mut Writer) -> Result<u64, Blocked>;
const FIRSTS: [First; 2] = [publish_tick, |writer| publish_wide(writer, 0)];

/// A log that is in its second lap from message 4 on, and its writer, about to write two messages.
fn begin(first: First) -> (Log, impl FnOnce()) {
    let log = Log::new();
    let mut writer = log.writer(None);
    fill_with_decoys(&mut writer);
    (log, move || {
        first(&mut writer).expect("nobody gates");
        publish_tick(&mut writer).expect("nobody gates");
    })
}

/// The writer goes on and the reader follows it.
fn model(seen: &Outcomes, first: First, reader: fn(&Log, u64, u64) -> Reader) {
    let (log, write) = begin(first);
    let mut reader = reader(&log, log.ring.bytes_len(), 4);
    let writing = thread::spawn(write);
    let mut count = 0;
    for _ in 0..3 {
        if let Some((offset, _)) = take(&mut reader).expect("nothing is overrun or damaged") {
            assert_eq!(offset, 4 + count);
            count += 1;
        }
    }
    seen.saw(OUTCOMES[count as usize]);
    writing.join().expect("the writer does not panic");
    while let Some((offset, _)) = take(&mut reader).expect("nothing is overrun or damaged") {
        assert_eq!(offset, 4 + count);
        count += 1;
    }
    assert_eq!(count, 2, "a message is missing");
}

#[test]
fn in_place_a_reader_sees_a_whole_message_or_none() {
    for first in FIRSTS {
        explore(&OUTCOMES, move |seen| model(seen, first, Log::in_place));
    }
}

#[test]
fn copied_a_reader_sees_a_whole_message_or_none() {
    for first in FIRSTS {
        explore(&OUTCOMES, move |seen| model(seen, first, Log::copied));
    }
}

#[test]
fn a_walk_sees_all_of_what_it_counts() {
    for first in FIRSTS {
        explore(&OUTCOMES, move |seen| {
            let (log, write) = begin(first);
            let writing = thread::spawn(write);
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
}
