//! The directory of a topic's journal.
//!
//! | name | holds |
//! |---|---|
//! | `topic` | the topic's own file, as it lies in shared memory: see `bus::descriptor` |
//! | `journal` | magic and layout version, blocks of a segment, a CRC: 24 bytes |
//! | `<partition>/` | the partition's segments: see `journal::disk` |
//! | `cursors/` | named cursors, once there is one: see `journal::cursor_file` |
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::bus::TopicError;
use crate::bus::descriptor::Descriptor;
use crate::bus::topic::DESCRIPTOR;
use crate::journal::blocks::Blocks;
use crate::journal::disk::{Engine, FileDisk, remove_segment};
use crate::journal::error::JournalError;
use crate::log::block::BLOCK_BYTES;
use crate::shm::build::build;
use crate::shm::dir::Dir;
use crate::shm::error::FileError;
use crate::shm::name::Name;

/// Name of the journal's own file.
const JOURNAL: &str = "journal";

/// Name of the directory of named cursors.
const CURSORS: &str = "cursors";

/// `TICKJRN` and the version of everything that lies in a journal's directory.
const MAGIC: u64 = u64::from_le_bytes(*b"TICKJRN\x01");

/// Segments of this size unless told otherwise.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;
const SEGMENT_BYTES_MIN: u64 = 256 << 10;
const SEGMENT_BYTES_MAX: u64 = 64 << 30;

/// Permissions of what is made: its owner's, and its group's to read.
const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct JournalFile {
    magic: u64,
    segment_blocks: u64,
    reserved: u32,
    crc: u32,
}

const _: () = assert!(size_of::<JournalFile>() == 24);

impl JournalFile {
    fn new(segment_blocks: u64) -> JournalFile {
        let mut file = JournalFile { magic: MAGIC, segment_blocks, reserved: 0, crc: 0 };
        file.crc = file.crc();
        file
    }

    fn crc(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..20])
    }
}

/// A topic's journal, as it lies in a directory.
#[derive(Debug)]
pub(crate) struct TopicDir {
    dir: Dir,
    pub(crate) descriptor: Descriptor,
    segment_blocks: u64,
}

impl TopicDir {
    /// Opens the journal of a topic in `path`, which ends in the topic's name.
    pub(crate) fn open(path: &Path) -> Result<TopicDir, JournalError> {
        let absent = || JournalError::Absent { path: path.to_owned() };
        // The way there may lead through links; what is in there may not.
        let real = fs::canonicalize(path).map_err(|_| absent())?;
        let dir = Dir::open(&real)?;
        let mut file = match dir.open_file(JOURNAL, false) {
            Err(FileError::NotFound(_)) => return Err(absent()),
            file => file?,
        };
        let segment_blocks = read_journal_file(&mut file, &real.join(JOURNAL))?;
        let mut file = dir.open_file(DESCRIPTOR, false)?;
        let descriptor = Descriptor::read(&mut file, &real.join(DESCRIPTOR))?;
        Ok(TopicDir { dir, descriptor, segment_blocks })
    }

    /// Opens the journal of topic `name` in the directory `path`, and makes either where it is not
    /// there.
    pub(crate) fn open_or_create(
        path: &Path,
        name: &str,
        descriptor: &Descriptor,
        segment_bytes: Option<u64>,
    ) -> Result<TopicDir, JournalError> {
        let wanted = segment_bytes.unwrap_or(SEGMENT_BYTES);
        let is_possible =
            wanted.is_power_of_two() && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&wanted);
        let bad = || JournalError::BadSegmentBytes { segment_bytes: wanted };
        if !is_possible {
            return Err(bad());
        }
        let topic = match TopicDir::open(&path.join(name)) {
            Err(JournalError::Absent { .. }) => {
                create(path, name, descriptor, wanted / BLOCK_BYTES)?;
                TopicDir::open(&path.join(name))?
            }
            topic => topic?,
        };
        if topic.descriptor.log_id != descriptor.log_id
            || topic.descriptor.partitions != descriptor.partitions
        {
            return Err(JournalError::Foreign { path: topic.path().to_owned() });
        }
        if segment_bytes.is_some_and(|bytes| bytes != topic.segment_blocks * BLOCK_BYTES) {
            return Err(bad());
        }
        Ok(topic)
    }

    /// Whether there seems to be a topic's journal in `path`, in whatever state.
    pub(crate) fn is_there(path: &Path) -> bool {
        path.join(JOURNAL).is_file()
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Bytes of a segment.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_blocks * BLOCK_BYTES
    }

    /// The blocks of a partition, to be read.
    pub(crate) fn blocks(&self, partition: u32) -> Result<Blocks, JournalError> {
        let dir = self.partition(partition)?;
        let log_id = self.descriptor.partition_log_id(partition);
        Blocks::open(dir, log_id, self.segment_blocks).map_err(|error| {
            let path = self.path().join(partition.to_string());
            FileError::from_io("read", &path, error).into()
        })
    }

    /// The disk of a partition, to be written.
    pub(crate) fn disk(&self, partition: u32) -> Result<FileDisk, JournalError> {
        let dir = self.partition(partition)?;
        FileDisk::open(dir, self.segment_blocks, Engine::Uring).map_err(JournalError::Resources)
    }

    /// Takes the names of segments away, durably. Returns which of them had one.
    pub(crate) fn remove_segments(
        &self,
        partition: u32,
        firsts: impl Iterator<Item = u64>,
    ) -> Result<Vec<u64>, JournalError> {
        let dir = self.partition(partition)?;
        let mut removed = Vec::new();
        for first in firsts {
            match remove_segment(&dir, first) {
                Ok(()) => removed.push(first),
                // Somebody else was faster.
                Err(FileError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        dir.sync()?;
        Ok(removed)
    }

    /// Where named cursors lie; `None` where there never was one.
    pub(crate) fn cursors_dir(&self) -> Result<Option<Dir>, JournalError> {
        match self.dir.open_dir(CURSORS) {
            Err(FileError::NotFound(_)) => Ok(None),
            dir => Ok(Some(dir?)),
        }
    }

    /// Makes the place for named cursors, unless it is there.
    pub(crate) fn make_cursors_dir(&self) -> Result<Dir, JournalError> {
        let (mode, _) = self.dir.mode_and_group()?;
        match self.dir.create_dir(CURSORS, mode) {
            // It is there, or somebody else was faster.
            Err(FileError::AlreadyExists(_)) => Ok(self.dir.open_dir(CURSORS)?),
            dir => {
                self.dir.sync()?;
                Ok(dir?)
            }
        }
    }

    fn partition(&self, partition: u32) -> Result<Dir, JournalError> {
        let partitions = self.descriptor.partitions;
        if partition >= partitions {
            return Err(TopicError::NoPartition { partition, partitions }.into());
        }
        Ok(self.dir.open_dir(&partition.to_string())?)
    }
}

/// Makes the journal of a topic, all of it or nothing.
fn create(
    path: &Path,
    name: &str,
    descriptor: &Descriptor,
    segment_blocks: u64,
) -> Result<(), JournalError> {
    let name: Name = name.parse().map_err(FileError::from)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| FileError::from_io("create", &path, error)
    };
    fs::create_dir_all(path).map_err(io(path))?;
    let real: PathBuf = fs::canonicalize(path).map_err(io(path))?;
    let parent = Dir::open(&real)?;
    let fill = |dir: &Dir| -> Result<(), FileError> {
        let path = |name: &str| dir.path().join(name);
        let mut file = dir.create_file(DESCRIPTOR, FILE_MODE)?;
        descriptor.write(&mut file, &path(DESCRIPTOR))?;
        file.sync_all().map_err(io(&path(DESCRIPTOR)))?;
        let mut file = dir.create_file(JOURNAL, FILE_MODE)?;
        file.write_all(JournalFile::new(segment_blocks).as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io(&path(JOURNAL)))?;
        for partition in 0..descriptor.partitions {
            dir.create_dir(&partition.to_string(), DIR_MODE)?;
        }
        dir.sync()
    };
    match build(&parent, &name, DIR_MODE, fill, |_| ()) {
        // Somebody else was faster.
        Ok(_) | Err(FileError::AlreadyExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    parent.sync()?;
    Ok(())
}

fn read_journal_file(file: &mut File, path: &Path) -> Result<u64, JournalError> {
    let bad = |what| JournalError::BadFile { path: path.to_owned(), what };
    let mut bytes = [0; size_of::<JournalFile>()];
    file.read_exact(&mut bytes).map_err(|_| bad("is shorter than it was made"))?;
    let found: JournalFile = zerocopy::transmute!(bytes);
    if found.magic != MAGIC {
        return Err(bad("is of another version, or no file of tickcast at all"));
    }
    let bytes = found.segment_blocks.saturating_mul(BLOCK_BYTES);
    if found.crc != found.crc()
        || !bytes.is_power_of_two()
        || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes)
    {
        return Err(bad("is damaged"));
    }
    Ok(found.segment_blocks)
}
