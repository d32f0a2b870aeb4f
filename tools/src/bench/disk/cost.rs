//! What the journal costs the publisher at a steady rate, beside one reliable reader that looks at
//! every line of each message: both run on the other core and read what the publisher's has
//! written.
use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tickcast::runtime::Agent;
use tickcast::{Event, PublishError, Publisher, Subscriber, SyncPolicy};

use super::far_core::{AgentId, Crew, FarCore};
use super::goals::{COST_GOALS, for_ticks};
use super::recording::{Old, Recording};
use super::trial::{Found, Trial};
use super::{Setup, per_s};
use tickcast_harness::clock::Clock;
use tickcast_harness::message::{Payload, Payloads, Words, sum};
use tickcast_harness::statistics::{Percentile, Samples};
use tickcast_harness::verdict::Judged;
use tickcast_harness::{Options, with_words};

/// Messages that are timed together: to read the clock takes longer than to publish one.
const BATCH: u64 = 64;

/// The rings' size: more than the second-level cache, and soon written once.
const RING_BYTES: u64 = 8 << 20;

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

/// The rates at which messages are published unless one is asked for.
const RATES: [u64; 2] = [1_000_000, 200_000];
/// The contenders of a rate: what the other is set against comes first.
const SIDES: [&str; 2] = ["reader", "journal"];

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
pub(super) struct Publishers {
    sides: [(Publisher, AgentId); 2],
    payload: Payload,
    rates: Vec<u64>,
}

impl Publishers {
    /// # Errors
    /// When shared memory or the disk is full.
    pub(super) fn begin(setup: &Setup, crew: &mut Crew, options: &Options) -> Result<Self> {
        let Setup { bus, place, .. } = setup;
        let payload = options.first_payload();
        let (recording, journal) =
            Recording::begin(bus, place, "journaled", RING_BYTES, SyncPolicy::None, Old::Recycled)?;
        let topic = bus.create_topic("read", RING_BYTES)?;
        let subscriber = topic.subscribe().reliable().open().context("cannot subscribe")?;
        let publisher = topic.publisher(0).context("cannot publish")?;
        let reader = with_words!(payload, W => crew.add(Reader::<W> { subscriber, sum: 0 }));
        let sides = [(publisher, reader), (recording.publisher, crew.add(journal))];
        let rates = options.given_rate().map_or(RATES.to_vec(), |rate| vec![rate]);
        Ok(Self { sides, payload, rates })
    }

    /// Compares.
    ///
    /// # Errors
    /// When a contender fails, or the user wants an end.
    pub(super) fn run(self, setup: &Setup, far: &FarCore, duration: Duration) -> Result<Found> {
        let Self { mut sides, payload, rates } = self;
        for (publisher, agent) in &mut sides {
            with_words!(payload, W => far.beside(*agent, || write_once::<W>(publisher))?);
        }
        let names = |rate: &u64| SIDES.map(|side| format!("{side}, {}", per_s(*rate)));
        let trial = Trial {
            title: "the publisher's cost of a message at a steady rate; waiting does not count",
            contenders: rates.iter().flat_map(names).collect(),
            columns: &COST_COLUMNS,
            drawn: "ns a message",
            goals: for_ticks(payload, &COST_GOALS),
            limited: &[],
            notes: vec![
                format!("messages have {payload} of payload"),
                format!(
                    "batches of {BATCH} are timed, as far apart as the rate says; the slowest of \
                     {SLOW_ONE_IN} does not count"
                ),
            ],
            fault: "have no batch that found room: the rate is too much",
        };
        trial.run(
            duration,
            &setup.interrupt,
            |at| {
                let rate = rates[at / 2];
                let (publisher, agent) = &mut sides[at % 2];
                with_words!(payload, W => {
                    far.beside(*agent, || block::<W>(publisher, rate, &setup.clock))
                })
            },
            judge,
        )
    }
}

/// Writes all of the ring, so that no block pays for its pages.
fn write_once<const W: usize>(publisher: &mut Publisher) -> Result<()> {
    let payloads = Payloads::<W>::new();
    // Twice, as frames have headers.
    let payload_bytes = size_of::<Words<W>>() as u64;
    for number in 0..2 * RING_BYTES / payload_bytes {
        publisher.publish(number, payloads.of(number))?;
    }
    Ok(())
}

fn block<const W: usize>(publisher: &mut Publisher, rate: u64, clock: &Clock) -> Result<Cost> {
    let payloads = Payloads::<W>::new();
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
fn publish<const W: usize>(
    publisher: &mut Publisher,
    payloads: &Payloads<W>,
    first: u64,
) -> Result<bool> {
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
            valid: cost.messages > 0,
            count: cost.messages,
            figures: vec![
                (reader.messages > 0).then(|| cost.mean_ns / reader.mean_ns),
                Some(cost.mean_ns),
                cost.p50_ns,
                Some(cost.full_waits as f64),
            ],
        }
    };
    blocks.iter().enumerate().map(judge).collect()
}

/// Reads every line of each message.
struct Reader<const W: usize> {
    subscriber: Subscriber,
    sum: u64,
}

impl<const W: usize> Agent for Reader<W> {
    fn name(&self) -> &str {
        "reader"
    }

    fn poll(&mut self) -> usize {
        let mut found = self.sum;
        let polled = self.subscriber.poll(POLL_LIMIT, |event| {
            if let Event::Message(message) = event
                && let Ok(words) = message.read::<Words<W>>()
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
    fn what_never_found_room_tells_nothing() {
        let times = Samples::default();
        let clock = Clock::of(Source::Monotonic).unwrap();
        let found = Cost { messages: 64, mean_ns: 10.0, p50_ns: None, full_waits: 0 };
        let judged = judge(&[cost(&times, 9, &clock), found]);
        assert_eq!((judged[0].valid, judged[1].valid), (false, true));
        assert_eq!(judged[1].figures[0], None);
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
