//! The blocks of one partition's journal, as anyone can read them who may read the files: loading
//! some, and finding one by offset or time.
#![forbid(unsafe_code)]

use std::io;

use crate::journal::disk::{PAGE_BYTES, Part, SegmentReader, open_to_read, segments};
use crate::journal::recovery::is_marred;
use crate::journal::stage::WINDOW_BLOCKS;
use crate::log::block::{BLOCK_BYTES, BlockHeader, LogId, block_of, block_start};
use crate::log::segment::{BlockBuffer, Checkpoint, Verdict};
use crate::shm::dir::Dir;

/// The files of one partition.
#[derive(Debug)]
pub(crate) struct Blocks {
    log_id: LogId,
    segment_blocks: u64,
    /// The first blocks of all segments, in order.
    firsts: Vec<u64>,
    files: Files,
    /// For headers alone.
    header: BlockBuffer,
    /// Up to here the log was on disk for certain, when that was looked for last.
    durable: u64,
}

/// The files, the last one used open.
#[derive(Debug)]
struct Files {
    dir: Dir,
    open: Option<(u64, SegmentReader)>,
    reads_much: bool,
    reads: u64,
}

impl Blocks {
    pub(crate) fn open(dir: Dir, log_id: LogId, segment_blocks: u64) -> io::Result<Blocks> {
        let header = BlockBuffer::new(1)?;
        let files = Files { dir, open: None, reads_much: false, reads: 0 };
        let firsts = Vec::new();
        let mut blocks = Blocks { log_id, segment_blocks, firsts, files, header, durable: 0 };
        blocks.refresh()?;
        Ok(blocks)
    }

    /// The same files, to be read by somebody else.
    pub(crate) fn try_clone(&self) -> io::Result<Blocks> {
        let dir = self.files.dir.try_clone()?;
        let mut blocks = Blocks::open(dir, self.log_id, self.segment_blocks)?;
        blocks.files.reads_much = self.files.reads_much;
        Ok(blocks)
    }

    /// From now on much is read.
    pub(crate) fn read_much(&mut self) {
        self.files.reads_much = true;
    }

    /// Looks which segments there are by now.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        self.firsts = segments(&self.files.dir)?;
        Ok(())
    }

    /// How often a file was read from.
    pub(crate) fn reads(&self) -> u64 {
        self.files.reads
    }

    /// The first block that there is room for.
    pub(crate) fn first(&self) -> Option<u64> {
        self.firsts.first().copied()
    }

    /// The first block behind everything that there is room for.
    pub(crate) fn end(&self) -> u64 {
        self.firsts.last().map_or(0, |first| first + self.segment_blocks)
    }

    /// Loads block `number` and up to `count - 1` that follow it into `buffer`. Returns how many of
    /// them follow one another and can be believed, and what the first is.
    pub(crate) fn load(
        &mut self,
        number: u64,
        count: u64,
        buffer: &mut BlockBuffer,
    ) -> io::Result<(u64, Verdict)> {
        if number >= self.end() {
            self.refresh()?;
        }
        let mut first_verdict = Verdict::Absent;
        // The newest segment that has it.
        for index in (0..self.firsts.len()).rev() {
            let first = self.firsts[index];
            if number < first || number >= first + self.segment_blocks {
                continue;
            }
            let next = self.firsts.get(index + 1).copied().unwrap_or(u64::MAX);
            let limit = (first + self.segment_blocks).min(next.max(number + 1));
            let count = count.min(limit - number).min(buffer.blocks_behind(number));
            let (count, filled) = match self.files.fill(first, number, count * BLOCK_BYTES, buffer)
            {
                Err(_) if count > 1 => {
                    // What can be read of them must not suffer from what cannot.
                    (number..number + count).for_each(|number| buffer.forget(number));
                    (1, self.files.fill(first, number, BLOCK_BYTES, buffer))
                }
                filled => (count, filled),
            };
            if !filled.inspect_err(|_| buffer.forget(number))? {
                continue;
            }
            first_verdict = buffer.examine(number, self.log_id);
            if !matches!(first_verdict, Verdict::Sound(_)) {
                (number + 1..number + count).for_each(|number| buffer.forget(number));
                // A segment that was only begun when a flush failed: the one before has it.
                if first_verdict == Verdict::Absent || first == number {
                    continue;
                }
                return Ok((0, first_verdict));
            }
            let (from, mut sound) = (number, 1);
            for number in number + 1..number + count {
                let follows = sound == number - from;
                if follows && matches!(buffer.examine(number, self.log_id), Verdict::Sound(_)) {
                    sound += 1;
                } else {
                    // It is looked at again once it comes first.
                    buffer.forget(number);
                }
            }
            return Ok((sound, first_verdict));
        }
        Ok((0, first_verdict))
    }

    /// How many of `count` blocks from `number` on [`Blocks::load`] could load at once; 0 behind
    /// all that there is.
    pub(crate) fn room(&mut self, number: u64, count: u64) -> io::Result<u64> {
        if number >= self.end() {
            self.refresh()?;
        }
        let Some(first) = self.segment_of(number) else { return Ok(0) };
        let next = self.firsts.iter().copied().find(|next| *next > number).unwrap_or(u64::MAX);
        Ok(count.min((first + self.segment_blocks).min(next) - number))
    }

    /// Up to where the log was on disk for certain, by the checkpoints in the newest segment that
    /// has any.
    pub(crate) fn durable(&mut self) -> io::Result<u64> {
        for first in self.firsts.iter().rev() {
            let mut durable = None;
            for number in *first..first + self.segment_blocks {
                // What cannot be read says nothing.
                if let Ok(true) = self.files.fill(*first, number, PAGE_BYTES, &self.header) {
                    let checkpoints = self.header.checkpoints(number, self.log_id);
                    let says = checkpoints.iter().flatten().map(|slot| slot.durable).max();
                    durable = durable.max(says);
                }
            }
            if let Some(durable) = durable {
                return Ok(durable);
            }
        }
        Ok(0)
    }

    /// The header of block `number`, if that is there and a checkpoint vouches for it.
    pub(crate) fn header(&mut self, number: u64) -> io::Result<Option<BlockHeader>> {
        let [newest, _] = self.checkpoints(number)?;
        Ok(newest.and_then(|_| self.header.ring().header(number)))
    }

    /// The checkpoints of block `number` that hold by themselves, the newer first; none of a block
    /// that is not there.
    pub(crate) fn checkpoints(&mut self, number: u64) -> io::Result<[Option<Checkpoint>; 2]> {
        for index in (0..self.firsts.len()).rev() {
            let first = self.firsts[index];
            if number < first || number >= first + self.segment_blocks {
                continue;
            }
            if self.files.fill(first, number, PAGE_BYTES, &self.header)? {
                let found = self.header.checkpoints(number, self.log_id);
                if found[0].is_some() {
                    return Ok(found);
                }
            }
        }
        Ok([None; 2])
    }

    /// Whether the place of block `number` begins with something that no writer and no power cut
    /// leaves.
    pub(crate) fn is_marred(&mut self, number: u64) -> io::Result<bool> {
        let Some(first) = self.segment_of(number) else { return Ok(false) };
        let is_there = self.files.fill(first, number, PAGE_BYTES, &self.header)?;
        Ok(is_there && is_marred(&self.header, number))
    }

    /// The first block of the newest segment that has room for block `number`.
    pub(crate) fn segment_of(&self, number: u64) -> Option<u64> {
        let has_room = |first: &u64| (*first..first + self.segment_blocks).contains(&number);
        self.firsts.iter().rev().copied().find(has_room)
    }

    /// Whether somebody writes to the segment of block `number`, or something that was asked for is
    /// still under way.
    pub(crate) fn is_written(&mut self, number: u64) -> io::Result<bool> {
        match self.segment_of(number) {
            None => Ok(false),
            Some(first) => {
                self.files.open(first)?.map_or(Ok(false), |segment| segment.is_written())
            }
        }
    }

    /// Whether the log goes on behind `position`, where it cannot be read: that was on disk for
    /// certain, or is what no power cut leaves. Otherwise the log ends there, as recovery will
    /// find, or what comes next is on its way to the disk.
    pub(crate) fn goes_on_behind(&mut self, position: u64) -> io::Result<bool> {
        let number = block_of(position);
        if position < self.durable || self.is_marred(number).unwrap_or(true) {
            return Ok(true);
        }
        let is_written = self.is_written(number)?;
        // A journal has at most a window of blocks under way.
        if is_written && self.next_behind(number + WINDOW_BLOCKS - 1)?.is_some() {
            return Ok(true);
        }
        self.durable = self.durable()?;
        let goes_on = position < self.durable;
        if !goes_on && !is_written {
            log::warn!(
                "the log ends at position {position}: what is behind it was not known to be durable"
            );
        }
        Ok(goes_on)
    }

    /// The next block behind `number` that is there and can be read.
    pub(crate) fn next_behind(&mut self, number: u64) -> io::Result<Option<u64>> {
        // Segments may have been removed meanwhile, which would be looked for block by block.
        self.refresh()?;
        let mut number = number + 1;
        while number < self.end() {
            match self.next_written(number)? {
                Some(written) if written == number => {}
                Some(written) => {
                    number = written;
                    continue;
                }
                None => return Ok(None),
            }
            match self.header(number) {
                Ok(Some(_)) => return Ok(Some(number)),
                Ok(None) => {}
                Err(error) => log::warn!("block {number} cannot be read: {error}"),
            }
            number += 1;
        }
        Ok(None)
    }

    /// The first block from `number` on one of whose places was ever written: what a segment does
    /// not have may be in the one before it.
    fn next_written(&mut self, number: u64) -> io::Result<Option<u64>> {
        let blocks = self.segment_blocks;
        let mut written: Option<u64> = None;
        let newer = self.firsts.partition_point(|first| first + blocks <= number);
        for first in self.firsts[newer..].iter().copied() {
            let from = number.max(first);
            if written.is_some_and(|written| written <= from) {
                break;
            }
            if let Some(segment) = self.files.open(first)?
                && let Some(at) = segment.next_written(block_start(from - first))?
            {
                let found = first + at / BLOCK_BYTES;
                written = Some(written.map_or(found, |written| written.min(found)));
            }
        }
        Ok(written)
    }

    /// The last block below `end` whose header is `before` the place that is looked for, or else
    /// the first block that is there. The headers from some block on are not `before` it, and those
    /// up to that are. Where some cannot be read it may be an earlier block.
    ///
    /// At most one read for each halving, and one more for each segment in which it comes to a
    /// block that is not there: of most journals the last one alone.
    pub(crate) fn find(
        &mut self,
        end: u64,
        before: impl Fn(&BlockHeader) -> bool,
    ) -> io::Result<Option<u64>> {
        let places = self.places();
        // Of the blocks in all places, where those of each begin.
        let begins: Vec<u64> = places
            .iter()
            .scan(0, |count, (_, blocks)| Some(std::mem::replace(count, *count + blocks)))
            .collect();
        let count: u64 = places.iter().map(|(_, blocks)| blocks).sum();
        let (mut low, mut high, mut found) = (0, count, None);
        let mut looked_at = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let place = begins.partition_point(|begin| *begin <= middle) - 1;
            let number = places[place].0 + (middle - begins[place]);
            let at = match self.header_below(end, number) {
                Some(header) => Some((middle, number, header)),
                // Nothing was written there, or nothing yet, or it cannot be read: what the next
                // segment begins with decides, or else what comes before.
                None => match begins.get(place + 1).filter(|begin| **begin < high) {
                    Some(begin) => {
                        let next = places[place + 1].0;
                        if looked_at.is_none_or(|(at, _)| at != next) {
                            let is_there = self.next_written(next)? == Some(next);
                            let header = is_there.then(|| self.header_below(end, next)).flatten();
                            looked_at = Some((next, header));
                        }
                        looked_at.and_then(|(_, header)| Some((*begin, next, header?)))
                    }
                    None => None,
                },
            };
            match at {
                Some((index, number, header)) if before(&header) => {
                    (low, found) = (index + 1, Some(number));
                }
                _ => high = middle,
            }
        }
        match found {
            Some(number) => Ok(Some(number)),
            None => self.find_first(end),
        }
    }

    /// The header of a block below `end`; `None` where it is not there, or cannot be read.
    fn header_below(&mut self, end: u64, number: u64) -> Option<BlockHeader> {
        if number < end { self.header(number).ok().flatten() } else { None }
    }

    /// The first block that is there, or will be, below `end`.
    pub(crate) fn find_first(&mut self, end: u64) -> io::Result<Option<u64>> {
        match self.first() {
            None => Ok(None),
            // It will be there.
            Some(first) if first >= end || self.header(first)?.is_some() => Ok(Some(first)),
            Some(first) if !self.goes_on_behind(block_start(first))? => Ok(Some(first)),
            Some(first) => self.next_behind(first),
        }
    }

    /// How many of the first `count` blocks of the segment that begins with block `first` come
    /// before the first that is not there: where the ring went past the journal, its rest is blank.
    pub(crate) fn used(&mut self, first: u64, count: u64) -> io::Result<u64> {
        let (mut low, mut high) = (0, count);
        let mut probe = count.saturating_sub(1);
        while low < high {
            match self.header(first + probe)? {
                Some(_) => low = probe + 1,
                None => high = probe,
            }
            probe = low + (high - low) / 2;
        }
        Ok(low)
    }

    /// The first block of each segment, and how many there are up to where the next one begins.
    pub(crate) fn places(&self) -> Vec<(u64, u64)> {
        let ends = self.firsts.iter().skip(1).copied().chain([u64::MAX]);
        let room = |(first, end): (&u64, u64)| (*first, self.segment_blocks.min(end - first));
        self.firsts.iter().zip(ends).map(room).collect()
    }
}

impl Files {
    /// Opens a segment; `None` when it is no more.
    fn open(&mut self, first: u64) -> io::Result<Option<&mut SegmentReader>> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != first) {
            self.open = open_to_read(&self.dir, first)?.map(|segment| (first, segment));
        }
        Ok(self.open.as_mut().map(|(_, segment)| segment))
    }

    /// Reads a block, or only its beginning, or some blocks. False when the segment is no more.
    fn fill(
        &mut self,
        first: u64,
        number: u64,
        bytes: u64,
        buffer: &BlockBuffer,
    ) -> io::Result<bool> {
        self.reads += 1;
        let reads_much = self.reads_much;
        let Some(segment) = self.open(first)? else { return Ok(false) };
        let (memory, at) = buffer.place(number);
        let part = Part { memory: memory.clone(), at, bytes };
        let from = block_start(number - first);
        if reads_much {
            segment.read_much(from, &part)?
        } else {
            segment.read(from, &part)?
        }
        Ok(true)
    }
}
