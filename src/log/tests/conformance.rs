//! The same promises over every kind of memory: on the heap, and mapped from files, where the
//! readers have mappings of their own that they cannot write to. What a whole bus promises, within
//! and across processes, is in `tests/conformance`.

use std::thread;

use super::super::copy::Stall;
use super::super::gate::Gate;
use super::super::lane::{Lane, StartAt, StartError, Stop, Wanted};
use super::super::memory::Memory;
use super::super::pages::{PAGE_BYTES, Pages, SLOTS};
use super::super::ring::Ring;
use super::super::seat::Counts;
use super::super::writer::{FRAME_PAYLOAD_BYTES_MAX, Writer};
use super::harness::*;
use crate::shm::map::{self, Access, Map};

/// One log as its two ends see it.
struct Place {
    name: &'static str,
    writer: Log,
    reader: Log,
}

impl Place {
    fn heap() -> Place {
        let log = Log::new(RING_BYTES);
        Place { name: "heap", writer: log.clone(), reader: log }
    }

    fn files() -> Place {
        // Who maps it for what: the ring, the pages of publisher, control and journal, the cursors.
        use Access::{ReadOnly, ReadWrite};
        let sizes = [RING_BYTES, PAGE_BYTES, PAGE_BYTES, PAGE_BYTES, SLOTS as u64 * PAGE_BYTES];
        let files = sizes.map(|bytes| {
            let file = tempfile::tempfile_in("/dev/shm").expect("a file in shared memory");
            map::allocate(&file, bytes, map::Pages::Default).expect("room for it");
            (file, bytes)
        });
        let end = |accesses: [Access; 5]| {
            let mut accesses = accesses.into_iter();
            let [ring, publisher, control, journal, cursors] =
                files.each_ref().map(|(file, bytes)| {
                    let access = accesses.next().expect("one each");
                    let map = Map::new(file, 0, *bytes as usize, access, map::Pages::Default);
                    Memory::mapped(map.expect("a mapping"))
                });
            Log {
                ring: Ring::new(ring.clone()),
                memory: ring,
                pages: Pages { publisher, control, journal },
                cursors,
            }
        };
        let writer = end([ReadWrite, ReadWrite, ReadWrite, ReadOnly, ReadOnly]);
        let reader = end([ReadOnly, ReadOnly, ReadWrite, ReadOnly, ReadWrite]);
        assert!(writer.memory.is_writable() && !reader.memory.is_writable());
        Place { name: "files", writer, reader }
    }

    fn all() -> [Place; 2] {
        [Place::heap(), Place::files()]
    }

    fn reliable(&self, slot: usize, start_at: StartAt, in_place: bool) -> Result<Lane, StartError> {
        let Log { ring, pages, .. } = &self.reader;
        Lane::reliable(
            ring.clone(),
            pages,
            self.reader.seat(slot),
            Wanted::as_held(start_at),
            in_place,
        )
    }

    fn lossy(&self, start_at: StartAt) -> Result<Lane, StartError> {
        Lane::lossy(self.reader.ring.clone(), &self.reader.pages, Wanted::as_held(start_at))
    }

    /// A subscription of each kind.
    fn lanes(&self, start_at: StartAt) -> Result<[Lane; 3], StartError> {
        Ok([
            self.reliable(0, start_at, true)?,
            self.reliable(1, start_at, false)?,
            self.lossy(start_at)?,
        ])
    }
}

/// Everything that the lane has.
fn read(lane: &mut Lane) -> Vec<Seen> {
    let seen = drain(&mut lane.reader).expect("neither overrun nor damaged");
    lane.sync(Counts::default()).expect("not evicted");
    seen
}

/// Publishes the next message, whose length follows from its offset.
fn publish_next(writer: &mut Writer, bytes_max: u64) -> u64 {
    let offset = writer.offset();
    publish(writer, length_of(offset, bytes_max))
}

fn messages(offsets: std::ops::Range<u64>, bytes_max: u64) -> Vec<Seen> {
    offsets.map(|offset| message(offset, length_of(offset, bytes_max))).collect()
}

#[test]
fn what_is_written_is_read_whichever_way() {
    for place in Place::all() {
        let mut lanes = place.lanes(StartAt::Live).expect("nothing was published");
        let mut writer = place.writer.writer();
        let mut expected = Vec::new();
        for round in 0..200 {
            let offset = publish_next(&mut writer, 500);
            expected.extend(messages(offset..offset + 1, 500));
            let first = writer.offset();
            let payloads = [0, 1, 2].map(|at| payload(first + at, length_of(first + at, 500)));
            let batch = [0, 1, 2].map(|at| (first + at, &payloads[at as usize][..]));
            let mut rest = &batch[..];
            while !rest.is_empty() {
                let count = writer.try_publish_batch(rest).expect("nobody is in the way");
                rest = &rest[count..];
            }
            expected.extend(messages(first..first + 3, 500));
            let (offset, length) = (writer.offset(), 30 * (round % 70));
            writer.try_claim(length).expect("nobody is in the way");
            let bytes = payload(offset, length);
            let (front, back) = bytes.split_at(bytes.len() / 3);
            writer.put(front.len() as u64, back);
            writer.put(0, front);
            assert_eq!(writer.commit_claim(offset, length), offset);
            expected.push(message(offset, length));
            if round % 10 == 3 {
                writer.try_publish_control(0, b"between publishers").expect("room");
                expected.push(Seen::Control(Bytes(b"between publishers".to_vec())));
                let from = writer.offset();
                writer.try_publish_gap(0, from + round, 2).expect("room");
                expected.push(Seen::Lost { from, to: from + round, cause: Some(2) });
                let offset = publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX + 1 + round % 100);
                expected.push(message(offset, FRAME_PAYLOAD_BYTES_MAX + 1 + round % 100));
            }
            for lane in &mut lanes {
                assert_eq!(read(lane), expected, "{}", place.name);
            }
            expected.clear();
        }
    }
}

#[test]
fn a_subscription_starts_where_it_wants() {
    for place in Place::all() {
        let mut writer = place.writer.writer();
        let future = Some(StartError::Future { offset: 1, next: 0 });
        assert_eq!(place.lanes(StartAt::Offset(1)).err(), future);
        for _ in 0..3000 {
            publish_next(&mut writer, 300);
        }
        for lane in &mut place.lanes(StartAt::Live).expect("sound") {
            assert_eq!(read(lane), []);
        }
        for start in [2500, 2999, 3000] {
            for lane in &mut place.lanes(StartAt::Offset(start)).expect("still there") {
                assert_eq!(read(lane), messages(start..3000, 300), "{}", place.name);
            }
        }
        let future = Some(StartError::Future { offset: 3001, next: 3000 });
        assert_eq!(place.lanes(StartAt::Offset(3001)).err(), future);
        let mut first_kept = Vec::new();
        for lane in &mut place.lanes(StartAt::Earliest).expect("sound") {
            let seen = read(lane);
            let Some(Seen::Message { offset, .. }) = seen.first() else { panic!("{seen:?}") };
            assert_eq!(seen, messages(*offset..3000, 300), "{}", place.name);
            first_kept.push(*offset);
        }
        assert!(first_kept[0] > 0 && first_kept.iter().all(|offset| *offset == first_kept[0]));
        for lane in &mut place.lanes(StartAt::Offset(7)).expect("told what is lost") {
            let mut expected = vec![Seen::Lost { from: 7, to: first_kept[0] - 1, cause: None }];
            expected.extend(messages(first_kept[0]..3000, 300));
            assert_eq!(read(lane), expected, "{}", place.name);
        }
    }
}

#[test]
fn a_reader_gates_the_writer_until_it_is_evicted() {
    for in_place in [true, false] {
        for place in Place::all() {
            let mut writer = place.writer.writer();
            let mut lane = place.reliable(9, StartAt::Live, in_place).expect("sound");
            let bytes = [0u8; 1000];
            let mut fill = || {
                let blocked = loop {
                    if let Err(blocked) = writer.try_publish(0, &bytes[..]) {
                        break blocked;
                    }
                };
                (blocked, writer.offset())
            };
            let (blocked, full) = fill();
            assert_eq!((blocked.slot, fill().1), (9, full), "{}: full is full", place.name);
            for _ in 0..50 {
                assert!(next(&mut lane.reader).expect("sound").is_some());
            }
            lane.sync(Counts::default()).expect("not evicted");
            assert_eq!(fill().1, full, "it is still in its first block");
            while lane.reader.offset() < 100 {
                assert!(next(&mut lane.reader).expect("sound").is_some());
            }
            lane.sync(Counts::default()).expect("not evicted");
            let (blocked, full) = fill();
            assert!(full > 300);
            Gate::evict(writer.gate(), blocked);
            for _ in 0..300 {
                writer.try_publish(0, &bytes[..]).expect("nobody is in the way any more");
            }
            assert_eq!(lane.sync(Counts::default()), Err(Stop::Evicted), "{}", place.name);
            assert_eq!(lane.recover(Stall::Overrun), Err(Stop::Evicted), "{}", place.name);
        }
    }
}

#[test]
fn an_overrun_reader_goes_on_and_knows_what_it_lost() {
    for place in Place::all() {
        let mut writer = place.writer.writer();
        let mut lane = place.lossy(StartAt::Live).expect("sound");
        let mut due = 0;
        for _ in 0..5 {
            for _ in 0..2000 {
                publish_next(&mut writer, 500);
            }
            let mut lost = 0;
            while due < writer.offset() {
                match next(&mut lane.reader) {
                    Ok(Some(Seen::Lost { from, to, cause: None })) => {
                        assert_eq!(from, due);
                        lost += to + 1 - from;
                        due = to + 1;
                    }
                    Ok(Some(seen)) => {
                        assert_eq!(seen, message(due, length_of(due, 500)), "{}", place.name);
                        due += 1;
                    }
                    Err(Stall::Overrun) => assert_eq!(lane.recover(Stall::Overrun), Ok(true)),
                    other => panic!("{}: {other:?} where {due} was due", place.name),
                }
            }
            assert!(lost > 0 && lost < 2000);
        }
    }
}

#[test]
fn the_next_writer_goes_on() {
    for place in Place::all() {
        let mut lanes = place.lanes(StartAt::Live).expect("nothing was published");
        for epoch in 1..30 {
            let mut writer = place.writer.writer();
            let start = writer.offset();
            assert_eq!((writer.epoch(), start), (epoch, (epoch - 1) * 40));
            for _ in 0..40 {
                publish_next(&mut writer, 2000);
            }
            // It dies in a claim.
            writer.try_claim(3000).expect("nobody is in the way");
            writer.put(0, &[0x11; 3000]);
            drop(writer);
            for lane in &mut lanes {
                assert_eq!(read(lane), messages(start..start + 40, 2000), "{}", place.name);
            }
        }
    }
}

#[test]
fn threads_that_write_and_read_at_once_lose_nothing() {
    const MESSAGES: u64 = 30_000;
    for place in Place::all() {
        let lanes = [true, false].map(|in_place| {
            place.reliable(usize::from(in_place), StartAt::Offset(0), in_place).expect("sound")
        });
        thread::scope(|scope| {
            for mut lane in lanes {
                scope.spawn(move || {
                    let mut due = 0;
                    while due < MESSAGES {
                        match next(&mut lane.reader).expect("neither overrun nor damaged") {
                            Some(seen) => {
                                assert_eq!(seen, message(due, length_of(due, 400)));
                                due += 1;
                            }
                            None => thread::yield_now(),
                        }
                        lane.sync(Counts::default()).expect("not evicted");
                    }
                });
            }
            let mut writer = place.writer.writer();
            for offset in 0..MESSAGES {
                let bytes = payload(offset, length_of(offset, 400));
                while writer.try_publish(offset, &bytes[..]).is_err() {
                    thread::yield_now();
                }
            }
        });
    }
}
