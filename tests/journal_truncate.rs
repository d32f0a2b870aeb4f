//! Whoever truncates a journal is killed at random instants.

mod common;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tickcast::{JournalError, Truncated, truncate};

use common::Random;
use common::child::{self, Child, HANGING};
use common::recorded::{copy, go_on, record, replay};

#[test]
#[ignore = "a child of the test below"]
fn child() {
    let Some(role) = child::begin() else { return };
    let ["truncate", dir, cut] = *role.iter().map(String::as_str).collect::<Vec<_>>() else {
        panic!("no role of ours: {role:?}");
    };
    child::say("begin");
    truncate_when_free(Path::new(dir), cut.parse().expect("a number"));
    child::say("done");
    // Until it is killed.
    child::listen();
}

/// Truncates, once the kernel is no more at work for one that was killed.
fn truncate_when_free(dir: &Path, cut: u64) -> Truncated {
    let started = Instant::now();
    loop {
        match truncate(dir, 0, cut) {
            Err(JournalError::InUse { .. }) if started.elapsed() < HANGING => {
                thread::sleep(Duration::from_millis(1));
            }
            truncated => break truncated.expect("cut"),
        }
    }
}

/// Nothing before the cut is lost, the log can be gone on with, and truncating it again comes to
/// the same end.
#[test]
fn a_journal_survives_whoever_truncates_it() {
    const MESSAGES: u64 = 6_000;
    const KILLS: u64 = 80;
    let files = tempfile::tempdir().expect("a directory");
    let dir = record(files.path(), MESSAGES);
    let mut random = Random(common::seed());
    // How long it takes, by the longest so far.
    let mut whole = Duration::from_millis(1);
    let (mut kills, mut before, mut between, mut done) = (0, 0, 0, 0);
    while kills < KILLS {
        let place = tempfile::tempdir().expect("a directory");
        let dir_of_copy = place.path().join("trades");
        copy(&dir, &dir_of_copy);
        let cut = random.below(MESSAGES);
        let mut end = MESSAGES;
        for _ in 0..1 + random.below(3) {
            let role = format!("truncate {} {cut}", dir_of_copy.to_str().expect("text"));
            let mut child = Child::spawn(&role);
            child.hear();
            let started = Instant::now();
            if random.below(10) == 0 {
                child.hear();
                whole = whole.max(started.elapsed());
            } else {
                let whole_ns = u64::try_from(whole.as_nanos()).expect("not that long");
                thread::sleep(Duration::from_nanos(random.below(whole_ns)));
            }
            let is_done = !child.kill_and_hear().is_empty();
            let audit = replay(&dir_of_copy, Some(0));
            assert_eq!(audit.lost, 0);
            assert!((cut..=end).contains(&audit.messages), "{} of {end}", audit.messages);
            assert!(!is_done || audit.messages == cut);
            end = audit.messages;
            match end {
                MESSAGES => before += 1,
                end if end > cut => between += 1,
                _ => done += 1,
            }
            kills += 1;
        }
        if random.below(2) == 0 {
            let truncated = truncate_when_free(&dir_of_copy, cut);
            assert_eq!((truncated.end_offset, truncated.was_end_offset), (cut, end));
            end = cut;
        }
        assert_eq!(go_on(place.path(), 50).expect("it can be gone on with"), end);
        let audit = replay(&dir_of_copy, Some(0));
        assert_eq!((audit.messages, audit.lost), (end + 50, 0));
    }
    println!("{kills} kills: {before} left all, {between} a part, {done} came to the end");
}
