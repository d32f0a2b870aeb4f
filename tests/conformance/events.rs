//! Scenarios in which something happens to the publisher, the subscriber or the bus.

use std::time::{Duration, Instant};

use tickcast::{Bus, LossCause, NoticeKind, RemoveError, SlowSubscriber, WakeUp};

use crate::actor::{message, notice};
use crate::common::TestBus;
use crate::common::child::HANGING;
use crate::place::Place;
use crate::reading::{first_publisher, lines, messages, subscribe};

const MIB: u64 = 1 << 20;

pub(crate) fn a_publisher_that_goes_and_comes_back_is_told(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    let name = bus.name();
    let gone = notice(0, 0, NoticeKind::PublisherGone);
    let (mut next, mut epoch) = (0, 0);
    let ways = ["poll", "stop", "retry", "batch", "receive", "messages", "mixed"];
    for (how, mode) in ways.into_iter().zip(["reliable", "lossy"].into_iter().cycle()) {
        subscribe(&mut *subscriber, &format!("{name} {mode} live arrival t"));
        assert_eq!(subscriber.ask("alive"), "false");
        for is_first in [true, false] {
            // Before the very first publisher there is none that could be gone.
            let is_known = epoch > 0;
            if is_known && is_first {
                assert_eq!(subscriber.ask(&format!("take {how} 1")), gone);
            }
            assert_eq!(subscriber.ask("nothing receive"), "");
            epoch += 1;
            let opened = publisher.ask(&format!("publisher {name} t 0"));
            assert_eq!(opened, format!("{epoch} {next}"));
            assert_eq!(subscriber.ask("alive"), "true");
            if is_known {
                let back = notice(0, 0, NoticeKind::PublisherBack { epoch });
                assert_eq!(subscriber.ask(&format!("take {how} 1")), back);
            }
            publisher.ask("publish 0 10");
            let taken = subscriber.ask(&format!("take {how} 8"));
            assert_eq!(lines(&taken), messages(next, next + 8));
            publisher.ask("drop-publisher 0");
            // What was published comes first.
            let mut rest = messages(next + 8, next + 10);
            rest.push(gone.clone());
            assert_eq!(lines(&subscriber.ask(&format!("take {how} 3"))), rest);
            assert_eq!(subscriber.ask("alive"), "false");
            assert_eq!(subscriber.ask("finished"), "false");
            next += 10;
        }
    }
}

pub(crate) fn a_successor_that_publishes_at_once_is_told(place: &dyn Place) {
    for (how, mode) in [("poll", "reliable"), ("batch", "lossy"), ("receive", "reliable")] {
        let bus = TestBus::new();
        bus.topic("t").ring_bytes(8 * MIB).create().expect("a topic");
        let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
        first_publisher(&mut *publisher, &bus, "t 0");
        subscribe(&mut *subscriber, &format!("{} {mode} live arrival t", bus.name()));
        // Three publishers with some blocks each, and all of it there when the subscriber looks.
        publisher.ask("publish 0 500");
        for epoch in [2, 3] {
            publisher.ask("drop-publisher 0");
            let opened = publisher.ask(&format!("publisher {} t 0", bus.name()));
            assert_eq!(opened, format!("{epoch} {}", (epoch - 1) * 500));
            publisher.ask("publish 0 500");
        }
        let answer = subscriber.ask(&format!("take {how} {}", 3 * 500 + 4));
        let (came, told): (Vec<_>, Vec<_>) =
            lines(&answer).into_iter().partition(|line| line.contains("message"));
        assert_eq!(came, messages(0, 3 * 500));
        let gone = notice(0, 0, NoticeKind::PublisherGone);
        let [second, third] = [2, 3].map(|epoch| notice(0, 0, NoticeKind::PublisherBack { epoch }));
        assert_eq!(told, [&gone[..], &second, &gone, &third]);
        for (back, before) in [(second, 500), (third, 1000)] {
            // With the new publisher's second block at the latest.
            let place = lines(&answer).iter().position(|line| *line == back).expect("it is told");
            assert!((before..before + 250).contains(&place), "{place}");
        }
    }
}

pub(crate) fn a_death_is_told_while_another_partition_is_busy(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).partitions(2).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    for partition in 0..2 {
        first_publisher(&mut *publisher, &bus, &format!("t {partition}"));
    }
    for how in ["poll", "batch", "receive"] {
        subscribe(&mut *subscriber, &format!("{} reliable live arrival t", bus.name()));
        publisher.ask("drop-publisher 1");
        let gone = notice(0, 1, NoticeKind::PublisherGone);
        let started = Instant::now();
        loop {
            // There is always something to take.
            publisher.ask("publish 0 2");
            let answer = subscriber.ask(&format!("take {how} 2"));
            let taken = lines(&answer);
            if taken.contains(&&gone[..]) {
                break;
            }
            assert!(taken.iter().all(|line| line.contains("0.0 message")), "{taken:?}");
            assert!(started.elapsed() < HANGING, "the death is never told");
        }
        publisher.ask(&format!("publisher {} t 1", bus.name()));
    }
}

pub(crate) fn a_slow_subscriber_is_evicted_and_told(place: &dyn Place) {
    let bus = TestBus::new();
    let slow = SlowSubscriber::EvictAfter(Duration::from_millis(20));
    let topic = bus.topic("t").ring_bytes(MIB / 4).slow_subscriber(slow).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    first_publisher(&mut *publisher, &bus, "t 0");
    let name = bus.name();
    let mut next = 0;
    for how in ["poll", "batch", "receive", "messages"] {
        subscribe(&mut *subscriber, &format!("{name} reliable {next} arrival t"));
        publisher.ask("wait-and-publish 0 100");
        assert_eq!(lines(&subscriber.ask(&format!("take {how} 60"))), messages(next, next + 60));
        // It takes no more; the publisher waits for a while and goes on.
        let end = next + 5100;
        assert_eq!(publisher.ask("wait-and-publish 0 5000"), end.to_string());
        let answer = subscriber.ask(&format!("take {how} 100000"));
        let taken = lines(&answer);
        // What it had copied already may still come.
        let (last, before) = taken.split_last().expect("it is told");
        assert_eq!(*last, notice(0, 0, NoticeKind::Evicted));
        let due = next + 60 + before.len() as u64;
        assert_eq!(before, messages(next + 60, due));
        assert!(due < next + 1000);
        assert_eq!(subscriber.ask("finished"), "true");
        assert!(subscriber.ask("nothing receive").contains("subscribe again"));
        // Its place is free, and what it lost can be told exactly.
        subscribe(&mut *subscriber, &format!("{name} reliable {due} arrival t"));
        let lost = subscriber.ask("take poll 1");
        let first = subscriber.ask("take poll 1");
        let first: u64 = first.split(' ').nth(2).expect("a message").parse().expect("an offset");
        let loss = NoticeKind::Lost { from: due, to: first - 1, cause: LossCause::Overrun };
        assert_eq!(lost, notice(0, 0, loss));
        let rest = subscriber.ask(&format!("take {how} {}", end - first - 1));
        assert_eq!(lines(&rest), messages(first + 1, end));
        next = end;
    }
    let stat = topic.stat().expect("readable");
    assert_eq!(stat.partitions[0].evictions, 4);
    assert_eq!(stat.partitions[0].reclaimed, 0);
}

pub(crate) fn a_removed_bus_is_told(place: &dyn Place) {
    for how in ["poll", "stop", "retry", "batch", "receive", "messages", "mixed"] {
        let bus = TestBus::new();
        bus.topic("t").ring_bytes(MIB).partitions(2).create().expect("a topic");
        let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
        first_publisher(&mut *publisher, &bus, "t 0");
        subscribe(&mut *subscriber, &format!("{} reliable live arrival t/0", bus.name()));
        publisher.ask("publish 0 10");
        let refused = Bus::remove(bus.name(), false);
        assert!(matches!(refused, Err(RemoveError::InUse { .. })), "{refused:?}");
        Bus::remove(bus.name(), true).expect("forced");
        // What was published comes first.
        let mut expected = messages(0, 10);
        expected.push(notice(0, 0, NoticeKind::Closed));
        assert_eq!(lines(&subscriber.ask(&format!("take {how} 11"))), expected);
        assert_eq!(subscriber.ask("finished"), "true");
        assert!(subscriber.ask("nothing receive").contains("subscribe again"));
        assert!(publisher.ask("wait-and-publish 0 10000").contains("the bus was removed"));
    }
}

pub(crate) fn a_death_is_told_to_those_who_hardly_look(place: &dyn Place) {
    let bus = TestBus::new();
    bus.topic("t").ring_bytes(MIB).create().expect("a topic");
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber());
    first_publisher(&mut *publisher, &bus, "t 0");
    for how in ["receive-at-once", "poll-seldom"] {
        subscribe(&mut *subscriber, &format!("{} reliable live arrival t", bus.name()));
        publisher.ask("drop-publisher 0");
        let gone = notice(0, 0, NoticeKind::PublisherGone);
        assert_eq!(subscriber.ask(&format!("take {how} 1")), gone, "{how}");
        publisher.ask(&format!("publisher {} t 0", bus.name()));
    }
}

/// A sleeper that nobody wakes looks by itself, but only after 100 ms, many times the sleeps of one
/// that is not to be woken. So the two kinds are compared, in turn, on the same machine.
pub(crate) fn sleepers_are_woken(place: &dyn Place) {
    const ROUNDS: u64 = 40;
    let bus = TestBus::new();
    let (mut publisher, mut subscribers) =
        (place.publisher(), [(); 2].map(|()| place.subscriber()));
    for (topic, wake_up) in [("bounded", WakeUp::Bounded), ("prompt", WakeUp::Prompt)] {
        let topic_builder = bus.topic(topic).ring_bytes(MIB).partitions(3).wake_up(wake_up);
        topic_builder.create().expect("a topic");
        for partition in 0..3 {
            first_publisher(&mut *publisher, &bus, &format!("{topic} {partition}"));
        }
    }
    let name = bus.name();
    for partitions in [1..2u32, 0..3] {
        let mut offsets = Vec::new();
        for (topic, subscriber) in ["bounded", "prompt"].into_iter().zip(&mut subscribers) {
            let part = if partitions.len() == 1 { "/1" } else { "" };
            subscribe(&mut **subscriber, &format!("{name} lossy live arrival {topic}{part}"));
            let answer = subscriber.ask("offsets");
            let of_each = answer.split(' ').map(|offset| offset.parse().expect("an offset"));
            offsets.push(of_each.collect::<Vec<u64>>());
        }
        let mut took = [Duration::ZERO; 2];
        for round in 0..ROUNDS {
            for (at, subscriber) in subscribers.iter_mut().enumerate() {
                let index = round as usize % partitions.len();
                let partition = partitions.start + index as u32;
                let expected = message(0, partition, offsets[at][index], 7);
                offsets[at][index] += 1;
                // The subscriber sleeps by the time that something is published, most times.
                let publish = format!("publish-late {} 7", at as u32 * 3 + partition);
                let started = Instant::now();
                if publisher.is_parallel() {
                    publisher.send(&publish);
                    assert_eq!(subscriber.ask("take receive 1"), expected);
                    publisher.answer();
                } else if subscriber.is_parallel() {
                    subscriber.send("take receive 1");
                    publisher.ask(&publish);
                    assert_eq!(subscriber.answer(), expected);
                } else {
                    publisher.ask(&publish);
                    assert_eq!(subscriber.ask("take receive 1"), expected);
                }
                took[at] += started.elapsed();
            }
        }
        let [bounded, prompt] = took;
        assert!(prompt < 10 * bounded, "nobody wakes: {prompt:?}, and {bounded:?} without waking");
    }
}
