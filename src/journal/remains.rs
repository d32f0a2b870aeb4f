//! Blocks that could be taken for a part of the log, and are none.
//!
//! - Behind the end: writes come to the disk in any order, so a kill or a power cut leaves blocks
//!   behind the first one that is missing.
//! - In two segments: where a flush failed, what may not be durable was written again into a fresh
//!   segment, which counts from its first block on. While both are written from the same ring they
//!   say the same; but the log may end in the fresh one before it does in the older one.
//!
//! Neither was ever acknowledged, unless the disk lost the checkpoint that said so: where a power cut
//! does not explain what is missing, the log is damaged, and nobody goes on with it. They are
//! blanked before anything is added to the log.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

use crate::journal::disk::{Disk, PAGE_BYTES, Part};
use crate::journal::recovery::Recovered;
use crate::journal::seal::write;
use crate::log::block::{BLOCK_BYTES, LogId, block_start};
use crate::log::memory::Memory;
use crate::log::segment::{BlockBuffer, Verdict};

/// Blanks what is left behind the end of the log, durably.
pub(crate) fn clear_behind<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    recovered: &Recovered<D::Segment>,
) -> io::Result<()> {
    let Recovered { last: Some(last), cut, strays, .. } = recovered else { return Ok(()) };
    // What was never cut has nothing behind it; the strays had a say in what was cut.
    if cut.is_none() && strays.is_empty() {
        return Ok(());
    }
    let end = last.first + disk.segment_blocks();
    clear(disk, log_id, &last.segment, last.first, last.number + 1..end)
}

/// Blanks what each segment has that the next one has room for, durably: but for the first block of
/// that one, of which the older segment may have what was acknowledged.
///
/// The caller keeps other writers out, and has `segments` open, each with its first block.
pub(crate) fn clear_doubled<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    segments: &[(D::Segment, u64)],
) -> io::Result<()> {
    let open = |disk: &mut D, first| match segments.iter().find(|(_, open)| *open == first) {
        Some((segment, _)) => Ok(segment.clone()),
        None => disk.open(first),
    };
    let blocks = disk.segment_blocks();
    let firsts = disk.segments()?;
    for pair in firsts.windows(2).filter(|pair| pair[1] + 1 < pair[0] + blocks) {
        let (older, newer) = (pair[0], pair[1]);
        let mut buffer = BlockBuffer::new(1)?;
        let (memory, at) = buffer.place(newer);
        let part = Part { memory: memory.clone(), at, bytes: BLOCK_BYTES };
        let read = open(disk, newer).and_then(|segment| disk.read(&segment, 0, &part));
        let older_segment = read.and_then(|()| open(disk, older));
        match older_segment {
            // It counts only if its first block does.
            Ok(segment) if matches!(buffer.examine(newer, log_id), Verdict::Sound(_)) => {
                clear(disk, log_id, &segment, older, newer + 1..older + blocks)?;
            }
            Ok(_) => {}
            Err(error) => log::warn!("segment {newer}, or the one before, is left: {error}"),
        }
    }
    Ok(())
}

/// Blanks the beginnings of those of `blocks` that are there, in the segment that begins with block
/// `first`, durably.
fn clear<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    segment: &D::Segment,
    first: u64,
    blocks: Range<u64>,
) -> io::Result<()> {
    let buffer = BlockBuffer::new(1)?;
    let blank = Part { memory: Memory::pages(PAGE_BYTES)?, at: 0, bytes: PAGE_BYTES };
    let mut cleared = 0;
    for number in blocks {
        let at = block_start(number - first);
        let (memory, place) = buffer.place(number);
        let part = Part { memory: memory.clone(), at: place, bytes: PAGE_BYTES };
        if let Err(error) = disk.read(segment, at, &part) {
            // Nobody else reads it either.
            log::warn!("block {number} cannot be read: {error}");
            continue;
        }
        if buffer.checkpoints(number, log_id)[0].is_some() {
            write(disk, segment, at, &blank)?;
            cleared += 1;
        }
    }
    if cleared > 0 {
        log::info!(
            "blanked {cleared} blocks that the log does not have, in the segment at {first}"
        );
        disk.flush(0, segment);
        disk.finish()?.result?;
    }
    Ok(())
}
