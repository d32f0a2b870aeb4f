//! The named cursors of a subscriber: a file for each journal that its partitions have.

use crate::bus::catch_up::journal_path;
use crate::bus::channel::Channel;
use crate::bus::durable::durable_offset;
use crate::bus::topic::Topic;
use crate::journal::cursor_file::{CursorFile, first_of_later_epoch};
use crate::journal::topic_dir::TopicDir;
use crate::journal::{CursorError, CursorPosition, JournalError};
use crate::log::memory::Memory;
use crate::log::pages::{self, Pages};
use crate::log::ring::Ring;
use crate::log::seek;
use crate::sync::Ordering;

/// What lies under a subscriber's name.
#[derive(Debug)]
pub(crate) struct Cursors {
    name: String,
    files: Vec<CursorFile>,
    /// For each channel.
    places: Vec<Place>,
}

/// Where a channel's cursor is.
#[derive(Debug)]
struct Place {
    /// Index of the file.
    file: usize,
    partition: u32,
    /// The journal page, which says what is durable.
    journal: Memory,
}

impl Cursors {
    pub(crate) fn new(name: &str) -> Cursors {
        Cursors { name: name.to_owned(), files: Vec::new(), places: Vec::new() }
    }

    /// Adds the next channel. Returns the offset that it goes on with; `None` where nothing was
    /// committed.
    pub(crate) fn add(
        &mut self,
        topic: &Topic,
        partition: u32,
        ring: &Ring,
        pages: &Pages,
    ) -> Result<Option<u64>, CursorError> {
        let file = self.open(topic, partition, pages)?;
        self.places.push(Place { file, partition, journal: pages.journal.clone() });
        let file = &self.files[file];
        let Some(CursorPosition { epoch, offset }) = file.position(partition) else {
            return Ok(None);
        };
        let written = pages.journal.load(pages::journal::WRITTEN, Ordering::Acquire);
        let end = match first_of_later_epoch(file.topic(), partition, epoch, written)? {
            None => first_in_ring(ring, &pages.publisher, epoch),
            end => end,
        };
        match end.filter(|end| *end < offset) {
            Some(end) => Err(self.ahead(partition, offset, end)),
            None => Ok(Some(offset)),
        }
    }

    /// The error for a cursor at `offset`, where that message was never published as far as the log
    /// goes.
    pub(crate) fn ahead(&self, partition: u32, offset: u64, end: u64) -> CursorError {
        CursorError::Ahead { name: self.name.clone(), partition, offset, end }
    }

    /// The index of the partition's file, which is opened when it is first needed.
    fn open(&mut self, topic: &Topic, partition: u32, pages: &Pages) -> Result<usize, CursorError> {
        let path = journal_path(&pages.journal)
            .ok_or_else(|| CursorError::NoJournal { topic: topic.name().to_owned(), partition })?;
        let dir = TopicDir::open(&path)?;
        if dir.descriptor.log_id != topic.descriptor().log_id {
            return Err(JournalError::Foreign { path }.into());
        }
        let found = self.files.iter().position(|file| file.topic().path() == dir.path());
        Ok(match found {
            Some(index) => index,
            None => {
                self.files.push(CursorFile::open(dir, &self.name)?);
                self.files.len() - 1
            }
        })
    }

    /// Stores how far the channels are, as far as that is on disk.
    pub(crate) fn commit(&mut self, channels: &[Channel]) -> Result<(), CursorError> {
        for (Place { file, partition, journal }, channel) in self.places.iter().zip(channels) {
            // One that has come to no block yet is where it was.
            let epoch = channel.epoch();
            if epoch > 0 {
                let offset = channel.offset().min(durable_offset(journal));
                self.files[*file].advance(*partition, CursorPosition { epoch, offset });
            }
        }
        for file in &mut self.files {
            file.store()?;
        }
        Ok(())
    }
}

/// Offset of the first message in the ring that is of a later epoch.
fn first_in_ring(ring: &Ring, publisher: &Memory, epoch: u64) -> Option<u64> {
    // A log that is damaged is told when it is read.
    let (newest, reserved) = seek::newest_live(ring, publisher).ok()?;
    let end = newest? + 1;
    let (mut low, mut high) = (seek::earliest(ring, reserved)?, end);
    while low < high {
        let middle = low + (high - low) / 2;
        match ring.header(middle) {
            Some(header) if header.epoch > epoch => high = middle,
            _ => low = middle + 1,
        }
    }
    if low < end { ring.header(low).map(|header| header.first_offset) } else { None }
}
