//! How both sides of a benchmark wait for each other: one bounded spin, the same for every
//! contender.
use std::hint::{black_box, spin_loop};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use anyhow::Result;
use thiserror::Error;

/// Why a block could not be finished, where it is not the bus that says so. Carried as
/// [`anyhow::Error`], which is one word: a large error would be moved about in each round trip.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum BlockError {
    /// The other side made no progress.
    #[error("the other side made no progress for {} s; it has ended, or its core is busy with \
             something else", STALL_TIMEOUT.as_secs())]
    Stalled,
    /// What arrived is not what was sent.
    #[error(
        "messages arrived changed: checksum {found:#x} instead of {expected:#x}; the contender \
             is broken, so its speed means nothing"
    )]
    Corrupt {
        /// Of what was sent.
        expected: u64,
        /// Of what came.
        found: u64,
    },
}

/// Without progress for this long, a side gives up. It also bounds how long the child can outlive
/// a parent that was killed in the middle of a block.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// After so many polls (100 us and more) the other side is not running: let it have the core.
const POLLS_BEFORE_YIELD: u32 = 1 << 16;

/// Polls follow each other at once.
pub const CLOSE: u32 = 0;
/// A pause instruction is between polls.
pub const PAUSING: u32 = 1;
/// Two are: who writes several lines keeps them longer.
pub const PAUSING_TWICE: u32 = 2;
/// Four are.
pub const PAUSING_FOUR_TIMES: u32 = 4;
/// So many steps of nothing are between polls: some 30 cycles, as with one that does some work.
pub const SPACED: u32 = 16;

/// Polls `ready`, with a `GAP` after each failure, until it holds.
///
/// How far polls are apart decides how often a poll meets a store, and which gap is best differs
/// from contender to contender, from build to build and from host to host: so for each of them all
/// are tried.
///
/// # Errors
/// What `ready` says, or [`BlockError::Stalled`] when it does not hold within five seconds.
#[inline(always)]
pub fn spin_until<const GAP: u32>(mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let mut stall = None;
    loop {
        // The only place that polls: what `ready` refers to stays in registers.
        for _ in 0..POLLS_BEFORE_YIELD {
            if ready()? {
                return Ok(());
            }
            match GAP {
                CLOSE => {}
                PAUSING | PAUSING_TWICE | PAUSING_FOUR_TIMES => {
                    (0..GAP).for_each(|_| spin_loop());
                }
                // Each step waits for the one before it.
                steps => (0..steps).for_each(|step| _ = black_box(step)),
            }
        }
        stand_back(&mut stall)?;
    }
}

/// The other side is not running.
///
/// A yield may take long where another program wants this core. Then it is part of the block, as any
/// loss of the core is, and is counted as one: who yields can run on, and so the kernel counts
/// the switch as an involuntary one, which is what [`preemptions`](crate::cores::preemptions) asks
/// for. A yield to nobody is a system call behind 100 us of waiting.
#[cold]
#[inline(never)]
fn stand_back(since: &mut Option<Instant>) -> Result<()> {
    if since.get_or_insert_with(Instant::now).elapsed() > STALL_TIMEOUT {
        return Err(BlockError::Stalled.into());
    }
    yield_now();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cores::{self, Cores};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    const YIELDS: u64 = 1_000;

    #[test]
    fn a_yield_to_another_program_is_counted_as_a_preemption() {
        let core = Cores::choose(&[]).unwrap().near;
        let (runs, is_over) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let counted = thread::scope(|scope| {
            scope.spawn(move || {
                cores::pin(core).unwrap();
                runs.store(true, Ordering::Relaxed);
                while !is_over.load(Ordering::Relaxed) {
                    yield_now();
                }
            });
            let yields = scope.spawn(move || {
                cores::pin(core).unwrap();
                while !runs.load(Ordering::Relaxed) {
                    yield_now();
                }
                let before = cores::preemptions().unwrap();
                (0..YIELDS).for_each(|_| stand_back(&mut None).unwrap());
                let counted = cores::preemptions().unwrap() - before;
                is_over.store(true, Ordering::Relaxed);
                counted
            });
            yields.join().unwrap()
        });
        assert!(counted > 0, "none of {YIELDS}");
    }

    #[test]
    fn returns_once_ready_and_not_before() {
        let mut polled = 0;
        spin_until::<CLOSE>(|| {
            polled += 1;
            Ok(polled == 3 * POLLS_BEFORE_YIELD)
        })
        .unwrap();
        assert_eq!(polled, 3 * POLLS_BEFORE_YIELD);
    }
}
