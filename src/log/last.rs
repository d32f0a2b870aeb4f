//! Finding the last frame of some kind in a log that nobody writes at the moment.

use super::block::block_start;
use super::copy::Stall;
use super::reader::{Frame, Reader, Start};
use super::ring::Ring;
use super::seek;
use super::walk::Damaged;

/// What a search from the end of a log has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// One; what comes behind it has this offset.
    Behind(u64),
    /// The log has none, from its start on.
    Never,
    /// It may be where the log can be read no more.
    Unknown,
}

/// Has `read` go over the blocks from one on to the end: the newest, then twice as many each time,
/// until it has found something. So it costs little where that is frequent. `read` says `Never` of
/// what it has gone over.
pub(crate) fn search_back<E>(
    newest: u64,
    oldest: u64,
    mut read: impl FnMut(u64) -> Result<Found, E>,
) -> Result<Found, E> {
    let mut back = 0;
    loop {
        let number = newest.saturating_sub(back).max(oldest);
        match read(number)? {
            Found::Never if number == 0 => return Ok(Found::Never),
            Found::Never if number == oldest => return Ok(Found::Unknown),
            Found::Never => back = (back * 2).max(1),
            found => return Ok(found),
        }
    }
}

/// Shows `see` the end of what the ring holds, from further and further back until it says that a
/// frame is one that is looked for: the last such frame is the one that it was shown last.
///
/// The caller holds the publisher's lock.
pub(crate) fn last_in_ring(
    ring: &Ring,
    base: u64,
    reserved: u64,
    mut see: impl FnMut(Frame<'_>) -> bool,
) -> Result<Found, Damaged> {
    let reserved = seek::check_reserved(reserved)?;
    let Some(newest) = seek::newest(ring, base, reserved)? else {
        return Ok(if base == 0 { Found::Never } else { Found::Unknown });
    };
    // Of what is reserved and not entered, nothing is overwritten yet, but for the block whose
    // place a dead publisher was about to take: that one has no header any more.
    let oldest = seek::earliest(ring, block_start(newest + 1)).unwrap_or(newest);
    search_back(newest, oldest, |number| {
        let position = block_start(number);
        let start = Start { position, offset: 0, due: None, joining: true };
        let mut reader = Reader::copied(ring.clone(), start);
        let mut found = Found::Never;
        loop {
            let is_one = match reader.peek() {
                Ok(Some(frame)) => see(frame),
                Ok(None) => return Ok(found),
                Err(Stall::Damaged(damaged)) => return Err(damaged),
                Err(Stall::Overrun) => {
                    return Err(Damaged::new(position, "a block that changes with no publisher"));
                }
            };
            reader.consume();
            if is_one {
                found = Found::Behind(reader.offset());
            }
        }
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::block::{BLOCK_BYTES, LogId, field};
    use super::super::gate::Gate;
    use super::super::memory::Memory;
    use super::super::pages::{PAGE_BYTES, Pages, SLOTS};
    use super::super::ring::BLOCKS_MIN;
    use super::super::takeover::take_over;
    use super::super::writer::FRAME_PAYLOAD_BYTES_MAX;
    use super::*;
    use crate::sync::Ordering;

    #[test]
    fn what_is_reserved_hides_nothing_until_its_block_is_entered() {
        let ring = Ring::new(Memory::heap(BLOCKS_MIN * BLOCK_BYTES));
        let cursors = Memory::heap(SLOTS as u64 * PAGE_BYTES);
        let gate = Gate::new(Pages::heap(), cursors, ring.bytes_len(), 0);
        let mut writer = take_over(ring.clone(), gate, None, LogId([1, 2])).expect("a new log");
        // A control frame in the oldest block only: a message fills each later one.
        writer.try_publish_control(0, b"state").expect("nobody is in the way");
        for _ in 1..BLOCKS_MIN {
            let payload = [0_u8; FRAME_PAYLOAD_BYTES_MAX as usize];
            writer.try_publish(0, &payload[..]).expect("nobody is in the way");
        }
        let last_control = |reserved| {
            let mut state = Vec::new();
            let behind = last_in_ring(&ring, 0, block_start(reserved), |frame| {
                let Frame::Control { payload } = frame else { return false };
                state = payload.to_vec();
                true
            });
            behind.map(|found| (found, state))
        };
        for reserved in BLOCKS_MIN..BLOCKS_MIN + 3 {
            assert_eq!(last_control(reserved), Ok((Found::Behind(0), b"state".to_vec())));
        }
        // A publisher died when it had begun to enter the next block, in the oldest one's place.
        ring.lines().store(block_start(BLOCKS_MIN) + field::NUMBER, 0, Ordering::Relaxed);
        assert_eq!(last_control(BLOCKS_MIN + 1), Ok((Found::Unknown, Vec::new())));
    }
}
