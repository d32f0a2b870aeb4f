//! Giving up the end of a journal, knowingly: of one that is damaged, or that holds what it should
//! not.
//!
//! 1. Later segments are removed, the newest first, each durably.
//! 2. The segment that is cut is copied up to the cut into a new file, with the rest of its last
//!    block padded and a checkpoint that says that all of it is durable. This takes the old one's
//!    name.
//!
//! A crash leaves a log that ends where it did, where it is to, or at the end of a segment in
//! between: done again, it comes to the same end. Nothing is written to the old file, but where it
//! has blocks that are not the log's ([`remains`](super::remains)), so whoever reads it goes on
//! reading what was there.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use crate::journal::blocks::Blocks;
use crate::journal::cursor_file;
use crate::journal::disk::{Disk, FileDisk, Part};
use crate::journal::error::JournalError;
use crate::journal::remains::clear_doubled;
use crate::journal::seal::{Then, fill, write};
use crate::journal::stage::{Mark, Stage};
use crate::journal::topic_dir::TopicDir;
use crate::log::block::{BLOCK_BYTES, LogId, block_end, block_start};
use crate::log::segment::{BlockBuffer, Checkpoint, Sound, Verdict};
use crate::log::walk::Tail;
use crate::shm::error::FileError;

/// What a segment is while its writer's lock is held.
type Segment = <FileDisk as Disk>::Segment;

/// The newest segments, which a writer that begins takes before it looks at anything.
const SEGMENTS_OF_WRITER: usize = 3;

/// What was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Truncated {
    /// The log ends before the message of this offset: at most the one that was asked for.
    pub end_offset: u64,
    /// It ended before the message of this offset; at least, where the end could not be read.
    pub was_end_offset: u64,
    /// Bytes of the log between the two ends, as far as they could be read.
    pub bytes: u64,
    /// Named cursors that are ahead of the log now, and are refused.
    pub cursors: Vec<String>,
}

/// Ends a partition of the journal in `path`, a topic's directory, before the message of `offset`.
/// Where what lies before that cannot be read it ends behind the last message whose end can; what
/// cannot be read further back stays as it is, and its loss is told to who comes behind it.
///
/// The topic's ring must be gone, too: remove its bus first, and make the topic from its
/// [journal](crate::TopicBuilder::journal) then. A ring that is left has what was given up. A
/// journal that goes on with that ring fails; where the cut is between two of its blocks it takes
/// everything from there.
///
/// # Errors
/// [`JournalError::InUse`] while somebody writes, [`JournalError::Future`] behind the end,
/// [`JournalError::Gone`] before the beginning.
///
/// # Examples
/// ```no_run
/// let truncated = tickcast::truncate("/var/lib/md/trades", 0, 1_000)?;
/// println!("the next message is {}", truncated.end_offset);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn truncate(
    path: impl AsRef<Path>,
    partition: u32,
    offset: u64,
) -> Result<Truncated, JournalError> {
    let topic = TopicDir::open(path.as_ref())?;
    // Before anything is changed: one that cannot be read is to be seen to first.
    let cursors = cursor_file::read_all(&topic)?;
    let mut log = Log::open(&topic, partition)?;
    let Some(end) = log.end()? else {
        return match offset {
            0 => Ok(Truncated { end_offset: 0, was_end_offset: 0, bytes: 0, cursors: Vec::new() }),
            _ => Err(JournalError::Future { partition, offset, next: 0 }),
        };
    };
    if offset > end.offset && end.is_sound {
        return Err(JournalError::Future { partition, offset, next: end.offset });
    }
    let cut = log.find(offset)?;
    let (position, end_offset) = (cut.tail.resume.position, cut.tail.resume.offset);
    log.cut(cut)?;
    let is_ahead = |cursor: &cursor_file::NamedCursor| {
        let position = cursor.positions.get(partition as usize).copied().flatten();
        position.is_some_and(|position| position.offset > end_offset)
    };
    Ok(Truncated {
        end_offset,
        was_end_offset: end.offset,
        bytes: end.position.saturating_sub(position),
        cursors: cursors.into_iter().filter(is_ahead).map(|cursor| cursor.name).collect(),
    })
}

/// The files of a partition, which nobody else writes.
struct Log<'a> {
    topic: &'a TopicDir,
    partition: u32,
    log_id: LogId,
    disk: FileDisk,
    blocks: Blocks,
    /// The first blocks of all segments, in order, and those that are locked.
    segments: Vec<(u64, Option<Segment>)>,
    buffer: BlockBuffer,
}

/// Where a log ends.
struct End {
    position: u64,
    offset: u64,
    /// Whether its last block can be read.
    is_sound: bool,
}

/// Where a log is to end.
struct Cut {
    /// First block of the segment.
    first: u64,
    number: u64,
    tail: Tail,
    /// Of the block's checkpoints.
    sequence: u64,
}

impl<'a> Log<'a> {
    fn open(topic: &'a TopicDir, partition: u32) -> Result<Log<'a>, JournalError> {
        let mut disk = topic.disk(partition)?;
        let firsts = disk.segments();
        let mut log = Log {
            topic,
            partition,
            log_id: topic.descriptor.partition_log_id(partition),
            disk,
            blocks: topic.blocks(partition)?,
            segments: Vec::new(),
            buffer: BlockBuffer::new(1).map_err(JournalError::Resources)?,
        };
        let firsts = firsts.map_err(|error| log.io("list", error))?;
        log.segments = firsts.into_iter().map(|first| (first, None)).collect();
        let count = log.segments.len();
        for index in count.saturating_sub(SEGMENTS_OF_WRITER)..count {
            log.segment(index)?;
        }
        Ok(log)
    }

    fn io(&self, action: &'static str, error: io::Error) -> JournalError {
        let path = self.topic.path().join(self.partition.to_string());
        FileError::from_io(action, &path, error).into()
    }

    fn in_use(&self) -> JournalError {
        JournalError::InUse { path: self.topic.path().join(self.partition.to_string()) }
    }

    /// A segment, with its writer's lock.
    fn segment(&mut self, index: usize) -> Result<Segment, JournalError> {
        let (first, segment) = &mut self.segments[index];
        if let Some(segment) = segment {
            return Ok(segment.clone());
        }
        match self.disk.open(*first) {
            Ok(opened) => Ok(segment.insert(opened).clone()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(self.in_use()),
            Err(error) => Err(self.io("open a segment of", error)),
        }
    }

    /// Reads block `number` into the buffer, out of the newest segment that has it. Returns what it
    /// is and that segment's first block; `None` when it cannot be read.
    fn read(&mut self, number: u64) -> Result<Option<(Sound, u64)>, JournalError> {
        for index in (0..self.segments.len()).rev() {
            let first = self.segments[index].0;
            if !(first..first + self.disk.segment_blocks()).contains(&number) {
                continue;
            }
            let segment = self.segment(index)?;
            let (memory, at) = self.buffer.place(number);
            let part = Part { memory: memory.clone(), at, bytes: BLOCK_BYTES };
            if let Err(error) = self.disk.read(&segment, block_start(number - first), &part) {
                log::warn!("block {number} cannot be read: {error}");
                return Ok(None);
            }
            match self.buffer.examine(number, self.log_id) {
                Verdict::Absent => {}
                // A segment that was only begun when a flush failed: the one before has it.
                Verdict::Damaged if first == number => {}
                Verdict::Damaged => return Ok(None),
                Verdict::Sound(sound) => return Ok(Some((sound, first))),
            }
        }
        Ok(None)
    }

    /// The end of what is there; `None` when nothing is.
    fn end(&mut self) -> Result<Option<End>, JournalError> {
        let mut find = || -> io::Result<_> {
            let Some(mut number) = self.blocks.find(u64::MAX, |_| true)? else { return Ok(None) };
            while let Some(next) = self.blocks.next_behind(number)? {
                number = next;
            }
            Ok(self.blocks.header(number)?.map(|header| (number, header)))
        };
        let found = find().map_err(|error| self.io("read", error))?;
        let Some((number, header)) = found else { return Ok(None) };
        let Some((sound, _)) = self.read(number)? else {
            let (position, offset) = (block_start(number), header.first_offset);
            return Ok(Some(End { position, offset, is_sound: false }));
        };
        let tail = self.walk(number, &sound, u64::MAX);
        let is_sound = !sound.is_cut
            && tail.resume.position == block_start(number) + sound.checkpoint.used_bytes;
        let (position, offset) = (tail.resume.position, tail.resume.offset);
        Ok(Some(End { position, offset, is_sound }))
    }

    /// The end of block `number`, which is in the buffer, or the place in it where the message of
    /// offset
    /// `due` begins, or a gap that it is in.
    fn walk(&self, number: u64, sound: &Sound, due: u64) -> Tail {
        let begin = Tail::at_block(number, &sound.header);
        let limit = block_start(number) + sound.checkpoint.used_bytes;
        let to = |due| {
            let (mut tail, mut last) = (begin, sound.header.first_offset);
            let walked = tail.advance(self.buffer.ring().lines(), limit, |_, offset| {
                last = offset;
                offset < due
            });
            if let Err(damaged) = walked {
                log::warn!("{damaged}");
            }
            (tail, last)
        };
        match to(due) {
            (tail, last) if tail.resume.offset > due => to(last).0,
            (tail, _) => tail,
        }
    }

    /// Where the log is to end for every message before `offset` to be in it that can be read, and
    /// no part of a later one.
    fn find(&mut self, offset: u64) -> Result<Cut, JournalError> {
        let partition = self.partition;
        let mut due = offset;
        loop {
            let found = self.blocks.find(u64::MAX, |header| header.first_offset < due);
            let found = found.map_err(|error| self.io("read", error))?;
            let mut number = found.unwrap_or(0);
            let (sound, first) = loop {
                if let Some(found) = self.read(number)? {
                    break found;
                }
                if number <= self.segments[0].0 {
                    let what = "nothing before it can be read, so that nothing would be left";
                    let position = block_start(number);
                    let path = self.topic.path().to_owned();
                    return Err(JournalError::Damaged {
                        path,
                        partition,
                        position,
                        durable: position,
                        what,
                    });
                }
                number -= 1;
            };
            let earliest = sound.header.first_offset;
            if earliest > due {
                return Err(JournalError::Gone { partition, offset, earliest });
            }
            // Of the first block that is there even a message may go that begins before it.
            let is_first = earliest == due;
            let tail = match is_first {
                true => Tail::at_block(number, &sound.header),
                false => self.walk(number, &sound, due),
            };
            if !tail.train_open || is_first || tail.resume.offset >= due {
                let checkpoints = self.buffer.checkpoints(number, self.log_id);
                let sequence = checkpoints.iter().flatten().map(|slot| slot.sequence).max();
                let Checkpoint { sequence: believed, .. } = sound.checkpoint;
                return Ok(Cut { first, number, tail, sequence: sequence.unwrap_or(believed) });
            }
            // A message that is not all there: back to where it begins.
            due = tail.resume.offset;
        }
    }

    /// Ends the log there. The block is in the buffer.
    fn cut(&mut self, cut: Cut) -> Result<(), JournalError> {
        let open = self.segments.iter().filter_map(|(first, open)| Some((open.clone()?, *first)));
        let open: Vec<_> = open.collect();
        let cleared = clear_doubled(&mut self.disk, self.log_id, &open);
        cleared.map_err(|error| self.io("write a segment of", error))?;
        while let Some((first, _)) = self.segments.last()
            && *first > cut.first
        {
            let removed = self.disk.remove(*first).and_then(|()| self.disk.sync());
            removed.map_err(|error| self.io("remove a segment of", error))?;
            self.segments.pop();
        }
        let index = self.segments.partition_point(|(first, _)| *first < cut.first);
        let old = self.segment(index)?;
        self.rewrite(&old, cut).map_err(|error| match error.kind() {
            // The kernel is still at work for one that was killed while it did the same.
            io::ErrorKind::AlreadyExists => self.in_use(),
            _ => self.io("write a segment of", error),
        })
    }

    fn rewrite(&mut self, old: &Segment, cut: Cut) -> io::Result<()> {
        let Cut { first, number, mut tail, sequence } = cut;
        let new = self.disk.begin_replacement(first)?;
        let copy = BlockBuffer::new(1)?;
        for number in first..number {
            let at = block_start(number - first);
            let (memory, place) = copy.place(number);
            let part = Part { memory: memory.clone(), at: place, bytes: BLOCK_BYTES };
            // What is damaged is copied as it is, to be told of.
            match self.disk.read(old, at, &part) {
                Ok(()) => write(&mut self.disk, &new, at, &part)?,
                Err(error) => log::warn!("block {number} cannot be read, and is left out: {error}"),
            }
        }
        let (start, position) = (block_start(number), tail.resume.position);
        if position < start + BLOCK_BYTES {
            debug_assert_eq!(block_end(position), start + BLOCK_BYTES);
            self.buffer.clear_behind(position);
        }
        fill(number, &mut tail, &mut self.buffer, Then::Next);
        // It gets its name when all of it is on disk.
        let mark = Mark { durable: start + BLOCK_BYTES, sequence: sequence + 1 };
        let mut pieces = Vec::new();
        let mut stage = Stage::new()?;
        stage.add(self.buffer.ring(), number, BLOCK_BYTES, mark, &mut pieces);
        for (at, part) in pieces {
            write(&mut self.disk, &new, block_start(number - first) + at, &part)?;
        }
        self.disk.finish_replacement(first, &new)
    }
}
