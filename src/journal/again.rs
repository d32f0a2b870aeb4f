//! What a journal before this one wrote and may not have made durable. It is written again, as it
//! is, before anything is added to it.
//!
//! Reading it proves nothing: a killed writer's bytes are there for every process and may still be
//! lost, and where its last flush failed no later one makes up for that. Until they are durable,
//! the older checkpoint of their block may be the only one that a power cut leaves, and it must not
//! be written over.
#![forbid(unsafe_code)]

use crate::journal::disk::{Disk, PAGE_BYTES, Part};
use crate::journal::recovery::{Recovered, RecoveryError, recover};
use crate::journal::seal::write;
use crate::log::block::{BLOCK_BYTES, LogId, block_of, block_start};
use crate::log::segment::{BlockBuffer, Sound, Verdict};

/// Blocks that are written together at most.
const BLOCKS: u64 = 16;

/// Finds the end of the journal of log `log_id`, and makes everything before it durable, so that it can
/// be added to.
pub(crate) fn recover_to_go_on<D: Disk>(
    disk: &mut D,
    log_id: LogId,
) -> Result<Recovered<D::Segment>, RecoveryError> {
    let mut recovered = recover(disk, log_id)?;
    settle_names(disk, &recovered.strays)?;
    write_again(disk, log_id, &mut recovered)?;
    Ok(recovered)
}

fn write_again<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    recovered: &mut Recovered<D::Segment>,
) -> Result<(), RecoveryError> {
    let Recovered { last: Some(last), durable, segments, .. } = recovered else { return Ok(()) };
    let end = last.end();
    let io = |position| move |source| RecoveryError::Io { position, source };
    let mut buffer = BlockBuffer::new(BLOCKS).map_err(io(durable.position))?;
    // The last block at least: what it says of the others may not be durable.
    let mut number = block_of(durable.position).min(last.number).max(segments[0].1);
    while block_start(number) < end.position {
        let at = segments.partition_point(|(_, first)| *first <= number) - 1;
        let (segment, first) = &segments[at];
        let next = segments.get(at + 1).map_or(u64::MAX, |(_, next)| *next);
        let limit = next.min(number + buffer.blocks_behind(number));
        let (from, (memory, place)) = (number, buffer.place(number));
        let mut part = Part { memory: memory.clone(), at: place, bytes: 0 };
        while number < limit && block_start(number) < end.position {
            let position = block_start(number);
            let used = (end.position - position).min(BLOCK_BYTES);
            let at = block_start(number - first);
            let block =
                Part { memory: part.memory.clone(), at: place + part.bytes, bytes: BLOCK_BYTES };
            disk.read(segment, at, &block).map_err(io(position))?;
            let verdict = buffer.examine(number, log_id);
            if !matches!(verdict, Verdict::Sound(Sound { checkpoint, .. }) if checkpoint.used_bytes == used)
            {
                if part.bytes > 0 || next < u64::MAX {
                    break;
                }
                let what = "it is not what it was a moment ago";
                return Err(RecoveryError::Damaged { position, durable: durable.position, what });
            }
            part.bytes += used.next_multiple_of(PAGE_BYTES);
            number += 1;
        }
        if number == from {
            // The log goes on there: the ring went past what is between.
            number = next;
        }
        write(disk, segment, block_start(from - first), &part).map_err(io(block_start(from)))?;
    }
    for (segment, first) in segments {
        disk.flush(0, segment);
        disk.finish().and_then(|over| over.result).map_err(io(block_start(*first)))?;
    }
    *durable = end;
    Ok(())
}

/// Removes stray segments, and makes all names durable: a stray one that came back would be taken for
/// newer than what is written from now on; and one that was being made ready by whoever was killed may
/// have its name only until the power is cut, and hold a part of the log all the same.
fn settle_names(disk: &mut impl Disk, strays: &[u64]) -> Result<(), RecoveryError> {
    let io = |position| move |source| RecoveryError::Io { position, source };
    for first in strays {
        disk.remove(*first).map_err(io(block_start(*first)))?;
    }
    disk.sync().map_err(io(0))
}
