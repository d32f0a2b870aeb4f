//! The bare stream, the yardstick of throughput: fixed slots of whole cache lines, the sequence in
//! the first word, the payload from the third, and one cursor that gates the writer. Each message
//! can be read by itself as soon as it is there. Who tells of many at once, by one index, may be
//! faster.
use std::any::Any;
#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::message::Words;
use crate::shared::{self, Line};
use crate::transport::{Link, Place, RING_BYTES, Receiver, Sender, Transport};

/// Lines before the slots: the cursor, on a pair of lines of its own.
const CURSOR_LINES: usize = 2;
/// The reader tells its place at least once per so many messages, and often enough that a writer
/// finds half of the slots free.
const CURSOR_STRIDE: u64 = 1024;
const WORDS_BEFORE: usize = 2;
/// How far ahead lines are asked for: as far as tickcast does.
const AHEAD_LINES: usize = 32;

/// The bare stream.
pub(crate) struct BareStream;

/// Where it is, and where one of its ends stands.
pub(crate) struct End {
    cursor: &'static AtomicU64,
    slots: &'static [Line],
    mask: u64,
    next: u64,
    /// Of the sender: what it may not reach. Of the receiver: where it tells its place next.
    gate: u64,
}

impl BareStream {
    const fn slot_lines<const W: usize>() -> usize {
        (W + WORDS_BEFORE).div_ceil(8)
    }

    /// A power of two, for a mask: the one that is nearest to the bytes that everybody gets.
    const fn slots<const W: usize>() -> usize {
        let fit = RING_BYTES / (Self::slot_lines::<W>() * size_of::<Line>());
        let above = fit.next_power_of_two();
        if above - fit < fit - above / 2 { above } else { above / 2 }
    }
}

impl End {
    fn open<const W: usize>(link: &Link<'_>) -> Result<Self> {
        let lines = shared::open(&link.path("slots"))?;
        let (cursor, slots) = lines.split_at(CURSOR_LINES);
        let mask = BareStream::slots::<W>() as u64 - 1;
        Ok(Self { cursor: &cursor[0].words[0], slots, mask, next: 0, gate: 0 })
    }

    /// The words of the slot of message `number`.
    #[inline(always)]
    fn slot<const W: usize>(&self, number: u64) -> &'static [Line] {
        let lines = BareStream::slot_lines::<W>();
        let first = (number & self.mask) as usize * lines;
        &self.slots[first..first + lines]
    }
}

/// The word number `at` of a slot.
#[inline(always)]
fn word(slot: &[Line], at: usize) -> &AtomicU64 {
    &slot[at / 8].words[at % 8]
}

impl Transport for BareStream {
    const NAME: &'static str = "bare stream";
    const HOW: &'static str = "fixed slots, one gating cursor, no headers, no death, no joining";
    const PLACES: &'static [Place] = &[Place::InProcess, Place::Ipc];

    type Sender<const W: usize> = End;
    type Receiver<const W: usize> = End;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        let lines = CURSOR_LINES + Self::slots::<W>() * Self::slot_lines::<W>();
        Ok(Box::new(shared::create(&link.path("slots"), lines)?))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<End> {
        End::open::<W>(link)
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<End> {
        End::open::<W>(link)
    }
}

impl<const W: usize> Sender<W> for End {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        if self.next == self.gate {
            // Pairs with the release store in `poll`: what is overwritten has been read.
            self.gate = self.cursor.load(Ordering::Acquire) + self.mask + 1;
            if self.next == self.gate {
                return Ok(false);
            }
        }
        let slot = self.slot::<W>(self.next);
        for (at, value) in message.iter().enumerate() {
            word(slot, WORDS_BEFORE + at).store(*value, Ordering::Relaxed);
        }
        self.next += 1;
        // Pairs with the acquire load in `poll`.
        word(slot, 0).store(self.next, Ordering::Release);
        Ok(true)
    }

    /// Asks for the lines of a later slot beforehand, which makes up for a core that does not by
    /// itself.
    fn send_all(&mut self, messages: &[Words<W>]) -> Result<()> {
        for message in messages {
            let ahead = AHEAD_LINES.div_ceil(BareStream::slot_lines::<W>()) as u64;
            self.slot::<W>(self.next + ahead).iter().for_each(ask_for);
            self.send(message)?;
        }
        Ok(())
    }
}

/// Asks for a line for writing.
#[inline(always)]
fn ask_for(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is a hint, which reads and writes nothing; processors without it take
    // it for another hint.
    unsafe {
        asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

impl<const W: usize> Receiver<W> for End {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        let first = self.next;
        let end = first + limit as u64;
        let mut next = first;
        while next < end {
            let slot = self.slot::<W>(next);
            // Pairs with the release store of the sequence.
            if word(slot, 0).load(Ordering::Acquire) != next + 1 {
                break;
            }
            take(&std::array::from_fn(|at| word(slot, WORDS_BEFORE + at).load(Ordering::Relaxed)));
            next += 1;
        }
        self.next = next;
        // Behind a stride, and when there is nothing more: the writer may wait for all of it.
        if next >= self.gate || (next == first && next != self.cursor.load(Ordering::Relaxed)) {
            self.gate = next + CURSOR_STRIDE.min(self.mask.div_ceil(2));
            // Pairs with the acquire load of the gate.
            self.cursor.store(next, Ordering::Release);
        }
        Ok((next - first) as usize)
    }
}
