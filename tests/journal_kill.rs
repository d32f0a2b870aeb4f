//! Publisher, journal and readers are killed at random instants while the publisher runs at full
//! speed: what is on disk in the end is all that was published, once and in order.

mod common;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tickcast::runtime::{Agent, Idle, IdleStrategy};
use tickcast::{Bus, JournalError, Replay, StartAt, SyncPolicy};

use common::audit::{self, Audit};
use common::child::{self, Child, HANGING};
use common::{Random, TestBus};

/// How many processes are killed.
const KILLS: u64 = 120;

const RING_BYTES: u64 = 1 << 20;
const SEGMENT_BYTES: u64 = 1 << 20;

fn sync_of(number: u64) -> SyncPolicy {
    match number % 3 {
        0 => SyncPolicy::None,
        1 => SyncPolicy::Interval(Duration::from_millis(3)),
        _ => SyncPolicy::Always,
    }
}

/// The child that publishes until it is killed, or up to an offset.
fn publish(bus: &str, end: u64) {
    let topic = Bus::open(bus).expect("the bus").open_topic("ticks").expect("the topic");
    let mut publisher = topic.publisher(0).expect("nobody else publishes");
    child::say(&publisher.next_offset().to_string());
    audit::publish(&mut publisher, end);
    child::say("done");
}

/// The child that journals until it is killed, or told to close.
fn journal(bus: &str, dir: &str, number: u64) {
    let topic = Bus::open(bus).expect("the bus").open_topic("ticks").expect("the topic");
    let started = Instant::now();
    let mut journal = loop {
        let settings = topic.journal(dir).sync(sync_of(number)).segment_bytes(SEGMENT_BYTES);
        match settings.open() {
            Ok(journal) => break journal,
            // The kernel is still at work for the one that was killed.
            Err(JournalError::InUse { .. } | JournalError::Busy { .. })
                if started.elapsed() < HANGING =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    };
    child::say("open");
    let closing = thread::spawn(child::listen);
    let mut idle = Idle::new(IdleStrategy::back_off());
    while !closing.is_finished() {
        let work = journal.poll();
        idle.idle(work);
        assert_eq!(journal.failures().collect::<Vec<_>>(), []);
    }
    journal.close();
}

/// The child that reads everything from the beginning, again and again.
fn read(bus: &str, seed: u64) {
    let topic = Bus::open(bus).expect("the bus").open_topic("ticks").expect("the topic");
    let mut random = Random(seed);
    child::say("open");
    loop {
        let settings = topic.subscribe().start_at(StartAt::Earliest);
        let settings = if random.below(2) == 0 { settings } else { settings.reliable() };
        let mut subscriber = settings.open().expect("a subscriber");
        let mut audit = Audit::new(0, topic.message_bytes_max(), Some(0));
        for _ in 0..2_000 + random.below(20_000) {
            subscriber.poll(100, |event| audit.event(event));
        }
        assert_eq!(audit.lost, 0);
    }
}

#[test]
#[ignore = "a child of the other test"]
fn child() {
    let Some(role) = child::begin() else { return };
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match role[..] {
        ["publish", bus, end] => publish(bus, number(end)),
        ["journal", bus, dir, count] => journal(bus, dir, number(count)),
        ["read", bus, seed] => read(bus, number(seed)),
        _ => panic!("no role of ours: {role:?}"),
    }
}

#[test]
fn whoever_is_killed_everything_is_on_disk_once() {
    let seed = common::seed();
    let mut random = Random(seed);
    let bus = TestBus::new();
    let topic = bus.topic("ticks").ring_bytes(RING_BYTES).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let dir = files.path().to_str().expect("text");
    let name = bus.name();
    let mut count = 0;
    let mut spawn = |what: u64| {
        count += 1;
        let mut child = Child::spawn(&match what {
            0 => format!("publish {name} {}", u64::MAX),
            1 => format!("journal {name} {dir} {count}"),
            _ => format!("read {name} {}", seed + count),
        });
        child.hear();
        child
    };
    // The journal first, so that nothing is overwritten before.
    let journal = spawn(1);
    let mut children = [spawn(0), journal, spawn(2)];
    let mut killed = [0; 3];
    for _ in 0..KILLS {
        thread::sleep(Duration::from_millis(random.below(30)));
        let what = random.below(3);
        let child = &mut children[what as usize];
        let pid = i32::try_from(child.pid()).expect("a pid");
        // SAFETY: takes no pointer; the process is ours, and not waited for yet.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        let status = child.end().expect("it was killed");
        assert_eq!(child::signal_of(status), Some(libc::SIGKILL), "it ended before: {status}");
        *child = spawn(what);
        killed[what as usize] += 1;
    }
    let [publisher, mut journal, reader] = children;
    publisher.kill();
    reader.kill();
    let end = topic.stat().expect("readable").partitions[0].next_offset;
    journal.say("close");
    journal.finish();

    let mut audit = Audit::new(0, topic.message_bytes_max(), Some(0));
    let replay = Replay::open(Path::new(dir).join("ticks")).expect("a journal");
    replay.run(|event| audit.event(event)).expect("it can be read");
    assert_eq!((audit.due, audit.messages, audit.lost), (Some(end), end, 0));
    println!("{end} messages; killed {killed:?} of publishers, journals and readers");
}
