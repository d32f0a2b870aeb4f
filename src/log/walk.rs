//! The walk over the committed frames of a block, from its header on: what recovery, counters and
//! joining subscribers learn about a block. Delivering messages is `reader`'s.

use thiserror::Error;
#[cfg(not(loom))]
use zerocopy::IntoBytes;

use super::block::{BLOCK_HEADER_BYTES, BlockHeader, block_end, block_start};
use super::frame::{CommitWord, GAP_BYTES, HEADER_BYTES, Kind, OFFSET_MAX, TRAIN_PREFIX_BYTES};
#[cfg(not(loom))]
use super::frame::{JUMP_BYTES, jump_of};
use super::ring::{Lines, Ring};
use super::writer::Resume;
use crate::sync::Ordering;

/// Bytes in a log that no publisher writes: foreign memory, or a damaged page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the log is damaged at position {position}: {what}; remove the bus and create it again")]
#[non_exhaustive]
pub struct Damaged {
    /// Where in the log, in bytes from its start.
    pub position: u64,
    /// What stands there.
    pub what: &'static str,
}

impl Damaged {
    pub(crate) fn new(position: u64, what: &'static str) -> Damaged {
        Damaged { position, what }
    }
}

/// Where the committed frames of a log end, as far as they were walked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) resume: Resume,
    /// Whether a fragment train is open there.
    pub(crate) train_open: bool,
}

/// A committed frame whose place and kind were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) kind: Kind,
    /// Position behind it.
    pub(crate) end: u64,
}

/// Checks a committed word at `position` as far as that is possible without its neighbours: its
/// kind is one of ours, it ends within the block, and it carries the offset that is due.
#[inline]
pub(crate) fn check(word: CommitWord, position: u64, offset: u64) -> Result<Checked, Damaged> {
    let Some(kind) = word.kind() else {
        return Err(Damaged::new(position, "a frame of no known kind"));
    };
    let end = position + word.span();
    if end > block_end(position) {
        return Err(Damaged::new(position, "a frame that reaches past its block's end"));
    }
    if !word.has_offset(offset) {
        return Err(Damaged::new(position, "a frame that carries another offset than is due"));
    }
    let short = match kind {
        Kind::First => word.length() < TRAIN_PREFIX_BYTES,
        Kind::Gap => word.length() != GAP_BYTES,
        _ => false,
    };
    if short {
        return Err(Damaged::new(position, "a frame that is too short for its kind"));
    }
    Ok(Checked { kind, end })
}

/// Checks what a gap frame says; `from` is the offset that is due. Returns the last offset of the
/// gap.
pub(crate) fn check_gap(position: u64, gap: [u64; 3], offset: u64) -> Result<u64, Damaged> {
    let [from, to, _cause] = gap;
    if from != offset || to < from || to >= OFFSET_MAX {
        return Err(Damaged::new(position, "a gap frame with an impossible range"));
    }
    Ok(to)
}

impl Tail {
    /// Before the first frame of block `number`, whose header is `header`.
    pub(crate) fn at_block(number: u64, header: &BlockHeader) -> Tail {
        let resume = Resume {
            position: block_start(number) + BLOCK_HEADER_BYTES,
            offset: header.first_offset,
            timestamp_max_ns: header.timestamp_max_ns,
            payload_bytes: 0,
        };
        Tail { resume, train_open: u64::from(header.first_message) != BLOCK_HEADER_BYTES }
    }

    /// Before block `number` is entered, where the message of `offset` is next.
    #[cfg(not(loom))]
    pub(crate) fn before_block(number: u64, offset: u64) -> Tail {
        let position = block_start(number);
        let resume = Resume { position, offset, timestamp_max_ns: 0, payload_bytes: 0 };
        Tail { resume, train_open: false }
    }

    /// Goes on over the committed frames up to the block's end, or to `limit`, calling `visit` with
    /// every message start or gap (its position and offset) until that returns false. Ends before
    /// the first frame that cannot be one, with an error.
    pub(crate) fn advance(
        &mut self,
        lines: Lines<'_>,
        limit: u64,
        mut visit: impl FnMut(u64, u64) -> bool,
    ) -> Result<(), Damaged> {
        // A walk that stands behind the block's last frame has nothing to go on over.
        let end = block_end(self.resume.position - 1).min(limit);
        let Tail { resume, train_open } = self;
        while resume.position < end {
            let position = resume.position;
            // Edge `commit`.
            let word = CommitWord(lines.load(position, Ordering::Acquire));
            if !word.is_committed() {
                break;
            }
            let frame = check(word, position, resume.offset)?;
            let starts = matches!(frame.kind, Kind::Message | Kind::First | Kind::Gap);
            if starts && !visit(position, resume.offset) {
                break;
            }
            let mut last = resume.offset;
            if frame.kind == Kind::Gap {
                let mut gap = [0; 3];
                lines.load_words(position + HEADER_BYTES, &mut gap);
                last = check_gap(position, gap, resume.offset)?;
            }
            if starts || frame.kind == Kind::Control {
                let timestamp_ns = lines.load(position + 8, Ordering::Relaxed);
                resume.timestamp_max_ns = resume.timestamp_max_ns.max(timestamp_ns);
            }
            if frame.kind.carries_payload() {
                resume.payload_bytes += word.length();
            }
            match frame.kind {
                Kind::Message | Kind::Gap => resume.offset = last + 1,
                Kind::First => {
                    *train_open = true;
                    resume.payload_bytes -= TRAIN_PREFIX_BYTES;
                }
                Kind::Last => {
                    *train_open = false;
                    resume.offset += 1;
                }
                Kind::Abort => *train_open = false,
                Kind::Middle | Kind::Padding | Kind::Control => {}
            }
            resume.position = frame.end;
        }
        Ok(())
    }
}

/// The position that the control frame at `position`, which was checked, says that the log goes on
/// at.
#[cfg(not(loom))]
pub(crate) fn jump_at(lines: Lines<'_>, position: u64) -> Option<u64> {
    let word = CommitWord(lines.load(position, Ordering::Relaxed));
    let mut payload = [0_u64; 2];
    if word.length() == JUMP_BYTES {
        lines.load_words(position + HEADER_BYTES, &mut payload);
    }
    jump_of(payload.as_bytes())
}

/// Walks block `number` from its first frame to the last committed one: see [`Tail::advance`].
///
/// `None` when the block is not in its place, or no longer is at the end of the walk.
/// `payload_bytes` of the tail counts this block only.
pub(crate) fn walk(
    ring: &Ring,
    number: u64,
    visit: impl FnMut(u64, u64) -> bool,
) -> Result<Option<Tail>, Damaged> {
    let Some(header) = ring.header(number) else { return Ok(None) };
    let mut tail = Tail::at_block(number, &header);
    let walked = tail.advance(ring.lines(), u64::MAX, visit);
    // What was read counts only if the block is still the one that was entered; otherwise what
    // looks like damage may be the next lap.
    if !ring.still(number) {
        return Ok(None);
    }
    walked.map(|()| Some(tail))
}

/// The tail of block `number`.
pub(crate) fn tail(ring: &Ring, number: u64) -> Result<Option<Tail>, Damaged> {
    walk(ring, number, |_, _| true)
}
