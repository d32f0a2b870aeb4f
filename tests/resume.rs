//! Subscribers that are killed again and again and go on: one with a name sees everything at least
//! once, and what the example `exactly_once` makes of it is as if it had seen everything once.

mod common;

#[path = "../examples/exactly_once.rs"]
#[allow(dead_code, reason = "its main is not run")]
mod example;

use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use tickcast::{Bus, Event, Publisher, StartAt, SyncPolicy, cursors};

use common::child::{self, Child};
use common::journal::start;
use common::{Random, TestBus};

/// How many are killed in each test.
const KILLS: u64 = 50;

/// The child that runs the example.
fn add_in_child(bus: &str, path: &Path) {
    let trades = Bus::open(bus).expect("the bus").open_topic("trades").expect("the topic");
    child::say("adding");
    example::add_up(&trades, path).expect("it adds up");
    child::say("done");
}

#[test]
fn an_example_that_is_killed_counts_everything_once() {
    let mut random = Random(common::seed());
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(256 << 10).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    // A kill takes nothing from shared memory either, where a sync costs nothing.
    let path = common::root().join(format!(".total-{}", bus.name()));
    let journal = topic.journal(files.path().join("journal")).open().expect("a journal");
    let core = start(journal);
    let mut publisher = topic.publisher(0).expect("the only one");
    let mut due = 0;
    let mut publish = |publisher: &mut Publisher, count: u64| {
        for _ in 0..count {
            let quantity = random.below(1_000);
            publisher.publish(0, &[0, quantity]).expect("published");
            due += quantity;
        }
    };
    // Far more than the ring holds: what the killed have not come to is in the files.
    publish(&mut publisher, 60_000);
    let role = format!("add {} {}", bus.name(), path.display());
    let mut delays = Random(common::seed());
    for _ in 0..KILLS {
        let mut child = Child::spawn(&role);
        assert_eq!(child.hear(), "adding");
        publish(&mut publisher, 20);
        thread::sleep(Duration::from_micros(delays.below(3_000)));
        child.kill();
    }
    let counted = example_total(&path);
    assert!(counted.0 > 0, "no child has come to anything");
    assert!(counted.0 < publisher.next_offset(), "the killed had nothing left to do");
    let end = publisher.next_offset();
    drop(publisher);
    let mut last = Child::spawn(&role);
    assert_eq!(last.hear(), "adding");
    assert_eq!(last.hear(), "done");
    last.finish();
    assert_eq!(example_total(&path), (end, due));
    // It is what a subscriber sees that was never killed.
    let mut subscriber = topic.subscribe().start_at(StartAt::Earliest).open().expect("open");
    let mut sum = 0;
    while subscriber.offsets().next().map(|(_, offset)| offset) < Some(end) {
        subscriber.poll(1_000, |event| {
            if let Event::Message(message) = event {
                sum += message.read::<[u64; 2]>().expect("a trade")[1];
            }
        });
    }
    assert_eq!(sum, due);
    core.stop().expect("no agent panics");
}

/// The offset and the sum in the example's file.
fn example_total(path: &Path) -> (u64, u64) {
    let bytes = fs::read(path).expect("a total");
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!(bytes.len(), 16);
    (word(0), word(8))
}

/// The child that has a name: it says every message that it has seen, and commits now and then.
fn subscribe_in_child(bus: &str, seed: u64) {
    let topic = Bus::open(bus).expect("the bus").open_topic("trades").expect("the topic");
    let mut random = Random(seed);
    let mut subscriber = topic.subscribe().reliable().cursor("risk").open().expect("open");
    loop {
        let mut seen = None;
        subscriber.poll(random.below(50) as usize + 1, |event| {
            let Event::Message(message) = event else { panic!("{event:?}") };
            assert_eq!(message.read::<[u64; 3]>(), Ok(&[message.offset; 3]));
            let (first, _) = seen.unwrap_or((message.offset, 0));
            seen = Some((first, message.offset));
        });
        if let Some((first, last)) = seen {
            child::say(&format!("{first} {last}"));
        }
        if random.below(3) == 0 {
            subscriber.commit().expect("stored");
            let next = subscriber.offsets().next().expect("a partition").1;
            child::say(&format!("committed {next}"));
        }
    }
}

#[test]
fn a_subscriber_that_is_killed_sees_everything_at_least_once() {
    let mut random = Random(common::seed());
    let bus = TestBus::new();
    let topic = bus.topic("trades").ring_bytes(256 << 10).create().expect("a topic");
    let files = tempfile::tempdir().expect("a directory");
    let journal = topic.journal(files.path()).sync(SyncPolicy::Interval(Duration::from_millis(1)));
    let journal = journal.open().expect("a journal");
    let dir = journal.dir().to_owned();
    let core = start(journal);
    let mut publisher = topic.publisher(0).expect("the only one");
    let publish = |publisher: &mut Publisher, end| {
        for offset in publisher.next_offset()..end {
            publisher.publish(offset, &[offset; 3]).expect("published");
        }
    };
    publish(&mut publisher, 30_000);
    publisher.wait_durable(29_999, None).expect("on disk");
    // Everything below was seen by somebody, and by how much somebody saw it again.
    let (mut seen, mut repeated) = (0, 0);
    for _ in 0..KILLS {
        let mut child = Child::spawn(&format!("subscribe {} {}", bus.name(), random.next()));
        let mut said: Vec<String> = (0..random.below(60)).map(|_| child.hear()).collect();
        said.extend(child.kill_and_hear());
        let mut committed_offset = None;
        for said in said {
            let words: Vec<&str> = said.split(' ').collect();
            let number = |text: &str| text.parse::<u64>().expect("a number");
            if words[0] == "committed" {
                committed_offset = Some(number(words[1]));
                continue;
            }
            let (first, last) = (number(words[0]), number(words[1]));
            assert!(first <= seen, "messages {seen} to {first} were never seen");
            repeated += seen.min(last + 1) - first;
            seen = seen.max(last + 1);
        }
        if let Some(offset) = committed_offset {
            // It may have committed more than it could say.
            let cursor = cursors(&dir).expect("readable").remove(0);
            let position = cursor.positions[0].expect("it has committed");
            assert!(position.offset >= offset, "a commit is lost");
        }
        publish(&mut publisher, 30_000 + seen / 10);
    }
    println!("{seen} seen, {repeated} again");
    assert!(seen > 0 && repeated > 0);
    core.stop().expect("no agent panics");
}

#[test]
#[ignore = "is run by the others, as a process of its own"]
fn child() {
    let Some(role) = child::begin() else { return };
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    match role[..] {
        ["add", bus, path] => add_in_child(bus, Path::new(path)),
        ["subscribe", bus, seed] => subscribe_in_child(bus, seed.parse().expect("a number")),
        _ => panic!("{role:?}: no such role"),
    }
}
