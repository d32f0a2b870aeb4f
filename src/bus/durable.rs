//! What is on disk, as whoever has the topic open sees it.

use std::io;

use thiserror::Error;

use crate::journal::{JournalState, is_gating};
use crate::log::memory::Memory;
use crate::log::pages::{Pages, journal};
use crate::sync::Ordering;

/// Why it is not known to be on disk.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The time is over.
    #[error("message {offset} is not on disk yet: everything below {durable_offset} is")]
    Timeout {
        /// The message.
        offset: u64,
        /// The first message that is not known to be.
        durable_offset: u64,
    },
    /// Nobody journals the partition.
    #[error("nobody journals this partition: start a journal first")]
    NoJournal,
    /// The journal cannot go on, or the publisher went on without it.
    #[error(
        "the journal has stopped, or the publisher went on without it: everything below message \
         {durable_offset} is on disk; unless it goes on by itself, start it again once the disk works \
         ({source})"
    )]
    Stopped {
        /// The first message that is not known to be on disk.
        durable_offset: u64,
        /// What the disk said last.
        source: io::Error,
    },
    /// The journal does not have the message, or may not: it began later, or the publisher went on
    /// without it. Known is only where the first and the last lie that are missing since the ring
    /// was made.
    #[error(
        "message {offset} may not be in the journal, which lacks messages from {from} on, and up to {to} \
         at the latest"
    )]
    Lost {
        /// The message.
        offset: u64,
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// An agent must not wait: look at the durable offset and come back.
    #[error("an agent must not wait for the disk: look at the durable offset and come back")]
    InsideAgent,
}

/// The first message that is not known to be on disk.
pub(crate) fn durable_offset(page: &Memory) -> u64 {
    page.load(journal::DURABLE_OFFSET, Ordering::Acquire)
}

/// Whether a message is on disk. An error says that it never will be, as things are.
pub(crate) fn is_durable(pages: &Pages, offset: u64) -> Result<bool, DurableError> {
    let page = &pages.journal;
    let durable_offset = durable_offset(page);
    if durable_offset > offset {
        // Said before what lies behind them was durable.
        let from = page.load(journal::MISSING_FROM, Ordering::Relaxed);
        let end = page.load(journal::MISSING_END, Ordering::Relaxed);
        if (from..end).contains(&offset) {
            return Err(DurableError::Lost { offset, from, to: end - 1 });
        }
        return Ok(true);
    }
    match JournalState::from_code(page.load(journal::STATE, Ordering::Relaxed)) {
        JournalState::Absent | JournalState::Closed => Err(DurableError::NoJournal),
        JournalState::Running | JournalState::Failing if is_gating(pages) => Ok(false),
        _ => {
            let code = page.load(journal::ERROR, Ordering::Relaxed);
            let source = match i32::try_from(code) {
                Ok(code @ 1..) => io::Error::from_raw_os_error(code),
                _ => io::Error::other("the disk refused nothing"),
            };
            Err(DurableError::Stopped { durable_offset, source })
        }
    }
}
