//! What is measured in each round, and what a block of it yields. A benchmark is a list of steps.
use anyhow::Result;
use serde::Serialize;

use crate::clock::Clock;
use crate::hiccups::Hiccups;
use crate::session::{Measured, Session};
use crate::statistics::{Percentile, Samples};
use crate::task::{Polling, Task, Waiting};

/// Messages that are handed over at once in batches: what a feed's packet holds.
const BATCH: usize = 16;
/// How long a block of each kind is to take. A fast contender is done before; of a slow one this is
/// enough for a 99.9th percentile where a round trip takes 12 us.
const ROUND_TRIPS_NS: f64 = 120e6;
/// Round trips that take longer are measured with one gap between polls: by the gap they differ less
/// than from one block to the next.
const POLLING_MATTERS_NS: f64 = 4e3;
const STREAM_NS: f64 = 20e6;
/// Fewer messages do not always leave the state that a stream begins in; but no block takes longer
/// than this for that.
const STREAM_MIN: u64 = 500_000;
const STREAM_NS_MAX: f64 = 60e6;
const OPEN_LOOP_NS: f64 = 10e6;
const BURSTS_NS: f64 = 5e6;
const HICCUPS_NS: u64 = 50_000_000;
/// Most round trips of a block: enough for a 99.9th percentile, about 1 ms when the cores are near.
const ROUND_TRIPS_MAX: u64 = 10_000;
/// Most messages of a stream's block. A stream has two states, with a reader at the writer's heels
/// and with a ring that is nearly full, and fewer do not always reach the second, faster one.
const STREAM_MAX: u64 = 1 << 20;
/// Ways to wait that are left after the first rounds: the fastest.
const WAITINGS_KEPT: usize = 2;
/// Fewest of anything in a block.
const COUNT_MIN: u64 = 100;
/// Messages that were sent so long after they were due, or longer, are late.
const LATE_NS: u64 = 1_000;
/// More than this share of late messages make the times of an open loop worthless: the generator
/// did not do what was asked.
pub(crate) const LATE_SHARE_MAX: f64 = 0.01;
/// Below this share of its rate, an open loop asked for more than there is: it is past the knee.
pub(crate) const ACHIEVED_SHARE_MIN: f64 = 0.99;

/// One thing to measure in each round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Round trips one by one: the faster of spinning and pausing.
    RoundTrips,
    /// Round trips by a schedule.
    PacedRoundTrips { rate: u64 },
    /// Messages by a schedule, timed where they arrive.
    OneWay { rate: u64 },
    /// As many as possible: with the reader that makes it the fastest.
    Stream { in_batches: bool },
    /// Bursts to a crowd, which takes them meanwhile or afterwards.
    Bursts { messages: u64, afterwards: bool },
}

/// A step with whom it is for, and how much of it makes a block.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) entrant: usize,
    pub(crate) step: Step,
    /// Whether it is one of a sweep, and left out where a lower rate was too much already.
    pub(crate) sweeps: bool,
    pub(crate) count: u64,
    /// The ways to wait that a stream tries in each round.
    pub(crate) waitings: Vec<Waiting>,
    /// Those between polls of round trips that are tried in each block.
    pub(crate) pollings: Vec<Polling>,
}

/// What a block found.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Found {
    Times(Times),
    OpenLoop(OpenLoop),
    Flow(Flow),
    Cost(Cost),
}

/// A distribution of times: of those between two readings of the clock, net of what a reading
/// costs. A time that counts from when a message was due has one reading in it, and that is not
/// subtracted.
#[derive(Debug, Clone, Serialize)]
pub struct Times {
    /// How many.
    pub samples: u64,
    /// The median.
    pub p50_ns: Option<f64>,
    /// The 99th percentile.
    pub p99_ns: Option<f64>,
    /// The 99.9th percentile.
    pub p999_ns: Option<f64>,
    /// The longest.
    pub max_ns: f64,
    /// How the two sides waited for each other.
    pub setting: String,
    /// Whole, for what is summed over blocks.
    #[serde(skip)]
    pub(crate) whole: Samples,
}

/// Times by a schedule.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OpenLoop {
    #[serde(flatten)]
    pub(crate) times: Times,
    /// From the first message that was due to the last that was received.
    pub(crate) achieved_per_s: f64,
    /// The share of messages that the generator sent 1 us too late or later, whatever kept it.
    pub(crate) late_share: f64,
    pub(crate) lateness_p99_ns: Option<f64>,
    /// Messages that found no room when they were due.
    pub(crate) refused: u64,
    /// Messages that a lossy subscriber missed.
    pub(crate) lost: u64,
    /// Messages that were there before they were sent, by the two cores' clocks.
    pub(crate) negative: u64,
    /// What each subscriber of a crowd had.
    pub(crate) each: Vec<Each>,
}

/// The times of one of many subscribers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Each {
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
}

/// How long messages took, from before the first was sent until all were taken.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Flow {
    pub(crate) messages: u64,
    pub(crate) duration_ns: f64,
    pub(crate) lost: u64,
    /// How the reader waited.
    pub(crate) setting: Waiting,
    /// How many messages a second each way to wait made.
    pub(crate) tried: Vec<(Waiting, f64)>,
}

/// What publishing a burst costs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cost {
    pub(crate) messages: u64,
    pub(crate) ns_per_message: f64,
    /// How often the publisher had to wait for room; that time does not count.
    pub(crate) full_waits: u64,
    pub(crate) lost: u64,
}

impl Times {
    pub(crate) fn of(whole: Samples, clock: &Clock, setting: &str) -> Self {
        Self::net_of(clock.cost_ns, whole, clock, setting)
    }

    fn net_of(cost_ns: f64, whole: Samples, clock: &Clock, setting: &str) -> Self {
        let net = |percentile: Percentile| {
            percentile.of(&whole, clock.step_ns).map(|gross_ns| gross_ns - cost_ns)
        };
        Self {
            samples: whole.len(),
            p50_ns: net(Percentile::P50),
            p99_ns: net(Percentile::P99),
            p999_ns: net(Percentile::P999),
            max_ns: (whole.max_ns() as f64 - cost_ns).max(0.0),
            setting: setting.to_owned(),
            whole,
        }
    }
}

impl Times {
    /// p50, p99, p99.9.
    pub(crate) fn percentiles_ns(&self) -> [Option<f64>; 3] {
        [self.p50_ns, self.p99_ns, self.p999_ns]
    }
}

impl Found {
    /// How many round trips or messages.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Times(times) => times.samples,
            Self::OpenLoop(found) => found.times.samples,
            Self::Flow(flow) => flow.messages,
            Self::Cost(cost) => cost.messages,
        }
    }
}

impl OpenLoop {
    fn of(measured: Measured, count: u64, times: Samples, clock: &Clock) -> Self {
        let Measured { timed, outcome, .. } = measured;
        // From the first that was due to the last that was had: so many periods, less one.
        let last = timed.last.max(outcome.last);
        let duration_ns = clock.ns(last.saturating_sub(timed.first)).max(1);
        let lateness = timed.lateness;
        Self {
            times: Times::net_of(0.0, times, clock, ""),
            achieved_per_s: count.saturating_sub(1) as f64 * 1e9 / duration_ns as f64,
            late_share: lateness.count_beyond(LATE_NS - 1) as f64 / lateness.len().max(1) as f64,
            lateness_p99_ns: Percentile::P99.of(&lateness, clock.step_ns),
            refused: timed.refused,
            lost: outcome.lost,
            negative: outcome.negative,
            each: outcome
                .each
                .iter()
                .map(|each| Each {
                    p50_ns: Percentile::P50.of(each, clock.step_ns),
                    p99_ns: Percentile::P99.of(each, clock.step_ns),
                })
                .collect(),
        }
    }

    /// Whether everything that was asked for at `rate` came through as it was asked.
    pub(crate) fn keeps_up(&self, rate: u64) -> bool {
        self.refused == 0
            && self.lost == 0
            && self.achieved_per_s >= ACHIEVED_SHARE_MIN * rate as f64
    }
}

impl Flow {
    pub(crate) fn messages_per_s(&self) -> f64 {
        self.messages as f64 * 1e9 / self.duration_ns
    }
}

impl Planned {
    /// For the first entrant, unless said otherwise.
    pub(crate) fn new(step: Step) -> Self {
        let per_block = |rate: u64| (rate as f64 * OPEN_LOOP_NS / 1e9) as u64;
        let count = match step {
            Step::RoundTrips | Step::Stream { .. } => COUNT_MIN,
            Step::PacedRoundTrips { rate } | Step::OneWay { rate } => {
                per_block(rate).max(COUNT_MIN)
            }
            Step::Bursts { .. } => 1,
        };
        let (waitings, pollings) = (Waiting::ALL.to_vec(), Polling::ALL.to_vec());
        Self { entrant: 0, step, sweeps: false, count, waitings, pollings }
    }

    /// Measures a block.
    ///
    /// # Errors
    /// When a side fails.
    pub(crate) fn block(&self, session: &mut Session) -> Result<Found> {
        let Self { entrant, step, count, ref pollings, .. } = *self;
        let clock = session.clock;
        let period_ticks = |rate: u64| clock.ticks(1e9 / rate as f64);
        match step {
            Step::RoundTrips => Ok(Found::Times(fastest(&clock, pollings, |polling| {
                session.block(entrant, Task::RoundTrips { polling }, count)
            })?)),
            Step::PacedRoundTrips { rate } => {
                let task = Task::PacedRoundTrips { period_ticks: period_ticks(rate) };
                let mut measured = session.block(entrant, task, count)?;
                let times = std::mem::take(&mut measured.timed.samples);
                Ok(Found::OpenLoop(OpenLoop::of(measured, count, times, &clock)))
            }
            Step::OneWay { rate } => {
                let task = Task::OneWay { period_ticks: period_ticks(rate) };
                let mut measured = session.block(entrant, task, count)?;
                let mut times = std::mem::take(&mut measured.outcome.samples);
                measured.outcome.each.iter().for_each(|each| times.add(each));
                Ok(Found::OpenLoop(OpenLoop::of(measured, count, times, &clock)))
            }
            Step::Stream { in_batches } => {
                let batch = if in_batches { BATCH } else { 1 };
                let mut best: Option<Flow> = None;
                let mut tried = Vec::new();
                for &waiting in &self.waitings {
                    let task = Task::Stream { batch, waiting };
                    let measured = session.block(entrant, task, count)?;
                    let flow = Flow {
                        messages: count - measured.outcome.lost,
                        duration_ns: measured.duration_ns as f64,
                        lost: measured.outcome.lost,
                        setting: waiting,
                        tried: Vec::new(),
                    };
                    let rate = flow.messages_per_s();
                    tried.push((waiting, rate));
                    if best.as_ref().is_none_or(|best| best.messages_per_s() < rate) {
                        best = Some(flow);
                    }
                }
                let best = best.expect("there are several ways to wait");
                Ok(Found::Flow(Flow { tried, ..best }))
            }
            Step::Bursts { messages, afterwards } => {
                let task = Task::Bursts { messages, afterwards };
                let measured = session.block(entrant, task, count)?;
                let bursts = measured.timed.samples;
                // Of the middle one: a hiccup in one burst is none of the crowd's doing.
                let middle_ns = bursts.middle_ns() - clock.cost_ns;
                Ok(Found::Cost(Cost {
                    messages: messages * count,
                    ns_per_message: middle_ns / messages as f64,
                    full_waits: measured.timed.refused,
                    lost: measured.outcome.lost,
                }))
            }
        }
    }

    /// Leaves only the ways to wait that were the fastest in all of these blocks together.
    pub(crate) fn settle<'a>(&mut self, found: impl Iterator<Item = &'a Found>) {
        let flows: Vec<&Flow> = found
            .filter_map(|found| match found {
                Found::Flow(flow) => Some(flow),
                _ => None,
            })
            .collect();
        let rate = |waiting: &Waiting| {
            let tried = flows.iter().flat_map(|flow| &flow.tried);
            tried.filter(|(own, _)| own == waiting).map(|(_, rate)| rate).sum::<f64>()
        };
        self.waitings.sort_by(|one, other| rate(other).total_cmp(&rate(one)));
        if !flows.is_empty() {
            self.waitings.truncate(WAITINGS_KEPT);
        }
    }

    /// Whether `found` shows that the rate of this step was kept up; of others it is.
    pub(crate) fn keeps_up(&self, found: &Found) -> bool {
        match (found, self.step) {
            (Found::OpenLoop(found), Step::PacedRoundTrips { rate } | Step::OneWay { rate }) => {
                found.keeps_up(rate)
            }
            _ => true,
        }
    }

    /// Whether it is the same as `other` but for the rate, and that is higher.
    pub(crate) fn is_beyond(&self, other: &Self) -> bool {
        self.entrant == other.entrant
            && match (self.step, other.step) {
                (Step::PacedRoundTrips { rate }, Step::PacedRoundTrips { rate: other })
                | (Step::OneWay { rate }, Step::OneWay { rate: other }) => rate > other,
                _ => false,
            }
    }

    /// After a first block: makes the blocks that follow as long as they are to be.
    pub(crate) fn adjust(&mut self, found: &Found) {
        self.count = match (found, self.step) {
            (Found::Times(times), _) => {
                let each_ns = times.p50_ns.unwrap_or(f64::INFINITY).max(1.0);
                if each_ns > POLLING_MATTERS_NS {
                    self.pollings = vec![Polling::Pausing];
                }
                ((ROUND_TRIPS_NS / each_ns) as u64).clamp(COUNT_MIN, ROUND_TRIPS_MAX)
            }
            (Found::Flow(flow), _) => {
                let within = |ns: f64| (flow.messages_per_s() * ns / 1e9) as u64;
                let count = within(STREAM_NS).max(STREAM_MIN.min(within(STREAM_NS_MAX)));
                count.clamp(COUNT_MIN, STREAM_MAX)
            }
            (Found::Cost(cost), Step::Bursts { messages, .. }) => {
                let burst_ns = cost.ns_per_message * messages as f64;
                ((BURSTS_NS / burst_ns.max(1.0)) as u64).max(3)
            }
            _ => self.count,
        };
    }
}

/// Round trips in the way that makes them the fastest; by the same rule for everybody.
///
/// # Errors
/// When a block fails.
pub(crate) fn fastest(
    clock: &Clock,
    pollings: &[Polling],
    mut block: impl FnMut(Polling) -> Result<Measured>,
) -> Result<Times> {
    let p50 = |times: &Times| times.p50_ns.unwrap_or(f64::INFINITY);
    let mut best: Option<Times> = None;
    for &polling in pollings {
        let times = Times::of(block(polling)?.timed.samples, clock, polling.name());
        if best.as_ref().is_none_or(|best| p50(&times) < p50(best)) {
            best = Some(times);
        }
    }
    Ok(best.expect("there are several ways to poll"))
}

/// The hiccups of both cores at the same time: near, far.
///
/// # Errors
/// When a side fails.
pub(crate) fn hiccups(session: &mut Session) -> Result<[Hiccups; 2]> {
    let measured = session.bare_block(Task::Hiccups, HICCUPS_NS)?;
    let both = [measured.timed.samples, measured.outcome.samples];
    Ok(both.map(|gaps| Hiccups { watched_ns: HICCUPS_NS, gaps }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Source;
    use crate::ends::Timed;
    use crate::task::Outcome;

    fn open_loop(late: u64) -> OpenLoop {
        let lateness = Samples::from(vec![(10, 1_000 - late), (50_000, late)]);
        let clock = Clock::of(Source::Monotonic).unwrap();
        let (first, last) = (1_000, 1_000 + 9_990_000);
        let timed = Timed { lateness, first, last, ..Timed::default() };
        let outcome = Outcome::default();
        let measured = Measured { timed, outcome, duration_ns: 77, preemptions: 0 };
        let times = Samples::from(vec![(100, 1_000)]);
        OpenLoop::of(measured, 1_000, times, &clock)
    }

    #[test]
    fn a_generator_that_is_late_more_often_than_once_in_a_hundred_is_not_on_time() {
        assert!(open_loop(10).late_share <= LATE_SHARE_MAX);
        assert!(open_loop(11).late_share > LATE_SHARE_MAX);
        assert!(open_loop(0).keeps_up(100_000), "1,000 messages in 10 ms");
        assert!(!open_loop(0).keeps_up(102_000));
    }

    #[test]
    fn of_several_ways_to_poll_the_fastest_counts() {
        let clock = Clock::of(Source::Monotonic).unwrap();
        let times = fastest(&clock, &Polling::ALL, |polling| {
            let ns = match polling {
                Polling::Close => 300,
                Polling::Pausing => 100,
                Polling::PausingTwice | Polling::PausingFourTimes | Polling::Spaced => 200,
            };
            let timed = Timed { samples: Samples::from(vec![(ns, 100)]), ..Timed::default() };
            let outcome = Outcome::default();
            Ok(Measured { timed, outcome, duration_ns: 1, preemptions: 0 })
        });
        assert_eq!(times.unwrap().setting, "pausing");
    }

    #[test]
    fn blocks_become_as_long_as_they_are_to_be() {
        let clock = Clock::of(Source::Monotonic).unwrap();
        let times = |ns| Found::Times(Times::of(Samples::from(vec![(ns, 1_000)]), &clock, ""));
        let mut planned = Planned::new(Step::RoundTrips);
        planned.adjust(&times(100_000));
        assert!((1_150..=1_250).contains(&planned.count), "{}", planned.count);
        planned.adjust(&times(11_000));
        assert_eq!(planned.count, ROUND_TRIPS_MAX);
        let all = Samples::from(vec![(11_000, planned.count)]);
        assert!(Times::of(all, &clock, "").p999_ns.is_some(), "sockets have one, too");
    }

    #[test]
    fn a_sweep_goes_on_from_rate_to_rate_of_one_kind() {
        let at = |step| Planned::new(step);
        assert!(at(Step::OneWay { rate: 2 }).is_beyond(&at(Step::OneWay { rate: 1 })));
        assert!(!at(Step::OneWay { rate: 1 }).is_beyond(&at(Step::OneWay { rate: 1 })));
        assert!(!at(Step::OneWay { rate: 2 }).is_beyond(&at(Step::PacedRoundTrips { rate: 1 })));
    }
}
