//! The topic's own file: what everyone who opens the topic has to agree on. Change its layout here.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::bus::topic_error::TopicError;
use crate::log::block::{BLOCK_BYTES, LogId};
use crate::log::frame::LENGTH_MAX;
use crate::log::pages::SLOTS;
use crate::shm::error::FileError;

/// Version of everything that lies in shared memory: frames, blocks, pages and this file.
pub(crate) const LAYOUT_VERSION: u32 = 2;

/// Smallest ring: four blocks.
pub(crate) const RING_BYTES_MIN: u64 = 256 << 10;
/// Largest ring.
pub(crate) const RING_BYTES_MAX: u64 = 64 << 30;
/// Most partitions of a topic.
pub(crate) const PARTITIONS_MAX: u32 = 1024;

const MAGIC: [u8; 8] = *b"TICKTOPC";
const HUGE_PATH_BYTES: usize = 256;

/// What a publisher does about a reliable subscriber that is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowSubscriber {
    /// It waits, for as long as the subscriber's process lives, also if that hangs or is stopped.
    /// Subscribers read messages in place.
    #[default]
    Wait,
    /// It waits, and goes on without a subscriber that is in its way and has left no block for this
    /// long: that one gets [`NoticeKind::Evicted`](crate::NoticeKind::Evicted). A subscriber that
    /// is slow and goes on block by block slows the publisher down to its own pace. Subscribers
    /// read validated copies.
    EvictAfter(Duration),
}

/// How a subscriber that sleeps learns of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WakeUp {
    /// It looks again after at most 1 ms. Costs the publisher nothing.
    #[default]
    Bounded,
    /// The publisher wakes it. Each sleep interrupts every running core of every process that
    /// publishes to such a topic (gaps of 5 to 10 us were measured), and each wake-up is a system
    /// call of the publisher: right for few messages, wrong for a flood. A subscriber in order of
    /// timestamps, or of more than 128 partitions, sleeps as with `Bounded`.
    Prompt,
}

/// Where the memory of the rings comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RingPages {
    Default,
    /// Huge where the kernel grants it.
    Transparent,
    /// Files in this hugetlbfs mount.
    HugeFs(String),
}

/// What a topic is, as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) log_id: LogId,
    pub(crate) partitions: u32,
    pub(crate) ring_bytes: u64,
    pub(crate) reliable_max: u32,
    pub(crate) slow: SlowSubscriber,
    pub(crate) wake_up: WakeUp,
    pub(crate) pages: RingPages,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct TopicFile {
    magic: [u8; 8],
    layout_version: u32,
    partitions: u32,
    log_id: [u64; 2],
    ring_bytes: u64,
    block_bytes: u64,
    evict_after_ns: u64,
    reliable_max: u32,
    slow: u32,
    wake_up: u32,
    pages: u32,
    huge_path_bytes: u64,
    huge_path: [u8; HUGE_PATH_BYTES],
}

const _: () = assert!(size_of::<TopicFile>() == 80 + HUGE_PATH_BYTES);

impl Descriptor {
    /// Id of partition `index`'s log.
    pub(crate) fn partition_log_id(&self, index: u32) -> LogId {
        LogId([self.log_id.0[0], self.log_id.0[1].wrapping_add(u64::from(index))])
    }

    /// Largest message in bytes: a quarter of the ring, at most 16 MiB - 1.
    pub(crate) fn message_bytes_max(&self) -> u64 {
        (self.ring_bytes / 4).min(LENGTH_MAX)
    }

    pub(crate) fn write(&self, file: &mut File, path: &Path) -> Result<(), FileError> {
        let mut topic = TopicFile::new_zeroed();
        topic.magic = MAGIC;
        topic.layout_version = LAYOUT_VERSION;
        topic.partitions = self.partitions;
        topic.log_id = self.log_id.0;
        topic.ring_bytes = self.ring_bytes;
        topic.block_bytes = BLOCK_BYTES;
        topic.reliable_max = self.reliable_max;
        if let SlowSubscriber::EvictAfter(after) = self.slow {
            topic.slow = 1;
            topic.evict_after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        }
        topic.wake_up = u32::from(self.wake_up == WakeUp::Prompt);
        match &self.pages {
            RingPages::Default => {}
            RingPages::Transparent => topic.pages = 1,
            RingPages::HugeFs(path) => {
                topic.pages = 2;
                topic.huge_path_bytes = path.len() as u64;
                topic.huge_path[..path.len()].copy_from_slice(path.as_bytes());
            }
        }
        file.write_all(topic.as_bytes()).map_err(|error| FileError::from_io("write", path, error))
    }

    /// Reads and checks a topic's file.
    pub(crate) fn read(file: &mut File, path: &Path) -> Result<Descriptor, TopicError> {
        let foreign = || TopicError::Foreign { path: path.to_owned() };
        let mut bytes = Vec::with_capacity(size_of::<TopicFile>());
        file.take(size_of::<TopicFile>() as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| FileError::from_io("read", path, error))?;
        if !bytes.starts_with(&MAGIC) {
            return Err(foreign());
        }
        let Ok(topic) = TopicFile::read_from_bytes(&bytes) else {
            return Err(TopicError::Truncated {
                path: path.to_owned(),
                bytes: bytes.len() as u64,
                expected_bytes: size_of::<TopicFile>() as u64,
            });
        };
        if topic.layout_version != LAYOUT_VERSION {
            return Err(TopicError::Version {
                path: path.to_owned(),
                found: topic.layout_version,
                expected: LAYOUT_VERSION,
            });
        }
        check_ring_bytes(topic.ring_bytes).map_err(|_| foreign())?;
        check_partitions(topic.partitions).map_err(|_| foreign())?;
        if topic.block_bytes != BLOCK_BYTES || topic.reliable_max as usize > SLOTS {
            return Err(foreign());
        }
        let slow = match topic.slow {
            0 => SlowSubscriber::Wait,
            1 => SlowSubscriber::EvictAfter(Duration::from_nanos(topic.evict_after_ns)),
            _ => return Err(foreign()),
        };
        let wake_up = match topic.wake_up {
            0 => WakeUp::Bounded,
            1 => WakeUp::Prompt,
            _ => return Err(foreign()),
        };
        let pages = match topic.pages {
            0 => RingPages::Default,
            1 => RingPages::Transparent,
            2 => {
                let length = usize::try_from(topic.huge_path_bytes).unwrap_or(usize::MAX);
                let path = topic.huge_path.get(..length).ok_or_else(foreign)?;
                RingPages::HugeFs(String::from_utf8(path.to_vec()).map_err(|_| foreign())?)
            }
            _ => return Err(foreign()),
        };
        Ok(Descriptor {
            log_id: LogId(topic.log_id),
            partitions: topic.partitions,
            ring_bytes: topic.ring_bytes,
            reliable_max: topic.reliable_max,
            slow,
            wake_up,
            pages,
        })
    }
}

/// Longest path of a hugetlbfs mount that fits into the file.
pub(crate) const fn fits_huge_path(path: &str) -> bool {
    path.len() <= HUGE_PATH_BYTES
}

pub(crate) fn check_ring_bytes(ring_bytes: u64) -> Result<(), TopicError> {
    let is_right =
        ring_bytes.is_power_of_two() && (RING_BYTES_MIN..=RING_BYTES_MAX).contains(&ring_bytes);
    is_right.then_some(()).ok_or(TopicError::BadRingBytes { ring_bytes })
}

pub(crate) fn check_partitions(partitions: u32) -> Result<(), TopicError> {
    let is_right = (1..=PARTITIONS_MAX).contains(&partitions);
    is_right.then_some(()).ok_or(TopicError::BadPartitions { partitions })
}
