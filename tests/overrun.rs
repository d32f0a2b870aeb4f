//! A subscriber that is overrun all the time by a publisher in another process, with messages that
//! are stored word by word, in pairs of words, and by one instruction: what it is handed is whole, and
//! what it is not handed it is told exactly.

mod common;

use std::array;
use std::time::Instant;

use common::TestBus;
use common::audit::timestamp_of;
use common::child::{self, Child, HANGING};
use common::payload::{is_payload, mix, payload};
use tickcast::{Bus, Event, NoticeKind, StartAt};

/// Four blocks, the smallest ring: some 150 messages go around it.
const RING_BYTES: u64 = 256 << 10;

/// How many payloads are made before. One that is torn has words of two messages that are a lap of
/// the ring apart, or several, and so hardly ever of the same payload.
const PAYLOADS: u64 = 1009;

/// Messages that are published together, and as many one by one before.
const BATCH: usize = 16;

/// Losses that have to be seen, and so copies that were overwritten while they were made.
const LOSSES: u64 = 2000;

/// Ticks and up to 10 KiB: some end within a word.
fn length_of(offset: u64) -> usize {
    let at = offset % PAYLOADS;
    let longest = if at.is_multiple_of(3) { 10 << 10 } else { 200 };
    mix(at) as usize % longest
}

/// The child that publishes as fast as it can, until it is killed.
fn publish_in_child(bus: &str) {
    let topic = Bus::open(bus).expect("the bus is there").open_topic("t").expect("the topic");
    let mut publisher = topic.publisher(0).expect("nobody else publishes");
    let payloads: Vec<_> = (0..PAYLOADS).map(|at| payload(0, at, length_of(at))).collect();
    child::say("publishing");
    let message = |offset| (timestamp_of(offset), &payloads[(offset % PAYLOADS) as usize][..]);
    for first in (0..).step_by(2 * BATCH) {
        for offset in first..first + BATCH as u64 {
            let (timestamp_ns, payload) = message(offset);
            let published = publisher.publish(timestamp_ns, payload).expect("the bus lives");
            assert_eq!(published, offset);
        }
        let batch: [_; BATCH] = array::from_fn(|at| message(first + (BATCH + at) as u64));
        publisher.publish_batch(&batch).expect("the bus lives");
    }
}

#[test]
fn what_another_process_overwrites_is_never_handed_out() {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(RING_BYTES).create().expect("a topic");
    let mut subscriber =
        topic.subscribe().start_at(StartAt::Offset(0)).open().expect("a subscription");
    let mut publisher = Child::spawn(&format!("publish {}", bus.name()));
    assert_eq!(publisher.hear(), "publishing");
    let started = Instant::now();
    let (mut due, mut messages, mut lost, mut losses) = (0, 0u64, 0u64, 0u64);
    while losses < LOSSES || messages < LOSSES {
        assert!(started.elapsed() < HANGING, "{losses} losses and {messages} messages, no more");
        subscriber.poll(64, |event| match event {
            Event::Message(message) => {
                let offset = message.offset;
                assert_eq!(offset, due, "a message is lost, repeated or out of order");
                assert_eq!(message.timestamp_ns, timestamp_of(offset));
                assert_eq!(message.payload.len(), length_of(offset));
                let is_whole = is_payload(message.payload, 0, offset % PAYLOADS);
                assert!(is_whole, "message {offset} is torn");
                (due, messages) = (offset + 1, messages + 1);
            }
            Event::Notice(notice) => {
                let NoticeKind::Lost { from, to, .. } = notice.kind else { panic!("{notice:?}") };
                assert_eq!(from, due, "the loss is not the exact one");
                (due, lost, losses) = (to + 1, lost + to + 1 - from, losses + 1);
            }
        });
    }
    println!("{messages} messages, {lost} lost in {losses} losses");
    publisher.kill();
}

#[test]
#[ignore = "is run by the others, as a process of its own"]
fn child() {
    let Some(role) = child::begin() else { return };
    match role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["publish", bus] => publish_in_child(bus),
        _ => panic!("{role:?}: no such role"),
    }
}
