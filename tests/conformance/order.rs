//! Scenarios with several partitions and topics: what comes before what.

use crate::actor::message;
use crate::common::TestBus;
use crate::place::Place;
use crate::reading::{first_publisher, lines, subscribe};

const MIB: u64 = 1 << 20;

/// The lines of one partition.
fn of<'a>(taken: &'a [&str], topic: u32, partition: u32) -> Vec<&'a str> {
    let origin = format!("{topic}.{partition} ");
    taken.iter().filter(|line| line.starts_with(&origin)).copied().collect()
}

fn expected(topic: u32, partition: u32, to: u64) -> Vec<String> {
    (0..to).map(|offset| message(topic, partition, offset, offset)).collect()
}

pub(crate) fn each_partition_keeps_its_order(place: &dyn Place) {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(MIB).partitions(5).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    for partition in 0..5 {
        first_publisher(&mut *publisher, &bus, &format!("t {partition}"));
    }
    let counts: Vec<u64> = (0..5).map(|partition| 300 + 10 * partition).collect();
    for part in 0..10 {
        for (partition, count) in counts.iter().enumerate() {
            publisher.ask(&format!("publish {partition} {}", count / 10));
            let key = format!("{part}-{partition}");
            assert!(topic.partition_of(key.as_bytes()) < 5);
        }
    }
    let total: u64 = counts.iter().sum();
    for how in ["poll", "stop", "retry", "batch", "receive", "messages", "mixed"] {
        subscribe(&mut *subscriber, &format!("{} reliable earliest arrival t", bus.name()));
        let answer = subscriber.ask(&format!("take {how} {total}"));
        let taken = lines(&answer);
        for (partition, count) in counts.iter().enumerate() {
            let partition = partition as u32;
            assert_eq!(of(&taken, 0, partition), expected(0, partition, *count), "{how}");
        }
        subscribe(&mut *subscriber, &format!("{} lossy earliest arrival t/3", bus.name()));
        let answer = subscriber.ask(&format!("take {how} {}", counts[3]));
        assert_eq!(lines(&answer), expected(0, 3, counts[3]), "{how}");
    }
    let name = bus.name();
    let error = subscriber.ask(&format!("subscribe {name} lossy live arrival t/5"));
    assert!(error.contains("no partition 5: the topic has 5"), "{error}");
    let error = subscriber.ask(&format!("subscribe {name} lossy live arrival t/{}", u32::MAX));
    assert!(error.contains("no partition 4294967295"), "{error}");
}

pub(crate) fn several_topics_make_one_stream(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("trades").ring_bytes(MIB).create().expect("a topic");
    bus.topic("quotes").ring_bytes(2 * MIB).partitions(2).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    for what in ["trades 0", "quotes 0", "quotes 1"] {
        first_publisher(&mut *publisher, &bus, what);
    }
    for publisher_index in 0..3 {
        publisher.ask(&format!("batch {publisher_index} 200"));
    }
    for how in ["poll", "batch", "receive", "mixed"] {
        let name = bus.name();
        subscribe(&mut *subscriber, &format!("{name} reliable earliest arrival quotes trades"));
        let answer = subscriber.ask(&format!("take {how} 600"));
        let taken = lines(&answer);
        for (topic, partition) in [(0, 0), (0, 1), (1, 0)] {
            assert_eq!(of(&taken, topic, partition), expected(topic, partition, 200), "{how}");
        }
        subscribe(&mut *subscriber, &format!("{name} lossy earliest arrival trades quotes/1"));
        let answer = subscriber.ask(&format!("take {how} 400"));
        let taken = lines(&answer);
        assert_eq!(of(&taken, 0, 0), expected(0, 0, 200), "{how}");
        assert_eq!(of(&taken, 1, 1), expected(1, 1, 200), "{how}");
    }
}

pub(crate) fn messages_are_merged_by_their_timestamps(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).partitions(3).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    for partition in 0..3 {
        first_publisher(&mut *publisher, &bus, &format!("t {partition}"));
    }
    let mut all = Vec::new();
    for timestamp in 0..300u64 {
        let partition = crate::common::payload::mix(timestamp) % 3;
        let offset = publisher.ask(&format!("publish-at {partition} {}", timestamp + 10));
        let offset = offset.trim_start_matches("Ok(").trim_end_matches(')');
        all.push((timestamp + 10, partition as u32, offset.parse().expect("an offset")));
    }
    let expected: Vec<_> = all
        .iter()
        .map(|(timestamp_ns, partition, offset)| message(0, *partition, *offset, *timestamp_ns))
        .collect();
    for how in ["poll", "stop", "retry", "batch", "receive", "messages", "mixed"] {
        // As long as all partitions have something the order is exact, without holding back.
        subscribe(&mut *subscriber, &format!("{} reliable earliest 0 t", bus.name()));
        let answer = subscriber.ask(&format!("take {how} 300"));
        assert_eq!(lines(&answer), expected, "{how}");
        assert_eq!(subscriber.ask("counters"), "300 0 0");
    }
}

pub(crate) fn a_message_is_held_back_while_a_partition_is_empty(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).partitions(2).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    for partition in 0..2 {
        first_publisher(&mut *publisher, &bus, &format!("t {partition}"));
    }
    let mut witness = place.subscriber();
    subscribe(&mut *witness, &format!("{} lossy earliest arrival t", bus.name()));
    // An hour.
    subscribe(&mut *subscriber, &format!("{} lossy earliest 3600000 t", bus.name()));
    publisher.ask("publish-at 0 20");
    // It is there to be had.
    assert_eq!(witness.ask("take poll 1"), message(0, 0, 0, 20));
    for how in ["poll", "receive", "poll"] {
        assert_eq!(subscriber.ask(&format!("nothing {how}")), "", "{how}");
    }
    publisher.ask("publish-at 1 10");
    publisher.ask("publish-at 1 30");
    let expected = [message(0, 1, 0, 10), message(0, 0, 0, 20)];
    assert_eq!(lines(&subscriber.ask("take poll 2")), expected);
    let rest = [message(0, 1, 0, 10), message(0, 1, 1, 30)];
    assert_eq!(lines(&witness.ask("take poll 2")), rest);
    for how in ["poll", "receive"] {
        assert_eq!(subscriber.ask(&format!("nothing {how}")), "", "{how}");
    }
    assert_eq!(subscriber.ask("counters"), "2 0 0");
}

pub(crate) fn what_comes_later_than_it_was_held_back_for_is_late(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).partitions(2).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    for partition in 0..2 {
        first_publisher(&mut *publisher, &bus, &format!("t {partition}"));
    }
    for how in ["poll", "batch", "receive", "messages"] {
        subscribe(&mut *subscriber, &format!("{} lossy live 1 t", bus.name()));
        let offset = subscriber.ask("offsets");
        let offset: u64 = offset.split(' ').next().expect("one each").parse().expect("an offset");
        publisher.ask("publish-at 0 20");
        assert_eq!(subscriber.ask(&format!("take {how} 1")), message(0, 0, offset, 20));
        publisher.ask("publish-at 1 10");
        assert_eq!(subscriber.ask(&format!("take {how} 1")), message(0, 1, offset, 10));
        publisher.ask("publish-at 0 20");
        publisher.ask("publish-at 1 19");
        let both = [message(0, 1, offset + 1, 19), message(0, 0, offset + 1, 20)];
        let answer = subscriber.ask(&format!("take {how} 2"));
        // The first may have been taken as soon as it had been held back for long enough.
        let taken = lines(&answer);
        assert!(taken == both || taken == [both[1].clone(), both[0].clone()], "{taken:?}");
        // 10 after 20; and 19 after 20.
        assert_eq!(subscriber.ask("counters"), "4 0 2", "{how}");
    }
}

pub(crate) fn what_arrived_together_is_held_back_together(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(4 * MIB).partitions(2).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    for partition in 0..2 {
        first_publisher(&mut *publisher, &bus, &format!("t {partition}"));
    }
    for (how, from) in [("poll", 0), ("batch", 1000), ("receive", 2000)] {
        subscribe(&mut *subscriber, &format!("{} reliable live 500 t", bus.name()));
        let end = from + 1000;
        assert_eq!(publisher.ask("batch 0 1000"), end.to_string());
        // Held back one after another they would take more than eight minutes, for which nobody
        // waits.
        let answer = subscriber.ask(&format!("take {how} 1000"));
        let expected: Vec<_> = (from..end).map(|offset| message(0, 0, offset, offset)).collect();
        assert_eq!(lines(&answer), expected, "{how}");
        assert_eq!(subscriber.ask("counters"), "1000 0 0", "{how}");
    }
}

pub(crate) fn what_is_refused_makes_nothing_late(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).partitions(2).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    for partition in 0..2 {
        first_publisher(&mut *publisher, &bus, &format!("t {partition}"));
    }
    for (offset, how) in (0..).zip(["poll", "batch", "receive", "messages"]) {
        subscribe(&mut *subscriber, &format!("{} reliable live 0 t", bus.name()));
        publisher.ask("publish-at 0 20");
        for _ in 0..3 {
            subscriber.ask("refuse-batch");
        }
        // What was offered is earlier than nothing as long as it was not taken.
        publisher.ask("publish-at 1 10");
        let expected = [message(0, 1, offset, 10), message(0, 0, offset, 20)];
        assert_eq!(lines(&subscriber.ask(&format!("take {how} 2"))), expected, "{how}");
        assert_eq!(subscriber.ask("counters"), "2 0 0", "{how}");
    }
}
