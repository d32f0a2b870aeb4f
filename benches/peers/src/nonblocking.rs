//! What a system call says that would have had to wait.
use std::io::{self, ErrorKind};

/// None where the call would have had to wait.
#[inline(always)]
pub(crate) fn unless_it_would_wait<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
