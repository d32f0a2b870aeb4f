//! The sequencer: one total order, nothing lost or written twice, wherever it is cut off.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::child::{self, Child, HANGING};
use common::{Random, TestBus};
use tickcast::runtime::Agent;
use tickcast::{
    Bus, Event, LossCause, NoticeKind, Publisher, PublisherError, Sequencer, SequencerError,
    StartAt, Subscriber, Topic,
};

/// How often the sequencer is killed.
const KILLS: u64 = 60;

fn topic(bus: &Bus, name: &str, partitions: u32, ring_bytes: u64) -> Topic {
    bus.topic(name).partitions(partitions).ring_bytes(ring_bytes).create().expect("a new topic")
}

/// Message `offset` of input `input`: what it is can be told from its bytes.
fn payload(input: u64, offset: u64) -> Vec<u8> {
    long_payload(input, offset, 16 + (offset % 97) as usize)
}

fn long_payload(input: u64, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = [input, offset].map(u64::to_le_bytes).concat();
    bytes.resize(length, (input + offset) as u8);
    bytes
}

fn publish(publisher: &mut Publisher, input: u64, count: u64) {
    for _ in 0..count {
        let offset = publisher.next_offset();
        publisher.publish(offset, &payload(input, offset)[..]).expect("the sequencer keeps up");
    }
}

/// Who reads the output: for each input its messages in order, each once; gaps as they are.
struct Audit {
    subscriber: Subscriber,
    /// Offset of the output's next message.
    offset: u64,
    /// Offset of each input's next message.
    next: Vec<u64>,
    /// Whether its messages may have any length.
    is_long: bool,
}

impl Audit {
    fn new(output: &Topic, inputs: usize) -> Audit {
        let subscriber = output.subscribe().reliable().start_at(StartAt::Earliest).open();
        let subscriber = subscriber.expect("a slot is free");
        Audit { subscriber, offset: 0, next: vec![0; inputs], is_long: false }
    }

    /// Reads what there is.
    fn poll(&mut self) {
        let Audit { subscriber, offset, next, is_long } = self;
        let mut handler = |event: Event<'_>| match event {
            Event::Message(message) => {
                assert_eq!(message.offset, *offset, "the output's offsets are dense");
                *offset += 1;
                let word = |at: usize| {
                    u64::from_le_bytes(message.payload[at..at + 8].try_into().expect("8 bytes"))
                };
                let (input, of) = (word(0), word(8));
                let next = &mut next[input as usize];
                assert_eq!(of, *next, "input {input}: lost, repeated or reordered");
                let length =
                    if *is_long { message.payload.len() } else { payload(input, of).len() };
                assert_eq!(message.payload, long_payload(input, of, length), "torn");
                assert_eq!(message.timestamp_ns, of, "the timestamp is the input's");
                *next += 1;
            }
            Event::Notice(notice) => match notice.kind {
                NoticeKind::Lost { from, to, cause } => {
                    assert_eq!(from, *offset);
                    assert_eq!(cause, LossCause::Feed);
                    *offset = to + 1;
                    // Only input 0 has gaps here.
                    next[0] += to - from + 1;
                }
                NoticeKind::PublisherGone | NoticeKind::PublisherBack { .. } => {}
                kind => panic!("{kind}"),
            },
        };
        while subscriber.poll(1000, &mut handler) > 0 {}
    }
}

/// Everything that the output holds.
fn audit(output: &Topic, inputs: usize) -> Vec<u64> {
    let mut audit = Audit::new(output, inputs);
    audit.poll();
    audit.next
}

#[test]
fn partitions_of_several_topics_become_one_order() {
    let bus = TestBus::new();
    let (a, b) = (topic(&bus, "a", 2, 1 << 20), topic(&bus, "b", 1, 1 << 20));
    let output = topic(&bus, "output", 1, 1 << 22);
    let mut publishers = a.publishers().expect("nobody else");
    publishers.push(b.publisher(0).expect("nobody else"));
    let mut sequencer = Sequencer::new(&[&a, &b], &output).expect("a new output");
    for round in 1..50 {
        for (input, publisher) in publishers.iter_mut().enumerate() {
            publish(publisher, input as u64, round * (input as u64 + 1) % 13);
            if input == 0 && round % 7 == 0 {
                let to = publisher.next_offset() + round;
                publisher.try_publish_gap(0, to, LossCause::Feed).expect("there is room");
            }
        }
        while sequencer.poll() > 0 {}
    }
    assert!(sequencer.failure().is_none());
    let published: Vec<u64> = publishers.iter().map(Publisher::next_offset).collect();
    assert_eq!(audit(&output, 3), published);
}

#[test]
fn a_successor_goes_on_wherever_the_last_one_stopped() {
    let bus = TestBus::new();
    let input = topic(&bus, "input", 3, 1 << 22);
    let output = topic(&bus, "output", 1, 1 << 22);
    let mut publishers = input.publishers().expect("nobody else");
    // A subscriber that does not read lets the output run full in the middle of a batch.
    let mut brake = output.subscribe().reliable().open().expect("a slot is free");
    let mut sequencers = 0;
    for round in 0..400 {
        for (index, publisher) in publishers.iter_mut().enumerate() {
            publish(publisher, index as u64, 7 + round % 31);
        }
        let mut sequencer = go_on(&input, &output);
        sequencers += 1;
        for _ in 0..round % 4 {
            sequencer.poll();
        }
        if round % 3 == 0 {
            brake.poll(usize::MAX, |_| ());
        }
    }
    brake.poll(usize::MAX, |_| ());
    drop(brake);
    let mut sequencer = go_on(&input, &output);
    while sequencer.poll() > 0 {}
    assert!(sequencer.failure().is_none());
    assert_eq!(sequencers, 400);
    let published: Vec<u64> = publishers.iter().map(Publisher::next_offset).collect();
    assert_eq!(audit(&output, 3), published);
}

#[test]
fn an_output_of_other_inputs_is_refused() {
    let bus = TestBus::new();
    let (a, b) = (topic(&bus, "a", 1, 1 << 20), topic(&bus, "b", 1, 1 << 20));
    let output = topic(&bus, "output", 1, 1 << 20);
    publish(&mut a.publisher(0).expect("nobody else"), 0, 10);
    while Sequencer::new(&[&a], &output).expect("a new output").poll() > 0 {}
    let refused = Sequencer::new(&[&b], &output).map(drop);
    assert!(matches!(refused, Err(SequencerError::ForeignOutput)), "{refused:?}");

    let plain = topic(&bus, "plain", 1, 1 << 20);
    publish(&mut plain.publisher(0).expect("nobody else"), 0, 1);
    let refused = Sequencer::new(&[&a], &plain).map(drop);
    assert!(matches!(refused, Err(SequencerError::ForeignOutput)), "{refused:?}");

    let small = topic(&bus, "small", 1, 256 << 10);
    let refused = Sequencer::new(&[&a], &small).map(drop);
    assert!(matches!(refused, Err(SequencerError::OutputTooSmall { .. })), "{refused:?}");
}

/// The next sequencer of an output whose last one is gone.
fn go_on(input: &Topic, output: &Topic) -> Sequencer {
    let started = Instant::now();
    loop {
        match Sequencer::new(&[input], output) {
            // A child of another test, between fork and exec, keeps the locks for a moment that
            // this process has given up.
            Err(SequencerError::Publisher(PublisherError::Busy { .. }))
                if started.elapsed() < HANGING =>
            {
                thread::yield_now();
            }
            made => return made.expect("it continues"),
        }
    }
}

/// Reads small messages, whose timestamps say where they come from; returns how many.
fn read_small(subscriber: &mut Subscriber, next: &mut [u64]) -> usize {
    let mut count = 0;
    while subscriber.poll(1000, |event| match event {
        Event::Message(message) => {
            let (input, offset) = (message.timestamp_ns >> 32, message.timestamp_ns & 0xffff_ffff);
            let next = &mut next[input as usize];
            assert_eq!(offset, *next, "input {input}: lost, repeated or reordered");
            assert_eq!(message.payload, [offset as u8]);
            *next += 1;
            count += 1;
        }
        Event::Notice(notice) => {
            assert!(!matches!(notice.kind, NoticeKind::Lost { .. }), "{notice}");
        }
    }) > 0
    {}
    count
}

#[test]
fn a_batch_of_small_messages_does_not_bury_its_list() {
    const INPUTS: u64 = 8;
    const COUNT: u64 = 900;
    for is_read in [true, false] {
        let bus = TestBus::new();
        let input = topic(&bus, "input", INPUTS as u32, 256 << 10);
        let output = topic(&bus, "output", 1, 256 << 10);
        for (index, publisher) in input.publishers().expect("nobody else").iter_mut().enumerate() {
            for at in 0..COUNT {
                publisher.publish((index as u64) << 32 | at, &[at as u8]).expect("room");
            }
        }
        // With a reader the output is full again and again; without, it goes round.
        let mut reader = is_read.then(|| output.subscribe().reliable().open().expect("a slot"));
        let mut next = [0; INPUTS as usize];
        for polls in 1.. {
            let mut sequencer = go_on(&input, &output);
            let count = sequencer.poll();
            assert!(sequencer.failure().is_none(), "{:?}", sequencer.failure());
            let read = reader.as_mut().map_or(0, |reader| read_small(reader, &mut next));
            if count + read == 0 {
                break;
            }
            assert!(polls < INPUTS * COUNT * 2, "it does not get on");
        }
        assert_eq!(output.stat().expect("readable").partitions[0].next_offset, INPUTS * COUNT);
        if is_read {
            assert_eq!(next, [COUNT; INPUTS as usize]);
        }
    }
}

#[test]
fn a_killed_sequencer_loses_and_repeats_nothing() {
    be_killed(1 << 22, 10_000);
}

#[test]
fn a_killed_sequencer_of_small_rings_loses_and_repeats_nothing() {
    // An output that goes round many times in the run.
    be_killed(256 << 10, 300);
}

/// Kills sequencers of three inputs that are at most `ahead_max` messages ahead of the output.
fn be_killed(ring_bytes: u64, ahead_max: u64) {
    let bus = TestBus::new();
    let input = topic(&bus, "input", 3, ring_bytes);
    let output = topic(&bus, "output", 1, ring_bytes);
    let mut publishers = input.publishers().expect("nobody else");
    let mut audit = Audit::new(&output, 3);
    let mut random = Random(common::seed());
    // What was published and not sequenced must stay in the inputs' rings while nobody reads them.
    let publish_some = |publishers: &mut [Publisher], audit: &Audit| {
        for (index, publisher) in publishers.iter_mut().enumerate() {
            if publisher.next_offset() < audit.next[index] + ahead_max {
                publish(publisher, index as u64, 50);
            }
        }
    };
    for _ in 0..KILLS {
        let mut sequencer = Child::spawn(&format!("sequence {}", bus.name()));
        assert_eq!(sequencer.hear(), "sequencing");
        let (before, rounds) = (audit.offset, random.below(200));
        for round in 0.. {
            publish_some(&mut publishers, &audit);
            audit.poll();
            if round >= rounds && audit.offset > before {
                break;
            }
        }
        sequencer.kill();
    }
    let mut sequencer = go_on(&input, &output);
    while sequencer.poll() > 0 {
        audit.poll();
    }
    assert!(sequencer.failure().is_none());
    let published: Vec<u64> = publishers.iter().map(Publisher::next_offset).collect();
    assert_eq!(audit.next, published);
    assert!(audit.offset >= KILLS, "every sequencer did something before it was killed");
}

#[test]
fn a_sequencer_that_dies_again_and_again_in_one_long_message_loses_and_repeats_nothing() {
    die_in_trains(256 << 10, 6);
    // A longer message takes a smaller part of the ring, which more deaths go round.
    die_in_trains(1 << 20, 10);
}

/// Lets `deaths` sequencers in turn die inside each of some messages that are as long as they can
/// be.
fn die_in_trains(ring_bytes: u64, deaths: u64) {
    let bus = TestBus::new();
    let input = topic(&bus, "input", 2, ring_bytes);
    let output = topic(&bus, "output", 1, ring_bytes);
    let mut publishers = input.publishers().expect("nobody else");
    let mut audit = Audit { is_long: true, ..Audit::new(&output, 2) };
    let length = output.message_bytes_max();
    // Where in the message: always in its last page, or now early, now late.
    for step in [0, 0, 4096, 12_288, 28_672, 45_056] {
        for index in [0, 1] {
            let publisher = &mut publishers[index];
            let long = long_payload(index as u64, publisher.next_offset(), length as usize);
            publisher.publish(publisher.next_offset(), &long[..]).expect("nobody is in the way");
            // With more than the long message to do, the batch and its rest have several runs.
            publish(&mut publishers[1 - index], 1 - index as u64, step % 3);
            let before = audit.next[index];
            for death in 0..deaths {
                let ahead = length - step * death % length;
                let mut sequencer = Child::spawn(&format!("die {} {ahead}", bus.name()));
                assert_eq!(sequencer.hear_or_end(), None, "it comes to its end");
                let status = sequencer.end().expect("it has ended");
                assert_eq!(child::signal_of(status), Some(libc::SIGKILL), "{status}");
                audit.poll();
                assert_eq!(audit.next[index], before, "it died inside the message");
            }
            let mut sequencer = go_on(&input, &output);
            while sequencer.poll() > 0 {
                audit.poll();
            }
            assert!(sequencer.failure().is_none(), "{:?}", sequencer.failure());
            let published: Vec<u64> = publishers.iter().map(Publisher::next_offset).collect();
            assert_eq!(audit.next, published);
        }
    }
}

/// The process that sequences until it is about to write `ahead` bytes behind the output's end, and
/// is killed there.
fn die_in_child(bus: &str, ahead: &str) {
    extern "C" fn killed(_: libc::c_int) {
        // SAFETY: takes no pointer, and is among what a signal handler may call.
        unsafe { libc::raise(libc::SIGKILL) };
    }
    let bus = Bus::open(bus).expect("the bus is there");
    let [input, output] =
        ["input", "output"].map(|name| bus.open_topic(name).expect("the topic is there"));
    let mut sequencer = go_on(&input, &output);
    let position = output.stat().expect("readable").partitions[0].position;
    let at = (position + ahead.parse::<u64>().expect("a number")) % output.ring_bytes();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
    let is_ring = |line: &&str| line.ends_with("/output/0.log") && line.contains(" rw-s ");
    let line = maps.lines().find(is_ring).expect("the sequencer has mapped the output");
    let (start, _) = line.split_once('-').expect("an address range");
    let start = usize::from_str_radix(start, 16).expect("a hexadecimal number");
    let handler = killed as extern "C" fn(libc::c_int);
    // SAFETY: the handler is a function that lives as long as the process.
    unsafe { libc::signal(libc::SIGSEGV, handler as libc::sighandler_t) };
    let page = (start + at as usize) & !4095;
    // SAFETY: takes nothing away but the leave to store there, and a store ends this process.
    let protected = unsafe { libc::mprotect(page as *mut libc::c_void, 4096, libc::PROT_READ) };
    assert_eq!(protected, 0, "{}", std::io::Error::last_os_error());
    while sequencer.poll() > 0 {}
    panic!("it is to die before: {:?}", sequencer.failure());
}

/// The process that sequences until it is killed.
fn sequence_in_child(bus: &str) {
    let bus = Bus::open(bus).expect("the bus is there");
    let [input, output] =
        ["input", "output"].map(|name| bus.open_topic(name).expect("the topic is there"));
    let mut sequencer = go_on(&input, &output);
    child::say("sequencing");
    loop {
        if sequencer.poll() == 0 {
            thread::sleep(Duration::from_micros(100));
        }
        assert!(sequencer.failure().is_none());
    }
}

#[test]
#[ignore = "what this program's children do"]
fn child() {
    let Some(role) = child::begin() else { return };
    match &role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["sequence", bus] => sequence_in_child(bus),
        ["die", bus, ahead] => die_in_child(bus, ahead),
        role => panic!("no role: {role:?}"),
    }
}
