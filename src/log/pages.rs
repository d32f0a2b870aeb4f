//! The words that processes share beside the ring. Change here what lies where.
//!
//! | page | written by | holds |
//! |---|---|---|
//! | publisher | the publisher | its pid and epoch, `reserved`, eviction marks, counters |
//! | control | anyone who may join | membership, the wake word, the closed word |
//! | cursor, one a slot | the slot's subscriber | its state, cursor and counters |
//!
//! All fields are words (8 bytes, little-endian); the numbers below are word indices. A field that
//! is written often, or by another party than its neighbours, has a cache line to itself.

use super::memory::Memory;

/// Bytes of a page.
#[cfg(not(loom))]
pub(crate) const PAGE_BYTES: u64 = 4096;
#[cfg(loom)]
pub(crate) const PAGE_BYTES: u64 = 8 * 8;

/// Slots for reliable subscribers that every partition has.
#[cfg(not(loom))]
pub(crate) const SLOTS: usize = 64;
#[cfg(loom)]
pub(crate) const SLOTS: usize = 2;

/// Fields of the publisher page.
pub(crate) mod publisher {
    use super::SLOTS;

    pub(crate) const MAGIC: u64 = 0;
    pub(crate) const LOG_ID: u64 = 1;
    pub(crate) const RING_BYTES: u64 = 3;
    /// Pid of the publisher, or of the last one; whether it lives is what the lock says.
    pub(crate) const PID: u64 = 4;
    /// Raised by every publisher that takes the log over; 0 = there never was one.
    pub(crate) const EPOCH: u64 = 5;
    /// 1 when the publisher takes part in the asymmetric barrier, so that sleepers may rely on it.
    pub(crate) const BARRIER: u64 = 6;
    /// End of the blocks that the publisher has reserved; only grows.
    pub(crate) const RESERVED: u64 = 8;
    pub(crate) const FULL_WAITS: u64 = 16;
    pub(crate) const EVICTIONS: u64 = 17;
    pub(crate) const RECLAIMED: u64 = 18;
    /// Payload bytes before each of the newest blocks, in the word of its number modulo
    /// [`BYTES_WORDS`]: a publisher that dies while it enters a block leaves the count of the block
    /// before untouched, and whoever counts has some blocks' time to read it.
    pub(crate) const BYTES: u64 = 24;
    pub(crate) const BYTES_WORDS: u64 = 8;
    /// Generation last evicted from each slot.
    pub(crate) const EVICTED: u64 = BYTES + BYTES_WORDS;
    pub(crate) const WORDS: u64 = EVICTED + SLOTS as u64;

    /// Where the bytes before block `number` are counted.
    pub(crate) const fn bytes_before(number: u64) -> u64 {
        BYTES + number % BYTES_WORDS
    }
}

/// Fields of the control page.
pub(crate) mod control {
    pub(crate) const MAGIC: u64 = 0;
    pub(crate) const LOG_ID: u64 = 1;
    /// Grows with every subscriber that joins or leaves.
    pub(crate) const MEMBERSHIP: u64 = 8;
    /// Bit 0: someone sleeps; the rest counts wakes. Its low half is the futex.
    pub(crate) const WAKE: u64 = 16;
    /// 1 when the bus was removed.
    pub(crate) const CLOSED: u64 = 24;
    pub(crate) const WORDS: u64 = 25;
}

/// Fields of a slot's page.
pub(crate) mod cursor {
    /// Generation in the upper 63 bits, bit 0 = active.
    pub(crate) const STATE: u64 = 0;
    /// Position up to which the subscriber is done.
    pub(crate) const POSITION: u64 = 1;
    /// Offset of the next message at that position.
    pub(crate) const OFFSET: u64 = 2;
    pub(crate) const PID: u64 = 3;
    pub(crate) const MESSAGES: u64 = 4;
    pub(crate) const BYTES: u64 = 5;
    pub(crate) const LOST: u64 = 6;
}

const _: () = {
    assert!(publisher::WORDS * 8 <= 4096);
    assert!(control::WORDS * 8 <= 4096);
    assert!((cursor::LOST + 1) * 8 <= PAGE_BYTES);
};

/// What everyone who attaches to a partition holds beside the ring.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) publisher: Memory,
    pub(crate) control: Memory,
}

impl Pages {
    /// Zeroed pages on the heap, for tests and models.
    #[cfg(any(test, loom))]
    pub(crate) fn heap() -> Pages {
        Pages {
            publisher: Memory::heap(publisher::WORDS * 8),
            control: Memory::heap(control::WORDS * 8),
        }
    }
}
