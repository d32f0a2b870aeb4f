//! Where a journal ends, after whatever happened to it.
//!
//! The durable position is the highest that a checkpoint in the newest segment that has any says.
//! Below it everything was on disk once: what cannot be read there is damage, and is never cut
//! away. Above it the log goes on as far as each block follows the one before and its checkpoint
//! holds, and is cut where one does not: a power cut leaves any part of what was not flushed.
//!
//! A block may be in two segments, where a flush failed and everything since was written again into
//! a fresh one. The fresh one counts from its first block on, and not at all while that does not
//! hold: then nothing in it was ever acknowledged.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::{fmt, io};

use thiserror::Error;
use zerocopy::IntoBytes;

use crate::journal::disk::{Disk, PAGE_BYTES, Part};
use crate::journal::tap::Place;
use crate::log::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, LogId, block_of, block_start};
use crate::log::frame::{CommitWord, Kind};
use crate::log::memory::WORD_BYTES;
use crate::log::segment::{BlockBuffer, Checkpoint, Line, SLOT_BYTES, SLOTS_AT, Sound, Verdict};
use crate::log::walk::{Tail, jump_at};
use crate::sync::Ordering;

/// Segments that the requests of a killed writer can be about: the one that it wrote to, the one
/// before it and the one that it had made ready.
const SEGMENTS_IN_USE: usize = 3;

/// What there is of a journal.
#[derive(Debug)]
pub(crate) struct Recovered<S> {
    /// The last block with anything in it; `None`: there is none.
    pub(crate) last: Option<Last<S>>,
    /// Everything before this was on disk for certain.
    pub(crate) durable: Place,
    /// Of the newest checkpoint.
    pub(crate) sequence: u64,
    /// What checkpoints speak of and is not there.
    pub(crate) cut: Option<Cut>,
    /// Where the log lies from the durable position on. The last run ends with the last block.
    pub(crate) runs: Vec<Run<S>>,
    /// First blocks of segments behind these. Nothing in them belongs to the log.
    pub(crate) strays: Vec<u64>,
    /// Has the last block.
    pub(crate) buffer: BlockBuffer,
}

/// Neighbouring blocks of one segment.
#[derive(Debug)]
pub(crate) struct Run<S> {
    pub(crate) segment: S,
    /// The segment's first block.
    pub(crate) first: u64,
    pub(crate) blocks: Range<u64>,
}

/// The last block of a journal.
#[derive(Debug)]
pub(crate) struct Last<S> {
    pub(crate) segment: S,
    /// The segment's first block.
    pub(crate) first: u64,
    pub(crate) number: u64,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tail: Tail,
    pub(crate) epoch: u64,
    /// A newer checkpoint of it does not hold.
    pub(crate) is_cut: bool,
    /// The block in which the log goes on, behind messages that the ring went past. It may not be
    /// there yet.
    pub(crate) jump: Option<u64>,
}

impl<S> Last<S> {
    /// Where the log ends.
    pub(crate) fn end(&self) -> Place {
        let resume = &self.tail.resume;
        Place { position: resume.position, offset: resume.offset }
    }
}

/// Something that was written, never made durable, and is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where the log ends now.
    pub(crate) from: Place,
    /// Where it ended by the newest checkpoint; at most, where one cannot be read.
    pub(crate) to: u64,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (offset, bytes) = (self.from.offset, self.to - self.from.position);
        write!(
            f,
            "cut at message {offset}: {bytes} bytes behind it were never durable, and are not all \
             there"
        )
    }
}

/// Why a journal cannot be gone on with.
#[derive(Debug, Error)]
pub(crate) enum RecoveryError {
    /// Another process writes it, or something that a killed one asked for is under way.
    #[error("the journal is being written by another process: stop that one first")]
    Busy,
    /// The disk.
    #[error("cannot read the journal at position {position}: {source}")]
    Io { position: u64, source: io::Error },
    /// Something that was on disk cannot be read any more.
    #[error(
        "the journal is damaged at position {position}, and was on disk up to {durable}: {what}; \
         look at it with `journal verify`, and cut it with `journal truncate`"
    )]
    Damaged { position: u64, durable: u64, what: &'static str },
}

/// Finds the end of the journal of log `log_id`.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    log_id: LogId,
) -> Result<Recovered<D::Segment>, RecoveryError> {
    let buffer = BlockBuffer::new(2).map_err(|source| RecoveryError::Io { position: 0, source })?;
    let mut files = Files::open(disk, log_id, buffer)?;
    let Newest { durable, sequence, mut claimed } = files.newest()?;
    let mut known = Place { position: durable, offset: 0 };
    let mut last: Option<Last<D::Segment>> = None;
    let mut runs: Vec<Run<D::Segment>> = Vec::new();
    let oldest = files.segments.first().map_or(0, |(first, _)| *first);
    let mut number = block_of(durable.saturating_sub(1)).max(oldest);
    loop {
        let read = files.read(number, runs.last().map(|run| run.first))?;
        let (position, end) = (block_start(number), block_start(number + 1));
        // No power cut leaves it so, and what lies behind it may have been acknowledged.
        let is_rotten = read.is_marred && claimed > end;
        if read.is_marred {
            claimed = claimed.max(end);
        }
        let block = match files.follow(number, read.found, last.as_ref(), &mut known) {
            Ok(block) => block,
            Err(what) => match last.as_ref().and_then(|last| last.jump) {
                Some(jump) if jump > number => {
                    number = jump;
                    continue;
                }
                _ if position < durable || is_rotten => {
                    return Err(RecoveryError::Damaged { position, durable, what });
                }
                _ => break,
            },
        };
        let is_end = block.is_cut || block.end().position < end;
        if is_end && block.end().position < durable {
            let what = "the newest of its checkpoints does not hold";
            return Err(RecoveryError::Damaged { position, durable, what });
        }
        match runs.last_mut() {
            Some(run) if (run.first, run.blocks.end) == (block.first, number) => {
                run.blocks.end += 1;
            }
            _ => {
                let (segment, blocks) = (block.segment.clone(), number..number + 1);
                runs.push(Run { segment, first: block.first, blocks });
            }
        }
        last = Some(block);
        if is_end {
            break;
        }
        number += 1;
    }
    if let Some(last) = &last {
        // Its place may have been another block's since.
        files.read(last.number, Some(last.first))?;
    }
    let end = last.as_ref().map_or(known, Last::end);
    let cut = (claimed > end.position).then_some(Cut { from: end, to: claimed });
    let firsts = files.segments.iter().map(|(first, _)| *first);
    let strays = match runs.last() {
        Some(last) => firsts.filter(|first| *first > last.first).collect(),
        None => firsts.collect(),
    };
    let buffer = files.buffer;
    Ok(Recovered { last, durable: known, sequence, cut, runs, strays, buffer })
}

/// What the checkpoints say, taken together.
#[derive(Debug, Default)]
struct Newest {
    durable: u64,
    sequence: u64,
    /// Where the log ends by the checkpoint that reaches furthest.
    claimed: u64,
}

/// A block that was read.
struct Read<S> {
    /// What it is, with the segment that has it and its first block; or why it does not count.
    found: Result<(Sound, S, u64), &'static str>,
    /// Its header, or a slot, is something that no writer and no power cut leaves.
    is_marred: bool,
}

/// The segments of a journal, to be recovered.
struct Files<'a, D: Disk> {
    disk: &'a mut D,
    log_id: LogId,
    buffer: BlockBuffer,
    /// By their first block, in order; opened when they are first needed.
    segments: Vec<(u64, Option<D::Segment>)>,
}

impl<'a, D: Disk> Files<'a, D> {
    fn open(
        disk: &'a mut D,
        log_id: LogId,
        buffer: BlockBuffer,
    ) -> Result<Files<'a, D>, RecoveryError> {
        let firsts = disk.segments().map_err(|source| RecoveryError::Io { position: 0, source })?;
        let segments: Vec<_> = firsts.into_iter().map(|first| (first, None)).collect();
        let count = segments.len();
        let mut files = Files { disk, log_id, buffer, segments };
        // No slot is read before whoever wrote last can write no more.
        for index in count.saturating_sub(SEGMENTS_IN_USE)..count {
            files.segment(index)?;
        }
        Ok(files)
    }

    fn segment(&mut self, index: usize) -> Result<(u64, D::Segment), RecoveryError> {
        let (first, segment) = &mut self.segments[index];
        let first = *first;
        if let Some(segment) = segment {
            return Ok((first, segment.clone()));
        }
        match self.disk.open(first) {
            Ok(opened) => Ok((first, segment.insert(opened).clone())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(RecoveryError::Busy),
            Err(source) => Err(RecoveryError::Io { position: block_start(first), source }),
        }
    }

    /// What the newest segment says in which a checkpoint is.
    fn newest(&mut self) -> Result<Newest, RecoveryError> {
        let mut newest = Newest::default();
        for index in (0..self.segments.len()).rev() {
            let (first, segment) = self.segment(index)?;
            for number in first..first + self.disk.segment_blocks() {
                let at = block_start(number - first);
                self.fill(&segment, number, at, PAGE_BYTES)?;
                for checkpoint in self.buffer.checkpoints(number, self.log_id).iter().flatten() {
                    let Checkpoint { used_bytes, durable, sequence, .. } = *checkpoint;
                    newest.durable = newest.durable.max(durable);
                    newest.sequence = newest.sequence.max(sequence);
                    newest.claimed = newest.claimed.max(block_start(number) + used_bytes);
                }
            }
            if newest.sequence > 0 {
                break;
            }
        }
        Ok(newest)
    }

    /// Reads block `number`, out of the newest segment that has it, unless it is the first one
    /// there and does not hold. The log goes on in the segment that begins with block `current`, or
    /// in one that begins with this block.
    fn read(
        &mut self,
        number: u64,
        current: Option<u64>,
    ) -> Result<Read<D::Segment>, RecoveryError> {
        let mut read = Read { found: Err("its header is not there"), is_marred: false };
        for index in (0..self.segments.len()).rev() {
            let first = self.segments[index].0;
            let is_behind = current.is_none_or(|current| first == current || first == number);
            if number < first || number >= first + self.disk.segment_blocks() || !is_behind {
                continue;
            }
            let (first, segment) = self.segment(index)?;
            self.fill(&segment, number, block_start(number - first), BLOCK_BYTES)?;
            read.is_marred |= is_marred(&self.buffer, number);
            match self.buffer.examine(number, self.log_id) {
                Verdict::Absent => {}
                Verdict::Damaged => read.found = Err("neither of its checkpoints holds"),
                Verdict::Sound(sound) => {
                    read.found = Ok((sound, segment, first));
                    break;
                }
            }
            if first < number {
                break;
            }
        }
        Ok(read)
    }

    /// Whether a block goes on where `before` ends, and where it ends itself. `durable` gets its
    /// offset where it lies in this block.
    fn follow(
        &self,
        number: u64,
        found: Result<(Sound, D::Segment, u64), &'static str>,
        before: Option<&Last<D::Segment>>,
        durable: &mut Place,
    ) -> Result<Last<D::Segment>, &'static str> {
        let (Sound { header, checkpoint, is_cut }, segment, first) = found?;
        if let Some(before) = before {
            let due = before.end().offset;
            // Behind what the ring went past, messages may be missing.
            let is_behind_jump = number > before.number + 1 || before.jump == Some(number);
            let is_due =
                header.first_offset == due || (is_behind_jump && header.first_offset > due);
            if !is_due || header.epoch < before.epoch {
                return Err("it does not follow the block before");
            }
        }
        let mut tail = Tail::at_block(number, &header);
        let lines = self.buffer.ring().lines();
        let end = block_start(number) + checkpoint.used_bytes;
        let mut walk = |limit| tail.advance(lines, limit, |_, _| true);
        let walked = walk(durable.position.min(end)).map(|()| tail.resume);
        if let Ok(resume) = walked
            && resume.position == durable.position
        {
            durable.offset = resume.offset;
        }
        let mut walk = |limit| tail.advance(lines, limit, |_, _| true);
        if walked.is_err() || walk(u64::MAX).is_err() || tail.resume.position != end {
            return Err("its checkpoint holds, and its frames do not end where that says");
        }
        let jump = self.jump(number, end);
        Ok(Last { segment, first, number, checkpoint, tail, epoch: header.epoch, is_cut, jump })
    }

    /// The block in which the log goes on behind block `number`, if that one says so: its frames,
    /// up to `end`, were walked over.
    fn jump(&self, number: u64, end: u64) -> Option<u64> {
        let lines = self.buffer.ring().lines();
        let mut position = block_start(number) + BLOCK_HEADER_BYTES;
        let mut jump = None;
        while position < end {
            let word = CommitWord(lines.load(position, Ordering::Relaxed));
            if word.kind() == Some(Kind::Control) {
                let found = jump_at(lines, position).map(block_of);
                jump = found.filter(|next| *next > number).or(jump);
            }
            position += word.span();
        }
        jump
    }

    fn fill(
        &mut self,
        segment: &D::Segment,
        number: u64,
        at: u64,
        bytes: u64,
    ) -> Result<(), RecoveryError> {
        let (memory, place) = self.buffer.place(number);
        let part = Part { memory: memory.clone(), at: place, bytes };
        let position = block_start(number);
        let read = self.disk.read(segment, at, &part);
        read.map_err(|source| RecoveryError::Io { position, source })
    }
}

/// Whether what was read into the place of block `number` begins with something that is neither
/// blank nor a header, of whatever block, with slots that hold or are blank: a header and its slots
/// are written at once, and a disk keeps all of them or what was there before.
pub(crate) fn is_marred(buffer: &BlockBuffer, number: u64) -> bool {
    let mut words = [0_u64; (BLOCK_HEADER_BYTES / WORD_BYTES) as usize];
    buffer.ring().lines().load_words(block_start(number), &mut words);
    let (line, slots) = words.as_bytes().split_at(SLOTS_AT as usize);
    let line: &Line = line.try_into().expect("a line");
    let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let holds = |slot: &[u8]| Checkpoint::decode(slot, line, 0).is_some();
    let mut slots = slots.chunks(SLOT_BYTES as usize);
    let is_written = slots.clone().any(holds) && slots.all(|slot| holds(slot) || is_blank(slot));
    !is_written && !is_blank(words.as_bytes())
}
