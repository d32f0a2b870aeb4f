//! Real market data through a topic, to subscribers here and in a child, byte for byte. The data
//! lie beside the workspace, in `../shared/data`; where they are not, a line says so.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use tickcast::{Bus, Event, Replay, StartAt, Subscriber, Topic};

use common::TestBus;
use common::child::{self, Child};
use common::journal::journaled;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data")
}

/// The messages of a file of u16 big-endian lengths, each with that many bytes behind it (Nasdaq's
/// BinaryFILE).
fn binary_file(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut messages = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (message, behind) = behind.split_at(u16::from_be_bytes(*length).into());
        messages.push(message.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty(), "half a length at the end");
    messages
}

/// The captured packets of a classic pcap file (draft-ietf-opsawg-pcap); `None` where it is another
/// format.
fn pcap(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (magic, _) = bytes.split_first_chunk()?;
    let is_little = match u32::from_le_bytes(*magic) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => true,
        0xd4c3_b2a1 | 0x4d3c_b2a1 => false,
        _ => return None,
    };
    let mut rest = bytes.get(24..)?;
    let mut packets = Vec::new();
    while rest.len() >= 16 {
        let captured = rest[8..12].try_into().expect("four bytes");
        let captured =
            if is_little { u32::from_le_bytes(captured) } else { u32::from_be_bytes(captured) };
        let end = 16 + captured as usize;
        packets.push(rest.get(16..end)?.to_vec());
        rest = &rest[end..];
    }
    Some(packets)
}

/// The pcap files below `dir`, sorted.
fn pcap_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(pcap_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "pcap") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Messages from the files that are there.
fn messages(name: &str) -> Vec<Vec<u8>> {
    if name == "itch" {
        fs::read(data().join("itch/sample.itch"))
            .map(|bytes| binary_file(&bytes))
            .unwrap_or_default()
    } else {
        let files = pcap_files(&data().join("omi"));
        let read = |path: &PathBuf| pcap(&fs::read(path).expect("readable"));
        files.iter().filter_map(read).flatten().collect()
    }
}

/// Reads as many messages as there are and compares.
fn compare(subscriber: &mut Subscriber, expected: &[Vec<u8>], rounds: usize) {
    for round in 0..rounds {
        for (at, expected) in expected.iter().enumerate() {
            match subscriber.receive(None).expect("not finished") {
                Some(Event::Message(message)) => {
                    assert_eq!(message.timestamp_ns, at as u64);
                    assert!(message.payload == expected, "message {at} of round {round}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn subscribe(topic: &Topic) -> Subscriber {
    topic.subscribe().reliable().start_at(StartAt::Earliest).open().expect("a slot")
}

fn through_a_topic(name: &str, rounds: usize) {
    let expected = messages(name);
    if expected.is_empty() {
        common::skipped(format_args!("there is no {name} data in {}", data().display()));
        return;
    }
    let bus = TestBus::new();
    let topic = bus.topic(name).ring_bytes(256 << 10).create().expect("a topic");
    let mut here = subscribe(&topic);
    let mut there = Child::spawn(&format!("{} {name} {rounds}", bus.name()));
    assert_eq!(there.hear(), "subscribed");
    let mut publisher = topic.publisher(0).expect("the first");
    std::thread::scope(|scope| {
        scope.spawn(|| compare(&mut here, &expected, rounds));
        for _ in 0..rounds {
            for (at, message) in expected.iter().enumerate() {
                publisher.publish(at as u64, &message[..]).expect("the bus lives");
            }
        }
    });
    assert_eq!(there.hear(), "the same");
    there.finish();
    let bytes: usize = expected.iter().map(Vec::len).sum();
    println!("{name}: {rounds} times {} messages, {bytes} bytes", expected.len());
}

#[test]
fn itch_messages_arrive_as_they_are() {
    through_a_topic("itch", 20);
}

#[test]
fn captured_packets_arrive_as_they_are() {
    through_a_topic("omi", 20);
}

#[test]
fn journaled_data_are_replayed_as_they_were() {
    const ROUNDS: usize = 20;
    for name in ["itch", "omi"] {
        let expected = messages(name);
        if expected.is_empty() {
            common::skipped(format_args!("there is no {name} data in {}", data().display()));
            continue;
        }
        let bus = TestBus::new();
        let topic = bus.topic(name).ring_bytes(256 << 10).create().expect("a topic");
        let files = tempfile::tempdir().expect("a directory");
        let journal = topic.journal(files.path()).segment_bytes(1 << 20).open();
        journaled(journal.expect("a journal"), || {
            let mut publisher = topic.publisher(0).expect("the first");
            for _ in 0..ROUNDS {
                for (at, message) in expected.iter().enumerate() {
                    publisher.publish(at as u64, &message[..]).expect("the bus lives");
                }
            }
        });
        let mut rest = (0..ROUNDS).flat_map(|_| expected.iter().enumerate());
        let replay = Replay::open(files.path().join(name)).expect("a journal");
        let counters = replay.run(|event| {
            let Event::Message(message) = event else { panic!("{event:?}") };
            let (at, expected) = rest.next().expect("no more than were published");
            assert_eq!(message.timestamp_ns, at as u64);
            assert!(message.payload == expected, "message {}", message.offset);
        });
        assert_eq!(counters.expect("readable").messages as usize, ROUNDS * expected.len());
    }
}

#[test]
#[ignore = "is run by the others, as a process of its own"]
fn child() {
    let Some(role) = child::begin() else { return };
    let [bus, name, rounds] = &role[..] else { panic!("{role:?}") };
    let topic = Bus::open(bus).expect("the bus").open_topic(name).expect("the topic");
    let mut subscriber = subscribe(&topic);
    child::say("subscribed");
    compare(&mut subscriber, &messages(name), rounds.parse().expect("a number"));
    child::say("the same");
}
