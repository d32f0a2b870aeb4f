//! Verifying a journal: what is damaged, and what can still be read.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use crate::journal::check::{Block, Checker, DamageKind, Meaning, Step};
use crate::journal::disk::segment_name;
use crate::log::block::block_start;

/// More than so many are not remembered.
const DAMAGES_MAX: usize = 1000;

/// What was found by reading all of a partition's journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Verification {
    /// Blocks of the log, from the oldest to the last.
    pub blocks: u64,
    /// Those with something wrong that were on disk once, or that no power cut leaves so.
    pub damaged_blocks: u64,
    /// What is wrong with them, in order; no more than the first 1000.
    pub damages: Vec<Damage>,
    /// Messages that can be read.
    pub messages: u64,
    /// Messages that the journal never had, as the ring had gone past them.
    pub missed: u64,
    /// Bytes of log that can be read.
    pub log_bytes: u64,
    /// Offset behind the last message that can be read.
    pub next_offset: u64,
    /// The end of what can be read, in bytes from the start of the log.
    pub position: u64,
    /// Everything before this position was on disk when that was written into the files last.
    pub durable_position: u64,
    /// Where the log ends before what was written last: it was never known to be durable, and is
    /// not all there, as after a power cut. Whoever goes on with the journal cuts it away there.
    pub cut: Option<Damage>,
    /// A process writes to it, and what it writes at this moment was not looked at.
    pub is_being_written: bool,
}

/// Neighbouring blocks of one segment that have the same thing wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Number of the first.
    pub block: u64,
    /// How many there are.
    pub blocks: u64,
    /// Where what cannot be read begins, in bytes from the start of the log.
    pub position: u64,
    /// The file that it lies in; `None`: no file has room for it.
    pub segment: Option<PathBuf>,
    /// Where it begins in the file, in bytes.
    pub segment_byte: u64,
    /// What is wrong.
    pub kind: DamageKind,
    /// Offset of the first message that is lost; `None`: that cannot be told.
    pub lost_from: Option<u64>,
    /// Offset of the first message behind it that is not lost, which is `lost_from` where none is;
    /// `None`: that cannot be told.
    pub lost_end: Option<u64>,
}

/// What was found so far.
struct Findings<'a> {
    /// The directory of the segments.
    dir: &'a Path,
    found: Verification,
    /// The end of what was lost is not known yet.
    pending: Option<Damage>,
    /// A message goes on in the next block.
    is_open: bool,
    /// The block before can be read to its end.
    is_whole: bool,
    /// What the ring went past begins with this offset, and ends with the next message that begins.
    missing_from: Option<u64>,
}

/// Checks everything. `dir` is where the segments lie.
pub(super) fn verify(
    mut checker: Checker,
    dir: &Path,
    mut progress: impl FnMut(u64, u64),
) -> io::Result<Verification> {
    let first = checker.blocks.first().unwrap_or(0);
    let total = checker.survey.newest.map_or(0, |newest| newest + 1 - first);
    let durable_position = checker.survey.durable;
    let found = Verification { durable_position, ..Verification::default() };
    let mut findings =
        Findings { dir, found, pending: None, is_open: false, is_whole: false, missing_from: None };
    while let Some(step) = checker.next()? {
        progress((step.number - first).min(total), total);
        findings.take(&step, &mut checker);
    }
    progress(total, total);
    Ok(findings.end())
}

impl Findings<'_> {
    fn take(&mut self, step: &Step, checker: &mut Checker) {
        let Step { number, block, fault, .. } = *step;
        if let Some(block) = &block {
            self.read(number, block);
        }
        let Some((kind, meaning)) = fault else {
            self.is_whole = true;
            self.found.blocks += 1;
            return;
        };
        match meaning {
            Meaning::UnderWay => {
                self.found.is_being_written = true;
                return;
            }
            Meaning::Cut => {
                let lost_from = Some(self.found.next_offset);
                self.found.cut = Some(self.damage(step, kind, lost_from, checker));
                return;
            }
            Meaning::Damage => {}
        }
        self.found.blocks += 1;
        self.found.damaged_blocks += 1;
        self.found.messages -= u64::from(self.is_open);
        let has_neighbour = self.is_whole || block.is_some();
        (self.is_open, self.is_whole) = (false, false);
        let is_behind_jump = self.missing_from.is_some();
        let from = (has_neighbour && !is_behind_jump).then_some(self.found.next_offset);
        let from = from.or_else(|| checker.offset_of(number));
        let from = from.or(self.missing_from).or((number == 0).then_some(0));
        // Up to here the journal never had it.
        self.count_missed(from);
        self.missing_from = None;
        let damage = self.damage(step, kind, from, checker);
        if let Some(before) = &mut self.pending
            && block.is_none()
            && before.kind == kind
            && before.segment == damage.segment
            && before.block + before.blocks == number
        {
            before.blocks += 1;
            return;
        }
        self.settle(from);
        self.pending = Some(damage);
    }

    /// Counts what can be read of a block.
    fn read(&mut self, number: u64, block: &Block) {
        let Block { tail, starts, first_start, is_left_open, jump, .. } = *block;
        let start = first_start.map(|(offset, _)| offset);
        self.count_missed(start);
        if jump.is_some() {
            self.missing_from = self.missing_from.or(Some(tail.resume.offset));
        }
        let goes_on = start.is_none() && tail.train_open;
        if self.is_open && !goes_on && start.unwrap_or(tail.resume.offset) == self.found.next_offset
        {
            // It was given up, and its offset used again.
            self.found.messages -= 1;
        }
        if start.is_some() {
            self.settle(start);
        }
        self.found.messages += starts;
        self.found.log_bytes += tail.resume.position - block_start(number);
        self.found.next_offset = tail.resume.offset;
        self.found.position = tail.resume.position;
        self.is_open = is_left_open || (self.is_open && goes_on);
    }

    fn count_missed(&mut self, end: Option<u64>) {
        if let (Some(from), Some(end)) = (self.missing_from, end) {
            self.found.missed += end.saturating_sub(from);
            self.missing_from = None;
        }
    }

    fn damage(
        &self,
        step: &Step,
        kind: DamageKind,
        lost_from: Option<u64>,
        checker: &Checker,
    ) -> Damage {
        let Step { number, position, .. } = *step;
        let first = checker.blocks.segment_of(number);
        Damage {
            block: number,
            blocks: 1,
            position,
            segment: first.map(|first| self.dir.join(segment_name(first))),
            segment_byte: first.map_or(0, |first| position - block_start(first)),
            kind,
            lost_from,
            lost_end: None,
        }
    }

    /// The loss that is open ends before message `end`.
    fn settle(&mut self, end: Option<u64>) {
        let Some(mut damage) = self.pending.take() else { return };
        damage.lost_end = end.map(|end| end.max(damage.lost_from.unwrap_or(0)));
        if self.found.damages.len() < DAMAGES_MAX {
            self.found.damages.push(damage);
        }
    }

    fn end(mut self) -> Verification {
        self.settle(self.is_whole.then_some(self.found.next_offset));
        self.count_missed(Some(self.found.next_offset));
        self.found.messages -= u64::from(self.is_open);
        self.found
    }
}
