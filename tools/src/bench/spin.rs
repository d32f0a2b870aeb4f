//! How both sides of a benchmark wait for each other: one bounded spin, the same for every
//! contender.
use std::hint::spin_loop;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use anyhow::Result;
use thiserror::Error;

/// Why a block could not be finished, where it is not the bus that says so. Carried as
/// [`anyhow::Error`], which is one word: a large error would be moved about in each round trip.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockError {
    /// The other side made no progress.
    #[error("the other side made no progress for {} s; it has ended, or its core is busy with \
             something else", STALL_TIMEOUT.as_secs())]
    Stalled,
    /// What arrived is not what was sent.
    #[error(
        "messages arrived changed: checksum {found:#x} instead of {expected:#x}; the contender \
             is broken, so its speed means nothing"
    )]
    Corrupt { expected: u64, found: u64 },
}

/// Without progress for this long, a side gives up. It also bounds how long the child can outlive
/// a parent that was killed in the middle of a block.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// After so many polls (some 10 to 100 us) the other side is not running: let it have the core.
const POLLS_BEFORE_YIELD: u32 = 1 << 14;

/// Polls `ready`, with `PAUSES` pause instructions after each failure, until it holds.
///
/// # Errors
/// [`BlockError::Stalled`] when it does not hold within five seconds.
#[inline(always)]
pub(crate) fn spin_until<const PAUSES: u32>(mut ready: impl FnMut() -> bool) -> Result<()> {
    for _ in 0..POLLS_BEFORE_YIELD / (1 + PAUSES) {
        if ready() {
            return Ok(());
        }
        for _ in 0..PAUSES {
            spin_loop();
        }
    }
    yield_until(&mut ready)
}

/// The other side is not running. `ready` is called through a pointer, so that the call above
/// remains the only one and becomes part of its loop.
#[cold]
fn yield_until(ready: &mut dyn FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < STALL_TIMEOUT {
        yield_now();
        for _ in 0..POLLS_BEFORE_YIELD {
            if ready() {
                return Ok(());
            }
        }
    }
    Err(BlockError::Stalled.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_once_ready_and_not_before() {
        let mut polled = 0;
        spin_until::<0>(|| {
            polled += 1;
            polled == 3 * POLLS_BEFORE_YIELD
        })
        .unwrap();
        assert_eq!(polled, 3 * POLLS_BEFORE_YIELD);
    }
}
