//! A topic that was recorded, and whose ring is gone.

use std::fs;
use std::path::{Path, PathBuf};

use tickcast::{Replay, TopicError};

use super::TestBus;
use super::audit::{Audit, publish};
use super::journal::journaled;

pub(crate) const RING_BYTES: u64 = 1 << 20;
pub(crate) const SEGMENT_BYTES: u64 = 256 << 10;

/// Replays all that there is, which follows on `due`; `None`: from wherever it begins.
pub(crate) fn replay(dir: &Path, due: Option<u64>) -> Audit {
    let mut audit = Audit::new(0, RING_BYTES / 4, due);
    let replay = Replay::open(dir).expect("a journal");
    let counters = replay.run(|event| audit.event(event)).expect("it can be read");
    assert_eq!((counters.messages, counters.lost), (audit.messages, audit.lost));
    audit
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// Records so many messages of a topic that is gone then. Returns the directory of its journal.
pub(crate) fn record(files: &Path, messages: u64) -> PathBuf {
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
    let journal = topic.journal(files).segment_bytes(SEGMENT_BYTES).open().expect("a journal");
    let dir = journal.dir().to_owned();
    journaled(journal, || publish(&mut topic.publisher(0).expect("the only one"), messages));
    dir
}

/// Goes on with a recorded topic whose ring is gone. Returns how many messages it had.
pub(crate) fn go_on(files: &Path, messages: u64) -> Result<u64, TopicError> {
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).journal(files).create()?;
    let journal = topic.journal(files).open().expect("the same journal");
    let mut publisher = topic.publisher(0).expect("the only one");
    let end = publisher.next_offset();
    journaled(journal, || publish(&mut publisher, end + messages));
    Ok(end)
}
