//! The files of one partition: making them, and opening them with the access that each role needs.
//!
//! | file | holds | publisher | reliable subscriber | lossy subscriber |
//! |---|---|---|---|---|
//! | `<n>.log` | the ring | writes | reads | reads |
//! | `<n>.publisher` | publisher page; byte 0 is its lock | writes | reads | reads |
//! | `<n>.control` | control page | writes | writes | reads |
//! | `<n>.journal` | journal page; byte 0 is its lock | reads | reads | reads |
//! | `<n>.cursors` | a page a slot; byte i is slot i's lock | reads | writes its own page | - |

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::bus::descriptor::{Descriptor, RingPages};
use crate::bus::topic_error::TopicError;
use crate::journal::{Place, say_closed};
use crate::log::block::LogId;
use crate::log::memory::Memory;
use crate::log::pages::{self, PAGE_BYTES, Pages, SLOTS};
use crate::log::ring::Ring;
use crate::shm::dir::Dir;
use crate::shm::error::FileError;
use crate::shm::map::{self, Access, Map};
use crate::sync::Ordering;

const PUBLISHER_MAGIC: u64 = u64::from_le_bytes(*b"TICKPUB\x01");
const CONTROL_MAGIC: u64 = u64::from_le_bytes(*b"TICKCTL\x01");
const JOURNAL_MAGIC: u64 = u64::from_le_bytes(*b"TICKJRN\x01");

/// Bytes of shared memory that a partition takes.
pub(crate) const fn shared_bytes(ring_bytes: u64) -> u64 {
    ring_bytes + (3 + SLOTS as u64) * PAGE_BYTES
}

/// Where a log begins in a ring that is made: anew, or where its journal ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Beginning {
    /// A block's start.
    pub(crate) position: u64,
    pub(crate) offset: u64,
    pub(crate) timestamp_max_ns: u64,
    /// Of the last publisher.
    pub(crate) epoch: u64,
    /// Where the journal is that has what comes before.
    pub(crate) journal: Option<PathBuf>,
}

/// The files of partition `index` of the topic in `dir`.
#[derive(Debug)]
pub(crate) struct PartitionFiles<'a> {
    pub(crate) dir: &'a Dir,
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) index: u32,
}

impl PartitionFiles<'_> {
    fn log_id(&self) -> LogId {
        self.descriptor.partition_log_id(self.index)
    }

    fn name(&self, what: &str) -> String {
        format!("{}.{what}", self.index)
    }

    /// Makes all files, their memory allocated and touched.
    pub(crate) fn create(
        &self,
        mode: u32,
        group: u32,
        beginning: &Beginning,
    ) -> Result<(), FileError> {
        let log_id = self.log_id();
        let head = |page: &Memory, at: u64, magic: u64| {
            page.store(at, magic, Ordering::Relaxed);
            page.store(at + 1, log_id.0[0], Ordering::Relaxed);
            page.store(at + 2, log_id.0[1], Ordering::Relaxed);
        };
        let ring = self.create_ring(mode, group)?;
        drop(ring);
        let page = self.create_file(&self.name("publisher"), mode, group, PAGE_BYTES)?;
        head(&page, pages::publisher::MAGIC, PUBLISHER_MAGIC);
        let set = |field, value| page.store(field, value, Ordering::Relaxed);
        set(pages::publisher::RING_BYTES, self.descriptor.ring_bytes);
        let Beginning { position, offset, timestamp_max_ns, epoch, ref journal } = *beginning;
        set(pages::publisher::BASE, position);
        set(pages::publisher::BASE_OFFSET, offset);
        set(pages::publisher::BASE_TIMESTAMP_MAX_NS, timestamp_max_ns);
        set(pages::publisher::RESERVED, position);
        set(pages::publisher::EPOCH, epoch);
        let page = self.create_file(&self.name("control"), mode, group, PAGE_BYTES)?;
        head(&page, pages::control::MAGIC, CONTROL_MAGIC);
        let page = self.create_file(&self.name("journal"), mode, group, PAGE_BYTES)?;
        head(&page, pages::journal::MAGIC, JOURNAL_MAGIC);
        if let Some(path) = journal {
            say_closed(&page, path, Place { position, offset });
        }
        // Whoever can open this file can lock slots, so only those who may write can.
        let mode = mode & 0o222 | (mode & 0o222) << 1;
        self.create_file(&self.name("cursors"), mode, group, SLOTS as u64 * PAGE_BYTES)?;
        Ok(())
    }

    fn create_ring(&self, mode: u32, group: u32) -> Result<Memory, FileError> {
        match &self.descriptor.pages {
            RingPages::HugeFs(mount) => {
                let dir = Dir::open(Path::new(mount))?;
                let name = self.huge_name();
                create_in(&dir, &name, mode, group, self.descriptor.ring_bytes, map::Pages::Default)
            }
            RingPages::Transparent => create_in(
                self.dir,
                &self.name("log"),
                mode,
                group,
                self.descriptor.ring_bytes,
                map::Pages::TransparentHuge,
            ),
            RingPages::Default => {
                self.create_file(&self.name("log"), mode, group, self.descriptor.ring_bytes)
            }
        }
    }

    fn create_file(
        &self,
        name: &str,
        mode: u32,
        group: u32,
        bytes: u64,
    ) -> Result<Memory, FileError> {
        create_in(self.dir, name, mode, group, bytes, map::Pages::Default)
    }

    /// Name of the ring's file in a hugetlbfs mount: unique by the log's id.
    fn huge_name(&self) -> String {
        let id = self.log_id().0;
        format!("tickcast-{:016x}{:016x}.log", id[0], id[1])
    }

    /// Removes what lies outside of the topic's directory and is `owner`'s, who made the topic: a
    /// stranger's topic can name what is somebody else's.
    pub(crate) fn remove_huge(&self, owner: u32) {
        if let RingPages::HugeFs(mount) = &self.descriptor.pages {
            let name = self.huge_name();
            let removed =
                Dir::open(Path::new(mount)).and_then(|dir| dir.remove_file_of(&name, owner));
            match removed {
                Ok(true) | Err(FileError::NotFound(_)) => {}
                Ok(false) => log::warn!(
                    "{mount}/{name} stays: a topic of user {owner} names it, who does not own it"
                ),
                Err(error) => log::warn!("{error}; its huge pages stay taken"),
            }
        }
    }

    /// Opens the ring.
    pub(crate) fn ring(&self, access: Access) -> Result<Ring, TopicError> {
        let bytes = self.descriptor.ring_bytes;
        let memory = match &self.descriptor.pages {
            RingPages::HugeFs(mount) => {
                let dir = Dir::open(Path::new(mount))?;
                open_in(&dir, &self.huge_name(), bytes, access, map::Pages::Default)?
            }
            RingPages::Transparent => {
                open_in(self.dir, &self.name("log"), bytes, access, map::Pages::TransparentHuge)?
            }
            RingPages::Default => self.open(&self.name("log"), bytes, access)?,
        };
        let ring = Ring::new(memory);
        // A ring has no room for a header of its own, but its first block's place has one.
        match ring.first_log_id() {
            Some(found) if found != self.log_id() => Err(self.foreign("log")),
            _ => Ok(ring),
        }
    }

    /// Opens the publisher page.
    pub(crate) fn publisher_page(&self, access: Access) -> Result<Memory, TopicError> {
        let page = self.open(&self.name("publisher"), PAGE_BYTES, access)?;
        self.check(&page, pages::publisher::MAGIC, PUBLISHER_MAGIC, "publisher")?;
        let ring_bytes = page.load(pages::publisher::RING_BYTES, Ordering::Relaxed);
        if ring_bytes != self.descriptor.ring_bytes {
            return Err(self.foreign("publisher"));
        }
        Ok(page)
    }

    /// Opens the control page, for writing where that is allowed and `access` asks for it.
    pub(crate) fn control_page(&self, access: Access) -> Result<Memory, TopicError> {
        let page = self.open(&self.name("control"), PAGE_BYTES, access)?;
        self.check(&page, pages::control::MAGIC, CONTROL_MAGIC, "control")?;
        Ok(page)
    }

    /// Opens the journal page.
    pub(crate) fn journal_page(&self, access: Access) -> Result<Memory, TopicError> {
        let page = self.open(&self.name("journal"), PAGE_BYTES, access)?;
        self.check(&page, pages::journal::MAGIC, JOURNAL_MAGIC, "journal")?;
        Ok(page)
    }

    /// The pages, as a subscriber has them.
    pub(crate) fn subscriber_pages(&self, control: Access) -> Result<Pages, TopicError> {
        Ok(Pages {
            publisher: self.publisher_page(Access::ReadOnly)?,
            control: self.control_page(control)?,
            journal: self.journal_page(Access::ReadOnly)?,
        })
    }

    /// Opens the pages of all slots, to read.
    pub(crate) fn cursors(&self) -> Result<Memory, TopicError> {
        self.open(&self.name("cursors"), SLOTS as u64 * PAGE_BYTES, Access::ReadOnly)
    }

    /// Opens the page of one slot, to write.
    pub(crate) fn cursor_page(&self, slot: u64) -> Result<Memory, TopicError> {
        let name = self.name("cursors");
        let file = self.dir.open_file(&name, true)?;
        let at = slot * PAGE_BYTES;
        check_length(&file, &self.path("cursors"), SLOTS as u64 * PAGE_BYTES)?;
        let map = Map::new(&file, at, PAGE_BYTES as usize, Access::ReadWrite, map::Pages::Default)
            .map_err(|error| FileError::from_io("map", &self.path("cursors"), error))?;
        Ok(Memory::mapped(map))
    }

    /// The file whose byte 0 is the publisher's lock.
    pub(crate) fn publisher_file(&self, write: bool) -> Result<File, FileError> {
        self.dir.open_file(&self.name("publisher"), write)
    }

    /// The file whose byte 0 is the journal's lock.
    pub(crate) fn journal_file(&self, write: bool) -> Result<File, FileError> {
        self.dir.open_file(&self.name("journal"), write)
    }

    /// The file whose byte i is slot i's lock.
    pub(crate) fn cursors_file(&self, write: bool) -> Result<File, FileError> {
        self.dir.open_file(&self.name("cursors"), write)
    }

    fn path(&self, what: &str) -> PathBuf {
        self.dir.path().join(self.name(what))
    }

    fn foreign(&self, what: &str) -> TopicError {
        TopicError::Foreign { path: self.path(what) }
    }

    fn open(&self, name: &str, bytes: u64, access: Access) -> Result<Memory, TopicError> {
        open_in(self.dir, name, bytes, access, map::Pages::Default)
    }

    fn check(&self, page: &Memory, at: u64, magic: u64, what: &str) -> Result<(), TopicError> {
        let id = self.log_id();
        let found = [at, at + 1, at + 2].map(|at| page.load(at, Ordering::Relaxed));
        if found == [magic, id.0[0], id.0[1]] { Ok(()) } else { Err(self.foreign(what)) }
    }
}

const _: () = {
    assert!(pages::publisher::LOG_ID == pages::publisher::MAGIC + 1);
    assert!(pages::control::LOG_ID == pages::control::MAGIC + 1);
    assert!(pages::journal::LOG_ID == pages::journal::MAGIC + 1);
};

fn create_in(
    dir: &Dir,
    name: &str,
    mode: u32,
    group: u32,
    bytes: u64,
    pages: map::Pages,
) -> Result<Memory, FileError> {
    let path = dir.path().join(name);
    let file = dir.create_file(name, mode)?;
    dir.set_file_group(&file, name, group)?;
    map::allocate(&file, bytes, pages)
        .map_err(|error| FileError::from_io("allocate", &path, error))?;
    map_all(&file, &path, bytes, Access::ReadWrite, pages)
}

fn open_in(
    dir: &Dir,
    name: &str,
    bytes: u64,
    access: Access,
    pages: map::Pages,
) -> Result<Memory, TopicError> {
    let file = dir.open_file(name, access == Access::ReadWrite)?;
    let path = dir.path().join(name);
    check_length(&file, &path, bytes)?;
    Ok(map_all(&file, &path, bytes, access, pages)?)
}

fn map_all(
    file: &File,
    path: &Path,
    bytes: u64,
    access: Access,
    pages: map::Pages,
) -> Result<Memory, FileError> {
    let map = Map::new(file, 0, bytes as usize, access, pages)
        .map_err(|error| FileError::from_io("map", path, error))?;
    Ok(Memory::mapped(map))
}

fn check_length(file: &File, path: &Path, expected_bytes: u64) -> Result<(), TopicError> {
    let found = file.metadata().map_err(|error| FileError::from_io("examine", path, error))?;
    if found.len() == expected_bytes {
        return Ok(());
    }
    Err(TopicError::Truncated { path: path.to_owned(), bytes: found.len(), expected_bytes })
}
