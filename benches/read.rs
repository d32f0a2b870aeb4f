//! What reading one message of 48 bytes costs. The ring is filled between the turns, which does not
//! count. One thread: what a second core adds is what `tickcast bench` measures.

mod common;

use std::time::{Duration, Instant};

use common::{TURN_BYTES, TemporaryTopic, Words};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tickcast::{Event, Mode, Subscriber};

/// Times `read`, which reads `count` messages that are there.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    mode: Mode,
    mut read: impl FnMut(&mut Subscriber, u64),
) {
    let topic = TemporaryTopic::create();
    let mut publisher = topic.publisher(0).expect("nobody else publishes");
    let mut subscriber = topic.subscribe().mode(mode).open().expect("a slot is free");
    let turn = (TURN_BYTES / 64) as u64;
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let count = left.min(turn);
                for number in 0..count {
                    publisher.publish(number, &[number; 6]).expect("the subscriber keeps up");
                }
                let start = Instant::now();
                read(&mut subscriber, count);
                spent += start.elapsed();
                left -= count;
            }
            spent
        });
    });
    group.finish();
}

/// Polls, and looks at the first and the last byte of each message.
fn poll(subscriber: &mut Subscriber, count: u64) {
    let mut sum = 0_u64;
    let polled = subscriber.poll(count as usize, |event| match event {
        Event::Message(message) => {
            let [first, .., last] = message.payload else { panic!("a message of one byte") };
            sum = sum.wrapping_add(u64::from(first ^ last));
        }
        Event::Notice(notice) => panic!("{notice}"),
    });
    std::hint::black_box(sum);
    assert_eq!(polled as u64, count);
}

/// Polls, and sums the words up.
fn poll_typed(subscriber: &mut Subscriber, count: u64) {
    let mut sum = 0_u64;
    let polled = subscriber.poll(count as usize, |event| match event {
        Event::Message(message) => {
            let words: &Words = message.read().expect("all messages are of this type");
            sum = words.iter().copied().fold(sum, u64::wrapping_add);
        }
        Event::Notice(notice) => panic!("{notice}"),
    });
    std::hint::black_box(sum);
    assert_eq!(polled as u64, count);
}

/// Takes batches, and sums the words up.
fn batch(subscriber: &mut Subscriber, count: u64) {
    let mut sum = 0_u64;
    let mut taken = 0;
    while taken < count {
        for message in subscriber.batch().expect("there is nothing but messages") {
            let words: &Words = message.read().expect("all messages are of this type");
            sum = words.iter().copied().fold(sum, u64::wrapping_add);
            taken += 1;
        }
    }
    std::hint::black_box(sum);
}

fn read(criterion: &mut Criterion) {
    measure(criterion, "poll in place", Mode::Reliable, poll);
    measure(criterion, "poll in place, typed", Mode::Reliable, poll_typed);
    measure(criterion, "batch in place, typed", Mode::Reliable, batch);
    measure(criterion, "poll copied", Mode::Lossy, poll);
    measure(criterion, "poll copied, typed", Mode::Lossy, poll_typed);
    measure(criterion, "batch copied, typed", Mode::Lossy, batch);
}

criterion_group!(benches, read);
criterion_main!(benches);
