//! Joining a log that goes on: edge `join`. Either the writer waits for the joiner, or the joiner
//! sees that its block may go and starts further on.

use loom::thread;

use super::{Log, Outcomes, explore, publish_whole, take};
use crate::log::block::BLOCK_BYTES;
use crate::log::lane::{Lane, StartAt, Wanted};
use crate::log::seat::{Counts, Seat};
use crate::log::writer::Writer;

const STARTS: [&str; 4] = ["starts at 0", "starts at 1", "starts at 2", "starts at 3"];

/// A full ring, one message a block.
fn full(log: &Log) -> Writer {
    let mut writer = log.writer(None);
    for _ in 0..4 {
        publish_whole(&mut writer, 0).expect("the ring has room");
    }
    writer
}

/// Joins, reads two messages in place, and leaves. Says where it started.
fn join(log: &Log, seat: Seat) -> &'static str {
    let mut lane = Lane::reliable(
        log.ring.clone(),
        &log.pages,
        seat,
        Wanted::as_held(StartAt::Earliest),
        true,
    )
    .expect("the log is sound");
    let (first, _) = take(&mut lane.reader).expect("it gates").expect("it was published");
    lane.sync(Counts::default()).expect("nobody is evicted");
    let (second, _) = take(&mut lane.reader).expect("it gates").expect("it was published");
    assert_eq!(second, first + 1);
    STARTS[first as usize]
}

/// Publishes up to `count` messages, each of which overwrites a block.
fn write(seen: &Outcomes, writer: &mut Writer, count: u64) {
    for _ in 0..count {
        if publish_whole(writer, 0).is_err() {
            return seen.saw("the writer waits");
        }
    }
    seen.saw("the writer goes on");
}

#[test]
fn a_joiner_gates_or_starts_further_on() {
    let outcomes = [&STARTS[..3], &["the writer waits", "the writer goes on"]].concat();
    explore(&outcomes, |seen| {
        let log = Log::new();
        let mut writer = full(&log);
        let seat = log.seat(0);
        let writing = thread::spawn({
            let seen = seen.clone();
            move || write(&seen, &mut writer, 2)
        });
        seen.saw(join(&log, seat));
        writing.join().expect("the writer does not panic");
    });
}

#[test]
fn a_joiner_takes_the_slot_of_a_dead_one() {
    let outcomes = [&STARTS[..3], &["the writer waits", "the writer goes on"]].concat();
    explore(&outcomes, |seen| {
        let log = Log::new();
        let mut dead = log.seat(0);
        dead.join(0).expect("nothing was reserved yet");
        let mut writer = full(&log);
        let seat = log.seat(0);
        let writing = thread::spawn({
            let seen = seen.clone();
            move || {
                if let Err(blocked) = publish_whole(&mut writer, 0)
                    && blocked.generation == 1
                {
                    writer.gate().reclaim(blocked);
                }
                write(&seen, &mut writer, 2);
            }
        });
        seen.saw(join(&log, seat));
        writing.join().expect("the writer does not panic");
    });
}

#[test]
fn a_joiner_takes_the_slot_of_one_that_left_while_another_leaves() {
    let outcomes = [&STARTS[..3], &["the writer waits", "the writer goes on"]].concat();
    let seen = Outcomes::of(&outcomes);
    // One preemption, of the joiner: the others need none to be where it matters.
    seen.explore(1, |seen| {
        let log = Log::new();
        let (mut earlier, mut other) = (log.seat(0), log.seat(1));
        for seat in [&mut earlier, &mut other] {
            seat.join(0).expect("nothing was reserved yet");
        }
        let mut writer = full(&log);
        other.store(log.ring.bytes_len(), 4);
        // Further on than where the joiner starts: who still sees this finds a cursor that goes
        // back when it looks again.
        earlier.store(BLOCK_BYTES, 1);
        earlier.leave();
        let seat = log.seat(0);
        let writing = thread::spawn({
            let seen = seen.clone();
            move || write(&seen, &mut writer, 2)
        });
        // Its leaving may be what makes the writer look at a joiner who is half way.
        let leaving = thread::spawn(move || other.leave());
        seen.saw(join(&log, seat));
        writing.join().expect("the writer does not panic");
        leaving.join().expect("leaving does not panic");
    });
    seen.check();
}

#[test]
fn a_joiner_a_reader_and_a_writer() {
    let outcomes = [&STARTS[..2], &["the writer waits", "the writer goes on"]].concat();
    explore(&outcomes, |seen| {
        let log = Log::new();
        let mut seat = log.seat(0);
        seat.join(0).expect("nothing was reserved yet");
        let mut writer = full(&log);
        let joiner = log.seat(1);
        let mut reader = log.in_place(0, 0);
        let writing = thread::spawn({
            let seen = seen.clone();
            move || write(&seen, &mut writer, 1)
        });
        let reading = thread::spawn(move || {
            take(&mut reader).expect("it gates").expect("it was published");
            seat.store(reader.position(), reader.offset());
        });
        seen.saw(join(&log, joiner));
        writing.join().expect("the writer does not panic");
        reading.join().expect("the reader does not panic");
    });
}

#[test]
fn a_lossy_joiner_finds_its_place_while_the_ring_goes_round() {
    explore(&["message", "nothing"], |seen| {
        let log = Log::new();
        let mut writer = full(&log);
        let writing = thread::spawn(move || {
            for _ in 0..4 {
                publish_whole(&mut writer, 0).expect("nobody gates");
            }
        });
        let mut lane = Lane::lossy(log.ring.clone(), &log.pages, Wanted::as_held(StartAt::Live))
            .expect("the log is sound");
        // It starts behind the newest block, so four more do not overrun it.
        let message = take(&mut lane.reader).expect("it is not overrun");
        seen.saw(if message.is_some() { "message" } else { "nothing" });
        writing.join().expect("the writer does not panic");
    });
}
