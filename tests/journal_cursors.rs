//! Named cursors: who has a name goes on where it committed, and never behind what is on disk.

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tickcast::runtime::Agent;
use tickcast::{
    CursorError, Event, JournalError, Order, Publisher, StartAt, SubscribeError, SubscriberBuilder,
    SyncPolicy, Topic, cursors, remove_cursor, truncate,
};

use common::TestBus;
use common::journal::start;

const RING_BYTES: u64 = 256 << 10;

fn publish(publisher: &mut Publisher, end: u64) {
    for offset in publisher.next_offset()..end {
        publisher.publish(offset, &[offset; 3]).expect("published");
    }
}

/// The committed offset of each partition.
fn committed(dir: &Path, name: &str) -> Vec<Option<u64>> {
    let cursors = cursors(dir).expect("readable");
    let cursor = cursors.into_iter().find(|cursor| cursor.name == name).expect("it is there");
    cursor.positions.iter().map(|position| position.map(|position| position.offset)).collect()
}

fn refused(builder: SubscriberBuilder) -> CursorError {
    match builder.open().expect_err("refused") {
        SubscribeError::Cursor(error) => error,
        error => panic!("{error}"),
    }
}

#[test]
fn a_subscriber_with_a_name_goes_on_where_it_committed() {
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let mut publisher = topic.publisher(0).expect("the only one");
    publish(&mut publisher, 100);
    let error = refused(topic.subscribe().cursor("risk"));
    assert!(matches!(error, CursorError::NoJournal { partition: 0, .. }), "{error}");
    let error = topic.subscribe().open().expect("open").commit().expect_err("it has no name");
    assert!(matches!(error, CursorError::Unnamed), "{error}");

    let mut journal = topic.journal(files.path()).sync(SyncPolicy::Always).open().expect("open");
    let dir = journal.dir().to_owned();
    for name in ["", ".risk", "../risk", "a/b"] {
        let error = refused(topic.subscribe().cursor(name));
        assert!(matches!(error, CursorError::Journal(JournalError::File(_))), "{error}");
    }
    let risk = || topic.subscribe().cursor("risk");
    let mut subscriber = risk().open().expect("open");
    let error = refused(risk());
    assert!(matches!(&error, CursorError::Busy { name } if name == "risk"), "{error}");
    // Nothing was handed out, and then nothing of it is on disk.
    subscriber.commit().expect("stored");
    assert_eq!(cursors(&dir).expect("readable"), []);
    assert_eq!(subscriber.poll(60, |_| ()), 60);
    subscriber.commit().expect("stored");
    assert_eq!(committed(&dir, "risk"), [Some(0)]);
    while publisher.durable_offset() < 100 {
        journal.poll();
    }
    let batch = subscriber.batch().expect("messages").take(5);
    assert_eq!(batch.last().expect("one").offset, 64);
    subscriber.commit().expect("stored");
    assert_eq!(committed(&dir, "risk"), [Some(65)]);
    // What was received counts as done, what was refused does not.
    let event = subscriber.receive(None).expect("an event").expect("an event");
    assert!(matches!(event, Event::Message(message) if message.offset == 65));
    subscriber.commit().expect("stored");
    subscriber.poll(10, |_| tickcast::Flow::Retry);
    subscriber.commit().expect("stored");
    assert_eq!(committed(&dir, "risk"), [Some(66)]);
    subscriber.poll(10, |_| ());
    drop(subscriber);

    // It is where it committed, whatever it is told.
    let mut subscriber = risk().start_at(StartAt::Live).open().expect("open");
    let mut due = 66;
    subscriber.poll(10, |event| {
        assert!(matches!(event, Event::Message(message) if message.offset == due));
        due += 1;
    });
    subscriber.commit().expect("stored");
    drop(subscriber);
    assert_eq!(committed(&dir, "risk"), [Some(due)]);
    // Another one that was never there starts as it is told.
    let mut live = topic.subscribe().cursor("live").start_at(StartAt::Live).open().expect("open");
    assert_eq!(live.poll(10, |_| ()), 0);
    drop(live);
    remove_cursor(&dir, "risk").expect("nobody has it");
    assert!(cursors(&dir).expect("readable").is_empty());
    let subscriber = risk().open().expect("open");
    assert_eq!(subscriber.offsets().next().expect("a partition").1, 0);
    let error = remove_cursor(&dir, "risk").expect_err("somebody has it");
    assert!(matches!(error, CursorError::Busy { .. }), "{error}");
    journal.close();
}

#[test]
fn partitions_and_topics_have_places_of_their_own() {
    let bus = TestBus::new();
    let files = tempfile::tempdir().expect("a directory");
    let make = |name: &str| {
        let topic = bus.topic(name).ring_bytes(RING_BYTES).partitions(3).create();
        let topic: Topic = topic.expect("a topic");
        let journal = topic.journal(files.path()).sync(SyncPolicy::Always).open();
        (start(journal.expect("a journal")), topic)
    };
    let ((core, trades), (other_core, quotes)) = (make("trades"), make("quotes"));
    for (topic, end) in [(&trades, 100), (&quotes, 200)] {
        for mut publisher in topic.publishers().expect("all") {
            let end = end + u64::from(publisher.partition());
            publish(&mut publisher, end);
            let last = publisher.next_offset() - 1;
            publisher.wait_durable(last, None).expect("on disk");
        }
    }
    let all = || {
        let settings = trades.subscribe().and(&quotes).partition(1).cursor("all");
        settings.order(Order::Timestamp { hold: Duration::ZERO })
    };
    let mut subscriber = all().open().expect("open");
    let mut count = 0;
    while count < 250 {
        count += subscriber.poll(250 - count, |_| ());
    }
    let due: Vec<_> = subscriber.offsets().map(|(_, offset)| offset).collect();
    assert_eq!(due.iter().sum::<u64>(), 250);
    subscriber.commit().expect("stored");
    drop(subscriber);
    let dir = |topic: &Topic| files.path().join(topic.name());
    assert_eq!(
        committed(&dir(&trades), "all"),
        due[..3].iter().copied().map(Some).collect::<Vec<_>>()
    );
    assert_eq!(committed(&dir(&quotes), "all"), [None, Some(due[3]), None]);
    let subscriber = all().open().expect("open");
    assert_eq!(subscriber.offsets().map(|(_, offset)| offset).collect::<Vec<_>>(), due);
    drop(subscriber);
    core.stop().expect("no agent panics");
    other_core.stop().expect("no agent panics");
}

#[test]
fn a_cursor_that_is_damaged_or_another_topics_is_refused() {
    let bus = TestBus::new();
    let files = tempfile::tempdir().expect("a directory");
    let make = |name: &str| {
        let topic = bus.topic(name).ring_bytes(RING_BYTES).create().expect("a topic");
        let journal = topic.journal(files.path()).sync(SyncPolicy::Always).open().expect("open");
        let core = start(journal);
        let mut publisher = topic.publisher(0).expect("the only one");
        publish(&mut publisher, 100);
        publisher.wait_durable(99, None).expect("on disk");
        let mut subscriber = topic.subscribe().cursor("risk").open().expect("open");
        assert_eq!(subscriber.poll(50, |_| ()), 50);
        subscriber.commit().expect("stored");
        (files.path().join(name).join("cursors").join("risk"), topic, core)
    };
    let ((path, topic, core), (other_path, _, other_core)) = (make("one"), make("two"));
    let good = fs::read(&path).expect("a cursor");
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    let other = fs::read(&other_path).expect("a cursor");
    for bytes in [&flipped[..], &good[..good.len() - 1], &[], &other] {
        fs::write(&path, bytes).expect("written");
        let error = refused(topic.subscribe().cursor("risk"));
        assert!(matches!(error, CursorError::Journal(JournalError::BadFile { .. })), "{error}");
        assert!(error.to_string().contains("risk"), "{error}");
        cursors(files.path().join("one")).expect_err("it cannot be read");
    }
    fs::write(&path, &good).expect("written");
    assert_eq!(committed(&files.path().join("one"), "risk"), [Some(50)]);
    core.stop().expect("no agent panics");
    other_core.stop().expect("no agent panics");
}

/// The log is cut below a cursor; at once, and when it has gone on past it, the cursor is refused.
#[test]
fn a_cursor_that_is_ahead_of_the_log_is_refused() {
    let files = tempfile::tempdir().expect("a directory");
    let dir = files.path().join("trades");
    let life = |end: u64, work: &dyn Fn(&Topic)| {
        let bus = TestBus::new();
        let topic = bus.topic("trades").ring_bytes(RING_BYTES).journal(files.path());
        let topic = topic.open_or_create().expect("a topic");
        let journal = topic.journal(files.path()).sync(SyncPolicy::Always).open().expect("open");
        let core = start(journal);
        let mut publisher = topic.publisher(0).expect("the only one");
        publish(&mut publisher, end);
        if end > 0 {
            publisher.wait_durable(end - 1, None).expect("on disk");
        }
        work(&topic);
        core.stop().expect("no agent panics");
    };
    let read = |topic: &Topic, name: &str, count: usize| {
        let mut subscriber = topic.subscribe().cursor(name).open().expect("open");
        let mut left = count;
        while left > 0 {
            left -= subscriber.poll(left, |_| ());
        }
        subscriber.commit().expect("stored");
    };
    life(1_000, &|topic| {
        read(topic, "risk", 900);
        read(topic, "slow", 300);
    });
    assert_eq!(truncate(&dir, 0, 500).expect("cut").cursors, ["risk"]);
    let is_ahead = |topic: &Topic| {
        let error = refused(topic.subscribe().cursor("risk"));
        let CursorError::Ahead { partition, offset, end, .. } = error else { panic!("{error}") };
        assert_eq!((partition, offset, end), (0, 900, 500));
        topic.subscribe().cursor("slow").open().expect("it is not ahead");
    };
    life(0, &is_ahead);
    // In the ring, in the files, and in both.
    life(2_000, &is_ahead);
    life(2_000, &is_ahead);
    life(20_000, &is_ahead);
    life(20_000, &|topic| read(topic, "slow", 10_000));
}
