//! Who publishes or subscribes in a scenario, on commands in lines: so the same scenario runs in
//! this thread, in another, and in another process. Add a command here.

use std::thread;
use std::time::{Duration, Instant};

use tickcast::runtime::IdleStrategy;
use tickcast::{
    Bus, Event, Flow, LossCause, Message, Mode, Notice, Order, PublishError, Publisher,
    ReceiveError, StartAt, Subscriber, Topic,
};

use crate::common::child::HANGING;
use crate::common::payload::{fill, is_payload, length_of, payload};

/// What stands for a message between two actors: `partition` is the stream of its payload.
pub(crate) fn message(topic: u32, partition: u32, offset: u64, timestamp_ns: u64) -> String {
    format!("{topic}.{partition} message {offset} at {timestamp_ns}")
}

/// What stands for a notice.
pub(crate) fn notice(topic: u32, partition: u32, kind: tickcast::NoticeKind) -> String {
    format!("{topic}.{partition} {kind:?}")
}

/// A publisher of some partitions and a subscriber, both absent at first.
#[derive(Default)]
pub(crate) struct Actor {
    publishers: Vec<Publisher>,
    subscriber: Option<Subscriber>,
}

fn topic(bus: &str, topic: &str) -> Topic {
    let bus = Bus::open(bus).expect("the bus is there");
    bus.open_topic(topic).expect("the topic is there")
}

impl Actor {
    /// Does what the command says and answers in one line.
    pub(crate) fn act(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        match words[0] {
            "publisher" => match topic(words[1], words[2]).publisher(number(3) as u32) {
                Ok(publisher) => {
                    let said = format!("{} {}", publisher.epoch(), publisher.next_offset());
                    self.publishers.push(publisher);
                    said
                }
                Err(error) => error.to_string(),
            },
            "publish" | "batch" | "claim" => self.publish(words[0], number(1) as usize, number(2)),
            "publish-at" | "publish-late" => {
                if words[0] == "publish-late" {
                    thread::sleep(Duration::from_millis(2));
                }
                let publisher = &mut self.publishers[number(1) as usize];
                let offset = publisher.next_offset();
                let bytes = payload(publisher.partition().into(), offset, 30);
                let published = publisher.publish(number(2), &bytes[..]);
                format!("{published:?}")
            }
            "wait-and-publish" => self.wait_and_publish(number(1) as usize, number(2)),
            "drop-claim" => {
                let publisher = &mut self.publishers[number(1) as usize];
                let mut claim = publisher.claim(number(2) as usize).expect("room");
                // Looks like frames of messages to come.
                let length = claim.len();
                claim.put(0, &vec![1u8; length][..]);
                drop(claim);
                String::new()
            }
            "gap" => {
                let cause = match words[3] {
                    "overrun" => LossCause::Overrun,
                    "feed" => LossCause::Feed,
                    _ => LossCause::Journal,
                };
                let publisher = &mut self.publishers[number(1) as usize];
                format!("{:?}", publisher.try_publish_gap(0, number(2), cause))
            }
            "publish-typed" => {
                let publisher = &mut self.publishers[number(1) as usize];
                for _ in 0..number(2) {
                    let offset = publisher.next_offset();
                    publisher.publish(offset, &[offset; 6]).expect("room");
                }
                String::new()
            }
            "drop-publisher" => {
                self.publishers.remove(number(1) as usize);
                String::new()
            }
            "subscribe" => self.subscribe(&words[1..]),
            "take" => self.take(words[1], number(2) as usize),
            "take-typed" => self.take_typed(number(1)),
            "refuse-batch" => {
                let _batch = self.subscriber().batch().expect("no notice");
                String::new()
            }
            "nothing" => self.nothing(words[1]),
            "counters" => {
                let counters = self.settled().counters();
                format!("{} {} {}", counters.messages, counters.lost, counters.late)
            }
            "offsets" => {
                let offsets: Vec<_> =
                    self.settled().offsets().map(|(_, offset)| offset.to_string()).collect();
                offsets.join(" ")
            }
            "finished" => self.settled().is_finished().to_string(),
            "alive" => self.subscriber().publisher_alive().to_string(),
            "drop-subscriber" => {
                self.subscriber = None;
                String::new()
            }
            other => panic!("{other}: no such command"),
        }
    }

    fn subscriber(&mut self) -> &mut Subscriber {
        self.subscriber.as_mut().expect("subscribed before")
    }

    /// The subscriber when all that it handed out is consumed: `receive` leaves that to the next
    /// call.
    fn settled(&mut self) -> &mut Subscriber {
        let subscriber = self.subscriber();
        subscriber.poll(0, |_| ());
        subscriber
    }

    /// Publishes up to `count` messages, as many as there is room for; their timestamps are their
    /// offsets. Answers with the next offset.
    fn publish(&mut self, how: &str, publisher: usize, count: u64) -> String {
        let publisher = &mut self.publishers[publisher];
        let stream = u64::from(publisher.partition());
        let bytes_max = publisher.topic().message_bytes_max();
        let end = publisher.next_offset() + count;
        while publisher.next_offset() < end {
            let offset = publisher.next_offset();
            let length = length_of(offset, bytes_max);
            let done = match how {
                "publish" => {
                    publisher.try_publish(offset, &payload(stream, offset, length)[..]).map(drop)
                }
                "batch" => {
                    let payloads: Vec<_> = (offset..end.min(offset + 70))
                        .map(|offset| payload(stream, offset, length_of(offset, bytes_max)))
                        .collect();
                    let batch: Vec<_> =
                        (offset..).zip(&payloads).map(|(at, bytes)| (at, &bytes[..])).collect();
                    publisher.try_publish_batch(&batch).map(drop)
                }
                // What is too long to be claimed is published.
                _ if length > 65_392 => {
                    publisher.try_publish(offset, &payload(stream, offset, length)[..]).map(drop)
                }
                _ => publisher.try_claim(length).map(|mut claim| {
                    let mut bytes = vec![0; length];
                    fill(&mut bytes, stream, offset);
                    // In odd pieces, from the end to the start.
                    let mut end = length;
                    while end > 0 {
                        let start = end.saturating_sub(13);
                        claim.put(start, &bytes[start..end]);
                        end = start;
                    }
                    claim.commit(offset);
                }),
            };
            match done {
                Ok(()) => {}
                Err(PublishError::Full(_)) => break,
                Err(error) => return error.to_string(),
            }
        }
        publisher.next_offset().to_string()
    }

    /// Publishes `count` messages and waits for slow subscribers.
    fn wait_and_publish(&mut self, publisher: usize, count: u64) -> String {
        let publisher = &mut self.publishers[publisher];
        let stream = u64::from(publisher.partition());
        let bytes_max = publisher.topic().message_bytes_max();
        for _ in 0..count {
            let offset = publisher.next_offset();
            let bytes = payload(stream, offset, length_of(offset, bytes_max));
            if let Err(error) = publisher.publish(offset, &bytes[..]) {
                return error.to_string();
            }
        }
        publisher.next_offset().to_string()
    }

    /// `<bus> <mode> <start> <order> <topic>[/<partition>]...`
    fn subscribe(&mut self, words: &[&str]) -> String {
        let [bus, mode, start, order, topics @ ..] = words else { panic!("{words:?}") };
        let mode = if *mode == "reliable" { Mode::Reliable } else { Mode::Lossy };
        let start_at = match *start {
            "live" => StartAt::Live,
            "earliest" => StartAt::Earliest,
            offset => StartAt::Offset(offset.parse().expect("an offset")),
        };
        let mut builder = None;
        for wanted in topics {
            let (name, partition) = match wanted.split_once('/') {
                Some((name, partition)) => (name, Some(partition.parse().expect("a partition"))),
                None => (*wanted, None),
            };
            let topic = topic(bus, name);
            builder = Some(match builder {
                // Those that are added start there, too.
                None => topic.subscribe().start_at(start_at),
                Some(builder) => tickcast::SubscriberBuilder::and(builder, &topic),
            });
            if let Some(partition) = partition {
                builder = builder.map(|builder| builder.partition(partition));
            }
        }
        let builder = builder.expect("at least one topic");
        let order = match *order {
            "arrival" => Order::Arrival,
            hold => Order::Timestamp {
                hold: Duration::from_millis(hold.parse().expect("milliseconds")),
            },
        };
        let idle = IdleStrategy::Sleep { sleep_ns_max: 1_000_000 };
        match builder.mode(mode).order(order).idle(idle).open() {
            Ok(subscriber) => {
                self.subscriber = Some(subscriber);
                "subscribed".into()
            }
            Err(error) => error.to_string(),
        }
    }

    /// Takes `count` events, and waits for them.
    fn take(&mut self, how: &str, count: usize) -> String {
        let subscriber = self.subscriber();
        let mut taken = Vec::new();
        let started = Instant::now();
        while taken.len() < count && !subscriber.is_finished() && started.elapsed() < HANGING {
            let left = count - taken.len();
            let before = taken.len();
            match how {
                "poll" => {
                    subscriber.poll(left.min(100), |event| taken.push(shown(event)));
                }
                "stop" => {
                    let count = subscriber.poll(usize::MAX, |event| {
                        taken.push(shown(event));
                        Flow::Stop
                    });
                    assert_eq!(count, taken.len() - before);
                }
                "retry" => {
                    let mut again = None;
                    let none = subscriber.poll(usize::MAX, |event| {
                        assert!(again.is_none(), "more came after a retry");
                        again = Some(shown(event));
                        Flow::Retry
                    });
                    assert_eq!(none, 0, "what is to come again was counted");
                    subscriber.poll(1, |event| taken.push(shown(event)));
                    if let Some(again) = again {
                        assert_eq!(taken.last(), Some(&again), "another one came after a retry");
                    }
                }
                "batch" => match subscriber.batch() {
                    // Not all at once: what is left comes again.
                    Ok(batch) => taken.extend(batch.take(left.min(50)).map(|m| shown_message(&m))),
                    Err(notice) => taken.push(shown_notice(notice)),
                },
                "receive" => match subscriber.receive(Some(Duration::from_millis(100))) {
                    Ok(event) => taken.extend(event.map(shown)),
                    Err(error) => assert_eq!(error, ReceiveError::Finished),
                },
                "receive-at-once" => match subscriber.receive(Some(Duration::ZERO)) {
                    Ok(event) => taken.extend(event.map(shown)),
                    Err(error) => assert_eq!(error, ReceiveError::Finished),
                },
                "poll-seldom" => {
                    subscriber.poll(left, |event| taken.push(shown(event)));
                    thread::sleep(Duration::from_millis(10));
                }
                "messages" => {
                    for message in subscriber.messages().expect("no agent").take(left) {
                        taken.push(match message {
                            Ok(message) => shown_bytes(
                                message.origin,
                                message.offset,
                                message.timestamp_ns,
                                &message.payload,
                            ),
                            Err(notice) => shown_notice(notice),
                        });
                    }
                }
                "mixed" => {
                    let how = ["poll", "stop", "retry", "batch", "receive"][taken.len() % 5];
                    let more = self.take(how, left.min(1 + taken.len() % 7));
                    taken.extend(more.split(';').map(str::to_owned));
                    return self.take_rest(taken, count);
                }
                other => panic!("{other}: no such way to take"),
            }
        }
        taken.join(";")
    }

    fn take_rest(&mut self, mut taken: Vec<String>, count: usize) -> String {
        while taken.len() < count && !self.subscriber().is_finished() {
            let how = ["poll", "stop", "retry", "batch", "receive"][taken.len() % 5];
            let more = self.take(how, (count - taken.len()).min(1 + taken.len() % 7));
            taken.extend(more.split(';').map(str::to_owned));
        }
        taken.join(";")
    }

    /// Takes messages that are six words, each the offset.
    fn take_typed(&mut self, count: u64) -> String {
        let mut sound = 0;
        let started = Instant::now();
        while sound < count && started.elapsed() < HANGING {
            self.subscriber().poll(1, |event| {
                let Event::Message(message) = event else { panic!("{event:?}") };
                assert_eq!(message.read::<[u64; 6]>(), Ok(&[message.offset; 6]));
                let error = message.read::<[u64; 5]>().expect_err("another type");
                assert_eq!((error.payload_bytes, error.type_bytes), (48, 40));
                sound += 1;
            });
        }
        sound.to_string()
    }

    /// Looks for events in one way, for longer than it takes until a subscriber looks around;
    /// answers what came although nothing should.
    fn nothing(&mut self, how: &str) -> String {
        match how {
            "poll" => {
                let mut found = Vec::new();
                let started = Instant::now();
                while started.elapsed() < Duration::from_millis(120) {
                    self.subscriber().poll(10, |event| found.push(shown(event)));
                }
                found.join(";")
            }
            _ => match self.subscriber().receive(Some(Duration::from_millis(120))) {
                Ok(None) => String::new(),
                Ok(Some(event)) => shown(event),
                Err(error) => error.to_string(),
            },
        }
    }
}

fn shown(event: Event<'_>) -> String {
    match event {
        Event::Message(message) => shown_message(&message),
        Event::Notice(notice) => shown_notice(notice),
    }
}

fn shown_notice(found: Notice) -> String {
    notice(found.origin.topic, found.origin.partition, found.kind)
}

fn shown_message(message: &Message<'_>) -> String {
    assert!((&raw const *message.payload).addr().is_multiple_of(16), "the payload's alignment");
    shown_bytes(message.origin, message.offset, message.timestamp_ns, message.payload)
}

fn shown_bytes(origin: tickcast::Origin, offset: u64, timestamp_ns: u64, payload: &[u8]) -> String {
    let is_sound = is_payload(payload, origin.partition.into(), offset);
    let shown = message(origin.topic, origin.partition, offset, timestamp_ns);
    if is_sound { shown } else { format!("{shown}, but torn") }
}
