//! Named cursors: where a subscriber goes on that is told by its name, in files beside the log.
//!
//! | name in `cursors/` | is |
//! |---|---|
//! | `<name>` | the cursor |
//! | `<name>~` | the next one, while it is written |
//! | `.<name>` | empty; byte 0 is locked by the subscriber of that name |
//!
//! A cursor, little-endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic and version |
//! | 8 | 16 | log id of the topic |
//! | 24 | 4 | partitions |
//! | 28 | 4 | CRC-32C of all the rest |
//! | 32 | 16 a partition | epoch; offset of the next message, all ones: nothing was committed |
//!
//! A new one is synced before it takes the name, and the name is synced then: a crash leaves the
//! old cursor or the new one.
//!
//! The epoch is that of the publisher which entered the block that the subscriber was in. By it a
//! cursor is told from a log that was cut below it and went on: the first block of a later epoch
//! begins at the cursor or behind it, or else the cursor's offset is another message's by now.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::journal::error::JournalError;
use crate::journal::topic_dir::TopicDir;
use crate::log::block::{BLOCK_BYTES, LogId};
use crate::shm::dir::Dir;
use crate::shm::error::FileError;
use crate::shm::lock::Lock;
use crate::shm::name::Name;

/// `TICKCUR` and the version of what is described above.
const MAGIC: u64 = u64::from_le_bytes(*b"TICKCUR\x01");

/// The offset of a partition for which nothing was committed.
const NO_OFFSET: u64 = u64::MAX;

/// Permissions of the files.
const FILE_MODE: u32 = 0o640;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: u64,
    log_id: [u64; 2],
    partitions: u32,
    crc: u32,
}

const _: () = assert!(size_of::<Header>() == 32);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    epoch: u64,
    offset: u64,
}

impl Header {
    fn crc(&self, entries: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.as_bytes()[..28]), entries)
    }
}

/// Where a subscriber goes on in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorPosition {
    /// Epoch of the publisher whose block the subscriber was in.
    pub epoch: u64,
    /// Offset of the next message.
    pub offset: u64,
}

/// A named cursor, as it lies with a topic's journal; see [`cursors`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedCursor {
    /// Its name.
    pub name: String,
    /// For each partition; `None` where nothing was committed.
    pub positions: Vec<Option<CursorPosition>>,
}

/// The named cursors of a topic's journal in the directory `path`, by name.
///
/// # Errors
/// No journal there, and a cursor that is damaged: [`remove_cursor`] gives it up.
pub fn cursors(path: impl AsRef<Path>) -> Result<Vec<NamedCursor>, JournalError> {
    read_all(&TopicDir::open(path.as_ref())?)
}

/// Removes a named cursor: nothing is kept for it any more, and a subscriber of that name begins
/// anew.
///
/// # Errors
/// [`CursorError::Busy`] while there is one.
pub fn remove_cursor(path: impl AsRef<Path>, name: &str) -> Result<(), CursorError> {
    let topic = TopicDir::open(path.as_ref())?;
    let name = parse(name)?;
    let dir = topic.make_cursors_dir()?;
    let _lock = lock(&dir, &name)?;
    dir.remove_file(&name).and_then(|()| dir.sync()).map_err(JournalError::from)?;
    Ok(())
}

/// The same, of a journal that is open.
pub(crate) fn read_all(topic: &TopicDir) -> Result<Vec<NamedCursor>, JournalError> {
    let mut cursors = Vec::new();
    let Some(dir) = topic.cursors_dir()? else { return Ok(cursors) };
    for name in dir.list()? {
        // One that was removed meanwhile is none.
        if let Some(positions) = read(topic, &dir, &name)? {
            cursors.push(NamedCursor { name: name.to_string(), positions });
        }
    }
    Ok(cursors)
}

/// Why a named cursor cannot be gone on with, or stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The subscriber was not given a name.
    #[error("the subscriber has no cursor: give it one before it is opened, by `cursor`")]
    Unnamed,
    /// Cursors lie with the journal, and there is none.
    #[error(
        "partition {partition} of topic {topic} has no journal, and a cursor lies with that: start \
         the journal first"
    )]
    NoJournal {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
    /// Another subscriber has that name.
    #[error("cursor {name} is another subscriber's: stop that one first, or take another name")]
    Busy {
        /// The name.
        name: String,
    },
    /// The log ends before it, or was cut before it and has gone on.
    #[error(
        "cursor {name} is at message {offset} of partition {partition}, and the log that it was \
         committed for ends at {end}: the log was cut; subscribe with another name, or remove \
         the cursor"
    )]
    Ahead {
        /// The name.
        name: String,
        /// The partition.
        partition: u32,
        /// Offset of the message that would come next.
        offset: u64,
        /// Where what the cursor was committed for ends now.
        end: u64,
    },
    /// Committing waits for the disk.
    #[error("an agent must not wait for the disk: commit on another thread")]
    InsideAgent,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A cursor that a subscriber has.
#[derive(Debug)]
pub(crate) struct CursorFile {
    topic: TopicDir,
    dir: Dir,
    name: Name,
    positions: Vec<Option<CursorPosition>>,
    /// Whether the file says what `positions` does.
    is_stored: bool,
    /// Held for as long as this lives.
    _lock: Lock,
}

impl CursorFile {
    /// The cursor `name` of a topic's journal, which nobody else has; without positions where there
    /// is none yet.
    pub(crate) fn open(topic: TopicDir, name: &str) -> Result<CursorFile, CursorError> {
        let name = parse(name)?;
        let dir = topic.make_cursors_dir()?;
        let lock = lock(&dir, &name)?;
        let none = || vec![None; topic.descriptor.partitions as usize];
        let positions = read(&topic, &dir, &name)?.unwrap_or_else(none);
        Ok(CursorFile { topic, dir, name, positions, is_stored: true, _lock: lock })
    }

    /// The directory of the topic's journal.
    pub(crate) fn topic(&self) -> &TopicDir {
        &self.topic
    }

    /// Where a partition goes on.
    pub(crate) fn position(&self, partition: u32) -> Option<CursorPosition> {
        *self.positions.get(partition as usize)?
    }

    /// Moves on in a partition; never back.
    pub(crate) fn advance(&mut self, partition: u32, to: CursorPosition) {
        let position = &mut self.positions[partition as usize];
        if position.is_none_or(|before| before.offset < to.offset) {
            *position = Some(to);
            self.is_stored = false;
        }
    }

    /// Makes it durable, where it has moved.
    pub(crate) fn store(&mut self) -> Result<(), JournalError> {
        if self.is_stored {
            return Ok(());
        }
        let bytes = encode(self.topic.descriptor.log_id, &self.positions);
        let new = format!("{}~", self.name);
        // What one left that was killed while it wrote.
        match self.dir.remove_file(&new) {
            Ok(()) | Err(FileError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut file = self.dir.create_file(&new, FILE_MODE)?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_all())
            .map_err(|error| FileError::from_io("write", &self.dir.path().join(&new), error))?;
        self.dir.replace(&new, &self.name)?;
        self.dir.sync()?;
        self.is_stored = true;
        Ok(())
    }
}

/// Offset of the first message of a later epoch than `epoch` in what a partition's files have
/// before
/// `limit`; `None` where there is none.
pub(crate) fn first_of_later_epoch(
    topic: &TopicDir,
    partition: u32,
    epoch: u64,
    limit: u64,
) -> Result<Option<u64>, JournalError> {
    let end = limit.div_ceil(BLOCK_BYTES);
    let mut blocks = topic.blocks(partition)?;
    let mut find = || -> io::Result<Option<u64>> {
        let Some(number) = blocks.find(end, |header| header.epoch <= epoch)? else {
            return Ok(None);
        };
        // The first that is there may be of a later one.
        let mut next = Some(number);
        while let Some(number) = next.filter(|number| *number < end) {
            let header = blocks.header(number)?.filter(|header| header.epoch > epoch);
            if let Some(header) = header {
                return Ok(Some(header.first_offset));
            }
            next = blocks.next_behind(number)?;
        }
        Ok(None)
    };
    find().map_err(|error| FileError::from_io("read", topic.path(), error).into())
}

fn parse(name: &str) -> Result<Name, JournalError> {
    Ok(name.parse().map_err(FileError::from)?)
}

/// Keeps others from being of that name.
fn lock(dir: &Dir, name: &Name) -> Result<Lock, CursorError> {
    let hidden = format!(".{name}");
    match dir.create_file(&hidden, FILE_MODE) {
        Ok(_) | Err(FileError::AlreadyExists(_)) => {}
        Err(error) => return Err(JournalError::from(error).into()),
    }
    let lock = Lock::try_exclusive::<FileError>(|| dir.open_file(&hidden, true), 0..1);
    let lock = lock.map_err(JournalError::from)?;
    lock.ok_or_else(|| CursorError::Busy { name: name.to_string() })
}

/// `None` when there is none.
fn read(
    topic: &TopicDir,
    dir: &Dir,
    name: &Name,
) -> Result<Option<Vec<Option<CursorPosition>>>, JournalError> {
    let mut file = match dir.open_file(name, false) {
        Err(FileError::NotFound(_)) => return Ok(None),
        file => file?,
    };
    let path = dir.path().join(&**name);
    let partitions = topic.descriptor.partitions;
    let bytes = read_at_most(&mut file, encoded_bytes(partitions) + 1)
        .map_err(|error| FileError::from_io("read", &path, error))?;
    decode(&bytes, topic.descriptor.log_id, partitions)
        .map(Some)
        .map_err(|what| JournalError::BadFile { path, what })
}

fn read_at_most(file: &mut File, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(bytes_max);
    file.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn encoded_bytes(partitions: u32) -> usize {
    size_of::<Header>() + partitions as usize * size_of::<Entry>()
}

fn encode(log_id: LogId, positions: &[Option<CursorPosition>]) -> Vec<u8> {
    let entry = |position: &Option<CursorPosition>| match position {
        Some(CursorPosition { epoch, offset }) => Entry { epoch: *epoch, offset: *offset },
        None => Entry { epoch: 0, offset: NO_OFFSET },
    };
    let entries: Vec<Entry> = positions.iter().map(entry).collect();
    let partitions = positions.len() as u32;
    let mut header = Header { magic: MAGIC, log_id: log_id.0, partitions, crc: 0 };
    header.crc = header.crc(entries.as_bytes());
    [header.as_bytes(), entries.as_bytes()].concat()
}

fn decode(
    bytes: &[u8],
    log_id: LogId,
    partitions: u32,
) -> Result<Vec<Option<CursorPosition>>, &'static str> {
    let damaged = "is damaged: remove it, and its subscriber begins anew";
    let (header, entries) = Header::read_from_prefix(bytes).map_err(|_| damaged)?;
    if header.magic != MAGIC {
        return Err("is of another version, or no cursor at all");
    }
    if header.crc != header.crc(entries) {
        return Err(damaged);
    }
    if header.log_id != log_id.0 || header.partitions != partitions {
        return Err("is a cursor of another topic's log");
    }
    let entries = <[Entry]>::ref_from_bytes(entries).map_err(|_| damaged)?;
    if entries.len() != partitions as usize {
        return Err(damaged);
    }
    let position = |entry: &Entry| {
        let Entry { epoch, offset } = *entry;
        (offset != NO_OFFSET).then_some(CursorPosition { epoch, offset })
    };
    Ok(entries.iter().map(position).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_read_and_nothing_else_is() {
        let log_id = LogId([3, 4]);
        let positions = vec![Some(CursorPosition { epoch: 1, offset: 7 }), None];
        let bytes = encode(log_id, &positions);
        assert_eq!(bytes.len(), encoded_bytes(2));
        assert_eq!(decode(&bytes, log_id, 2), Ok(positions));
        for (log_id, partitions) in [(LogId([3, 5]), 2), (log_id, 1)] {
            assert!(decode(&bytes, log_id, partitions).unwrap_err().contains("another topic"));
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(decode(&bytes, log_id, 2).is_err(), "byte {at} is not checked");
            assert!(decode(&bytes[..at], log_id, 2).is_err(), "{at} bytes are enough");
        }
        assert!(decode(&[&bytes[..], &[0]].concat(), log_id, 2).is_err(), "a byte too many");
    }
}
