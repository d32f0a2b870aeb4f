//! Models of the log's invariants: the real code over loom's atomics, in every interleaving that
//! loom can think of. Change here how models are explored and what they are built from.
//!
//! Every model names the outcomes that it is about and fails unless it saw each of them, so a
//! model that no longer reaches its race is noticed. They run with
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib models`.
//!
//! What loom cannot see: a load that takes its value from a store that comes later (so a missing
//! release on leaving shows only because bytes in place are read as plain memory), and what holds
//! only because its sequentially consistent fences are stronger than the language's.

mod commit;
mod entry;
mod join;
#[path = "../tests/kill.rs"]
pub(super) mod kill;
mod overrun;
mod takeover;
mod wake;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::block::{BLOCK_BYTES, LogId};
use super::copy::Stall;
use super::frame::{CommitWord, Kind};
use super::gate::{Blocked, Gate};
use super::memory::Memory;
use super::pages::{self, PAGE_BYTES, Pages, SLOTS};
use super::reader::{End, Frame, RawMessage, Reader, Start};
use super::ring::{BLOCKS_MIN, Ring};
use super::seat::Seat;
use super::wake::Wake;
use super::writer::{Resume, Writer};
use crate::sync::Ordering;

/// Preemptions that a model explores. The races here are between two threads, and each needs one
/// thread to be stopped between two of its steps while the other runs, and that one to be stopped
/// as well: two. A third makes two to twenty times as many executions; what is left out are races
/// that need a thread to be stopped twice within one operation.
const PREEMPTIONS: usize = 2;

const LOG_ID: LogId = LogId([7, 9]);

/// How often each outcome was seen, over all interleavings. Counted with the standard library's
/// atomics, which loom does not rewind.
#[derive(Debug)]
struct Outcomes {
    executions: AtomicUsize,
    counts: Vec<(&'static str, AtomicUsize)>,
}

impl Outcomes {
    fn of(names: &[&'static str]) -> Arc<Outcomes> {
        let counts = names.iter().map(|name| (*name, AtomicUsize::new(0))).collect();
        Arc::new(Outcomes { executions: AtomicUsize::new(0), counts })
    }

    fn saw(&self, outcome: &str) {
        let (_, count) = self
            .counts
            .iter()
            .find(|(name, _)| *name == outcome)
            .expect("the model lists all of its outcomes");
        count.fetch_add(1, Relaxed);
    }

    /// Runs `model` in all interleavings with up to `preemptions` preemptions.
    fn explore(
        self: &Arc<Self>,
        preemptions: usize,
        model: impl Fn(&Arc<Outcomes>) + Send + Sync + 'static,
    ) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_branches = 50_000;
        let seen = self.clone();
        builder.check(move || {
            seen.executions.fetch_add(1, Relaxed);
            model(&seen);
        });
    }

    /// Fails unless each of the outcomes was seen.
    fn check(&self) {
        println!("{self:?}");
        for (outcome, count) in &self.counts {
            assert!(count.load(Relaxed) > 0, "no interleaving came to {outcome:?}");
        }
        assert!(self.executions.load(Relaxed) > self.counts.len(), "too few interleavings");
    }
}

/// Runs `model` in all interleavings, and fails unless each of `outcomes` was seen.
fn explore(outcomes: &[&'static str], model: impl Fn(&Arc<Outcomes>) + Send + Sync + 'static) {
    let seen = Outcomes::of(outcomes);
    seen.explore(PREEMPTIONS, model);
    seen.check();
}

/// All that the processes of a partition share.
#[derive(Clone)]
struct Log {
    ring: Ring,
    pages: Pages,
    cursors: Memory,
}

impl Log {
    fn new() -> Log {
        Log {
            ring: Ring::new(Memory::heap(BLOCKS_MIN * BLOCK_BYTES)),
            pages: Pages::heap(),
            cursors: Memory::heap(SLOTS as u64 * PAGE_BYTES),
        }
    }

    fn gate(&self) -> Gate {
        let reserved = self.pages.publisher.load(pages::publisher::RESERVED, Ordering::Relaxed);
        Gate::new(self.pages.clone(), self.cursors.clone(), self.ring.bytes_len(), reserved)
    }

    /// The first writer of the log.
    fn writer(&self, wake: Option<Wake>) -> Writer {
        let resume = Resume { position: 0, offset: 0, timestamp_max_ns: 0, payload_bytes: 0 };
        Writer::new(self.ring.clone(), self.gate(), wake, LOG_ID, 1, resume)
    }

    fn seat(&self, slot: usize) -> Seat {
        let page = self.cursors.part(slot as u64 * PAGE_BYTES, PAGE_BYTES);
        Seat::new(self.pages.clone(), page, slot, self.ring.bytes_len())
    }

    /// A reader in place; the model sees to it that nothing is overwritten, and loom finds it out
    /// when that fails.
    fn in_place(&self, position: u64, offset: u64) -> Reader {
        let start = Start { position, offset, due: None, joining: false };
        // SAFETY: under loom a copy is lent, and a race is reported; see `Words::bytes`.
        unsafe { Reader::in_place(self.ring.clone(), start) }
    }

    fn copied(&self, position: u64, offset: u64) -> Reader {
        let start = Start { position, offset, due: None, joining: false };
        Reader::copied(self.ring.clone(), start)
    }
}

/// What message `offset` says in all its words, so that a word of another message shows.
fn content(offset: u64) -> u64 {
    (offset + 1) * 0x0101_0101_0101
}

/// Publishes a message of one line.
fn publish_tick(writer: &mut Writer) -> Result<u64, Blocked> {
    let offset = writer.offset();
    writer.try_publish(offset, &[content(offset)])
}

/// What looks like the commit word of message `offset`.
fn decoy(offset: u64) -> u64 {
    CommitWord::new(offset, 8, Kind::Message, 0).0
}

/// Publishes a message of two lines, so no other one of them goes into its block. The second line
/// looks like the frame of message `next`.
fn publish_wide(writer: &mut Writer, next: u64) -> Result<u64, Blocked> {
    let offset = writer.offset();
    let mut payload = [content(offset); 7];
    payload[6] = decoy(next);
    writer.try_publish(offset, &payload)
}

/// Publishes a message of three lines, which is a whole block. The second and the third one look
/// like the frames of messages `next` and `next + 1`.
fn publish_whole(writer: &mut Writer, next: u64) -> Result<u64, Blocked> {
    let offset = writer.offset();
    let mut payload = [content(offset); 22];
    (payload[6], payload[14]) = (decoy(next), decoy(next + 1));
    writer.try_publish(offset, &payload)
}

/// Fills the ring's first lap, so that in the second, of two messages a block, each line behind a
/// block's first one looks like the frame that would be due there.
fn fill_with_decoys(writer: &mut Writer) {
    for block in 0..BLOCKS_MIN {
        publish_whole(writer, 2 * block + 5).expect("nobody gates");
    }
}

/// Reads the next message as a subscriber does, whose short way is for plain messages inside a
/// block, and checks every word of it. Returns its offset and length.
fn take(reader: &mut Reader) -> Result<Option<(u64, usize)>, Stall> {
    let mut taken = None;
    let (_, end) = reader.each_message(1, |message| {
        taken = Some(check(&message));
        ControlFlow::Continue(())
    });
    if end != End::Unusual {
        return Ok(taken);
    }
    let taken = match reader.peek()? {
        None => None,
        Some(Frame::Message(message)) => Some(check(&message)),
        Some(frame) => panic!("{frame:?} instead of a message"),
    };
    if taken.is_some() {
        reader.consume();
    }
    reader.open();
    Ok(taken)
}

/// Checks every word of a message. Returns its offset and length.
fn check(message: &RawMessage<'_>) -> (u64, usize) {
    let offset = message.offset;
    assert_eq!(message.timestamp_ns, offset);
    for (at, word) in message.payload.chunks(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("payloads are words"));
        assert!(word == content(offset) || [6, 14].contains(&at), "torn or foreign: {message:?}");
    }
    (offset, message.payload.len())
}
