//! What the journal is meant to reach: change here the goals.
use tickcast_harness::goal::{Bound, Goal};
use tickcast_harness::message::Payload;

/// The goals for writing a journal.
pub(super) const WRITING_GOALS: [Goal; 2] = [
    Goal::new("journal", Bound::AtLeast(0.9), "bare writes", ("journal", 0)),
    Goal::new("journal, fresh,", Bound::AtLeast(0.9), "bare writes", ("journal, fresh", 0)),
];

/// The goals for what a journal costs the publisher.
pub(super) const COST_GOALS: [Goal; 2] = [
    Goal::new("journal, 1 M/s,", Bound::AtMost(1.10), "one reader", ("journal, 1 M/s", 0)),
    Goal::new("journal, 200 k/s,", Bound::AtMost(1.10), "one reader", ("journal, 200 k/s", 0)),
];

/// The goals for what is durable at once.
pub(super) const DURABLE_GOALS: [Goal; 2] = [
    Goal::new("journal p50", Bound::AtMost(1.20), "bare", ("journal", 0)),
    Goal::new("journal, flood,", Bound::AtLeast(100.0), "one by one", ("journal, flood", 3)),
];

/// The goal for replays from the page cache.
pub(super) const WARM_GOALS: [Goal; 1] =
    [Goal::new("replay", Bound::AtLeast(0.8), "bare loop", ("replay", 0))];

/// The goal for replays from the disk.
pub(super) const COLD_GOALS: [Goal; 1] =
    [Goal::new("replay", Bound::AtLeast(0.9), "bare reads", ("replay", 0))];

/// The goals for finding a start, for the worst of all.
pub(super) const SEEK_GOALS: [Goal; 2] = [
    Goal::new("reads by offset", Bound::AtMost(1.0), "2 + log2(blocks)", ("by offset", 0)),
    Goal::new("reads by time", Bound::AtMost(1.0), "2 + log2(blocks)", ("by time", 0)),
];

/// What is meant to be reached by messages of this payload: goals are for ticks.
pub(super) fn for_ticks(payload: Payload, goals: &'static [Goal]) -> &'static [Goal] {
    if payload == Payload::TICK { goals } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::disk::{cold, cost, durable, seek, warm, writing};

    #[test]
    fn the_goals_name_the_columns_that_they_mean() {
        let columns = |goals: &[Goal], columns: &[&'static str]| -> Vec<&'static str> {
            goals.iter().map(|goal| columns[goal.figure.1]).collect()
        };
        assert_eq!(columns(&WRITING_GOALS, &writing::WRITING_COLUMNS), ["x bare"; 2]);
        assert_eq!(columns(&COST_GOALS, &cost::COST_COLUMNS), ["x one reader"; 2]);
        let durable = columns(&DURABLE_GOALS, &durable::DURABLE_COLUMNS);
        assert_eq!(durable, ["x bare", "x one by one"]);
        assert_eq!(columns(&WARM_GOALS, &warm::WARM_COLUMNS), ["x bare"]);
        assert_eq!(columns(&COLD_GOALS, &cold::COLD_COLUMNS), ["x bare"]);
        assert_eq!(columns(&SEEK_GOALS, &seek::SEEK_COLUMNS), ["most / bound"; 2]);
    }
}
