//! What can go wrong with a journal.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::bus::TopicError;
use crate::journal::recovery::RecoveryError;
use crate::journal::start::StartError;
use crate::log::walk::Damaged;
use crate::shm::error::FileError;

/// Why a journal cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// There is no journal in that directory.
    #[error(
        "{} is no topic's journal: give the directory that was recorded to, and the topic's name",
        path.display()
    )]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// The journal is of another topic of that name, or of the same one before it was made anew.
    #[error(
        "{} is the journal of another topic of that name, or of this one before its bus was removed: \
         move it away, or record to another directory",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// A file that is damaged, or of another version.
    #[error("{} {what}: it cannot be used", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// Somebody journals the partition already.
    #[error(
        "partition {partition} of topic {topic} is journaled already, by process {pid}: stop that one \
         first"
    )]
    Busy {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The process.
        pid: u64,
    },
    /// A process writes to the files, or the kernel still does for one that was killed.
    #[error(
        "{} is being written to: stop the process that does; if it was killed, try again",
        path.display()
    )]
    InUse {
        /// The directory of the partition.
        path: PathBuf,
    },
    /// A segment size that cannot be.
    #[error(
        "a segment cannot have {segment_bytes} bytes: give a power of two from 256 KiB to 64 GiB; a \
         journal that is there keeps its own"
    )]
    BadSegmentBytes {
        /// What was asked for.
        segment_bytes: u64,
    },
    /// The offset to start at was not journaled yet.
    #[error("partition {partition} has no message {offset} yet: the next one is {next}")]
    Future {
        /// The partition.
        partition: u32,
        /// The offset asked for.
        offset: u64,
        /// The offset that the next message gets.
        next: u64,
    },
    /// The ring has neither what comes next in the journal nor anything behind it.
    #[error(
        "partition {partition} of {}: the ring does not go on behind message {offset}, where the \
         journal ends: it is another topic's, or damaged",
        path.display()
    )]
    Missed {
        /// The directory of the topic.
        path: PathBuf,
        /// The partition.
        partition: u32,
        /// The message.
        offset: u64,
    },
    /// A message that was removed.
    #[error(
        "partition {partition} no longer has message {offset}: the oldest that can be read is \
         {earliest}; give that or a later one"
    )]
    Gone {
        /// The partition.
        partition: u32,
        /// The offset asked for.
        offset: u64,
        /// The oldest that is there.
        earliest: u64,
    },
    /// What was on disk for certain cannot be read any more.
    #[error(
        "partition {partition} of {}: damaged at position {position}, and on disk up to {durable}: \
         {what}; look at it with `tickcast journal verify`, and give up what cannot be read with \
         `tickcast journal truncate`",
        path.display()
    )]
    Damaged {
        /// The directory of the topic.
        path: PathBuf,
        /// The partition.
        partition: u32,
        /// Where in the log, in bytes from its start.
        position: u64,
        /// Up to where everything was on disk.
        durable: u64,
        /// What stands there.
        what: &'static str,
    },
    /// The disk's answer.
    #[error("partition {partition} of {}: cannot read at position {position}: {source}", path.display())]
    Io {
        /// The directory of the topic.
        path: PathBuf,
        /// The partition.
        partition: u32,
        /// Where in the log, in bytes from its start.
        position: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The ring holds what no publisher writes.
    #[error(transparent)]
    Ring(#[from] Damaged),
    /// The topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The file system's answer.
    #[error(transparent)]
    File(#[from] FileError),
    /// No memory, or no thread, could be had.
    #[error("the journal cannot have what it needs: {0}")]
    Resources(#[source] io::Error),
}

impl JournalError {
    /// Whether the same may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            JournalError::Io { .. }
                | JournalError::InUse { .. }
                | JournalError::Resources(_)
                | JournalError::File(_)
        )
    }

    /// What kept the journal of a partition, in the topic's directory `path`, from starting.
    pub(crate) fn from_start(error: StartError, path: PathBuf, partition: u32) -> JournalError {
        match error {
            StartError::Recovery(RecoveryError::Busy) => {
                JournalError::InUse { path: path.join(partition.to_string()) }
            }
            StartError::Recovery(RecoveryError::Io { position, source }) => {
                JournalError::Io { path, partition, position, source }
            }
            StartError::Recovery(RecoveryError::Damaged { position, durable, what }) => {
                JournalError::Damaged { path, partition, position, durable, what }
            }
            StartError::Damaged(damaged) => JournalError::Ring(damaged),
            StartError::Memory(error) => JournalError::Resources(error),
            StartError::Missed { offset } => JournalError::Missed { path, partition, offset },
        }
    }
}
