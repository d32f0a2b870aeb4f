//! Journals that run beside a test, each in a thread of its own.

use tickcast::Journal;
use tickcast::runtime::{Core, CoreHandle, IdleStrategy};

/// Runs a journal until its core is stopped, which closes it.
pub(crate) fn start(journal: Journal) -> CoreHandle {
    let core = Core::builder("journal").idle(IdleStrategy::back_off()).agent(Box::new(journal));
    core.start().expect("a thread")
}

/// Runs a journal beside whatever `work` does, and closes it.
pub(crate) fn journaled<R>(journal: Journal, work: impl FnOnce() -> R) -> R {
    let core = start(journal);
    let done = work();
    core.stop().expect("no agent panics");
    done
}
