//! The words that processes share beside the ring. Change here what lies where.
//!
//! | page | written by | holds |
//! |---|---|---|
//! | publisher | the publisher | its pid and epoch, `reserved`, eviction marks, counters |
//! | control | anyone who may join | membership, the wake word, the closed word |
//! | cursor, one a slot | the slot's subscriber | its state, cursor and counters |
//! | journal | the journal | a cursor of its own kind, how far the log is on disk, what is wrong |
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

/// Number of the journal's cursor, behind those of the slots. It gates the publisher as they do,
/// but its lock says nothing: the requests of a journal that was killed go on reading the ring.
pub(crate) const JOURNAL_SLOT: usize = SLOTS;

/// Fields of the publisher page.
pub(crate) mod publisher {
    use super::JOURNAL_SLOT;

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
    /// Where the log begins in this ring, at a block's start: what lies before is in files alone.
    /// With it the offset of the first message, and the highest timestamp before.
    pub(crate) const BASE: u64 = 9;
    pub(crate) const BASE_OFFSET: u64 = 10;
    pub(crate) const BASE_TIMESTAMP_MAX_NS: u64 = 11;
    pub(crate) const FULL_WAITS: u64 = 16;
    pub(crate) const EVICTIONS: u64 = 17;
    pub(crate) const RECLAIMED: u64 = 18;
    /// Payload bytes before each of the newest blocks, in the word of its number modulo
    /// [`BYTES_WORDS`]: a publisher that dies while it enters a block leaves the count of the block
    /// before untouched, and whoever counts has some blocks' time to read it.
    pub(crate) const BYTES: u64 = 24;
    pub(crate) const BYTES_WORDS: u64 = 8;
    /// Generation last evicted from each slot, the journal's included.
    pub(crate) const EVICTED: u64 = BYTES + BYTES_WORDS;
    pub(crate) const WORDS: u64 = EVICTED + JOURNAL_SLOT as u64 + 1;

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

/// Fields of the journal page, behind a first line that is laid out as a slot's page.
pub(crate) mod journal {
    pub(crate) const MAGIC: u64 = 8;
    pub(crate) const LOG_ID: u64 = 9;
    /// Every message below this offset is known to be on disk. Only grows.
    pub(crate) const DURABLE_OFFSET: u64 = 16;
    /// The same, as a position.
    pub(crate) const DURABLE: u64 = 17;
    /// The durable position that the files themselves say: recovery needs the block that ends
    /// there, or that it lies in, and none before.
    pub(crate) const TOLD: u64 = 18;
    /// Every message below this offset was given to the disk, and a reader of the files finds it.
    pub(crate) const WRITTEN_OFFSET: u64 = 24;
    /// The same, as a position.
    pub(crate) const WRITTEN: u64 = 25;
    /// A code of `journal::status::State`.
    pub(crate) const STATE: u64 = 32;
    /// The last error's number in the kernel's list; 0 = none.
    pub(crate) const ERROR: u64 = 33;
    /// Position that it is about.
    pub(crate) const ERROR_POSITION: u64 = 34;
    /// How many there were.
    pub(crate) const ERRORS: u64 = 35;
    /// After one ns less the publisher goes on without a journal that is in its way; 0 = never.
    pub(crate) const GIVE_UP_AFTER_NS: u64 = 36;
    /// Messages that are in the log and not in the journal.
    pub(crate) const LOST: u64 = 37;
    /// All that it lacks, and what came before it began, lies from this offset on, and below the
    /// next; both 0 = it has everything.
    pub(crate) const MISSING_FROM: u64 = 38;
    pub(crate) const MISSING_END: u64 = 39;
    /// Bytes of the path of the journal's directory, and the path.
    pub(crate) const PATH_BYTES: u64 = 64;
    pub(crate) const PATH: u64 = 65;
    pub(crate) const WORDS: u64 = 512;
    /// Longest path.
    pub(crate) const PATH_BYTES_MAX: u64 = (WORDS - PATH) * 8;
}

const _: () = {
    assert!(journal::WORDS * 8 <= 4096);
    assert!(publisher::WORDS * 8 <= 4096);
    assert!(control::WORDS * 8 <= 4096);
    assert!((cursor::LOST + 1) * 8 <= PAGE_BYTES);
};

/// What everyone who attaches to a partition holds beside the ring.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) publisher: Memory,
    pub(crate) control: Memory,
    pub(crate) journal: Memory,
}

impl Pages {
    /// Zeroed pages on the heap, for tests and models.
    #[cfg(any(test, loom))]
    pub(crate) fn heap() -> Pages {
        Pages {
            publisher: Memory::heap(publisher::WORDS * 8),
            control: Memory::heap(control::WORDS * 8),
            journal: Memory::heap(PAGE_BYTES),
        }
    }
}
