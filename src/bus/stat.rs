//! Counters, as anyone can read them who may read the topic.

use std::io;
use std::path::PathBuf;

use crate::bus::catch_up::journal_path;
use crate::bus::topic::Topic;
use crate::bus::topic_error::TopicError;
use crate::journal::{JournalState, is_gating};
use crate::log::block::{block_of, block_start};
use crate::log::memory::Memory;
use crate::log::pages::{self, PAGE_BYTES, Pages, SLOTS, journal};
use crate::log::ring::Ring;
use crate::log::seek;
use crate::log::walk::{self, Damaged};
use crate::shm::error::FileError;
use crate::shm::lock;
use crate::shm::map::Access;
use crate::sync::Ordering;

/// What a topic has done so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicStat {
    /// Its partitions, in order.
    pub partitions: Vec<PartitionStat>,
}

/// What a partition has done so far: exact at the moment of reading, also at one message a second.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStat {
    /// Offset that the next message gets; as offsets start at 0, the number of messages and gaps
    /// so far.
    pub next_offset: u64,
    /// Offset of the first message of the oldest block that the ring holds.
    pub earliest_offset: u64,
    /// Bytes of log so far.
    pub position: u64,
    /// Payload bytes so far.
    pub payload_bytes: u64,
    /// How many publishers there have been.
    pub epoch: u64,
    /// Pid of the publisher, while there is one.
    pub publisher_pid: Option<u64>,
    /// How often the publisher found a subscriber in its way.
    pub full_waits: u64,
    /// Reliable subscribers that it went on without, as they were too slow or their cursor was
    /// impossible.
    pub evictions: u64,
    /// Reliable subscribers that it went on without, as they had died.
    pub reclaimed: u64,
    /// The reliable subscribers, for whoever may write to the topic. The publisher knows nothing of
    /// lossy ones: their counters are theirs, see
    /// [`Subscriber::counters`](crate::Subscriber::counters).
    pub subscribers: Vec<SubscriberStat>,
    /// The journal, if there ever was one.
    pub journal: Option<JournalStat>,
}

/// What a partition's journal says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalStat {
    /// How it is.
    pub state: JournalState,
    /// Its process, while that has the partition's lock.
    pub pid: Option<u64>,
    /// Whether the publisher waits for it, also when it was killed.
    pub is_waited_for: bool,
    /// Every message below this offset was given to the disk.
    pub written_offset: u64,
    /// The same, in bytes from the start of the log.
    pub written_position: u64,
    /// Every message below this offset is on disk for certain.
    pub durable_offset: u64,
    /// Messages that are not written yet.
    pub lag: u64,
    /// Messages that are in the log and not in the journal: the ring went on without it.
    pub lost: u64,
    /// How often the disk has refused something.
    pub errors: u64,
    /// What it said last.
    pub last_error: Option<String>,
    /// The directory of the topic's journal.
    pub path: Option<PathBuf>,
}

/// What a reliable subscriber has done so far: as of its last [`poll`](crate::Subscriber::poll),
/// or, where it reads by batches or receives, as of the last block that it left or the last time
/// that it found nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberStat {
    /// Its slot.
    pub slot: u32,
    /// Its process.
    pub pid: u64,
    /// Offset of the message that it reads next.
    pub offset: u64,
    /// Messages that it has still to read.
    pub lag: u64,
    /// Messages that it has read.
    pub messages: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Messages that it was told are lost.
    pub lost: u64,
}

impl TopicStat {
    pub(crate) fn read(topic: &Topic) -> Result<TopicStat, TopicError> {
        let partitions =
            (0..topic.partitions()).map(|partition| PartitionStat::read(topic, partition));
        Ok(TopicStat { partitions: partitions.collect::<Result<_, _>>()? })
    }
}

impl PartitionStat {
    fn read(topic: &Topic, partition: u32) -> Result<PartitionStat, TopicError> {
        let files = topic.files(partition)?;
        let ring = files.ring(Access::Glance)?;
        let page = files.publisher_page(Access::ReadOnly)?;
        // Whoever may only read does not see the subscribers.
        let cursors = match files.cursors() {
            Err(TopicError::File(FileError::Denied { .. })) => None,
            cursors => Some(cursors?),
        };
        let head = Head::read(&ring, &page)?;
        let is_held = |file: std::fs::File, byte| {
            lock::is_held(&file, byte).map_err(|error| {
                FileError::from_io("see the locks of", topic.name().as_ref(), error)
            })
        };
        let field = |field| page.load(field, Ordering::Relaxed);
        let has_publisher = is_held(files.publisher_file(false)?, 0)?;
        let mut subscribers = Vec::new();
        for slot in 0..cursors.as_ref().map_or(0, |_| SLOTS as u64) {
            let Some(cursors) = &cursors else { break };
            let at = slot * PAGE_BYTES / 8;
            let field = |field| cursors.load(at + field, Ordering::Relaxed);
            if field(pages::cursor::STATE) & 1 == 0 || !is_held(files.cursors_file(false)?, slot)? {
                continue;
            }
            let offset = field(pages::cursor::OFFSET);
            subscribers.push(SubscriberStat {
                slot: slot as u32,
                pid: field(pages::cursor::PID),
                offset,
                lag: head.next_offset.saturating_sub(offset),
                messages: field(pages::cursor::MESSAGES),
                payload_bytes: field(pages::cursor::BYTES),
                lost: field(pages::cursor::LOST),
            });
        }
        let pages = files.subscriber_pages(Access::ReadOnly)?;
        let has_journal = is_held(files.journal_file(false)?, 0)?;
        let journal = JournalStat::read(&pages, has_journal, head.next_offset);
        Ok(PartitionStat {
            journal,
            next_offset: head.next_offset,
            earliest_offset: head.earliest_offset,
            position: head.position,
            payload_bytes: head.payload_bytes,
            epoch: field(pages::publisher::EPOCH),
            publisher_pid: has_publisher.then(|| field(pages::publisher::PID)),
            full_waits: field(pages::publisher::FULL_WAITS),
            evictions: field(pages::publisher::EVICTIONS),
            reclaimed: field(pages::publisher::RECLAIMED),
            subscribers,
        })
    }
}

impl JournalStat {
    fn read(pages: &Pages, has_lock: bool, next_offset: u64) -> Option<JournalStat> {
        let field = |field| pages.journal.load(field, Ordering::Acquire);
        let state = JournalState::from_code(field(journal::STATE));
        if state == JournalState::Absent {
            return None;
        }
        let written_offset = field(journal::WRITTEN_OFFSET);
        let error = i32::try_from(field(journal::ERROR)).ok().filter(|code| *code > 0);
        Some(JournalStat {
            state,
            pid: has_lock.then(|| field(pages::cursor::PID)),
            is_waited_for: is_gating(pages),
            written_offset,
            written_position: field(journal::WRITTEN),
            durable_offset: field(journal::DURABLE_OFFSET),
            lag: next_offset.saturating_sub(written_offset),
            lost: field(journal::LOST),
            errors: field(journal::ERRORS),
            last_error: error.map(|code| io::Error::from_raw_os_error(code).to_string()),
            path: journal_path(&pages.journal),
        })
    }
}

/// The end of the log, found by walking its newest block.
struct Head {
    next_offset: u64,
    earliest_offset: u64,
    position: u64,
    payload_bytes: u64,
}

impl Head {
    fn read(ring: &Ring, page: &Memory) -> Result<Head, TopicError> {
        loop {
            let (newest, reserved) = seek::newest_live(ring, page)?;
            let Some(newest) = newest else {
                let base = seek::base(page)?;
                return Ok(Head {
                    next_offset: base.offset,
                    earliest_offset: base.offset,
                    position: base.position,
                    payload_bytes: 0,
                });
            };
            let before = page.load(pages::publisher::bytes_before(newest), Ordering::Acquire);
            let earliest = seek::earliest(ring, reserved).and_then(|number| ring.header(number));
            let tail = walk::tail(ring, newest)?;
            // While the publisher laps the walk there is no answer; it is asked again.
            let (Some(tail), Some(earliest)) = (tail, earliest) else { continue };
            // The count's word is used again just before block newest + BYTES_WORDS is entered.
            let later = newest + pages::publisher::BYTES_WORDS - 1;
            if ring.header(later).is_some() {
                // It is asked again, unless nobody has reserved that block.
                let reserved = page.load(pages::publisher::RESERVED, Ordering::Acquire);
                if block_of(reserved) <= later {
                    let what = "a block behind the reservation";
                    return Err(Damaged::new(block_start(later), what).into());
                }
                continue;
            }
            return Ok(Head {
                next_offset: tail.resume.offset,
                earliest_offset: earliest.first_offset,
                position: tail.resume.position,
                payload_bytes: before.wrapping_add(tail.resume.payload_bytes),
            });
        }
    }
}
