//! What samples are worth: percentiles that are withheld when unfounded, spreads, and regimes.
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// No percentile is told with fewer samples beyond it.
pub(crate) const SAMPLES_BEYOND_MIN: u64 = 10;

/// Blocks whose hand-offs differ by more than this factor were taken in different regimes.
const REGIME_FACTOR: f64 = 1.5;

/// Longer samples are counted as this long; a stalled side gives up before.
const SAMPLE_NS_MAX: u64 = 60_000_000_000;

/// Times in ns, with three digits that count. Travels as a list of values and how often each came.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", from = "Vec<(u64, u64)>")]
pub struct Samples(Histogram<u64>);

impl Default for Samples {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, SAMPLE_NS_MAX, 3).expect("the bounds are constants"))
    }
}

impl Samples {
    /// Counts a time.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Counts all of `other`, too.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The longest, to three digits; 0 of none.
    pub fn max_ns(&self) -> u64 {
        self.0.max()
    }

    /// The mean, to three digits; 0 of none.
    pub fn mean_ns(&self) -> f64 {
        self.0.mean()
    }

    /// The standard deviation, to three digits; 0 of none.
    pub fn stdev_ns(&self) -> f64 {
        self.0.stdev()
    }

    /// The middle one, to three digits; 0 of none. Also where a percentile would be withheld.
    pub fn middle_ns(&self) -> f64 {
        self.0.value_at_quantile(0.5) as f64
    }

    /// How many are longer.
    pub fn count_beyond(&self, ns: u64) -> u64 {
        self.counts().filter(|&(value, _)| value > ns).map(|(_, count)| count).sum()
    }

    /// The values that came, in ns and ascending, and how often each came.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// The step in which the clock advances that took samples of a constant time: the distance
    /// between the two commonest runs of values; 1 where all common values form one run.
    pub fn step_ns(&self) -> f64 {
        let mut runs: Vec<(u64, u64)> = Vec::new(); // commonest value, its count
        let mut previous = None;
        for (value, count) in self.counts() {
            match runs.last_mut() {
                Some(run) if previous == Some(value - 1) => {
                    if count > run.1 {
                        *run = (value, count);
                    }
                }
                _ => runs.push((value, count)),
            }
            previous = Some(value);
        }
        runs.retain(|&(_, count)| count * 100 >= self.len());
        let distances = runs.windows(2).map(|pair| pair[1].0 - pair[0].0);
        distances.min().unwrap_or(1) as f64
    }
}

impl From<Samples> for Vec<(u64, u64)> {
    fn from(samples: Samples) -> Self {
        samples.counts().collect()
    }
}

impl From<Vec<(u64, u64)>> for Samples {
    fn from(counts: Vec<(u64, u64)>) -> Self {
        let mut samples = Self::default();
        for (value, count) in counts {
            samples.0.saturating_record_n(value, count);
        }
        samples
    }
}

/// A percentile, by the share of samples beyond it in millionths.
#[derive(Debug, Clone, Copy)]
pub struct Percentile {
    beyond_ppm: u64,
}

impl Percentile {
    /// The median.
    pub const P50: Self = Self { beyond_ppm: 500_000 };
    /// 1 % of samples are longer.
    pub const P99: Self = Self { beyond_ppm: 10_000 };
    /// 0.1 % of samples are longer.
    pub const P999: Self = Self { beyond_ppm: 1_000 };
    /// 0.01 % of samples are longer.
    pub const P9999: Self = Self { beyond_ppm: 100 };

    /// The percentile with this share of samples beyond it.
    pub fn beyond(share: f64) -> Self {
        Self { beyond_ppm: (share * 1e6).round() as u64 }
    }

    /// The percentile in ns, or nothing with fewer than ten samples beyond it.
    ///
    /// A clock that advances in steps of `step_ns` tells a time only to within a step. Each sample
    /// therefore counts as spread evenly over one step around its value: the phase of the clock is
    /// random, so that many samples tell more than one.
    pub fn of(self, samples: &Samples, step_ns: f64) -> Option<f64> {
        let beyond = samples.len() as f64 * self.beyond_ppm as f64 / 1e6;
        if samples.len() * self.beyond_ppm / 1_000_000 < SAMPLES_BEYOND_MIN {
            return None;
        }
        let at_or_below = samples.len() as f64 - beyond;
        // Once: to go through a histogram takes long.
        let counts: Vec<(f64, f64)> =
            samples.counts().map(|(value, count)| (value as f64, count as f64)).collect();
        let below = |limit_ns: f64| {
            let share = |value: f64| ((limit_ns - value) / step_ns + 0.5).clamp(0.0, 1.0);
            counts.iter().map(|&(value, count)| count * share(value)).sum::<f64>()
        };
        let (mut low, mut high) = (counts[0].0 - step_ns, counts[counts.len() - 1].0 + step_ns);
        while high - low > 0.01 {
            let middle = low.midpoint(high);
            if below(middle) < at_or_below {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(high)
    }
}

/// How the values of several blocks spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// How many blocks there were.
    pub blocks: usize,
    /// The least value.
    pub min: f64,
    /// A quarter of the values is less.
    pub first_quartile: f64,
    /// Half of the values is less.
    pub median: f64,
    /// A quarter of the values is more.
    pub third_quartile: f64,
    /// The greatest value.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; nothing if there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        // Linear between the two nearest, as most statistics packages do.
        let quantile = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        Some(Self {
            blocks: values.len(),
            min,
            first_quartile: quantile(0.25),
            median: quantile(0.5),
            third_quartile: quantile(0.75),
            max,
        })
    }
}

/// Whether two hand-offs were timed in the same regime of the host.
pub fn same_regime(one_ns: f64, other_ns: f64) -> bool {
    one_ns.max(other_ns) <= REGIME_FACTOR * one_ns.min(other_ns)
}

/// Groups rounds by their hand-offs: the indices of each regime's rounds, the fastest regime first.
/// What spans more than one regime is divided at its widest gap, until nothing does.
pub fn regimes(handoffs_ns: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..handoffs_ns.len()).collect();
    order.sort_by(|&one, &other| handoffs_ns[one].total_cmp(&handoffs_ns[other]));
    let mut regimes = Vec::new();
    divide(&order, handoffs_ns, &mut regimes);
    regimes
}

fn divide(sorted: &[usize], handoffs_ns: &[f64], into: &mut Vec<Vec<usize>>) {
    let ns = |at: usize| handoffs_ns[sorted[at]];
    let Some(last) = sorted.len().checked_sub(1) else { return };
    if same_regime(ns(0), ns(last)) {
        let mut regime = sorted.to_vec();
        regime.sort_unstable();
        into.push(regime);
        return;
    }
    let gap = |at: usize| ns(at) / ns(at - 1);
    let widest = (1..=last).max_by(|&one, &other| gap(one).total_cmp(&gap(other)));
    let (faster, slower) = sorted.split_at(widest.unwrap_or(last));
    divide(faster, handoffs_ns, into);
    divide(slower, handoffs_ns, into);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: impl IntoIterator<Item = (u64, u64)>) -> Samples {
        values.into_iter().collect::<Vec<_>>().into()
    }

    #[test]
    fn percentiles_lie_where_the_samples_are() {
        let uniform = samples((1..=1000).map(|value| (value, 10)));
        let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 0.02;
        assert!(near(Percentile::P50.of(&uniform, 1.0), 500.5));
        assert!(near(Percentile::P99.of(&uniform, 1.0), 990.5));
        assert!(near(Percentile::P999.of(&uniform, 1.0), 999.5));
    }

    #[test]
    fn samples_travel_as_counts_and_are_added_up() {
        let mut samples = samples([(100, 7), (2_000, 1)]);
        let text = serde_json::to_string(&samples).unwrap();
        assert_eq!(text, "[[100,7],[2000,1]]");
        samples.add(&serde_json::from_str(&text).unwrap());
        assert_eq!(samples.counts().collect::<Vec<_>>(), [(100, 14), (2_000, 2)]);
    }

    #[test]
    fn percentiles_are_withheld_with_fewer_than_ten_samples_beyond() {
        let few = samples([(100, 999)]);
        assert!(Percentile::P50.of(&few, 1.0).is_some());
        assert!(Percentile::P99.of(&few, 1.0).is_none());
        assert!(Percentile::P99.of(&samples([(100, 1000)]), 1.0).is_some());
        assert!(Percentile::P999.of(&samples([(100, 9999)]), 1.0).is_none());
        assert!(Percentile::P999.of(&samples([(100, 10_000)]), 1.0).is_some());
        assert!(Percentile::P50.of(&samples([]), 1.0).is_none());
        assert!(Percentile::P50.of(&samples([(5, 19)]), 1.0).is_none());
    }

    #[test]
    fn a_coarse_clock_still_tells_medians_apart() {
        // 100 or 110 ns, by the phase of a clock that ticks every 10 ns.
        for (at_100, expected) in [(50, 105.0), (60, 103.333), (40, 106.667), (100, 100.0)] {
            let median = Percentile::P50.of(&samples([(100, at_100), (110, 100 - at_100)]), 10.0);
            assert!((median.unwrap() - expected).abs() < 0.02, "{at_100}: {median:?}");
        }
    }

    #[test]
    fn the_step_is_the_distance_of_common_values() {
        let coarse = [(29, 9), (30, 63), (31, 9), (40, 18), (41, 1), (97, 1)];
        assert_eq!(samples(coarse.map(|(value, count)| (value, count * 100))).step_ns(), 10.0);
        let fine = [(20, 10), (21, 50), (22, 30), (23, 10), (40, 1)];
        assert_eq!(samples(fine.map(|(value, count)| (value, count * 100))).step_ns(), 1.0);
    }

    #[test]
    fn spreads_of_known_values() {
        let spread = Spread::of(vec![5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!((spread.blocks, spread.min, spread.max), (5, 1.0, 5.0));
        assert_eq!((spread.first_quartile, spread.median, spread.third_quartile), (2.0, 3.0, 4.0));
        assert_eq!(Spread::of(vec![1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn regimes_are_never_mixed() {
        let rounds = [100.0, 490.0, 110.0, 140.0, 145.0, 500.0, 99.0, 230.0];
        let expected = [vec![0, 2, 3, 4, 6], vec![7], vec![1, 5]];
        assert_eq!(regimes(&rounds), expected);
        // Divided at the gap, not where the factor happens to end.
        assert_eq!(regimes(&[100.0, 140.0, 149.0, 151.0]), [vec![0], vec![1, 2, 3]]);
        assert_eq!(regimes(&[100.0, 149.0]), [vec![0, 1]]);
        assert_eq!(regimes(&[100.0, 151.0]), [vec![0], vec![1]]);
        assert!(regimes(&[]).is_empty());
    }
}
