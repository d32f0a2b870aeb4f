//! Closing the last block of a journal, so that the log can go on in another one: in the next, as a
//! log does whose ring is made anew, or further on, where the ring went past what was to be
//! written.
//!
//! What the ring went past is no frame of the log: in its place a control frame says where the log
//! goes on, the only frame that is in the files and not in the ring. How much is missing shows by
//! the offsets before and behind it.
#![forbid(unsafe_code)]

use std::io;

use crate::journal::disk::{Disk, PAGE_BYTES, Part};
use crate::journal::recovery::{Last, Recovered};
use crate::journal::stage::{Mark, Stage};
use crate::log::block::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, LogId, block_of, block_start,
};
use crate::log::frame::{CommitWord, HEADER_BYTES, JUMP, JUMP_BYTES, Kind, span};
use crate::log::segment::BlockBuffer;
use crate::log::walk::Tail;

/// Where the log goes on behind the block that is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// In the next block.
    Next,
    /// At this block's start.
    At(u64),
}

/// Closes the last block and makes that durable: then the log ends at a block's edge.
pub(crate) fn seal<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    recovered: &mut Recovered<D::Segment>,
    then: Then,
) -> io::Result<()> {
    let Recovered { last, durable, sequence, buffer, .. } = recovered;
    let Some(last) = last else { return Ok(()) };
    let mut stage = Stage::new()?;
    if last.checkpoint.used_bytes < BLOCK_BYTES {
        stage.resume(buffer, last.number, &last.checkpoint);
    } else if then == Then::Next {
        return Ok(());
    } else {
        // There is no room for where it goes on: a block of its own says it.
        begin_block(disk, log_id, last, buffer)?;
    }
    fill(last.number, &mut last.tail, buffer, then);
    *sequence += 1;
    let mark = Mark { durable: durable.position, sequence: *sequence };
    let mut pieces = Vec::new();
    stage.add(buffer.ring(), last.number, BLOCK_BYTES, mark, &mut pieces);
    let origin = block_start(last.number - last.first);
    for (at, part) in pieces {
        write(disk, &last.segment, origin + at, &part)?;
    }
    disk.flush(0, &last.segment);
    disk.finish()?.result?;
    last.checkpoint.used_bytes = BLOCK_BYTES;
    *durable = last.end();
    Ok(())
}

/// Goes on in the block behind the last one, which is full.
fn begin_block<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    last: &mut Last<D::Segment>,
    buffer: &mut BlockBuffer,
) -> io::Result<()> {
    last.number += 1;
    if last.number >= last.first + disk.segment_blocks() {
        disk.prepare(last.number);
        last.segment = loop {
            match disk.prepared() {
                Some(prepared) => break prepared?,
                None => std::thread::yield_now(),
            }
        };
        last.first = last.number;
    }
    let header = BlockHeader {
        first_offset: last.tail.resume.offset,
        timestamp_max_ns: last.tail.resume.timestamp_max_ns,
        epoch: last.epoch,
        first_message: BLOCK_HEADER_BYTES as u32,
    };
    let end = block_start(last.number + 1);
    buffer.ring().enter(last.number, log_id, header, end);
    last.tail = Tail { train_open: last.tail.train_open, ..Tail::at_block(last.number, &header) };
    Ok(())
}

/// Adds the frames that the rest of block `number`, behind `tail`, has.
pub(super) fn fill(number: u64, tail: &mut Tail, buffer: &mut BlockBuffer, then: Then) {
    let Tail { resume, train_open } = tail;
    let end = block_start(number + 1);
    if let Then::At(block) = then {
        let word = CommitWord::new(resume.offset, JUMP_BYTES, Kind::Control, 0);
        buffer.append(resume.position, word, &[JUMP, block_start(block)]);
        resume.position += span(JUMP_BYTES);
    }
    if resume.position < end {
        // A message that is not all there ends here, and its offset is used again.
        let kind = if *train_open { Kind::Abort } else { Kind::Padding };
        let length = end - resume.position - HEADER_BYTES;
        buffer.append(resume.position, CommitWord::new(resume.offset, length, kind, 0), &[]);
        resume.position = end;
        *train_open = false;
    }
    debug_assert_eq!(block_of(resume.position), number + 1);
}

/// Writes all of `part`, and waits for it.
pub(super) fn write<D: Disk>(
    disk: &mut D,
    segment: &D::Segment,
    at: u64,
    part: &Part,
) -> io::Result<()> {
    let mut part = part.clone();
    let mut at = at;
    while part.bytes > 0 {
        disk.write(0, segment, at, std::slice::from_ref(&part));
        let written = disk.finish()?.result?;
        let written = (written - written % PAGE_BYTES).min(part.bytes);
        (at, part.at, part.bytes) = (at + written, part.at + written, part.bytes - written);
    }
    Ok(())
}
