//! The bus: a directory of topics, found by name.

use std::sync::Arc;

use thiserror::Error;

use crate::bus::topic::Topic;
use crate::bus::topic_builder::TopicBuilder;
use crate::bus::topic_error::TopicError;
use crate::shm::build::{build, unfinished};
use crate::shm::dir::Dir;
use crate::shm::error::FileError;
use crate::shm::lock::Lock;
use crate::shm::name::Name;
use crate::shm::root;

/// File in a bus's directory on which everyone who has the bus open holds a shared lock.
const LIVING: &str = ".bus";

/// Permissions of a bus unless told otherwise: its owner and its group.
const MODE: u32 = 0o660;

/// A named directory of topics in shared memory, `/dev/shm/tickcast/<bus>` unless `TICKCAST_DIR`
/// names another place than `/dev/shm/tickcast`.
///
/// A bus lives until it is removed: it needs no process, and stays when the last one exits. While
/// a `Bus`, or anything that was opened through one, is held, [`Bus::remove`] refuses to remove it.
///
/// That holds for the process that opened it. A forked child must open the bus anew: through what
/// it inherits it opens nothing and gets [`TopicError::Forked`].
///
/// # Examples
/// ```no_run
/// use tickcast::Bus;
///
/// let bus = Bus::open_or_create("md")?;
/// let trades = bus.topic("trades").ring_bytes(64 << 20).open_or_create()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bus {
    name: Name,
    dir: Arc<Dir>,
    living: Arc<Lock>,
}

impl Bus {
    /// Settings for making or opening the bus `name`.
    pub fn builder(name: &str) -> BusBuilder {
        BusBuilder { name: name.to_owned(), mode: MODE, group: None }
    }

    /// Makes the bus `name`.
    ///
    /// # Errors
    /// [`FileError::AlreadyExists`], a bad name, no permission, no room.
    pub fn create(name: &str) -> Result<Bus, FileError> {
        Bus::builder(name).create()
    }

    /// Opens the bus `name`.
    ///
    /// # Errors
    /// [`FileError::NotFound`], a bad name, no permission.
    pub fn open(name: &str) -> Result<Bus, FileError> {
        let name: Name = name.parse()?;
        let root = root::open_root()?;
        let dir = root.open_dir(&name)?;
        let living = Lock::try_shared(|| dir.open_file(LIVING, false), 0)?;
        // Whoever removes a bus holds the lock: it is as good as gone.
        let living = living.ok_or_else(|| FileError::NotFound(dir.path().to_owned()))?;
        Ok(Bus { name, dir: Arc::new(dir), living: Arc::new(living) })
    }

    /// Opens the bus `name`, and makes it where there is none.
    ///
    /// # Errors
    /// As [`Bus::open`] and [`Bus::create`].
    pub fn open_or_create(name: &str) -> Result<Bus, FileError> {
        Bus::builder(name).open_or_create()
    }

    /// The names of all buses, sorted.
    ///
    /// # Errors
    /// When the directory of all buses cannot be read; that there is none yet is no error.
    pub fn list() -> Result<Vec<String>, FileError> {
        match root::open_root() {
            Ok(root) => Ok(root.list()?.iter().map(|name| name.to_string()).collect()),
            Err(FileError::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes the bus `name` with all its topics. Its memory is freed when the last process that
    /// has it open lets go of it.
    ///
    /// With `force` a bus that is in use is removed as well: publishers get
    /// [`PublishError::Closed`](crate::PublishError::Closed) at their next block, subscribers the
    /// notice [`Closed`](crate::NoticeKind::Closed).
    ///
    /// # Errors
    /// [`RemoveError::InUse`] unless forced; no permission.
    pub fn remove(name: &str, force: bool) -> Result<(), RemoveError> {
        let name: Name = name.parse().map_err(FileError::from)?;
        let root = root::open_root()?;
        let dir = root.open_dir(&name)?;
        let alone = Lock::try_exclusive(|| dir.open_file(LIVING, true), 0..1);
        match alone {
            Ok(Some(_)) | Err(FileError::NotFound(_)) => {}
            Ok(None) if force => {}
            Ok(None) => return Err(RemoveError::InUse { bus: name.to_string() }),
            Err(error) => return Err(error.into()),
        }
        // First these: one that is finished meanwhile is a topic then.
        for (_, unfinished) in unfinished(&dir)? {
            Topic::discard(&unfinished);
        }
        for topic in dir.list()? {
            match dir.open_dir(&topic) {
                Ok(topic_dir) => Topic::close(&topic_dir, topic),
                // What is no topic is removed with the rest.
                Err(error) => log::warn!("{topic} is no topic of bus {name}: {error}"),
            }
        }
        root.remove_tree(&name)?;
        Ok(())
    }

    /// The bus's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of its topics, sorted.
    ///
    /// # Errors
    /// When the bus's directory cannot be read.
    pub fn topics(&self) -> Result<Vec<String>, FileError> {
        Ok(self.dir.list()?.iter().map(|name| name.to_string()).collect())
    }

    /// Settings for making or opening the topic `name`.
    pub fn topic(&self, name: &str) -> TopicBuilder {
        TopicBuilder::new(self.clone(), name)
    }

    /// Opens the topic `name` as it is.
    ///
    /// # Errors
    /// As [`TopicBuilder::open`].
    pub fn open_topic(&self, name: &str) -> Result<Topic, TopicError> {
        self.topic(name).open()
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Permissions and group for files in this bus: those of its directory.
    pub(crate) fn file_mode(&self) -> Result<(u32, u32), FileError> {
        let (mode, group) = self.dir.mode_and_group()?;
        Ok((mode & 0o666, group))
    }

    /// Refuses a forked child, in which nothing keeps the bus from being removed.
    pub(crate) fn check_not_forked(&self) -> Result<(), TopicError> {
        if self.living.is_of_this_process() {
            return Ok(());
        }
        Err(TopicError::Forked { bus: self.name.to_string() })
    }

    /// What keeps the bus from being removed.
    pub(crate) fn living(&self) -> Arc<Lock> {
        self.living.clone()
    }
}

/// Settings for making or opening a bus.
#[derive(Debug, Clone)]
pub struct BusBuilder {
    name: String,
    mode: u32,
    group: Option<u32>,
}

impl BusBuilder {
    /// Permissions of all files of a bus that is made: read and write bits for owner, group and
    /// others. 0o660 unless set. Whoever may write can publish, subscribe reliably, and do harm;
    /// whoever may only read can subscribe lossily, and do no harm but one: keep the next publisher
    /// from starting, by locking the file that a publisher locks.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> BusBuilder {
        self.mode = mode & 0o666;
        self
    }

    /// Group id of all files of a bus that is made; the caller's own unless set.
    #[must_use]
    pub fn group(mut self, group: u32) -> BusBuilder {
        self.group = Some(group);
        self
    }

    /// Makes the bus.
    ///
    /// # Errors
    /// As [`Bus::create`].
    pub fn create(self) -> Result<Bus, FileError> {
        let name: Name = self.name.parse()?;
        let root = root::open_or_create_root()?;
        // Who may read a directory must be able to enter it.
        let dir_mode = self.mode | (self.mode & 0o444) >> 2;
        let fill = |dir: &Dir| {
            let file = dir.create_file(LIVING, self.mode)?;
            if let Some(group) = self.group {
                dir.set_file_group(&file, LIVING, group)?;
                dir.set_group(group)?;
            }
            Ok::<(), FileError>(())
        };
        build(&root, &name, dir_mode, fill, |_| ())?;
        Bus::open(&name)
    }

    /// Opens the bus, and makes it where there is none.
    ///
    /// # Errors
    /// As [`Bus::open_or_create`].
    pub fn open_or_create(self) -> Result<Bus, FileError> {
        match Bus::open(&self.name) {
            Err(FileError::NotFound(_)) => {}
            found => return found,
        }
        let name = self.name.clone();
        match self.create() {
            // Somebody else was faster.
            Err(FileError::AlreadyExists(_)) => Bus::open(&name),
            made => made,
        }
    }
}

/// Why a bus could not be removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// Some process has it open.
    #[error(
        "bus {bus} is in use: stop its publishers and subscribers first, or force the removal \
         (they get an error)"
    )]
    InUse {
        /// The bus.
        bus: String,
    },
    /// The file system's answer.
    #[error(transparent)]
    File(#[from] FileError),
}
