//! How long a core keeps a thread from doing anything: what no program on it can be better than.
use crate::clock::Clock;
use crate::statistics::Samples;

/// Reads the clock for `duration_ns`, and counts how long it was until the next reading. Where a
/// reading is late, those that were due meanwhile are late, too: one is due every time that a
/// reading costs.
pub(crate) fn watch(duration_ns: u64, clock: &Clock) -> Samples {
    let mut samples = Samples::default();
    let due_every_ns = (clock.cost_ns.max(clock.step_ns) as u64).max(1);
    let end = clock.now() + clock.ticks(duration_ns as f64) as u64;
    let mut before = clock.now();
    while before < end {
        let now = clock.now();
        let gap_ns = clock.ns(now.saturating_sub(before));
        if gap_ns <= 2 * due_every_ns {
            samples.record(gap_ns);
        } else {
            samples.record_gap(gap_ns, due_every_ns);
        }
        // What counting took is nobody's hiccup.
        before = clock.now();
    }
    samples
}
