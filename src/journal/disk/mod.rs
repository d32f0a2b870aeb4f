//! What a journal asks of a disk. Everything that is read from one, written to one or made durable
//! goes through here, so that a test can put a disk in its place that loses, tears and reorders.
//!
//! A journal of one partition is a directory of segment files. A segment is named after the number
//! of its first block and has room for a fixed count of blocks; it ends where the next one begins.
//! Block `n` lies in the segment with the highest first block that is not above `n`, `n - first`
//! blocks from its start.
//!
//! | file | holds |
//! |---|---|
//! | [`files`] | a real disk; what it does is spread over the files below |
//! | [`folder`] | the files of a journal: names, locks, making and using again; reading by others |
//! | [`maker`] | the thread that makes segments ready |
//! | [`uring`] | writing by io_uring |
//! | [`blocking`] | reading, and writing where there is no io_uring |
//! | [`vector`] | the parts of a write as the kernel takes them |
//! | `faulty` | a disk for tests |

mod blocking;
#[cfg(test)]
pub(crate) mod faulty;
mod files;
mod folder;
mod maker;
#[cfg(test)]
mod tests;
mod uring;
mod vector;

use std::io;

pub(crate) use self::files::{Engine, FileDisk};
pub(crate) use self::folder::{
    SegmentReader, open_to_read, remove_segment, segment_name, segments,
};
use crate::log::memory::Memory;

/// Bytes that are written or read together, and never torn by our own doing: offsets, lengths and
/// addresses of all that goes to a disk are multiples of it.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// A place in memory that a disk reads from or writes to.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) memory: Memory,
    /// Byte in it; a multiple of [`PAGE_BYTES`].
    pub(crate) at: u64,
    /// How many; a multiple of [`PAGE_BYTES`].
    pub(crate) bytes: u64,
}

/// What was asked for is over.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The number that it was asked for with.
    pub(crate) id: u64,
    /// Bytes that were written, which may be fewer than were asked for; 0 of a flush.
    pub(crate) result: io::Result<u64>,
}

/// A directory of segments, opened to be written to by one journal.
pub(crate) trait Disk {
    /// A segment that is open. Cloning shares it; dropping all clones closes it, once everything
    /// that was asked of it is over.
    type Segment: Clone;

    /// Blocks that a segment has room for.
    fn segment_blocks(&self) -> u64;

    /// The first blocks of all segments, in order.
    fn segments(&mut self) -> io::Result<Vec<u64>>;

    /// Opens a segment to be read and written, and keeps every other writer out of it: of kind
    /// `WouldBlock` while there is one, or while something that a writer before this one asked for
    /// is under way.
    fn open(&mut self, first: u64) -> io::Result<Self::Segment>;

    /// Fills `to` from byte `at` on; what lies behind the file's end reads as zeroes.
    fn read(&mut self, segment: &Self::Segment, at: u64, to: &Part) -> io::Result<()>;

    /// Removes a segment's name, durably with the next [`Disk::prepare`] or [`Disk::sync`].
    fn remove(&mut self, first: u64) -> io::Result<()>;

    /// Makes all names durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Asks for a segment that begins with block `first`: its room allocated, its name durable.
    /// What it holds may be anything that segments of lower numbers held. One that is there already
    /// under that name is replaced. One can be asked for at a time.
    fn prepare(&mut self, first: u64);

    /// The segment that was asked for, once it is ready.
    fn prepared(&mut self) -> Option<io::Result<Self::Segment>>;

    /// Asks for `parts` to be written one behind the other, from byte `at` of the segment on. Their
    /// memory must stay as it is until that is over. Nothing else that is under way may be about
    /// the same pages.
    fn write(&mut self, id: u64, segment: &Self::Segment, at: u64, parts: &[Part]);

    /// Asks for everything that was written to the segment, as far as its completion was returned
    /// by [`Disk::completed`], to be made durable.
    fn flush(&mut self, id: u64, segment: &Self::Segment);

    /// Something that is over.
    fn completed(&mut self) -> Option<Completion>;

    /// Waits for something that was asked for: for the beginning of a journal, not for its run.
    ///
    /// # Errors
    /// When nothing will ever be over.
    fn finish(&mut self) -> io::Result<Completion>;
}
