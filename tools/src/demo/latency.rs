//! Latencies as a subscriber collects and reports them: change here which percentiles are told.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::bench::Percentile;

/// Longer ones are counted as this long; everybody has given up before.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// The step of the clock, in ns; what it is does not show in latencies between threads.
const TICK_NS: f64 = 1.0;

/// Latencies that were collected.
pub(super) struct Latencies(Histogram<u64>);

/// Their distribution; a percentile with fewer than ten samples beyond it is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Distribution {
    pub(super) samples: u64,
    pub(super) p50_ns: Option<f64>,
    pub(super) p99_ns: Option<f64>,
    pub(super) p99_9_ns: Option<f64>,
    pub(super) max_ns: Option<f64>,
}

impl Latencies {
    /// # Errors
    /// When there is no memory for a histogram.
    pub(super) fn new() -> Result<Self> {
        Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .map(Self)
            .context("cannot make a histogram")
    }

    #[inline]
    pub(super) fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    pub(super) fn distribution(&self) -> Distribution {
        let samples = self.0.len();
        Distribution {
            samples,
            p50_ns: Percentile::P50.of(&self.0, TICK_NS),
            p99_ns: Percentile::P99.of(&self.0, TICK_NS),
            p99_9_ns: Percentile::P99_9.of(&self.0, TICK_NS),
            max_ns: (samples > 0).then(|| self.0.max() as f64),
        }
    }
}
