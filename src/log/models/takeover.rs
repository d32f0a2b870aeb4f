//! Death and takeover: invariant 8. A writer is killed before each of its stores in turn, so is
//! the one that takes over, and the next one goes on, while a reader follows. Nothing is lost,
//! repeated or torn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::thread;

use super::{LOG_ID, Log, Outcomes, PREEMPTIONS, content, kill, publish_tick, publish_wide, take};
use crate::log::block::block_start;
use crate::log::frame::{CommitWord, Kind};
use crate::log::gate::Blocked;
use crate::log::reader::Reader;
use crate::log::takeover;
use crate::log::walk;
use crate::log::writer::Writer;
use crate::sync::Ordering;

/// Messages that are there before the life that ends.
const BEFORE: u64 = 5;

/// What the reader finds while the writers come and go; the first message is always there.
const READS: [&str; 2] = ["reads one", "reads two"];

type Publish = fn(&mut Writer) -> Result<u64, Blocked>;

/// A message of three fragments when it starts in the middle of a block.
fn publish_train(writer: &mut Writer) -> Result<u64, Blocked> {
    let offset = writer.offset();
    writer.try_publish(offset, &[content(offset); 25])
}

/// A whole block, with a decoy that looks like the message after the one that takes its place.
fn publish_block(writer: &mut Writer) -> Result<u64, Blocked> {
    let offset = writer.offset();
    publish_wide(writer, offset + 1)
}

/// A claim of a whole block with the same decoy, which its holder forgets; then a message in its
/// place.
fn publish_after_claim(writer: &mut Writer) -> Result<u64, Blocked> {
    writer.try_claim(56)?;
    let decoy = CommitWord::new(writer.offset() + 1, 8, Kind::Message, 0);
    writer.put(48, &decoy.0.to_le_bytes());
    publish_tick(writer)
}

/// A log in its second lap, with one message in the newest block, and its writer.
fn begun() -> (Log, Writer) {
    let log = Log::new();
    let mut writer = log.writer(None);
    for block in 0..4 {
        publish_wide(&mut writer, 2 * block + 5).expect("nobody gates");
    }
    publish_tick(&mut writer).expect("nobody gates");
    (log, writer)
}

fn take_over(log: &Log) -> Writer {
    let writer = takeover::take_over(log.ring.clone(), log.gate(), None, LOG_ID);
    let mut writer = writer.expect("the log is sound");
    writer.close_train().expect("nobody gates");
    writer
}

/// The life that ends after `first` stores, the takeover that ends after `second`, and the one
/// that goes on. Returns whether the message was published, and whether the takeover was done.
fn lives(log: &Log, mut writer: Writer, publish: Publish, first: u64, second: u64) -> [bool; 2] {
    let published = kill::after(first, || publish(&mut writer).expect("nobody gates")).is_some();
    drop(writer);
    let taken_over = kill::after(second, || take_over(log)).is_some();
    let mut writer = take_over(log);
    let next = writer.offset();
    assert!(next == BEFORE + 1 || (next == BEFORE && !published));
    // The claim stands where lines were cleared ahead already, so only undoing it clears them.
    publish_after_claim(&mut writer).expect("nobody gates");
    let mut witness = Follower::new(log);
    while witness.poll() {}
    publish_tick(&mut writer).expect("nobody gates");
    [published, taken_over]
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
        let reader = log.in_place(log.ring.bytes_len(), BEFORE - 1);
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

    /// Reads the rest. `length` is that of what the killed writer was publishing. Returns whether
    /// that came.
    fn finish(&mut self, published: bool, length: usize) -> bool {
        while self.poll() {}
        let came = self.length == length && (length != 8 || self.next == BEFORE + 3);
        assert!(came || !published, "a published message is lost");
        assert_eq!(self.next, BEFORE + 2 + u64::from(came));
        came
    }
}

/// Kills the writer of a message of `length` bytes before each of its stores in turn, and for each
/// of them the takeover that follows, while a reader looks twice.
fn kill_everywhere(preemptions: usize, publish: Publish, length: usize) {
    let seen = Outcomes::of(&[&["lost", "published"], &READS[..]].concat());
    let (mut first, mut second) = (0, 0);
    loop {
        let survived = Arc::new([const { AtomicBool::new(false) }; 2]);
        seen.explore(preemptions, {
            let survived = survived.clone();
            move |seen| {
                let (log, writer) = begun();
                let mut follower = Follower::new(&log);
                let dying = thread::spawn({
                    let log = log.clone();
                    move || lives(&log, writer, publish, first, second)
                });
                let count = (0..2).filter(|_| follower.poll()).count();
                seen.saw(READS[count - 1]);
                let [published, taken_over] = dying.join().expect("only killed threads panic");
                survived[0].store(published, Relaxed);
                survived[1].store(taken_over, Relaxed);
                let came = follower.finish(published, length);
                assert_eq!(came, published, "the commit is a publish's last store");
                check_blocks(&log);
                seen.saw(if came { "published" } else { "lost" });
            }
        });
        let [published, taken_over] = [0, 1].map(|life| survived[life].load(Relaxed));
        (first, second) = match (published, taken_over) {
            (_, false) => (first, second + 1),
            (false, true) => (first + 1, 0),
            (true, true) => break,
        };
    }
    println!("{first} stores, then {second}");
    seen.check();
}

#[test]
fn a_train_is_cut() {
    // A death is a preemption too, and here there are many.
    kill_everywhere(PREEMPTIONS - 1, publish_train, 200);
}

#[test]
fn a_block_is_cut() {
    kill_everywhere(PREEMPTIONS, publish_block, 56);
}

#[test]
fn a_claim_is_forgotten() {
    kill_everywhere(PREEMPTIONS, publish_after_claim, 8);
}
