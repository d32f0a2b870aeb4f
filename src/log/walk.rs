//! The walk over the committed frames of a block, from its header on: what recovery, counters and
//! joining subscribers learn about a block. Delivering messages is `reader`'s.

use thiserror::Error;

use super::block::{BLOCK_HEADER_BYTES, block_end, block_start};
use super::frame::{CommitWord, GAP_BYTES, HEADER_BYTES, Kind, OFFSET_MAX, TRAIN_PREFIX_BYTES};
use super::ring::Ring;
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

/// Where the committed frames of a block end.
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

/// Walks block `number` from `BLOCK_HEADER_BYTES` to the last committed frame, calling `visit`
/// with every message start or gap (its position and offset) until that returns false.
///
/// `None` when the block is not in its place, or no longer is at the end of the walk.
/// `payload_bytes` of the tail counts this block only.
pub(crate) fn walk(
    ring: &Ring,
    number: u64,
    mut visit: impl FnMut(u64, u64) -> bool,
) -> Result<Option<Tail>, Damaged> {
    let Some(header) = ring.header(number) else { return Ok(None) };
    let start = block_start(number);
    let mut position = start + BLOCK_HEADER_BYTES;
    let end = block_end(position);
    let mut offset = header.first_offset;
    let mut timestamp_max_ns = header.timestamp_max_ns;
    let mut payload_bytes = 0;
    let mut train_open = u64::from(header.first_message) != BLOCK_HEADER_BYTES;
    let mut damaged = None;
    while position < end {
        // Edge `commit`.
        let word = CommitWord(ring.lines().load(position, Ordering::Acquire));
        if !word.is_committed() {
            break;
        }
        let frame = match check(word, position, offset) {
            Ok(frame) => frame,
            Err(damage) => {
                damaged = Some(damage);
                break;
            }
        };
        let starts = matches!(frame.kind, Kind::Message | Kind::First | Kind::Gap);
        if starts && !visit(position, offset) {
            break;
        }
        if frame.kind.carries_payload() {
            payload_bytes += word.length();
        }
        match frame.kind {
            Kind::Message => offset += 1,
            Kind::First => {
                train_open = true;
                payload_bytes -= TRAIN_PREFIX_BYTES;
            }
            Kind::Last => {
                train_open = false;
                offset += 1;
            }
            Kind::Abort => train_open = false,
            Kind::Gap => {
                let mut gap = [0; 3];
                ring.lines().load_words(position + HEADER_BYTES, &mut gap);
                match check_gap(position, gap, offset) {
                    Ok(to) => offset = to + 1,
                    Err(damage) => {
                        damaged = Some(damage);
                        break;
                    }
                }
            }
            Kind::Middle | Kind::Padding | Kind::Control => {}
        }
        if matches!(frame.kind, Kind::Message | Kind::First | Kind::Gap | Kind::Control) {
            timestamp_max_ns =
                timestamp_max_ns.max(ring.lines().load(position + 8, Ordering::Relaxed));
        }
        position = frame.end;
    }
    // What was read counts only if the block is still the one that was entered; otherwise what
    // looks like damage may be the next lap.
    if !ring.still(number) {
        return Ok(None);
    }
    if let Some(damage) = damaged {
        return Err(damage);
    }
    let resume = Resume { position, offset, timestamp_max_ns, payload_bytes };
    Ok(Some(Tail { resume, train_open }))
}

/// The tail of block `number`.
pub(crate) fn tail(ring: &Ring, number: u64) -> Result<Option<Tail>, Damaged> {
    walk(ring, number, |_, _| true)
}
