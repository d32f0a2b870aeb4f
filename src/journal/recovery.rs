//! Where a journal ends, after whatever happened to it.
//!
//! The durable position is the highest that a checkpoint in the newest segment that has any says.
//! Below it everything was on disk once: what cannot be read there is damage, and is never cut away.
//! Above it the log goes on as far as each block follows the one before and its checkpoint holds, and
//! is cut where one does not: a power cut leaves any part of what was not flushed.
#![forbid(unsafe_code)]

use std::io;

use thiserror::Error;

use crate::journal::disk::{Disk, PAGE_BYTES, Part};
use crate::journal::tap::Place;
use crate::log::block::{BLOCK_BYTES, LogId, block_of, block_start};
use crate::log::segment::{BlockBuffer, Checkpoint, Sound, Verdict};
use crate::log::walk::Tail;

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
    /// Has the last block.
    pub(crate) buffer: BlockBuffer,
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
    /// Where it ended by the newest checkpoint.
    pub(crate) to: u64,
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
    let Newest { durable, sequence, claimed } = files.newest()?;
    let mut known = Place { position: durable, offset: 0 };
    let mut last: Option<Last<D::Segment>> = None;
    let oldest = files.segments.first().map_or(0, |(first, _)| *first);
    let mut number = block_of(durable.saturating_sub(1)).max(oldest);
    loop {
        let found = match files.read(number)? {
            Some(block) => files.follow(block, last.as_ref(), &mut known),
            None => Err("it is not there"),
        };
        let position = block_start(number);
        let block = match found {
            Ok(block) => block,
            Err(what) if position < durable => {
                return Err(RecoveryError::Damaged { position, durable, what });
            }
            Err(_) => break,
        };
        let position = block.tail.resume.position;
        let is_full = position == block_start(number + 1);
        let is_end = block.is_cut || !is_full;
        if is_end && position < durable {
            let what = "the newest of its checkpoints does not hold";
            return Err(RecoveryError::Damaged { position, durable, what });
        }
        last = Some(block);
        if is_end {
            break;
        }
        number += 1;
    }
    let end = last.as_ref().map_or(known, Last::end);
    let cut = (claimed > end.position).then_some(Cut { from: end, to: claimed });
    Ok(Recovered { last, durable: known, sequence, cut, buffer: files.buffer })
}

/// What the checkpoints say, taken together.
#[derive(Debug, Default)]
struct Newest {
    durable: u64,
    sequence: u64,
    /// Where the log ends by the checkpoint that reaches furthest.
    claimed: u64,
}

/// A block that was read, and the segment that has it.
struct Read<S> {
    number: u64,
    verdict: Verdict,
    segment: S,
    first: u64,
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

    /// Reads block `number`, out of the newest segment that has it.
    fn read(&mut self, number: u64) -> Result<Option<Read<D::Segment>>, RecoveryError> {
        let mut found = None;
        for index in (0..self.segments.len()).rev() {
            let first = self.segments[index].0;
            if number < first || number >= first + self.disk.segment_blocks() {
                continue;
            }
            let (first, segment) = self.segment(index)?;
            self.fill(&segment, number, block_start(number - first), BLOCK_BYTES)?;
            let verdict = self.buffer.examine(number, self.log_id);
            found = Some(Read { number, verdict, segment, first });
            if verdict != Verdict::Absent {
                break;
            }
        }
        Ok(found)
    }

    /// Whether a block goes on where `before` ends, and where it ends itself. `durable` gets its
    /// offset where it lies in this block.
    fn follow(
        &self,
        block: Read<D::Segment>,
        before: Option<&Last<D::Segment>>,
        durable: &mut Place,
    ) -> Result<Last<D::Segment>, &'static str> {
        let Read { number, verdict, segment, first } = block;
        let Sound { header, checkpoint, is_cut } = match verdict {
            Verdict::Sound(sound) => sound,
            Verdict::Damaged => return Err("neither of its checkpoints holds"),
            Verdict::Absent => return Err("its header is not there"),
        };
        if before.is_some_and(|before| {
            header.first_offset != before.end().offset || header.epoch < before.epoch
        }) {
            return Err("it does not follow the block before");
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
        Ok(Last { segment, first, number, checkpoint, tail, epoch: header.epoch, is_cut })
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
