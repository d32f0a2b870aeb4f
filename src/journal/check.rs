//! Going over the blocks of a journal one by one, and what can be wrong with one: what verifying,
//! telling the state of a journal and dumping it have in common. It can be done while the journal
//! is written.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::journal::blocks::Blocks;
use crate::journal::stage::WINDOW_BLOCKS;
use crate::log::block::{BLOCK_BYTES, BlockHeader, LogId, block_of, block_start};
use crate::log::frame::{CommitWord, Kind};
use crate::log::ring::Lines;
use crate::log::segment::{BlockBuffer, Checkpoint, Sound, Verdict};
use crate::log::walk::{Damaged, Tail, jump_at};
use crate::sync::Ordering;

/// Blocks that are read together.
const STEP_BLOCKS: u64 = 16;

/// How often a block that may be on its way to the disk is looked at again.
const LOOKS_AGAIN: u32 = 10;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// What is wrong with a block of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// Its place is empty, or has something else, or there is no file with that place.
    #[error("it is not there")]
    Absent,
    /// It is there, and none of its bytes can be believed.
    #[error("neither of its checkpoints holds")]
    Checkpoints,
    /// It can be read up to where the other checkpoint says.
    #[error("the newer of its checkpoints does not hold")]
    NewerCheckpoint,
    /// Its first offset, or its publisher's epoch, is not what comes next.
    #[error("it does not follow the block before")]
    Unconnected,
    /// It can be read up to there.
    #[error("its checkpoint holds, and its frames do not end where that says")]
    Frames,
    /// The kernel's answer: the number of an error.
    #[error("it cannot be read: {}", io::Error::from_raw_os_error(*.0))]
    Io(i32),
}

/// What the checkpoints of the newest segment say that has any, taken together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Survey {
    /// Everything before this was on disk when it was said.
    pub(crate) durable: u64,
    /// The block of the checkpoint that was written last; `None`: there is none.
    pub(crate) newest: Option<u64>,
    sequence: u64,
}

/// A block, as far as it can be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) checkpoint: Checkpoint,
    /// Where it ends.
    pub(crate) tail: Tail,
    /// Messages that begin in it, without those that were given up in it.
    pub(crate) starts: u64,
    /// The first message or gap that begins in it: its offset and its position.
    pub(crate) first_start: Option<(u64, u64)>,
    /// Whether the last message that begins in it goes on in the next block.
    pub(crate) is_left_open: bool,
    /// The block that the log goes on with, where that is not the next one.
    pub(crate) jump: Option<u64>,
}

/// What it means that something is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It was on disk for certain, or has what no power cut leaves.
    Damage,
    /// It was not, and the log ends before it.
    Cut,
    /// It may be on its way there at this moment.
    UnderWay,
}

/// What a [`Checker`] comes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) number: u64,
    pub(crate) block: Option<Block>,
    /// The end of what can be read of it.
    pub(crate) position: u64,
    pub(crate) fault: Option<(DamageKind, Meaning)>,
}

/// A block with what is wrong with its end, or what is wrong with all of it.
type Found = Result<(Block, Option<DamageKind>), DamageKind>;

/// Where the log goes on.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// The block that follows with this very offset; others have a higher one.
    next: Option<u64>,
    offset: u64,
    epoch: u64,
}

/// Goes over the blocks of one partition, from one on to the end of the log.
#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) blocks: Blocks,
    log_id: LogId,
    buffer: BlockBuffer,
    /// Blocks in the buffer that can be believed by themselves.
    loaded: Range<u64>,
    /// How many are read together next: one by one where something is wrong.
    step: u64,
    pub(crate) survey: Survey,
    /// The block that is next.
    number: u64,
    before: Option<Before>,
    was_faulty: bool,
    is_over: bool,
}

impl Checker {
    /// # Errors
    /// When the files may not be read, or there is no memory left.
    pub(crate) fn new(mut blocks: Blocks, log_id: LogId) -> io::Result<Checker> {
        let buffer = BlockBuffer::new(STEP_BLOCKS)?;
        let survey = survey(&mut blocks)?;
        let number = blocks.first().unwrap_or(0);
        Ok(Checker {
            blocks,
            log_id,
            buffer,
            loaded: 0..0,
            step: STEP_BLOCKS,
            survey,
            number,
            before: None,
            was_faulty: false,
            is_over: false,
        })
    }

    /// Goes on with block `number`, whatever comes before that.
    pub(crate) fn seek(&mut self, number: u64) {
        self.number = number;
        self.before = None;
        (self.was_faulty, self.is_over) = (false, false);
    }

    /// The next block. `None` at the end of the log.
    pub(crate) fn next(&mut self) -> io::Result<Option<Step>> {
        let Some(newest) = self.survey.newest.filter(|_| !self.is_over) else { return Ok(None) };
        let mut found = self.check(self.number);
        if matches!(found, Err(DamageKind::Absent)) && !self.was_faulty {
            // What the journal does not keep any more is not missing.
            self.blocks.refresh()?;
            match self.blocks.first() {
                None => return Ok(None),
                Some(first) if first > self.number => {
                    self.seek(first);
                    found = self.check(first);
                }
                Some(_) => {}
            }
        }
        let number = self.number;
        // The block behind the newest one may have been there, and nothing that tells of it be
        // left.
        if number > newest && (found.is_ok() || !self.is_marred(number)) {
            return Ok(None);
        }
        let (found, is_under_way) = self.settle(number, found);
        // A power cut leaves a block's beginning as it was written, or what was there before.
        let is_marred = found.is_err() && !is_under_way && self.is_marred(number);
        let (block, mut fault) = match found {
            Ok((block, fault)) => (Some(block), fault),
            Err(fault) => (None, Some(fault)),
        };
        let position = block.map_or(block_start(number), |block| block.tail.resume.position);
        let is_short = position < block_start(number + 1);
        let is_durable = position < self.survey.durable;
        if is_short && is_durable {
            fault = fault.or(Some(DamageKind::NewerCheckpoint));
        }
        self.number = number + 1;
        if let Some(block) = block {
            let (offset, epoch) = (block.tail.resume.offset, block.header.epoch);
            let next = fault.is_none().then_some(self.number);
            self.before = Some(Before { next, offset, epoch });
            if let Some(jump) = block.jump.filter(|jump| fault.is_none() && *jump > number)
                // Where the journal was left behind once more, before it wrote anything there, the
                // next block says so.
                && (jump == self.number
                    || !matches!(self.blocks.header(self.number), Ok(Some(_))))
            {
                self.number = jump;
                self.before = Some(Before { next: None, offset, epoch });
            }
        }
        let meaning = match is_under_way {
            _ if is_durable || is_marred => Meaning::Damage,
            true => Meaning::UnderWay,
            false => Meaning::Cut,
        };
        self.was_faulty = fault.is_some();
        self.is_over = (self.was_faulty && !is_durable) || (number >= newest && is_short);
        let fault = fault.map(|kind| (kind, meaning));
        Ok(Some(Step { number, block, position, fault }))
    }

    /// The frames of the block that was returned last, as far as they can be read.
    pub(crate) fn lines(&self) -> Lines<'_> {
        self.buffer.ring().lines()
    }

    /// Offset at the start of block `number`, as a checkpoint of that block says which holds by
    /// itself.
    pub(crate) fn offset_of(&mut self, number: u64) -> Option<u64> {
        self.blocks.header(number).ok().flatten().map(|header| header.first_offset)
    }

    fn is_marred(&mut self, number: u64) -> bool {
        self.blocks.is_marred(number).unwrap_or(false)
    }

    /// What block `number` is in the end: what may be on its way to the disk is looked at again.
    /// Returns also whether it may still be.
    fn settle(&mut self, number: u64, mut found: Found) -> (Found, bool) {
        let Survey { durable, newest, .. } = self.survey;
        let is_old = number < block_of(durable.saturating_sub(1))
            || newest.is_some_and(|newest| number + WINDOW_BLOCKS <= newest);
        for _ in 0..LOOKS_AGAIN {
            if is_old || matches!(found, Ok((_, None))) {
                return (found, false);
            }
            // Asked first: what nobody writes to by now will be found as it stays.
            let is_written = self.blocks.is_written(number).unwrap_or(false);
            self.loaded = 0..0;
            found = self.check(number);
            if !is_written {
                return (found, false);
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        (found, true)
    }

    /// Block `number` as it is now.
    fn check(&mut self, number: u64) -> Found {
        if !self.loaded.contains(&number) {
            self.load(number)?;
        }
        let Verdict::Sound(Sound { header, checkpoint, is_cut }) =
            self.buffer.examine(number, self.log_id)
        else {
            return Err(DamageKind::Checkpoints);
        };
        if self.before.is_some_and(|before| !before.leads_to(number, &header)) {
            return Err(DamageKind::Unconnected);
        }
        let (block, is_sound) = walk(self.lines(), number, header, checkpoint);
        let is_full = checkpoint.used_bytes == BLOCK_BYTES;
        let has_next = self.survey.newest.is_some_and(|newest| number < newest);
        let fault = if !is_sound {
            Some(DamageKind::Frames)
        } else if is_cut || (has_next && !is_full) {
            Some(DamageKind::NewerCheckpoint)
        } else {
            None
        };
        Ok((block, fault))
    }

    /// Loads block `number`, and as many behind it as can be believed.
    fn load(&mut self, number: u64) -> Result<(), DamageKind> {
        let Checker { blocks, buffer, .. } = self;
        let mut found = blocks.load(number, self.step, buffer);
        if found.is_err() && self.step > 1 {
            // Which of them it was.
            self.step = 1;
            found = blocks.load(number, 1, buffer);
        }
        let fault = match found {
            Ok((count @ 1.., _)) => {
                self.loaded = number..number + count;
                self.step = (self.step * 2).min(STEP_BLOCKS);
                return Ok(());
            }
            Ok((_, Verdict::Damaged)) => DamageKind::Checkpoints,
            Ok(_) => DamageKind::Absent,
            Err(error) => DamageKind::Io(error.raw_os_error().unwrap_or(libc::EIO)),
        };
        self.loaded = 0..0;
        self.step = 1;
        Err(fault)
    }
}

impl Before {
    fn leads_to(&self, number: u64, header: &BlockHeader) -> bool {
        let is_next = match self.next == Some(number) {
            true => header.first_offset == self.offset,
            false => header.first_offset >= self.offset,
        };
        is_next && header.epoch >= self.epoch
    }
}

/// Goes over the frames of a block up to where its checkpoint says. Returns also whether they end
/// there.
fn walk(
    lines: Lines<'_>,
    number: u64,
    header: BlockHeader,
    checkpoint: Checkpoint,
) -> (Block, bool) {
    let mut tail = Tail::at_block(number, &header);
    let (mut starts, mut first_start, mut jump) = (0, None, None);
    let mut last_start: Option<(u64, Kind)> = None;
    let walked = each_frame(lines, &mut tail, |position, offset, kind| {
        match kind {
            Kind::Message | Kind::First | Kind::Gap => {
                // A message that was given up leaves its offset to what comes next.
                starts -= u64::from(last_start.is_some_and(|(before, _)| before == offset));
                starts += u64::from(kind != Kind::Gap);
                first_start = first_start.or(Some((offset, position)));
                last_start = Some((offset, kind));
            }
            Kind::Control => {
                jump = jump_at(lines, position).map(block_of);
            }
            _ => {}
        }
        true
    });
    let is_left_open = tail.train_open && matches!(last_start, Some((_, Kind::First)));
    if !tail.train_open && last_start.is_some_and(|(last, _)| last == tail.resume.offset) {
        starts -= 1;
    }
    let is_sound =
        walked.is_ok() && tail.resume.position == block_start(number) + checkpoint.used_bytes;
    (Block { header, checkpoint, tail, starts, first_start, is_left_open, jump }, is_sound)
}

/// Goes on over the frames of a block one by one, calling `visit` with the position, offset and
/// kind of each until that returns false.
pub(crate) fn each_frame(
    lines: Lines<'_>,
    tail: &mut Tail,
    mut visit: impl FnMut(u64, u64, Kind) -> bool,
) -> Result<(), Damaged> {
    loop {
        let (position, offset) = (tail.resume.position, tail.resume.offset);
        tail.advance(lines, position + 1, |_, _| true)?;
        if tail.resume.position == position {
            return Ok(());
        }
        let word = CommitWord(lines.load(position, Ordering::Relaxed));
        if word.kind().is_some_and(|kind| !visit(position, offset, kind)) {
            return Ok(());
        }
    }
}

fn survey(blocks: &mut Blocks) -> io::Result<Survey> {
    let mut survey = Survey::default();
    for (first, count) in blocks.places().into_iter().rev() {
        for number in first..first + count {
            let found = match blocks.checkpoints(number) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                // What cannot be read says nothing here.
                found => found.unwrap_or_default(),
            };
            for checkpoint in found.iter().flatten() {
                survey.durable = survey.durable.max(checkpoint.durable);
                if survey.newest.is_none() || checkpoint.sequence > survey.sequence {
                    (survey.sequence, survey.newest) = (checkpoint.sequence, Some(number));
                }
            }
        }
        if survey.newest.is_some() {
            break;
        }
    }
    Ok(survey)
}
