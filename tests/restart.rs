//! What programs find that start anew, with the ring still there and with nothing left of it but
//! its journal: who publishes goes on where the last one stopped, and nothing is published twice.

mod common;

use std::path::Path;

use tickcast::runtime::Agent;
use tickcast::{
    Event, Journal, LossCause, NoticeKind, OwnedMessage, Publisher, Sequencer, StartAt, Topic,
    TopicError,
};

use common::TestBus;

const RING_BYTES: u64 = 1 << 20;

fn topic(bus: &TestBus, name: &str, journal: &Path) -> Topic {
    let topic = bus.topic(name).ring_bytes(RING_BYTES).journal(journal);
    topic.open_or_create().expect("a topic, as it was")
}

fn journal(topic: &Topic, dir: &Path) -> Journal {
    topic.journal(dir).segment_bytes(256 << 10).open().expect("its journal")
}

/// Message `sequence` of the input: long ones now and then.
fn payload(sequence: u64) -> Vec<u8> {
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.resize(if sequence % 100 == 99 { 100_000 } else { 40 }, sequence as u8);
    bytes
}

fn sequence_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("8 bytes"))
}

fn last(publisher: &Publisher) -> Option<OwnedMessage> {
    publisher.last_message().expect("it is there")
}

#[test]
fn a_publisher_learns_what_was_published_last() {
    let files = tempfile::tempdir().expect("a directory");
    let mut due = 0;
    let mut end = 0;
    for life in 0..4 {
        let bus = TestBus::new();
        let topic = topic(&bus, "trades", files.path());
        // What was before is there for everyone, though nobody journals yet.
        let mut seen = 0;
        let mut subscriber = topic.subscribe().start_at(StartAt::Earliest).open().expect("open");
        while subscriber.poll(100, |event| match event {
            Event::Message(message) => {
                assert_eq!(message.payload, payload(seen));
                seen += 1;
            }
            Event::Notice(notice) => panic!("{notice}"),
        }) > 0
        {}
        assert_eq!(seen, due);
        for turn in 0..5 {
            let mut publisher = topic.publisher(0).expect("the only one");
            assert_eq!(publisher.next_offset(), end);
            let found = last(&publisher);
            assert_eq!(found.is_some(), due > 0, "life {life}, turn {turn}");
            if let Some(found) = found {
                assert_eq!((found.offset, found.timestamp_ns), (end - 1, due - 1));
                assert_eq!(found.payload, payload(due - 1));
            }
            // The input begins again at its start, or somewhere before the end.
            let next = last(&publisher).map_or(0, |last| sequence_of(&last.payload) + 1);
            let mut journal = (turn > 0).then(|| journal(&topic, files.path()));
            for sequence in due.saturating_sub(50)..due + 60 + turn * 27 {
                if sequence >= next {
                    publisher.publish(sequence, &payload(sequence)[..]).expect("published");
                    due = sequence + 1;
                }
                if let Some(journal) = &mut journal {
                    while journal.poll() > 0 {}
                }
            }
            end = publisher.next_offset();
            assert_eq!(end, due, "each once");
            if let Some(mut journal) = journal {
                journal.close();
            }
        }
    }
}

/// Gaps and what was never finished are no messages.
#[test]
fn what_is_no_message_is_passed_over() {
    let bus = TestBus::new();
    let topic = bus.topic("feed").ring_bytes(256 << 10).create().expect("a topic");
    let mut publisher = topic.publisher(0).expect("the only one");
    assert_eq!(last(&publisher), None);
    let gaps = |publisher: &mut Publisher, count: u64| {
        for _ in 0..count {
            let to = publisher.next_offset();
            publisher.publish_gap(0, to, LossCause::Feed).expect("published");
        }
    };
    gaps(&mut publisher, 20);
    assert_eq!(last(&publisher), None);
    publisher.publish(7, &payload(3)[..]).expect("published");
    gaps(&mut publisher, 100);
    drop(publisher.claim(64).expect("there is room"));
    let found = last(&publisher).expect("one before the gaps");
    assert_eq!((found.offset, found.timestamp_ns, found.payload), (20, 7, payload(3)));
}

/// A journal that may lack the last message is not believed about it.
#[test]
fn what_the_last_message_was_is_not_guessed() {
    for is_journaled in [false, true] {
        let bus = TestBus::new();
        let files = tempfile::tempdir().expect("a directory");
        let topic = bus.topic("feed").ring_bytes(256 << 10).create().expect("a topic");
        let mut publisher = topic.publisher(0).expect("the only one");
        publisher.publish(1, &payload(1)[..]).expect("published");
        if is_journaled {
            journal(&topic, files.path()).close();
        }
        publisher.publish(2, &payload(2)[..]).expect("published");
        assert_eq!(last(&publisher).expect("in the ring").timestamp_ns, 2);
        let mut gaps = || {
            for _ in 0..10_000 {
                let to = publisher.next_offset();
                publisher.publish_gap(0, to, LossCause::Feed).expect("published");
            }
            publisher.last_message()
        };
        let error = gaps().expect_err("it was overwritten");
        assert!(matches!(error, TopicError::NoLastMessage { .. }), "{error}");
        if is_journaled {
            // It goes on with the gaps, and says that something is missing before them.
            journal(&topic, files.path()).close();
            let error = gaps().expect_err("the journal lacks it");
            assert!(matches!(error, TopicError::NoLastMessage { .. }), "{error}");
        }
    }
}

/// The state of a sequencer is in its output, also when that is only in files.
#[test]
fn a_sequencer_goes_on_where_only_the_journals_are_left() {
    const INPUTS: [&str; 2] = ["a", "b"];
    const LIVES: u64 = 6;
    let files = tempfile::tempdir().expect("a directory");
    let mut published = [0_u64; 2];
    for life in 1..=LIVES {
        let bus = TestBus::new();
        let inputs = INPUTS.map(|name| topic(&bus, name, files.path()));
        let output = topic(&bus, "output", files.path());
        let [a, b] = &inputs;
        let mut journals = [a, b, &output].map(|topic: &Topic| journal(topic, files.path()));
        let mut publishers = inputs.each_ref().map(|topic| topic.publisher(0).expect("mine"));
        let mut sequencer = Sequencer::new(&[a, b], &output).expect("it goes on");
        for round in 0..life * 3 {
            for (input, publisher) in publishers.iter_mut().enumerate() {
                for _ in 0..round * 5 % 13 {
                    let message = [input as u64, published[input]];
                    publisher.publish(published[input], &message).expect("published");
                    published[input] += 1;
                }
            }
            // In the last life to the end; before, something is left to the next one.
            while sequencer.poll() > 0 && life == LIVES {}
        }
        journals.iter_mut().for_each(Agent::close);
        assert!(sequencer.failure().is_none());
        if life < LIVES {
            continue;
        }
        let mut next = [0_u64; 2];
        let mut subscriber = output.subscribe().start_at(StartAt::Earliest).open().expect("open");
        while subscriber.poll(100, |event| match event {
            Event::Message(message) => {
                let [input, of] = *message.read::<[u64; 2]>().expect("two numbers");
                assert_eq!(of, next[input as usize], "lost, repeated or reordered");
                next[input as usize] += 1;
            }
            Event::Notice(notice) => {
                assert!(!matches!(notice.kind, NoticeKind::Lost { .. }), "{notice}")
            }
        }) > 0
        {}
        assert_eq!(next, published);
    }
}
