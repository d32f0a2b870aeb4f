//! Blocks that could be taken for a part of the log, and are none.
//!
//! - Behind the end: writes come to the disk in any order, so a kill or a power cut leaves blocks
//!   behind the first one that is missing.
//! - In two segments: where a flush failed, what may not be durable was written again into a fresh
//!   segment, which counts from its first block on. While both are written from the same ring they
//!   say the same; but the log may end in the fresh one before it does in the older one.
//!
//! Neither was ever acknowledged, unless the disk lost what said so: where a power cut does not
//! explain a header that is missing before them, the log is damaged, and nobody goes on with it.
//! They are blanked before anything is added to the log.
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

/// Blanks what older segments have that one of `segments` has room for, durably: but for its first
/// block, of which the older segment may have what was acknowledged. Older doubles do not matter:
/// a fresh segment that is full, or ended before, has all of its own.
///
/// The caller keeps other writers out, and has `segments` open, each with its first block.
pub(crate) fn clear_doubled<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    segments: &[(D::Segment, u64)],
) -> io::Result<()> {
    let blocks = disk.segment_blocks();
    let firsts = disk.segments()?;
    for (segment, newer) in segments {
        let overlaps = |older: &&u64| **older < *newer && *newer + 1 < **older + blocks;
        for older in firsts.iter().filter(overlaps) {
            let older_segment = match segments.iter().find(|(_, first)| first == older) {
                Some((segment, _)) => segment.clone(),
                None => disk.open(*older)?,
            };
            // Behind a jump nothing was written twice, and its place was blanked before.
            let before = read(disk, log_id, &older_segment, *older, *newer - 1);
            let counts = read(disk, log_id, segment, *newer, *newer);
            if matches!((before, counts), (Ok(Some(_)), Ok(Some(Verdict::Sound(_))))) {
                clear(disk, log_id, &older_segment, *older, newer + 1..older + blocks)?;
            }
        }
    }
    Ok(())
}

/// What block `number` is in the segment that begins with block `first`; `None` where it is not
/// there.
fn read<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    segment: &D::Segment,
    first: u64,
    number: u64,
) -> io::Result<Option<Verdict>> {
    let mut buffer = BlockBuffer::new(1)?;
    let (memory, at) = buffer.place(number);
    let part = Part { memory: memory.clone(), at, bytes: BLOCK_BYTES };
    disk.read(segment, block_start(number - first), &part)?;
    let is_there = buffer.checkpoints(number, log_id)[0].is_some();
    Ok(is_there.then(|| buffer.examine(number, log_id)))
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
        // One that cannot be read now may be read later.
        let is_blank = disk
            .read(segment, at, &part)
            .is_ok_and(|()| buffer.checkpoints(number, log_id)[0].is_none());
        if !is_blank {
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
