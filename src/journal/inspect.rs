//! What a program holds to look at the journal of a topic, and the state that it is in.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::journal::check::{Checker, Meaning};
use crate::journal::dump::{self, JournalEntry};
use crate::journal::error::JournalError;
use crate::journal::topic_dir::TopicDir;
use crate::journal::verify::{self, Verification};
use crate::log::block::{BLOCK_HEADER_BYTES, block_of, block_start};
use crate::log::lane::StartAt;
use crate::log::walk::Tail;
use crate::shm::error::FileError;
use crate::sync::Ordering;

/// The journal of a topic, to be looked at by anyone who may read its files, also while it is
/// written.
///
/// # Examples
/// ```no_run
/// use tickcast::JournalDir;
///
/// let journal = JournalDir::open("/var/lib/md/trades")?;
/// let found = journal.verify(0, |done_blocks, blocks| println!("{done_blocks} of {blocks}"))?;
/// for damage in &found.damages {
///     println!("block {}: {}", damage.block, damage.kind);
/// }
/// # Ok::<(), tickcast::JournalError>(())
/// ```
#[derive(Debug)]
pub struct JournalDir {
    topic: TopicDir,
}

/// The state that the journal of a partition is in: what lies in its files. What its writer has
/// said lately is in [`JournalStat`](crate::JournalStat).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JournalInfo {
    /// Files of the log, those included that were made ready and have nothing yet.
    pub segments: u64,
    /// Bytes of disk that the partition's files take, with those that are kept to be used again.
    pub disk_bytes: u64,
    /// Number of the first block of the first segment.
    pub first_block: u64,
    /// Number of the last block; `None`: there is nothing in the files.
    pub last_block: Option<u64>,
    /// Offset of the oldest message, or of the oldest gap if that comes first.
    pub earliest_offset: u64,
    /// Its timestamp, ns since the Unix epoch; `None`: there is none.
    pub earliest_timestamp_ns: Option<u64>,
    /// Offset behind the last message.
    pub next_offset: u64,
    /// Highest timestamp of all, ns since the Unix epoch.
    pub timestamp_max_ns: Option<u64>,
    /// Where the log ends, in bytes from its start.
    pub position: u64,
    /// Everything before this position was on disk when that was written into the files last. With
    /// [`SyncPolicy::None`](crate::SyncPolicy::None) it is once a segment, and on closing.
    pub durable_position: u64,
    /// The same, as an offset; `None` where the block that it lies in cannot be read.
    pub durable_offset: Option<u64>,
    /// Epoch of the publisher that began the oldest block with a message.
    pub first_epoch: u64,
    /// Epoch of the publisher that began the last block.
    pub last_epoch: u64,
    /// Something behind the end was written, never known to be durable, and is not all there: what
    /// a power cut left. Whoever goes on with the journal cuts it away.
    pub is_cut: bool,
    /// A process writes to it. Its end may be further by now.
    pub is_being_written: bool,
}

impl JournalDir {
    /// The journal of a topic: the directory that was recorded to, and the topic's name in it.
    ///
    /// # Errors
    /// [`JournalError::Absent`], a damaged directory, no permission.
    pub fn open(path: impl AsRef<Path>) -> Result<JournalDir, JournalError> {
        Ok(JournalDir { topic: TopicDir::open(path.as_ref())? })
    }

    /// The directories in `dir` that are topics' journals, in order of their names, in whatever
    /// state.
    ///
    /// # Errors
    /// When `dir` cannot be read.
    pub fn list(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>, JournalError> {
        let dir = dir.as_ref();
        let failed = |error| FileError::from_io("list", dir, error);
        let entries = fs::read_dir(dir).map_err(failed)?;
        let paths = entries.map(|entry| Ok(entry?.path()));
        let mut paths: Vec<PathBuf> = paths.collect::<io::Result<_>>().map_err(failed)?;
        paths.retain(|path| TopicDir::is_there(path));
        paths.sort();
        Ok(paths)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.topic.path()
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> u32 {
        self.topic.descriptor.partitions
    }

    /// Size of a segment in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.topic.segment_bytes()
    }

    /// The state that the journal of a partition is in. Reads the block with the oldest message,
    /// those that are not known to be durable, and the first page of each block of the newest
    /// segments.
    ///
    /// # Errors
    /// [`JournalError`]. What is damaged is no error.
    pub fn info(&self, partition: u32) -> Result<JournalInfo, JournalError> {
        let mut checker = self.checker(partition)?;
        let places = checker.blocks.places();
        let is_written = |(first, _): &(u64, u64)| checker.blocks.is_written(*first);
        let mut info = JournalInfo {
            segments: places.len() as u64,
            disk_bytes: self.disk_bytes(partition)?,
            first_block: places.first().map_or(0, |(first, _)| *first),
            durable_position: checker.survey.durable,
            is_being_written: places.iter().map(is_written).any(|found| found.unwrap_or(false)),
            ..JournalInfo::default()
        };
        let read = info.read_start(&mut checker).and_then(|()| info.read_end(&mut checker));
        read.map_err(|error| self.error(partition, error))?;
        Ok(info)
    }

    /// Reads the whole journal of a partition and checks each block. `progress` is told, now and
    /// then, how many blocks are done, and how many there are. The memory that it takes is bounded.
    ///
    /// Of a journal that is written at this moment it reads what was there when it began.
    ///
    /// # Errors
    /// [`JournalError`]. What is damaged is no error.
    pub fn verify(
        &self,
        partition: u32,
        progress: impl FnMut(u64, u64),
    ) -> Result<Verification, JournalError> {
        let checker = self.checker(partition)?;
        let dir = self.path().join(partition.to_string());
        verify::verify(checker, &dir, progress).map_err(|error| self.error(partition, error))
    }

    /// Hands the blocks and frames of a partition to `handler`, as they lie in the files, from the
    /// block on in which `from` lies; frames of that block that come before are left out.
    ///
    /// # Errors
    /// [`JournalError`]. What is damaged is no error: it is handed out as such.
    pub fn dump(
        &self,
        partition: u32,
        from: StartAt,
        handler: impl FnMut(JournalEntry) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        let checker = self.checker(partition)?;
        dump::dump(checker, from, handler).map_err(|error| self.error(partition, error))
    }

    fn checker(&self, partition: u32) -> Result<Checker, JournalError> {
        let log_id = self.topic.descriptor.partition_log_id(partition);
        let blocks = self.topic.blocks(partition)?;
        Checker::new(blocks, log_id).map_err(|error| self.error(partition, error))
    }

    fn error(&self, partition: u32, error: io::Error) -> JournalError {
        FileError::from_io("read", &self.path().join(partition.to_string()), error).into()
    }

    fn disk_bytes(&self, partition: u32) -> Result<u64, JournalError> {
        let failed = |error| self.error(partition, error);
        let mut bytes = 0;
        for entry in fs::read_dir(self.path().join(partition.to_string())).map_err(failed)? {
            match entry.and_then(|entry| entry.metadata()) {
                // The kernel counts in these, whatever the disk does.
                Ok(found) => bytes += found.blocks() * 512,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(bytes)
    }
}

impl JournalInfo {
    fn read_start(&mut self, checker: &mut Checker) -> io::Result<()> {
        while let Some(step) = checker.next()? {
            let Some(block) = step.block else { continue };
            let Some((offset, position)) = block.first_start else { continue };
            let timestamp_ns = checker.lines().load(position + 8, Ordering::Relaxed);
            self.earliest_timestamp_ns = Some(timestamp_ns);
            (self.earliest_offset, self.first_epoch) = (offset, block.header.epoch);
            break;
        }
        Ok(())
    }

    fn read_end(&mut self, checker: &mut Checker) -> io::Result<()> {
        let durable = self.durable_position;
        checker.seek(block_of(durable.saturating_sub(1)).max(self.first_block));
        while let Some(step) = checker.next()? {
            self.is_cut |= step.fault.is_some_and(|(_, meaning)| meaning == Meaning::Cut);
            let Some(block) = step.block else { continue };
            if self.last_block.is_none() {
                let start = block_start(step.number) + BLOCK_HEADER_BYTES;
                let mut tail = Tail::at_block(step.number, &block.header);
                let limit = durable.max(start).min(step.position);
                let walked = tail.advance(checker.lines(), limit, |_, _| true);
                self.durable_offset = walked.ok().map(|()| tail.resume.offset);
            }
            self.last_block = Some(step.number);
            self.last_epoch = block.header.epoch;
            self.position = step.position;
            self.next_offset = block.tail.resume.offset;
            self.timestamp_max_ns = Some(block.tail.resume.timestamp_max_ns);
        }
        if self.earliest_timestamp_ns.is_none() {
            self.earliest_offset = self.next_offset;
        }
        Ok(())
    }
}
