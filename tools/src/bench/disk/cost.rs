//! What the journal costs the publisher at a steady rate, beside one reliable reader that looks at
//! every line of each message: both run on the other core and read what the publisher's has
//! written.
use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tickcast::runtime::Agent;
use tickcast::{Event, PublishError, Publisher, Subscriber, SyncPolicy};

use super::Setup;
use super::far_core::{AgentId, Crew, FarCore};
use super::goals::COST_GOALS;
use super::recording::{Old, Recording};
use super::trial::{Found, Trial};
use tickcast_harness::clock::Clock;
use tickcast_harness::message::{Payloads, Words, sum};
use tickcast_harness::statistics::{Percentile, Samples};
use tickcast_harness::verdict::Judged;

/// Messages that are timed together: to read the clock takes longer than to publish one.
const BATCH: u64 = 64;

/// The rings' size: more than the second-level cache, and soon written once.
const RING_BYTES: u64 = 8 << 20;
/// Bytes of log that a message takes.
const MESSAGE_BYTES: u64 = 64;

/// How long a block takes, and the beginning of it that does not count.
const BLOCK: Duration = Duration::from_millis(100);
const WARM_UP_BATCHES: u64 = 16;

/// One in so many batches, the slowest, is left out of the mean: in these the core did something
/// else. Every sixteenth enters a block of the log, which stays in.
const SLOW_ONE_IN: u64 = 100;

/// Most messages that the reader is handed at once.
const POLL_LIMIT: usize = 256;

/// What the figures of a block are.
pub(crate) const COST_COLUMNS: [&str; 4] =
    ["x one reader", "ns a message", "p50 of batches, ns", "full waits"];

/// The rates at which messages are published, each with the names of its contenders: the reader
/// comes first.
const RATES: [(u64, [&str; 2]); 2] = [
    (1_000_000, ["reader, 1 M/s", "journal, 1 M/s"]),
    (200_000, ["reader, 200 k/s", "journal, 200 k/s"]),
];

/// What publishing a block cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    messages: u64,
    /// Of a message, without the clock's cost and the slowest batches.
    mean_ns: f64,
    p50_ns: Option<f64>,
    full_waits: u64,
}

/// A publisher whose topic is read, and one whose topic is journaled.
pub(super) struct Publishers([(Publisher, AgentId); 2]);

impl Publishers {
    /// # Errors
    /// When shared memory or the disk is full.
    pub(super) fn begin(setup: &Setup, crew: &mut Crew) -> Result<Self> {
        let Setup { bus, place, .. } = setup;
        let (recording, journal) =
            Recording::begin(bus, place, "journaled", RING_BYTES, SyncPolicy::None, Old::Recycled)?;
        let topic = bus.create_topic("read", RING_BYTES)?;
        let subscriber = topic.subscribe().reliable().open().context("cannot subscribe")?;
        let publisher = topic.publisher(0).context("cannot publish")?;
        let reader = crew.add(Reader { subscriber, sum: 0 });
        Ok(Self([(publisher, reader), (recording.publisher, crew.add(journal))]))
    }

    /// Compares.
    ///
    /// # Errors
    /// When a contender fails, or the user wants an end.
    pub(super) fn run(self, setup: &Setup, far: &FarCore, duration: Duration) -> Result<Found> {
        let Self(mut sides) = self;
        for (publisher, agent) in &mut sides {
            far.beside(*agent, || write_once(publisher))?;
        }
        let trial = Trial {
            title: "the publisher's cost of a message with 48 bytes of payload at a steady rate; \
                    waiting does not count",
            contenders: RATES.iter().flat_map(|(_, names)| *names).collect(),
            columns: &COST_COLUMNS,
            goals: &COST_GOALS,
            limited: &[],
            notes: vec![format!(
                "batches of {BATCH} are timed, as far apart as the rate says; the slowest of \
                 {SLOW_ONE_IN} does not count"
            )],
            fault: "",
        };
        trial.run(
            duration,
            &setup.interrupt,
            |at| {
                let (rate, _) = RATES[at / 2];
                let (publisher, agent) = &mut sides[at % 2];
                far.beside(*agent, || block(publisher, rate, &setup.clock))
            },
            judge,
        )
    }
}

/// Writes all of the ring, so that no block pays for its pages.
fn write_once(publisher: &mut Publisher) -> Result<()> {
    let payloads = Payloads::<6>::new();
    for number in 0..2 * RING_BYTES / MESSAGE_BYTES {
        publisher.publish(number, payloads.of(number))?;
    }
    Ok(())
}

fn block(publisher: &mut Publisher, rate: u64, clock: &Clock) -> Result<Cost> {
    let payloads = Payloads::<6>::new();
    let interval = Duration::from_nanos(BATCH * 1_000_000_000 / rate);
    let batches = (BLOCK.as_nanos() / interval.as_nanos()) as u64 + WARM_UP_BATCHES;
    let (mut times, mut full_waits) = (Samples::default(), 0);
    let mut due = Instant::now();
    for batch in 0..batches {
        due += interval;
        while Instant::now() < due {
            spin_loop();
        }
        let first = publisher.next_offset();
        let start = clock.now();
        let has_waited = publish(publisher, &payloads, first)?;
        let elapsed_ns = clock.ns_since(start);
        if has_waited {
            full_waits += 1;
        } else if batch >= WARM_UP_BATCHES {
            times.record(elapsed_ns);
        }
    }
    Ok(cost(&times, full_waits, clock))
}

/// Publishes a batch. Returns whether there was no room for it.
#[inline(always)]
fn publish(publisher: &mut Publisher, payloads: &Payloads<6>, first: u64) -> Result<bool> {
    let mut has_waited = false;
    for number in first..first + BATCH {
        match publisher.try_publish(number, payloads.of(number)) {
            Ok(_) => {}
            Err(PublishError::Full(_)) => {
                has_waited = true;
                publisher.publish(number, payloads.of(number))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(has_waited)
}

fn cost(times: &Samples, full_waits: u64, clock: &Clock) -> Cost {
    let counted = times.len() - times.len() / SLOW_ONE_IN;
    let (mut batches, mut total_ns) = (0, 0);
    for (batch_ns, count) in times.counts() {
        let count = count.min(counted - batches);
        batches += count;
        total_ns += count * batch_ns;
    }
    let of_message = |batch_ns: f64| (batch_ns - clock.cost_ns) / BATCH as f64;
    Cost {
        messages: times.len() * BATCH,
        mean_ns: of_message(total_ns as f64 / batches as f64),
        p50_ns: Percentile::P50.of(times, clock.step_ns).map(of_message),
        full_waits,
    }
}

fn judge(blocks: &[Cost]) -> Vec<Judged> {
    let judge = |(at, cost): (usize, &Cost)| {
        let reader = &blocks[at - at % 2];
        Judged {
            valid: true,
            count: cost.messages,
            figures: vec![
                Some(cost.mean_ns / reader.mean_ns),
                Some(cost.mean_ns),
                cost.p50_ns,
                Some(cost.full_waits as f64),
            ],
        }
    };
    blocks.iter().enumerate().map(judge).collect()
}

/// Reads every line of each message.
struct Reader {
    subscriber: Subscriber,
    sum: u64,
}

impl Agent for Reader {
    fn name(&self) -> &str {
        "reader"
    }

    fn poll(&mut self) -> usize {
        let mut found = self.sum;
        let polled = self.subscriber.poll(POLL_LIMIT, |event| {
            if let Event::Message(message) = event
                && let Ok(words) = message.read::<Words<6>>()
            {
                found = found.wrapping_add(sum(words));
            }
        });
        self.sum = black_box(found);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickcast_harness::clock::Source;

    #[test]
    fn the_journal_is_set_against_the_reader_of_its_rate() {
        let cost = |mean_ns| Cost { messages: 64, mean_ns, p50_ns: None, full_waits: 0 };
        let judged = judge(&[10.0, 11.0, 20.0, 30.0].map(cost));
        let ratios: Vec<f64> = judged.iter().map(|block| block.figures[0].unwrap()).collect();
        assert_eq!(ratios, [1.0, 1.1, 1.0, 1.5]);
    }

    #[test]
    fn the_clock_is_subtracted_once_a_batch_and_the_slowest_do_not_count() {
        let times = Samples::from(vec![(660, 198), (1_000_000, 2)]);
        let mut clock = Clock::of(Source::Monotonic).unwrap();
        (clock.cost_ns, clock.step_ns) = (20.0, 1.0);
        let cost = cost(&times, 0, &clock);
        assert_eq!((cost.messages, cost.mean_ns), (12_800, 10.0));
        assert!((cost.p50_ns.unwrap() - 10.0).abs() < 0.1);
    }
}
