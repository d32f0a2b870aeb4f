//! The clock that times every block: the processor's time-stamp counter where it can be trusted,
//! else the system's monotonic clock. Change here how it is calibrated and checked.
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::statistics::{Percentile, Samples};

/// How long the first calibration takes.
const CALIBRATION: Duration = Duration::from_millis(20);
/// Pairs of readings of both clocks, of which the closest one counts.
const PAIRS: usize = 200;
/// How far the rate may have moved at the end of a run, in millionths.
const DRIFT_PPM_MAX: f64 = 200.0;
/// Readings that tell what a reading costs.
const COST_READINGS: usize = 200_000;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The time-stamp counter, which all cores share where it is invariant.
    Tsc,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
}

/// A calibrated clock, the same for both sides of a benchmark: its readings are comparable between
/// processes, and between cores as far as a report says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Clock {
    /// What is read.
    pub source: Source,
    /// How long a tick of the counter is.
    pub ns_per_tick: f64,
    /// The median of timing nothing; it is part of every sample, and subtracted from percentiles.
    pub cost_ns: f64,
    /// The steps in which readings advance, in ns; 10 on some processors.
    pub step_ns: f64,
    began: Pair,
}

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Pair {
    ticks: u64,
    monotonic_ns: u64,
}

impl Clock {
    /// Calibrates the time-stamp counter, or falls back to the monotonic clock.
    ///
    /// # Errors
    /// When the clock does not advance.
    pub fn calibrate() -> Result<Self> {
        Self::of(if tsc_is_invariant() { Source::Tsc } else { Source::Monotonic })
    }

    /// Calibrates a clock that reads `source`.
    ///
    /// # Errors
    /// When it does not advance.
    pub fn of(source: Source) -> Result<Self> {
        let began = Pair::read(source);
        let ns_per_tick = match source {
            Source::Monotonic => 1.0,
            Source::Tsc => {
                thread::sleep(CALIBRATION);
                began.ns_per_tick(Pair::read(source))
            }
        };
        ensure!(
            ns_per_tick.is_finite() && ns_per_tick > 0.0,
            "the time-stamp counter does not advance; run on another machine"
        );
        let mut clock = Self { source, ns_per_tick, cost_ns: 0.0, step_ns: 1.0, began };
        let mut samples = Samples::default();
        for _ in 0..COST_READINGS {
            let start = clock.now();
            samples.record(clock.ns_since(start));
        }
        clock.step_ns = samples.step_ns();
        clock.cost_ns = Percentile::P50.of(&samples, clock.step_ns).unwrap_or(0.0);
        Ok(clock)
    }

    /// The counter, in ticks. What stands before it in the program is done before it is read.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        match self.source {
            Source::Tsc => ordered_tsc(),
            Source::Monotonic => monotonic_ns(),
        }
    }

    /// How many ns passed since the counter stood at `ticks`; 0 where it stood later.
    #[inline(always)]
    pub fn ns_since(&self, ticks: u64) -> u64 {
        self.ns(self.now().saturating_sub(ticks))
    }

    /// Ticks as ns, rounded.
    #[inline(always)]
    pub fn ns(&self, ticks: u64) -> u64 {
        (ticks as f64 * self.ns_per_tick + 0.5) as u64
    }

    /// Ticks in so many ns.
    pub fn ticks(&self, ns: f64) -> f64 {
        ns / self.ns_per_tick
    }

    /// By how many millionths the rate over the time since the calibration differs from the
    /// calibrated one.
    pub fn drift_ppm(&self) -> f64 {
        let rate = self.began.ns_per_tick(Pair::read(self.source));
        (rate / self.ns_per_tick - 1.0) * 1e6
    }

    /// Whether a drift is small enough for the times of the run to count.
    pub fn is_steady(drift_ppm: f64) -> bool {
        drift_ppm.abs() <= DRIFT_PPM_MAX
    }
}

impl Pair {
    /// The closest of many pairs: whatever comes between two readings makes them differ.
    fn read(source: Source) -> Self {
        let mut best = (u64::MAX, Self { ticks: 0, monotonic_ns: 0 });
        for _ in 0..PAIRS {
            let before_ns = monotonic_ns();
            let ticks = match source {
                Source::Tsc => ordered_tsc(),
                Source::Monotonic => before_ns,
            };
            let after_ns = monotonic_ns();
            let width_ns = after_ns.saturating_sub(before_ns);
            if width_ns < best.0 {
                best = (width_ns, Self { ticks, monotonic_ns: before_ns.midpoint(after_ns) });
            }
        }
        best.1
    }

    fn ns_per_tick(self, later: Self) -> f64 {
        let ns = later.monotonic_ns.saturating_sub(self.monotonic_ns);
        ns as f64 / later.ticks.saturating_sub(self.ticks) as f64
    }
}

fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Whether the counter goes on at one rate whatever the cores do, by the processor's own word as
/// the kernel passes it on.
fn tsc_is_invariant() -> bool {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag| flags.split_whitespace().any(|own| own == flag);
    cfg!(target_arch = "x86_64") && has("constant_tsc") && has("nonstop_tsc")
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ordered_tsc() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // Without the fence the counter is read before the loads ahead of it have come.
    // SAFETY: every x86-64 processor has SSE2, and the fence touches no memory.
    unsafe { _mm_lfence() };
    // SAFETY: the instruction exists on every such processor, and touches no memory.
    unsafe { _rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ordered_tsc() -> u64 {
    unreachable!("the time-stamp counter is x86-64's; `tsc_is_invariant` says so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_agree_on_how_long_a_while_was() {
        for source in [Source::Tsc, Source::Monotonic] {
            if source == Source::Tsc && !tsc_is_invariant() {
                eprintln!("skipped: this processor has no invariant time-stamp counter");
                continue;
            }
            let clock = Clock::of(source).unwrap();
            let (start, start_ns) = (clock.now(), monotonic_ns());
            thread::sleep(Duration::from_millis(5));
            let (ns, monotonic_ns) = (clock.ns_since(start), monotonic_ns() - start_ns);
            // What comes between two readings of two clocks is not theirs: a lower bound only.
            assert!(ns >= 5_000_000, "{source:?}: {ns}");
            assert!(monotonic_ns >= 5_000_000, "{monotonic_ns}");
            assert!(clock.cost_ns > 0.0 && clock.step_ns >= 1.0, "{clock:?}");
        }
    }

    #[test]
    fn a_rate_that_moved_is_found() {
        let mut clock = Clock::of(Source::Monotonic).unwrap();
        assert!(Clock::is_steady(clock.drift_ppm()));
        clock.ns_per_tick = 1.001;
        assert!(!Clock::is_steady(clock.drift_ppm()));
    }

    #[test]
    fn ticks_and_times_are_each_others_inverse() {
        let mut clock = Clock::of(Source::Monotonic).unwrap();
        clock.ns_per_tick = 0.5;
        assert_eq!(clock.ns(3), 2);
        assert_eq!(clock.ticks(100.0), 200.0);
    }
}
