//! What a poll hands out: never more than its limit, and after a handler that panicked, the same
//! message again.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::TestBus;
use tickcast::{Event, Mode, NoticeKind, StartAt, Subscriber};

/// More than a block holds, so that it is a train of fragments.
const TRAIN_BYTES: usize = 100_000;

fn publish(bus: &TestBus, mode: Mode, lengths: &[usize]) -> (tickcast::Publisher, Subscriber) {
    let topic = bus.topic("t").create().expect("a topic");
    let mut publisher = topic.publisher(0).expect("nobody else publishes");
    let subscriber =
        topic.subscribe().mode(mode).start_at(StartAt::Earliest).open().expect("a subscription");
    for (at, &length) in lengths.iter().enumerate() {
        publisher.publish(at as u64, &vec![at as u8; length][..]).expect("there is room");
    }
    (publisher, subscriber)
}

/// Polls with this limit until there is nothing; returns the offsets.
fn offsets(subscriber: &mut Subscriber, limit: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    loop {
        let before = offsets.len();
        let polled = subscriber.poll(limit, |event| {
            if let Event::Message(message) = event {
                assert!(message.payload.iter().all(|&byte| u64::from(byte) == message.offset));
                offsets.push(message.offset);
            }
        });
        assert!(polled <= limit && offsets.len() - before <= polled, "{polled} of {limit}");
        if polled == 0 {
            return offsets;
        }
    }
}

#[test]
fn no_poll_hands_out_more_than_its_limit() {
    for mode in [Mode::Lossy, Mode::Reliable] {
        for limit in [1, 2, 3, 100] {
            let bus = TestBus::new();
            // Trains whose last fragment is longer or shorter than what is copied at once, and one
            // that ends where its block does; ticks in between.
            let lengths =
                [TRAIN_BYTES, TRAIN_BYTES, 48, 70_000, 65_392, 65_392, 48, 48, TRAIN_BYTES];
            let (_publisher, mut subscriber) = publish(&bus, mode, &lengths);
            assert_eq!(
                offsets(&mut subscriber, limit),
                (0..lengths.len() as u64).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_poll_for_nothing_hands_out_nothing() {
    for lengths in [&[][..], &[48, 48], &[TRAIN_BYTES, 48]] {
        let bus = TestBus::new();
        let (publisher, mut subscriber) = publish(&bus, Mode::Reliable, lengths);
        drop(publisher);
        let nothing = |subscriber: &mut Subscriber| {
            assert_eq!(subscriber.poll(0, |event| -> () { panic!("{event:?}") }), 0);
        };
        nothing(&mut subscriber);
        for offset in 0..lengths.len() as u64 {
            let taken = subscriber.poll(1, |event| match event {
                Event::Message(message) => assert_eq!(message.offset, offset),
                Event::Notice(notice) => panic!("{notice:?}"),
            });
            assert_eq!(taken, 1);
            nothing(&mut subscriber);
        }
        let mut ended = Vec::new();
        while ended.is_empty() {
            nothing(&mut subscriber);
            subscriber.poll(1, |event| match event {
                Event::Notice(notice) => ended.push(notice.kind),
                Event::Message(message) => panic!("{message:?}"),
            });
        }
        assert!(matches!(ended[..], [NoticeKind::PublisherGone]), "{ended:?}");
    }
}

#[test]
fn a_message_whose_handler_panicked_comes_again() {
    for mode in [Mode::Lossy, Mode::Reliable] {
        let bus = TestBus::new();
        let (_publisher, mut subscriber) = publish(&bus, mode, &[48; 5]);
        let mut seen = Vec::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            subscriber.poll(256, |event| {
                if let Event::Message(message) = event {
                    seen.push(message.offset);
                    assert_ne!(message.offset, 2, "as the test wants it");
                }
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(subscriber.offsets().map(|(_, offset)| offset).collect::<Vec<_>>(), [2]);
        seen.extend(offsets(&mut subscriber, 256));
        assert_eq!(seen, [0, 1, 2, 2, 3, 4]);
    }
}
