//! Looking at a journal on real files: its state, and damage that is put there.

mod common;

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tickcast::runtime::{Agent, CoreHandle};
use tickcast::{
    DamageKind, Event, FrameKind, JournalDir, JournalEntry, JournalState, NoticeKind, Publisher,
    Replay, ReplayCounters, StartAt, SyncPolicy, Topic, Verification,
};

use common::audit::{publish, timestamp_of};
use common::journal::start;
use common::{Random, TestBus, seed};

const BLOCK_BYTES: u64 = 64 << 10;
const SEGMENT_BYTES: u64 = 256 << 10;
const MESSAGES: u64 = 6_000;

/// A topic with a publisher, and where it is journaled to.
struct Place {
    _bus: TestBus,
    topic: Topic,
    publisher: Publisher,
    files: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let bus = TestBus::new();
        let topic = bus.topic("trades").ring_bytes(1 << 20).create().expect("a topic");
        let publisher = topic.publisher(0).expect("the only one");
        let files = tempfile::tempdir().expect("a directory");
        Place { _bus: bus, topic, publisher, files }
    }

    fn journal(&self, sync: SyncPolicy) -> CoreHandle {
        let settings = self.topic.journal(self.files.path()).sync(sync);
        start(settings.segment_bytes(SEGMENT_BYTES).open().expect("a journal"))
    }

    /// Publishes messages up to `end`.
    fn publish(&mut self, end: u64) {
        publish(&mut self.publisher, end);
    }

    /// Publishes some segments' worth, and closes the journal.
    fn recorded() -> Place {
        let mut place = Place::new();
        let core = place.journal(SyncPolicy::Interval(Duration::from_millis(1)));
        place.publish(MESSAGES);
        core.stop().expect("no agent panics");
        place
    }

    /// Offset behind what the journal has written.
    fn written(&self) -> u64 {
        let stat = self.topic.stat().expect("counters");
        stat.partitions[0].journal.as_ref().map_or(0, |journal| journal.written_offset)
    }

    fn dir(&self) -> PathBuf {
        self.files.path().join("trades")
    }

    fn open(&self) -> JournalDir {
        JournalDir::open(self.dir()).expect("a journal")
    }

    fn verify(&self) -> Verification {
        self.open().verify(0, |_, _| ()).expect("it can be read")
    }

    /// What a replay hands out, and the losses that it tells of.
    fn replay(&self) -> (ReplayCounters, Vec<(u64, u64)>) {
        let mut losses = Vec::new();
        let replay = Replay::open(self.dir()).expect("a journal");
        let counters = replay.run(|event| {
            if let Event::Notice(notice) = event
                && let NoticeKind::Lost { from, to, .. } = notice.kind
            {
                losses.push((from, to + 1));
            }
        });
        (counters.expect("it can be read"), losses)
    }
}

/// The file that block `number` lies in, and the byte.
fn place_of(dir: &Path, number: u64) -> (PathBuf, u64) {
    let first = number - number % (SEGMENT_BYTES / BLOCK_BYTES);
    let path = dir.join(format!("0/{first:016x}.segment"));
    (path, (number - first) * BLOCK_BYTES)
}

/// Flips bits of a byte of a file, runs `look`, and flips them back.
fn flipped(path: &Path, at: u64, bits: u8, look: impl FnOnce()) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut before = [0];
    file.read_exact_at(&mut before, at).expect("read");
    file.write_all_at(&[before[0] ^ bits], at).expect("written");
    look();
    file.write_all_at(&before, at).expect("written");
}

#[test]
fn a_journal_that_was_closed_tells_its_state_and_is_sound() {
    let place = Place::recorded();
    let info = place.open().info(0).expect("it can be read");
    let stat = &place.topic.stat().expect("counters").partitions[0];
    assert_eq!((info.earliest_offset, info.next_offset), (0, MESSAGES));
    assert_eq!(info.earliest_timestamp_ns, Some(timestamp_of(0)));
    assert_eq!(info.timestamp_max_ns, Some(timestamp_of(MESSAGES - 1)));
    assert_eq!((info.position, info.durable_position), (stat.position, stat.position));
    assert_eq!(info.durable_offset, Some(MESSAGES));
    assert_eq!((info.first_block, info.last_block), (0, Some(stat.position / BLOCK_BYTES)));
    assert_eq!((info.first_epoch, info.last_epoch), (1, 1));
    assert!(!info.is_cut && !info.is_being_written);
    assert!(info.segments > stat.position / SEGMENT_BYTES);
    assert!(info.disk_bytes >= info.segments * SEGMENT_BYTES);
    let journal = stat.journal.as_ref().expect("there was one");
    assert_eq!((journal.state, journal.written_position), (JournalState::Closed, info.position));

    let mut done = Vec::new();
    let found = place.open().verify(0, |done_blocks, blocks| done.push((done_blocks, blocks)));
    let found = found.expect("it can be read");
    let blocks = stat.position / BLOCK_BYTES + 1;
    assert_eq!((found.blocks, found.damaged_blocks), (blocks, 0));
    assert_eq!((found.messages, found.next_offset), (MESSAGES, MESSAGES));
    assert_eq!((found.position, found.durable_position), (stat.position, stat.position));
    assert!(found.damages.is_empty() && found.cut.is_none() && !found.is_being_written);
    assert_eq!(done.last(), Some(&(blocks, blocks)));
    assert!(done.is_sorted());
}

#[test]
fn a_journal_that_is_empty_is_sound() {
    let place = Place::new();
    place.journal(SyncPolicy::Always).stop().expect("no agent panics");
    assert_eq!(place.verify(), Verification::default());
    let info = place.open().info(0).expect("it can be read");
    assert_eq!((info.next_offset, info.last_block), (0, None));
}

#[test]
fn journals_are_listed_and_others_are_not_there() {
    let place = Place::recorded();
    fs::create_dir(place.files.path().join("else")).expect("a directory");
    fs::write(place.files.path().join("a file"), b"").expect("a file");
    assert_eq!(JournalDir::list(place.files.path()).expect("it can be read"), [place.dir()]);
    let error = JournalDir::open(place.files.path()).expect_err("it is none itself");
    assert!(error.to_string().contains("is no topic's journal"), "{error}");
    let error = place.open().info(1).expect_err("there is one partition");
    assert!(error.to_string().contains("there is no partition 1"), "{error}");
}

#[test]
fn each_flipped_bit_is_found_and_what_is_left_is_what_a_replay_finds() {
    let place = Place::recorded();
    let sound = place.verify();
    let mut random = Random(seed());
    for round in 0..300 {
        let number = random.below(sound.blocks);
        let used = (sound.position - number * BLOCK_BYTES).min(BLOCK_BYTES);
        // Headers more often than by chance.
        let at = if round % 3 == 0 { random.below(128) } else { random.below(used) };
        let (path, start) = place_of(&place.dir(), number);
        flipped(&path, start + at, 1 << random.below(8), || {
            let found = place.verify();
            let (counters, losses) = place.replay();
            assert_eq!(found.messages, counters.messages, "block {number}, byte {at}: {found:?}");
            if (64..128).contains(&at) && found.damages.is_empty() {
                // In a slot that is not used any more, or that says as much as the other.
                assert_eq!(found.next_offset, MESSAGES);
                return;
            }
            let [damage] = &found.damages[..] else { panic!("byte {at}: {found:?}") };
            assert_eq!((damage.block, damage.blocks, found.damaged_blocks), (number, 1, 1));
            assert_eq!(damage.segment.as_deref(), Some(&*path));
            assert_eq!(damage.position - number * BLOCK_BYTES, damage.segment_byte - start);
            assert_eq!(damage.kind == DamageKind::Absent, (0..32).contains(&at), "byte {at}");
            let (from, end) = (damage.lost_from, damage.lost_end);
            match losses[..] {
                [loss] => assert_eq!(from.zip(end), Some(loss)),
                _ => assert!(losses.is_empty() && (number == 0 || end.is_none() || from == end)),
            }
            match end {
                Some(_) => assert_eq!(found.next_offset, MESSAGES),
                None => assert_eq!((number, from), (sound.blocks - 1, Some(found.next_offset))),
            }
        });
    }
    assert_eq!(place.verify(), sound);
}

#[test]
fn what_is_missing_is_told_as_one() {
    let place = Place::recorded();
    let sound = place.verify();
    let (path, _) = place_of(&place.dir(), 4);
    let aside = place.files.path().join("aside");
    fs::rename(&path, &aside).expect("it is there");
    let found = place.verify();
    let [damage] = &found.damages[..] else { panic!("{found:?}") };
    assert_eq!((damage.block, damage.blocks, damage.kind), (4, 4, DamageKind::Absent));
    assert_eq!((damage.segment.as_deref(), damage.position), (None, 4 * BLOCK_BYTES));
    let (counters, losses) = place.replay();
    assert_eq!(found.messages, counters.messages);
    let lost = damage.lost_from.zip(damage.lost_end).expect("there are messages around it");
    assert_eq!(losses, [lost]);
    // Something in its place that cannot be read.
    fs::create_dir(&path).expect("a directory");
    let found = place.verify();
    let [damage] = &found.damages[..] else { panic!("{found:?}") };
    assert_eq!((damage.block, damage.blocks), (4, 4));
    assert!(matches!(damage.kind, DamageKind::Io(_)), "{damage:?}");
    assert_eq!((damage.segment.as_deref(), damage.segment_byte), (Some(&*path), 0));
    assert_eq!(damage.lost_from.zip(damage.lost_end), Some(lost));
    fs::remove_dir(&path).expect("it is there");
    fs::rename(&aside, &path).expect("it is there");
    assert_eq!(place.verify(), sound);
}

#[test]
fn without_its_oldest_segment_it_is_a_journal_that_begins_later() {
    let place = Place::recorded();
    let sound = place.verify();
    let (path, _) = place_of(&place.dir(), 0);
    fs::remove_file(path).expect("it is there");
    let found = place.verify();
    assert_eq!((found.blocks, found.damaged_blocks), (sound.blocks - 4, 0));
    let info = place.open().info(0).expect("it can be read");
    assert_eq!((info.first_block, info.next_offset), (4, MESSAGES));
    let (mut first, replay) = (None, Replay::open(place.dir()).expect("a journal"));
    let counters = replay.run(|event| {
        if let Event::Message(message) = event {
            first = first.or(Some((message.offset, Some(message.timestamp_ns))));
        }
    });
    let counters = counters.expect("it can be read");
    assert_eq!((found.messages, 0), (counters.messages, counters.lost));
    assert_eq!(first, Some((info.earliest_offset, info.earliest_timestamp_ns)));
}

#[test]
fn what_was_never_durable_is_no_damage() {
    let mut place = Place::new();
    let settings = place.topic.journal(place.files.path()).segment_bytes(SEGMENT_BYTES);
    let mut journal = settings.open().expect("a journal");
    for end in (100..=2_000).step_by(100) {
        place.publish(end);
        while place.written() < end {
            journal.poll();
        }
    }
    // As a killed one: what is behind the last full segment was never flushed.
    drop(journal);
    let sound = place.verify();
    assert!(sound.cut.is_none() && sound.damages.is_empty(), "{sound:?}");
    assert_eq!(sound.messages, 2_000);
    let number = sound.durable_position / BLOCK_BYTES;
    assert!(number + 1 < sound.blocks, "{sound:?}");
    let (path, start) = place_of(&place.dir(), number);
    flipped(&path, start + 1_000, 1, || {
        let found = place.verify();
        assert_eq!((found.damaged_blocks, found.blocks), (0, number));
        let cut = found.cut.expect("it ends early");
        assert_eq!((cut.block, cut.position), (number, number * BLOCK_BYTES));
        assert_eq!((cut.kind, cut.lost_from), (DamageKind::Checkpoints, Some(found.next_offset)));
        let info = place.open().info(0).expect("it can be read");
        assert!(info.is_cut);
        assert_eq!((info.next_offset, info.position), (found.next_offset, found.position));
        // What is cut away comes again from the ring.
        let core = place.journal(SyncPolicy::Always);
        place.publish(3_000);
        core.stop().expect("no agent panics");
        let found = place.verify();
        assert!(found.cut.is_none() && found.damages.is_empty(), "{found:?}");
        assert_eq!((found.messages, found.next_offset), (3_000, 3_000));
    });
    assert_eq!(place.verify().messages, 3_000);
}

#[test]
fn a_journal_that_is_being_written_is_not_damaged() {
    let policies =
        [SyncPolicy::None, SyncPolicy::Interval(Duration::from_micros(200)), SyncPolicy::Always];
    for sync in policies {
        let mut place = Place::new();
        let core = place.journal(sync);
        let dir = place.dir();
        std::thread::scope(|scope| {
            let verifier = scope.spawn(|| {
                let journal = JournalDir::open(&dir).expect("a journal");
                let (mut messages, mut rounds) = (0, 0);
                while messages < MESSAGES {
                    let found = journal.verify(0, |_, _| ()).expect("it can be read");
                    assert!(found.damages.is_empty() && found.cut.is_none(), "{sync:?}: {found:?}");
                    assert_eq!(found.messages, found.next_offset);
                    assert!(found.messages >= messages, "{found:?} after {messages}");
                    let info = journal.info(0).expect("it can be read");
                    assert!(!info.is_cut && info.next_offset >= found.next_offset, "{info:?}");
                    (messages, rounds) = (found.messages, rounds + 1);
                }
                println!("{sync:?}: {rounds} rounds");
            });
            for end in (100..=MESSAGES).step_by(100) {
                place.publish(end);
            }
            verifier.join().expect("no damage");
        });
        core.stop().expect("no agent panics");
    }
}

#[test]
fn what_the_ring_went_past_is_not_damaged() {
    let mut place = Place::recorded();
    let mut missed = 0;
    for round in 1..4 {
        let before = place.publisher.next_offset();
        // More than the ring holds.
        place.publish(before + 10_000);
        let core = place.journal(SyncPolicy::None);
        place.publish(before + 10_000 + round);
        while place.written() < before + 10_000 + round {
            std::thread::sleep(Duration::from_millis(1));
        }
        core.stop().expect("no agent panics");
        let (found, (counters, losses)) = (place.verify(), place.replay());
        assert!(found.damages.is_empty() && found.cut.is_none(), "{found:?}");
        assert_eq!((found.messages, found.missed), (counters.messages, counters.lost));
        assert_eq!((found.next_offset, losses.len() as u64), (before + 10_000 + round, round));
        assert!(found.missed > missed);
        missed = found.missed;
        let info = place.open().info(0).expect("it can be read");
        assert_eq!((info.next_offset, info.position), (found.next_offset, found.position));
        assert_eq!(info.durable_offset, Some(info.next_offset));
    }
}

#[test]
fn a_dump_has_every_frame_in_its_place() {
    let place = Place::recorded();
    let (mut position, mut messages, mut blocks) = (0, 0, 0);
    let check = |entry: JournalEntry| {
        match entry {
            JournalEntry::Block { number, position: at, first_offset, .. } => {
                assert_eq!((number, at, first_offset), (blocks, position, messages));
                (position, blocks) = (at + 128, blocks + 1);
            }
            JournalEntry::Frame { position: at, offset, kind, timestamp_ns, length, .. } => {
                assert_eq!((at, offset), (position, messages));
                position += (16 + length).next_multiple_of(64);
                if let Some(timestamp_ns) = timestamp_ns {
                    assert_eq!(timestamp_ns, timestamp_of(offset));
                }
                messages += u64::from(matches!(kind, FrameKind::Message | FrameKind::Last));
            }
            entry => panic!("{entry:?}"),
        }
        ControlFlow::Continue(())
    };
    place.open().dump(0, StartAt::Earliest, check).expect("it can be read");
    let found = place.verify();
    assert_eq!((position, messages, blocks), (found.position, MESSAGES, found.blocks));
    for from in [StartAt::Offset(4_321), StartAt::Time(timestamp_of(4_321))] {
        let mut first = None;
        let find = |entry: JournalEntry| match entry {
            JournalEntry::Frame { offset, .. } => {
                first = Some(offset);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        };
        place.open().dump(0, from, find).expect("it can be read");
        assert_eq!(first, Some(4_321));
    }
}
