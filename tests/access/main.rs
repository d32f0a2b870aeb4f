//! Making, opening and removing, and who may: each refusal says what to do.

mod circumstances;
#[path = "../common/mod.rs"]
mod common;
mod huge;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tickcast::{
    Bus, Event, FileError, NoticeKind, PublishError, PublisherError, RemoveError, SlowSubscriber,
    StartAt, SubscribeError, TopicError, WakeUp,
};

use common::TestBus;
use common::child::{self, Child};

const RING_BYTES: u64 = 256 << 10;

/// An error's text has all of these in it.
fn says(error: impl std::fmt::Display, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn buses_are_created_opened_and_listed() {
    let name = TestBus::new_name();
    says(Bus::open(&name).expect_err("none yet"), &[&name, "does not exist: create it first"]);
    let bus = Bus::create(&name).expect("a new bus");
    says(Bus::create(&name).expect_err("there is one"), &[&name, "exists already: open it"]);
    assert_eq!(Bus::open(&name).expect("there is one").name(), bus.name());
    assert_eq!(Bus::open_or_create(&name).expect("there is one").name(), name);
    assert!(Bus::list().expect("readable").contains(&name));
    for bad in ["", "a/b", "..", "-x", ".hidden", &"n".repeat(65)] {
        assert!(matches!(Bus::create(bad), Err(FileError::Name(_))), "{bad}");
        assert!(matches!(Bus::open(bad), Err(FileError::Name(_))), "{bad}");
    }
    assert!(bus.topics().expect("readable").is_empty());
    bus.topic("b").ring_bytes(RING_BYTES).create().expect("a topic");
    bus.topic("a").ring_bytes(RING_BYTES).open_or_create().expect("a topic");
    assert_eq!(bus.topics().expect("readable"), ["a", "b"]);
    drop(bus);
    remove(&name);
    assert!(!Bus::list().expect("readable").contains(&name));
    let error = Bus::remove(&name, true).expect_err("it is gone");
    assert!(matches!(error, RemoveError::File(FileError::NotFound(_))), "{error}");
}

#[test]
fn a_topic_made_otherwise_is_refused_with_the_difference() {
    let bus = TestBus::new();
    let made = bus.topic("t").ring_bytes(RING_BYTES).partitions(2).reliable_max(5);
    let made = made.slow_subscriber(SlowSubscriber::EvictAfter(Duration::from_secs(1)));
    let made = made.wake_up(WakeUp::Prompt);
    assert!(matches!(made.open(), Err(TopicError::File(FileError::NotFound(_)))));
    let topic = made.create().expect("a topic");
    assert_eq!(topic.shared_bytes(), made.shared_bytes());
    let again = made.create().expect_err("there is one");
    assert!(matches!(again, TopicError::File(FileError::AlreadyExists(_))), "{again}");
    made.open_or_create().expect("the same");
    let topic = bus.open_topic("t").expect("as it is");
    assert_eq!((topic.ring_bytes(), topic.partitions(), topic.reliable_max()), (RING_BYTES, 2, 5));
    let others = [
        (bus.topic("t").ring_bytes(2 * RING_BYTES), ["ring size", "262144", "not 524288"]),
        (bus.topic("t").partitions(3), ["partitions", " 2", "not 3"]),
        (bus.topic("t").reliable_max(6), ["reliable subscribers", " 5", "not 6"]),
        (bus.topic("t").wake_up(WakeUp::Bounded), ["wake-up", "Prompt", "not Bounded"]),
        (bus.topic("t").slow_subscriber(SlowSubscriber::Wait), ["slow", "EvictAfter", "not Wait"]),
    ];
    for (other, parts) in others {
        for error in [other.open(), other.open_or_create()] {
            let error = error.expect_err("a mismatch");
            assert!(matches!(error, TopicError::Mismatch { .. }), "{error}");
            says(&error, &parts);
            says(error, &["topic t", "open it as it is, or remove the bus"]);
        }
    }
    for ring_bytes in [0, 1, RING_BYTES - 1, RING_BYTES / 2, 3 * RING_BYTES, 128 << 30, 1 << 63] {
        let error = bus.topic("new").ring_bytes(ring_bytes).create().expect_err("no such ring");
        says(error, &["power of two", "256 KiB", "64 GiB"]);
    }
    let error = bus.topic("new").partitions(0).create().expect_err("none");
    says(error, &["give 1 to 1024"]);
    let error = bus.topic("new").partitions(1025).create().expect_err("too many");
    says(error, &["give 1 to 1024"]);
    let error = bus.topic("new").reliable_max(65).create().expect_err("too many");
    says(error, &["give 0 to 64"]);
    assert_eq!(bus.topics().expect("readable"), ["t"]);
}

#[test]
fn files_are_private_to_owner_and_group_unless_told_otherwise() {
    let group = 54_321;
    for (mode, given_group) in [(None, None), (Some(0o664), None), (Some(0o600), Some(group))] {
        let name = TestBus::new_name();
        let mut builder = Bus::builder(&name);
        if let Some(mode) = mode {
            builder = builder.mode(mode);
        }
        if let Some(group) = given_group {
            builder = builder.group(group);
        }
        let bus = match builder.create() {
            Ok(bus) => bus,
            Err(FileError::Denied { .. }) if given_group.is_some() => {
                common::skipped("only root may give files to a group that it is not in");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        bus.topic("t").ring_bytes(RING_BYTES).partitions(2).create().expect("a topic");
        let mode = mode.unwrap_or(0o660);
        let mut files = 0;
        let mut dirs = vec![common::root().join(&name)];
        while let Some(dir) = dirs.pop() {
            let found = dir.metadata().expect("there");
            assert_eq!(found.mode() & 0o777, mode | (mode & 0o444) >> 2, "{}", dir.display());
            assert!(given_group.is_none_or(|group| group == found.gid()), "{}", dir.display());
            for entry in fs::read_dir(dir).expect("readable") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let found = path.metadata().expect("there");
                // Slots can be locked by whoever can open their file: only by those who may write.
                let is_cursors = path.extension().is_some_and(|what| what == "cursors");
                let writers = mode & 0o222;
                let mode = if is_cursors { writers | writers << 1 } else { mode };
                assert_eq!(found.mode() & 0o777, mode, "{}", path.display());
                assert!(given_group.is_none_or(|group| group == found.gid()), "{}", path.display());
                files += 1;
            }
        }
        assert_eq!(files, 1 + 1 + 2 * 5);
        drop(bus);
        remove(&name);
    }
}

/// Removes a bus that nobody uses. A program that another test starts has all descriptors for a
/// moment, until its `exec`: it is waited for.
fn remove(name: &str) {
    let removed = (0..5000).find_map(|_| match Bus::remove(name, false) {
        Err(RemoveError::InUse { .. }) => {
            thread::sleep(Duration::from_millis(1));
            None
        }
        removed => Some(removed),
    });
    removed.expect("nobody is there").expect("may be removed");
}

#[test]
fn a_second_publisher_is_told_who_the_first_one_is() {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(RING_BYTES).partitions(2).create().expect("a topic");
    let mut child = Child::spawn(&format!("publish {} t", bus.name()));
    assert_eq!(child.hear(), "published");
    let refused = topic.publisher(0).expect_err("the child is the publisher");
    assert!(matches!(refused, PublisherError::Busy { pid, .. } if pid == u64::from(child.pid())));
    says(refused, &[&format!("process {}", child.pid()), "topic t", "stop that one first"]);
    assert_eq!(
        topic.stat().expect("readable").partitions[0].publisher_pid,
        Some(child.pid().into())
    );
    topic.publisher(1).expect("another partition is free");
    child.kill();
    assert_eq!(topic.stat().expect("readable").partitions[0].publisher_pid, None);
    let publisher = topic.publisher(0).expect("the first one is dead");
    assert_eq!((publisher.epoch(), publisher.next_offset()), (2, 10));
    let error = topic.publisher(2).expect_err("no such partition");
    says(error, &["no partition 2", "the topic has 2"]);
}

/// Nobody can be made to die between two fragments, with a subscriber where the next one must go:
/// the files are made to look like it.
#[test]
fn a_publisher_opens_at_once_and_its_first_message_waits() {
    const BLOCK_BYTES: usize = 64 << 10;
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(RING_BYTES).create().expect("a topic");
    let open = |name| {
        let path = common::root().join(bus.name()).join("t").join(name);
        File::options().read(true).write(true).open(path).expect("there")
    };
    let (ring, cursors) = (open("0.log"), open("0.cursors"));
    let mut publisher = topic.publisher(0).expect("the first");
    // Each leaves one line of its block.
    for offset in 0..4_u8 {
        publisher.publish(1, &[offset; 65_392 - 64]).expect("room");
    }
    let mut block = vec![0; BLOCK_BYTES];
    ring.read_exact_at(&mut block, 0).expect("readable");
    publisher.publish(1, &[4_u8; 65_393]).expect("room");
    drop(publisher);
    ring.write_all_at(&block, 0).expect("writable");
    let subscribe = topic.subscribe().reliable().start_at(StartAt::Earliest);
    let mut subscriber = subscribe.open().expect("a slot");
    cursors.write_all_at(&[0; 8], 8).expect("writable");

    let mut publisher = topic.publisher(0).expect("it does not wait");
    assert_eq!((publisher.epoch(), publisher.next_offset()), (2, 4));
    assert_eq!(topic.stat().expect("readable").partitions[0].next_offset, 4);
    let refused = publisher.try_publish(1, &[4_u8; 9]).expect_err("a subscriber is in the way");
    assert!(matches!(refused, PublishError::Full(full) if full.slot == Some(0)), "{refused}");
    let mut read = |count| {
        let mut messages = Vec::new();
        while messages.len() < count {
            subscriber.poll(1, |event| match event {
                Event::Message(message) => {
                    messages.push((message.offset, message.payload[0], message.payload.len()));
                }
                Event::Notice(notice) => assert!(!notice.kind.is_final(), "{notice}"),
            });
        }
        messages
    };
    let long = 65_392 - 64;
    assert_eq!(read(3), [(1, 1, long), (2, 2, long), (3, 3, long)]);
    assert_eq!(publisher.publish(1, &[4_u8; 9]), Ok(4));
    assert_eq!(read(1), [(4, 4, 9)]);
}

#[test]
fn the_65th_reliable_subscriber_is_refused() {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(RING_BYTES).create().expect("a topic");
    let mut publisher = topic.publisher(0).expect("the first");
    let open = || topic.subscribe().reliable().open();
    let mut all: Vec<_> = (0..64).map(|_| open().expect("a slot")).collect();
    says(open().expect_err("no slot"), &["64 reliable", "stop one of them, or subscribe lossily"]);
    topic.subscribe().open().expect("a lossy one takes no slot");
    publisher.publish(1, b"all of you").expect("room");
    for subscriber in &mut all {
        assert_eq!(subscriber.poll(10, |event| assert!(matches!(event, Event::Message(_)))), 1);
    }
    assert_eq!(topic.stat().expect("readable").partitions[0].subscribers.len(), 64);
    drop(all.swap_remove(17));
    assert_eq!(topic.stat().expect("readable").partitions[0].subscribers.len(), 63);
    all.push(open().expect("the slot that is free"));
    assert!(matches!(open(), Err(SubscribeError::NoSlot { .. })));
    let none = bus.topic("none").ring_bytes(RING_BYTES).reliable_max(0).create().expect("a topic");
    let error = none.subscribe().reliable().open().expect_err("it admits none");
    assert!(matches!(error, SubscribeError::NoSlot { reliable_max: 0, .. }));
}

#[test]
fn a_bus_in_use_is_removed_by_force_only() {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(RING_BYTES).create().expect("a topic");
    let mut child = Child::spawn(&format!("hold {}", bus.name()));
    assert_eq!(child.hear(), "holding");
    let mut subscriber = topic.subscribe().reliable().open().expect("a slot");
    let mut publisher = topic.publisher(0).expect("the first");
    publisher.publish(1, b"before").expect("room");
    says(Bus::remove(bus.name(), false).expect_err("it is in use"), &["is in use", "or force"]);
    Bus::remove(bus.name(), true).expect("forced");
    assert!(matches!(Bus::open(bus.name()), Err(FileError::NotFound(_))));
    let error = (0..100_000).find_map(|at| publisher.publish(at, &[at; 6]).err());
    assert_eq!(error, Some(PublishError::Closed));
    let mut messages = 0;
    let last = loop {
        match subscriber.receive(None).expect("it is told first") {
            Some(Event::Message(_)) => messages += 1,
            Some(Event::Notice(notice)) => break notice.kind,
            None => {}
        }
    };
    assert_eq!((messages > 0, last), (true, NoticeKind::Closed));
    assert!(subscriber.receive(None).is_err() && subscriber.is_finished());
    assert!(topic.publisher(0).is_err());
    assert!(matches!(
        topic.subscribe().open(),
        Err(SubscribeError::Closed | SubscribeError::Topic(_))
    ));
    // One of the same name is another one.
    let another = Bus::create(bus.name()).expect("the name is free");
    assert!(another.topics().expect("readable").is_empty());
    drop(another);
    // A child that was only there is enough.
    let held = TestBus::new();
    let name = held.name().to_owned();
    let mut child = Child::spawn(&format!("hold {name}"));
    assert_eq!(child.hear(), "holding");
    std::mem::forget(held);
    let refused = Bus::remove(&name, false);
    assert!(matches!(refused, Err(RemoveError::InUse { .. })), "{refused:?}");
    child.kill();
    Bus::remove(&name, true).expect("forced");
}

#[test]
fn the_directory_of_all_buses_is_where_the_variable_says() {
    let bus = TestBus::new();
    let here: PathBuf = common::root().join(bus.name());
    assert!(here.join(".bus").is_file());
}

#[test]
#[ignore = "is run by the others, as a process of its own"]
fn child() {
    let Some(role) = child::begin() else { return };
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    let said = match role[..] {
        ["publish", bus, topic] => {
            let topic = Bus::open(bus).expect("the bus").open_topic(topic).expect("the topic");
            let mut publisher = topic.publisher(0).expect("the first");
            for at in 0..10u64 {
                publisher.publish(at, &at).expect("room");
            }
            child::say("published");
            child::listen();
            return;
        }
        ["hold", bus] => {
            let _bus = Bus::open(bus).expect("the bus");
            child::say("holding");
            child::listen();
            return;
        }
        ["full"] => circumstances::fill_memory(),
        ["nobody", open, closed] => circumstances::be_nobody(open, closed),
        ["mount-huge", place] => huge::mount_huge_pages(place),
        ["huge", place] => huge::use_huge_pages(place),
        ["huge-killed", bus] => {
            huge::be_killed_while_building(bus);
            return;
        }
        ["fork"] => {
            circumstances::fork_with_everything_open();
            Ok(())
        }
        ["fork-anew"] => {
            circumstances::fork_and_open_anew();
            Ok(())
        }
        ["namespace"] => circumstances::fork_in_namespace(),
        ["fork-first"] => {
            circumstances::fork_as_first();
            Ok(())
        }
        _ => panic!("{role:?}: no such role"),
    };
    child::say(&said.err().unwrap_or_else(|| "done".into()));
}
