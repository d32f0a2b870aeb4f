//! Lines of text as messages: change here what ends a line.

use std::ops::Range;

use super::source::Source;
use super::{InputError, RECORD_BYTES_MAX};

/// Reads the next line into `buffer`. Only the newline is cut off: a carriage return before it is
/// the message's own. A last line without a newline counts.
pub(super) fn next_line(
    source: &mut Source,
    buffer: &mut Vec<u8>,
) -> Result<Option<Range<usize>>, InputError> {
    let position = source.position();
    buffer.clear();
    if source.append_line(RECORD_BYTES_MAX + 1, buffer)? == 0 {
        return Ok(None);
    }
    if buffer.last() == Some(&b'\n') {
        buffer.pop();
    }
    if buffer.len() > RECORD_BYTES_MAX {
        return Err(InputError::TooLong { position, length_bytes: buffer.len() as u64 });
    }
    Ok(Some(0..buffer.len()))
}
