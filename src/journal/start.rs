//! Beginning a journal, or going on with one that was closed, killed, or cut off by a power cut.
#![forbid(unsafe_code)]

use std::io;

use thiserror::Error;

use crate::journal::again::recover_to_go_on;
use crate::journal::disk::Disk;
use crate::journal::recovery::{Cut, Recovered, RecoveryError};
use crate::journal::stage::Stage;
use crate::journal::status::Status;
use crate::journal::tap::Tap;
use crate::journal::writer::{Begin, SyncPolicy, Writer};
use crate::log::block::LogId;
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
    /// What comes next was overwritten.
    #[error("the ring no longer holds message {offset}, which the journal would go on with")]
    Missed { offset: u64 },
}

/// Starts the journal of log `log_id`: from the ring's oldest block on, or from where the files end.
///
/// The caller holds the journal's lock, and `pages.journal` is writable.
pub(crate) fn start<D: Disk>(
    mut disk: D,
    ring: Ring,
    pages: &Pages,
    log_id: LogId,
    policy: SyncPolicy,
) -> Result<(Writer<D>, Option<Cut>), StartError> {
    let recovered = recover_to_go_on(&mut disk, log_id)?;
    let Recovered { last, durable, told, sequence, cut, buffer, .. } = recovered;
    let mut stage = Stage::new()?;
    let status = Status::new(pages.journal.clone());
    let (tap, begin) = match last {
        None => {
            let tap = Tap::begin(ring, pages)?;
            let end = tap.committed();
            let told = end.position;
            (tap, Begin { segment: None, end, durable: end, told, sequence })
        }
        Some(last) => {
            let end = last.end();
            let Some(tap) = Tap::resume(ring, pages, end)? else {
                return Err(StartError::Missed { offset: end.offset });
            };
            // The cursor that a killed journal left may be behind what is durable by now, and the
            // publisher in wait for that.
            tap.release(end);
            stage.resume(&buffer, last.number, &last.checkpoint);
            let segment = Some((last.segment, last.first));
            (tap, Begin { segment, end, durable, told, sequence })
        }
    };
    Ok((Writer::new(disk, tap, status, policy, stage, begin), cut))
}
