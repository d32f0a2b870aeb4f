//! Finding the newest control frame of a log that nobody writes at the moment.

use super::block::block_start;
use super::copy::Stall;
use super::reader::{Frame, Reader, Start};
use super::ring::Ring;
use super::seek;
use super::walk::Damaged;

/// The newest control frame in the ring: the offset of the message behind it, and its payload.
///
/// Looks at the newest block, then at twice as many blocks each time, so that it costs little where
/// control frames are frequent. The caller holds the publisher's lock.
pub(crate) fn last_control(
    ring: &Ring,
    base: u64,
    reserved: u64,
) -> Result<Option<(u64, Vec<u8>)>, Damaged> {
    let reserved = seek::check_reserved(reserved)?;
    let Some(newest) = seek::newest(ring, base, reserved)? else { return Ok(None) };
    // Of what is reserved and not entered, nothing is overwritten yet, but for the block whose
    // place a dead publisher was about to take: that one has no header any more.
    let oldest = seek::earliest(ring, block_start(newest + 1)).unwrap_or(newest);
    let mut back = 0;
    loop {
        let number = newest.saturating_sub(back).max(oldest);
        let position = block_start(number);
        let start = Start { position, offset: 0, due: None, joining: true };
        let mut reader = Reader::copied(ring.clone(), start);
        let mut found = None;
        loop {
            match reader.peek() {
                Ok(Some(Frame::Control { payload })) => {
                    let payload = payload.to_vec();
                    found = Some((reader.offset(), payload));
                    reader.consume();
                }
                Ok(Some(_)) => reader.consume(),
                Ok(None) => break,
                Err(Stall::Damaged(damaged)) => return Err(damaged),
                Err(Stall::Overrun) => {
                    return Err(Damaged::new(position, "a block that changes with no publisher"));
                }
            }
        }
        if found.is_some() || number == oldest {
            return Ok(found);
        }
        back = (back * 2).max(1);
    }
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
        let found = Ok(Some((0, b"state".to_vec())));
        for reserved in BLOCKS_MIN..BLOCKS_MIN + 3 {
            assert_eq!(last_control(&ring, 0, block_start(reserved)), found);
        }
        // A publisher died when it had begun to enter the next block, in the oldest one's place.
        ring.lines().store(block_start(BLOCKS_MIN) + field::NUMBER, 0, Ordering::Relaxed);
        assert_eq!(last_control(&ring, 0, block_start(BLOCKS_MIN + 1)), Ok(None));
    }
}
