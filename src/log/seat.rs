//! Back-pressure, the subscriber's end: a slot with a cursor that the publisher waits for. The
//! publisher's end, and the names of the edges, are in `gate`.

use super::block::{block_of, block_start};
use super::memory::Memory;
use super::pages::{self, Pages};
use crate::sync::{AtomicU64, Ordering, fence};

/// Largest generation: the state word keeps a bit for itself.
const GENERATION_MAX: u64 = (1 << 63) - 1;

/// The block where a joiner wanted to start may be overwritten at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Covered;

/// What a subscriber has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Messages that were handed out.
    pub(crate) messages: u64,
    /// Their payload bytes.
    pub(crate) bytes: u64,
    /// Messages that were reported as lost.
    pub(crate) lost: u64,
}

/// A subscriber's slot. Whoever holds it holds the slot's lock too.
#[derive(Debug)]
pub(crate) struct Seat {
    pages: Pages,
    /// The slot's own page.
    page: Memory,
    slot: usize,
    generation: u64,
    ring_bytes: u64,
}

impl Seat {
    /// Takes slot `slot`, not yet active, for the next generation.
    pub(crate) fn new(pages: Pages, page: Memory, slot: usize, ring_bytes: u64) -> Seat {
        let next = |generation: u64| generation % GENERATION_MAX + 1;
        let mut generation = next(page.load(pages::cursor::STATE, Ordering::Relaxed) >> 1);
        // Never the one that the publisher disregards: a stray store may have put the slot's state
        // back, and then this subscriber would gate nobody.
        let mark = pages::publisher::EVICTED + slot as u64;
        if pages.publisher.load(mark, Ordering::Relaxed) == generation {
            generation = next(generation);
        }
        Seat { pages, page, slot, generation, ring_bytes }
    }

    /// Takes over a slot whose owner left it active and that the publisher still waits for, with
    /// its cursor where it is.
    #[cfg(not(loom))]
    pub(crate) fn adopt(pages: Pages, page: Memory, slot: usize, ring_bytes: u64) -> Option<Seat> {
        let state = page.load(pages::cursor::STATE, Ordering::Relaxed);
        let seat = Seat { pages, page, slot, generation: state >> 1, ring_bytes };
        (state & 1 == 1 && !seat.is_evicted()).then_some(seat)
    }

    /// Activates the slot with its cursor at `position`, where the caller will read from the start
    /// of the block on. May be called again with a higher position after [`Covered`].
    ///
    /// # Errors
    /// [`Covered`] when the publisher may already have reserved that block's place; the slot is
    /// active all the same.
    pub(crate) fn join(&mut self, position: u64) -> Result<(), Covered> {
        self.page.store(pages::cursor::POSITION, position, Ordering::Relaxed);
        // Pairs with the acquire load in `Gate::enumerate`: whoever sees the slot active sees the
        // cursor.
        self.page.store(pages::cursor::STATE, self.generation << 1 | 1, Ordering::Release);
        self.bump();
        // Edge `join`, the subscriber's side.
        fence(Ordering::SeqCst);
        let reserved = self.pages.publisher.load(pages::publisher::RESERVED, Ordering::Acquire);
        let start = block_start(block_of(position));
        if reserved.saturating_sub(self.ring_bytes) > start { Err(Covered) } else { Ok(()) }
    }

    /// Says which message is read first, for those who look.
    pub(crate) fn set_offset(&self, offset: u64) {
        self.page.store(pages::cursor::OFFSET, offset, Ordering::Relaxed);
    }

    /// Tells the publisher that everything before `position` is done with: edge `leave`, the
    /// subscriber's side.
    #[inline(always)]
    pub(crate) fn store(&self, position: u64, offset: u64) {
        let line = self.line();
        line[pages::cursor::OFFSET as usize].store(offset, Ordering::Relaxed);
        line[pages::cursor::POSITION as usize].store(position, Ordering::Release);
    }

    /// Says what was counted so far.
    #[inline(always)]
    pub(crate) fn count(&self, Counts { messages, bytes, lost }: Counts) {
        let line = self.line();
        line[pages::cursor::MESSAGES as usize].store(messages, Ordering::Relaxed);
        line[pages::cursor::BYTES as usize].store(bytes, Ordering::Relaxed);
        line[pages::cursor::LOST as usize].store(lost, Ordering::Relaxed);
    }

    /// The slot's fields: one cache line.
    #[inline(always)]
    fn line(&self) -> &[AtomicU64; 8] {
        debug_assert!(self.page.is_writable());
        self.page.words().first()
    }

    /// Whether the publisher goes on without this subscriber: edge `eviction`.
    pub(crate) fn is_evicted(&self) -> bool {
        // After a failed check of a block's number: pairs with the release store of the zero, or
        // of a later number, behind which the mark was stored.
        fence(Ordering::Acquire);
        let mark = pages::publisher::EVICTED + self.slot as u64;
        self.pages.publisher.load(mark, Ordering::Acquire) == self.generation
    }

    /// Gives the slot up: it no longer gates.
    pub(crate) fn leave(&mut self) {
        self.page.store(pages::cursor::STATE, self.generation << 1, Ordering::Release);
        self.bump();
    }

    /// Edge `leave` once more: whoever acquires the new membership and enumerates without this
    /// slot overwrites only after all that was read here.
    fn bump(&self) {
        self.pages.control.word(pages::control::MEMBERSHIP).fetch_add(1, Ordering::Release);
    }
}
