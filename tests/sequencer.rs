//! The sequencer: one total order, nothing lost or written twice, wherever it is cut off.

use std::sync::OnceLock;

use tempfile::TempDir;
use tickcast::runtime::Agent;
use tickcast::{
    Bus, Event, LossCause, NoticeKind, Publisher, Sequencer, SequencerError, StartAt, Topic,
};

/// All tests of this binary share one directory, as the environment is the process's.
fn bus(name: &str) -> Bus {
    static ROOT: OnceLock<TempDir> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = tempfile::tempdir_in("/dev/shm").expect("/dev/shm can be written to");
        // SAFETY: before any test of this binary reads the environment: they all come by here
        // first, and wait for it.
        unsafe { std::env::set_var("TICKCAST_DIR", root.path()) };
        root
    });
    Bus::create(name).expect("the name is used once")
}

fn topic(bus: &Bus, name: &str, partitions: u32, ring_bytes: u64) -> Topic {
    bus.topic(name).partitions(partitions).ring_bytes(ring_bytes).create().expect("a new topic")
}

/// Message `offset` of input `input`: what it is can be told from its bytes.
fn payload(input: u64, offset: u64) -> Vec<u8> {
    let mut bytes = [input, offset].map(u64::to_le_bytes).concat();
    bytes.resize(16 + (offset % 97) as usize, input as u8);
    bytes
}

fn publish(publisher: &mut Publisher, input: u64, count: u64) {
    for _ in 0..count {
        let offset = publisher.next_offset();
        publisher.publish(offset, &payload(input, offset)[..]).expect("the sequencer keeps up");
    }
}

/// Reads the whole output: for each input its messages in order, each once; gaps as they are.
fn audit(output: &Topic, inputs: usize) -> Vec<u64> {
    let mut next = vec![0; inputs];
    let mut subscriber =
        output.subscribe().start_at(StartAt::Earliest).open().expect("it is there");
    let mut offset = 0;
    while subscriber.poll(1000, |event| match event {
        Event::Message(message) => {
            assert_eq!(message.offset, offset, "the output's offsets are dense");
            offset += 1;
            let word =
                |at: usize| u64::from_le_bytes(message.payload[at..at + 8].try_into().unwrap());
            let (input, of) = (word(0), word(8));
            assert_eq!(of, next[input as usize], "input {input}: lost, repeated or reordered");
            assert_eq!(message.payload, payload(input, of), "torn");
            assert_eq!(message.timestamp_ns, of, "the timestamp is the input's");
            next[input as usize] += 1;
        }
        Event::Notice(notice) => match notice.kind {
            NoticeKind::Lost { from, to, cause } => {
                assert_eq!(from, offset);
                assert_eq!(cause, LossCause::Feed);
                offset = to + 1;
                // Only input 0 has gaps here.
                next[0] += to - from + 1;
            }
            kind => panic!("{kind}"),
        },
    }) > 0
    {}
    next
}

#[test]
fn partitions_of_several_topics_become_one_order() {
    let bus = bus("merge");
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
    let bus = bus("successor");
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
        let mut sequencer = Sequencer::new(&[&input], &output).expect("it continues");
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
    let mut sequencer = Sequencer::new(&[&input], &output).expect("it continues");
    while sequencer.poll() > 0 {}
    assert!(sequencer.failure().is_none());
    assert_eq!(sequencers, 400);
    let published: Vec<u64> = publishers.iter().map(Publisher::next_offset).collect();
    assert_eq!(audit(&output, 3), published);
}

#[test]
fn an_output_of_other_inputs_is_refused() {
    let bus = bus("foreign");
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
