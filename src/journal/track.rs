//! One partition's messages, out of its files: the log's own reader over blocks that are loaded as it
//! comes to them. What cannot be read is passed over, and reported as lost.
#![forbid(unsafe_code)]

use std::io;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use crate::journal::blocks::Blocks;
use crate::log::block::{block_of, block_start, is_edge};
use crate::log::copy::Stall;
use crate::log::lane::StartAt;
use crate::log::reader::{End, Frame, RawMessage, Reader, Start};
use crate::log::segment::{BlockBuffer, Verdict};

/// Blocks that are loaded together: they are checked and then read, so they should not leave the
/// cache in between.
const LOAD_BLOCKS: u64 = 4;

/// How often a block that seems to be cut off, though others follow it, is looked at again: it may just
/// be on its way to the disk.
const LOOKS_AGAIN: u32 = 50;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// A part of the log that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    /// Where it begins and ends, in bytes from the log's start.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The messages of one partition.
#[derive(Debug)]
pub(crate) struct Track {
    blocks: Blocks,
    reader: Reader,
    holes: u64,
}

impl Track {
    /// Opens the log at `start_at`; live is behind everything that is there. `None` when there is
    /// nothing in the files.
    pub(crate) fn open(
        mut blocks: Blocks,
        start_at: StartAt,
        message_bytes_max: u64,
    ) -> io::Result<Option<Track>> {
        let found = match start_at {
            StartAt::Earliest => blocks.find(|_| false)?,
            StartAt::Offset(offset) => blocks.find(|header| header.first_offset < offset)?,
            StartAt::Time(time_ns) => blocks.find(|header| header.timestamp_max_ns < time_ns)?,
            StartAt::Live => blocks.find(|_| true)?,
        };
        let Some(number) = found else { return Ok(None) };
        let due = match start_at {
            StartAt::Offset(offset) => Some(offset),
            _ => None,
        };
        let buffer = BlockBuffer::new(LOAD_BLOCKS)?;
        let start = Start { position: block_start(number), offset: 0, due, joining: true };
        let reader = Reader::buffered(buffer, start, message_bytes_max);
        let mut track = Track { blocks, reader, holes: 0 };
        match start_at {
            StartAt::Time(time_ns) => track.pass(|timestamp_ns| timestamp_ns < time_ns)?,
            StartAt::Live => track.pass(|_| true)?,
            _ => {}
        }
        Ok(Some(track))
    }

    /// Goes past what comes before the first message whose timestamp is not one to pass.
    fn pass(&mut self, is_passed: impl Fn(u64) -> bool) -> io::Result<()> {
        while self.ready()? {
            if let Some(Frame::Message(message)) = self.frame()
                && !is_passed(message.timestamp_ns)
            {
                break;
            }
            self.reader.consume();
        }
        Ok(())
    }

    /// Whether there is something in the log, which [`Track::frame`] has then. False at its end, for
    /// now.
    pub(crate) fn ready(&mut self) -> io::Result<bool> {
        loop {
            match self.reader.peek() {
                Ok(Some(Frame::Control { .. })) => self.reader.consume(),
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {
                    if !self.load()? {
                        return Ok(false);
                    }
                }
                Err(Stall::Damaged(damaged)) => {
                    log::error!("{damaged}");
                    if !self.skip(block_of(damaged.position))? {
                        return Ok(false);
                    }
                }
                // Nobody takes places in the buffer but for the next blocks.
                Err(Stall::Overrun) => unreachable!("a buffer is filled in order"),
            }
        }
    }

    /// What comes next. To be called when [`Track::ready`] has just returned true.
    pub(crate) fn frame(&mut self) -> Option<Frame<'_>> {
        self.reader.peek().ok().flatten()
    }

    /// Goes past it.
    pub(crate) fn consume(&mut self) {
        self.reader.consume();
    }

    /// Hands out plain messages that follow what was consumed last, as far as they are loaded.
    #[inline(always)]
    pub(crate) fn each_message(
        &mut self,
        limit: usize,
        handler: impl FnMut(RawMessage<'_>) -> ControlFlow<bool>,
    ) -> (usize, End) {
        self.reader.open();
        let result = self.reader.each_message(limit, handler);
        self.reader.close();
        result
    }

    /// Offset of the next message.
    pub(crate) fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Position of what comes next.
    pub(crate) fn position(&mut self) -> u64 {
        self.reader.position()
    }

    /// How many parts of the log could not be read.
    pub(crate) fn holes(&self) -> u64 {
        self.holes
    }

    /// Loads what the reader has come to. False at the end of what is there.
    fn load(&mut self) -> io::Result<bool> {
        let position = self.reader.position();
        if !is_edge(position) {
            return self.load_rest(position);
        }
        let number = block_of(position);
        match self.load_at(number, LOAD_BLOCKS) {
            Ok((1.., _)) => Ok(true),
            Ok((_, verdict)) => {
                if number >= self.blocks.end() {
                    self.blocks.refresh()?;
                    if number < self.blocks.end() {
                        return Ok(matches!(self.load_at(number, LOAD_BLOCKS)?, (1.., _)));
                    }
                }
                if verdict == Verdict::Damaged {
                    log::error!("block {number} is damaged");
                }
                self.skip(number)
            }
            Err(error) => {
                log::error!("block {number} cannot be read: {error}");
                self.skip(number)
            }
        }
    }

    /// Loads more of a block that was not full when it was loaded.
    fn load_rest(&mut self, position: u64) -> io::Result<bool> {
        let number = block_of(position);
        for look in 0..=LOOKS_AGAIN {
            let used = match self.load_at(number, 1)? {
                (_, Verdict::Sound(sound)) => block_start(number) + sound.checkpoint.used_bytes,
                _ => {
                    if let Some(buffer) = self.reader.buffer() {
                        buffer.clear_behind(position);
                    }
                    position
                }
            };
            if used > position {
                return Ok(true);
            }
            if self.blocks.next_behind(number)?.is_none() {
                return Ok(false);
            }
            if look < LOOKS_AGAIN {
                thread::sleep(LOOK_AGAIN_AFTER);
            }
        }
        log::error!("block {number} is damaged behind position {position}");
        self.skip(number)
    }

    fn load_at(&mut self, number: u64, count: u64) -> io::Result<(u64, Verdict)> {
        let buffer = self.reader.buffer().expect("it reads from files");
        self.blocks.load(number, count, buffer)
    }

    /// Goes on with the next block behind `number` that can be read. False when there is none.
    fn skip(&mut self, number: u64) -> io::Result<bool> {
        let Some(next) = self.blocks.next_behind(number)? else { return Ok(false) };
        self.holes += 1;
        self.reader.restart(next);
        Ok(true)
    }
}
