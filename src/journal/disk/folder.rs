//! The directory of segment files. Change here what the files are called, and how one is opened,
//! made and used again.
//!
//! | name | is |
//! |---|---|
//! | `<first block>.segment` | a segment; the number in 16 hexadecimal digits |
//! | `<first block>.spare` | one that was removed, to be used again; the number is the one it had |
//! | `<first block>.new` | one that is being made |
//!
//! | byte | is locked |
//! |---|---|
//! | 0 | by the writer, and by all that it has asked the kernel for |
//! | 1 | by readers, who share it; by who is about to use the file again |
//!
//! A file is used again only when both bytes can be had. Whoever locks one too late sees that the
//! name leads to another file, or to none.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Part, blocking};
use crate::log::block::BLOCK_BYTES;
use crate::shm::dir::Dir;
use crate::shm::error::FileError;
use crate::shm::lock::{self, Lock};
use crate::shm::map::{Pages, allocate};

const SEGMENT: &str = "segment";
const SPARE: &str = "spare";
const NEW: &str = "new";

const WRITER: Range<u64> = 0..1;
const READERS: u64 = 1;

/// Highest block that is believed of a name, so that counting on from it never overflows.
const NUMBER_MAX: u64 = 1 << 46;

/// More than so many spares are not kept.
const SPARES_MAX: usize = 2;

/// How often a reader looks anew for what is being replaced, before it gives up.
const LOOKS_MAX: u32 = 1000;

/// A segment to be written. Its lock is held through the open file that all requests are about, so
/// it is free once the last of them is over, be it long after the death of this process.
#[derive(Debug, Clone)]
pub(crate) struct FileSegment(Arc<Lock>);

impl FileSegment {
    /// # Errors
    /// In a forked child.
    pub(super) fn file(&self) -> io::Result<&File> {
        self.0.file()
    }
}

/// A segment to be read, by anyone. It stays as it is for as long as this is held, though it may be
/// removed; but for what its writer adds.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    lock: Lock,
    way: Way,
}

/// How a segment is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By way of the page cache, which is filled ahead of the reader.
    Ahead,
    /// By way of the page cache, for as long as that has everything. It is not filled ahead, or it
    /// always would.
    Cached,
    /// Past the page cache.
    Direct,
}

impl SegmentReader {
    /// Fills `to` from byte `at` on; what lies behind the file's end reads as zeroes.
    pub(crate) fn read(&self, at: u64, to: &Part) -> io::Result<()> {
        blocking::read(self.lock.file()?, at, to)
    }

    /// The same for someone who reads a lot. What the page cache does not have goes past it from
    /// then on, since to copy by way of it takes longer than a fast disk.
    pub(crate) fn read_much(&mut self, at: u64, to: &Part) -> io::Result<()> {
        let file = self.lock.file()?;
        if self.way == Way::Ahead {
            blocking::expect_no_order(file);
            self.way = Way::Cached;
        }
        if self.way == Way::Cached
            && !blocking::is_cached(file, at, to.bytes)
            && blocking::set_direct(file, true).is_ok()
        {
            self.way = Way::Direct;
        }
        let read = blocking::read(file, at, to);
        if read.is_ok() || self.way == Way::Cached {
            return read;
        }
        // The end of a file that was cut off anywhere cannot be read like this.
        blocking::set_direct(file, false)?;
        self.way = Way::Cached;
        blocking::read(file, at, to)
    }

    /// The first byte from `at` on that may be anything but zero.
    pub(crate) fn next_written(&self, at: u64) -> io::Result<Option<u64>> {
        Ok(blocking::next_written(self.lock.file()?, at))
    }

    /// Whether it has a writer, or something that one has asked the kernel for is under way.
    pub(crate) fn is_written(&self) -> io::Result<bool> {
        lock::is_held(self.lock.file()?, WRITER.start)
    }
}

/// The first blocks of all segments in `dir`, in order.
pub(crate) fn segments(dir: &Dir) -> io::Result<Vec<u64>> {
    all(dir, SEGMENT).map_err(FileError::into_io)
}

/// The file of the segment that begins with block `first`.
pub(crate) fn segment_name(first: u64) -> String {
    name(first, SEGMENT)
}

/// Opens the segment that begins with block `first` to be read; `None` when there is none.
pub(crate) fn open_to_read(dir: &Dir, first: u64) -> io::Result<Option<SegmentReader>> {
    let name = name(first, SEGMENT);
    for _ in 0..LOOKS_MAX {
        let lock = Lock::try_shared::<FileError>(|| dir.open_file(&name, false), READERS);
        match lock.and_then(|lock| if_named(dir, &name, lock)) {
            Ok(Some(lock)) => return Ok(Some(SegmentReader { lock, way: Way::Ahead })),
            Ok(None) => thread::yield_now(),
            Err(FileError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into_io()),
        }
    }
    let text = format!("{} is being replaced again and again", dir.path().join(name).display());
    Err(io::Error::new(io::ErrorKind::WouldBlock, text))
}

/// Takes a segment's name away. Its file is used again, unless there are spares enough.
pub(crate) fn remove_segment(dir: &Dir, first: u64) -> Result<(), FileError> {
    let segment = name(first, SEGMENT);
    // A spare of the same number may be there, or a file system that cannot tell.
    if all(dir, SPARE)?.len() < SPARES_MAX && dir.rename(&segment, &name(first, SPARE)).is_ok() {
        return Ok(());
    }
    dir.remove_file(&segment)
}

/// The lock, unless what it locks has lost its name: that was opened first, and locked then.
pub(super) fn if_named(
    dir: &Dir,
    name: &str,
    lock: Option<Lock>,
) -> Result<Option<Lock>, FileError> {
    let Some(lock) = lock else { return Ok(None) };
    let file = lock.file().map_err(|error| FileError::from_io("examine", dir.path(), error))?;
    Ok(dir.leads_to(name, file)?.then_some(lock))
}

/// The directory, as its writer has it.
#[derive(Debug)]
pub(super) struct Folder {
    dir: Dir,
    segment_bytes: u64,
    /// Permissions of the files: those of the directory.
    mode: u32,
    /// Whether the file system was found to refuse to go past the page cache.
    is_buffered: AtomicBool,
}

impl Folder {
    pub(super) fn new(dir: Dir, segment_blocks: u64) -> Result<Folder, FileError> {
        let (mode, _) = dir.mode_and_group()?;
        let segment_bytes = segment_blocks * BLOCK_BYTES;
        let is_buffered = AtomicBool::new(false);
        let folder = Folder { dir, segment_bytes, mode: mode & 0o666, is_buffered };
        folder.remove_abandoned()?;
        Ok(folder)
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    pub(super) fn segment_blocks(&self) -> u64 {
        self.segment_bytes / BLOCK_BYTES
    }

    /// Opens a segment; `None` while it is locked.
    pub(super) fn open(&self, first: u64) -> Result<Option<FileSegment>, FileError> {
        let name = name(first, SEGMENT);
        let Some(lock) = self.lock(&name, WRITER)? else { return Ok(None) };
        Ok(Some(self.segment(&name, lock)?))
    }

    /// Makes a segment ready, in place of the one of that number, if there is one.
    pub(super) fn make(&self, first: u64) -> Result<FileSegment, FileError> {
        let name = name(first, SEGMENT);
        let lock = match self.recycle(first, &name)? {
            Some(lock) => lock,
            None => self.create(first)?,
        };
        let segment = self.segment(&name, lock)?;
        self.io("sync", &name, segment.file().and_then(File::sync_all))?;
        self.dir.sync()?;
        Ok(segment)
    }

    /// Begins a segment that is to take the place of the one of that number, which goes on being
    /// that one until it [`does`](Folder::finish_replacement).
    pub(super) fn begin_replacement(&self, first: u64) -> Result<FileSegment, FileError> {
        let lock = self.begin(first)?;
        self.segment(&name(first, NEW), lock)
    }

    pub(super) fn finish_replacement(
        &self,
        first: u64,
        segment: &FileSegment,
    ) -> Result<(), FileError> {
        let new = name(first, NEW);
        self.io("sync", &new, segment.file().and_then(File::sync_all))?;
        self.dir.replace(&new, &name(first, SEGMENT))?;
        self.dir.sync()
    }

    /// Gives `name`, that of segment `first`, to a spare that nobody uses; `None` when there is
    /// none.
    fn recycle(&self, first: u64, name: &str) -> Result<Option<Lock>, FileError> {
        for number in all(&self.dir, SPARE)? {
            let spare = self::name(number, SPARE);
            if number >= first {
                // It was cut off the end of the log: what it holds would be taken for blocks that
                // are to come in its place.
                self.dir.remove_file(&spare)?;
                continue;
            }
            let locks = self
                .lock(&spare, WRITER)
                .and_then(|writer| Ok(writer.zip(self.lock(&spare, READERS..READERS + 1)?)));
            match locks {
                Ok(Some((writer, _readers))) => {
                    let is_whole = writer.file().and_then(|file| self.is_whole(file));
                    if self.io("examine", &spare, is_whole)? {
                        self.dir.replace(&spare, name)?;
                        return Ok(Some(writer));
                    }
                    self.dir.remove_file(&spare)?;
                }
                Ok(None) => {}
                Err(error) => {
                    log::warn!("a spare segment is removed, and not used again: {error}");
                    // What cannot be removed either stays, and is no segment.
                    let _ = self.dir.remove_file(&spare);
                }
            }
        }
        Ok(None)
    }

    /// Whether a file has the room of a segment, all of it allocated.
    fn is_whole(&self, file: &File) -> io::Result<bool> {
        let bytes = file.metadata()?.len();
        Ok(bytes == self.segment_bytes && allocate(file, bytes, Pages::Default).is_ok())
    }

    /// Makes the file of segment `first` anew.
    fn create(&self, first: u64) -> Result<Lock, FileError> {
        let lock = self.begin(first)?;
        self.dir.replace(&name(first, NEW), &name(first, SEGMENT))?;
        Ok(lock)
    }

    /// Makes a file that is to be segment `first`, its room allocated.
    fn begin(&self, first: u64) -> Result<Lock, FileError> {
        self.remove_abandoned()?;
        let new = name(first, NEW);
        let lock =
            Lock::try_exclusive::<FileError>(|| self.dir.create_file(&new, self.mode), WRITER)?;
        // Somebody else took it for abandoned.
        let lock = lock.ok_or_else(|| FileError::AlreadyExists(self.dir.path().join(&new)))?;
        let allocated =
            lock.file().and_then(|file| allocate(file, self.segment_bytes, Pages::Default));
        self.io("allocate", &new, allocated).inspect_err(|_| {
            if let Err(error) = self.dir.remove_file(&new) {
                log::warn!("something unfinished stays behind: {error}");
            }
        })?;
        Ok(lock)
    }

    /// Removes what was being made by somebody who is no more.
    fn remove_abandoned(&self) -> Result<(), FileError> {
        for number in all(&self.dir, NEW)? {
            let new = name(number, NEW);
            let removed = self.lock(&new, WRITER).and_then(|lock| match lock {
                Some(_lock) => self.dir.remove_file(&new),
                None => Ok(()),
            });
            if let Err(error) = removed {
                log::warn!("something unfinished stays behind: {error}");
            }
        }
        Ok(())
    }

    /// A segment that is locked, to be written past the page cache where that can be done.
    fn segment(&self, name: &str, lock: Lock) -> Result<FileSegment, FileError> {
        let set = |is_direct| lock.file().and_then(|file| blocking::set_direct(file, is_direct));
        match set(true) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.io("set the flags of", name, set(false))?;
                if !self.is_buffered.swap(true, Ordering::Relaxed) {
                    let path = self.dir.path().display();
                    log::warn!(
                        "{path}: no O_DIRECT on this file system: goes on with buffered writes"
                    );
                }
            }
            result => self.io("set the flags of", name, result)?,
        }
        Ok(FileSegment(Arc::new(lock)))
    }

    /// Locks a byte of a file that is there; `None` when somebody else has it, or is about to
    /// rename the file.
    fn lock(&self, name: &str, byte: Range<u64>) -> Result<Option<Lock>, FileError> {
        let lock = Lock::try_exclusive::<FileError>(|| self.dir.open_file(name, true), byte)?;
        if_named(&self.dir, name, lock)
    }

    fn io<T>(
        &self,
        action: &'static str,
        name: &str,
        result: io::Result<T>,
    ) -> Result<T, FileError> {
        result.map_err(|error| FileError::from_io(action, &self.dir.path().join(name), error))
    }
}

/// The numbers of all files of a kind, in order.
fn all(dir: &Dir, kind: &str) -> Result<Vec<u64>, FileError> {
    let entries = dir.entries()?;
    let numbers = entries.iter().filter_map(|entry| number(entry.to_str().ok()?, kind));
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn name(first: u64, kind: &str) -> String {
    format!("{first:016x}.{kind}")
}

/// The number in a name of that kind.
fn number(entry: &str, kind: &str) -> Option<u64> {
    let number = u64::from_str_radix(entry.split_once('.')?.0, 16).ok()?;
    (entry == name(number, kind) && number <= NUMBER_MAX).then_some(number)
}
