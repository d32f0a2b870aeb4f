//! What is removed from a journal and what is kept, at its beginning and at its end.

mod common;

use std::fs::{self, File};
use std::mem;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tickcast::runtime::{Agent, clock};
use tickcast::{Event, JournalError, Keep, NoticeKind, Replay, SyncPolicy, Topic, prune, truncate};

use common::audit::{Audit, publish};
use common::journal::journaled;
use common::recorded::{RING_BYTES, SEGMENT_BYTES, copy, go_on, record, replay};
use common::{Random, TestBus};

const BLOCK_BYTES: usize = 64 << 10;
const HEADER_BYTES: usize = 128;

/// The oldest message that is there.
fn earliest(dir: &Path) -> u64 {
    let audit = replay(dir, None);
    audit.due.expect("something is there") - audit.messages
}

/// The segments of partition 0, in order.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("0")).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "segment")).collect();
    paths.sort();
    paths
}

/// The file and the byte in it where each block begins that has anything, and the offset of its
/// first frame.
fn blocks(dir: &Path) -> Vec<(PathBuf, usize, u64)> {
    let mut blocks = Vec::new();
    for path in segments(dir) {
        let bytes = fs::read(&path).expect("a segment");
        let stem = path.file_stem().expect("a name").to_str().expect("text");
        let first = u64::from_str_radix(stem, 16).expect("a number");
        for (number, at) in (first..).zip((0..bytes.len()).step_by(BLOCK_BYTES)) {
            let word = |field| u64::from_le_bytes(bytes[at + field..][..8].try_into().expect("8"));
            if bytes[at..].starts_with(b"TICKBLK\x01") && word(24) == number + 1 {
                blocks.push((path.clone(), at, word(32)));
            }
        }
    }
    blocks
}

/// Reads under a name up to `end`, and commits that.
fn commit(topic: &Topic, name: &str, end: u64) {
    let mut subscriber = topic.subscribe().cursor(name).open().expect("open");
    let mut audit = Audit::new(0, RING_BYTES / 4, None);
    while audit.due.is_none_or(|due| due < end) {
        subscriber.poll(1, |event| audit.event(event));
    }
    subscriber.commit().expect("stored");
}

#[test]
fn a_recorder_keeps_what_it_is_told_to_and_what_a_cursor_needs() {
    const KEPT: u64 = 4;
    const MESSAGES: u64 = 4_000;
    for ignores in [false, true] {
        let bus = TestBus::new();
        let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
        let files = tempfile::tempdir().expect("a directory");
        let open = || {
            let journal = topic.journal(files.path()).segment_bytes(SEGMENT_BYTES);
            let journal = journal.sync(SyncPolicy::Interval(Duration::from_millis(2)));
            let journal = journal.keep_bytes(KEPT * SEGMENT_BYTES);
            if ignores { journal.ignoring_cursors() } else { journal }.open().expect("a journal")
        };
        let mut publisher = topic.publisher(0).expect("the only one");
        publish(&mut publisher, 50);
        let journal = open();
        let dir = journal.dir().to_owned();
        journaled(journal, || {
            publisher.wait_durable(49, None).expect("on disk");
            commit(&topic, "risk", 20);
            publish(&mut publisher, MESSAGES);
        });
        let is_bounded = || {
            let count = segments(&dir).len() as u64;
            assert!(count > KEPT, "more was removed than that");
            // What is full, written to and made ready, when it was looked at last.
            assert!(count <= KEPT + 4, "{count} segments are kept");
        };
        if ignores {
            is_bounded();
            assert!(earliest(&dir) > 20);
        } else {
            assert!(earliest(&dir) <= 20);
            assert!(segments(&dir).len() as u64 > 2 * KEPT);
        }
        // The cursor moves on, and so does what is kept for it.
        journaled(open(), || {
            let mut subscriber = topic.subscribe().cursor("risk").open().expect("open");
            let mut audit = Audit::new(0, RING_BYTES / 4, Some(20));
            audit.read_to(&mut subscriber, MESSAGES);
            assert_eq!(audit.lost > 0, ignores);
            publisher.wait_durable(MESSAGES - 1, None).expect("on disk");
            subscriber.commit().expect("stored");
            publish(&mut publisher, MESSAGES + 1_000);
        });
        is_bounded();
        let audit = replay(&dir, None);
        assert_eq!((audit.due, audit.lost), (Some(MESSAGES + 1_000), 0));
    }
}

#[test]
fn a_recorder_removes_what_is_old() {
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(files.path()).segment_bytes(SEGMENT_BYTES);
    let journal = journal.sync(SyncPolicy::Always).keep_for(Duration::from_secs(1_000));
    let journal = journal.open().expect("a journal");
    let dir = journal.dir().to_owned();
    let now_ns = clock::now_ns();
    journaled(journal, || {
        let mut publisher = topic.publisher(0).expect("the only one");
        for (timestamp_ns, end) in [(now_ns - 3_600_000_000_000, 2_000_u64), (now_ns, 4_000)] {
            for offset in publisher.next_offset()..end {
                publisher.publish(timestamp_ns, &[offset; 125]).expect("published");
            }
        }
    });
    let mut first = None;
    let count = |event: Event<'_>| {
        let Event::Message(message) = event else { panic!("{event:?}") };
        first.get_or_insert(message.offset);
    };
    let counters = Replay::open(&dir).expect("a journal").run(count).expect("readable");
    let first = first.expect("something is there");
    assert_eq!(counters.messages, 4_000 - first);
    // 2,000 messages of 1 KiB are some eight segments; none of them has a new message but the last.
    assert!((1_000..=2_000).contains(&first), "{first}");
}

#[test]
fn pruning_keeps_what_it_is_told_to_and_what_a_cursor_needs() {
    const MESSAGES: u64 = 20_000;
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(files.path()).segment_bytes(SEGMENT_BYTES);
    let journal = journal.sync(SyncPolicy::Interval(Duration::from_millis(2))).open();
    let journal = journal.expect("a journal");
    let dir = journal.dir().to_owned();
    let before = |offset| Keep { before_offset: Some(offset), ..Keep::default() };
    journaled(journal, || {
        let mut publisher = topic.publisher(0).expect("the only one");
        publish(&mut publisher, MESSAGES);
        publisher.wait_durable(MESSAGES - 1, None).expect("on disk");
        commit(&topic, "risk", 7_000);
        // Beside a writer.
        let count = segments(&dir).len();
        assert_eq!(prune(&dir, 0, Keep::default(), true).expect("nothing").segments, 0);
        let pruned = prune(&dir, 0, before(5_000), false).expect("pruned");
        assert_eq!(pruned.held_by, None);
        assert_eq!(segments(&dir).len() + pruned.segments as usize, count);
        let first = pruned.earliest_offset.expect("something was removed");
        assert!((3_900..=5_000).contains(&first) && earliest(&dir) <= 5_000, "{first}");
        let pruned = prune(&dir, 0, before(15_000), false).expect("pruned");
        assert_eq!(pruned.held_by.as_deref(), Some("risk"));
        assert!((5_900..=7_000).contains(&earliest(&dir)));
        let again = prune(&dir, 0, before(15_000), false).expect("nothing");
        assert_eq!((again.segments, again.held_by.as_deref()), (0, Some("risk")));
        let mut audit = Audit::new(0, RING_BYTES / 4, Some(7_000));
        let mut subscriber = topic.subscribe().cursor("risk").open().expect("open");
        audit.read_to(&mut subscriber, 8_000);
        assert_eq!(audit.lost, 0);
        publish(&mut publisher, MESSAGES + 500);
    });
    // And without one.
    let pruned = prune(&dir, 0, before(15_000), true).expect("pruned");
    assert_eq!(pruned.held_by, None);
    assert!((13_900..=15_000).contains(&earliest(&dir)));
    let bytes = Keep { bytes: Some(3 * SEGMENT_BYTES), ..Keep::default() };
    prune(&dir, 0, bytes, true).expect("pruned");
    let left = blocks(&dir).len() * BLOCK_BYTES;
    assert!((3 * SEGMENT_BYTES as usize..=5 * SEGMENT_BYTES as usize).contains(&left), "{left}");
    // Everything is old; still the two newest stay.
    let old = Keep { age: Some(Duration::ZERO), ..Keep::default() };
    prune(&dir, 0, old, true).expect("pruned");
    let left = blocks(&dir);
    let mut files_left: Vec<_> = left.iter().map(|(path, ..)| path).collect();
    files_left.dedup();
    assert_eq!(files_left.len(), 2);
    let audit = replay(&dir, None);
    assert_eq!((audit.due, audit.lost), (Some(MESSAGES + 500), 0));
    // A subscriber whose messages are gone is told.
    let journal = topic.journal(files.path()).open().expect("the same journal");
    journaled(journal, || {
        let mut subscriber = topic.subscribe().cursor("risk").open().expect("open");
        let mut audit = Audit::new(0, RING_BYTES / 4, Some(7_000));
        audit.read_to(&mut subscriber, MESSAGES + 500);
        assert_eq!(audit.losses, 1);
    });
    let error = prune(files.path().join("quotes"), 0, old, true).expect_err("there is none");
    assert!(matches!(error, JournalError::Absent { .. }), "{error}");
}

/// A replay is in a segment that is removed, and whose file would be used again: it goes on to its
/// end, and is told of what it lost behind it.
#[test]
fn a_segment_that_is_read_is_not_used_again() {
    const KEPT: u64 = 2;
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(files.path()).segment_bytes(SEGMENT_BYTES);
    let journal = journal.sync(SyncPolicy::Interval(Duration::from_millis(2)));
    let journal = journal.keep_bytes(KEPT * SEGMENT_BYTES).open().expect("a journal");
    let dir = journal.dir().to_owned();
    journaled(journal, || {
        let mut publisher = topic.publisher(0).expect("the only one");
        publish(&mut publisher, 200);
        publisher.wait_durable(199, None).expect("on disk");
        let mut audit = Audit::new(0, RING_BYTES / 4, Some(0));
        let mut lost = None;
        let replay = Replay::open(&dir).expect("a journal");
        let first = segments(&dir)[0].clone();
        let counters = replay.run(|event| {
            audit.event(event);
            if audit.messages == 3 && audit.lost == 0 && first.exists() {
                publish(&mut publisher, 4_000);
                publisher.wait_durable(3_999, None).expect("on disk");
                assert!(!first.exists(), "it was not removed");
            }
            if let Event::Notice(notice) = event {
                let NoticeKind::Lost { from, to, .. } = notice.kind else { panic!("{notice}") };
                lost = Some((from, to));
            }
        });
        let (from, to) = lost.expect("the replay was held up for long");
        assert!(from > 3 && to > from, "{from} to {to}");
        assert_eq!(audit.due, Some(4_000));
        assert_eq!(counters.expect("readable").lost, to - from + 1);
    });
}

/// Everywhere: the log has what lies before, and goes on from there.
#[test]
fn a_journal_ends_where_it_is_truncated_and_goes_on() {
    const MESSAGES: u64 = 6_000;
    let files = tempfile::tempdir().expect("a directory");
    let dir = record(files.path(), MESSAGES);
    let mut random = Random(common::seed());
    let edges = blocks(&dir);
    assert!(edges.len() > 40);
    // Where blocks begin, within messages and between them, and anywhere.
    let mut cuts = vec![0, 1, MESSAGES - 1, MESSAGES];
    for _ in 0..12 {
        let (.., offset) = edges[random.below(edges.len() as u64) as usize];
        cuts.extend([offset, offset + 1, random.below(MESSAGES)]);
    }
    for cut in cuts {
        let cut = cut.min(MESSAGES);
        let place = tempfile::tempdir().expect("a directory");
        let dir = place.path().join("trades");
        copy(&files.path().join("trades"), &dir);
        let truncated = truncate(&dir, 0, cut).expect("cut");
        assert_eq!((truncated.end_offset, truncated.was_end_offset), (cut, MESSAGES));
        assert_eq!(truncated.bytes > 0, cut < MESSAGES);
        let audit = replay(&dir, Some(0));
        assert_eq!((audit.messages, audit.lost), (cut, 0), "cut at {cut}");
        // Once more changes nothing.
        let again = truncate(&dir, 0, cut).expect("cut");
        assert_eq!((again.end_offset, again.was_end_offset), (cut, cut));
        let error = truncate(&dir, 0, cut + 1).expect_err("behind the end");
        assert!(matches!(error, JournalError::Future { next, .. } if next == cut), "{error}");
        assert_eq!(go_on(place.path(), 50).expect("it can be gone on with"), cut);
        assert_eq!(go_on(place.path(), 50).expect("and again"), cut + 50);
        let audit = replay(&dir, Some(0));
        assert_eq!((audit.messages, audit.lost), (cut + 100, 0), "cut at {cut}");
    }
}

/// What one that was killed had begun is left alone while the kernel is still at work for it.
#[test]
fn a_journal_that_somebody_else_truncates_is_in_use() {
    let files = tempfile::tempdir().expect("a directory");
    let dir = record(files.path(), 500);
    let new = File::create(segments(&dir)[0].with_extension("new")).expect("made");
    // SAFETY: all zeroes is a lock of all of the file, of no kind yet.
    let mut lock: libc::flock = unsafe { mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: the descriptor is open, and the lock is there for as long as the call takes.
    assert_eq!(unsafe { libc::fcntl(new.as_raw_fd(), libc::F_OFD_SETLK, &lock) }, 0);
    let error = truncate(&dir, 0, 100).expect_err("it is being truncated");
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    assert_eq!(replay(&dir, Some(0)).messages, 500);
    drop(new);
    assert_eq!(truncate(&dir, 0, 100).expect("nobody else does").end_offset, 100);
}

#[test]
fn a_journal_whose_beginning_was_removed_is_truncated_up_to_there() {
    const MESSAGES: u64 = 6_000;
    let files = tempfile::tempdir().expect("a directory");
    let dir = record(files.path(), MESSAGES);
    prune(&dir, 0, Keep { before_offset: Some(3_000), ..Keep::default() }, false).expect("pruned");
    let first = blocks(&dir)[0].2;
    assert!(first > 0);
    let error = truncate(&dir, 0, first - 1).expect_err("it was removed");
    assert!(matches!(error, JournalError::Gone { earliest, .. } if earliest == first), "{error}");
    assert_eq!(truncate(&dir, 0, first).expect("cut").end_offset, first);
    assert_eq!(replay(&dir, None).messages, 0);
    assert_eq!(go_on(files.path(), 300).expect("it can be gone on with"), first);
    let audit = replay(&dir, Some(first));
    assert_eq!((audit.due, audit.lost), (Some(first + 300), 0));
}

/// What cannot be read is given up, knowingly, and the journal goes on.
#[test]
fn a_damaged_journal_is_truncated_to_what_can_be_read() {
    const MESSAGES: u64 = 6_000;
    let files = tempfile::tempdir().expect("a directory");
    let dir = record(files.path(), MESSAGES);
    let edges = blocks(&dir);
    let count = edges.len();
    for at in [count - 1, count - 2, count - 9, count / 2, 1] {
        let place = tempfile::tempdir().expect("a directory");
        let to = place.path().join("trades");
        copy(&dir, &to);
        let (path, byte, offset) = &edges[at];
        let path = to.join(path.strip_prefix(&dir).expect("in there"));
        let mut bytes = fs::read(&path).expect("a segment");
        bytes[byte + HEADER_BYTES + 17] ^= 1;
        fs::write(&path, bytes).expect("written");
        if at == count - 1 {
            let error = go_on(place.path(), 1).expect_err("what was on disk cannot be read");
            assert!(error.to_string().contains("truncate"), "{error}");
        }
        // As much as there was, of the last block nobody knows how much that is; of a message that
        // goes on behind the damage the end can be read.
        let wanted = match edges.get(at + 1) {
            None => MESSAGES,
            Some((.., next)) => offset + u64::from(next > offset),
        };
        let truncated = truncate(&to, 0, wanted).expect("cut");
        assert_eq!(truncated.end_offset, *offset);
        let audit = replay(&to, Some(0));
        assert_eq!((audit.messages, audit.lost), (truncated.end_offset, 0));
        assert_eq!(go_on(place.path(), 50).expect("it goes on"), truncated.end_offset);
        let audit = replay(&to, Some(0));
        assert_eq!((audit.messages, audit.lost), (truncated.end_offset + 50, 0));
    }
    // A cut behind what is damaged keeps what can be read there.
    let (path, byte, offset) = &edges[count / 2];
    let mut bytes = fs::read(path).expect("a segment");
    bytes[byte + HEADER_BYTES + 17] ^= 1;
    fs::write(path, bytes).expect("written");
    assert_eq!(truncate(&dir, 0, MESSAGES - 5).expect("cut").end_offset, MESSAGES - 5);
    let audit = replay(&dir, Some(0));
    assert_eq!((audit.due, audit.losses), (Some(MESSAGES - 5), 1));
    assert!(audit.lost > 0 && *offset > 0);
    assert_eq!(go_on(files.path(), 50).expect("it goes on"), MESSAGES - 5);
}

#[test]
fn a_journal_that_is_written_is_not_truncated() {
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let mut publisher = topic.publisher(0).expect("the only one");
    publish(&mut publisher, 100);
    let mut journal =
        topic.journal(files.path()).segment_bytes(SEGMENT_BYTES).open().expect("open");
    let dir = journal.dir().to_owned();
    assert_eq!(truncate(&dir, 0, 0).expect("nothing is there").end_offset, 0);
    while topic.stat().expect("readable").partitions[0]
        .journal
        .as_ref()
        .is_none_or(|journal| journal.written_offset < 100)
    {
        journal.poll();
    }
    let error = truncate(&dir, 0, 50).expect_err("it is written");
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    journal.close();
    drop(journal);
    assert_eq!(replay(&dir, Some(0)).messages, 100);

    // The ring has what is given up: the journal does not go on with it.
    assert_eq!(truncate(&dir, 0, 50).expect("nobody writes").end_offset, 50);
    if let Ok(mut journal) = topic.journal(files.path()).open() {
        publish(&mut publisher, 1_000);
        while journal.failures().count() == 0 {
            journal.poll();
        }
    }
    assert_eq!(replay(&dir, Some(0)).messages, 50);
    let end = go_on(files.path(), 50).expect("a ring that is made anew does");
    assert_eq!((end, replay(&dir, Some(0)).messages), (50, 100));
}
