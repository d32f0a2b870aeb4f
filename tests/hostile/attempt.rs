//! A topic that can be damaged, and a child that then does everything with it that can be done.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tickcast::{
    Bus, Event, NoticeKind, SlowSubscriber, StartAt, SubscribeError, Subscriber, Topic,
};

use crate::common::TestBus;
use crate::common::audit::{self, timestamp_of};
use crate::common::child::Child;
use crate::common::payload::{is_payload, length_of, payload};

pub(crate) const RING_BYTES: u64 = 256 << 10;
pub(crate) const FILES: [&str; 6] =
    ["topic", "0.log", "0.publisher", "0.control", "0.cursors", "0.journal"];

/// A bus whose topic has gone round some times and has no publisher.
pub(crate) fn sound_bus() -> TestBus {
    let bus = TestBus::new();
    for (name, slow) in [
        ("t", SlowSubscriber::Wait),
        ("evict", SlowSubscriber::EvictAfter(Duration::from_millis(5))),
    ] {
        let topic = bus.topic(name).ring_bytes(RING_BYTES).slow_subscriber(slow).create();
        let topic = topic.expect("a topic");
        let mut publisher = topic.publisher(0).expect("the first");
        audit::publish(&mut publisher, 3000);
    }
    bus
}

/// Does everything that can be done with a topic and tells what came of it. Whatever is handed out
/// as a message was published, unless the bytes of the ring were changed.
pub(crate) fn try_everything(bus: &str, topic: &str, is_ring_sound: bool) -> String {
    let mut outcome = Vec::new();
    let topic = match Bus::open(bus).map(|bus| bus.open_topic(topic)) {
        Ok(Ok(topic)) => topic,
        Ok(Err(error)) => return format!("topic: {error}"),
        Err(error) => return format!("bus: {error}"),
    };
    outcome.push(match topic.stat() {
        Ok(_) => "stat".to_owned(),
        Err(error) => format!("stat: {error}"),
    });
    let mut subscribers: Vec<(u64, bool, Subscriber)> = Vec::new();
    let bytes_max = topic.message_bytes_max();
    let read = |subscribers: &mut Vec<(u64, bool, Subscriber)>, outcome: &mut Vec<String>| {
        for (seen, _, subscriber) in subscribers {
            // More than the ring holds and less than for ever.
            for round in 0..200 {
                let mut handle = |event: Event<'_>| match event {
                    Event::Message(message) => {
                        let offset = message.offset;
                        let is_sound = message.payload.len() == length_of(offset, bytes_max)
                            && message.timestamp_ns == timestamp_of(offset)
                            && is_payload(message.payload, 0, offset);
                        assert!(is_sound || !is_ring_sound, "message {offset} is not the one");
                        *seen += 1;
                    }
                    Event::Notice(notice) => outcome.push(match notice.kind {
                        NoticeKind::Damaged(damaged) => format!("damaged: {}", damaged.what),
                        kind => format!("{kind:?}").split(' ').next().expect("a word").to_owned(),
                    }),
                };
                let count = if round % 2 == 0 {
                    subscriber.poll(100, &mut handle)
                } else {
                    match subscriber.batch() {
                        Ok(batch) => batch.map(|message| handle(Event::Message(message))).count(),
                        Err(notice) => {
                            handle(Event::Notice(notice));
                            1
                        }
                    }
                };
                if count == 0 {
                    break;
                }
            }
        }
    };
    for is_reliable in [false, true] {
        for start_at in [StartAt::Earliest, StartAt::Live, StartAt::Offset(2900)] {
            let builder = topic.subscribe().start_at(start_at);
            let builder = if is_reliable { builder.reliable() } else { builder };
            match builder.open() {
                Ok(subscriber) => subscribers.push((0, is_reliable, subscriber)),
                Err(SubscribeError::Topic(error)) => outcome.push(format!("subscribe: {error}")),
                Err(error) => outcome.push(format!("subscribe: {error}")),
            }
        }
    }
    read(&mut subscribers, &mut outcome);
    if topic.slow_subscriber() == SlowSubscriber::Wait {
        // They would hold the publisher up long before its last message.
        subscribers.retain(|(_, is_reliable, _)| !is_reliable);
    }
    outcome.extend(publish(&topic));
    // Those who only look are enough for what was published.
    subscribers.iter_mut().for_each(|(seen, ..)| *seen = 0);
    read(&mut subscribers, &mut outcome);
    outcome.dedup();
    outcome.join(", ")
}

/// Takes over and publishes, without waiting for anyone.
pub(crate) fn publish(topic: &Topic) -> Vec<String> {
    let mut publisher = match topic.publisher(0) {
        Ok(publisher) => publisher,
        Err(error) => return vec![format!("publisher: {error}")],
    };
    let mut published = 0;
    for _ in 0..100 {
        let offset = publisher.next_offset();
        let Some(behind) = offset.checked_add(2) else { break };
        let bytes = payload(0, offset, length_of(offset, topic.message_bytes_max()));
        if behind == u64::MAX || publisher.try_publish(timestamp_of(offset), &bytes[..]).is_err() {
            break;
        }
        published += 1;
    }
    vec![format!("published {published}")]
}

/// A child that tries everything on topics that are named to it.
pub(crate) struct Trier(Child);

impl Trier {
    pub(crate) fn new() -> Trier {
        Trier(Child::spawn("try"))
    }

    /// Tells a child to try, and waits for what it says: within a time that only hanging takes.
    pub(crate) fn try_everything(
        &mut self,
        bus: &TestBus,
        topic: &str,
        is_ring_sound: bool,
        what: &str,
    ) -> String {
        let pid = self.0.pid();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            let waited = is_done.recv_timeout(Duration::from_secs(30));
            if waited == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // SAFETY: takes no pointer; the child is ours and not yet waited for.
                unsafe { libc::kill(pid as i32, libc::SIGABRT) };
            }
        });
        self.0.say(&format!("{} {topic} {is_ring_sound}", bus.name()));
        let said = self.0.hear_or_end();
        drop(done);
        watch.join().expect("it only waits");
        said.unwrap_or_else(|| panic!("{what}: the child ended ({:?})", self.0.end()))
    }
}

/// The topic's files as they were, to come back to.
pub(crate) struct Originals(pub(crate) Vec<(PathBuf, Vec<u8>)>);

impl Originals {
    pub(crate) fn of(bus: &TestBus, topic: &str) -> Originals {
        let paths = FILES.map(|file| bus.file(topic, file));
        Originals(paths.map(|path| (path.clone(), fs::read(path).expect("readable"))).into())
    }

    pub(crate) fn restore(&self) {
        for (path, bytes) in &self.0 {
            // Whatever stands there now.
            if path.is_dir() {
                fs::remove_dir(path).expect("empty");
            } else {
                let _ = fs::remove_file(path);
            }
            fs::write(path, bytes).expect("room");
        }
    }

    /// Puts other bytes into the files.
    pub(crate) fn replace(&self, files: &[Vec<u8>]) {
        for ((path, _), bytes) in self.0.iter().zip(files) {
            fs::write(path, bytes).expect("room");
        }
    }

    /// A copy of the files' bytes.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|(_, bytes)| bytes.clone()).collect()
    }
}
