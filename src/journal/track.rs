//! Reading the log out of its files: the log's own reader over blocks that are loaded as it comes
//! to them. What cannot be read is passed over, and comes as a loss.
#![forbid(unsafe_code)]

use std::io;
use std::ops::ControlFlow;

use crate::journal::ahead::ReadAhead;
use crate::journal::blocks::Blocks;
use crate::log::block::{BLOCK_BYTES, block_of, block_start, is_edge};
use crate::log::copy::Stall;
use crate::log::lane::StartAt;
use crate::log::last::{Found, search_back};
use crate::log::reader::{End, Frame, RawMessage, Reader, Start};
use crate::log::segment::{BlockBuffer, Verdict};

/// Blocks that are loaded together: they are checked and then read, so they should not leave the
/// cache in between.
const LOAD_BLOCKS: u64 = 4;

/// After so many loads, one behind the other, threads load what follows.
const LOADS_BEFORE_AHEAD: u32 = 2;

/// Loads what a reader comes to.
#[derive(Debug)]
pub(crate) struct Loader {
    blocks: Blocks,
    /// Parts of the log that could not be read.
    holes: u64,
    ahead: Ahead,
}

/// Who loads what comes next: threads only where there is no limit up to which that may be done.
#[derive(Debug)]
enum Ahead {
    /// The reader, when it comes to it.
    Never,
    /// The reader, this often; then threads.
    After(u32),
    Threads(Box<ReadAhead>),
}

impl Loader {
    pub(crate) fn new(blocks: Blocks) -> Loader {
        Loader { blocks, holes: 0, ahead: Ahead::Never }
    }

    /// Room for what is loaded.
    ///
    /// # Errors
    /// When there is no memory left.
    pub(crate) fn buffer() -> io::Result<BlockBuffer> {
        BlockBuffer::new(LOAD_BLOCKS)
    }

    /// Where a reader starts that is to find `start_at` in what lies before `limit`: then messages
    /// are to be passed over by time alone. `None` when there is nothing in the files.
    pub(crate) fn start(&mut self, start_at: StartAt, limit: u64) -> io::Result<Option<Start>> {
        let (blocks, end) = (&mut self.blocks, limit.div_ceil(BLOCK_BYTES));
        let found = match start_at {
            StartAt::Earliest => blocks.find_first(end)?,
            StartAt::Offset(offset) => blocks.find(end, |header| header.first_offset < offset)?,
            StartAt::Time(time_ns) => {
                blocks.find(end, |header| header.timestamp_max_ns < time_ns)?
            }
            StartAt::Live => blocks.find(end, |_| true)?,
        };
        let due = match start_at {
            StartAt::Offset(offset) => Some(offset),
            // The log begins here: what cannot be read is lost.
            StartAt::Earliest if blocks.first() == Some(0) => Some(0),
            _ => None,
        };
        Ok(found.map(|number| Start {
            position: block_start(number),
            offset: 0,
            due,
            joining: true,
        }))
    }

    /// Loads what `reader`, which has nothing left, comes to next, as far as it lies before
    /// `limit`: all of that was written. False at the end of what is there.
    pub(crate) fn load(&mut self, reader: &mut Reader, limit: u64) -> io::Result<bool> {
        if let Some(jump) = reader.take_jump() {
            self.jump(reader, jump);
        }
        let position = reader.position();
        if position >= limit {
            return Ok(false);
        }
        let number = block_of(position);
        if is_edge(position)
            && let Ahead::Threads(ahead) = &mut self.ahead
            && ahead.exchange(number, |buffer| reader.exchange_buffer(buffer))
        {
            return Ok(true);
        }
        let mut goes_on = limit < u64::MAX;
        loop {
            let loaded = if is_edge(position) {
                self.load_blocks(reader, number, limit)
            } else {
                self.load_rest(reader, position)
            };
            match loaded {
                Ok(true) => return Ok(true),
                _ if self.blocks.next_behind(number)?.is_none() => return Ok(false),
                Err(error) => log::error!("block {number} cannot be read: {error}"),
                Ok(_) if goes_on => log::error!("the log is damaged behind position {position}"),
                Ok(_) if self.blocks.goes_on_behind(position)? => {
                    // It may have come just now.
                    goes_on = true;
                    continue;
                }
                Ok(_) => return Ok(false),
            }
            return self.skip(reader, number);
        }
    }

    /// Goes on where the log says that it does, further on: unless the ring went past the journal
    /// once more before that was written. Then the next block says so.
    fn jump(&mut self, reader: &mut Reader, jump: u64) {
        let next = block_of(reader.position());
        if let Err(error) = self.blocks.refresh() {
            log::warn!("segments cannot be listed: {error}");
        }
        if jump > next && !matches!(self.blocks.header(next), Ok(Some(_))) {
            reader.restart(jump);
        }
    }

    /// Loads block `number` and what follows it. False where that cannot be believed.
    fn load_blocks(&mut self, reader: &mut Reader, number: u64, limit: u64) -> io::Result<bool> {
        let count = LOAD_BLOCKS.min(block_of(limit - 1) + 1 - number);
        let (sound, _) = self.load_at(reader, number, count)?;
        if sound > 0 {
            self.load_ahead(number + sound);
        }
        Ok(sound > 0)
    }

    /// Has block `number` and what follows it loaded.
    fn load_ahead(&mut self, number: u64) {
        match &mut self.ahead {
            Ahead::Never => {}
            Ahead::Threads(ahead) => ahead.go_on(number),
            Ahead::After(loads @ 1..) => *loads -= 1,
            Ahead::After(0) => {
                let started = ReadAhead::start(&self.blocks, number);
                self.ahead = match started {
                    Ok(ahead) => Ahead::Threads(Box::new(ahead)),
                    Err(error) => {
                        log::warn!("reads without threads that read ahead: {error}");
                        Ahead::Never
                    }
                };
            }
        }
    }

    /// Goes on with the next block behind `number` that can be read. False when there is none.
    pub(crate) fn skip(&mut self, reader: &mut Reader, number: u64) -> io::Result<bool> {
        let Some(next) = self.blocks.next_behind(number)? else { return Ok(false) };
        self.holes += 1;
        reader.restart(next);
        Ok(true)
    }

    /// Loads more of a block that was not full when it was loaded. False where there is no more.
    fn load_rest(&mut self, reader: &mut Reader, position: u64) -> io::Result<bool> {
        let number = block_of(position);
        let loaded = self.load_at(reader, number, 1);
        if let Ok((_, Verdict::Sound(sound))) = &loaded {
            return Ok(block_start(number) + sound.checkpoint.used_bytes > position);
        }
        if let Some(buffer) = reader.buffer() {
            buffer.clear_behind(position);
        }
        loaded.map(|_| false)
    }

    fn load_at(
        &mut self,
        reader: &mut Reader,
        number: u64,
        count: u64,
    ) -> io::Result<(u64, Verdict)> {
        let buffer = reader.buffer().expect("it reads from files");
        self.blocks.load(number, count, buffer)
    }
}

/// The messages of one partition.
#[derive(Debug)]
pub(crate) struct Track {
    loader: Loader,
    reader: Reader,
}

impl Track {
    /// Opens the log at `start_at`; live is behind everything that is there. `None` when there is
    /// nothing in the files.
    pub(crate) fn open(
        blocks: Blocks,
        start_at: StartAt,
        message_bytes_max: u64,
    ) -> io::Result<Option<Track>> {
        let mut loader = Loader::new(blocks);
        let Some(start) = loader.start(start_at, u64::MAX)? else { return Ok(None) };
        let reader = Reader::buffered(Loader::buffer()?, start, message_bytes_max);
        let mut track = Track { loader, reader };
        match start_at {
            StartAt::Time(time_ns) => track.pass(|timestamp_ns| timestamp_ns < time_ns)?,
            StartAt::Live => track.pass(|_| true)?,
            _ => {}
        }
        Ok(Some(track))
    }

    /// From now on threads load what comes next, once much was loaded.
    pub(crate) fn read_ahead(&mut self) {
        self.loader.ahead = Ahead::After(LOADS_BEFORE_AHEAD);
        self.loader.blocks.read_much();
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

    /// Shows `see` the end of what `blocks` have, from further and further back until it says that
    /// a frame is one that is looked for: the last such frame is the one that it was shown last.
    /// `Unknown` also where something behind it cannot be read, or the files end before offset
    /// `end_min`.
    pub(crate) fn last(
        blocks: &mut Blocks,
        message_bytes_max: u64,
        end_min: u64,
        mut see: impl FnMut(Frame<'_>) -> bool,
    ) -> io::Result<Found> {
        let Some(newest) = blocks.find(u64::MAX, |_| true)? else { return Ok(Found::Unknown) };
        let oldest = blocks.find_first(u64::MAX)?.unwrap_or(newest);
        search_back(newest, oldest, |number| {
            let start =
                Start { position: block_start(number), offset: 0, due: None, joining: true };
            let reader = Reader::buffered(Loader::buffer()?, start, message_bytes_max);
            let mut track = Track { loader: Loader::new(blocks.try_clone()?), reader };
            let mut found = Found::Never;
            while track.advance()? {
                let Some(frame) = track.frame() else { continue };
                if let Frame::Lost { cause: None, .. } = frame {
                    found = Found::Unknown;
                }
                let is_one = see(frame);
                track.consume();
                if is_one {
                    found = Found::Behind(track.offset());
                }
            }
            Ok(if track.offset() < end_min { Found::Unknown } else { found })
        })
    }

    /// Whether there is a message or a loss in the log, which [`Track::frame`] has then. False at
    /// its end, for now.
    pub(crate) fn ready(&mut self) -> io::Result<bool> {
        while self.advance()? {
            if !matches!(self.frame(), Some(Frame::Control { .. })) {
                return Ok(true);
            }
            self.consume();
        }
        Ok(false)
    }

    /// Whether there is a frame in the log, be it a publisher's control frame.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            match self.reader.peek() {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {
                    if !self.loader.load(&mut self.reader, u64::MAX)? {
                        return Ok(false);
                    }
                }
                Err(Stall::Damaged(damaged)) => {
                    log::error!("{damaged}");
                    let number = block_of(damaged.position);
                    if !self.loader.skip(&mut self.reader, number)? {
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

    /// How often a file was read from.
    pub(crate) fn reads(&self) -> u64 {
        let ahead = match &self.loader.ahead {
            Ahead::Threads(ahead) => ahead.reads(),
            _ => 0,
        };
        self.loader.blocks.reads() + ahead
    }

    /// How many parts of the log could not be read.
    pub(crate) fn holes(&self) -> u64 {
        self.loader.holes
    }
}
