//! Death and takeover: invariant 8. A writer is killed before each of its stores in turn, so is
//! the one that takes over, and the next one goes on, while a reader follows. Nothing is lost,
//! repeated or torn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use loom::thread;

use super::{
    LOG_ID, Log, Outcomes, PREEMPTIONS, content, decoy, fill_with_decoys, kill, publish_tick,
    publish_wide, take,
};
use crate::log::block::{BLOCK_HEADER_BYTES, block_start};
use crate::log::frame::{CommitWord, LINE_BYTES};
use crate::log::gate::Blocked;
use crate::log::reader::Reader;
use crate::log::takeover;
use crate::log::walk;
use crate::log::writer::Writer;
use crate::sync::Ordering;

/// Messages that are there before the life that ends.
const BEFORE: u64 = 6;

/// What the reader finds while the writers come and go; the first message is always there.
const READS: [&str; 2] = ["reads one", "reads two"];

type Publish = fn(&mut Writer) -> Result<u64, Blocked>;

/// A message of three fragments when it starts in the middle of a block.
fn publish_train(writer: &mut Writer) -> Result<u64, Blocked> {
    let offset = writer.offset();
    writer.try_publish(offset, &[content(offset); 28])
}

/// Two lines, with a decoy that looks like the message after the one that takes its place.
fn publish_two_lines(writer: &mut Writer) -> Result<u64, Blocked> {
    let offset = writer.offset();
    publish_wide(writer, offset + 1)
}

/// A claim of two lines with the same decoy, which its holder forgets; then a message in its place,
/// behind whose commit the block's last line is zeroed.
fn publish_after_claim(writer: &mut Writer) -> Result<u64, Blocked> {
    writer.try_claim(56)?;
    writer.put(48, &decoy(writer.offset() + 1).to_le_bytes());
    publish_tick(writer)
}

/// A log in its second lap, with two messages and room for a third one in the newest block, and its
/// writer.
fn begun() -> (Log, Writer) {
    let log = Log::new();
    let mut writer = log.writer(None);
    fill_with_decoys(&mut writer);
    for _ in 0..2 {
        publish_tick(&mut writer).expect("nobody gates");
    }
    (log, writer)
}

fn take_over(log: &Log) -> Writer {
    let writer = takeover::take_over(log.ring.clone(), log.gate(), None, LOG_ID);
    let mut writer = writer.expect("the log is sound");
    writer.close_train().expect("nobody gates");
    writer
}

/// What dies where, and whether it is committed by then.
#[derive(Debug, Clone, Copy)]
struct Deaths {
    publish: Publish,
    /// Stores of the life that publishes.
    first: u64,
    is_committed: bool,
    /// Stores of the takeover.
    second: u64,
}

/// The life that ends, the takeover that ends, and the one that goes on. Returns whether all was
/// done that was to end.
fn lives(log: &Log, mut writer: Writer, deaths: Deaths) -> [bool; 2] {
    let Deaths { publish, first, is_committed, second } = deaths;
    let lived = kill::after(first, || publish(&mut writer).expect("nobody gates")).is_some();
    drop(writer);
    let taken_over = kill::after(second, || take_over(log)).is_some();
    let mut writer = take_over(log);
    assert_eq!(writer.offset(), BEFORE + u64::from(is_committed), "the commit decides");
    // Behind the first message is what the dead left, and nothing clears that any more. The claim
    // stands where lines were cleared ahead already, so only undoing it clears them.
    let mut witness = Follower::new(log);
    for publish in [publish_tick, publish_after_claim] {
        publish(&mut writer).expect("nobody gates");
        while witness.poll() {}
        assert_eq!(witness.next, writer.offset(), "what was published is there, and no more");
    }
    publish_tick(&mut writer).expect("nobody gates");
    [lived, taken_over]
}

/// Holds what headers say against what the blocks hold, once all is written.
fn check_blocks(log: &Log) {
    let ring = &log.ring;
    let first_block = ring.blocks();
    let mut train_open = true;
    for number in first_block.. {
        let Some(header) = ring.header(number) else { break };
        let mut starts = Vec::new();
        let tail = walk::walk(ring, number, |position, _| {
            starts.push(position - block_start(number));
            true
        });
        let place = u64::from(header.first_message);
        if let Some(first) = starts.first() {
            assert_eq!(*first, place, "where messages start");
        } else if place != 0 {
            let word = ring.lines().load(block_start(number) + place, Ordering::Relaxed);
            assert!(CommitWord(word).is_committed(), "a frame lies across where messages start");
        }
        train_open = tail.expect("the log is sound").expect("nobody enters").train_open;
    }
    assert!(!train_open, "a train that nobody closed");
}

/// Follows the log, and holds what came against what may come: message `BEFORE` is the one that
/// was being published, or the next writer's.
struct Follower {
    reader: Reader,
    next: u64,
    /// Length of message `BEFORE`.
    length: usize,
}

impl Follower {
    fn new(log: &Log) -> Follower {
        let position = log.ring.bytes_len() + BLOCK_HEADER_BYTES + LINE_BYTES;
        let reader = log.in_place(position, BEFORE - 1);
        Follower { reader, next: BEFORE - 1, length: 0 }
    }

    fn poll(&mut self) -> bool {
        let Some((offset, length)) = take(&mut self.reader).expect("the log is sound") else {
            return false;
        };
        assert_eq!(offset, self.next);
        self.next += 1;
        if offset == BEFORE {
            self.length = length;
        } else {
            assert_eq!(length, 8);
        }
        true
    }

    /// Reads the rest. `length` is that of what the killed writer was publishing.
    fn finish(&mut self, is_committed: bool, length: usize) {
        while self.poll() {}
        assert_eq!(self.length, if is_committed { length } else { 8 }, "the commit decides");
        assert_eq!(self.next, BEFORE + 3 + u64::from(is_committed));
    }
}

/// Kills the writer of a message of `length` bytes before each of its stores in turn, and for each
/// of them the takeover that follows, while a reader looks twice.
fn kill_everywhere(preemptions: usize, publish: Publish, length: usize) {
    let seen = Outcomes::of(&[&["lost", "published"], &READS[..]].concat());
    let commit = Arc::new(AtomicU64::new(0));
    loom::model({
        let commit = commit.clone();
        move || {
            let (_log, mut writer) = begun();
            let stores = kill::stores(|| _ = publish(&mut writer).expect("nobody gates"));
            commit.store(stores.commit, Relaxed);
        }
    });
    let commit = commit.load(Relaxed);
    let (mut first, mut second) = (0, 0);
    loop {
        let is_committed = first > commit;
        let deaths = Deaths { publish, first, is_committed, second };
        let survived = Arc::new([const { AtomicBool::new(false) }; 2]);
        seen.explore(preemptions, {
            let survived = survived.clone();
            move |seen| {
                let (log, writer) = begun();
                let mut follower = Follower::new(&log);
                let dying = thread::spawn({
                    let log = log.clone();
                    move || lives(&log, writer, deaths)
                });
                let count = (0..2).filter(|_| follower.poll()).count();
                seen.saw(READS[count - 1]);
                let [lived, taken_over] = dying.join().expect("only killed threads panic");
                survived[0].store(lived, Relaxed);
                survived[1].store(taken_over, Relaxed);
                follower.finish(is_committed, length);
                check_blocks(&log);
                seen.saw(if is_committed { "published" } else { "lost" });
            }
        });
        let [lived, taken_over] = [0, 1].map(|life| survived[life].load(Relaxed));
        (first, second) = match (lived, taken_over) {
            (_, false) => (first, second + 1),
            (false, true) => (first + 1, 0),
            (true, true) => break,
        };
    }
    println!("{first} stores, {commit} before the commit, then {second}");
    seen.check();
}

#[test]
fn a_train_is_cut() {
    // A death is a preemption too, and here there are many.
    kill_everywhere(PREEMPTIONS - 1, publish_train, 224);
}

#[test]
fn two_lines_are_cut() {
    kill_everywhere(PREEMPTIONS, publish_two_lines, 56);
}

#[test]
fn a_claim_is_forgotten() {
    kill_everywhere(PREEMPTIONS, publish_after_claim, 8);
}
