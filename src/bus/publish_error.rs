//! Why nothing could be published.

use std::fmt;

use thiserror::Error;

use crate::bus::topic_error::TopicError;

/// Why a partition could not be published to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublisherError {
    /// Another publisher has it.
    #[error(
        "partition {partition} of topic {topic} has a publisher already, process {pid}: stop that \
         one first, or publish to another partition"
    )]
    Busy {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The process that holds it.
        pid: u64,
    },
    /// The bus was removed.
    #[error("the bus was removed: create it again")]
    Closed,
    /// The topic's files.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// Who keeps a publisher waiting: the reliable subscriber that is furthest behind, or the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Full {
    /// Its slot; `None` is the journal.
    pub slot: Option<u32>,
    /// Its process.
    pub pid: u64,
    /// The message that it has to read next.
    pub offset: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Full { slot, pid, offset } = self;
        match slot {
            Some(slot) => write!(
                f,
                "the ring is full: process {pid} (slot {slot}) still has to read message {offset}; \
                 wait for it, or create the topic so that slow subscribers are evicted"
            ),
            None => write!(
                f,
                "the ring is full: the journal (process {pid}) still has to write message \
                 {offset}; wait for it, or, if it is gone, start it again"
            ),
        }
    }
}

impl std::error::Error for Full {}

/// Why a message was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A subscriber is in the way: from calls that do not wait.
    #[error(transparent)]
    Full(Full),
    /// A subscriber is in the way, and an agent must not wait for it: from calls that would.
    #[error("{0}; an agent must not wait for that: use try_publish and come back")]
    InsideAgent(Full),
    /// The message can never be published to this topic.
    #[error(
        "a message of {length_bytes} bytes is too long: at most {max_bytes} fit (a claim takes \
         65,392, any other message a quarter of the ring)"
    )]
    TooLong {
        /// Its length.
        length_bytes: u64,
        /// What is possible.
        max_bytes: u64,
    },
    /// A gap that ends before it begins, or beyond all offsets.
    #[error("a gap cannot go from {next} to {to}: give an end from {next} up to 2^62 - 1")]
    BadGap {
        /// The next offset, with which it would begin.
        next: u64,
        /// Where it was to end.
        to: u64,
    },
    /// The bus was removed.
    #[error("the bus was removed: create it again")]
    Closed,
}

// Each message that is published returns one.
const _: () = assert!(size_of::<Result<u64, PublishError>>() <= 32);
