//! Latencies as a subscriber collects and reports them: change here which percentiles are told.

use serde::{Deserialize, Serialize};
use tickcast_harness::statistics::{Percentile, Samples};

/// The step of the clock, in ns; what it is does not show in latencies between threads.
const TICK_NS: f64 = 1.0;

/// Latencies that were collected.
#[derive(Default)]
pub(super) struct Latencies(Samples);

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
    #[inline]
    pub(super) fn record(&mut self, latency_ns: u64) {
        self.0.record(latency_ns);
    }

    pub(super) fn distribution(&self) -> Distribution {
        let samples = self.0.len();
        Distribution {
            samples,
            p50_ns: Percentile::P50.of(&self.0, TICK_NS),
            p99_ns: Percentile::P99.of(&self.0, TICK_NS),
            p99_9_ns: Percentile::P999.of(&self.0, TICK_NS),
            max_ns: (samples > 0).then(|| self.0.max_ns() as f64),
        }
    }
}
