//! Scenarios with one partition: what comes, and from where on.

use tickcast::{LossCause, NoticeKind, SlowSubscriber};

use crate::actor::{message, notice};
use crate::common::TestBus;
use crate::common::payload::length_of;
use crate::place::{End, Place};

const MIB: u64 = 1 << 20;

/// The messages `from..to` of partition 0, published with their offsets as timestamps.
pub(crate) fn messages(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|offset| message(0, 0, offset, offset)).collect()
}

pub(crate) fn lines(answer: &str) -> Vec<&str> {
    answer.split(';').filter(|line| !line.is_empty()).collect()
}

pub(crate) fn subscribe(end: &mut dyn End, what: &str) {
    assert_eq!(end.ask(&format!("subscribe {what}")), "subscribed", "{what}");
}

/// Becomes the first publisher of a partition of a topic.
pub(crate) fn first_publisher(end: &mut dyn End, bus: &TestBus, what: &str) {
    assert_eq!(end.ask(&format!("publisher {} {what}", bus.name())), "1 0");
}

pub(crate) fn all_ways_to_publish_and_to_take_agree(place: &dyn Place) {
    let bus = TestBus::new();
    let evict = SlowSubscriber::EvictAfter(std::time::Duration::from_secs(60));
    for (topic, slow) in [("waits", SlowSubscriber::Wait), ("evicts", evict)] {
        bus.topic(topic).ring_bytes(4 * MIB).slow_subscriber(slow).create().expect("a topic");
        let mut publisher = place.publisher();
        first_publisher(&mut *publisher, &bus, &format!("{topic} 0"));
        assert_eq!(publisher.ask("publish 0 211"), "211");
        assert_eq!(publisher.ask("batch 0 200"), "411");
        assert_eq!(publisher.ask("claim 0 200"), "611");
        assert!(length_of(508, MIB) > 65_392, "one is fragmented");
        let expected = messages(0, 611);
        let mut subscriber = place.subscriber();
        for mode in ["reliable", "lossy"] {
            for how in ["poll", "stop", "retry", "batch", "receive", "messages", "mixed"] {
                let name = bus.name();
                subscribe(&mut *subscriber, &format!("{name} {mode} earliest arrival {topic}"));
                let taken = subscriber.ask(&format!("take {how} 611"));
                assert_eq!(lines(&taken), expected, "{topic}, {mode}, {how}");
                assert_eq!(subscriber.ask("counters"), "611 0 0");
                assert_eq!(subscriber.ask("offsets"), "611");
            }
        }
    }
}

pub(crate) fn a_subscriber_starts_where_it_wants(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB / 4).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    let name = bus.name();
    first_publisher(&mut *publisher, &bus, "t 0");
    for mode in ["reliable", "lossy"] {
        let mut start =
            |at: &str| subscriber.ask(&format!("subscribe {name} {mode} {at} arrival t"));
        let error = start("9000000000");
        assert!(error.contains("has no message 9000000000 yet: the next one is"), "{error}");
        assert_eq!(start("live"), "subscribed");
        assert_eq!(subscriber.ask("nothing poll"), "");
        let next: u64 = publisher.ask("publish 0 0").parse().expect("an offset");
        assert_eq!(publisher.ask("publish 0 100"), (next + 100).to_string());
        let end = next + 100;
        assert_eq!(lines(&subscriber.ask("take poll 100")), messages(next, end));
        for at in [next, next + 1, next + 57, end - 1] {
            subscribe(&mut *subscriber, &format!("{name} {mode} {at} arrival t"));
            let taken = subscriber.ask(&format!("take mixed {}", end - at));
            assert_eq!(lines(&taken), messages(at, end));
        }
        subscribe(&mut *subscriber, &format!("{name} {mode} {end} arrival t"));
        assert_eq!(subscriber.ask("nothing receive"), "");
        assert_eq!(publisher.ask("claim 0 3"), (end + 3).to_string());
        assert_eq!(lines(&subscriber.ask("take batch 3")), messages(end, end + 3));
        subscriber.ask("drop-subscriber");
        // The ring goes round some times.
        let end: u64 = publisher.ask("publish 0 6000").parse().expect("an offset");
        assert_eq!(end, next + 6103);
        subscribe(&mut *subscriber, &format!("{name} {mode} earliest arrival t"));
        let first = subscriber.ask("take poll 1");
        let first: u64 = first.split(' ').nth(2).expect("a message").parse().expect("an offset");
        assert!(first > next && first < end);
        subscribe(&mut *subscriber, &format!("{name} {mode} {next} arrival t"));
        let lost = NoticeKind::Lost { from: next, to: first - 1, cause: LossCause::Overrun };
        let mut expected = vec![notice(0, 0, lost)];
        expected.extend(messages(first, end));
        let taken = subscriber.ask(&format!("take receive {}", expected.len()));
        assert_eq!(lines(&taken), expected);
        subscriber.ask("drop-subscriber");
    }
}

pub(crate) fn nothing_is_lost_on_a_ring_that_is_full_again_and_again(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB / 4).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    first_publisher(&mut *publisher, &bus, "t 0");
    subscribe(&mut *subscriber, &format!("{} reliable earliest arrival t", bus.name()));
    let mut taken = 0;
    for round in 0..20 {
        let how = ["publish", "batch", "claim"][round % 3];
        let next: u64 = publisher.ask(&format!("{how} 0 100000")).parse().expect("an offset");
        assert!(next < taken + 20_000, "the subscriber was not waited for");
        assert!(next > taken, "the publisher is stuck");
        assert_eq!(publisher.ask("publish 0 1000"), next.to_string(), "full is full");
        // A part of it is not enough for many; all of it is.
        for end in [taken + (next - taken) / 2, next] {
            let how = ["poll", "batch", "receive", "mixed"][round % 4];
            let count = end - taken;
            assert_eq!(
                lines(&subscriber.ask(&format!("take {how} {count}"))),
                messages(taken, end)
            );
            taken = end;
        }
        assert_eq!(subscriber.ask("nothing receive"), "");
    }
    if publisher.is_parallel() || subscriber.is_parallel() {
        let (send, take) = ("wait-and-publish 0 20000", "take mixed 20000");
        // Whoever is not parallel comes second.
        let (published, got) = if publisher.is_parallel() {
            publisher.send(send);
            let got = subscriber.ask(take);
            (publisher.answer(), got)
        } else {
            subscriber.send(take);
            let published = publisher.ask(send);
            (published, subscriber.answer())
        };
        assert_eq!(published, (taken + 20_000).to_string());
        assert_eq!(lines(&got), messages(taken, taken + 20_000));
    }
}

pub(crate) fn typed_messages_are_read_in_place(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    first_publisher(&mut *publisher, &bus, "t 0");
    publisher.ask("publish-typed 0 5000");
    for mode in ["reliable", "lossy"] {
        subscribe(&mut *subscriber, &format!("{} {mode} earliest arrival t", bus.name()));
        assert_eq!(subscriber.ask("take-typed 5000"), "5000");
    }
}

pub(crate) fn a_dropped_claim_leaves_no_trace(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB / 4).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    first_publisher(&mut *publisher, &bus, "t 0");
    subscribe(&mut *subscriber, &format!("{} reliable earliest arrival t", bus.name()));
    let mut next = 0;
    for length in [0, 1, 48, 49, 1000, 1024, 5000, 60_000, 65_392] {
        publisher.ask(&format!("drop-claim 0 {length}"));
        assert_eq!(subscriber.ask("nothing receive"), "", "after a claim of {length}");
        for how in ["publish", "batch", "claim"] {
            publisher.ask(&format!("drop-claim 0 {length}"));
            assert_eq!(publisher.ask(&format!("{how} 0 7")), (next + 7).to_string());
            assert_eq!(lines(&subscriber.ask("take poll 7")), messages(next, next + 7));
            next += 7;
        }
    }
}

pub(crate) fn gaps_are_told_with_their_cause(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    first_publisher(&mut *publisher, &bus, "t 0");
    let mut expected = Vec::new();
    let mut next = 0;
    let causes = [
        ("feed", LossCause::Feed, 1),
        ("journal", LossCause::Journal, 2),
        ("overrun", LossCause::Overrun, 1000),
        ("feed", LossCause::Feed, (1 << 31) - 1),
        ("feed", LossCause::Feed, 1 << 31),
        ("journal", LossCause::Journal, 1 << 33),
    ];
    for (word, cause, count) in causes {
        assert_eq!(publisher.ask("publish 0 2"), (next + 2).to_string());
        expected.extend(messages(next, next + 2));
        let (from, to) = (next + 2, next + 1 + count);
        assert_eq!(publisher.ask(&format!("gap 0 {to} {word}")), "Ok(())");
        expected.push(notice(0, 0, NoticeKind::Lost { from, to, cause }));
        next = to + 1;
    }
    for mode in ["reliable", "lossy"] {
        for how in ["poll", "stop", "retry", "batch", "receive", "messages", "mixed"] {
            subscribe(&mut *subscriber, &format!("{} {mode} earliest arrival t", bus.name()));
            let taken = subscriber.ask(&format!("take {how} {}", expected.len()));
            assert_eq!(lines(&taken), expected, "{mode}, {how}");
            assert_eq!(subscriber.ask("offsets"), next.to_string());
        }
        // Inside the third gap, which begins at 9.
        subscribe(&mut *subscriber, &format!("{} {mode} 300 arrival t", bus.name()));
        let rest = NoticeKind::Lost { from: 300, to: 1008, cause: LossCause::Overrun };
        let mut from_there = vec![notice(0, 0, rest)];
        from_there.extend_from_slice(&expected[9..]);
        let taken = subscriber.ask(&format!("take poll {}", from_there.len()));
        assert_eq!(lines(&taken), from_there);
    }
}

pub(crate) fn an_overrun_subscriber_is_told_exactly_what_it_lost(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB / 4).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    first_publisher(&mut *publisher, &bus, "t 0");
    subscribe(&mut *subscriber, &format!("{} lossy live arrival t", bus.name()));
    let (mut end, mut due, mut lost) = (0, 0, 0);
    for (round, how) in ["poll", "batch", "receive", "mixed"].into_iter().enumerate() {
        // Read some, so that the loss begins inside a block.
        end += 50 + round as u64;
        publisher.ask(&format!("publish 0 {}", 50 + round));
        assert_eq!(lines(&subscriber.ask("take poll 37")), messages(due, due + 37));
        due += 37;
        end += 5000;
        assert_eq!(publisher.ask("publish 0 5000"), end.to_string());
        // What it had copied before may come first.
        let mut told = subscriber.ask("take poll 1");
        while told.contains("message") {
            assert_eq!(told, message(0, 0, due, due));
            due += 1;
            told = subscriber.ask("take poll 1");
        }
        let kept = subscriber.ask(&format!("take {how} 20"));
        let first = kept.split(' ').nth(2).expect("a message").parse().expect("an offset");
        let loss = NoticeKind::Lost { from: due, to: first - 1, cause: LossCause::Overrun };
        assert_eq!(told, notice(0, 0, loss));
        assert!(end - first > 50, "it goes on half a ring behind");
        assert_eq!(lines(&kept), messages(first, first + 20));
        let taken = subscriber.ask(&format!("take {how} {}", end - first - 20));
        assert_eq!(lines(&taken), messages(first + 20, end));
        lost += first - due;
        assert_eq!(subscriber.ask("counters"), format!("{} {lost} 0", end - lost));
        due = end;
    }
}

pub(crate) fn counters_are_exact_at_one_message_at_a_time(place: &dyn Place) {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(MIB).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    first_publisher(&mut *publisher, &bus, "t 0");
    let mut next = 0;
    for how in ["poll", "stop", "retry"] {
        subscribe(&mut *subscriber, &format!("{} reliable live arrival t", bus.name()));
        let mut messages = 0;
        for count in [1, 1, 1, 3, 1, 2] {
            publisher.ask(&format!("publish 0 {count}"));
            next += count;
            messages += count;
            for _ in 0..count {
                subscriber.ask(&format!("take {how} 1"));
            }
            let stat = topic.stat().expect("readable");
            let partition = &stat.partitions[0];
            assert_eq!(partition.next_offset, next);
            let [read] = partition.subscribers[..] else { panic!("{partition:?}") };
            assert_eq!((read.offset, read.lag), (next, 0), "{how}");
            assert_eq!((read.messages, read.lost), (messages, 0), "{how}");
        }
    }
}
