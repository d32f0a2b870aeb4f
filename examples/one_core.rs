//! Publishes and reads ticks in turn on one core, with nobody else: what each side costs by itself,
//! and where its instructions are to be counted.
//!
//! ```console
//! $ cargo run --release --example one_core -- batch 10000   # or: one
//! $ valgrind --tool=callgrind target/release/examples/one_core batch 512   # and 1024
//! ```
use std::env;
use std::error::Error;
use std::process;
use std::time::Instant;

use tickcast::{Bus, Event, Subscriber};

type Tick = [u64; 6];

/// Messages of a batch, and batches before they are read.
const BATCH: usize = 16;
const BATCHES: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: one_core batch|one ROUNDS";
    let (is_batch, rounds) = match &env::args().skip(1).collect::<Vec<_>>()[..] {
        [how, rounds] if how == "batch" || how == "one" => (how == "batch", rounds.parse::<u64>()?),
        _ => return Err(usage.into()),
    };
    let name = format!("one-core-{}", process::id());
    let bus = Bus::create(&name)?;
    let topic = bus.topic("ticks").ring_bytes(256 << 10).create()?;
    let (mut publisher, mut subscriber) = (topic.publisher(0)?, topic.subscribe().open()?);
    let ticks: Vec<Tick> = (0..BATCH as u64).map(|at| [at; 6]).collect();
    let (mut publishing_ns, mut reading_ns, mut read) = (0, 0, 0);
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..BATCHES {
            if is_batch {
                let batch: [(u64, &Tick); BATCH] = std::array::from_fn(|at| (1, &ticks[at]));
                publisher.publish_batch(&batch)?;
            } else {
                for tick in &ticks {
                    publisher.publish(1, tick)?;
                }
            }
        }
        publishing_ns += start.elapsed().as_nanos();
        let start = Instant::now();
        read += read_all(&mut subscriber);
        reading_ns += start.elapsed().as_nanos();
    }
    let each_ns = |ns: u128| ns as f64 / read.max(1) as f64;
    println!("publishing {:.2} ns, reading {:.2} ns", each_ns(publishing_ns), each_ns(reading_ns));
    drop((publisher, subscriber, topic, bus));
    Bus::remove(&name, false)?;
    Ok(())
}

/// Looks at every word of all messages that are there; returns how many.
fn read_all(subscriber: &mut Subscriber) -> u64 {
    let (mut read, mut sum) = (0, 0_u64);
    while subscriber.poll(256, |event| {
        if let Event::Message(message) = event
            && let Ok(tick) = message.read::<Tick>()
        {
            sum = tick.iter().fold(sum, |sum, word| sum.wrapping_add(*word));
            read += 1;
        }
    }) > 0
    {}
    std::hint::black_box(sum);
    read
}
