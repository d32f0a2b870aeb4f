//! A publisher that dies between any two of its stores, and its successor: invariant 8.

use proptest::prelude::*;

use super::super::block::{BLOCK_BYTES, BLOCK_CAPACITY_BYTES, block_of, block_start};
use super::super::frame::{CommitWord, Kind};
use super::super::gate::Blocked;
use super::super::pages::publisher;
use super::super::reader::Reader;
use super::super::writer::{FRAME_PAYLOAD_BYTES_MAX, Writer};
use super::harness::*;
use super::kill;
use crate::sync::Ordering;

type TryAct = fn(&mut Writer) -> Result<(), Blocked>;

/// What a publisher may be doing when it dies.
#[derive(Debug, Clone, Copy)]
enum Act {
    Publish(u64),
    Batch(u64),
    Claim(u64),
    Gap(u64),
    Control,
}

fn act(writer: &mut Writer, act: Act) {
    let offset = writer.offset();
    match act {
        Act::Publish(length) => {
            publish(writer, length);
        }
        Act::Batch(length) => {
            let payloads: Vec<_> = (offset..offset + 5).map(|at| payload(at, length)).collect();
            let batch: Vec<_> = (offset..).zip(payloads.iter().map(Vec::as_slice)).collect();
            writer.try_publish_batch(&batch).expect("nobody is in the way");
        }
        Act::Claim(length) => {
            writer.try_claim(length).expect("nobody is in the way");
            writer.put(0, &payload(offset, length));
            writer.commit_claim(offset, length);
        }
        Act::Gap(count) => {
            let to = offset + count - 1;
            writer.try_publish_gap(offset, to, 1).expect("nobody is in the way");
        }
        Act::Control => {
            writer.try_publish_control(offset, &payload(offset, 300)).expect("nobody");
        }
    }
}

/// What a reader sees of a committed act; of a batch the first `count` messages, which went into
/// one block.
fn seen(act: Act, offset: u64, count: u64) -> Vec<Seen> {
    match act {
        Act::Publish(length) | Act::Claim(length) => vec![message(offset, length)],
        Act::Batch(length) => (offset..offset + count).map(|at| message(at, length)).collect(),
        Act::Gap(count) => {
            vec![Seen::Lost { from: offset, to: offset + count - 1, cause: Some(1) }]
        }
        Act::Control => vec![Seen::Control(Bytes(payload(offset, 300)))],
    }
}

/// Kills a publisher at every point of `what`, which starts with `room` bytes left in its block
/// in the ring's second lap, and lets `deaths` successors die in turn before one lives.
fn die_everywhere(ring_bytes: u64, room: u64, what: Act, deaths: &[u64]) {
    let log = Log::new(ring_bytes);
    let mut writer = log.writer();
    let mut layout = Layout::default();
    while layout.end < ring_bytes + BLOCK_BYTES {
        let length = length_of(writer.offset(), 40_000);
        publish(&mut writer, length);
        layout.add(length);
    }
    let filler = layout.filler(room).expect("a smaller room than a block");
    let before = writer.offset();
    publish(&mut writer, filler);
    let offset = writer.offset();
    drop(writer);
    let snapshot = log.snapshot();
    let start = log.earliest(None);
    let mut writer = log.writer();
    let stores = kill::stores(|| act(&mut writer, what));
    let whole = writer.offset() - offset;
    let points = stores.points();
    let complete = *points.last().expect("there are stores");
    for point in points {
        log.restore(&snapshot);
        // The same epoch as when the points were counted.
        let mut writer = log.writer();
        let mut middle: [Reader; 2] = [log.in_place(log.live()), log.copied(log.live())];
        for reader in &mut middle {
            assert_eq!(next(reader), Ok(None));
        }
        let lived = kill::after(point, || act(&mut writer, what)).is_some();
        assert_eq!(lived, point == complete);
        drop(writer);
        // All of it or nothing: who died behind the commit, zeroing lines ahead, has published.
        let is_there = point > stores.commit;
        let mut expected = if is_there { seen(what, offset, whole) } else { Vec::new() };
        // The readers look at what the dead left, too.
        let mut views: Vec<_> =
            middle.iter_mut().map(|reader| drain(reader).expect("sound")).collect();
        for view in &views {
            assert_eq!(*view, expected, "{what:?} with {room} left, killed at {point}");
        }
        for stores in deaths {
            kill::after(*stores, || log.writer());
        }
        let mut writer = log.writer();
        assert_eq!(writer.offset(), offset + if is_there { whole } else { 0 });
        log.assert_cleared(log.tail().resume.position);
        assert!(!log.tail().train_open);
        for length in [40, 0, 700, 48] {
            expected.push(message(publish(&mut writer, length), length));
        }
        log.assert_cleared(log.tail().resume.position);
        publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX);
        expected.push(message(writer.offset() - 1, FRAME_PAYLOAD_BYTES_MAX));
        assert_places(&log);
        for (view, reader) in views.iter_mut().zip(&mut middle) {
            view.extend(drain(reader).expect("sound"));
            assert_eq!(*view, expected, "{what:?} with {room} left, killed at {point}");
        }
        // Who comes later sees the same, behind what was there before.
        let mut late = log.copied(log.earliest(Some(before)));
        let first = next(&mut late).expect("sound");
        assert_eq!(first, Some(message(before, filler)), "from {start:?}");
        assert_eq!(drain(&mut late), Ok(expected));
    }
}

#[test]
fn death_in_a_message_leaves_nothing_of_it() {
    for room in [0, 64, 1024] {
        for length in [0, 112, 1500] {
            die_everywhere(RING_BYTES, room, Act::Publish(length), &[]);
        }
    }
}

#[test]
fn death_in_a_batch_leaves_all_or_nothing() {
    for room in [0, 640, 8192] {
        for length in [0, 49, 1200] {
            die_everywhere(RING_BYTES, room, Act::Batch(length), &[3]);
        }
    }
}

#[test]
fn death_in_a_claim_gap_or_control_frame_leaves_nothing_of_it() {
    for room in [0, 4096] {
        let acts = [Act::Claim(1000), Act::Gap(3), Act::Gap(1 << 31), Act::Control];
        for what in acts {
            die_everywhere(RING_BYTES, room, what, &[1]);
        }
    }
}

#[test]
fn death_in_a_train_is_closed_by_an_abort() {
    // With a last fragment that is short, one that fills its block, and one that is alone in it.
    let exact = |room: u64, blocks| room - 24 + blocks * FRAME_PAYLOAD_BYTES_MAX;
    let cases = [
        (0, 2 * FRAME_PAYLOAD_BYTES_MAX - 8, &[][..]),
        (0, FRAME_PAYLOAD_BYTES_MAX + 200, &[40, 3]),
        (64, exact(64, 2), &[1]),
        (64, exact(64, 1) + 100, &[]),
        (1024, exact(1024, 1), &[40, 3]),
        (BLOCK_CAPACITY_BYTES - 64, exact(BLOCK_CAPACITY_BYTES - 64, 1) + 40, &[]),
    ];
    for (room, length, deaths) in cases {
        die_everywhere(8 * BLOCK_BYTES, room, Act::Publish(length), deaths);
    }
}

#[test]
fn successors_that_die_anywhere_change_nothing() {
    let length = 2 * FRAME_PAYLOAD_BYTES_MAX + 200;
    // Cut before the second block was entered, in it, and where its end is known.
    for entered in 1..=3 {
        let log = Log::new(8 * BLOCK_BYTES);
        let mut writer = log.writer();
        publish(&mut writer, 30_000);
        // The first instant at which it is so.
        let whole = log.snapshot();
        let is_cut = |stores: u64| {
            log.restore(&whole);
            let mut writer = log.writer();
            kill::after(stores, || publish(&mut writer, length));
            log.tail().train_open && log.newest() + 1 >= entered
        };
        let mut high =
            (0..).step_by(1500).find(|stores| is_cut(*stores)).expect("it comes to that");
        let mut low = high.saturating_sub(1500);
        while low + 1 < high {
            let middle = low.midpoint(high);
            if is_cut(middle) { high = middle } else { low = middle }
        }
        assert!(is_cut(high));
        assert_eq!(log.newest() + 1, entered);
        let cut = log.snapshot();
        let points = kill::stores(|| drop(log.writer())).points();
        let result = log.tail();
        let mut ring = log.snapshot();
        for point in points {
            log.restore(&cut);
            kill::after(point, || log.writer());
            drop(log.writer());
            assert_eq!(log.tail(), result);
            // All is the same but the epoch of the block that an abort may have entered.
            let epoch = (block_of(result.resume.position - 1) * BLOCK_BYTES + 48) as usize / 8;
            let again = log.snapshot();
            ring[0][epoch] = again[0][epoch];
            assert!(again[0] == ring[0], "died at {point}");
        }
    }
}

#[test]
fn a_frame_that_lies_behind_the_tail_is_zeroed() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    publish(&mut writer, 100);
    let end = log.tail().resume.position;
    for at in (end + 64..BLOCK_BYTES).step_by(64) {
        let word = CommitWord::new(2, 40, Kind::Message, 0).0;
        log.ring.lines().store(at, word, Ordering::Relaxed);
    }
    let mut reader = log.in_place(log.earliest(None));
    drop(writer);
    let mut writer = log.writer();
    publish(&mut writer, 48);
    assert_eq!(drain(&mut reader), Ok(vec![message(0, 100), message(1, 48)]));
    assert_eq!(writer.epoch(), 2);
}

#[test]
fn an_abort_waits_for_the_subscriber_in_its_block() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    let mut seat = log.seat(0);
    seat.join(0).expect("nothing is reserved");
    for _ in 0..3 {
        publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX - 64);
    }
    publish(&mut writer, FRAME_PAYLOAD_BYTES_MAX - 64);
    // The first fragment takes the last line of block 3; the blocks behind it are free.
    seat.store(2 * BLOCK_BYTES, 2);
    let length = FRAME_PAYLOAD_BYTES_MAX + 1;
    let points = {
        let snapshot = log.snapshot();
        let stores = kill::stores(|| assert_eq!(publish(&mut writer, length), 4));
        log.restore(&snapshot);
        stores.points()
    };
    let mut cut = false;
    for point in points.into_iter().take(20) {
        let snapshot = log.snapshot();
        let mut writer = log.writer();
        kill::after(point, || publish(&mut writer, length));
        cut = log.tail().train_open && log.newest() == 3;
        if cut {
            break;
        }
        log.restore(&snapshot);
    }
    assert!(cut, "no death between the first fragment and the next block");
    // A subscriber that joined meanwhile where the abort must go.
    let mut late = log.seat(1);
    let _ = late.join(64);
    // Whatever comes first closes the train, and waits for that.
    let acts: [TryAct; 7] = [
        |writer| writer.try_publish(0, &[0_u8; 9]).map(drop),
        |writer| writer.try_publish(0, &[0_u8; 65_500]).map(drop),
        |writer| writer.try_publish_batch(&[(0, &[0_u8; 9])]).map(drop),
        |writer| writer.try_claim(9),
        |writer| writer.try_publish_gap(0, 4, 1),
        |writer| writer.try_publish_gap(0, 1 << 32, 1),
        |writer| writer.try_publish_control(0, &[]),
    ];
    let snapshot = log.snapshot();
    for act in acts {
        log.restore(&snapshot);
        let mut writer = log.take_over().expect("sound");
        assert_eq!(writer.offset(), 4);
        let blocked = act(&mut writer).expect_err("slot 1 is in block 0");
        assert_eq!(blocked.slot, 1);
        assert!(log.tail().train_open && log.newest() == 3, "nothing was written");
        writer.gate().evict(blocked);
        act(&mut writer).expect("all have left");
        assert_eq!(u64::from(log.ring.header(4).expect("entered").first_message), 192);
        let abort = CommitWord(log.ring.lines().load(block_start(4) + 128, Ordering::Relaxed));
        assert_eq!(abort.kind(), Some(Kind::Abort));
        if writer.offset() == 4 {
            publish(&mut writer, 9);
            let mut reader = log.copied(log.earliest(Some(4)));
            assert_eq!(drain(&mut reader).expect("sound").last(), Some(&message(4, 9)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_count_of_payload_bytes_survives(
        lengths in prop::collection::vec(0u64..RING_BYTES / 4, 1..12), at in 0u64..40_000,
    ) {
        let log = Log::new(RING_BYTES);
        let mut writer = log.writer();
        let mut bytes = 0;
        for length in lengths {
            publish(&mut writer, length);
            bytes += length;
        }
        if kill::after(at, || publish(&mut writer, 30_000)).is_some() {
            bytes += 30_000;
        }
        drop(writer);
        drop(log.writer());
        let page = &log.pages.publisher;
        let field = publisher::bytes_before(log.newest());
        let counted = page.load(field, Ordering::Relaxed) + log.tail().resume.payload_bytes;
        prop_assert_eq!(counted, bytes);
    }
}
