//! A bus with a journal, on real files: what was published is what is replayed.

mod common;

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tickcast::runtime::Agent;
use tickcast::{
    DurableError, Event, JournalDir, JournalEntry, JournalError, JournalState, LossCause, Message,
    NoticeKind, PublishError, Publisher, Replay, ReplayCounters, Speed, StartAt, SyncPolicy, Topic,
    Until,
};

use common::audit::{Audit, publish, timestamp_of};
use common::journal::journaled;
use common::{Random, TestBus};

const RING_BYTES: u64 = 1 << 20;
const SEGMENT_BYTES: u64 = 256 << 10;

/// Replays one partition and audits it.
fn replay(dir: &Path, topic: &Topic, from: StartAt, due: u64) -> Audit {
    let mut audit = Audit::new(0, topic.message_bytes_max(), Some(due));
    Replay::open(dir)
        .expect("a journal")
        .from(from)
        .run(|event| audit.event(event))
        .expect("it can be read");
    audit
}

fn word_of(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().expect("a word"))
}

/// Replays messages that are their offset `words_of` it times, each once and in order but for what
/// the journal has lost. Returns also the first and last offset of each loss, and the offset behind
/// the end.
fn replay_with_losses(
    dir: &Path,
    words_of: impl Fn(u64) -> usize,
) -> (ReplayCounters, Vec<(u64, u64)>, u64) {
    let (mut losses, mut due) = (Vec::new(), 0);
    let counters = Replay::open(dir).expect("a journal").run(|event| match event {
        Event::Message(message) => {
            assert_eq!(message.offset, due);
            let words: Vec<u64> = message.payload.chunks(8).map(word_of).collect();
            assert!(words.len() == words_of(due) && words.iter().all(|word| *word == due));
            due += 1;
        }
        Event::Notice(notice) => {
            let NoticeKind::Lost { from, to, cause } = notice.kind else { panic!("{notice}") };
            assert_eq!((from, cause), (due, LossCause::Journal));
            losses.push((from, to));
            due = to + 1;
        }
    });
    (counters.expect("readable"), losses, due)
}

#[test]
fn what_was_published_is_replayed() {
    const MESSAGES: u64 = 20_000;
    for sync in
        [SyncPolicy::None, SyncPolicy::Interval(Duration::from_millis(5)), SyncPolicy::Always]
    {
        let bus = TestBus::new();
        let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
        let files = tempfile::tempdir().expect("a directory");
        let mut publisher = topic.publisher(0).expect("the only one");
        // Some of it before there is a journal.
        publish(&mut publisher, 1_000);
        let journal = topic.journal(files.path()).sync(sync).segment_bytes(SEGMENT_BYTES);
        let journal = journal.open().expect("a journal");
        let dir = journal.dir().to_owned();
        journaled(journal, || publish(&mut publisher, MESSAGES / 2));
        assert_eq!(replay(&dir, &topic, StartAt::Earliest, 0).due, Some(MESSAGES / 2));
        // And on, with some published while there was none.
        publish(&mut publisher, MESSAGES / 2 + 500);
        let journal = topic.journal(files.path()).sync(sync).open().expect("the same journal");
        journaled(journal, || publish(&mut publisher, MESSAGES));
        let audit = replay(&dir, &topic, StartAt::Earliest, 0);
        assert_eq!((audit.due, audit.messages, audit.lost), (Some(MESSAGES), MESSAGES, 0));
        for from in [1, 4_321, MESSAGES - 1] {
            let audit = replay(&dir, &topic, StartAt::Offset(from), from);
            assert_eq!((audit.due, audit.messages), (Some(MESSAGES), MESSAGES - from));
            let audit = replay(&dir, &topic, StartAt::Time(timestamp_of(from) - 1), from);
            assert_eq!((audit.due, audit.messages), (Some(MESSAGES), MESSAGES - from));
        }
        assert_eq!(replay(&dir, &topic, StartAt::Live, MESSAGES).messages, 0);
    }
}

#[test]
fn a_replay_ends_where_it_is_told_and_hands_out_what_the_filter_takes() {
    let bus = TestBus::new();
    let topic = bus.topic("ticks").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(files.path()).open().expect("a journal");
    let dir = journal.dir().to_owned();
    journaled(journal, || {
        let mut publisher = topic.publisher(0).expect("the only one");
        for offset in 0..10_000_u64 {
            publisher.publish(offset * 10, &offset).expect("published");
        }
    });
    let offsets = |replay: Replay| {
        let mut offsets = Vec::new();
        let counters = replay.run(|event| match event {
            Event::Message(message) => offsets.push(message.offset),
            Event::Notice(notice) => panic!("{notice}"),
        });
        assert_eq!(counters.expect("it can be read").messages, offsets.len() as u64);
        offsets
    };
    let open = || Replay::open(&dir).expect("a journal");
    let range = open().from(StartAt::Offset(100)).until(Until::Offset(200));
    assert_eq!(offsets(range), (100..200).collect::<Vec<_>>());
    let range = open().from(StartAt::Time(995)).until(Until::Time(2_001));
    assert_eq!(offsets(range), (100..201).collect::<Vec<_>>());
    let even = open().filter(|payload| payload[0].is_multiple_of(128)).until(Until::Offset(1_000));
    assert_eq!(offsets(even), (0..1_000).step_by(128).collect::<Vec<_>>());
    // 100 us of the recording, in 200 us.
    let slowly = open().speed(Speed::Times(0.5)).until(Until::Offset(11));
    assert_eq!(offsets(slowly), (0..11).collect::<Vec<_>>());
}

#[test]
fn partitions_are_merged_by_timestamp_and_go_into_another_topic() {
    const MESSAGES: u64 = 3_000;
    let bus = TestBus::new();
    let make = |name: &str| {
        bus.topic(name).ring_bytes(RING_BYTES).partitions(3).create().expect("a topic")
    };
    let (topic, copy) = (make("original"), make("copy"));
    let files = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(files.path()).open().expect("a journal");
    let dir = journal.dir().to_owned();
    journaled(journal, || {
        let mut publishers = topic.publishers().expect("all of them");
        for number in 0..MESSAGES {
            let publisher = &mut publishers[number as usize * 7 % 3];
            publisher.publish(number, &number).expect("published");
        }
    });
    let mut seen = 0;
    let mut check = |message: Message<'_>| {
        assert_eq!(message.timestamp_ns, seen);
        assert_eq!(message.read::<u64>(), Ok(&seen));
        assert_eq!(u64::from(message.origin.partition), seen * 7 % 3);
        seen += 1;
    };
    let counters = Replay::open(&dir).expect("a journal").run(|event| match event {
        Event::Message(message) => check(message),
        Event::Notice(notice) => panic!("{notice}"),
    });
    assert_eq!(counters.expect("it can be read").messages, MESSAGES);

    let replay = Replay::open(&dir).expect("a journal");
    assert_eq!(replay.run_into(&copy).expect("it can be published").messages, MESSAGES);
    for partition in 0..3 {
        let settings = copy.subscribe().partition(partition).start_at(StartAt::Earliest);
        let mut subscriber = settings.open().expect("a subscriber");
        let mut offset = 0;
        subscriber.poll(usize::MAX, |event| {
            let Event::Message(message) = event else { return };
            assert!(message.is_replayed());
            let number = *message.read::<u64>().expect("a number");
            assert_eq!((message.offset, number * 7 % 3), (offset, u64::from(partition)));
            offset += 1;
        });
        assert_eq!(offset, MESSAGES / 3);
    }
}

/// Late joiners of every kind, while the publisher runs at full speed and they stall now and then:
/// all get every message once, though the ring holds but a small part of them.
#[test]
fn subscribers_come_from_the_files_into_the_ring() {
    const MESSAGES: u64 = 60_000;
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(files.path()).segment_bytes(SEGMENT_BYTES).open();
    let bytes_max = topic.message_bytes_max();
    let seed = common::seed();
    let published = AtomicU64::new(0);
    journaled(journal.expect("a journal"), || {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut publisher = topic.publisher(0).expect("the only one");
                for end in (100..=MESSAGES).step_by(100) {
                    publish(&mut publisher, end);
                    published.store(end, Ordering::Release);
                }
            });
            for number in 0..8_u64 {
                let (topic, published) = (&topic, &published);
                scope.spawn(move || {
                    let mut random = Random(seed + number);
                    // When a part is published, and the ring has gone past its beginning.
                    let begin = 5_000 + number * 4_000;
                    while published.load(Ordering::Acquire) < begin {
                        thread::sleep(Duration::from_millis(1));
                    }
                    let from = random.below(begin);
                    let (start_at, due) = match number % 4 {
                        0 => (StartAt::Earliest, 0),
                        1 => (StartAt::Offset(from), from),
                        2 => (StartAt::Time(timestamp_of(from)), from),
                        _ => (StartAt::Offset(begin), begin),
                    };
                    let settings = topic.subscribe().start_at(start_at);
                    let settings = if number < 4 { settings } else { settings.reliable() };
                    let mut subscriber = settings.open().expect("a subscriber");
                    let mut audit = Audit::new(0, bytes_max, Some(due));
                    let mut stalls = 0;
                    while audit.due < Some(MESSAGES) {
                        if random.below(200) == 0 && stalls < 20 {
                            thread::sleep(Duration::from_millis(random.below(20)));
                            stalls += 1;
                        }
                        subscriber.poll(64, |event| audit.event(event));
                    }
                    assert_eq!((audit.messages, audit.lost), (MESSAGES - due, 0));
                });
            }
        });
    });
}

#[test]
fn a_publisher_waits_for_the_disk_and_subscribers_see_what_is_on_it() {
    let bus = TestBus::new();
    let topic = bus.topic("orders").ring_bytes(RING_BYTES).create().expect("a topic");
    let mut publisher = topic.publisher(0).expect("the only one");
    let offset = publisher.publish(1, b"before").expect("published");
    let error = publisher.wait_durable(offset, None).expect_err("nobody journals it");
    assert!(matches!(error, DurableError::NoJournal), "{error}");
    let mut seen = topic.subscribe().durable().start_at(StartAt::Offset(0)).open().expect("open");
    assert_eq!(seen.poll(10, |_| ()), 0, "nothing is on disk yet");

    let files = tempfile::tempdir().expect("a directory");
    let mut journal = topic.journal(files.path()).sync(SyncPolicy::Always).open().expect("open");
    let wait = Some(Duration::from_millis(1));
    let error = publisher.wait_durable(offset, wait).expect_err("the journal is not polled");
    assert!(matches!(error, DurableError::Timeout { offset: 0, durable_offset: 0 }), "{error}");
    let mut next = 0;
    for number in 0..1_000_u64 {
        let offset = publisher.publish(number, &number).expect("published");
        while publisher.durable_offset() <= offset {
            journal.poll();
            // Never more than what is acknowledged.
            seen.poll(1_000, |event| {
                let Event::Message(message) = event else { panic!("{event:?}") };
                assert_eq!(message.offset, next);
                next += 1;
            });
            assert!(next <= publisher.durable_offset());
        }
        publisher.wait_durable(offset, None).expect("it is on disk");
    }
    seen.poll(1_000, |_| next += 1);
    assert_eq!(next, 1_001);
    let stat = topic.stat().expect("readable").partitions[0].journal.clone().expect("a journal");
    assert_eq!(stat.state, JournalState::Running);
    assert_eq!((stat.written_offset, stat.durable_offset, stat.lag), (1_001, 1_001, 0));
    assert_eq!((stat.pid, stat.errors), (Some(u64::from(std::process::id())), 0));
    assert_eq!(stat.path.as_deref(), Some(journal.dir()));

    journal.close();
    let stat = topic.stat().expect("readable").partitions[0].journal.clone().expect("a journal");
    assert_eq!((stat.state, stat.is_waited_for), (JournalState::Closed, false));
    let offset = publisher.publish(1, b"after").expect("published");
    let error = publisher.wait_durable(offset, None).expect_err("nobody journals it any more");
    assert!(matches!(error, DurableError::NoJournal), "{error}");
}

/// What a killed journal leaves: the publisher waits, and a successor goes on.
#[test]
fn a_publisher_waits_for_the_successor_of_a_dead_journal_or_gives_up() {
    for gives_up in [false, true] {
        let bus = TestBus::new();
        let topic = bus.topic("orders").ring_bytes(RING_BYTES).create().expect("a topic");
        let files = tempfile::tempdir().expect("a directory");
        let mut journal = topic.journal(files.path());
        if gives_up {
            journal = journal.give_up_after(Duration::from_millis(20));
        }
        let mut publisher = topic.publisher(0).expect("the only one");
        // Dropped and not closed, as if killed.
        drop(journal.open().expect("a journal"));
        let mut count = 0_u64;
        let full = loop {
            match publisher.try_publish(count, &[count; 20]) {
                Ok(_) => count += 1,
                Err(PublishError::Full(full)) => break full,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!((full.slot, full.offset), (None, 0));
        assert!(full.to_string().contains("the journal"), "{full}");
        if gives_up {
            publisher.publish(count, &[count; 20]).expect("it gives up on the journal");
            let journal = topic.stat().expect("readable").partitions[0].journal.clone();
            assert!(!journal.expect("there was one").is_waited_for);
            let error = publisher.wait_durable(count, None).expect_err("it never will be");
            assert!(matches!(error, DurableError::Stopped { durable_offset: 0, .. }), "{error}");
            continue;
        }
        let journal = topic.journal(files.path()).open().expect("a successor");
        let dir = journal.dir().to_owned();
        journaled(journal, || publisher.publish(count, &[count; 20]).expect("published"));
        let counters = Replay::open(dir).expect("a journal").run(|event| {
            let Event::Message(message) = event else { panic!("{event:?}") };
            assert_eq!(message.read::<[u64; 20]>(), Ok(&[message.offset; 20]));
        });
        assert_eq!(counters.expect("readable").messages, count + 1);
    }
}

/// The shared memory is gone, as after a reboot; the topic goes on from its journal.
#[test]
fn a_topic_whose_ring_is_gone_goes_on_from_its_journal() {
    const LIVES: u64 = 4;
    const MESSAGES: u64 = 4_000;
    let files = tempfile::tempdir().expect("a directory");
    let mut end = 0;
    for life in 1..=LIVES {
        let bus = TestBus::new();
        let topic = bus.topic("orders").ring_bytes(RING_BYTES).journal(files.path());
        let topic = topic.open_or_create().expect("a topic");
        let stat = &topic.stat().expect("readable").partitions[0];
        assert_eq!((stat.next_offset, stat.earliest_offset), (end, end));
        let journal = topic.journal(files.path()).segment_bytes(SEGMENT_BYTES).open();
        journaled(journal.expect("the same journal"), || {
            let mut publisher = topic.publisher(0).expect("the only one");
            assert_eq!(publisher.next_offset(), end);
            // Some publishers later.
            assert_eq!(publisher.epoch(), 1 + (life - 1) * 2);
            publish(&mut publisher, end + MESSAGES / 2);
            drop(publisher);
            let mut publisher = topic.publisher(0).expect("the only one");
            end += MESSAGES;
            publish(&mut publisher, end);
            // What is older than the ring comes from the files, and then from the ring.
            for from in [StartAt::Earliest, StartAt::Offset(0), StartAt::Time(0)] {
                let mut subscriber = topic.subscribe().start_at(from).open().expect("open");
                let mut audit = Audit::new(0, topic.message_bytes_max(), Some(0));
                audit.read_to(&mut subscriber, end);
                assert_eq!((audit.messages, audit.lost), (end, 0));
            }
        });
    }
    // And in another directory, too, from where it goes on.
    let bus = TestBus::new();
    let topic = bus.topic("orders").ring_bytes(RING_BYTES).journal(files.path());
    let topic = topic.create().expect("a topic");
    let others = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(others.path()).segment_bytes(SEGMENT_BYTES).open();
    let journal = journal.expect("another journal");
    let dir = journal.dir().to_owned();
    journaled(journal, || {
        publish(&mut topic.publisher(0).expect("the only one"), end + MESSAGES);
    });
    let audit = replay(&dir, &topic, StartAt::Offset(end), end);
    assert_eq!((audit.due, audit.lost), (Some(end + MESSAGES), 0));
    // Made otherwise than it was.
    let bus = TestBus::new();
    let other = bus.topic("orders").ring_bytes(RING_BYTES * 2).journal(files.path());
    let error = other.create().expect_err("its ring had another size");
    assert!(error.to_string().contains("ring size"), "{error}");
    // Another topic of that name.
    let topic = bus.topic("orders").ring_bytes(RING_BYTES).create().expect("a new one");
    let error = topic.journal(files.path()).open().expect_err("a journal of another topic");
    assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
}

/// What a late joiner is told holds for the stream that it gets.
#[test]
fn a_late_joiner_knows_what_was_there_before_it_came() {
    const BEFORE: u64 = 9_000;
    const AFTER: u64 = 1_000;
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(RING_BYTES).create().expect("a topic");
    let joined = topic.subscribe().start_at(StartAt::Earliest).join().expect("nothing is there");
    assert_eq!((joined.partitions[0].first_offset, joined.partitions[0].next_offset), (0, 0));
    let files = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(files.path()).open().expect("a journal");
    journaled(journal, || {
        let mut publisher = topic.publisher(0).expect("the only one");
        publish(&mut publisher, BEFORE);
        let from = [(StartAt::Earliest, 0), (StartAt::Offset(17), 17), (StartAt::Live, BEFORE)];
        let joined = from.map(|(start_at, first)| {
            let joined = topic.subscribe().start_at(start_at).join().expect("joined");
            let [partition] = &joined.partitions[..] else { panic!("{joined:?}") };
            assert_eq!((partition.first_offset, partition.next_offset), (first, BEFORE));
            assert_eq!(partition.topic.name(), "trades");
            (joined, first)
        });
        publish(&mut publisher, BEFORE + AFTER);
        for (mut joined, first) in joined {
            let mut audit = Audit::new(0, topic.message_bytes_max(), Some(first));
            audit.read_to(&mut joined.subscriber, BEFORE + AFTER);
            assert_eq!((audit.messages, audit.lost), (BEFORE + AFTER - first, 0));
        }
    });
}

/// A journal that was given up is started again: it goes on with what the ring still holds, and
/// whoever reads it is told exactly what is missing. Also where its last block is full to the last
/// line.
#[test]
fn what_the_ring_went_past_is_told_as_lost() {
    /// Messages of one line in a block.
    const BLOCK: u64 = 1022;
    let bus = TestBus::new();
    let topic = bus.topic("ticks").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let mut publisher = topic.publisher(0).expect("the only one");
    // As far as nobody is in the way.
    let mut publish = |end: u64| {
        for offset in publisher.next_offset()..end {
            if publisher.try_publish(offset, &[offset; 6]).is_err() {
                break;
            }
        }
        publisher.next_offset()
    };
    let (mut held, mut lost, mut end) = (Vec::new(), Vec::new(), 0);
    publish(1);
    for life in 0..8 {
        let settings = topic.journal(files.path()).segment_bytes(SEGMENT_BYTES);
        let mut journal = settings.give_up_after(Duration::from_millis(300)).open().expect("open");
        // Where it goes on, a small ring's worth behind the end.
        let stat = &topic.stat().expect("readable").partitions[0];
        let from = stat.journal.as_ref().expect("it runs").written_offset;
        if life > 0 {
            assert!(from > end, "the ring went past {end}");
            lost.push((end, from - 1));
        }
        end = from.max(stat.next_offset).next_multiple_of(BLOCK) + [0, 1, 700][life % 3];
        held.push((from, end));
        while publish(end) < end {
            journal.poll();
            assert_eq!(journal.failures().collect::<Vec<_>>(), []);
        }
        let lag =
            || topic.stat().expect("readable").partitions[0].journal.as_ref().map(|it| it.lag);
        while lag() != Some(0) {
            journal.poll();
            assert_eq!(journal.failures().collect::<Vec<_>>(), []);
            thread::sleep(Duration::from_millis(1));
        }
        drop(journal);
        // Until it holds the publisher up no more.
        while publish(end + 60_000) < end + 60_000 {}
    }
    assert!(held.iter().any(|(_, end)| end % BLOCK == 0));
    let dir = files.path().join("ticks");
    let (counters, losses, due) = replay_with_losses(&dir, |_| 6);
    assert_eq!((losses, due, counters.holes), (lost.clone(), end, 0));
    let lost: u64 = lost.iter().map(|(from, to)| to - from + 1).sum();
    assert_eq!((counters.lost, counters.messages), (lost, end - lost));
}

/// A journal that may be overrun goes on by itself: what it has is right, what it has not is told,
/// and nothing of that is said to be on disk.
#[test]
fn a_journal_that_was_overrun_goes_on() {
    const ROUNDS: u64 = 4;
    const LIMIT: Duration = Duration::from_secs(60);
    for give_up_after in [Duration::ZERO, Duration::from_millis(2)] {
        let bus = TestBus::new();
        let topic = bus.topic("ticks").ring_bytes(RING_BYTES).create().expect("a topic");
        let files = tempfile::tempdir().expect("a directory");
        let settings = topic.journal(files.path()).segment_bytes(SEGMENT_BYTES);
        let settings = settings.sync(SyncPolicy::Always).give_up_after(give_up_after);
        let mut journal = settings.open().expect("a journal");
        let mut publisher = topic.publisher(0).expect("the only one");
        let publish = |publisher: &mut Publisher, count: u64| {
            for _ in 0..count {
                let offset = publisher.next_offset();
                publisher.publish(offset, &[offset; 6]).expect("nobody is waited for long");
            }
        };
        let stat = || {
            let stat = topic.stat().expect("readable").partitions.remove(0);
            stat.journal.expect("there is one")
        };
        let mut lost = 0;
        for round in 0..ROUNDS {
            // It gets some of it, which is on disk then.
            publish(&mut publisher, 500 + round);
            let kept = publisher.next_offset() - 1;
            let begin = Instant::now();
            while publisher.durable_offset() <= kept {
                journal.poll();
                assert!(begin.elapsed() < LIMIT, "message {kept} is never on disk");
            }
            assert_eq!(stat().lost, lost);
            publisher.wait_durable(kept, None).expect("on disk, and behind all that is lost");
            // Some writes are under way when the publisher goes past.
            publish(&mut publisher, 3_000);
            journal.poll();
            publish(&mut publisher, 60_000);
            let first_lost = kept + 1 + 3_000;
            let begin = Instant::now();
            while stat().lag > 0 {
                journal.poll();
                assert_eq!(journal.failures().collect::<Vec<_>>(), []);
                assert!(begin.elapsed() < LIMIT, "it does not go on");
            }
            let stat = stat();
            assert!(stat.lost > lost && stat.is_waited_for, "{stat:?}");
            assert_eq!(stat.state, JournalState::Running);
            lost = stat.lost;
            let error = publisher.wait_durable(first_lost, None).expect_err("it is lost");
            assert!(matches!(error, DurableError::Lost { offset, .. } if offset == first_lost));
        }
        let end = publisher.next_offset();
        // Who comes from the files into the ring is told of the same losses.
        let mut subscriber = topic.subscribe().start_at(StartAt::Earliest).open().expect("open");
        let (mut due, mut told, begin) = (0, 0, Instant::now());
        while due < end {
            subscriber.poll(256, |event| match event {
                Event::Message(message) => {
                    assert_eq!(message.offset, due);
                    due += 1;
                }
                Event::Notice(notice) => {
                    let NoticeKind::Lost { from, to, .. } = notice.kind else { panic!("{notice}") };
                    assert_eq!(from, due);
                    (due, told) = (to + 1, told + to + 1 - from);
                }
            });
            assert!(begin.elapsed() < LIMIT, "it never gets message {due} of {end}");
        }
        assert_eq!(told, lost);
        journal.close();
        drop(journal);
        let dir = files.path().join("ticks");
        let (counters, losses, due) = replay_with_losses(&dir, |_| 6);
        assert_eq!(losses.iter().map(|(from, to)| to - from + 1).sum::<u64>(), lost);
        assert_eq!((due, counters.holes), (end, 0));
        assert_eq!((counters.lost, counters.messages), (lost, end - lost));
        // All that there is, and nothing else, is found by whoever looks at the files.
        let journal = JournalDir::open(&dir).expect("a journal");
        let mut messages = 0;
        let dumped = journal.dump(0, StartAt::Earliest, |entry| {
            messages += u64::from(matches!(entry, JournalEntry::Frame { length: 48, .. }));
            ControlFlow::Continue(())
        });
        dumped.expect("readable");
        assert_eq!(messages, counters.messages);
        let truncated = tickcast::truncate(&dir, 0, end - 10).expect("nobody writes to it");
        assert_eq!((truncated.end_offset, truncated.was_end_offset), (end - 10, end));
    }
}

/// Blocks come to the disk in any order. A replay that catches up with the journal ends before one
/// that is still on its way.
#[test]
fn a_replay_beside_a_journal_takes_nothing_for_lost_that_is_on_its_way() {
    const MESSAGES: u64 = 4_000_000;
    for sync in [SyncPolicy::None, SyncPolicy::Always] {
        let bus = TestBus::new();
        let topic = bus.topic("ticks").ring_bytes(RING_BYTES).create().expect("a topic");
        let files = tempfile::tempdir().expect("a directory");
        let journal = topic.journal(files.path()).sync(sync).segment_bytes(SEGMENT_BYTES << 2);
        let journal = journal.open().expect("a journal");
        let dir = journal.dir().to_owned();
        let mut publisher = topic.publisher(0).expect("the only one");
        let end = AtomicU64::new(0);
        let mut replays = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                journaled(journal, || {
                    for offset in 0..MESSAGES {
                        publisher.publish(offset, &[offset; 6]).expect("nobody is slow");
                        end.store(offset + 1, Ordering::Relaxed);
                    }
                });
            });
            while end.load(Ordering::Relaxed) < MESSAGES {
                let from = end.load(Ordering::Relaxed).saturating_sub(RING_BYTES / 64);
                let (mut due, mut is_first) = (from, true);
                let replay = Replay::open(&dir).expect("a journal").from(StartAt::Offset(from));
                let counters = replay.run(|event| match event {
                    Event::Message(message) => {
                        assert!(message.offset == due || is_first);
                        assert_eq!(message.read(), Ok(&[message.offset; 6]));
                        (due, is_first) = (message.offset + 1, false);
                    }
                    Event::Notice(notice) => panic!("{notice}, due is {due}"),
                });
                assert_eq!(counters.expect("readable").holes, 0);
                replays += 1;
            }
        });
        println!("{replays} replays");
        assert!(replays > 0);
    }
}

/// The publisher is ahead of the journal as often as the disk is slow for a moment, and overwrites
/// what is being read and written at that moment.
#[test]
fn a_journal_that_races_with_its_publisher_has_no_torn_message() {
    const MESSAGES: u64 = 2_000_000;
    // Few are longer than a block.
    let words_of = |offset: u64| if offset % 5_003 == 5_002 { 12_000 } else { 6 };
    for sync in [SyncPolicy::None, SyncPolicy::Always] {
        let bus = TestBus::new();
        let topic = bus.topic("ticks").ring_bytes(RING_BYTES).create().expect("a topic");
        let files = tempfile::tempdir().expect("a directory");
        let settings = topic.journal(files.path()).sync(sync).segment_bytes(SEGMENT_BYTES << 4);
        let journal = settings.give_up_after(Duration::ZERO).open().expect("a journal");
        let dir = journal.dir().to_owned();
        let mut publisher = topic.publisher(0).expect("the only one");
        let stat = || {
            let stat = topic.stat().expect("readable").partitions.remove(0);
            stat.journal.expect("there is one")
        };
        let published = journaled(journal, || {
            publisher.publish(0, &[0_u64; 6]).expect("published");
            while stat().written_offset == 0 {
                thread::yield_now();
            }
            for offset in 1..MESSAGES {
                let long = vec![offset; words_of(offset)];
                publisher.publish(offset, &long[..]).expect("nobody is waited for");
                if offset % 40_000 == 0 {
                    // The journal may catch up.
                    thread::sleep(Duration::from_millis(offset / 40_000 % 8));
                }
            }
            publisher.next_offset()
        });
        assert_eq!(published, MESSAGES);
        let stat = stat();
        let (counters, losses, due) = replay_with_losses(&dir, words_of);
        println!("{sync:?}: {} losses, {} messages of {MESSAGES}", losses.len(), counters.lost);
        assert_eq!((due, counters.holes), (MESSAGES, 0));
        assert_eq!(losses.iter().map(|(from, to)| to - from + 1).sum::<u64>(), stat.lost);
        let verified = JournalDir::open(&dir).expect("a journal").verify(0, |_, _| {});
        let verified = verified.expect("readable");
        assert_eq!((verified.damages, verified.missed), (vec![], stat.lost));
        assert!(!losses.is_empty(), "it was never left behind");
    }
}

/// Wherever it lies in what is read ahead, damage costs what is in its block, and is told.
#[test]
fn damage_is_passed_over_where_a_replay_reads_ahead() {
    const BLOCK_BYTES: u64 = 64 << 10;
    const BLOCKS: u64 = 90;
    /// Messages of one line in a block.
    const IN_BLOCK: u64 = 1022;
    for segment_bytes in [256 << 10, 1 << 20, 64 << 20] {
        let bus = TestBus::new();
        let topic = bus.topic("ticks").ring_bytes(RING_BYTES).create().expect("a topic");
        let files = tempfile::tempdir().expect("a directory");
        let journal = topic.journal(files.path()).segment_bytes(segment_bytes).open();
        let end = BLOCKS * IN_BLOCK - 100;
        journaled(journal.expect("a journal"), || {
            let mut publisher = topic.publisher(0).expect("the only one");
            for offset in 0..end {
                publisher.publish(offset, &[offset; 6]).expect("published");
            }
        });
        let dir = files.path().join("ticks");
        let segment_blocks = segment_bytes / BLOCK_BYTES;
        let flip = |block: u64| {
            let first = block - block % segment_blocks;
            let path = dir.join("0").join(format!("{first:016x}.segment"));
            let file = File::options().read(true).write(true).open(path).expect("a segment");
            let at = (block - first) * BLOCK_BYTES + 30_000;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("there");
            file.write_all_at(&[byte[0] ^ 4], at).expect("written");
        };
        for damaged in [
            vec![],
            vec![0],
            vec![11, 12],
            vec![15],
            vec![16],
            vec![31, 33, 47, 48],
            (50..70).collect(),
            (13..BLOCKS - 1).step_by(2).collect(),
        ] {
            damaged.iter().copied().for_each(flip);
            let mut due = 0;
            let (mut lost, mut missing) = (Vec::new(), 0);
            let counters = Replay::open(&dir).expect("a journal").run(|event| match event {
                Event::Message(message) => {
                    assert_eq!(message.read(), Ok(&[message.offset; 6]));
                    assert_eq!(message.offset, due);
                    due = message.offset + 1;
                }
                Event::Notice(notice) => {
                    let NoticeKind::Lost { from, to, .. } = notice.kind else { panic!("{notice}") };
                    assert_eq!(from, due);
                    lost.extend(from / IN_BLOCK..=to / IN_BLOCK);
                    missing += to + 1 - from;
                    due = to + 1;
                }
            });
            let counters = counters.expect("readable");
            assert_eq!((due, &lost), (end, &damaged), "segments of {segment_bytes}");
            assert_eq!(counters.messages, end - missing, "segments of {segment_bytes}");
            // What a checkpoint inside a block covers, before the damage, is not lost with it.
            assert!(missing <= damaged.len() as u64 * IN_BLOCK, "{missing} in {damaged:?}");
            damaged.iter().copied().for_each(flip);
        }
    }
}
