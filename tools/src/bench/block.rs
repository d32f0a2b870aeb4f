//! One block of one contender is measured here: the same loop, clock and statistic for all of them.
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::peer::Counterpart;
use super::statistics::{self, Percentile};

/// Round trips before the clock starts, in each block: the contender before left its own lines and
/// branches in the caches.
const WARM_UP_ROUND_TRIPS: u64 = 200;
/// Longer samples are counted as this long; a stalled side gives up before.
const SAMPLE_NS_MAX: u64 = 10_000_000_000;

/// The near half of a round trip.
pub(crate) trait RoundTrip {
    /// Sends one message and waits for its answer.
    ///
    /// # Errors
    /// When no answer comes.
    fn round_trip(&mut self) -> Result<()>;

    /// Times `samples` round trips one by one. Provided, so that it is the same loop for every
    /// contender, and compiled for each.
    ///
    /// # Errors
    /// When no answer comes.
    fn time(&mut self, samples: u64, into: &mut Histogram<u64>) -> Result<()> {
        for _ in 0..WARM_UP_ROUND_TRIPS {
            self.round_trip()?;
        }
        for _ in 0..samples {
            let start = Instant::now();
            self.round_trip()?;
            into.saturating_record(elapsed_ns(start));
        }
        Ok(())
    }
}

/// The near half of a stream.
pub(crate) trait Publish {
    /// Sends `messages`, waiting where there is no room.
    ///
    /// # Errors
    /// When room does not come.
    fn publish(&mut self, messages: u64) -> Result<()>;
}

/// What takes part: a name, the half that runs here, and a hold on the half that runs elsewhere.
pub(crate) struct Contender<'a, Near: ?Sized> {
    pub(crate) name: &'static str,
    pub(crate) near: Box<Near>,
    pub(crate) far: Box<dyn Counterpart + 'a>,
}

/// A contender for round trips.
pub(crate) type RoundTripper<'a> = Contender<'a, dyn RoundTrip + 'a>;
/// A contender for throughput.
pub(crate) type Streamer<'a> = Contender<'a, dyn Publish + 'a>;

/// The distribution of the round trips of one block, net of the clock's own cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) samples: u64,
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
    pub(crate) p99_9_ns: Option<f64>,
}

/// How long a block of messages took, from before the first was sent until all were taken.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Flow {
    pub(crate) messages: u64,
    pub(crate) duration_ns: f64,
}

impl Flow {
    pub(crate) fn messages_per_s(self) -> f64 {
        self.messages as f64 * 1e9 / self.duration_ns
    }
}

impl RoundTripper<'_> {
    /// Measures a block of `samples` round trips.
    ///
    /// # Errors
    /// When either side fails.
    pub(crate) fn block(&mut self, samples: u64, clock: &Clock) -> Result<Latency> {
        let mut histogram = new_histogram()?;
        self.far.start(WARM_UP_ROUND_TRIPS + samples).context(self.name)?;
        self.near.time(samples, &mut histogram).context(self.name)?;
        self.far.finish().context(self.name)?;
        let net = |percentile: Percentile| {
            percentile.of(&histogram, clock.tick_ns).map(|gross_ns| gross_ns - clock.cost_ns)
        };
        Ok(Latency {
            samples,
            p50_ns: net(Percentile::P50),
            p99_ns: net(Percentile::P99),
            p99_9_ns: net(Percentile::P99_9),
        })
    }
}

impl Streamer<'_> {
    /// Measures a block of `messages`.
    ///
    /// # Errors
    /// When either side fails.
    pub(crate) fn block(&mut self, messages: u64) -> Result<Flow> {
        self.far.start(messages).context(self.name)?;
        let start = Instant::now();
        self.near.publish(messages).context(self.name)?;
        self.far.finish().context(self.name)?;
        Ok(Flow { messages, duration_ns: elapsed_ns(start) as f64 })
    }
}

/// What the clock does to a sample.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Clock {
    /// The median of timing nothing; it is part of every sample, and subtracted from percentiles.
    pub(crate) cost_ns: f64,
    /// The steps in which it advances; 10 ns on some processors.
    pub(crate) tick_ns: f64,
}

impl Clock {
    /// Times nothing, often.
    ///
    /// # Errors
    /// When there is no memory for a histogram.
    pub(crate) fn measure() -> Result<Self> {
        let mut samples = new_histogram()?;
        for _ in 0..200_000 {
            let start = Instant::now();
            samples.saturating_record(elapsed_ns(start));
        }
        let tick_ns = statistics::tick_ns(&samples);
        let cost_ns = Percentile::P50.of(&samples, tick_ns).context("too few clock readings")?;
        Ok(Self { cost_ns, tick_ns })
    }
}

#[inline(always)]
pub(crate) fn elapsed_ns(start: Instant) -> u64 {
    let elapsed: Duration = start.elapsed();
    elapsed.as_nanos() as u64
}

/// # Errors
/// When there is no memory for one.
pub(crate) fn new_histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, SAMPLE_NS_MAX, 3).context("cannot make a histogram")
}
