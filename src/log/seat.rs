//! Back-pressure, the subscriber's end: a slot with a cursor that the publisher waits for. The
//! publisher's end, and the names of the edges, are in `gate`.

use super::block::{block_of, block_start};
use super::memory::Memory;
use super::pages::{self, Pages};
use crate::sync::{Ordering, fence};

/// Largest generation: the state word keeps a bit for itself.
const GENERATION_MAX: u64 = (1 << 63) - 1;

/// The block where a joiner wanted to start may be overwritten at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Covered;

/// A subscriber's slot. Whoever holds it holds the slot's lock too.
#[derive(Debug)]
pub(crate) struct Seat {
    pages: Pages,
    /// The slot's own page.
    page: Memory,
    slot: usize,
    generation: u64,
    ring_bytes: u64,
    stored: u64,
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
        Seat { pages, page, slot, generation, ring_bytes, stored: 0 }
    }

    /// Activates the slot with its cursor at `position`, where the caller will read from the start
    /// of the block on. May be called again with a higher position after [`Covered`].
    ///
    /// # Errors
    /// [`Covered`] when the publisher may already have reserved that block's place; the slot is
    /// active all the same.
    pub(crate) fn join(&mut self, position: u64) -> Result<(), Covered> {
        self.stored = position;
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
    #[inline]
    pub(crate) fn store(&mut self, position: u64, offset: u64) {
        if position != self.stored {
            self.stored = position;
            self.page.store(pages::cursor::OFFSET, offset, Ordering::Relaxed);
            self.page.store(pages::cursor::POSITION, position, Ordering::Release);
        }
    }

    /// Whether the publisher goes on without this subscriber: edge `eviction`.
    pub(crate) fn is_evicted(&self) -> bool {
        // After a failed check of a block's number: pairs with the release store of the zero, or
        // of a later number, behind which the mark was stored.
        fence(Ordering::Acquire);
        let mark = pages::publisher::EVICTED + self.slot as u64;
        self.pages.publisher.load(mark, Ordering::Acquire) == self.generation
    }

    /// The slot's page, for counters.
    pub(crate) fn page(&self) -> &Memory {
        &self.page
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
