//! Finding blocks in a ring that goes on while one looks: the log is its own index.

use super::block::{BLOCK_BYTES, BlockHeader, block_of, block_start, is_edge};
use super::frame::{OFFSET_MAX, TRAIN_PREFIX_BYTES};
use super::memory::Memory;
use super::pages;
use super::ring::Ring;
use super::walk::{self, Damaged};
use super::writer::{FRAME_PAYLOAD_BYTES_MAX, Resume};
use crate::sync::{Ordering, fence};

/// `reserved` as read from shared memory, checked.
pub(crate) fn check_reserved(reserved: u64) -> Result<u64, Damaged> {
    if reserved.is_multiple_of(BLOCK_BYTES) && reserved <= 1 << 62 {
        Ok(reserved)
    } else {
        Err(Damaged::new(reserved, "a reservation that ends inside a block"))
    }
}

/// How far below the reservation the newest block can be: one message may have reserved all its
/// blocks and entered none.
fn look_back(ring: &Ring) -> u64 {
    let reserved =
        (TRAIN_PREFIX_BYTES + ring.message_bytes_max()).div_ceil(FRAME_PAYLOAD_BYTES_MAX);
    reserved + 1
}

/// Where the log begins in the ring.
pub(crate) fn base(publisher: &Memory) -> Result<Resume, Damaged> {
    let word = |field| publisher.load(field, Ordering::Relaxed);
    let (position, offset) = (word(pages::publisher::BASE), word(pages::publisher::BASE_OFFSET));
    if !is_edge(position) || position > 1 << 62 || offset > OFFSET_MAX {
        return Err(Damaged::new(position, "a beginning that no log has"));
    }
    let timestamp_max_ns = word(pages::publisher::BASE_TIMESTAMP_MAX_NS);
    Ok(Resume { position, offset, timestamp_max_ns, payload_bytes: 0 })
}

/// The newest block that was entered, from `base` on and below `reserved`, of a log that nobody
/// writes; `None` when none ever was.
pub(crate) fn newest(ring: &Ring, base: u64, reserved: u64) -> Result<Option<u64>, Damaged> {
    let (first, end) = (block_of(base), block_of(reserved));
    let low = end.saturating_sub(look_back(ring)).max(first);
    for number in (low..end).rev() {
        if ring.header(number).is_some() {
            return Ok(Some(number));
        }
        if ring.number(number, Ordering::Acquire) == number + 1 && ring.header(number).is_none() {
            let position = block_start(number);
            return Err(Damaged::new(position, "a block with its number and no header of ours"));
        }
    }
    // The first block ever may have been reserved and not entered.
    if low == first {
        Ok(None)
    } else {
        Err(Damaged::new(reserved, "no block below the reservation bears its number"))
    }
}

/// The newest block that was entered, and the reservation that it was found with, while the
/// publisher goes on.
pub(crate) fn newest_live(ring: &Ring, publisher: &Memory) -> Result<(Option<u64>, u64), Damaged> {
    let base = base(publisher)?.position;
    let load = || publisher.load(pages::publisher::RESERVED, Ordering::Acquire);
    let mut reserved = load();
    loop {
        let found = check_reserved(reserved).and_then(|reserved| newest(ring, base, reserved));
        if let Ok(Some(number)) = found {
            return Ok((Some(number), reserved));
        }
        // Nothing, or what looks like damage: it may be that the publisher went once around the
        // ring meanwhile. Whoever has seen the number of a later lap (edge `entry`) sees the
        // reservation that came before it; the fence is for the relaxed load in `Ring::still`.
        fence(Ordering::Acquire);
        let now = load();
        if now == reserved {
            return found.map(|number| (number, reserved));
        }
        reserved = now;
    }
}

/// The oldest block that is still there, below `reserved`.
pub(crate) fn earliest(ring: &Ring, reserved: u64) -> Option<u64> {
    let end = block_of(reserved);
    (end.saturating_sub(ring.blocks())..end).find(|number| ring.header(*number).is_some())
}

/// The last block in `[low, high]` whose first offset is below `offset`, or else the oldest that
/// is there: the walk from it meets the start of message `offset`.
pub(crate) fn by_offset(ring: &Ring, low: u64, high: u64, offset: u64) -> u64 {
    last_before(ring, low, high, |header| header.first_offset < offset)
}

/// The last block in `[low, high]` before which every timestamp is below `time_ns`, or else the
/// oldest that is there: the walk from it meets the first message that is not.
pub(crate) fn by_time(ring: &Ring, low: u64, high: u64, time_ns: u64) -> u64 {
    last_before(ring, low, high, |header| header.timestamp_max_ns < time_ns)
}

/// The first message that begins in block `number` with a timestamp of at least `time_ns`; where
/// none does, as an error, the offset of the next message behind the block. `None` when the block
/// is not there any more.
pub(crate) fn first_at(
    ring: &Ring,
    number: u64,
    time_ns: u64,
) -> Result<Option<Result<u64, u64>>, Damaged> {
    let mut found = None;
    let walked = walk::walk(ring, number, |position, offset| {
        let timestamp_ns = ring.lines().load(position + 8, Ordering::Relaxed);
        let is_at = timestamp_ns >= time_ns;
        found = is_at.then_some(offset);
        !is_at
    })?;
    Ok(walked.map(|tail| found.ok_or(tail.resume.offset)))
}

/// The last block in `[low, high]` whose header is `before` what is looked for, or else the oldest
/// that is there. A block without its header counts as overwritten, so the search goes on with
/// newer ones; when all are, it is `high + 1`.
fn last_before(ring: &Ring, low: u64, high: u64, before: impl Fn(&BlockHeader) -> bool) -> u64 {
    let (mut found, mut low, mut high) = (low, low, high + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match ring.header(middle) {
            None => {
                low = middle + 1;
                found = found.max(low);
            }
            Some(header) if before(&header) => {
                found = middle;
                low = middle + 1;
            }
            Some(_) => high = middle,
        }
    }
    found
}
