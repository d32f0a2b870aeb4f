//! Publishers and subscribers that are killed at random instants, and those who live on: nothing
//! lost, repeated, torn or out of order, and everyone is told.

mod common;

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use tickcast::{
    Bus, PublishError, Publisher, SlowSubscriber, StartAt, SubscribeError, Subscriber, Topic,
    runtime::IdleStrategy,
};

use common::audit::{Audit, timestamp_of};
use common::child::{self, Child, HANGING};
use common::payload::{fill, length_of, payload};
use common::{Random, TestBus};

/// How many publishers are killed after they have published to every topic.
const KILLS: u64 = 200;

/// Where in [`Progress`] is counted how many have published to every topic.
const PUBLISHED: usize = TOPICS.len();

/// What publishers do, each with a ring and a policy of its own.
const TOPICS: [(&str, u64, SlowSubscriber); 3] = [
    ("wait-small", 256 << 10, SlowSubscriber::Wait),
    ("wait", 1 << 20, SlowSubscriber::Wait),
    ("evict", 256 << 10, SlowSubscriber::EvictAfter(Duration::from_secs(1))),
];

/// Words that outlive a killed child: how far each topic's publishers know that they have come, and
/// how many have published at all.
struct Progress(MmapRaw);

impl Progress {
    fn open(name: &str) -> Progress {
        let path = common::root().join(format!(".progress-{name}"));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.expect("a file");
        file.set_len(4096).expect("a page");
        Progress(MmapRaw::map_raw(&file).expect("a mapping"))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < 512);
        let base: *mut AtomicU64 = self.0.as_mut_ptr().cast();
        // SAFETY: the page has 512 words.
        let word = unsafe { base.add(at) };
        // SAFETY: the word is in the mapping, which lives as long as `self`, and is aligned, as the
        // mapping is; everyone accesses it atomically.
        unsafe { &*word }
    }
}

/// Publishes the next message or messages, one way or another.
fn publish_some(publisher: &mut Publisher, random: &mut Random) -> Result<(), PublishError> {
    let bytes_max = publisher.topic().message_bytes_max();
    let stream = u64::from(publisher.partition());
    let offset = publisher.next_offset();
    let length = length_of(offset, bytes_max);
    match random.below(4) {
        0 => {
            let payloads: Vec<_> = (offset..offset + random.below(40))
                .map(|offset| (offset, payload(stream, offset, length_of(offset, bytes_max))))
                .collect();
            let batch: Vec<_> =
                payloads.iter().map(|(at, bytes)| (timestamp_of(*at), &bytes[..])).collect();
            publisher.publish_batch(&batch)?;
        }
        1 if length <= 65_392 => {
            if random.below(4) == 0 {
                let length = random.below(65_392) as usize;
                let mut claim = publisher.claim(length)?;
                claim.put(0, &vec![0x11u8; length][..]);
                drop(claim);
            }
            let mut bytes = vec![0; length];
            fill(&mut bytes, stream, offset);
            let mut claim = publisher.claim(length)?;
            let half = length / 2;
            claim.put(half, &bytes[half..]);
            claim.put(0, &bytes[..half]);
            assert_eq!(claim.commit(timestamp_of(offset)), offset);
        }
        _ => {
            let bytes = payload(stream, offset, length);
            assert_eq!(publisher.publish(timestamp_of(offset), &bytes[..])?, offset);
        }
    }
    Ok(())
}

/// The child that publishes to all topics, in turn, up to an offset, or until it is killed.
fn publish_in_child(bus: &str, seed: u64, end: u64) {
    let progress = Progress::open(bus);
    let bus = Bus::open(bus).expect("the bus is there");
    let topics = TOPICS.map(|(name, ..)| bus.open_topic(name).expect("the topic is there"));
    child::say("opening");
    let mut publishers = topics.map(|topic| topic.publisher(0).expect("nobody else publishes"));
    for (at, publisher) in publishers.iter().enumerate() {
        let known = progress.word(at).load(Ordering::Acquire);
        assert!(publisher.next_offset() >= known, "a message that was published is lost");
    }
    let mut random = Random(seed);
    let first = publishers.each_ref().map(Publisher::next_offset);
    let mut has_published = false;
    while publishers.iter().any(|publisher| publisher.next_offset() < end) {
        for (at, publisher) in publishers.iter_mut().enumerate() {
            publish_some(publisher, &mut random).expect("the bus lives");
            progress.word(at).store(publisher.next_offset(), Ordering::Release);
        }
        let is_published =
            || publishers.iter().zip(first).all(|(now, first)| now.next_offset() > first);
        if !has_published && is_published() {
            has_published = true;
            progress.word(PUBLISHED).fetch_add(1, Ordering::Release);
        }
    }
    let ends = publishers.map(|publisher| publisher.next_offset().to_string());
    child::say(&ends.join(" "));
}

/// One who lives on: reads a topic until all of it was seen, whatever happens to the publisher.
fn survive(topic: &Topic, is_reliable: bool, is_over: &AtomicBool, end: &AtomicU64) -> Audit {
    let subscribe = |start_at| {
        let builder = topic.subscribe().start_at(start_at).idle(IdleStrategy::back_off());
        let builder = if is_reliable { builder.reliable() } else { builder };
        builder.open().expect("a subscription")
    };
    let mut subscriber = subscribe(StartAt::Offset(0));
    let mut audit = Audit::new(0, topic.message_bytes_max(), Some(0));
    let mut rounds = 0u64;
    let mut over_since = None;
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        if was_over {
            let since = *over_since.get_or_insert_with(Instant::now);
            assert!(since.elapsed() < HANGING, "the end never comes: {audit:?}");
        }
        let count = match rounds % 3 {
            0 => subscriber.poll(1000, |event| audit.event(event)),
            1 => match subscriber.batch() {
                Ok(batch) => batch.map(|message| audit.message(&message)).count(),
                Err(notice) => {
                    audit.notice(notice);
                    1
                }
            },
            _ => match subscriber.receive(Some(Duration::from_millis(1))) {
                Ok(event) => event.map(|event| audit.event(event)).iter().count(),
                Err(_) => 0,
            },
        };
        rounds += 1;
        if subscriber.is_finished() {
            // Evicted, on a machine that did not let this thread run for a second.
            subscriber = subscribe(StartAt::Offset(audit.due.expect("it began at 0")));
        }
        if !is_reliable && rounds.is_multiple_of(50) {
            // Long enough to be overrun.
            thread::sleep(Duration::from_millis(300));
        }
        // It ends when the last publisher is gone and was told to be.
        if was_over
            && count == 0
            && audit.due == Some(end.load(Ordering::Acquire))
            && audit.gone > audit.back
        {
            return audit;
        }
    }
}

/// Waits until a survivor has subscribed: what is published before may be lost to it.
fn wait_for_subscriber(topic: &Topic) {
    while topic.stat().expect("readable").partitions[0].subscribers.is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn publishers_are_killed_and_nothing_is_lost() {
    let seed = common::seed();
    let mut random = Random(seed);
    let bus = TestBus::new();
    let progress = Progress::open(bus.name());
    let topics = TOPICS.map(|(name, ring_bytes, slow)| {
        bus.topic(name).ring_bytes(ring_bytes).slow_subscriber(slow).create().expect("a topic")
    });
    let is_over = AtomicBool::new(false);
    let ends = [const { AtomicU64::new(u64::MAX) }; 3];
    let mut children = 0;
    thread::scope(|scope| {
        let survivors: Vec<_> = topics
            .iter()
            .zip(&ends)
            .flat_map(|(topic, end)| [(topic, end, true), (topic, end, false)])
            .map(|(topic, end, is_reliable)| {
                let is_over = &is_over;
                let audit = scope.spawn(move || survive(topic, is_reliable, is_over, end));
                (topic, is_reliable, audit)
            })
            .collect();
        topics.iter().for_each(wait_for_subscriber);
        // Some are killed before they are publishers at all, and some before they have published.
        while progress.word(PUBLISHED).load(Ordering::Acquire) < KILLS {
            children += 1;
            assert!(children < 20 * KILLS, "hardly any child ever publishes");
            let mut publisher =
                Child::spawn(&format!("publish {} {} {}", bus.name(), random.next(), u64::MAX));
            assert_eq!(publisher.hear(), "opening");
            // 0.2 to 26 ms, the shorter the more often.
            let delay = Duration::from_micros(200 << random.below(8));
            thread::sleep(delay / 2 + delay.mul_f64(random.below(100) as f64 / 200.0));
            publisher.kill();
        }
        // The last one ends by itself, and says where.
        let known: Vec<_> = (0..3).map(|at| progress.word(at).load(Ordering::Acquire)).collect();
        let end = known.iter().max().expect("three") + 1000;
        let mut last = Child::spawn(&format!("publish {} {} {end}", bus.name(), random.next()));
        assert_eq!(last.hear(), "opening");
        let said = last.hear();
        for (end, said) in ends.iter().zip(said.split(' ')) {
            end.store(said.parse().expect("an offset"), Ordering::Release);
        }
        last.finish();
        is_over.store(true, Ordering::Release);
        let mut lossy_losses = 0;
        for (topic, is_reliable, audit) in survivors {
            let audit = audit.join().expect("a survivor");
            println!("{} reliable: {is_reliable}: {audit:?}", topic.name());
            assert!(audit.messages + audit.lost > KILLS, "hardly anything was published");
            assert!(audit.gone >= 2, "deaths were not told");
            assert!(audit.gone == audit.back + 1);
            if topic.slow_subscriber() == SlowSubscriber::Wait {
                assert_eq!(audit.evicted, 0, "a publisher that waits has evicted");
            }
            if is_reliable && audit.evicted == 0 {
                assert!(audit.fragmented > 0, "no long message came through");
                assert_eq!(audit.lost, 0, "a reliable subscriber lost something");
            }
            lossy_losses += if is_reliable { 0 } else { audit.losses };
        }
        assert!(lossy_losses > 0, "nobody was overrun: that part of the run has shown nothing");
    });
    for topic in &topics {
        let stat = topic.stat().expect("readable");
        let partition = &stat.partitions[0];
        assert!(partition.epoch <= children + 1);
        assert!(partition.epoch > KILLS, "a publisher is not counted");
        println!("{}: {} publishers, {} bytes", topic.name(), partition.epoch, partition.position);
    }
}

/// The child that subscribes reliably and reads until it is killed.
fn subscribe_in_child(bus: &str, topic: &str, nap_us: u64) {
    let topic = Bus::open(bus).expect("the bus").open_topic(topic).expect("the topic");
    child::say("opening");
    let mut subscriber = open_reliable(&topic, StartAt::Live).expect("a free slot");
    let mut audit = Audit::new(0, topic.message_bytes_max(), None);
    loop {
        let count = subscriber.poll(20, |event| audit.event(event));
        if count == 0 || nap_us > 0 {
            thread::sleep(Duration::from_micros(nap_us));
        }
    }
}

fn open_reliable(topic: &Topic, start_at: StartAt) -> Result<Subscriber, SubscribeError> {
    topic.subscribe().reliable().start_at(start_at).open()
}

#[test]
fn subscribers_are_killed_and_the_publisher_goes_on() {
    let mut random = Random(common::seed());
    let bus = TestBus::new();
    // Three slots, of which one is the survivor's: it shows when one is not free again.
    let topic = bus.topic("t").ring_bytes(256 << 10).reliable_max(3).create().expect("a topic");
    let mut publisher = topic.publisher(0).expect("the first");
    let is_over = AtomicBool::new(false);
    let end = AtomicU64::new(u64::MAX);
    thread::scope(|scope| {
        let survivor = {
            let (topic, is_over, end) = (&topic, &is_over, &end);
            scope.spawn(move || survive(topic, true, is_over, end))
        };
        wait_for_subscriber(&topic);
        let flood = {
            let is_over = &is_over;
            let mut random = Random(random.next());
            scope.spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    publish_some(&mut publisher, &mut random).expect("the bus lives");
                }
                publisher.next_offset()
            })
        };
        for _ in 0..KILLS / 3 {
            let spawn = |nap_us: u64| Child::spawn(&format!("subscribe {} t {nap_us}", bus.name()));
            let mut pair = [spawn(random.below(3) * 300), spawn(0)];
            for child in &mut pair {
                assert_eq!(child.hear(), "opening");
            }
            for child in pair {
                thread::sleep(Duration::from_micros(random.below(8000)));
                child.kill();
            }
        }
        let before = topic.stat().expect("readable").partitions[0].next_offset;
        let started = Instant::now();
        while topic.stat().expect("readable").partitions[0].next_offset < before + 5000 {
            assert!(started.elapsed() < HANGING, "the publisher waits for the dead");
            thread::sleep(Duration::from_millis(1));
        }
        // Both slots are free; a third one is not.
        let all = [(); 2].map(|()| open_reliable(&topic, StartAt::Live).expect("a free slot"));
        let refused = open_reliable(&topic, StartAt::Live);
        assert!(matches!(refused, Err(SubscribeError::NoSlot { .. })), "{refused:?}");
        drop(all);
        is_over.store(true, Ordering::Release);
        end.store(flood.join().expect("the publisher"), Ordering::Release);
        let audit = survivor.join().expect("the survivor");
        assert_eq!(audit.lost, 0);
        println!("{audit:?}");
    });
    let stat = topic.stat().expect("readable");
    println!("{stat:?}");
    assert!(stat.partitions[0].reclaimed > 0, "no dead subscriber was ever in the way");
    assert_eq!(stat.partitions[0].evictions, 0);
}

#[test]
#[ignore = "is run by the others, as a process of its own"]
fn child() {
    let Some(role) = child::begin() else { return };
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match role[..] {
        ["publish", bus, seed, end] => publish_in_child(bus, number(seed), number(end)),
        ["subscribe", bus, topic, nap_us] => subscribe_in_child(bus, topic, number(nap_us)),
        _ => panic!("{role:?}: no such role"),
    }
}
