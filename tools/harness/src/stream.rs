//! The bare stream, the yardstick of throughput: fixed slots of whole cache lines, the sequence in
//! the first word, the payload from the third, and one cursor that gates the writer. Each message
//! can be read by itself as soon as it is there; those of a batch are told of at once, by the
//! sequence of its first. Payloads are plain memory, moved as widely as the compiler can, and read
//! in place.
use std::any::Any;
#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::cell::UnsafeCell;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use crate::message::Words;
use crate::shared::{self, Line};
use crate::spin::{PAUSING, spin_until};
use crate::transport::{Link, Place, RING_BYTES, Receiver, Sender, Transport};

/// Lines before the slots: the cursor, on a pair of lines of its own.
const CURSOR_LINES: usize = 2;
/// The reader tells its place at least once per so many messages, and often enough that a writer
/// finds half of the slots free.
const CURSOR_STRIDE: u64 = 1024;
/// How far ahead lines are asked for: as far as tickcast does.
const AHEAD_LINES: usize = 32;

/// The bare stream.
pub(crate) struct BareStream;

/// Where a message is, in whole lines.
#[repr(C, align(64))]
struct Slot<const W: usize> {
    /// One more than the number of the message that is here.
    sequence: AtomicU64,
    /// So that payloads are aligned for wide moves.
    _spare: u64,
    payload: UnsafeCell<Words<W>>,
}

/// Where it is, and where one of its ends stands. Each message has a number, from 0.
pub(crate) struct End<const W: usize> {
    /// All messages before this one have been read.
    cursor: &'static AtomicU64,
    /// A power of two of them.
    slots: &'static [Slot<W>],
    next: u64,
    /// Of the sender: what it may not reach. Of the receiver: where it tells its place next.
    gate: u64,
}

impl<const W: usize> Slot<W> {
    const LINES: usize = size_of::<Self>() / size_of::<Line>();

    /// How many there are: the power of two that is nearest to the bytes that everybody gets.
    const COUNT: usize = {
        let fit = RING_BYTES / size_of::<Self>();
        let above = fit.next_power_of_two();
        if above - fit < fit - above / 2 { above } else { above / 2 }
    };

    /// The slots that these lines are.
    fn all(lines: &'static [Line]) -> Result<&'static [Self]> {
        ensure!(lines.len() == Self::COUNT * Self::LINES, "the bare stream's file was changed");
        // SAFETY: so many slots take exactly these lines, which are aligned alike and are never
        // unmapped. Any bytes are a valid slot. All of a line may change, and so may all of a slot
        // but the spare word, which nobody touches.
        Ok(unsafe { slice::from_raw_parts(lines.as_ptr().cast::<Self>(), Self::COUNT) })
    }
}

/// Which end it is.
#[derive(Clone, Copy)]
enum Role {
    Sender,
    Receiver,
}

impl<const W: usize> End<W> {
    fn open(link: &Link<'_>, role: Role) -> Result<Self> {
        let lines = shared::open(&link.path("slots"))?.split_at_checked(CURSOR_LINES);
        let (own, slots) = lines.context("the bare stream's file was cut")?;
        let [cursor, taken] = [0, 1].map(|line: usize| &own[line].words);
        // What this file says of payloads holds for one end of each kind.
        let is_first = taken[role as usize].swap(1, Ordering::Relaxed) == 0;
        ensure!(is_first, "the bare stream has this end already");
        Ok(Self { cursor: &cursor[0], slots: Slot::all(slots)?, next: 0, gate: 0 })
    }

    /// The slot of message `number`.
    #[inline(always)]
    fn slot(&self, number: u64) -> &'static Slot<W> {
        &self.slots[number as usize & (self.slots.len() - 1)]
    }

    /// For how many messages the sender knows that there is room; it looks if it knows of none.
    #[inline(always)]
    fn room(&mut self) -> u64 {
        if self.next == self.gate {
            // Pairs with the release store in `poll`: what is overwritten has been read.
            let read = self.cursor.load(Ordering::Acquire).min(self.next);
            self.gate = read + self.slots.len() as u64;
        }
        // None behind a cursor that went back.
        self.gate.saturating_sub(self.next)
    }

    /// Writes message `number`, for which there is room, and tells of it.
    #[inline(always)]
    fn write(&self, number: u64, message: &Words<W>) {
        let slot = self.slot(number);
        // SAFETY: nobody else looks at the payload meanwhile. The receiver has done with what was
        // here before: it released its cursor after that, and `room` acquired it. And it comes back
        // only when it has acquired the sequence that is released below.
        unsafe { *slot.payload.get() = *message };
        // Pairs with the acquire load in `poll`.
        slot.sequence.store(number + 1, Ordering::Release);
    }
}

impl Transport for BareStream {
    const NAME: &'static str = "bare stream";
    const HOW: &'static str = "fixed slots, one gating cursor, no headers, no death, no joining";
    const PLACES: &'static [Place] = &[Place::InProcess, Place::Ipc];

    type Sender<const W: usize> = End<W>;
    type Receiver<const W: usize> = End<W>;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        let lines = CURSOR_LINES + Slot::<W>::COUNT * Slot::<W>::LINES;
        Ok(Box::new(shared::create(&link.path("slots"), lines)?))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<End<W>> {
        End::open(link, Role::Sender)
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<End<W>> {
        End::open(link, Role::Receiver)
    }
}

impl<const W: usize> Sender<W> for End<W> {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        if self.room() == 0 {
            return Ok(false);
        }
        self.write(self.next, message);
        self.next += 1;
        Ok(true)
    }

    /// Writes the first one last: the receiver, which looks at its line, has all of them at once.
    /// Asks for the lines of later slots beforehand, which makes up for a core that does not by
    /// itself.
    fn send_all(&mut self, messages: &[Words<W>]) -> Result<()> {
        let mut left = messages;
        while !left.is_empty() {
            spin_until::<PAUSING>(|| Ok(self.room() > 0))?;
            let (batch, later) = left.split_at(left.len().min(self.room() as usize));
            let numbered = (self.next..).zip(batch);
            for (number, message) in numbered.clone().skip(1).chain(numbered.take(1)) {
                ask_for(self.slot(number + AHEAD_LINES.div_ceil(Slot::<W>::LINES) as u64));
                self.write(number, message);
            }
            self.next += batch.len() as u64;
            left = later;
        }
        Ok(())
    }
}

/// Asks for the lines of a slot for writing.
#[inline(always)]
fn ask_for<const W: usize>(slot: &Slot<W>) {
    let lines = (&raw const *slot).cast::<Line>();
    for at in 0..Slot::<W>::LINES {
        let line = lines.wrapping_add(at);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction is a hint, which reads and writes nothing; processors without it
        // take it for another hint.
        unsafe {
            asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

impl<const W: usize> Receiver<W> for End<W> {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        let first = self.next;
        let end = first + limit as u64;
        let mut next = first;
        while next < end {
            let slot = self.slot(next);
            // Pairs with the release store of the sequence.
            if slot.sequence.load(Ordering::Acquire) != next + 1 {
                break;
            }
            // SAFETY: nobody writes the payload meanwhile. The sender has done so: it released the
            // sequence after that, which was acquired above. And it comes back only when it has
            // acquired a cursor beyond this message, which is released below, after all were taken.
            take(unsafe { &*slot.payload.get() });
            next += 1;
        }
        self.next = next;
        // Behind a stride, and when there is nothing more: the writer may wait for all of it.
        if next >= self.gate || (next == first && next != self.cursor.load(Ordering::Relaxed)) {
            self.gate = next + CURSOR_STRIDE.min(self.slots.len() as u64 / 2);
            // Pairs with the acquire load of the gate.
            self.cursor.store(next, Ordering::Release);
        }
        Ok((next - first) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Payload, Payloads};
    use crate::transport::{Mode, Run};
    use std::thread;

    const COUNT: usize = Slot::<6>::COUNT;

    /// Does `then` with where a stream of 48 bytes is.
    fn with_link(then: impl FnOnce(&Link<'_>)) {
        let directory = tempfile::tempdir().unwrap();
        let run = Run::new(directory.path().to_owned(), String::new(), Mode::Reliable);
        let link = Link { run: &run, name: "bare".to_owned(), payload: Payload::TICK };
        BareStream::create::<6>(&link).unwrap();
        then(&link);
    }

    fn ends(link: &Link<'_>) -> [End<6>; 2] {
        let ends = [Role::Sender, Role::Receiver].map(|role| End::open(link, role).unwrap());
        assert!(End::<6>::open(link, Role::Sender).is_err(), "there is one already");
        ends
    }

    fn taken(receiver: &mut End<6>, limit: usize) -> Vec<Words<6>> {
        let mut taken = Vec::new();
        let polled = receiver.poll(limit, |message| taken.push(*message)).unwrap();
        assert_eq!(polled, taken.len());
        taken
    }

    #[test]
    fn batches_come_whole_and_in_order_where_the_slots_begin_anew() {
        with_link(|link| {
            let [mut sender, mut receiver] = ends(link);
            let payloads = Payloads::new();
            let batch = payloads.from(0, 15);
            // The slots do not end where a batch does.
            for _ in 0..3 * COUNT / 15 {
                sender.send_all(batch).unwrap();
                assert_eq!(taken(&mut receiver, 4), batch[..4]);
                assert_eq!(taken(&mut receiver, 256), batch[4..]);
            }
            assert!(taken(&mut receiver, 256).is_empty());
        });
    }

    #[test]
    fn a_batch_that_finds_too_little_room_waits_for_more_and_overwrites_nothing() {
        with_link(|link| {
            let mut sender = End::open(link, Role::Sender).unwrap();
            let payloads = Payloads::new();
            let fit = COUNT as u64 - 5;
            assert!((0..fit).all(|number| sender.try_send(payloads.of(number)).unwrap()));
            let batch: Vec<Words<6>> = (fit..fit + 16).map(|number| *payloads.of(number)).collect();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut receiver = End::open(link, Role::Receiver).unwrap();
                    let mut came = Vec::new();
                    while came.len() < COUNT + 11 {
                        came.extend(taken(&mut receiver, 256));
                    }
                    for (number, message) in came.iter().enumerate() {
                        assert_eq!(message, payloads.of(number as u64), "message {number}");
                    }
                    // Tells its place.
                    assert!(taken(&mut receiver, 1).is_empty());
                });
                sender.send_all(&batch).unwrap();
            });
            assert!((0..COUNT).all(|_| sender.try_send(payloads.of(0)).unwrap()));
            assert!(!sender.try_send(payloads.of(0)).unwrap(), "no slot is left");
        });
    }
}
