//! Blocks and frames as they lie in the files, for who wants to see them.
#![forbid(unsafe_code)]

use std::io;
use std::ops::ControlFlow;

use crate::journal::check::{Block, Checker, DamageKind, Meaning, each_frame};
use crate::log::block::block_start;
use crate::log::frame::{CommitWord, Kind, flags};
use crate::log::lane::StartAt;
use crate::log::walk::Tail;
use crate::sync::Ordering;

/// Something in the files of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalEntry {
    /// A block begins.
    Block {
        /// Its number.
        number: u64,
        /// Where it begins, in bytes from the start of the log.
        position: u64,
        /// Offset of the message that goes on or begins in it first.
        first_offset: u64,
        /// Highest timestamp before it, ns since the Unix epoch.
        timestamp_max_ns: u64,
        /// Epoch of the publisher that began it.
        epoch: u64,
        /// Its bytes up to the end of its last frame, the header included.
        used_bytes: u64,
        /// Everything before this position was on disk when the block was written last.
        durable_position: u64,
    },
    /// A frame of the block that came last.
    Frame {
        /// Where it begins, in bytes from the start of the log.
        position: u64,
        /// The message's, or the first one's of a gap; of other frames that of what comes next.
        offset: u64,
        /// What it is.
        kind: Kind,
        /// ns since the Unix epoch; `None` in a frame that has none.
        timestamp_ns: Option<u64>,
        /// Bytes behind its header.
        length: u64,
        /// Whether a replay put it there.
        is_replayed: bool,
    },
    /// The rest of a block, or all of it, cannot be read.
    Damaged {
        /// The block.
        number: u64,
        /// Where that begins, in bytes from the start of the log.
        position: u64,
        /// What is wrong.
        kind: DamageKind,
    },
}

/// Hands out everything from the block on in which `from` lies, but for its frames before `from`.
pub(super) fn dump(
    mut checker: Checker,
    from: StartAt,
    mut handler: impl FnMut(JournalEntry) -> ControlFlow<()>,
) -> io::Result<()> {
    let blocks = &mut checker.blocks;
    let found = match from {
        StartAt::Offset(due) => blocks.find(u64::MAX, |header| header.first_offset < due)?,
        StartAt::Time(due_ns) => {
            blocks.find(u64::MAX, |header| header.timestamp_max_ns < due_ns)?
        }
        StartAt::Live => blocks.find(u64::MAX, |_| true)?,
        StartAt::Earliest => blocks.first(),
    };
    let Some(number) = found else { return Ok(()) };
    checker.seek(number);
    let mut has_begun = false;
    let mut hand_out = |entry| {
        if let JournalEntry::Frame { offset, timestamp_ns, .. } = entry {
            has_begun |= match from {
                StartAt::Offset(due) => offset >= due,
                StartAt::Time(due_ns) => timestamp_ns.is_some_and(|time_ns| time_ns >= due_ns),
                StartAt::Live | StartAt::Earliest => true,
            };
            if !has_begun {
                return ControlFlow::Continue(());
            }
        }
        handler(entry)
    };
    while let Some(step) = checker.next()? {
        let (number, position) = (step.number, step.position);
        let mut flow = step.block.map_or(ControlFlow::Continue(()), |block| {
            hand_out_block(&checker, number, &block, &mut hand_out)
        });
        if let Some((kind, meaning)) = step.fault
            && meaning != Meaning::UnderWay
            && flow.is_continue()
        {
            flow = hand_out(JournalEntry::Damaged { number, position, kind });
        }
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

fn hand_out_block(
    checker: &Checker,
    number: u64,
    block: &Block,
    hand_out: &mut impl FnMut(JournalEntry) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Block { header, checkpoint, .. } = block;
    hand_out(JournalEntry::Block {
        number,
        position: block_start(number),
        first_offset: header.first_offset,
        timestamp_max_ns: header.timestamp_max_ns,
        epoch: header.epoch,
        used_bytes: checkpoint.used_bytes,
        durable_position: checkpoint.durable,
    })?;
    let (lines, mut flow) = (checker.lines(), ControlFlow::Continue(()));
    // What is wrong with the frames was found before, and is told behind them.
    let _ = each_frame(lines, &mut Tail::at_block(number, header), |position, offset, kind| {
        let word = CommitWord(lines.load(position, Ordering::Relaxed));
        let has_timestamp = matches!(kind, Kind::Message | Kind::First | Kind::Gap | Kind::Control);
        flow = hand_out(JournalEntry::Frame {
            position,
            offset,
            kind,
            timestamp_ns: has_timestamp.then(|| lines.load(position + 8, Ordering::Relaxed)),
            length: word.length(),
            is_replayed: word.flags() & flags::REPLAYED != 0,
        });
        flow.is_continue()
    });
    flow
}
