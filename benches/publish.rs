//! What publishing one message costs, with a subscriber that drains the ring between the turns.
//! One thread: what a second core adds is what `tickcast bench` measures.

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::{TURN_BYTES, TemporaryTopic, drain};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tickcast::{Publisher, Subscriber};

/// Messages that `publish_batch` gets at once.
const BATCH: usize = 16;

/// Times `publish`, which publishes `step` messages of `length` bytes, with pauses to drain that do
/// not count.
fn measure(
    criterion: &mut Criterion,
    (name, length, step): (&str, usize, usize),
    mut publish: impl FnMut(&mut Publisher),
) {
    let topic = TemporaryTopic::create();
    let mut publisher = topic.publisher(0).expect("nobody else publishes");
    let mut subscriber = topic.subscribe().reliable().open().expect("a slot is free");
    let turn = (TURN_BYTES / (step * (length + 64))).max(1) as u64;
    let mut group = criterion.benchmark_group("publish");
    group.throughput(Throughput::Elements(step as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            time_turns(&mut subscriber, iterations, turn, || publish(&mut publisher))
        });
    });
    group.finish();
}

fn time_turns(
    subscriber: &mut Subscriber,
    iterations: u64,
    turn: u64,
    mut publish: impl FnMut(),
) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let count = left.min(turn);
        let start = Instant::now();
        for _ in 0..count {
            publish();
        }
        spent += start.elapsed();
        left -= count;
        drain(subscriber);
    }
    spent
}

fn publish(criterion: &mut Criterion) {
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    measure(criterion, ("typed, 48 bytes", 48, 1), |publisher| {
        let number = next();
        publisher.publish(number, black_box(&[number; 6])).expect("it is drained");
    });
    for length in [48, 112, 1024, 16 * 1024] {
        let payload = vec![7_u8; black_box(length)];
        measure(criterion, (&format!("slice, {length} bytes"), length, 1), |publisher| {
            publisher.publish(next(), &payload[..]).expect("it is drained");
        });
    }
    measure(criterion, ("claim, 48 bytes", 48, 1), |publisher| {
        let number = next();
        let mut claim = publisher.claim(48).expect("it is drained");
        claim.put(0, black_box(&[number; 6]));
        claim.commit(number);
    });
    let payloads = [[7_u64; 6]; BATCH];
    measure(criterion, ("batch of 16, 48 bytes", 48, BATCH), |publisher| {
        let number = next();
        let batch: [(u64, &[u64; 6]); BATCH] =
            std::array::from_fn(|at| (number, &black_box(&payloads)[at]));
        publisher.publish_batch(&batch).expect("it is drained");
    });
}

criterion_group!(benches, publish);
criterion_main!(benches);
