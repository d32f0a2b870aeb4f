//! A real disk: segments as files in a directory, written by io_uring, or by calls that wait where
//! there is none.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::blocking::{self, Blocking};
use super::folder::{self, FileSegment, Folder};
use super::maker::Maker;
use super::uring::Uring;
use super::{Completion, Disk, Part};
use crate::shm::dir::Dir;
use crate::shm::error::FileError;

/// How long one who waits sleeps between two looks.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// How a disk is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// By io_uring; where that is refused, as if it were the other.
    Uring,
    /// By calls that wait for the disk, one by one: a test that they do.
    #[cfg(test)]
    Blocking,
}

/// A directory of segment files, opened to be written to.
pub(crate) struct FileDisk {
    /// First, so that what is under way is over before anything else goes.
    queue: Queue,
    maker: Maker,
    folder: Arc<Folder>,
}

/// What was asked for and is not told to be over.
enum Queue {
    Uring(Box<Uring>),
    Blocking(Blocking),
}

impl FileDisk {
    /// Opens `dir`, with segments of so many blocks.
    pub(crate) fn open(dir: Dir, segment_blocks: u64, engine: Engine) -> io::Result<FileDisk> {
        let folder = Arc::new(Folder::new(dir, segment_blocks).map_err(FileError::into_io)?);
        let refused = |error: &io::Error| {
            log::warn!(
                "{}: no io_uring ({error}): goes on with writes that wait for the disk, and \
                 hold up whatever runs on the same core",
                folder.dir().path().display()
            );
        };
        let uring = match engine {
            Engine::Uring => Uring::new().inspect_err(refused).ok(),
            #[cfg(test)]
            Engine::Blocking => None,
        };
        let queue = match uring {
            Some(uring) => Queue::Uring(Box::new(uring)),
            None => Queue::Blocking(Blocking::default()),
        };
        let maker = Maker::start(folder.clone())?;
        Ok(FileDisk { queue, maker, folder })
    }

    /// Has `task` done before each segment is made, by the thread that makes it.
    pub(crate) fn before_making(&mut self, task: impl FnMut() + Send + 'static) {
        self.maker.before_making(Box::new(task));
    }

    /// Begins a segment that is to take the place of the one of that number: it does, durably, with
    /// [`FileDisk::finish_replacement`], once it is filled.
    pub(crate) fn begin_replacement(&mut self, first: u64) -> io::Result<FileSegment> {
        self.folder.begin_replacement(first).map_err(FileError::into_io)
    }

    pub(crate) fn finish_replacement(
        &mut self,
        first: u64,
        segment: &FileSegment,
    ) -> io::Result<()> {
        self.folder.finish_replacement(first, segment).map_err(FileError::into_io)
    }
}

impl Disk for FileDisk {
    type Segment = FileSegment;

    fn segment_blocks(&self) -> u64 {
        self.folder.segment_blocks()
    }

    fn segments(&mut self) -> io::Result<Vec<u64>> {
        folder::segments(self.folder.dir())
    }

    fn open(&mut self, first: u64) -> io::Result<FileSegment> {
        self.folder.open(first).map_err(FileError::into_io)?.ok_or_else(|| {
            let text = format!(
                "the segment of block {first} in {} is written by another journal, or by requests \
                 that one has left with the kernel: try again when that is over",
                self.folder.dir().path().display()
            );
            io::Error::new(io::ErrorKind::WouldBlock, text)
        })
    }

    fn read(&mut self, segment: &FileSegment, at: u64, to: &Part) -> io::Result<()> {
        blocking::read(segment.file()?, at, to)
    }

    fn remove(&mut self, first: u64) -> io::Result<()> {
        folder::remove_segment(self.folder.dir(), first).map_err(FileError::into_io)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.folder.dir().sync().map_err(FileError::into_io)
    }

    fn prepare(&mut self, first: u64) {
        self.maker.ask(first);
    }

    fn prepared(&mut self) -> Option<io::Result<FileSegment>> {
        self.maker.fetch()
    }

    fn write(&mut self, id: u64, segment: &FileSegment, at: u64, parts: &[Part]) {
        match &mut self.queue {
            Queue::Uring(uring) => uring.write(id, segment, at, parts),
            Queue::Blocking(blocking) => blocking.write(id, segment.file(), at, parts),
        }
    }

    fn flush(&mut self, id: u64, segment: &FileSegment) {
        match &mut self.queue {
            Queue::Uring(uring) => uring.flush(id, segment),
            Queue::Blocking(blocking) => blocking.flush(id, segment.file()),
        }
    }

    fn finish(&mut self) -> io::Result<Completion> {
        loop {
            match self.completed() {
                Some(completion) => return Ok(completion),
                None => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    fn completed(&mut self) -> Option<Completion> {
        match &mut self.queue {
            Queue::Uring(uring) => uring.completed(),
            Queue::Blocking(blocking) => blocking.completed(),
        }
    }
}
