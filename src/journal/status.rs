//! What a journal says of itself to everyone who has the topic open: how far the log is on disk,
//! and what is wrong.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::journal::tap::Place;
use crate::log::memory::Memory;
use crate::log::pages::{JOURNAL_SLOT, Pages, cursor, journal, publisher};
use crate::sync::Ordering;

/// How a journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalState {
    /// There never was one.
    Absent,
    /// All is well. If no process has its lock, it was killed, and the publisher waits for a
    /// successor.
    Running,
    /// The disk refuses to write, and is asked again and again.
    Failing,
    /// It was closed.
    Closed,
    /// It cannot go on.
    Failed,
}

impl JournalState {
    fn code(self) -> u64 {
        match self {
            JournalState::Absent => 0,
            JournalState::Running => 1,
            JournalState::Failing => 2,
            JournalState::Closed => 3,
            JournalState::Failed => 4,
        }
    }

    /// A code that is none of ours is taken for the worst.
    pub(crate) fn from_code(code: u64) -> JournalState {
        match code {
            0 => JournalState::Absent,
            1 => JournalState::Running,
            2 => JournalState::Failing,
            3 => JournalState::Closed,
            _ => JournalState::Failed,
        }
    }
}

/// Whether the publisher waits for the journal: there is one, or one was killed and a successor may
/// come, and the publisher has not gone on without it.
pub(crate) fn is_gating(pages: &Pages) -> bool {
    let state = pages.journal.load(cursor::STATE, Ordering::Acquire);
    let mark = publisher::EVICTED + JOURNAL_SLOT as u64;
    state & 1 == 1 && pages.publisher.load(mark, Ordering::Acquire) != state >> 1
}

/// Says of a journal that is not written any more where its files are, and up to where they have
/// the log, durably. The page is writable, and nobody else's yet.
pub(crate) fn say_closed(page: &Memory, path: &Path, end: Place) {
    let status = Status { page: page.clone() };
    status.set_written(end);
    status.set_durable(end);
    status.set_path(path);
    status.set_state(JournalState::Closed);
}

/// The journal page, as its journal writes it.
#[derive(Debug)]
pub(crate) struct Status {
    page: Memory,
}

impl Status {
    /// The caller holds the journal's lock, and the page is writable.
    pub(crate) fn new(page: Memory) -> Status {
        page.store(cursor::PID, u64::from(std::process::id()), Ordering::Relaxed);
        Status { page }
    }

    /// After so long in its way the publisher goes on without this journal; `None`: never.
    pub(crate) fn set_give_up_after(&self, after: Option<Duration>) {
        let nanos = |after: Duration| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        // 0 is never.
        let after_ns = after.map_or(0, |after| nanos(after).saturating_add(1));
        self.set(journal::GIVE_UP_AFTER_NS, after_ns);
    }

    /// Where the files are. A path that is too long is left out: then who needs it has to be told.
    pub(crate) fn set_path(&self, path: &Path) {
        let bytes = path.as_os_str().as_bytes();
        let bytes = if bytes.len() as u64 <= journal::PATH_BYTES_MAX { bytes } else { &[] };
        self.set(journal::PATH_BYTES, 0);
        self.page.words().store_bytes(journal::PATH, bytes);
        self.page.store(journal::PATH_BYTES, bytes.len() as u64, Ordering::Release);
    }

    pub(crate) fn set_state(&self, state: JournalState) {
        self.set(journal::STATE, state.code());
    }

    /// Everything before `place` was written, and a reader of the files finds it.
    pub(crate) fn set_written(&self, place: Place) {
        self.set(journal::WRITTEN, place.position);
        self.set(journal::WRITTEN_OFFSET, place.offset);
    }

    /// Everything before `place` is on disk. Pairs with the load of whoever waits for it: what the
    /// waiter finds in the files then, everyone finds.
    pub(crate) fn set_durable(&self, place: Place) {
        self.set(journal::DURABLE, place.position);
        self.page.store(journal::DURABLE_OFFSET, place.offset, Ordering::Release);
    }

    /// The files say by themselves that everything before this is on disk.
    pub(crate) fn set_told(&self, position: u64) {
        self.page.store(journal::TOLD, position, Ordering::Release);
    }

    /// The disk refused something at `position`.
    pub(crate) fn add_error(&self, error: &io::Error, position: u64) {
        let code = error.raw_os_error().unwrap_or(match error.kind() {
            io::ErrorKind::StorageFull => libc::ENOSPC,
            _ => libc::EIO,
        });
        self.set(journal::ERROR, code as u64);
        self.set(journal::ERROR_POSITION, position);
        self.set(journal::ERRORS, self.get(journal::ERRORS) + 1);
    }

    /// The messages from offset `from` on and below `end` are in the log and not in the journal. To
    /// be said before what lies behind them is said to be durable.
    pub(crate) fn add_lost(&self, from: u64, end: u64) {
        // What was not made up for before it was left behind again is counted already.
        let counted = self.get(journal::MISSING_END).clamp(from, end);
        self.set(journal::LOST, self.get(journal::LOST).wrapping_add(end - counted));
        self.set_missing(from, end);
    }

    /// The journal may lack messages from offset `from` on and below `end`. To be said before what
    /// lies behind them is said to be durable.
    pub(crate) fn set_missing(&self, from: u64, end: u64) {
        if from == end {
            return;
        }
        if self.get(journal::MISSING_END) == 0 {
            self.set(journal::MISSING_FROM, from);
        }
        self.set(journal::MISSING_END, end);
    }

    fn get(&self, field: u64) -> u64 {
        self.page.load(field, Ordering::Relaxed)
    }

    fn set(&self, field: u64, value: u64) {
        self.page.store(field, value, Ordering::Relaxed);
    }
}
