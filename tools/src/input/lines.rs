//! Lines of text as messages: change here what ends a line.

use std::ops::Range;

use super::InputError;
use super::source::Source;

/// Reads the next line, of at most `bytes_max` without its newline, into `buffer`. Only the newline
/// is cut off: a carriage return before it is the message's own. A last line without a newline
/// counts.
pub(super) fn next_line(
    source: &mut Source,
    bytes_max: u64,
    buffer: &mut Vec<u8>,
) -> Result<Option<Range<usize>>, InputError> {
    let position = source.position();
    buffer.clear();
    if source.append_line(bytes_max + 1, buffer)? == 0 {
        return Ok(None);
    }
    if buffer.last() == Some(&b'\n') {
        buffer.pop();
    }
    if buffer.len() as u64 > bytes_max {
        return Err(InputError::LineTooLong { position, bytes_max });
    }
    Ok(Some(0..buffer.len()))
}
