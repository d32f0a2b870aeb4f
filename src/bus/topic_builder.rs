//! Settings for a topic: making it, and opening it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::bus::bus_dir::Bus;
use crate::bus::descriptor::{self, Descriptor, RingPages, SlowSubscriber, WakeUp};
use crate::bus::partition::{self, Beginning, PartitionFiles};
use crate::bus::topic::{DESCRIPTOR, Topic, read_descriptor};
use crate::bus::topic_error::TopicError;
use crate::journal::restore;
use crate::log::block::LogId;
use crate::log::pages::SLOTS;
use crate::shm::build::{build, remove_abandoned};
use crate::shm::dir::{Dir, me};
use crate::shm::error::FileError;
use crate::shm::huge::HugeFs;
use crate::shm::name::Name;

const RING_BYTES: u64 = 16 << 20;

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
    journal: Option<PathBuf>,
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
            journal: None,
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

    /// Where the topic is journaled. A topic that is made, and has a journal there, goes on where
    /// that ends, as it was made before: after the host was restarted, or the bus removed. Its ring
    /// is empty then; what was published before is in the files, where subscribers get it from, and
    /// where a publisher learns [what came last](crate::Publisher::last_message). Journal it again
    /// before anything new is published: what the ring goes past until then is not in the journal.
    ///
    /// # Examples
    /// ```no_run
    /// use tickcast::Bus;
    ///
    /// let bus = Bus::open_or_create("md")?;
    /// let orders = bus.topic("orders").journal("/var/lib/md").open_or_create()?;
    /// let journal = orders.journal("/var/lib/md").open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn journal(mut self, dir: impl Into<PathBuf>) -> TopicBuilder {
        self.journal = Some(dir.into());
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
    /// Settings out of range, a topic of that name, no shared memory left, no permission; a bus
    /// that was opened before this process was forked.
    pub fn create(&self) -> Result<Topic, TopicError> {
        self.bus.check_not_forked()?;
        let name: Name = self.name.parse().map_err(FileError::from)?;
        let ring_bytes = self.ring_bytes.unwrap_or(RING_BYTES);
        descriptor::check_ring_bytes(ring_bytes)?;
        let partitions = self.partitions.unwrap_or(1);
        descriptor::check_partitions(partitions)?;
        let reliable_max = self.reliable_max.unwrap_or(SLOTS as u32);
        if reliable_max as usize > SLOTS {
            return Err(TopicError::BadReliableMax { reliable_max });
        }
        if self.huge_pages {
            // What a dead builder left takes pages that are looked for next.
            remove_abandoned(self.bus.dir(), Topic::discard)?;
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
        let mut beginnings = vec![Beginning::default(); partitions as usize];
        if let Some(dir) = &self.journal
            && let Some(journal) = restore(&dir.join(&*name))?
        {
            self.check(&name, &journal.descriptor)?;
            descriptor = Descriptor { pages: descriptor.pages, ..journal.descriptor };
            beginnings = journal.beginnings;
        }
        let made = self.build(&name, &descriptor, &beginnings);
        if let (Err(TopicError::File(error)), RingPages::HugeFs(mount)) = (&made, &descriptor.pages)
            && !matches!(error, FileError::AlreadyExists(_))
        {
            log::warn!("no huge pages from {mount} ({error}): going on with transparent ones");
            descriptor.pages = RingPages::Transparent;
            self.build(&name, &descriptor, &beginnings)?;
        } else {
            made?;
        }
        self.open()
    }

    fn build(
        &self,
        name: &Name,
        descriptor: &Descriptor,
        beginnings: &[Beginning],
    ) -> Result<(), TopicError> {
        let (mode, group) = self.bus.file_mode()?;
        let dir_mode = mode | (mode & 0o444) >> 2;
        let fill = |dir: &Dir| {
            let mut file = dir.create_file(DESCRIPTOR, mode)?;
            dir.set_file_group(&file, DESCRIPTOR, group)?;
            descriptor.write(&mut file, &dir.path().join(DESCRIPTOR))?;
            for (index, beginning) in (0..descriptor.partitions).zip(beginnings) {
                PartitionFiles { dir, descriptor, index }.create(mode, group, beginning)?;
            }
            dir.set_group(group)
        };
        if let Err(error) = build(self.bus.dir(), name, dir_mode, fill, Topic::discard) {
            // Once more: who removes the bus by force removes what names them.
            for index in 0..descriptor.partitions {
                PartitionFiles { dir: self.bus.dir(), descriptor, index }.remove_huge(me());
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Opens the topic.
    ///
    /// # Errors
    /// No such topic; one that was made otherwise than set here; a file that is truncated, of
    /// another layout version, or none of ours; no permission; a bus that was opened before this
    /// process was forked.
    pub fn open(&self) -> Result<Topic, TopicError> {
        self.bus.check_not_forked()?;
        let name: Name = self.name.parse().map_err(FileError::from)?;
        let dir = self.bus.dir().open_dir(&name)?;
        let found = read_descriptor(&dir)?;
        self.check(&name, &found)?;
        Ok(Topic::new(self.bus.clone(), name, dir, found))
    }

    /// Whether a topic that is there is what it is wanted to be.
    fn check(&self, name: &Name, found: &Descriptor) -> Result<(), TopicError> {
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
        Ok(())
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
