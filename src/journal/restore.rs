//! A topic goes on after its shared memory is gone: from the end of its journal.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::bus::TopicError;
use crate::bus::descriptor::Descriptor;
use crate::bus::partition::Beginning;
use crate::journal::again::recover_to_go_on;
use crate::journal::disk::Disk;
use crate::journal::error::JournalError;
use crate::journal::recovery::{Cut, RecoveryError};
use crate::journal::seal::{Then, seal};
use crate::journal::topic_dir::TopicDir;
use crate::log::block::{LogId, block_start};

/// What a topic is made of that was journaled.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) descriptor: Descriptor,
    /// Where each partition goes on.
    pub(crate) beginnings: Vec<Beginning>,
}

/// Closes the journal of a topic in the directory `path`, so that a new ring can go on behind it.
/// `None` where there is no journal.
pub(crate) fn restore(path: &Path) -> Result<Option<Restored>, TopicError> {
    let dir = match TopicDir::open(path) {
        Err(JournalError::Absent { .. }) => return Ok(None),
        dir => dir.map_err(|error| TopicError::Journal(Box::new(error)))?,
    };
    let partitions = 0..dir.descriptor.partitions;
    let beginnings = partitions.map(|partition| restore_partition(&dir, partition));
    let beginnings = beginnings.collect::<Result<_, _>>();
    Ok(Some(Restored {
        beginnings: beginnings.map_err(|error| TopicError::Journal(Box::new(error)))?,
        descriptor: dir.descriptor,
    }))
}

fn restore_partition(dir: &TopicDir, partition: u32) -> Result<Beginning, JournalError> {
    let path = || dir.path().to_owned();
    let log_id = dir.descriptor.partition_log_id(partition);
    let (mut beginning, cut) = close(&mut dir.disk(partition)?, log_id)
        .map_err(|error| JournalError::from_start(error.into(), path(), partition))?;
    if let Some(cut) = cut {
        log::warn!("{}, partition {partition}: {cut}", dir.path().display());
    }
    beginning.journal = Some(path());
    Ok(beginning)
}

/// Closes the journal of log `log_id`. Returns where the log goes on, and what of it is lost. Where
/// it was left behind, and had said where it would go on, that is the place.
pub(crate) fn close<D: Disk>(
    disk: &mut D,
    log_id: LogId,
) -> Result<(Beginning, Option<Cut>), RecoveryError> {
    let mut recovered = recover_to_go_on(disk, log_id)?;
    let position = recovered.last.as_ref().map_or(0, |last| last.end().position);
    seal(disk, log_id, &mut recovered, Then::Next)
        .map_err(|source| RecoveryError::Io { position, source })?;
    let beginning = recovered.last.map_or_else(Beginning::default, |last| {
        let resume = &last.tail.resume;
        // What the files say must stay true.
        let position = last.jump.map_or(resume.position, block_start);
        Beginning {
            position,
            offset: resume.offset,
            timestamp_max_ns: resume.timestamp_max_ns,
            epoch: last.epoch,
            journal: None,
        }
    });
    Ok((beginning, recovered.cut))
}
