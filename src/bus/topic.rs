//! The topic: a named stream of one kind of event, in one or more partitions.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::bus::bus_dir::Bus;
use crate::bus::descriptor::{
    self, Descriptor, RING_BYTES_MAX, RING_BYTES_MIN, RingPages, SlowSubscriber, WakeUp,
};
use crate::bus::partition::{self, PartitionFiles};
use crate::bus::publisher::{Publisher, PublisherError};
use crate::bus::stat::TopicStat;
use crate::bus::subscribe::SubscriberBuilder;
use crate::log::block::{BLOCK_BYTES, LogId};
use crate::log::frame::LENGTH_MAX;
use crate::log::pages::{self, SLOTS};
use crate::log::wake::Wake;
use crate::log::walk::Damaged;
use crate::shm::build::build;
use crate::shm::dir::Dir;
use crate::shm::error::FileError;
use crate::shm::huge::HugeFs;
use crate::shm::map::Access;
use crate::shm::name::Name;
use crate::sync::Ordering;

const DESCRIPTOR: &str = "topic";
const RING_BYTES: u64 = 16 << 20;

/// A topic that is open.
///
/// Cloning is cheap; all clones, publishers and subscribers share what is open.
#[derive(Debug, Clone)]
pub struct Topic {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bus: Bus,
    name: Name,
    dir: Dir,
    descriptor: Descriptor,
}

impl Topic {
    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The bus that it is in.
    pub fn bus(&self) -> &Bus {
        &self.shared.bus
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        self.descriptor().partitions
    }

    /// Size of each partition's ring in bytes.
    pub fn ring_bytes(&self) -> u64 {
        self.descriptor().ring_bytes
    }

    /// Largest message in bytes: a quarter of the ring, at most 16 MiB - 1.
    pub fn message_bytes_max(&self) -> u64 {
        (self.ring_bytes() / 4).min(LENGTH_MAX)
    }

    /// Shared memory that the topic takes, in bytes: all of it is allocated when it is made.
    pub fn shared_bytes(&self) -> u64 {
        u64::from(self.partitions()) * partition::shared_bytes(self.ring_bytes())
    }

    /// Private memory that one subscriber takes for each partition, in bytes, at most: a block's
    /// copy, and the largest message once messages above 64 KiB come.
    pub fn subscriber_bytes(&self) -> u64 {
        BLOCK_BYTES + self.message_bytes_max()
    }

    /// What the publisher does about a reliable subscriber that is too slow.
    pub fn slow_subscriber(&self) -> SlowSubscriber {
        self.descriptor().slow
    }

    /// How a subscriber that sleeps learns of a message.
    pub fn wake_up(&self) -> WakeUp {
        self.descriptor().wake_up
    }

    /// How many reliable subscribers each partition admits.
    pub fn reliable_max(&self) -> u32 {
        self.descriptor().reliable_max
    }

    /// Becomes the publisher of `partition`, and goes on where the last one ended, however it
    /// ended.
    ///
    /// If that one died inside a message above 64 KiB and a subscriber is in the way of closing
    /// it, this waits as the topic's policy says.
    ///
    /// # Errors
    /// [`PublisherError::Busy`] names the process that holds it.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// let mut publisher = topic.publisher(0)?;
    /// publisher.publish(tickcast::runtime::clock::now_ns(), b"a message")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publisher(&self, partition: u32) -> Result<Publisher, PublisherError> {
        Publisher::open(self, partition)
    }

    /// Becomes the publisher of every partition, in order: index the result with
    /// [`Topic::partition_of`].
    ///
    /// # Errors
    /// As [`Topic::publisher`].
    pub fn publishers(&self) -> Result<Vec<Publisher>, PublisherError> {
        (0..self.partitions()).map(|partition| self.publisher(partition)).collect()
    }

    /// The partition for `key`: the same one for the same key and number of partitions, on every
    /// machine and in every version.
    ///
    /// It is the FNV-1a hash of 64 bits (draft-eastlake-fnv), scaled to the number of partitions
    /// by a multiplication. Give only the key's own bytes, not a padded buffer.
    pub fn partition_of(&self, key: &[u8]) -> u32 {
        partition_of(key, self.partitions())
    }

    /// Settings for a subscriber of this topic.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// use tickcast::StartAt;
    ///
    /// let mut subscriber = topic.subscribe().reliable().start_at(StartAt::Earliest).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self) -> SubscriberBuilder {
        SubscriberBuilder::new(self.clone())
    }

    /// What each partition and its reliable subscribers have done so far.
    ///
    /// # Errors
    /// When the files cannot be read, or hold what no publisher writes.
    pub fn stat(&self) -> Result<TopicStat, TopicError> {
        TopicStat::read(self)
    }

    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.shared.descriptor
    }

    pub(crate) fn files(&self, partition: u32) -> Result<PartitionFiles<'_>, TopicError> {
        let partitions = self.partitions();
        if partition >= partitions {
            return Err(TopicError::NoPartition { partition, partitions });
        }
        let Shared { dir, descriptor, .. } = &*self.shared;
        Ok(PartitionFiles { dir, descriptor, index: partition })
    }

    /// Tells everyone who has the topic in `dir` open that it is being removed, as far as that is
    /// possible: a topic that cannot be read is removed all the same.
    pub(crate) fn close(dir: &Dir, name: Name) {
        let descriptor = match read_descriptor(dir) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                log::warn!("topic {name} is removed without telling those who use it: {error}");
                return;
            }
        };
        for index in 0..descriptor.partitions {
            let files = PartitionFiles { dir, descriptor: &descriptor, index };
            match files.control_page(Access::ReadWrite) {
                Ok(control) => {
                    control.store(pages::control::CLOSED, 1, Ordering::Release);
                    Wake::new(control).wake();
                }
                Err(error) => {
                    log::warn!("those who use topic {name} are not told that it goes: {error}");
                }
            }
            files.remove_huge();
        }
    }
}

fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    ((u128::from(hash) * u128::from(partitions)) >> 64) as u32
}

/// Settings for making or opening a topic.
///
/// What is set and contradicts the topic that is opened is an error; what is not set is taken as
/// it is there.
#[derive(Debug, Clone)]
pub struct TopicBuilder {
    bus: Bus,
    name: String,
    ring_bytes: Option<u64>,
    partitions: Option<u32>,
    slow: Option<SlowSubscriber>,
    wake_up: Option<WakeUp>,
    reliable_max: Option<u32>,
    huge_pages: bool,
}

impl TopicBuilder {
    pub(crate) fn new(bus: Bus, name: &str) -> TopicBuilder {
        TopicBuilder {
            bus,
            name: name.to_owned(),
            ring_bytes: None,
            partitions: None,
            slow: None,
            wake_up: None,
            reliable_max: None,
            huge_pages: false,
        }
    }

    /// Size of each partition's ring in bytes: a power of two from 256 KiB to 64 GiB, 16 MiB
    /// unless set.
    #[must_use]
    pub fn ring_bytes(mut self, ring_bytes: u64) -> TopicBuilder {
        self.ring_bytes = Some(ring_bytes);
        self
    }

    /// Number of partitions: 1 to 1024, 1 unless set.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> TopicBuilder {
        self.partitions = Some(partitions);
        self
    }

    /// What a publisher does about a reliable subscriber that is too slow: waits, unless set.
    #[must_use]
    pub fn slow_subscriber(mut self, slow: SlowSubscriber) -> TopicBuilder {
        self.slow = Some(slow);
        self
    }

    /// How a subscriber that sleeps learns of a message: [`WakeUp::Bounded`] unless set.
    #[must_use]
    pub fn wake_up(mut self, wake_up: WakeUp) -> TopicBuilder {
        self.wake_up = Some(wake_up);
        self
    }

    /// How many reliable subscribers each partition admits: 0 to 64, 64 unless set.
    #[must_use]
    pub fn reliable_max(mut self, reliable_max: u32) -> TopicBuilder {
        self.reliable_max = Some(reliable_max);
        self
    }

    /// Asks for huge pages when the topic is made: from a mounted hugetlbfs with enough free
    /// pages, or else transparent ones. Where neither can be had it goes on without, and warns.
    #[must_use]
    pub fn huge_pages(mut self) -> TopicBuilder {
        self.huge_pages = true;
        self
    }

    /// Shared memory that the topic would take when it is made, in bytes.
    pub fn shared_bytes(&self) -> u64 {
        let partitions = u64::from(self.partitions.unwrap_or(1));
        partitions.saturating_mul(partition::shared_bytes(self.ring_bytes.unwrap_or(RING_BYTES)))
    }

    /// Makes the topic.
    ///
    /// # Errors
    /// Settings out of range, a topic of that name, no shared memory left, no permission.
    pub fn create(&self) -> Result<Topic, TopicError> {
        let name: Name = self.name.parse().map_err(FileError::from)?;
        let ring_bytes = self.ring_bytes.unwrap_or(RING_BYTES);
        descriptor::check_ring_bytes(ring_bytes)?;
        let partitions = self.partitions.unwrap_or(1);
        descriptor::check_partitions(partitions)?;
        let reliable_max = self.reliable_max.unwrap_or(SLOTS as u32);
        if reliable_max as usize > SLOTS {
            return Err(TopicError::BadReliableMax { reliable_max });
        }
        let total = ring_bytes * u64::from(partitions);
        let pages = if self.huge_pages { huge_pages(total) } else { RingPages::Default };
        let mut descriptor = Descriptor {
            log_id: random_id()?,
            partitions,
            ring_bytes,
            reliable_max,
            slow: self.slow.unwrap_or_default(),
            wake_up: self.wake_up.unwrap_or_default(),
            pages,
        };
        let made = self.build(&name, &descriptor);
        if let (Err(TopicError::File(error)), RingPages::HugeFs(mount)) = (&made, &descriptor.pages)
            && !matches!(error, FileError::AlreadyExists(_))
        {
            log::warn!("no huge pages from {mount} ({error}): going on with transparent ones");
            descriptor.pages = RingPages::Transparent;
            self.build(&name, &descriptor)?;
        } else {
            made?;
        }
        self.open()
    }

    fn build(&self, name: &Name, descriptor: &Descriptor) -> Result<(), TopicError> {
        let (mode, group) = self.bus.file_mode()?;
        let dir_mode = mode | (mode & 0o444) >> 2;
        let made = build(self.bus.dir(), name, dir_mode, |dir| {
            let mut file = dir.create_file(DESCRIPTOR, mode)?;
            dir.set_file_group(&file, DESCRIPTOR, group)?;
            descriptor.write(&mut file, &dir.path().join(DESCRIPTOR))?;
            for index in 0..descriptor.partitions {
                PartitionFiles { dir, descriptor, index }.create(mode, group)?;
            }
            dir.set_group(group)
        });
        if let Err(error) = made {
            for index in 0..descriptor.partitions {
                PartitionFiles { dir: self.bus.dir(), descriptor, index }.remove_huge();
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Opens the topic.
    ///
    /// # Errors
    /// No such topic; one that was made otherwise than set here; a file that is truncated, of
    /// another layout version, or none of ours; no permission.
    pub fn open(&self) -> Result<Topic, TopicError> {
        let name: Name = self.name.parse().map_err(FileError::from)?;
        let dir = self.bus.dir().open_dir(&name)?;
        let found = read_descriptor(&dir)?;
        let mismatch = |what, found: String, wanted: String| TopicError::Mismatch {
            topic: name.to_string(),
            what,
            found,
            wanted,
        };
        let of = |what, found: u64, wanted: Option<u64>| match wanted {
            Some(wanted) if wanted != found => {
                Err(mismatch(what, found.to_string(), wanted.to_string()))
            }
            _ => Ok(()),
        };
        of("a ring size in bytes of", found.ring_bytes, self.ring_bytes)?;
        of("a number of partitions of", found.partitions.into(), self.partitions.map(u64::from))?;
        let reliable_max = self.reliable_max.map(u64::from);
        of("a limit of reliable subscribers of", found.reliable_max.into(), reliable_max)?;
        if let Some(slow) = self.slow.filter(|slow| *slow != found.slow) {
            let (found, wanted) = (format!("{:?}", found.slow), format!("{slow:?}"));
            return Err(mismatch("a policy for slow subscribers of", found, wanted));
        }
        if let Some(wake_up) = self.wake_up.filter(|wake_up| *wake_up != found.wake_up) {
            let (found, wanted) = (format!("{:?}", found.wake_up), format!("{wake_up:?}"));
            return Err(mismatch("a wake-up of", found, wanted));
        }
        let shared = Shared { bus: self.bus.clone(), name, dir, descriptor: found };
        Ok(Topic { shared: Arc::new(shared) })
    }

    /// Opens the topic, and makes it where there is none.
    ///
    /// # Errors
    /// As [`TopicBuilder::open`] and [`TopicBuilder::create`].
    pub fn open_or_create(&self) -> Result<Topic, TopicError> {
        match self.open() {
            Err(TopicError::File(FileError::NotFound(_))) => {}
            found => return found,
        }
        match self.create() {
            // Somebody else was faster.
            Err(TopicError::File(FileError::AlreadyExists(_))) => self.open(),
            made => made,
        }
    }
}

fn read_descriptor(dir: &Dir) -> Result<Descriptor, TopicError> {
    let mut file = dir.open_file(DESCRIPTOR, false)?;
    Descriptor::read(&mut file, &dir.path().join(DESCRIPTOR))
}

/// The best huge pages for `bytes` that this host offers.
fn huge_pages(bytes: u64) -> RingPages {
    if let Some(mount) = HugeFs::find(bytes)
        && let Some(path) = mount.path.to_str().filter(|path| descriptor::fits_huge_path(path))
    {
        return RingPages::HugeFs(path.to_owned());
    }
    log::warn!("no hugetlbfs mount has {bytes} bytes free: asking for transparent huge pages");
    RingPages::Transparent
}

fn random_id() -> Result<LogId, FileError> {
    let path = Path::new("/dev/urandom");
    let mut id = [[0; 8]; 2];
    let mut read = |file: io::Result<File>| file?.read_exact(id.as_flattened_mut());
    read(File::open(path)).map_err(|error| FileError::from_io("read", path, error))?;
    Ok(LogId(id.map(u64::from_le_bytes)))
}

/// Why a topic could not be made, opened or read.
#[derive(Debug, Error)]
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
    /// The file system's answer.
    #[error(transparent)]
    File(#[from] FileError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_keeps_its_partition_for_ever() {
        // FNV-1a of "a" is 0xaf63dc4c8601ec8c; scaled to 16 that is its highest hex digit.
        assert_eq!(partition_of(b"a", 16), 0xa);
        assert_eq!(partition_of(b"", 16), 0xc);
    }

    proptest! {
        #[test]
        fn every_key_has_a_partition(key: Vec<u8>, partitions in 1u32..=1024) {
            prop_assert!(partition_of(&key, partitions) < partitions);
        }
    }
}
