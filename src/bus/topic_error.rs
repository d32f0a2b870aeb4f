//! What can go wrong with a topic and its files.

use std::path::PathBuf;

use thiserror::Error;

use crate::bus::descriptor::{RING_BYTES_MAX, RING_BYTES_MIN};
use crate::journal::JournalError;
use crate::log::walk::Damaged;
use crate::shm::error::FileError;

/// Why a topic could not be made, opened or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TopicError {
    /// A ring size that cannot be.
    #[error(
        "a ring cannot have {ring_bytes} bytes: give a power of two from {RING_BYTES_MIN} \
         (256 KiB) to {RING_BYTES_MAX} (64 GiB)"
    )]
    BadRingBytes {
        /// What was asked for.
        ring_bytes: u64,
    },
    /// A number of partitions that cannot be.
    #[error("a topic cannot have {partitions} partitions: give 1 to 1024")]
    BadPartitions {
        /// What was asked for.
        partitions: u32,
    },
    /// A number of reliable subscribers that cannot be.
    #[error("a partition cannot admit {reliable_max} reliable subscribers: give 0 to 64")]
    BadReliableMax {
        /// What was asked for.
        reliable_max: u32,
    },
    /// A partition that the topic does not have.
    #[error("there is no partition {partition}: the topic has {partitions}, counted from 0")]
    NoPartition {
        /// What was asked for.
        partition: u32,
        /// What there is.
        partitions: u32,
    },
    /// The topic was made otherwise than asked for.
    #[error(
        "topic {topic} has {what} {found}, not {wanted}: open it as it is, or remove the bus and \
         create it again"
    )]
    Mismatch {
        /// The topic.
        topic: String,
        /// Which setting.
        what: &'static str,
        /// Its value there.
        found: String,
        /// Its value here.
        wanted: String,
    },
    /// Made by another version.
    #[error(
        "{} has layout version {found}, this program knows {expected}: use the version that made \
         it, or remove the bus and create it again",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A file that is shorter or longer than its topic says.
    #[error(
        "{} has {bytes} bytes instead of {expected_bytes}: it is damaged; remove the bus and \
         create it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// What it should be.
        expected_bytes: u64,
    },
    /// Which message was published last cannot be told: neither the ring nor a journal is sure to
    /// have it.
    #[error(
        "which message of topic {topic}, partition {partition}, was the last cannot be told: the ring \
         has only what came behind it, and no journal has all that came before"
    )]
    NoLastMessage {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
    /// The bus was opened by the process that this one was forked from, and what keeps it from
    /// being removed is that one's.
    #[error(
        "bus {bus} was opened before this process was forked: a forked child must open the bus \
         anew, and its topics through that"
    )]
    Forked {
        /// The bus.
        bus: String,
    },
    /// A file that is none of ours, or belongs to another topic.
    #[error(
        "{} does not belong to this topic, or is no file of tickcast at all: remove the bus and \
         create it again",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A ring that holds what no publisher writes.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The journal that the topic is to go on with.
    #[error("cannot go on with the topic's journal: {0}")]
    Journal(#[source] Box<JournalError>),
    /// The file system's answer.
    #[error(transparent)]
    File(#[from] FileError),
}
