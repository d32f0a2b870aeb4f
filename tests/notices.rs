//! Notices where words in shared memory stand against each other: as a publisher that died at a bad
//! instant leaves them, or a stray store.

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use common::TestBus;
use tickcast::{Event, NoticeKind, ReceiveError, SlowSubscriber, StartAt, Subscriber};

const BLOCK_BYTES: u64 = 65_536;
/// A message that fills a block.
static WHOLE: [u8; 65_392] = [7; 65_392];

/// Overwrites a word of the topic's ring.
fn overwrite(bus: &TestBus, at: u64, word: u64) {
    let path = common::root().join(bus.name()).join("t").join("0.log");
    let file = File::options().write(true).open(path).expect("a topic has a ring");
    file.write_all_at(&word.to_le_bytes(), at).expect("writable");
}

/// The next notice; messages before it are passed over. `None` after a while.
fn notice(subscriber: &mut Subscriber) -> Result<Option<NoticeKind>, ReceiveError> {
    loop {
        match subscriber.receive(Some(Duration::from_millis(500)))? {
            Some(Event::Message(_)) => {}
            Some(Event::Notice(notice)) => return Ok(Some(notice.kind)),
            None => return Ok(None),
        }
    }
}

#[test]
fn an_eviction_is_told_before_a_return() {
    let bus = TestBus::new();
    let slow = SlowSubscriber::EvictAfter(Duration::from_millis(1));
    let topic =
        bus.topic("t").ring_bytes(4 * BLOCK_BYTES).slow_subscriber(slow).create().expect("a topic");
    let mut first = topic.publisher(0).expect("nobody else publishes");
    let mut subscriber = topic.subscribe().reliable().open().expect("a free slot");
    first.publish(1, &WHOLE[..]).expect("room");
    drop(first);
    assert_eq!(notice(&mut subscriber), Ok(Some(NoticeKind::PublisherGone)));
    assert_eq!(notice(&mut subscriber), Ok(None));
    let mut second = topic.publisher(0).expect("nobody else publishes");
    for _ in 0..6 {
        second.publish(1, &WHOLE[..]).expect("it evicts");
    }
    assert_eq!(topic.stat().expect("readable").partitions[0].evictions, 1);
    // As if it had died on entering block 5, in the place of block 1 that is due.
    overwrite(&bus, BLOCK_BYTES + 24, 0);
    assert_eq!(notice(&mut subscriber), Ok(Some(NoticeKind::Evicted)));
    assert_eq!(notice(&mut subscriber), Err(ReceiveError::Finished));
}

#[test]
fn an_epoch_that_cannot_be_does_not_hide_a_death() {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(4 * BLOCK_BYTES).create().expect("a topic");
    let mut publisher = topic.publisher(0).expect("nobody else publishes");
    publisher.publish(1, b"one").expect("room");
    overwrite(&bus, 48, u64::MAX);
    let mut subscriber =
        topic.subscribe().start_at(StartAt::Earliest).open().expect("there is a message");
    assert_eq!(notice(&mut subscriber), Ok(Some(NoticeKind::PublisherGone)));
    assert_eq!(notice(&mut subscriber), Ok(Some(NoticeKind::PublisherBack { epoch: u64::MAX })));
    assert_eq!(notice(&mut subscriber), Ok(None));
    drop(publisher);
    assert_eq!(notice(&mut subscriber), Ok(Some(NoticeKind::PublisherGone)));
    let publisher = topic.publisher(0).expect("nobody else publishes");
    assert_eq!(notice(&mut subscriber), Ok(Some(NoticeKind::PublisherBack { epoch: 2 })));
    drop(publisher);
    assert_eq!(notice(&mut subscriber), Ok(Some(NoticeKind::PublisherGone)));
}
