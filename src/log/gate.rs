//! Back-pressure, the publisher's end: which blocks it may overwrite. The subscribers' end is
//! `seat`.
//!
//! Two edges meet here. Edge `join`: the publisher stores `reserved`, fences, and loads the
//! membership; a joiner bumps the membership, fences, and loads `reserved`. With both fences
//! sequentially consistent at least one of them sees the other: the publisher finds the joiner's
//! cursor, or the joiner finds that its block may go. Edge `leave`: a reader stores its cursor
//! with release when it is done with a block, the publisher loads it with acquire before it
//! overwrites that block, so all of the reader's loads come first.

use super::block::BLOCK_BYTES;
use super::memory::Memory;
use super::pages::{self, JOURNAL_SLOT, PAGE_BYTES, Pages, SLOTS};
use crate::sync::{Ordering, fence};

/// Words from one slot's page to the next one's.
const SLOT_WORDS: u64 = PAGE_BYTES / 8;

/// The slots and the journal.
const MEMBERS: usize = JOURNAL_SLOT + 1;

/// Who holds the publisher back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    /// Where its cursor stands.
    pub(crate) cursor: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Member {
    slot: usize,
    generation: u64,
    cursor: u64,
}

/// The publisher's view of the subscribers that gate it.
#[derive(Debug)]
pub(crate) struct Gate {
    pages: Pages,
    cursors: Memory,
    ring_bytes: u64,
    reserved: u64,
    /// Membership at the last enumeration; `None` before the first.
    membership: Option<u64>,
    members: [Member; MEMBERS],
    member_count: usize,
    /// No member's cursor is below this, as long as the membership stays.
    bound: u64,
    /// Generation that counts no longer, for each slot: dead or evicted.
    disregarded: [u64; MEMBERS],
}

impl Gate {
    /// `cursors` holds the pages of all slots; `reserved` is what a publisher before this one
    /// reserved.
    pub(crate) fn new(pages: Pages, cursors: Memory, ring_bytes: u64, reserved: u64) -> Gate {
        assert!(cursors.bytes_len() >= SLOTS as u64 * PAGE_BYTES);
        // Whom a publisher before this one told to be evicted, stays so.
        let disregarded = std::array::from_fn(|slot| {
            let mark = pages::publisher::EVICTED + slot as u64;
            pages.publisher.load(mark, Ordering::Relaxed)
        });
        Gate {
            pages,
            cursors,
            ring_bytes,
            reserved,
            membership: None,
            members: [Member::default(); MEMBERS],
            member_count: 0,
            bound: 0,
            disregarded,
        }
    }

    /// End of the blocks that were reserved so far.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The shared pages.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Reserves all blocks up to `end` and makes sure that no subscriber still needs what they
    /// overwrite. `head` is the end of the block that is being written: no cursor can be past it.
    ///
    /// When it fails, the reservation stands: a later call only looks again.
    pub(crate) fn reserve(&mut self, end: u64, head: u64) -> Result<(), Blocked> {
        debug_assert!(end.is_multiple_of(BLOCK_BYTES));
        if end > self.reserved {
            self.pages.publisher.store(pages::publisher::RESERVED, end, Ordering::Relaxed);
            self.reserved = end;
        }
        // Edge `join`, the publisher's side.
        fence(Ordering::SeqCst);
        let membership = self.pages.control.load(pages::control::MEMBERSHIP, Ordering::Acquire);
        if self.membership != Some(membership) {
            self.enumerate();
            self.membership = Some(membership);
            self.bound = 0;
        }
        let needed = end.saturating_sub(self.ring_bytes);
        if needed <= self.bound {
            return Ok(());
        }
        match self.scan(head) {
            Some(slowest) if slowest.cursor < needed => {
                self.bound = slowest.cursor;
                Err(Blocked {
                    slot: slowest.slot,
                    generation: slowest.generation,
                    cursor: slowest.cursor,
                })
            }
            slowest => {
                self.bound = slowest.map_or(u64::MAX, |member| member.cursor);
                Ok(())
            }
        }
    }

    /// Forgets a member whose owner died: its slot is free for the next joiner.
    pub(crate) fn reclaim(&mut self, blocked: Blocked) {
        self.count(pages::publisher::RECLAIMED);
        self.disregard(blocked);
    }

    /// Goes on without a member that is too slow, or whose cursor cannot be right.
    pub(crate) fn evict(&mut self, blocked: Blocked) {
        self.count(pages::publisher::EVICTIONS);
        self.disregard(blocked);
    }

    /// Counts a message that had to wait for a subscriber.
    pub(crate) fn count_full_wait(&self) {
        self.count(pages::publisher::FULL_WAITS);
    }

    fn count(&self, field: u64) {
        let page = &self.pages.publisher;
        let count = page.load(field, Ordering::Relaxed).wrapping_add(1);
        page.store(field, count, Ordering::Relaxed);
    }

    /// Edge `eviction`: the mark is stored before the number of any block that the member still
    /// reads is zeroed with release, so a reader whose check fails and fences finds it.
    fn disregard(&mut self, blocked: Blocked) {
        let Blocked { slot, generation, .. } = blocked;
        let mark = pages::publisher::EVICTED + slot as u64;
        self.pages.publisher.store(mark, generation, Ordering::Release);
        self.disregarded[slot] = generation;
        let members = &mut self.members[..self.member_count];
        if let Some(at) = members.iter().position(|member| member.slot == slot) {
            members.swap(at, self.member_count - 1);
            self.member_count -= 1;
        }
        self.bound = 0;
    }

    /// Finds the active slots anew.
    fn enumerate(&mut self) {
        self.member_count = 0;
        for slot in 0..MEMBERS {
            // Pairs with the joiner's release store of its state: an active slot's cursor is set.
            let state = self.field(slot, pages::cursor::STATE);
            let (generation, active) = (state >> 1, state & 1 == 1);
            if active && self.disregarded[slot] != generation {
                self.members[self.member_count] = Member { slot, generation, cursor: 0 };
                self.member_count += 1;
            }
        }
    }

    fn field(&self, slot: usize, field: u64) -> u64 {
        cursor_field(&self.pages, &self.cursors, slot, field)
    }

    /// The member that is furthest behind.
    fn scan(&mut self, head: u64) -> Option<Member> {
        let mut slowest: Option<Member> = None;
        let mut at = 0;
        while at < self.member_count {
            let member = &mut self.members[at];
            // Edge `leave`, the publisher's side.
            let cursor =
                cursor_field(&self.pages, &self.cursors, member.slot, pages::cursor::POSITION);
            if cursor < member.cursor || cursor > head {
                // A cursor that goes back or runs ahead is not one of ours: its page was
                // overwritten. Its owner is told, the others go on.
                let Member { slot, generation, .. } = *member;
                self.evict(Blocked { slot, generation, cursor });
                at = 0;
                slowest = None;
                continue;
            }
            member.cursor = cursor;
            if slowest.is_none_or(|slowest| cursor < slowest.cursor) {
                slowest = Some(*member);
            }
            at += 1;
        }
        slowest
    }
}

/// A field of a slot's page, or of the journal's.
fn cursor_field(pages: &Pages, cursors: &Memory, slot: usize, field: u64) -> u64 {
    if slot == JOURNAL_SLOT {
        pages.journal.load(field, Ordering::Acquire)
    } else {
        cursors.load(slot as u64 * SLOT_WORDS + field, Ordering::Acquire)
    }
}
