//! Finding the newest control frame of a log that nobody writes at the moment.

use super::block::{block_of, block_start};
use super::copy::Stall;
use super::reader::{Frame, Reader, Start};
use super::ring::Ring;
use super::seek;
use super::walk::Damaged;

/// The newest control frame in the ring: the offset of the message behind it, and its payload.
///
/// Looks at the newest block, then at twice as many blocks each time, so that it costs little where
/// control frames are frequent.
pub(crate) fn last_control(ring: &Ring, reserved: u64) -> Result<Option<(u64, Vec<u8>)>, Damaged> {
    let reserved = seek::check_reserved(reserved)?;
    let Some(newest) = seek::newest(ring, reserved)? else { return Ok(None) };
    let oldest = seek::earliest(ring, reserved).unwrap_or(newest);
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
        debug_assert!(back <= 2 * block_of(reserved));
    }
}
