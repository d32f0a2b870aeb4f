//! The topic: a named stream of one kind of event, in one or more partitions.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bus::bus_dir::Bus;
use crate::bus::descriptor::{Descriptor, SlowSubscriber, WakeUp};
use crate::bus::fnv::fnv_1a;
use crate::bus::partition::{self, PartitionFiles};
use crate::bus::publish_error::PublisherError;
use crate::bus::publisher::Publisher;
use crate::bus::stat::TopicStat;
use crate::bus::subscribe::SubscriberBuilder;
use crate::bus::topic_error::TopicError;
use crate::journal::JournalBuilder;
use crate::log::block::BLOCK_BYTES;
use crate::log::pages;
use crate::log::wake::Wake;
use crate::shm::dir::Dir;
use crate::shm::map::Access;
use crate::shm::name::Name;
use crate::sync::Ordering;

/// Name of a topic's own file in its directory.
pub(crate) const DESCRIPTOR: &str = "topic";

/// A topic that is open.
///
/// Cloning is cheap; all clones, publishers and subscribers share what is open. A forked child must
/// open the bus and the topic anew: one that it inherits gives it [`TopicError::Forked`].
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
    pub(crate) fn new(bus: Bus, name: Name, dir: Dir, descriptor: Descriptor) -> Topic {
        Topic { shared: Arc::new(Shared { bus, name, dir, descriptor }) }
    }

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
        self.descriptor().message_bytes_max()
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
    /// ended. Never waits: if closing what that one left open needs room that a subscriber still
    /// needs, the first message waits for it, as any other may.
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

    /// Settings for journaling this topic: to files in the directory of its name in `dir`, which is
    /// made where it is not there.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// use tickcast::SyncPolicy;
    /// use tickcast::runtime::Core;
    ///
    /// let journal = topic.journal("/var/lib/md").sync(SyncPolicy::Always).open()?;
    /// let core = Core::builder("journal").agent(Box::new(journal)).start()?;
    /// # core.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn journal(&self, dir: impl Into<PathBuf>) -> JournalBuilder {
        JournalBuilder::new(self.clone(), dir.into())
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
        self.bus().check_not_forked()?;
        let partitions = self.partitions();
        if partition >= partitions {
            return Err(TopicError::NoPartition { partition, partitions });
        }
        let Shared { dir, descriptor, .. } = &*self.shared;
        Ok(PartitionFiles { dir, descriptor, index: partition })
    }

    /// Removes what the unfinished topic in `dir` has elsewhere. Without a descriptor, which is
    /// made first, it has nothing.
    pub(crate) fn discard(dir: &Dir) {
        let Ok(descriptor) = read_descriptor(dir) else { return };
        for index in 0..descriptor.partitions {
            PartitionFiles { dir, descriptor: &descriptor, index }.remove_huge(dir.owner());
        }
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
            files.remove_huge(dir.owner());
        }
    }
}

fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let hash = fnv_1a(key.iter().copied());
    ((u128::from(hash) * u128::from(partitions)) >> 64) as u32
}

pub(crate) fn read_descriptor(dir: &Dir) -> Result<Descriptor, TopicError> {
    let mut file = dir.open_file(DESCRIPTOR, false)?;
    Descriptor::read(&mut file, &dir.path().join(DESCRIPTOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::descriptor::RingPages;
    use crate::bus::partition::Beginning;
    use crate::log::block::LogId;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn a_key_keeps_its_partition_for_ever() {
        // FNV-1a of "a" is 0xaf63dc4c8601ec8c; scaled to 16 that is its highest hex digit.
        assert_eq!(partition_of(b"a", 16), 0xa);
        assert_eq!(partition_of(b"", 16), 0xc);
        // "foobar" is 0x85944171f73967e8 in the draft's table.
        assert_eq!(
            partition_of(b"foobar", 1000),
            ((0x8594_4171_f739_67e8_u128 * 1000) >> 64) as u32
        );
    }

    #[test]
    fn a_topic_that_is_discarded_leaves_no_ring_elsewhere() {
        let [topic, mount] = [(); 2].map(|()| tempfile::tempdir_in("/dev/shm").unwrap());
        let dir = Dir::open(topic.path()).unwrap();
        let descriptor = Descriptor {
            log_id: LogId([1, u64::MAX]),
            partitions: 2,
            ring_bytes: 256 << 10,
            reliable_max: 1,
            slow: SlowSubscriber::Wait,
            wake_up: WakeUp::Bounded,
            // Any file system does for this.
            pages: RingPages::HugeFs(mount.path().to_str().unwrap().to_owned()),
        };
        // Nothing is there yet: its builder died early.
        Topic::discard(&dir);
        let mut file = dir.create_file(DESCRIPTOR, 0o600).unwrap();
        descriptor.write(&mut file, Path::new(DESCRIPTOR)).unwrap();
        let (mode, group) = dir.mode_and_group().unwrap();
        for index in 0..2 {
            PartitionFiles { dir: &dir, descriptor: &descriptor, index }
                .create(mode & 0o666, group, &Beginning::default())
                .unwrap();
        }
        let count = || fs::read_dir(mount.path()).unwrap().count();
        assert_eq!(count(), 2);
        // One of the two as another user's topic would name it.
        let another = dir.owner() + 1;
        PartitionFiles { dir: &dir, descriptor: &descriptor, index: 0 }.remove_huge(another);
        assert_eq!(count(), 2);
        Topic::discard(&dir);
        assert_eq!(count(), 0);
    }

    proptest! {
        #[test]
        fn every_key_has_a_partition(key: Vec<u8>, partitions in 1u32..=1024) {
            prop_assert!(partition_of(&key, partitions) < partitions);
        }
    }
}
