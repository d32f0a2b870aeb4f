//! What a journal before this one wrote and may not have made durable. It is written again, as it
//! is, before anything is added to it.
//!
//! Reading it proves nothing: a killed writer's bytes are there for every process and may still be
//! lost, and where its last flush failed no later one makes up for that. Until they are durable,
//! the older checkpoint of their block may be the only one that a power cut leaves, and it must not
//! be written over.
#![forbid(unsafe_code)]

use crate::journal::disk::{Disk, PAGE_BYTES, Part};
use crate::journal::recovery::{Recovered, RecoveryError, Run, recover};
use crate::journal::remains::{clear_behind, clear_doubled};
use crate::journal::seal::write;
use crate::log::block::{BLOCK_BYTES, LogId, block_of, block_start};
use crate::log::segment::{BlockBuffer, Verdict};

/// Blocks that are written together at most.
const BLOCKS: u64 = 16;

/// Finds the end of the journal of log `log_id`, and makes everything before it durable, and
/// nothing behind it be there, so that it can be added to.
pub(crate) fn recover_to_go_on<D: Disk>(
    disk: &mut D,
    log_id: LogId,
) -> Result<Recovered<D::Segment>, RecoveryError> {
    let mut recovered = recover(disk, log_id)?;
    settle_names(disk, &recovered.strays)?;
    write_again(disk, log_id, &mut recovered)?;
    clear_behind(disk, log_id, &recovered)
        .and_then(|()| {
            let open = recovered.runs.iter().map(|run| (run.segment.clone(), run.first));
            clear_doubled(disk, log_id, &open.collect::<Vec<_>>())
        })
        .map_err(|source| RecoveryError::Io { position: recovered.durable.position, source })?;
    Ok(recovered)
}

fn write_again<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    recovered: &mut Recovered<D::Segment>,
) -> Result<(), RecoveryError> {
    let Recovered { last: Some(last), durable, runs, .. } = recovered else { return Ok(()) };
    let end = last.end();
    let io = |position| move |source| RecoveryError::Io { position, source };
    let mut buffer = BlockBuffer::new(BLOCKS).map_err(io(durable.position))?;
    // The last block at least: what it says of the others may not be durable.
    let begin = block_of(durable.position).min(last.number);
    for Run { segment, first, blocks } in &*runs {
        let mut number = blocks.start.max(begin);
        while number < blocks.end {
            let limit = blocks.end.min(number + buffer.blocks_behind(number));
            let (from, (memory, place)) = (number, buffer.place(number));
            let mut part = Part { memory: memory.clone(), at: place, bytes: 0 };
            while number < limit {
                let (position, at) = (block_start(number), place + part.bytes);
                let used = (end.position - position).min(BLOCK_BYTES);
                let block = Part { at, bytes: BLOCK_BYTES, ..part.clone() };
                disk.read(segment, block_start(number - first), &block).map_err(io(position))?;
                match buffer.examine(number, log_id) {
                    Verdict::Sound(sound) if sound.checkpoint.used_bytes == used => {}
                    _ => {
                        let what = "it is not what it was a moment ago";
                        let durable = durable.position;
                        return Err(RecoveryError::Damaged { position, durable, what });
                    }
                }
                part.bytes += used.next_multiple_of(PAGE_BYTES);
                number += 1;
            }
            write(disk, segment, block_start(from - first), &part)
                .map_err(io(block_start(from)))?;
        }
    }
    for Run { segment, blocks, .. } in &*runs {
        disk.flush(0, segment);
        disk.finish().and_then(|over| over.result).map_err(io(block_start(blocks.start)))?;
    }
    *durable = end;
    Ok(())
}

/// Removes stray segments, and makes all names durable: a stray one that came back would be taken
/// for newer than what is written from now on; and one that was being made ready by whoever was
/// killed may have its name only until the power is cut, and hold a part of the log all the same.
fn settle_names(disk: &mut impl Disk, strays: &[u64]) -> Result<(), RecoveryError> {
    let io = |position| move |source| RecoveryError::Io { position, source };
    for first in strays {
        disk.remove(*first).map_err(io(block_start(*first)))?;
    }
    disk.sync().map_err(io(0))
}
