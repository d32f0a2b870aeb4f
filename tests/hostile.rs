//! Files that are damaged, foreign or made to deceive: whoever opens them gets an error, a notice or
//! the right data, and never a signal, a panic, an endless wait or bytes that nobody published.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tickcast::{Bus, Event, NoticeKind, SlowSubscriber, StartAt, SubscribeError, Subscriber, Topic};

use common::audit::timestamp_of;
use common::child::{self, Child};
use common::payload::{is_payload, length_of, payload};
use common::{Random, TestBus};

const RING_BYTES: u64 = 256 << 10;
const BLOCK_BYTES: u64 = 64 << 10;
const FILES: [&str; 5] = ["topic", "0.log", "0.publisher", "0.control", "0.cursors"];

/// Byte of the publisher page where the end of the reserved blocks stands.
const RESERVED: u64 = 8 * 8;

/// A bus whose topic has gone round some times and has no publisher.
fn sound_bus() -> TestBus {
    let bus = TestBus::new();
    for (name, slow) in [
        ("t", SlowSubscriber::Wait),
        ("evict", SlowSubscriber::EvictAfter(Duration::from_millis(5))),
    ] {
        let topic = bus.topic(name).ring_bytes(RING_BYTES).slow_subscriber(slow).create();
        let topic = topic.expect("a topic");
        let mut publisher = topic.publisher(0).expect("the first");
        for offset in 0..3000 {
            let bytes = payload(0, offset, length_of(offset, topic.message_bytes_max()));
            publisher.publish(timestamp_of(offset), &bytes[..]).expect("room");
        }
    }
    bus
}

/// Does everything that can be done with a topic and tells what came of it. Whatever is handed out
/// as a message was published, unless the bytes of the ring were changed.
fn try_everything(bus: &str, topic: &str, is_ring_sound: bool) -> String {
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
    let mut subscribers: Vec<(u64, Subscriber)> = Vec::new();
    let bytes_max = topic.message_bytes_max();
    let read = |subscribers: &mut Vec<(u64, Subscriber)>, outcome: &mut Vec<String>| {
        for (seen, subscriber) in subscribers {
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
                Ok(subscriber) => subscribers.push((0, subscriber)),
                Err(SubscribeError::Topic(error)) => outcome.push(format!("subscribe: {error}")),
                Err(error) => outcome.push(format!("subscribe: {error}")),
            }
        }
    }
    read(&mut subscribers, &mut outcome);
    outcome.extend(publish(&topic));
    // Those who only look are enough for what was published.
    subscribers.iter_mut().for_each(|(seen, _)| *seen = 0);
    read(&mut subscribers, &mut outcome);
    outcome.dedup();
    outcome.join(", ")
}

/// Takes over and publishes, without waiting for anyone.
fn publish(topic: &Topic) -> Vec<String> {
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
struct Trier(Child);

impl Trier {
    fn new() -> Trier {
        Trier(Child::spawn("try"))
    }

    /// Tells a child to try, and waits for what it says: within a time that only hanging takes.
    fn try_everything(&mut self, bus: &TestBus, topic: &str, is_ring_sound: bool, what: &str) -> String {
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
struct Originals(Vec<(PathBuf, Vec<u8>)>);

impl Originals {
    fn of(bus: &TestBus, topic: &str) -> Originals {
        let paths = FILES.map(|file| bus.file(topic, file));
        Originals(paths.map(|path| (path.clone(), fs::read(path).expect("readable"))).into())
    }

    fn restore(&self) {
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
}

#[test]
fn a_sound_topic_gives_no_error() {
    let bus = sound_bus();
    for topic in ["t", "evict"] {
        let said = Trier::new().try_everything(&bus, topic, true, "sound");
        assert!(!said.contains("damaged") && said.contains("published 100"), "{said}");
    }
}

#[test]
fn truncated_and_extended_files_are_refused() {
    let bus = sound_bus();
    let originals = Originals::of(&bus, "t");
    let mut trier = Trier::new();
    for (file, (path, bytes)) in FILES.into_iter().zip(&originals.0) {
        let length = bytes.len() as u64;
        for cut in [0, 1, 7, 8, 79, 335, 4095, 4096, length / 2, length - 1, length + 1, 2 * length] {
            // A longer topic file is one of ours with something behind it.
            if cut == length || file == "topic" && cut > length {
                continue;
            }
            File::options().write(true).open(path).expect("there").set_len(cut).expect("room");
            let what = format!("{file} with {cut} bytes");
            let said = trier.try_everything(&bus, "t", true, &what);
            let is_refused = said.contains("does not belong to this topic")
                || said.contains(&format!("has {cut} bytes instead of {length}"));
            assert!(is_refused && said.contains("remove the bus"), "{what}: {said}");
            originals.restore();
        }
    }
}

#[test]
fn foreign_versions_and_magic_numbers_are_refused() {
    let bus = sound_bus();
    let originals = Originals::of(&bus, "t");
    let mut trier = Trier::new();
    let cases: [(usize, u64, &[u8], &str); 10] = [
        (0, 0, b"NOTATOPC", "does not belong to this topic"),
        (0, 8, &[9, 0, 0, 0], "has layout version 9, this program knows 1: use the version"),
        (0, 12, &[0, 0, 0, 0], "does not belong"),
        (0, 12, &[0xff; 4], "does not belong"),
        (0, 16, &[0xff; 16], "does not belong"),
        (0, 32, &[1, 0, 0], "does not belong"),
        (0, 40, &[0xff; 4], "does not belong"),
        (2, 0, b"X", "does not belong"),
        (2, 8, b"X", "does not belong"),
        (3, 0, b"X", "does not belong"),
    ];
    for (file, at, bytes, expected) in cases {
        let path = &originals.0[file].0;
        File::options().write(true).open(path).expect("there").write_all_at(bytes, at).expect("room");
        let what = format!("{} at {at}: {bytes:?}", FILES[file]);
        let said = trier.try_everything(&bus, "t", true, &what);
        assert!(said.contains(expected), "{what}: {said}");
        originals.restore();
    }
    // Another topic's files of the same size.
    for file in ["0.publisher", "0.control"] {
        fs::copy(bus.file("evict", file), bus.file("t", file)).expect("room");
        let said = trier.try_everything(&bus, "t", true, file);
        assert!(said.contains("does not belong"), "{file}: {said}");
        originals.restore();
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let bus = sound_bus();
    let originals = Originals::of(&bus, "t");
    let mut trier = Trier::new();
    let kinds: [(&str, fn(&Path)); 5] = [
        ("a link", |path| {
            let aside = path.with_extension("aside");
            let _ = fs::remove_file(&aside);
            fs::rename(path, &aside).expect("renamed");
            symlink(&aside, path).expect("a link");
        }),
        ("a broken link", |path| {
            fs::remove_file(path).expect("removed");
            symlink("/nowhere", path).expect("a link");
        }),
        ("a FIFO", |path| {
            fs::remove_file(path).expect("removed");
            assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
        }),
        ("a directory", |path| {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("a directory");
        }),
        ("nothing", |path| fs::remove_file(path).expect("removed")),
    ];
    for (file, (path, _)) in FILES.into_iter().zip(&originals.0) {
        for (kind, put) in kinds {
            put(path);
            let what = format!("{kind} in place of {file}");
            let said = trier.try_everything(&bus, "t", true, &what);
            let expected =
                if kind == "nothing" { "does not exist" } else { "is not a regular file" };
            assert!(said.contains(expected), "{what}: {said}");
            let (where_it_was, _) = originals.0.iter().find(|(found, _)| found == path).expect("it");
            assert_eq!(where_it_was, path);
            originals.restore();
        }
    }
    // And the bus can be removed all the same.
    fs::remove_dir_all(bus.file("t", "")).expect("removed");
    symlink("/nowhere", bus.file("t", "").to_str().expect("text").trim_end_matches('/'))
        .expect("a link");
    fs::write(bus.file("file", "").to_str().expect("text").trim_end_matches('/'), b"x")
        .expect("room");
    Bus::remove(bus.name(), true).expect("removed");
}

/// The commit word of a frame.
fn commit_word(offset: u64, length: u64, kind: u64) -> u64 {
    (offset + 1) & 0xffff_ffff | (length & 0xff_ffff) << 32 | (kind & 0xf) << 56
}

/// Places in the files that mean something, and what a liar would write there.
fn craft(random: &mut Random, files: &mut [Vec<u8>]) -> String {
    let pick = |random: &mut Random, from: &[u64]| from[random.below(from.len() as u64) as usize];
    let wild = [0, 1, 2, 63, 64, 65, 1 << 16, (1 << 16) - 64, 1 << 18, 1 << 32, 1 << 62, 1 << 63, u64::MAX];
    let reserved = u64::from_le_bytes(files[2][64..72].try_into().expect("a word"));
    let near = reserved.wrapping_add(BLOCK_BYTES.wrapping_mul(random.below(9).wrapping_sub(4)));
    let any = random.next();
    let value = match random.below(4) {
        0 => pick(random, &wild),
        1 => any,
        2 => near,
        _ => near / BLOCK_BYTES + random.below(3),
    };
    let mut put = |file: usize, at: u64, value: u64| {
        files[file][at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
        format!("{} at {at}: {value:#x}", FILES[file])
    };
    let block = random.below(RING_BYTES / BLOCK_BYTES) * BLOCK_BYTES;
    match random.below(8) {
        // A header's field, or the first bytes of its block.
        0 | 1 => put(1, block + 8 * random.below(8), value),
        // A frame that was or was not one.
        2 | 3 => {
            let at = block + 128 + 64 * random.below(1022);
            let offset = 2000 + random.below(1000);
            let length = match random.below(3) {
                0 => random.below(200),
                1 => random.below(70_000),
                _ => any,
            };
            put(1, at, commit_word(offset, length, random.below(16)))
        }
        // The first frame of a block, with the offset that is due.
        4 => {
            let first = &files[1][block as usize + 32..block as usize + 40];
            let offset = u64::from_le_bytes(first.try_into().expect("a word"));
            let word = commit_word(offset, pick(random, &[0, 7, 24, 48, 65_392, 65_393, any]), 1 + any % 8);
            put_word(files, block + 128, word)
        }
        5 => put(2, RESERVED, value),
        6 => put(2, 24 + 8 * random.below(93), value),
        _ => {
            if random.below(2) == 0 {
                put(3, 64 * (1 + random.below(2)), value)
            } else {
                put(4, 4096 * random.below(6) + 8 * random.below(7), value)
            }
        }
    }
}

fn put_word(files: &mut [Vec<u8>], at: u64, word: u64) -> String {
    files[1][at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
    format!("0.log at {at}: {word:#x}")
}

fn write_all(originals: &Originals, files: &[Vec<u8>]) {
    for ((path, _), bytes) in originals.0.iter().zip(files) {
        fs::write(path, bytes).expect("room");
    }
}

#[test]
fn crafted_bytes_are_told_or_harmless() {
    let mut random = Random(common::seed());
    let bus = sound_bus();
    let mut trier = Trier::new();
    let mut outcomes = std::collections::BTreeMap::<String, u32>::new();
    let started = Instant::now();
    for topic in ["t", "evict"] {
        let originals = Originals::of(&bus, topic);
        for _ in 0..250 {
            let mut files: Vec<_> = originals.0.iter().map(|(_, bytes)| bytes.clone()).collect();
            let changes: Vec<_> =
                (0..1 + random.below(4)).map(|_| craft(&mut random, &mut files)).collect();
            write_all(&originals, &files);
            let said = trier.try_everything(&bus, topic, false, &changes.join(", "));
            for said in said.split(", ").filter(|said| said.starts_with("damaged")) {
                *outcomes.entry(said.to_owned()).or_default() += 1;
            }
        }
        originals.restore();
    }
    println!("{outcomes:#?} in {:?}", started.elapsed());
    assert!(!outcomes.is_empty(), "no damage was ever found");
}

#[test]
fn random_bytes_are_told_or_harmless() {
    let mut random = Random(common::seed());
    let bus = sound_bus();
    let originals = Originals::of(&bus, "t");
    let mut trier = Trier::new();
    for round in 0..60 {
        let mut files: Vec<_> = originals.0.iter().map(|(_, bytes)| bytes.clone()).collect();
        let file = round % FILES.len();
        // All of it, or what lies behind the magic and the id.
        let start = [0, 40][round / FILES.len() % 2];
        for chunk in files[file][start..].chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
        write_all(&originals, &files);
        let said = trier.try_everything(&bus, "t", false, FILES[file]);
        if FILES[file] == "topic" && start == 0 {
            assert!(said.contains("does not belong"), "{said}");
        }
    }
}

/// Cases that would make a reader go round and round.
#[test]
fn blocks_that_contradict_the_reservation_end_no_reader_in_a_loop() {
    let bus = sound_bus();
    for topic in ["t", "evict"] {
        let originals = Originals::of(&bus, topic);
        let word = |bytes: &[u8], at: u64| {
            u64::from_le_bytes(bytes[at as usize..at as usize + 8].try_into().expect("a word"))
        };
        let mut trier = Trier::new();
        for back in 0..4 {
            for ahead in [1, 2, 3, 4, 5, 6, 7, 8, 11, 12] {
                let mut files: Vec<_> = originals.0.iter().map(|(_, bytes)| bytes.clone()).collect();
                let newest = word(&files[2], RESERVED) / BLOCK_BYTES - 1;
                let number = newest - back + ahead;
                // A block from the future, in its proper place.
                let at = number % 4 * BLOCK_BYTES;
                files[1][at as usize + 24..at as usize + 32]
                    .copy_from_slice(&(number + 1).to_le_bytes());
                write_all(&originals, &files);
                let what = format!("block {number} where {newest} is the newest");
                trier.try_everything(&bus, topic, false, &what);
            }
        }
        originals.restore();
    }
}

#[test]
#[ignore = "is run by the others, as a process of its own"]
fn child() {
    if child::begin().is_none() {
        return;
    }
    while let Some(line) = child::listen() {
        let words: Vec<_> = line.split(' ').collect();
        let [bus, topic, is_ring_sound] = words[..] else { panic!("{line}") };
        child::say(&try_everything(bus, topic, is_ring_sound == "true").replace('\n', " "));
    }
}
