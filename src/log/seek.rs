//! Finding blocks in a ring that goes on while one looks: the log is its own index.

use super::block::{BLOCK_BYTES, block_of};
use super::ring::Ring;
use super::walk::Damaged;
use super::writer::FRAME_PAYLOAD_BYTES_MAX;

/// `reserved` as read from shared memory, checked.
pub(crate) fn check_reserved(reserved: u64) -> Result<u64, Damaged> {
    if reserved.is_multiple_of(BLOCK_BYTES) && reserved <= 1 << 62 {
        Ok(reserved)
    } else {
        Err(Damaged::new(reserved, "a reservation that ends inside a block"))
    }
}

/// Most blocks that one message can have reserved and not entered.
fn look_back(ring: &Ring) -> u64 {
    ring.message_bytes_max() / FRAME_PAYLOAD_BYTES_MAX + 3
}

/// The newest block that was entered, below `reserved`; `None` when none ever was.
pub(crate) fn newest(ring: &Ring, reserved: u64) -> Result<Option<u64>, Damaged> {
    let end = block_of(reserved);
    let low = end.saturating_sub(look_back(ring));
    for number in (low..end).rev() {
        if ring.header(number).is_some() {
            return Ok(Some(number));
        }
    }
    // The first block ever may have been reserved and not entered.
    if low == 0 {
        Ok(None)
    } else {
        Err(Damaged::new(reserved, "no block below the reservation bears its number"))
    }
}

/// The oldest block that is still there, below `reserved`.
pub(crate) fn earliest(ring: &Ring, reserved: u64) -> Option<u64> {
    let end = block_of(reserved);
    (end.saturating_sub(ring.blocks())..end).find(|number| ring.header(*number).is_some())
}

/// The last block in `[low, high]` whose first offset is below `offset`, or else the oldest that
/// is there: the walk from it meets the start of message `offset`. A block without its header
/// counts as overwritten, so the search goes on with newer ones.
pub(crate) fn by_offset(ring: &Ring, low: u64, high: u64, offset: u64) -> u64 {
    by(ring, low, high, |first_offset| first_offset < offset)
}

fn by(ring: &Ring, low: u64, high: u64, is_before: impl Fn(u64) -> bool) -> u64 {
    let (mut found, mut low, mut high) = (low, low, high + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match ring.header(middle) {
            None => {
                low = middle + 1;
                found = found.max(low);
            }
            Some(header) if is_before(header.first_offset) => {
                found = middle;
                low = middle + 1;
            }
            Some(_) => high = middle,
        }
    }
    found
}
