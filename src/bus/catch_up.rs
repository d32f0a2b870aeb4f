//! A subscriber that begins before what the ring holds: it reads the journal's files, and goes on
//! in the ring as soon as that has what comes next. Positions are the same in both.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::bus::topic::Topic;
use crate::journal::is_gating;
use crate::journal::topic_dir::TopicDir;
use crate::journal::track::Loader;
use crate::log::block::{block_of, block_start, is_edge};
use crate::log::copy::Stall;
use crate::log::lane::{Lane, StartAt, Stop};
use crate::log::memory::Memory;
use crate::log::pages::{self, Pages, journal};
use crate::log::reader::{Frame, Reader, Start};
use crate::sync::Ordering;

/// The files of a partition's journal, as a subscriber reads them.
#[derive(Debug)]
pub(crate) struct CatchUp {
    loader: Loader,
    pages: Pages,
    message_bytes_max: u64,
    /// What the ring is to have ahead of the publisher's reach before a subscriber leaves the
    /// files, so that it is not overrun at once.
    spare_bytes: u64,
}

impl CatchUp {
    /// `None` where the partition has no journal, or none that can be read.
    pub(crate) fn open(topic: &Topic, partition: u32, pages: &Pages) -> Option<CatchUp> {
        let path = journal_path(&pages.journal)?;
        let opened = TopicDir::open(&path).and_then(|dir| {
            if dir.descriptor.log_id != topic.descriptor().log_id {
                return Ok(None);
            }
            dir.blocks(partition).map(Some)
        });
        let blocks = match opened {
            Ok(blocks) => blocks?,
            Err(error) => {
                log::warn!("subscribing without the journal: {error}");
                return None;
            }
        };
        Some(CatchUp {
            loader: Loader::new(blocks),
            pages: pages.clone(),
            message_bytes_max: topic.message_bytes_max(),
            spare_bytes: topic.ring_bytes() / 4,
        })
    }

    /// A reader of the files that starts at `start_at`; `None` when there is nothing in them, or
    /// nothing that can be read.
    pub(crate) fn reader(&mut self, start_at: StartAt) -> Option<Reader> {
        let found = self.loader.start(start_at, self.written());
        let opened = found.and_then(|start| {
            // A journal that has only begun will write what its cursor keeps in the ring.
            let start =
                start.or_else(|| is_gating(&self.pages).then(|| self.start_at_cursor(start_at)));
            Ok(start.zip(Some(Loader::buffer()?)))
        });
        match opened {
            Ok(opened) => opened
                .map(|(start, buffer)| Reader::buffered(buffer, start, self.message_bytes_max)),
            Err(error) => {
                log::error!("the journal cannot be read: {error}");
                None
            }
        }
    }

    fn start_at_cursor(&self, start_at: StartAt) -> Start {
        let cursor = self.pages.journal.load(pages::cursor::POSITION, Ordering::Acquire);
        let due = match start_at {
            StartAt::Offset(offset) => Some(offset),
            _ => None,
        };
        Start { position: block_start(block_of(cursor)), offset: 0, due, joining: true }
    }

    /// Goes past the messages before the first whose timestamp is at or behind `time_ns`.
    pub(crate) fn pass_before(&mut self, lane: &mut Lane, time_ns: u64) -> Result<(), Stop> {
        loop {
            match lane.reader.peek() {
                Ok(Some(Frame::Message(message))) if message.timestamp_ns >= time_ns => {
                    return Ok(());
                }
                Ok(Some(_)) => lane.reader.consume(),
                Ok(None) => {
                    if !lane.is_in_files() || !self.go_on(lane)? {
                        return Ok(());
                    }
                }
                Err(Stall::Damaged(damaged)) => return Err(Stop::Damaged(damaged)),
                Err(Stall::Overrun) => self.go_back(lane)?,
            }
        }
    }

    /// Lets `lane`, which reads files and has nothing left, go on: with more of them, or in the
    /// ring. False when nothing more is published.
    pub(crate) fn go_on(&mut self, lane: &mut Lane) -> Result<bool, Stop> {
        if is_edge(lane.reader.position()) && lane.go_on_in_ring(self.spare_bytes)? {
            return Ok(true);
        }
        // Before the files are looked at, so that what they do not have then is not there.
        let is_gating = is_gating(&self.pages);
        let written = self.written();
        match self.loader.load(&mut lane.reader, written) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => log::error!("the journal cannot be read: {error}"),
        }
        if lane.go_on_in_ring(0)? {
            return Ok(true);
        }
        // The ring has gone past. A journal that is waited for has it in its files, or soon has.
        if is_gating { Ok(false) } else { lane.recover(Stall::Overrun) }
    }

    /// Up to where the files have the log.
    fn written(&self) -> u64 {
        self.pages.journal.load(journal::WRITTEN, Ordering::Acquire)
    }

    /// Lets `lane`, which was overrun in the ring, go on with the files.
    pub(crate) fn go_back(&self, lane: &mut Lane) -> Result<(), Stop> {
        match Loader::buffer() {
            Ok(buffer) => lane.go_on_in_files(buffer),
            Err(error) => {
                log::error!("no memory to read the journal with: {error}");
                lane.recover(Stall::Overrun)?;
            }
        }
        Ok(())
    }
}

/// Where the files are, as the journal says.
pub(crate) fn journal_path(page: &Memory) -> Option<PathBuf> {
    let bytes = page.load(journal::PATH_BYTES, Ordering::Acquire);
    if bytes == 0 || bytes > journal::PATH_BYTES_MAX {
        return None;
    }
    let mut words = vec![0; bytes.div_ceil(8) as usize];
    page.words().load_words(journal::PATH, &mut words);
    let path: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Some(OsStr::from_bytes(&path[..bytes as usize]).into())
}
