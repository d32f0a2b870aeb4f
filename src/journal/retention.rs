//! Removing the oldest segments of a journal: how much is kept, and what is kept whatever is asked.
//!
//! Never removed are the two newest segments that have anything in them, what is not durable, and,
//! unless that is asked for, what a named cursor still needs. Whoever reads a segment keeps the
//! file that is open, and may be told of a loss behind it.
//!
//! All of it is found in the files, and a segment's name is all that is taken away: so it can be
//! done beside a writer, and by several at once.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::journal::blocks::Blocks;
use crate::journal::cursor_file;
use crate::journal::error::JournalError;
use crate::journal::topic_dir::TopicDir;
use crate::log::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, block_start};
use crate::runtime::clock;
use crate::shm::error::FileError;

/// How much of a journal is kept. A segment goes when any of these lets it go; as it is by default,
/// none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// So many of the newest bytes of the log, at least.
    pub bytes: Option<u64>,
    /// Messages that are not older than this, by their timestamps and the time of day.
    pub age: Option<Duration>,
    /// Messages from this offset on.
    pub before_offset: Option<u64>,
}

impl Keep {
    pub(crate) fn is_all(&self) -> bool {
        *self == Keep::default()
    }

    /// Whether what lies before a block with this header may go, `bytes` of the log being behind
    /// it.
    fn lets_go(&self, header: &BlockHeader, bytes: u64) -> bool {
        let is_old = |age: Duration| {
            let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            header.timestamp_max_ns < clock::now_ns().saturating_sub(age_ns)
        };
        self.bytes.is_some_and(|keep| bytes >= keep)
            || self.age.is_some_and(is_old)
            || self.before_offset.is_some_and(|offset| end_before(header) <= offset)
    }
}

/// What was removed, and why not more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// Segments that were removed. Up to two of them are kept aside, to be used again.
    pub segments: u64,
    /// Bytes of the log in them.
    pub bytes: u64,
    /// The oldest offset that is still there; `None` when nothing was removed.
    pub earliest_offset: Option<u64>,
    /// The named cursor that needs what would have been removed otherwise.
    pub held_by: Option<String>,
}

/// Removes from a partition of the journal in `path`, a topic's directory, what need not be kept.
/// It may be recorded to and read at the same time. `ignore_cursors`: also what named cursors need,
/// which are told of the loss.
///
/// # Errors
/// [`JournalError`]: also for a named cursor that cannot be read, as it may need anything.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use tickcast::{Keep, prune};
///
/// let keep = Keep { age: Some(Duration::from_secs(7 * 86_400)), ..Keep::default() };
/// let pruned = prune("/var/lib/md/trades", 0, keep, false)?;
/// println!("{} bytes removed", pruned.bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prune(
    path: impl AsRef<Path>,
    partition: u32,
    keep: Keep,
    ignore_cursors: bool,
) -> Result<Pruned, JournalError> {
    let topic = TopicDir::open(path.as_ref())?;
    Retention { topic, partition, keep, ignores_cursors: ignore_cursors }.apply(Blocks::durable)
}

/// What is kept of one partition.
#[derive(Debug)]
pub(crate) struct Retention {
    pub(crate) topic: TopicDir,
    pub(crate) partition: u32,
    pub(crate) keep: Keep,
    pub(crate) ignores_cursors: bool,
}

impl Retention {
    /// Removes what need not be kept. `told` says up to where the files say by themselves that the
    /// log is on disk: recovery begins with the block that ends there.
    pub(crate) fn apply(
        &self,
        told: impl FnOnce(&mut Blocks) -> io::Result<u64>,
    ) -> Result<Pruned, JournalError> {
        let Retention { topic, partition, keep, ignores_cursors } = self;
        if keep.is_all() {
            return Ok(Pruned::default());
        }
        let path = topic.path().join(partition.to_string());
        let io = |error| FileError::from_io("read", &path, error);
        let mut blocks = topic.blocks(*partition)?;
        let durable = told(&mut blocks).map_err(io)?;
        let removable = self.removable(&mut blocks, durable).map_err(io)?;
        let needed = if *ignores_cursors { None } else { self.needed()? };
        let mut pruned = Pruned::default();
        // What goes is up to the newest beginning of a segment before which nothing is needed.
        let is_free = |end: u64| needed.as_ref().is_none_or(|(offset, _)| end <= *offset);
        let found = removable.iter().find(|begin| is_free(begin.end_before));
        if found != removable.first() {
            pruned.held_by = needed.map(|(_, name)| name);
        }
        let Some(Begin { index, header, .. }) = found else { return Ok(pruned) };
        let places = &blocks.places()[..*index];
        let used = places.iter().map(|(first, count)| Ok((*first, blocks.used(*first, *count)?)));
        let used: Vec<(u64, u64)> = used.collect::<io::Result<_>>().map_err(io)?;
        let firsts = used.iter().map(|(first, _)| *first);
        let removed = topic.remove_segments(*partition, firsts)?;
        let blocks = used.iter().filter(|(first, _)| removed.contains(first));
        pruned.bytes = blocks.map(|(_, used)| used * BLOCK_BYTES).sum();
        pruned.segments = removed.len() as u64;
        pruned.earliest_offset = (pruned.segments > 0).then_some(header.first_offset);
        Ok(pruned)
    }

    /// Where segments begin before which everything could go if nobody needed it, the newest first.
    fn removable(&self, blocks: &mut Blocks, durable: u64) -> io::Result<Vec<Begin>> {
        let places = blocks.places();
        let mut begins = Vec::new();
        let mut bytes = 0;
        let mut newer = 0;
        for (index, (first, count)) in places.iter().enumerate().skip(1).rev() {
            let Some(header) = blocks.header(*first)? else { continue };
            // Of the newest the room may not be used yet.
            bytes += if newer > 0 { blocks.used(*first, *count)? * BLOCK_BYTES } else { 0 };
            newer += 1;
            if newer > 1 && is_beginning(*first, durable) && self.keep.lets_go(&header, bytes) {
                begins.push(Begin { index, end_before: end_before(&header), header });
            }
        }
        Ok(begins)
    }

    /// The lowest offset that a named cursor needs, and whose that is.
    fn needed(&self) -> Result<Option<(u64, String)>, JournalError> {
        let cursors = cursor_file::read_all(&self.topic)?;
        let needs = cursors.into_iter().filter_map(|cursor| {
            Some(((*cursor.positions.get(self.partition as usize)?)?.offset, cursor.name))
        });
        Ok(needs.min())
    }
}

/// Whether recovery needs nothing before the segment that begins with block `first`, where the
/// files say by themselves that everything before `told` is on disk: it begins with the block that
/// ends there or that this lies in.
///
/// All of block `first` is to be told of: where a flush failed, the segment begins with the block
/// that what was durable then ends in, and until it is durable itself, the one before has that.
pub(crate) fn is_beginning(first: u64, told: u64) -> bool {
    block_start(first + 1) <= told
}

/// Where a segment begins.
#[derive(Debug, PartialEq, Eq)]
struct Begin {
    /// The segment's.
    index: usize,
    /// Of its first block.
    header: BlockHeader,
    /// No message of this offset or a later one lies in the segments before, not even a part of
    /// one.
    end_before: u64,
}

fn end_before(header: &BlockHeader) -> u64 {
    let has_begun_before = u64::from(header.first_message) != BLOCK_HEADER_BYTES;
    header.first_offset + u64::from(has_begun_before)
}
