//! Length-prefixed records, Nasdaq's BinaryFILE 1.00: change here how they are framed.
//!
//! Each message follows its length, a big-endian `u16`. Length 0 ends the session, and nothing may
//! follow it. A file may also just end after a record.

use std::ops::Range;

use super::InputError;
use super::source::Source;

const LENGTH_BYTES: usize = size_of::<u16>();

/// Reads the next message into `buffer`.
pub(super) fn next_message(
    source: &mut Source,
    buffer: &mut Vec<u8>,
) -> Result<Option<Range<usize>>, InputError> {
    let start = source.position();
    buffer.clear();
    let length = match source.append(LENGTH_BYTES, buffer)? {
        0 => return Ok(None),
        LENGTH_BYTES => usize::from(u16::from_be_bytes([buffer[0], buffer[1]])),
        _ => return Err(source.truncated(start)),
    };
    if length == 0 {
        let position = source.position();
        return match source.append(1, buffer)? {
            0 => Ok(None),
            _ => Err(InputError::AfterEnd { position }),
        };
    }
    source.append_all(start, length, buffer)?;
    Ok(Some(LENGTH_BYTES..LENGTH_BYTES + length))
}
