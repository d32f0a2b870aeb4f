//! The blocks of one partition's journal, as anyone can read them who may read the files: loading some,
//! and finding one by offset or time.
#![forbid(unsafe_code)]

use std::io;

use crate::journal::disk::{PAGE_BYTES, Part, SegmentReader, open_to_read, segments};
use crate::log::block::{BLOCK_BYTES, BlockHeader, LogId, block_start};
use crate::log::segment::{BlockBuffer, Verdict};
use crate::shm::dir::Dir;

/// Segments at the end of which only a part is written: the one that is written to, and the one that
/// was made ready.
const SEGMENTS_BEGUN: usize = 2;

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
}

/// The files, the last one used open.
#[derive(Debug)]
struct Files {
    dir: Dir,
    open: Option<(u64, SegmentReader)>,
    reads: u64,
}

impl Blocks {
    pub(crate) fn open(dir: Dir, log_id: LogId, segment_blocks: u64) -> io::Result<Blocks> {
        let header = BlockBuffer::new(1)?;
        let files = Files { dir, open: None, reads: 0 };
        let mut blocks = Blocks { log_id, segment_blocks, firsts: Vec::new(), files, header };
        blocks.refresh()?;
        Ok(blocks)
    }

    /// Looks which segments there are by now.
    fn refresh(&mut self) -> io::Result<()> {
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
            if !self.files.fill(first, number, count * BLOCK_BYTES, buffer)? {
                continue;
            }
            first_verdict = buffer.examine(number, self.log_id);
            if !matches!(first_verdict, Verdict::Sound(_)) {
                (number + 1..number + count).for_each(|number| buffer.forget(number));
                if first_verdict == Verdict::Absent {
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

    /// The header of block `number`, if that is there and a checkpoint vouches for it.
    pub(crate) fn header(&mut self, number: u64) -> io::Result<Option<BlockHeader>> {
        for index in (0..self.firsts.len()).rev() {
            let first = self.firsts[index];
            if number < first || number >= first + self.segment_blocks {
                continue;
            }
            if self.files.fill(first, number, PAGE_BYTES, &self.header)?
                && self.header.checkpoints(number, self.log_id)[0].is_some()
            {
                return Ok(self.header.ring().header(number));
            }
        }
        Ok(None)
    }

    /// The next block behind `number` that is there and can be read.
    pub(crate) fn next_behind(&mut self, number: u64) -> io::Result<Option<u64>> {
        let mut number = number + 1;
        while number < self.end() {
            if !self
                .firsts
                .iter()
                .any(|first| (*first..first + self.segment_blocks).contains(&number))
            {
                number =
                    self.firsts.iter().copied().find(|first| *first > number).unwrap_or(u64::MAX);
                continue;
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

    /// The last block below `end` whose header is `before` the place that is looked for, or else the
    /// first block that is there. The headers from some block on are not `before` it, and those up to that are.
    ///
    /// At most one read for each halving, but for blocks that cannot be read.
    pub(crate) fn find(
        &mut self,
        end: u64,
        before: impl Fn(&BlockHeader) -> bool,
    ) -> io::Result<Option<u64>> {
        let places: Vec<(u64, u64)> = self.places();
        let count: u64 = places.iter().map(|(_, blocks)| blocks).sum();
        let begun: u64 = places.iter().rev().take(SEGMENTS_BEGUN).map(|(_, blocks)| blocks).sum();
        let number_of = |mut index: u64| {
            for (first, blocks) in &places {
                if index < *blocks {
                    return first + index;
                }
                index -= blocks;
            }
            unreachable!("an index below the count");
        };
        let (mut low, mut high, mut found) = (0, count, None);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut probe = middle;
            // A header that cannot be read decides nothing: the next older one does. Where only a part
            // is written it is most likely not written yet.
            let header = loop {
                let number = number_of(probe);
                match if number < end { self.header(number) } else { Ok(None) } {
                    Ok(Some(header)) => break Some(header),
                    _ if number >= end => break None,
                    _ if probe == low || probe >= count - begun => break None,
                    _ => probe -= 1,
                }
            };
            match header {
                Some(header) if before(&header) => {
                    (low, found) = (middle + 1, Some(number_of(probe)))
                }
                Some(_) => high = probe,
                None => high = probe.max(low),
            }
        }
        match found {
            Some(number) => Ok(Some(number)),
            None => match self.first() {
                None => Ok(None),
                // It will be there.
                Some(first) if first >= end || self.header(first)?.is_some() => Ok(Some(first)),
                Some(first) => self.next_behind(first),
            },
        }
    }

    /// The blocks of each segment, up to where the next one begins.
    fn places(&self) -> Vec<(u64, u64)> {
        let ends = self.firsts.iter().skip(1).copied().chain([u64::MAX]);
        let room = |(first, end): (&u64, u64)| (*first, self.segment_blocks.min(end - first));
        self.firsts.iter().zip(ends).map(room).collect()
    }
}

impl Files {
    /// Reads a block, or only its beginning, or some blocks. False when the segment is no more.
    fn fill(
        &mut self,
        first: u64,
        number: u64,
        bytes: u64,
        buffer: &BlockBuffer,
    ) -> io::Result<bool> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != first) {
            let Some(segment) = open_to_read(&self.dir, first)? else { return Ok(false) };
            self.open = Some((first, segment));
        }
        let Some((_, segment)) = &self.open else { return Ok(false) };
        let (memory, at) = buffer.place(number);
        self.reads += 1;
        segment.read(block_start(number - first), &Part { memory: memory.clone(), at, bytes })?;
        Ok(true)
    }
}
