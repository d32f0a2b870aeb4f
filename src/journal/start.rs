//! Beginning a journal, or going on with one that was closed, killed, or cut off by a power cut.
#![forbid(unsafe_code)]

use std::io;

use thiserror::Error;

use crate::journal::again::recover_to_go_on;
use crate::journal::disk::Disk;
use crate::journal::recovery::{Cut, Last, Recovered, RecoveryError};
use crate::journal::seal::{Then, seal};
use crate::journal::stage::Stage;
use crate::journal::status::Status;
use crate::journal::tap::{Place, Tap};
use crate::journal::writer::{Begin, SyncPolicy, Writer};
use crate::log::block::{LogId, block_of};
use crate::log::pages::Pages;
use crate::log::ring::Ring;
use crate::log::walk::Damaged;

/// Why a journal cannot be begun or gone on with.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("cannot set memory aside for the journal: {0}")]
    Memory(#[from] io::Error),
    /// The ring has neither what comes next nor anything behind it.
    #[error("the ring does not go on behind message {offset}, where the journal ends")]
    Missed { offset: u64 },
}

/// Starts the journal of log `log_id`: from the ring's oldest block on, or from where the files
/// end.
///
/// The caller holds the journal's lock, and `pages.journal` is writable.
pub(crate) fn start<D: Disk>(
    mut disk: D,
    ring: Ring,
    pages: &Pages,
    log_id: LogId,
    policy: SyncPolicy,
) -> Result<(Writer<D>, Option<Cut>), StartError> {
    let mut recovered = recover_to_go_on(&mut disk, log_id)?;
    let mut stage = Stage::new()?;
    let status = Status::new(pages.journal.clone());
    let end = recovered.last.as_ref().map(Last::end);
    // What others say may not be durable: of a block that does not count, it may be lost.
    let told = recovered.last.as_ref().map_or(0, |last| last.checkpoint.durable);
    let has_jumped = recovered.last.as_ref().is_some_and(|last| last.jump.is_some());
    let resumed = match end {
        // A journal before this one has said that the log goes on elsewhere, and did not come to
        // that: what is missing may not be counted yet.
        Some(end) if !has_jumped => Tap::resume(ring.clone(), pages, end)?,
        _ => None,
    };
    let (tap, begin) = match resumed {
        None => {
            let tap = Tap::begin(ring, pages)?;
            let from = tap.committed();
            // Where it is left behind already, that is looked at once more.
            let whole = tap.next_beginning().unwrap_or(from.offset);
            let mut durable = from;
            if let Some(end) = end {
                durable = go_past(&mut disk, log_id, &mut recovered, end, from)?;
                if whole > end.offset {
                    log::error!(
                        "the ring went on without the journal: messages {} to {} are not in it",
                        end.offset,
                        whole - 1
                    );
                }
                status.add_lost(end.offset, whole);
            } else {
                status.set_missing(0, whole);
            }
            // In a segment of its own: those before have no holes, but behind their last block.
            let sequence = recovered.sequence;
            (tap, Begin { segment: None, end: from, durable, told, sequence })
        }
        Some(tap) => {
            let Recovered { last, durable, sequence, buffer, .. } = &recovered;
            let last = last.as_ref().expect("it was resumed behind it");
            let end = last.end();
            // The cursor that a killed journal left may be behind what is durable by now, and the
            // publisher in wait for that.
            tap.release(end);
            stage.resume(buffer, last.number, &last.checkpoint);
            let segment = Some((last.segment.clone(), last.first));
            let (durable, sequence) = (*durable, *sequence);
            (tap, Begin { segment, end, durable, told, sequence })
        }
    };
    Ok((Writer::new(disk, tap, status, policy, stage, begin), recovered.cut))
}

/// The ring has gone past `end`, where the files end, and has the log from `from` on: the files say
/// so. Returns where they end then.
fn go_past<D: Disk>(
    disk: &mut D,
    log_id: LogId,
    recovered: &mut Recovered<D::Segment>,
    end: Place,
    from: Place,
) -> Result<Place, StartError> {
    let number = block_of(from.position);
    let says_so = recovered.last.as_ref().is_some_and(|last| last.jump == Some(number));
    if says_so && from.offset >= end.offset {
        return Ok(recovered.durable);
    }
    if number <= block_of(end.position) || from.offset < end.offset {
        return Err(StartError::Missed { offset: end.offset });
    }
    seal(disk, log_id, recovered, Then::At(number))
        .map_err(|source| RecoveryError::Io { position: end.position, source })?;
    Ok(recovered.durable)
}
