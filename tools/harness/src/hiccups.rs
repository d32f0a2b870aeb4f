//! How long a core keeps a thread from doing anything: what no program on it can be better than.
use serde::Serialize;

use crate::clock::Clock;
use crate::laps::Laps;
use crate::statistics::{SAMPLES_BEYOND_MIN, Samples};

/// Between two readings of the clock so much or more is a hiccup: several times what a reading
/// takes, and what counting one does.
pub(crate) const HICCUP_NS_MIN: u64 = 200;

/// What a core was kept from.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Hiccups {
    /// For how long it was watched.
    pub(crate) watched_ns: u64,
    /// How long each hiccup was.
    pub(crate) gaps: Samples,
}

impl Hiccups {
    /// Counts what was seen in another while, too.
    pub(crate) fn add(&mut self, other: &Self) {
        self.watched_ns += other.watched_ns;
        self.gaps.add(&other.gaps);
    }

    /// The share of the time in which the core did nothing for us.
    pub(crate) fn share(&self) -> f64 {
        self.share_beyond(0.0)
    }

    /// The share of all moments in which who wants to go on has to wait for longer than `ns`: of
    /// each hiccup, all but the last `ns`.
    fn share_beyond(&self, ns: f64) -> f64 {
        let beyond = |(gap_ns, count): (u64, u64)| (gap_ns as f64 - ns).max(0.0) * count as f64;
        self.gaps.counts().map(beyond).sum::<f64>() / self.watched_ns.max(1) as f64
    }

    /// How long who wants to go on has to wait in this share of all moments, or longer; nothing
    /// with fewer than ten hiccups that are longer still.
    pub(crate) fn ns_beyond(&self, share: f64) -> Option<f64> {
        let (mut low, mut high) = (0.0, self.gaps.max_ns() as f64);
        if self.share_beyond(low) < share {
            return None;
        }
        while high - low > 1.0 {
            let middle = low.midpoint(high);
            if self.share_beyond(middle) >= share {
                low = middle;
            } else {
                high = middle;
            }
        }
        (self.gaps.count_beyond(low as u64) >= SAMPLES_BEYOND_MIN).then_some(low)
    }
}

/// Reads the clock for `duration_ns`; returns how long it was between two readings wherever that
/// was a hiccup.
pub(crate) fn watch(duration_ns: u64, clock: &Clock, gaps: &mut Laps) -> Samples {
    // One in a microsecond would be a very bad core; more are kept as well.
    gaps.begin(duration_ns / 1_000);
    let least = clock.ticks(HICCUP_NS_MIN as f64) as u64;
    let mut before = clock.now();
    let end = before + clock.ticks(duration_ns as f64) as u64;
    while before < end {
        // What lies behind the end is not watched any more.
        let now = clock.now().min(end);
        if now.saturating_sub(before) >= least {
            gaps.push(now - before);
        }
        before = now;
    }
    gaps.samples(clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_at_any_moment_waits_for_the_rest_of_a_hiccup() {
        // Twenty of 1 us in 1 ms: 2 % of all moments lie in one, 1 % in the first half of one.
        let hiccups = Hiccups { watched_ns: 1_000_000, gaps: Samples::from(vec![(1_000, 20)]) };
        assert!((hiccups.share() - 0.02).abs() < 1e-9);
        assert!((hiccups.ns_beyond(0.01).unwrap() - 500.0).abs() < 2.0);
        assert_eq!(hiccups.ns_beyond(0.03), None);
        let few = Hiccups { gaps: Samples::from(vec![(2_000, 9)]), ..hiccups };
        assert_eq!(few.ns_beyond(0.01), None, "too few to tell");
        let one = Hiccups { watched_ns: 1_000_000, gaps: Samples::from(vec![(50_000, 1)]) };
        assert!((one.share() - 0.05).abs() < 1e-4 && one.ns_beyond(0.01).is_none());
    }

    #[test]
    fn a_core_that_was_watched_tells_what_it_was_kept_from() {
        // By a clock on which every reading takes long, so that all of the time is in hiccups.
        let mut clock = Clock::calibrate().unwrap();
        clock.ns_per_tick *= 1_000.0;
        let found = watch(2_000_000_000, &clock, &mut Laps::default());
        let all_ns: u64 = found.counts().map(|(ns, count)| ns * count).sum();
        assert!((1_950_000_000..2_050_000_000).contains(&all_ns), "{found:?}");
        assert!(found.counts().all(|(ns, _)| ns + 1 >= HICCUP_NS_MIN), "{found:?}");
    }
}
