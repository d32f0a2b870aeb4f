//! Waking sleepers without a fence on the publisher's side: invariant 7.
//!
//! Edge `wake`: the publisher commits and then loads the wake word, with no fence between. The
//! sleeper sets the word's bit 0, makes every registered thread execute a full barrier, and then
//! looks at the log once more. So either the publisher's load comes after the bit was set, and it
//! wakes; or its commit came before the sleeper's look, and the sleeper does not sleep.

use std::time::Duration;

use super::memory::Memory;
use super::pages;
use crate::sync::{AtomicU64, Ordering, heavy_fence, light_fence};

/// The wake word of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Wake {
    control: Memory,
}

impl Wake {
    /// The wake word in a control page that is writable.
    pub(crate) fn new(control: Memory) -> Wake {
        Wake { control }
    }

    /// The word itself: bit 0 = someone sleeps, the rest counts wakes.
    pub(crate) fn word(&self) -> &AtomicU64 {
        self.control.word(pages::control::WAKE)
    }

    /// After a commit: wakes whoever sleeps.
    #[inline(always)]
    pub(crate) fn notify(&self) {
        light_fence();
        if self.word().load(Ordering::Relaxed) & 1 == 1 {
            self.wake();
        }
    }

    /// Wakes every sleeper. Adding 1 clears bit 0 and counts; should another waker have been
    /// faster, it sets the bit for nobody, which costs the next publisher one call.
    #[cold]
    pub(crate) fn wake(&self) {
        self.word().fetch_add(1, Ordering::SeqCst);
        futex::wake_all(self.word());
    }

    /// Says that someone is about to sleep on all of `wakes`: one barrier for them together. `kept`
    /// gets what each of them is to be waited for with, after all logs have been looked at once
    /// more. False when the kernel refuses the barrier.
    pub(crate) fn prepare<'a>(wakes: impl Iterator<Item = &'a Wake>, kept: &mut Vec<u32>) -> bool {
        kept.clear();
        kept.extend(wakes.map(|wake| (wake.word().fetch_or(1, Ordering::SeqCst) | 1) as u32));
        heavy_fence()
    }

    /// Sleeps for as long as the word has the value that `prepare` returned, at most `timeout`.
    pub(crate) fn sleep(&self, kept: u32, timeout: Duration) {
        futex::wait(self.word(), kept, timeout);
    }
}

#[cfg(not(loom))]
use crate::shm::futex;

/// Loom's futex: one lock and one condition for all words. `wait` compares under the lock, as the
/// kernel does, so a wake between the comparison and the sleep is not lost.
#[cfg(loom)]
mod futex {
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    use crate::sync::{AtomicU64, Ordering};

    loom::lazy_static! {
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(super) fn wake_all(_word: &AtomicU64) {
        let _held = QUEUE.0.lock();
        QUEUE.1.notify_all();
    }

    /// Without the time-out, so that a lost wake-up is a deadlock that loom reports.
    pub(super) fn wait(word: &AtomicU64, expected: u32, _timeout: Duration) {
        let held = QUEUE.0.lock();
        if word.load(Ordering::SeqCst) as u32 == expected {
            drop(QUEUE.1.wait(held.expect("no model panics while it holds the lock")));
        }
    }
}
